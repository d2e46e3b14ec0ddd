"""Reward functions for TRL's trainers.

    from assay.trl import reward_func

    GRPOTrainer(..., reward_funcs=[reward_func("http://localhost:8000")])

For several attributes, give one function for each, and `reward_weights` to the trainer's configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import _protocol
from ._protocol import Message, Prompt
from .client import Client

RewardFunction = Callable[..., list[float | None]]


def reward_func(
    server: str | Client = "http://localhost:8000",
    *,
    rank_by: str | None = None,
    api_key: str | None = None,
    model: str | None = None,
    skip_failed: bool = False,
    **fields: Any,
) -> RewardFunction:
    """A function that TRL calls with prompts and completions, texts or messages.

    `rank_by` is the attribute that is the reward; by default the score of the server's rule. A completion that cannot
    be scored raises an error; with `skip_failed` its reward is None, and TRL leaves this function out for it. Other
    keywords are fields of `/v1/rewards`, such as `truncation="left"`.
    """
    client = server if isinstance(server, Client) else Client(server, api_key=api_key, model=model)

    def function(prompts: Sequence[Prompt], completions: Sequence[Prompt], **_: Any) -> list[float | None]:
        conversations = [
            [*_protocol.turns_of(prompt), *_response(completion)]
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        found = client.items(conversations, rank_by=rank_by, **fields)
        if not skip_failed:
            _protocol.check(found)
        return [item.reward for item in found]

    # TRL logs a function's rewards under its name, and tells functions apart by it.
    function.__name__ = f"assay_{rank_by}" if rank_by else "assay"
    return function


def _response(completion: Prompt) -> list[Message]:
    if isinstance(completion, str):
        return [{"role": "assistant", "content": completion}]
    return [dict(turn) for turn in completion]
