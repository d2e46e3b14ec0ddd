"""What the methods of a client do, without sending anything: the client and its asynchronous counterpart carry it out.

A plan yields calls that may be sent in any order or at once, and is given their answers in the order of the calls.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from . import _protocol
from ._protocol import Item, Message, Prompt, Scores, Settings
from .errors import ServerError

T = TypeVar("T")
PROMPT_HEADER = "x-assay-prompt"
"""Has the digest of a request's prompt, by which a balancer keeps the responses to a prompt together."""


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: Any = None
    conversations: Sequence[Sequence[Message]] = ()
    """Those of the body."""

    @property
    def headers(self) -> dict[str, str]:
        return {PROMPT_HEADER: prompt_digest(self.conversations[0])} if self.conversations else {}


Plan = Generator[list[Call], list[httpx.Response], T]


def prompt_digest(conversation: Sequence[Message]) -> str:
    """The digest of the turns before the response; `assay score` computes the same if they are plain texts."""
    answered = len(conversation) > 1 and conversation[-1].get("role") == "assistant"
    prompt = [_in_order(turn) for turn in (conversation[:-1] if answered else conversation)]
    text = json.dumps(prompt, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _in_order(turn: Message) -> Message:
    """A turn without nulls, with its role and content first."""
    names = ["role", "content", *turn]
    return {name: turn[name] for name in names if turn.get(name) is not None}


def conversations(prompt: Prompt, responses: Sequence[str]) -> list[list[Message]]:
    if isinstance(responses, str):
        raise TypeError("responses must be a list of texts, not a text")
    turns = _protocol.turns_of(prompt)
    return [[*turns, {"role": "assistant", "content": response}] for response in responses]


def items(
    settings: Settings, given: Sequence[Sequence[Message]], rank_by: str | None, fields: dict[str, Any]
) -> Plan[list[Item]]:
    bodies = _protocol.bodies(settings, given, rank_by, fields)
    calls = [Call("POST", "/v1/rewards", body, body["conversations"]) for body in bodies]
    answers = yield calls
    found: list[Item] = []
    for call, answer in zip(calls, answers, strict=True):
        found += _protocol.items(answer, len(call.conversations))
    return found


def scores(settings: Settings, given: Sequence[Sequence[Message]], fields: dict[str, Any]) -> Plan[list[Scores]]:
    # `rank_by` may be one of the fields; it changes no score.
    found = yield from items(settings, given, None, fields)
    _protocol.check(found)
    return [item.scores for item in found if item.scores is not None]


def rewards(
    settings: Settings, given: Sequence[Sequence[Message]], rank_by: str | None, fields: dict[str, Any]
) -> Plan[list[float]]:
    found = yield from items(settings, given, rank_by, fields)
    _protocol.check(found)
    return [item.reward for item in found if item.reward is not None]


def models() -> Plan[list[str]]:
    return [model["id"] for model in (yield from _listed())]


def attributes(settings: Settings) -> Plan[list[str]]:
    return list((yield from _model(settings)).get("attributes", []))


def ranked_by(settings: Settings) -> Plan[str]:
    model = yield from _model(settings)
    if not model.get("ranked_by"):
        raise ServerError(f"{settings.url} serves {model['id']}, which has no scores")
    return str(model["ranked_by"])


def _model(settings: Settings) -> Plan[dict[str, Any]]:
    listed = yield from _listed()
    for model in listed:
        if settings.model in (None, model["id"]):
            return model
    raise ServerError(f"{settings.url} serves no model called {settings.model}")


def _listed() -> Plan[list[dict[str, Any]]]:
    answers = yield [Call("GET", "/v1/models")]
    return _protocol.listed_models(answers[0])


def post(path: str, body: Any) -> Plan[httpx.Response]:
    answers = yield [Call("POST", path, body)]
    return answers[0]
