"""Starts a server in the background."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType

from . import _programs
from .client import Client
from .errors import ServerError


class Server:
    """A server of an engine on a free port of this machine, until it is closed.

        with Server("demo-engine") as server:
            server.client().score("What is 1+1?", ["2", "3"])

    `options` are those of `assay serve`.
    """

    def __init__(self, engine: str | os.PathLike[str], *options: str, timeout: float = 600.0):
        command = [str(_programs.find("assay")), "serve", "--engine", os.fspath(engine)]
        command += ["--host", "127.0.0.1", "--port", "0", "--log-format", "json", *_options_with_log(options)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        self._tail: deque[str] = deque(maxlen=20)
        self._address: str | None = None
        self._started, self._ready = threading.Event(), False
        threading.Thread(target=self._read_log, daemon=True).start()
        if not self._started.wait(timeout):
            self.close()
            raise ServerError(f"the server was not ready after {timeout:g} s: {self._log()}")
        if not self._ready:
            self._process.wait()
            raise ServerError(f"the server did not start: {self._log()}")
        self.url = f"http://{self._address}"
        """The server's URL."""

    def client(self) -> Client:
        """A new client of the server, which no proxy leads to."""
        return Client(self.url, trust_env=False)

    def close(self) -> None:
        """Stops the server once the requests in progress are answered."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._tail.append(line.rstrip())
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("message") == "listening":
                self._address = entry.get("address")
            elif entry.get("message") == "ready" and self._address:
                self._ready = True
                self._started.set()
        self._started.set()

    def _log(self) -> str:
        return "\n".join(self._tail) or "it wrote nothing"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _options_with_log(options: Sequence[str]) -> list[str]:
    """The options, with a log level at which the lines are written that say where the server is and that it is ready."""
    rest, level = [], os.environ.get("ASSAY_LOG_LEVEL") or "info"
    words = iter(options)
    for word in words:
        if word == "--log-level":
            level = next(words, level)
        elif word.startswith("--log-level="):
            level = word.partition("=")[2]
        else:
            rest.append(word)
    return [*rest, "--log-level", f"assay::api::serve=info,{level}"]
