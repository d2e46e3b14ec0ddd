"""A server of the demo model, and the client."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rows import ROWS

from assay import Client, Server

ROOT = Path(__file__).parents[2]
os.environ.setdefault("ASSAY_BINARIES", str(ROOT / "target/debug"))


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engine") / "demo"
    program = Path(os.environ["ASSAY_BINARIES"]) / "build-engine"
    command = [program, "--model", ROOT / "engines/demo", "--target", "cpu", "--output", directory, "--name", "demo"]
    subprocess.run(command, check=True, capture_output=True)
    return directory


@pytest.fixture(scope="session")
def server(engine: Path) -> Iterator[Server]:
    with Server(engine, "--threads", "1") as server:
        yield server


@pytest.fixture(scope="session")
def scored(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict]:
    """The rows as `assay score` writes them."""
    folder = tmp_path_factory.mktemp("score")
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    program = Path(os.environ["ASSAY_BINARIES"]) / "assay"
    command = [program, "score", folder / "in.jsonl", "--engine", engine, "--output", folder / "out.jsonl"]
    subprocess.run(command, check=True, capture_output=True)
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    return {row["id"]: row for row in rows}


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that trainers' functions read."""
    from assay import _environment

    monkeypatch.setenv("ASSAY_URL", server.url)
    monkeypatch.delenv("ASSAY_RANK_BY", raising=False)
    _environment.client.cache_clear()
