"""Scores Ray datasets.

    import ray
    from assay.ray import Scorer

    scored = ray.data.read_parquet("pairs/").map_batches(
        Scorer,
        fn_constructor_kwargs={"url": ["http://node1:8000", "http://node2:8000"]},
        concurrency=4,
        batch_size=512,
    )

With `engine` in place of `url`, each actor starts a server of its own; let `concurrency` be the number of nodes then.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy

from . import _protocol
from ._protocol import Message
from .client import Client
from .errors import ServerError
from .server import Server

Batch = dict[str, Any]


class Scorer:
    """Adds a column for each attribute to batches of prompts and responses.

    A batch has columns of the names `prompt` (texts or messages) and `response` (texts). Rows with the same prompt are
    sent together, so that it is computed once. With several URLs, each prompt goes to one of them, and to the next one
    if that does not answer. A row that cannot be scored stops the job, unless `error` names a column for the reason;
    its scores are then NaN.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        engine: str | None = None,
        engine_options: Sequence[str] = (),
        api_key: str | None = None,
        model: str | None = None,
        prompt: str = "prompt",
        response: str = "response",
        prefix: str = "score_",
        error: str | None = None,
        retry_for: float = 600.0,
        **fields: Any,
    ):
        if (url is None) == (engine is None):
            raise ValueError("give either url or engine")
        self._server = Server(engine, *engine_options) if engine is not None else None
        if self._server is not None:
            urls: list[str] = [self._server.url]
        else:
            urls = [url] if isinstance(url, str) else list(url or [])
        if not urls:
            raise ValueError("url is an empty list")
        # Where there are several servers, the next one is asked soon.
        patience = retry_for if len(urls) == 1 else min(retry_for, 3.0)
        self._retry_for = retry_for
        self._clients = [Client(one, api_key=api_key, model=model, retry_for=patience) for one in urls]
        self._prompt, self._response, self._prefix, self._error = prompt, response, prefix, error
        self._fields = fields

    def __call__(self, batch: Batch) -> Batch:
        prompts = [_turns(value) for value in batch[self._prompt]]
        responses = [str(value) for value in batch[self._response]]
        keys = [repr(turns) for turns in prompts]
        order = sorted(range(len(prompts)), key=lambda index: keys[index])
        found: list[_protocol.Item | None] = [None] * len(order)
        homes: dict[int, list[int]] = {}
        for index in order:
            homes.setdefault(self._home(keys[index]), []).append(index)
        for home, places in homes.items():
            conversations = [
                [*prompts[index], {"role": "assistant", "content": responses[index]}] for index in places
            ]
            for index, item in zip(places, self._score(home, conversations), strict=True):
                found[index] = item
        items = [item for item in found if item is not None]
        if self._error is None:
            _protocol.check(items)
        names = list(dict.fromkeys(name for item in items for name in item.scores or {}))
        for name in names:
            scores = [(item.scores or {}).get(name, numpy.nan) for item in items]
            batch[self._prefix + name] = numpy.array(scores, dtype=numpy.float64)
        if self._error is not None:
            batch[self._error] = numpy.array([item.error or "" for item in items], dtype=object)
        return batch

    def _home(self, key: str) -> int:
        """The server of a prompt: the same in every actor and on every day."""
        return zlib.crc32(key.encode()) % len(self._clients)

    def _score(self, first: int, conversations: list[list[Message]]) -> list[_protocol.Item]:
        """Asks the server at `first`, then the others in turn, until one answers."""
        deadline = time.monotonic() + self._retry_for
        for turn in itertools.count():
            client = self._clients[(first + turn) % len(self._clients)]
            try:
                return client.items(conversations, **self._fields)
            except ServerError as error:
                # What one server refuses, the others refuse, too.
                is_refused = error.status is not None and error.status not in _protocol.RETRIED
                if is_refused or len(self._clients) == 1 or time.monotonic() > deadline:
                    raise
        raise AssertionError("the loop has no end")

    def __del__(self) -> None:
        server = getattr(self, "_server", None)
        if server is not None:
            server.close()


def _turns(value: Any) -> list[Message]:
    if isinstance(value, str):
        return _protocol.turns_of(value)
    return [dict(turn) for turn in value]
