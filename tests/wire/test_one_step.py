"""`assay serve CHECKPOINT`: an engine is built into a cache, and served."""

import json
import subprocess
import time
from pathlib import Path

from conftest import BINARIES, CHECKPOINTS, Server, assay, clean_environment


def test_a_checkpoint_is_built_and_served_and_the_next_start_takes_it_from_the_cache(tmp_path: Path):
    cache = {"ASSAY_CACHE": str(tmp_path)}
    with Server(CHECKPOINTS["llama-linear"], "--dtype", "f32", **cache) as server:
        messages = {line["message"] for line in server.log}
        assert "building the engine" in messages and any("building an engine from" in message for message in messages)
        assert json.loads(server.get("/v1/models")[1])["data"][0]["id"] == "llama-linear"
        engine = json.loads(assay("cache", "--json", **cache).stdout)[0]
        in_use = assay("cache", "--remove", engine["name"], **cache)
        assert in_use.returncode == 1 and "in use by another process" in in_use.stderr
    with Server(CHECKPOINTS["llama-linear"], "--dtype", "f32", **cache) as server:
        assert not any("building" in line["message"] for line in server.log)
    assert "removed" in assay("cache", "--clear", **cache).stderr
    assert json.loads(assay("cache", "--json", **cache).stdout) == []


def test_the_ranks_of_a_checkpoint_are_known_without_building_it(tmp_path: Path):
    ranks = assay("serve", str(CHECKPOINTS["llama-linear"]), "--print-ranks", ASSAY_CACHE=str(tmp_path))
    assert (ranks.returncode, ranks.stdout) == (0, "1\n")
    assert not list(tmp_path.iterdir())


def test_people_are_shown_where_the_server_is(tmp_path: Path):
    command = [BINARIES / "assay", "serve", CHECKPOINTS["llama-linear"], "--port", "0", "--dtype", "f32", "--threads", "1"]
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=clean_environment(ASSAY_CACHE=str(tmp_path)), stderr=file)
    deadline = time.monotonic() + 60
    while " ready: " not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    server.kill()
    server.wait()
    text = log.read_text()
    assert "building an engine from" in text and "100%" in text
    line = next(line for line in text.splitlines() if " ready: " in line)
    port = line.split("http://localhost:")[1].split(" ")[0]
    assert f"serving llama-linear at http://localhost:{port} | playground http://localhost:{port}/ |" in line
    assert "without an API key" in line
