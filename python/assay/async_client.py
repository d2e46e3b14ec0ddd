"""The asynchronous counterpart of the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx

from . import _plans
from ._plans import Call, Plan, T
from ._protocol import Item, Message, Prompt, Retries, Scores, Settings


class AsyncClient:
    """As `Client`, for `asyncio`. Batches of one call are sent at once, up to `concurrency` of them."""

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout: float = 600.0,
        retry_for: float = 600.0,
        batch_size: int = 256,
        concurrency: int = 8,
        trust_env: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        self._settings = Settings(url, api_key, model, timeout, retry_for, batch_size)
        self._http = httpx.AsyncClient(
            headers=self._settings.headers, timeout=self._settings.timeouts, trust_env=trust_env, transport=transport
        )
        self._slots = asyncio.Semaphore(concurrency)

    async def score(self, prompt: Prompt, responses: Sequence[str], **fields: Any) -> list[Scores]:
        """See `Client.score`."""
        return await self.score_conversations(_plans.conversations(prompt, responses), **fields)

    async def score_conversations(self, conversations: Sequence[Sequence[Message]], **fields: Any) -> list[Scores]:
        """See `Client.score_conversations`."""
        return await self._run(_plans.scores(self._settings, conversations, fields))

    async def rewards(
        self, prompt: Prompt, responses: Sequence[str], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """See `Client.rewards`."""
        given = _plans.conversations(prompt, responses)
        return await self.rewards_of_conversations(given, rank_by=rank_by, **fields)

    async def rewards_of_conversations(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """See `Client.rewards_of_conversations`."""
        return await self._run(_plans.rewards(self._settings, conversations, rank_by, fields))

    async def items(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[Item]:
        """See `Client.items`."""
        return await self._run(_plans.items(self._settings, conversations, rank_by, fields))

    async def models(self) -> list[str]:
        """See `Client.models`."""
        return await self._run(_plans.models())

    async def attributes(self) -> list[str]:
        """See `Client.attributes`."""
        return await self._run(_plans.attributes(self._settings))

    async def ranked_by(self) -> str:
        """See `Client.ranked_by`."""
        return await self._run(_plans.ranked_by(self._settings))

    async def post(self, path: str, body: Any) -> httpx.Response:
        """See `Client.post`."""
        return await self._run(_plans.post(path, body))

    async def _run(self, plan: Plan[T]) -> T:
        try:
            calls = next(plan)
            while True:
                calls = plan.send(await self._send_all(calls))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def _send_all(self, calls: Sequence[Call]) -> list[httpx.Response]:
        tasks = [asyncio.ensure_future(self._send(call)) for call in calls]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            # After an error, the other requests would go on, or be tried again for minutes.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, call: Call) -> httpx.Response:
        retries = Retries(self._settings.retry_for)
        while True:
            failed: httpx.Response | httpx.TransportError
            try:
                async with self._slots:
                    answer = await self._http.request(
                        call.method, self._settings.url + call.path, json=call.body, headers=call.headers
                    )
                if answer.is_success:
                    return answer
                failed = answer
            except httpx.TransportError as error:
                failed = error
            await asyncio.sleep(retries.delay(failed))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
