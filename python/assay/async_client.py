"""The asynchronous twin of the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx

from . import _protocol
from ._protocol import Item, Message, Prompt, Retries, Scores, Settings
from .client import _conversations


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
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        self._settings = Settings(url, api_key, model, timeout, retry_for, batch_size)
        self._http = httpx.AsyncClient(headers=self._settings.headers, timeout=timeout, transport=transport)
        self._slots = asyncio.Semaphore(concurrency)

    async def score(self, prompt: Prompt, responses: Sequence[str], **fields: Any) -> list[Scores]:
        """See `Client.score`."""
        return await self.score_conversations(_conversations(prompt, responses), **fields)

    async def score_conversations(self, conversations: Sequence[Sequence[Message]], **fields: Any) -> list[Scores]:
        """See `Client.score_conversations`."""
        found = await self.items(conversations, **fields)
        _protocol.check(found)
        return [item.scores for item in found if item.scores is not None]

    async def rewards(
        self, prompt: Prompt, responses: Sequence[str], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """See `Client.rewards`."""
        return await self.rewards_of_conversations(_conversations(prompt, responses), rank_by=rank_by, **fields)

    async def rewards_of_conversations(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[float]:
        """See `Client.rewards_of_conversations`."""
        found = await self.items(conversations, rank_by=rank_by, **fields)
        _protocol.check(found)
        return [item.reward for item in found if item.reward is not None]

    async def items(
        self, conversations: Sequence[Sequence[Message]], *, rank_by: str | None = None, **fields: Any
    ) -> list[Item]:
        """See `Client.items`."""
        batches = [
            self._batch(body) for body in _protocol.bodies(self._settings, conversations, rank_by, fields)
        ]
        return [item for batch in await asyncio.gather(*batches) for item in batch]

    async def _batch(self, body: dict[str, Any]) -> list[Item]:
        return _protocol.items(await self.post("/v1/rewards", body), len(body["conversations"]))

    async def models(self) -> list[str]:
        """See `Client.models`."""
        answer = await self._send("GET", "/v1/models", None)
        return [model["id"] for model in answer.json()["data"]]

    async def post(self, path: str, body: Any) -> httpx.Response:
        """See `Client.post`."""
        return await self._send("POST", path, body)

    async def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        retries = Retries(self._settings.retry_for)
        while True:
            failed: httpx.Response | httpx.TransportError
            try:
                async with self._slots:
                    answer = await self._http.request(method, self._settings.url + path, json=body)
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
