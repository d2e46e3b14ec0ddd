"""Real servers, built and started as a user would start them, for real clients."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
import requests

ROOT = Path(__file__).parents[2]
BINARIES = Path(os.environ.get("ASSAY_BINARIES", ROOT / "target/debug"))
CHECKPOINTS = {path.name: path for path in (ROOT / "tests/checkpoints").iterdir()} | {"demo": ROOT / "engines/demo"}

# Longest, in seconds, that anything is waited for. Only a test that hangs reaches it, however slow the machine is.
TIME_LIMIT = 300

PARIS = "I am going to Paris, what should I see?"
LOUVRE = "See the Louvre in the morning, and walk along the Seine in the evening."
ATTRIBUTES = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]


def conversation(answer: str = LOUVRE, question: str = PARIS) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment of this process without the variables that set options of Assay."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "NIM_", "OTEL_"))}
    return kept | variables


def assay(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Runs `assay` and waits until it exits."""
    command = [BINARIES / "assay", *arguments]
    return subprocess.run(command, env=clean_environment(**variables), capture_output=True, text=True, timeout=TIME_LIMIT)


class Server:
    """A running `assay serve` on a free port."""

    STARTED = "ready"

    def __init__(self, engine: Path | None, *arguments: str | Path, **variables: str):
        """`engine` is `None` if a variable names it."""
        named = [] if engine is None else ["--engine", engine]
        command = [BINARIES / "assay", "serve", *named, "--host", "127.0.0.1", "--port", "0"]
        command += ["--log-format", "json", "--threads", "1", *arguments]
        self.process = subprocess.Popen(command, env=clean_environment(**variables), stderr=subprocess.PIPE, text=True)
        self.log: list[dict] = []
        self.lines: list[str] = []
        threading.Thread(target=self._read_log, daemon=True).start()
        self.address = self.logged("listening")["address"]
        self.url = "http://" + self.address
        self.logged(self.STARTED)

    def _read_log(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("{"):
                self.log.append(json.loads(line))

    def logged(self, message: str) -> dict:
        """Waits for a log line with this message."""

        def line() -> dict | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the server has exited: {''.join(self.lines)}")
            return next((line for line in self.log if line.get("message") == message), None)

        return until(line)

    def logged_with(self, words: str) -> dict:
        """Waits for a log line whose message contains these words."""
        return until(lambda: next((line for line in self.log if words in line.get("message", "")), None))

    def connect(self) -> socket.socket:
        """A raw connection, for clients that break the rules of HTTP."""
        host, port = self.address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=TIME_LIMIT)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=TIME_LIMIT) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric's series, or of the series with a label such as `reason="slow_head"`."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{") and label in line)

    def client(self, **options) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", **({"max_retries": 0} | options))

    def async_client(self, **options) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key="none", **({"max_retries": 0} | options))

    def end(self, timeout: float = TIME_LIMIT) -> int:
        """Sends SIGTERM, waits, and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def until(condition: Callable, timeout: float = TIME_LIMIT):
    """Waits until `condition` returns something true, and returns it."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)
    return value


class Engines:
    """Engines of the checkpoints in this repository, each built when it is first used."""

    def __init__(self, directory: Path):
        self.directory = directory

    def __getitem__(self, checkpoint: str) -> Path:
        engine = self.directory / checkpoint
        if not engine.exists():
            command = [BINARIES / "build-engine", "--model", CHECKPOINTS[checkpoint], "--target", "cpu"]
            command += ["--output", engine, "--dtype", "f32"]
            built = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT)
            assert built.returncode == 0, built.stderr
        return engine

    def copy(self, checkpoint: str, to: Path) -> Path:
        """A copy that a test may change or damage."""
        return Path(shutil.copytree(self[checkpoint], to / checkpoint))


@pytest.fixture(scope="session")
def engines(tmp_path_factory) -> Engines:
    return Engines(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="session")
def server(engines) -> Iterator[Server]:
    """Serves five attributes as the model `five`."""
    with Server(engines["llama3-tiny"], "--served-model-name", "five", "nvidia/nemotron-4-340b-reward") as server:
        yield server


@pytest.fixture(scope="session")
def one_score(engines) -> Iterator[Server]:
    """Serves a single score as the model `one`."""
    with Server(engines["qwen2-tiny"], "--served-model-name", "one") as server:
        yield server


@pytest.fixture(scope="session")
def peer(engines) -> Iterator[Server]:
    """Serves five attributes as other servers do: with probabilities where a request does not say."""
    with Server(engines["llama3-tiny"], "--served-model-name", "five", "--activation", "peer") as server:
        yield server


@pytest.fixture(scope="session")
def ranker(engines) -> Iterator[Server]:
    """Serves a single score in the same way."""
    with Server(engines["qwen2-tiny"], "--served-model-name", "one", "--activation", "peer") as server:
        yield server


@pytest.fixture(scope="session")
def chat(engines) -> Iterator[Server]:
    """Serves a model that generates text."""
    with Server(engines["lm-head-tiny"], "--served-model-name", "chat") as server:
        yield server


def ask(server: Server, path: str, body: dict) -> requests.Response:
    return requests.post(server.url + path, json=body, timeout=60)


def ok(server: Server, path: str, body: dict):
    answer = ask(server, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(server: Server, path: str, body: dict) -> dict:
    answer = ask(server, path, body)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]
