"""A reward function for AReaL: `reward_fn="assay.areal.reward"` of its `RLVRWorkflow`.

AReaL runs the function in other processes and makes a reward of 0 of one that takes longer than 15 seconds. This one
raises an error before that, which AReaL logs and tries again three times. The variables of `assay._environment` name
the server and the attribute.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from . import _environment, _protocol
from .client import Client

# Seconds for an answer, and for trying again: together less than the 15 after which AReaL takes a 0.
_TIMEOUT, _RETRY_FOR = 6.0, 2.0

# AReaL decodes a completion with the token that ends it.
_ENDS = re.compile(r"(?:\s*(?:<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end)\|>|<end_of_turn>|</s>))+\s*\Z")


def reward(
    prompt: str,
    completions: str,
    prompt_ids: Sequence[int] = (),
    completion_ids: Sequence[int] = (),
    *,
    messages: Any = None,
    **_: Any,
) -> float:
    """The reward of a completion. The prompt is `messages`, where AReaL's data sets have it."""
    if messages is None:
        raise ValueError(
            "the data set has no `messages`: AReaL's `prompt` has the template of the model that is trained, so put "
            "the prompt there as messages"
        )
    turns = [*_protocol.turns_of(messages), {"role": "assistant", "content": _ENDS.sub("", completions)}]
    found = _client().items([turns], rank_by=_environment.rank_by(), truncation="left")
    _protocol.check(found)
    return _protocol.number(found[0].reward)


@cache
def _client() -> Client:
    return Client(**_environment.options(), timeout=_TIMEOUT, retry_for=_RETRY_FOR)
