"""Reward functions for verl: `reward.custom_reward_function.path=pkg://assay.verl`.

`compute_score` is for one response at a time, `compute_scores` for verl's batch reward manager. The prompt is
`extra_info["prompt"]` (messages or a text), or `extra_info["question"]`, where verl's data scripts put it. The
variables of `assay._environment` name the server and the attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _environment, _protocol

Result = dict[str, float]


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any = None, extra_info: dict[str, Any] | None = None, **_: Any
) -> Result:
    """The reward of one response as `score`, and each attribute as a metric. Raises if there is none."""
    return compute_scores([data_source], [solution_str], [ground_truth], [extra_info])[0]


def compute_scores(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[dict[str, Any] | None],
    **_: Any,
) -> list[Result]:
    """The same for a batch."""
    conversations = [
        [*_protocol.turns_of(_prompt(extra)), {"role": "assistant", "content": solution}]
        for solution, extra in zip(solution_strs, extra_infos, strict=True)
    ]
    found = _environment.client().items(conversations, rank_by=_environment.rank_by(), truncation="left")
    _protocol.check(found)
    return [{**(item.scores or {}), "score": item.reward} for item in found if item.reward is not None]


def _prompt(extra: dict[str, Any] | None) -> Any:
    for name in ("prompt", "question"):
        prompt = (extra or {}).get(name)
        if prompt is not None:
            return prompt
    raise ValueError(
        "extra_info has neither `prompt` nor `question`: put the prompt there when you prepare the data, since verl "
        "gives a reward function only the response"
    )
