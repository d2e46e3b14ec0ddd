"""requests to `/v1/rewards` and their responses, for the client and its asynchronous counterpart."""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from .errors import ScoringError, ServerError

Message = dict[str, Any]
"""A turn: `{"role": "user", "content": "..."}`."""
Prompt = str | Sequence[Message]
"""The user's turn, or all turns before the response."""
Scores = dict[str, float]
"""The scores of a response, by attribute."""

RETRIED = (429, 502, 503, 504)
BUSY = (429, 503)
CONNECT_TIMEOUT = 10.0
"""Seconds for a connection. A machine that is gone refuses nothing, and the system waits for minutes."""
LOG = logging.getLogger("assay")
STEPS = re.compile(r"(min|mean|last|prod)\((.+)\)")


def turns_of(prompt: Prompt) -> list[Message]:
    """The turns of a prompt. Messages may also be as numpy and Spark hold them."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [turn.asDict() if hasattr(turn, "asDict") else dict(turn) for turn in prompt]


@dataclass
class Settings:
    """What both clients are made with."""

    url: str
    api_key: str | None
    model: str | None
    timeout: float
    retry_for: float
    batch_size: int
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        if not self.url.lower().startswith(("http://", "https://")):
            raise ValueError(f"the server's URL {self.url!r} must start with http:// or https://")
        self.url = self.url.rstrip("/").removesuffix("/v1")
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            # Most often it is the line end of a file.
            raise ValueError("api_key has a line end or another character that a header cannot have: strip it")
        self.headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    @property
    def timeouts(self) -> httpx.Timeout:
        return httpx.Timeout(self.timeout, connect=min(self.timeout, CONNECT_TIMEOUT))


@dataclass(frozen=True)
class Item:
    """One conversation's part of a response: its scores, or why it has none."""

    scores: Scores | None
    reward: float | None
    """The score that ranks: the one that the caller names, else the server's rule."""
    error: str | None


def bodies(
    settings: Settings, conversations: Sequence[Sequence[Message]], rank_by: str | None, fields: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The bodies of the requests that score `conversations`, one batch in each."""
    common = {name: value for name, value in [("model", settings.model), ("rank_by", rank_by)] if value is not None}
    for start in range(0, len(conversations), settings.batch_size):
        batch = [list(turns) for turns in conversations[start : start + settings.batch_size]]
        yield {**fields, **common, "conversations": batch}


def items(answer: httpx.Response, expected: int) -> list[Item]:
    """The items of a response in the order of the request, found by their index."""
    try:
        body = answer.json()
        ranked_by = body["ranked_by"]
        found: dict[int, Item] = {}
        for item in body["data"]:
            error = item.get("error")
            scores = None if error else {name: number(score) for name, score in item["scores"].items()}
            reward = None if scores is None else reward_of(scores, ranked_by)
            found[item["index"]] = Item(scores, reward, error["message"] if error else None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerError(f"{answer.url} did not answer as /v1/rewards does: {error!r}", answer.status_code) from error
    if sorted(found) != list(range(expected)):
        raise ServerError(f"{answer.url} answered {len(found)} of {expected} conversations", answer.status_code)
    return [found[index] for index in range(expected)]


def listed_models(answer: httpx.Response) -> list[dict[str, Any]]:
    """The models in a response of `/v1/models`."""
    try:
        return [{**model, "id": str(model["id"])} for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(f"{answer.url} did not answer as /v1/models does: {error!r}", answer.status_code) from error


def number(score: Any) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"{score!r} is not a score")
    return float(score)


def reward_of(scores: Scores, name: str) -> float:
    """The score called `name`, which for a model of steps may sum them up, such as `min(step)`."""
    if name in scores:
        return scores[name]
    summary = STEPS.fullmatch(name)
    if summary is None:
        raise KeyError(name)
    start = summary[2] + "_"
    steps = [value for step, value in scores.items() if step.startswith(start) and step[len(start) :].isdigit()]
    if not steps:
        raise KeyError(name)
    match summary[1]:
        case "min":
            return min(steps)
        case "mean":
            return math.fsum(steps) / len(steps)
        case "last":
            return steps[-1]
        case _:
            return math.prod(steps)


def check(found: Sequence[Item]) -> None:
    """Raises if a conversation has no scores."""
    failures = {index: item.error for index, item in enumerate(found) if item.error is not None}
    if failures:
        raise ScoringError(failures)


class Retries:
    """When to send a request again, and for how long."""

    def __init__(self, retry_for: float):
        self.deadline = time.monotonic() + retry_for
        self.tries = 0

    def delay(self, failed: httpx.Response | httpx.TransportError) -> float:
        """Seconds until the next try. Raises if there is none."""
        self.tries += 1
        wait = min(2.0 ** (self.tries - 1), 30.0) * random.uniform(0.5, 1.0)
        if isinstance(failed, httpx.Response):
            if failed.status_code not in RETRIED:
                raise refusal(failed)
            wait = max(wait, retry_after(failed))
        error = refusal(failed) if isinstance(failed, httpx.Response) else silence(failed)
        if time.monotonic() + wait > self.deadline:
            raise error from (failed if isinstance(failed, Exception) else None)
        # To be busy is normal. A server that does not answer may be the wrong one, and a long silence a riddle.
        LOG.log(logging.DEBUG if error.status in BUSY else logging.WARNING, "%s; trying again in %.1f s", error, wait)
        return wait


def retry_after(answer: httpx.Response) -> float:
    """The seconds that the server asks to wait; 0 if it does not say."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def silence(failed: httpx.TransportError) -> ServerError:
    """The error of a request without a response."""
    return ServerError(f"{failed.request.url} does not answer: {str(failed) or type(failed).__name__}")


def refusal(answer: httpx.Response) -> ServerError:
    """The error that a response contains."""
    error: dict[str, Any] = {}
    try:
        error = answer.json()["error"]
        message = error["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.text[:200] or answer.reason_phrase
    code, param = (error.get("code"), error.get("param")) if isinstance(error, dict) else (None, None)
    return ServerError(f"{answer.status_code} from {answer.url}: {message}", answer.status_code, code, param)
