"""The client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx

from . import _protocol
from ._protocol import Item, Message, Prompt, Retries, Scores, Settings


class Client:
    """Scores responses with a server. It may be used by several threads.

    `model` is one of the names that the server serves; by default its first. A request is sent again for up to
    `retry_for` seconds while the server is busy (429 and 503, after its `Retry-After`) or cannot be reached.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout: float = 600.0,
        retry_for: float = 600.0,
        batch_size: int = 256,
        transport: httpx.BaseTransport | None = None,
    ):
        self._settings = Settings(url, api_key, model, timeout, retry_for, batch_size)
        self._http = httpx.Client(headers=self._settings.headers, timeout=timeout, transport=transport)

    def score(self, prompt: Prompt, responses: Sequence[str], **fields: Any) -> list[Scores]:
        """The scores of each response to a prompt, by attribute.

        Other keywords are fields of `/v1/rewards`, such as `truncation="left"` or `priority=1`.

        Raises:
            ScoringError: a response has no scores.
            ServerError: the server refuses the request, or cannot be reached.
        """
        return self.score_conversations(_conversations(prompt, responses), **fields)

    def score_conversations(self, conversations: Sequence[Sequence[Message]], **fields: Any) -> list[Scores]:
        """The scores of the last turn of each conversation; see `score`."""
        found = self.items(conversations, **fields)
        _protocol.check(found)
        return [item.scores for item in found if item.scores is not None]

    def rewards(
        self, prompt: Prompt, responses: Sequence[str], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """One number for each response to a prompt: the score called `rank_by`, or that of the server's rule."""
        return self.rewards_of_conversations(_conversations(prompt, responses), rank_by=rank_by, **fields)

    def rewards_of_conversations(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """One number for each conversation; see `rewards`."""
        found = self.items(conversations, rank_by=rank_by, **fields)
        _protocol.check(found)
        return [item.reward for item in found if item.reward is not None]

    def items(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[Item]:
        """The scores of each conversation, or the reason why it has none.

        Raises:
            ServerError: the server refuses the request, or cannot be reached.
        """
        found: list[Item] = []
        for body in _protocol.bodies(self._settings, conversations, rank_by, fields):
            answer = self.post("/v1/rewards", body)
            found += _protocol.items(answer, len(body["conversations"]))
        return found

    def models(self) -> list[str]:
        """The names of the models that the server serves."""
        return [model["id"] for model in self._send("GET", "/v1/models", None).json()["data"]]

    def post(self, path: str, body: Any) -> httpx.Response:
        """Posts to any route, and tries again as `Client` says.

        Raises:
            ServerError: the server refuses the request, or cannot be reached.
        """
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        retries = Retries(self._settings.retry_for)
        while True:
            failed: httpx.Response | httpx.TransportError
            try:
                answer = self._http.request(method, self._settings.url + path, json=body)
                if answer.is_success:
                    return answer
                failed = answer
            except httpx.TransportError as error:
                failed = error
            time.sleep(retries.delay(failed))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _conversations(prompt: Prompt, responses: Sequence[str]) -> list[list[Message]]:
    if isinstance(responses, str):
        raise TypeError("responses must be a list of texts, not a text")
    turns = _protocol.turns_of(prompt)
    return [[*turns, {"role": "assistant", "content": response}] for response in responses]
