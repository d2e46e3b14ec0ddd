"""A reward function for OpenRLHF: `--reward.remote_url FILE.py`, where FILE.py is

    from assay.openrlhf import reward_func

OpenRLHF also posts to a URL itself, `--reward.remote_url http://HOST:8000/get_reward`, but then goes on without
rewards where that fails. This function raises. The variables of `assay._environment` name the server and the
attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _environment, _protocol
from .errors import ServerError


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any) -> dict[str, Any]:
    """Rewards of texts to which the chat template was applied, as tensors."""
    import torch

    rewards = torch.tensor(scores(queries), dtype=torch.float32)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}


def scores(queries: Sequence[str]) -> list[float]:
    """The reward of each templated text."""
    if not queries:
        return []
    client, rank_by = _environment.client(), _environment.rank_by()
    if rank_by is None:
        rewards = client.post("/get_reward", {"query": list(queries)}).json()["rewards"]
    else:
        texts = [[query] for query in queries]
        answer = client.post("/predict", {"inputs": texts, "raw_scores": True}).json()
        rewards = [_labelled(entries, rank_by) for entries in answer]
    if len(rewards) != len(queries):
        raise ServerError(f"the server answered {len(rewards)} of {len(queries)} queries")
    return [_protocol.number(reward) for reward in rewards]


def _labelled(entries: list[dict[str, Any]], name: str) -> float:
    for entry in entries:
        if entry["label"] == name:
            return _protocol.number(entry["score"])
    known = ", ".join(entry["label"] for entry in entries)
    raise ServerError(f"ASSAY_RANK_BY names {name}, but the attributes are {known}")
