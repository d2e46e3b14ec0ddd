"""The client."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx

from . import _plans
from ._plans import Call, Plan, T
from ._protocol import Item, Message, Prompt, Retries, Scores, Settings


class Client:
    """Scores responses with a server. It may be used by several threads, and in processes that are forked.

    `model` is one of the names that the server serves; by default its first. A request is sent again for up to
    `retry_for` seconds while the server is busy (429 and 503, after its `Retry-After`) or cannot be reached, which the
    logger `assay` reports. `trust_env` is httpx's: whether variables such as `HTTPS_PROXY` are followed.
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
        trust_env: bool = True,
        transport: httpx.BaseTransport | None = None,
    ):
        self._settings = Settings(url, api_key, model, timeout, retry_for, batch_size)
        self._trust_env, self._transport = trust_env, transport
        self._process, self._http = os.getpid(), self._connections()

    def _connections(self) -> httpx.Client:
        settings = self._settings
        return httpx.Client(
            headers=settings.headers, timeout=settings.timeouts, trust_env=self._trust_env, transport=self._transport
        )

    def score(self, prompt: Prompt, responses: Sequence[str], **fields: Any) -> list[Scores]:
        """The scores of each response to a prompt, by attribute.

        Other keywords are fields of `/v1/rewards`, such as `truncation="left"` or `priority=1`.

        Raises:
            ScoringError: a response has no scores.
            ServerError: the server refuses the request, or cannot be reached.
        """
        return self.score_conversations(_plans.conversations(prompt, responses), **fields)

    def score_conversations(self, conversations: Sequence[Sequence[Message]], **fields: Any) -> list[Scores]:
        """The scores of the last turn of each conversation; see `score`."""
        return self._run(_plans.scores(self._settings, conversations, fields))

    def rewards(
        self, prompt: Prompt, responses: Sequence[str], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """One number for each response to a prompt: the score called `rank_by`, or that of the server's rule."""
        given = _plans.conversations(prompt, responses)
        return self.rewards_of_conversations(given, rank_by=rank_by, **fields)

    def rewards_of_conversations(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """One number for each conversation; see `rewards`."""
        return self._run(_plans.rewards(self._settings, conversations, rank_by, fields))

    def items(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[Item]:
        """The scores of each conversation, or the reason why it has none.

        Raises:
            ServerError: the server refuses the request, or cannot be reached.
        """
        return self._run(_plans.items(self._settings, conversations, rank_by, fields))

    def models(self) -> list[str]:
        """The names of the models that the server serves."""
        return self._run(_plans.models())

    def attributes(self) -> list[str]:
        """The names of the scores that every conversation has; none if the model scores steps."""
        return self._run(_plans.attributes(self._settings))

    def ranked_by(self) -> str:
        """The name of the score that ranks where a call names none, which for a model of steps is such as `min(step)`."""
        return self._run(_plans.ranked_by(self._settings))

    def post(self, path: str, body: Any) -> httpx.Response:
        """Posts to any route, and tries again as `Client` says.

        Raises:
            ServerError: the server refuses the request, or cannot be reached.
        """
        return self._run(_plans.post(path, body))

    def _run(self, plan: Plan[T]) -> T:
        try:
            calls = next(plan)
            while True:
                calls = plan.send([self._send(call) for call in calls])
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _send(self, call: Call) -> httpx.Response:
        retries = Retries(self._settings.retry_for)
        if self._process != os.getpid():
            # A fork has copies of the connections, on which each process would read answers to the other's requests.
            self._process, self._http = os.getpid(), self._connections()
        while True:
            failed: httpx.Response | httpx.TransportError
            try:
                answer = self._http.request(
                    call.method, self._settings.url + call.path, json=call.body, headers=call.headers
                )
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

