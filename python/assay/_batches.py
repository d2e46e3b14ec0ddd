"""Scores batches of prompts and responses with one or several servers, for data pipelines."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

from . import _plans, _protocol
from ._protocol import Item, Message, Prompt
from .client import Client
from .errors import ServerError
from .server import Server


class BatchScorer:
    """Sends rows with the same prompt together, so that it is computed once.

    With several URLs, each prompt goes to one of them, and to the next one if that does not answer. With `engine`, a
    server is started on this machine.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        engine: str | None = None,
        engine_options: Sequence[str] = (),
        api_key: str | None = None,
        model: str | None = None,
        retry_for: float = 600.0,
        fields: dict[str, Any] | None = None,
    ):
        if (url is None) == (engine is None):
            raise ValueError("give either url or engine")
        urls = urls_of(url) if url is not None else []
        self._server = Server(engine, *engine_options) if engine is not None else None
        if self._server is not None:
            urls = [self._server.url]
        # If there are several servers, the next one is asked soon.
        retry_each_for = retry_for if len(urls) == 1 else min(retry_for, 3.0)
        self._retry_for = retry_for
        # No proxy leads to a server on this machine.
        self._clients = [
            Client(one, api_key=api_key, model=model, retry_for=retry_each_for, trust_env=self._server is None)
            for one in urls
        ]
        self._fields = fields or {}

    def items(self, prompts: Sequence[Prompt | str], responses: Sequence[str]) -> list[Item]:
        """The scores of each response, or why it has none."""
        conversations = [
            [*_protocol.turns_of(prompt), {"role": "assistant", "content": str(response)}]
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        keys = [_plans.prompt_digest(conversation) for conversation in conversations]
        homes: dict[int, list[int]] = {}
        for index in sorted(range(len(keys)), key=lambda index: keys[index]):
            homes.setdefault(self._home(keys[index]), []).append(index)
        found: dict[int, Item] = {}
        for home, places in homes.items():
            items = self._score(home, [conversations[index] for index in places])
            found.update(zip(places, items, strict=True))
        return [found[index] for index in range(len(keys))]

    def attributes(self) -> list[str]:
        """The names of the scores that every response has, as one of the servers reports them; none if a model scores
        steps."""
        for client in self._clients[:-1]:
            try:
                return client.attributes()
            except ServerError:
                continue
        return self._clients[-1].attributes()

    def _home(self, key: str) -> int:
        """The index of a prompt's server, which is the same in every process and every run."""
        return int(key, 16) % len(self._clients)

    def _score(self, first: int, conversations: list[list[Message]]) -> list[Item]:
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

    def close(self) -> None:
        """Closes its connections, and stops the server that it started, if any."""
        for client in self._clients:
            client.close()
        if self._server is not None:
            self._server.close()


def urls_of(url: str | Sequence[str]) -> list[str]:
    """One URL, or several."""
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise ValueError("url is an empty list; give the URL of a server")
    return urls


def score_columns(items: Sequence[Item], names: Sequence[str] | None = None) -> dict[str, list[float]]:
    """A column for each attribute, by default for those that occur; NaN where a row has no scores."""
    if names is None:
        names = list(dict.fromkeys(name for item in items for name in item.scores or {}))
    return {name: [(item.scores or {}).get(name, float("nan")) for item in items] for name in names}
