"""`assay serve CHECKPOINT`: an engine is built into a cache, and served."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BINARIES, CHECKPOINTS, ROOT, Server, assay, clean_environment


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


def test_the_documented_command_of_compose_serves_what_it_mounts(tmp_path: Path):
    page = (ROOT / "docs/docker.md").read_text()
    (command,) = re.findall(r"`ENGINES=(\S+) docker compose up --build`", page)
    compose = (ROOT / "compose.yaml").read_text()
    assert f"ENGINES={command} docker compose up --build" in compose and f"such as ENGINES={command}}}:/engines:ro" in compose
    # The entry script of the image names the mounted folder in this way, and the image keeps its cache in a volume.
    assert '"cache:/cache"' in compose and "ENV ASSAY_CACHE=/cache" in (ROOT / "docker/cpu.Dockerfile").read_text()
    with Server(None, NIM_CACHE_PATH=str(ROOT / command), ASSAY_CACHE=str(tmp_path)) as server:
        assert json.loads(server.get("/v1/models")[1])["data"][0]["id"] == "demo"


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


class Hub(http.server.BaseHTTPRequestHandler):
    """Behaves as the Hugging Face hub does for one model, and breaks off the first transfer of its weights."""

    files: dict[str, bytes] = {}
    broken: list[str] = []

    def log_message(self, *_) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path.startswith("/api/models/acme/judge"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
            tree = [{"type": "file", "path": name, "size": len(content), "oid": git_id(content)} for name, content in self.files.items()]
            body = tree if "/tree/" in path else {"id": "acme/judge", "modelId": "acme/judge", "sha": COMMIT, "siblings": siblings}
            self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/acme/judge/resolve/") and (name := path.split("/", 5)[-1]) in self.files:
            self.send_file(name, self.files[name])
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def send_file(self, name: str, content: bytes) -> None:
        etag = hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else git_id(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if self.command == "GET" and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], headers)
        elif self.command == "GET" and name.endswith(".safetensors") and name not in self.broken:
            self.broken.append(name)
            self.answer(200, content, headers, sent=len(content) // 2)
        else:
            self.answer(200, content, headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str], sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
        self.close_connection = sent is not None


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.files = {path.name: path.read_bytes() for path in CHECKPOINTS["llama-linear"].iterdir() if path.is_file()}
    Hub.files["model.gguf"] = b"not wanted"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_model_of_the_hub_is_downloaded_built_and_used_with_one_command(hub: str, tmp_path: Path):
    """The client is the hub's own; only the hub is a stand-in."""
    clients = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    here = {"ASSAY_CACHE": str(tmp_path / "assay"), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub, "PATH": clients}
    missing = assay("check", "acme/judge", **here)
    assert missing.returncode == 1 and "`hf download acme/judge`" in missing.stderr and "--download" in missing.stderr
    unknown = assay("check", "acme/nothing", "--download", **here)
    assert unknown.returncode == 1 and "`hf download acme/nothing` failed" in unknown.stderr
    without = assay("check", "acme/judge", "--download", **(here | {"PATH": str(tmp_path)}))
    assert without.returncode == 1 and "pip install --upgrade huggingface_hub" in without.stderr

    first = assay("check", "acme/judge", "--download", "--dtype", "f32", **here)
    assert first.returncode == 0, first.stderr
    local = assay("check", str(CHECKPOINTS["llama-linear"]), "--dtype", "f32", **here)
    assert first.stdout == local.stdout and first.stdout.startswith("{")
    assert json.loads(assay("cache", "--json", **here).stdout)[1]["model"] == "acme/judge"
    assert Hub.broken, "the first transfer of the weights broke off, and the client took it up again"
    assert not list((tmp_path / "hf").rglob("*.gguf"))
    offline = assay("check", "acme/judge", "--dtype", "f32", **(here | {"HF_ENDPOINT": "http://127.0.0.1:1"}))
    assert offline.stdout == first.stdout
