"""A step for distilabel's pipelines that scores generations.

    from assay.distilabel import AssayScores

    scores = AssayScores(url="http://localhost:8000", attribute="helpfulness")
"""

# distilabel reads the annotations of `process`, so that these must not be texts.
from typing import Any

from distilabel.steps import Step, StepInput
from distilabel.typing import StepColumns, StepOutput
from pydantic import PrivateAttr

from . import _protocol
from .client import Client


class AssayScores(Step):
    """Adds the scores of `generation`, or of each of `generations`, to an `instruction`.

    Input columns:
        - instruction (`str`) or conversation: the prompt, or the turns before the response.
        - generation (`str`) or generations (`List[str]`): what is scored.

    Output columns:
        - score (`float`) or scores (`List[float]`): the attribute that ranks.
        - attributes (`dict` or `List[dict]`): all scores.
    """

    url: str = "http://localhost:8000"
    api_key: str | None = None
    model: str | None = None
    attribute: str | None = None
    _client: Any = PrivateAttr(None)

    def load(self) -> None:
        super().load()
        self._client = Client(self.url, api_key=self.api_key, model=self.model)

    @property
    def inputs(self) -> StepColumns:
        return {"instruction": True, "generation": False, "generations": False}

    @property
    def outputs(self) -> StepColumns:
        return {"score": False, "scores": False, "attributes": True}

    def process(self, *inputs: StepInput) -> StepOutput:
        for rows in inputs:
            conversations, sizes = [], []
            for row in rows:
                texts = row["generations"] if row.get("generations") is not None else [row["generation"]]
                turns = _protocol.turns_of(row["instruction"])
                conversations += [[*turns, {"role": "assistant", "content": text}] for text in texts]
                sizes.append(len(texts))
            found = self._client.items(conversations, rank_by=self.attribute)
            _protocol.check(found)
            start = 0
            for row, size in zip(rows, sizes, strict=True):
                items = found[start : start + size]
                start += size
                if row.get("generations") is not None:
                    row["scores"] = [item.reward for item in items]
                    row["attributes"] = [item.scores for item in items]
                else:
                    row["score"], row["attributes"] = items[0].reward, items[0].scores
            yield rows
