"""Reward functions for slime and miles: `--custom-rm-path assay.slime.reward`.

A sample has a `prompt` and a `response`. A prompt of messages is scored as a conversation. A prompt that is a text goes
to `/slime/reward`, where the server knows whether slime applied a chat template to it. The variables of
`assay._environment` name the server and the attribute.
"""

from __future__ import annotations

import asyncio
from typing import Any

from . import _environment, _protocol
from .async_client import AsyncClient


async def reward(args: Any, sample: Any, **_: Any) -> Any:
    """The reward of a sample, or a list of those of several, as slime calls it with `--group-rm`."""
    samples = sample if isinstance(sample, list) else [sample]
    async with _environment.async_client() as client:
        rewards = await asyncio.gather(*(_reward(client, one) for one in samples))
    return rewards if isinstance(sample, list) else rewards[0]


async def _reward(client: AsyncClient, sample: Any) -> float:
    rank_by = _environment.rank_by()
    if not isinstance(sample.prompt, str):
        conversation = [*_protocol.turns_of(sample.prompt), {"role": "assistant", "content": sample.response}]
        return (await client.rewards_of_conversations([conversation], rank_by=rank_by))[0]
    body = {"prompt": sample.prompt, "response": sample.response, "label": None}
    scores = (await client.post("/slime/reward", body)).json()
    if not isinstance(scores, dict):
        return _protocol.number(scores)
    if rank_by is None:
        rank_by = await client.ranked_by()
    try:
        return _protocol.number(_protocol.reward_of(scores, rank_by))
    except KeyError as error:
        raise ValueError(f"ASSAY_RANK_BY names {rank_by}, but the attributes are {', '.join(scores)}") from error
