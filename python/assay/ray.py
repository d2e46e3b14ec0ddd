"""Scores Ray datasets.

    import ray
    from assay.ray import Scorer

    scored = ray.data.read_parquet("pairs/").map_batches(
        Scorer,
        fn_constructor_kwargs={"url": ["http://node1:8000", "http://node2:8000"]},
        concurrency=4,
        batch_size=512,
    )

With `engine` in place of `url`, each actor starts a server of its own; let `concurrency` be the number of nodes then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from . import _protocol
from ._batches import BatchScorer, score_columns

Batch = dict[str, Any]


class Scorer:
    """Adds a column for each attribute to batches of prompts and responses.

    A batch has columns of the names `prompt` (texts or messages) and `response` (texts). Rows with the same prompt are
    sent together, so that it is computed once. With several URLs, each prompt goes to one of them, and to the next one
    if that does not answer. A row that cannot be scored stops the job, unless `error` names a column for the reason;
    its scores are then NaN.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        engine: str | None = None,
        engine_options: Sequence[str] = (),
        api_key: str | None = None,
        model: str | None = None,
        prompt: str = "prompt",
        response: str = "response",
        prefix: str = "score_",
        error: str | None = None,
        retry_for: float = 600.0,
        **fields: Any,
    ):
        self._scorer = BatchScorer(
            url,
            engine=engine,
            engine_options=engine_options,
            api_key=api_key,
            model=model,
            retry_for=retry_for,
            fields=fields,
        )
        self._prompt, self._response, self._prefix, self._error = prompt, response, prefix, error

    def __call__(self, batch: Batch) -> Batch:
        items = self._scorer.items(list(batch[self._prompt]), list(batch[self._response]))
        if self._error is None:
            _protocol.check(items)
        names = None
        if any(item.error is not None for item in items):
            # A batch in which no row has scores needs the columns, too: a dataset has one schema.
            names = self._scorer.attributes() or None
        for name, scores in score_columns(items, names).items():
            batch[self._prefix + name] = numpy.array(scores, dtype=numpy.float64)
        if self._error is not None:
            batch[self._error] = numpy.array([item.error or "" for item in items], dtype=object)
        return batch

    def __del__(self) -> None:
        scorer = getattr(self, "_scorer", None)
        if scorer is not None:
            scorer.close()
