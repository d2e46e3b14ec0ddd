"""The balancers' configurations: nginx in front of real servers. Debian's package is nginx-light, or nginx."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/wire"), str(ROOT / "python")]
from conftest import BINARIES, Engines, Server, clean_environment, until  # noqa: E402

from assay import Client  # noqa: E402

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
PROMPTS = [f"What is {number}+1?" for number in range(40)]
ANSWERS = ["It is 1.", "It is 2.", "I do not know."]


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Path:
    return Engines(tmp_path_factory.mktemp("engines"))["llama3-tiny"]


@pytest.fixture
def servers(engine: Path) -> Iterator[list[Server]]:
    with Server(engine) as one, Server(engine) as two:
        yield [one, two]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def nginx(servers: list[Server], tmp_path: Path) -> Iterator[str]:
    """The URL of nginx with the repository's configuration in front of both servers."""
    if not os.access(NGINX, os.X_OK):
        pytest.skip("nginx is not installed")
    text, port = (ROOT / "deploy/balancers/nginx.conf").read_text(), free_port()
    for number, server in enumerate(servers):
        assert f"reward-{number}:8000" in text
        text = text.replace(f"reward-{number}:8000", server.address)
    text = text.replace("listen 8000", f"listen 127.0.0.1:{port}")
    paths = "\n".join(f"{kind}_temp_path {tmp_path / kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"pid {tmp_path / 'pid'};\nevents {{}}\nhttp {{\naccess_log off;\n{paths}\n{text}\n}}\n"
    )
    command = [NGINX, "-c", configuration, "-e", tmp_path / "error.log", "-g", "daemon off;"]
    process = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/v1/health/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def scored(server: Server) -> float:
    return server.metric("request_success_total")


def test_nginx_keeps_the_responses_to_a_prompt_on_one_server(nginx: str, servers: list[Server]):
    homes = {}
    with Client(nginx) as client:
        for answer in ANSWERS:
            for prompt in PROMPTS:
                before = [scored(server) for server in servers]
                client.score(prompt, [answer])
                (home,) = [n for n, server in enumerate(servers) if scored(server) > before[n]]
                assert homes.setdefault(prompt, home) == home
    assert 10 <= sum(homes.values()) <= 30, homes


def test_nginx_gives_the_prompts_of_a_stopped_server_to_the_other(nginx: str, servers: list[Server], engine, tmp_path: Path):
    rows = [{"prompt": prompt, "response": answer} for answer in ANSWERS for prompt in PROMPTS]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def score(output: str, *backend: str | Path) -> bytes:
        command = [BINARIES / "assay", "score", tmp_path / "in.jsonl", "--output", tmp_path / output, *backend]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return (tmp_path / output).read_bytes()

    expected = score("engine.jsonl", "--engine", engine)
    assert score("both.jsonl", "--url", nginx) == expected
    assert all(scored(server) > 0 for server in servers)
    assert servers[0].end() == 0
    assert score("one.jsonl", "--url", nginx) == expected


def test_every_balancer_hashes_the_header_that_the_clients_send():
    envoy = yaml.safe_load((ROOT / "deploy/balancers/envoy.yaml").read_text())
    manager = envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    header = route["hash_policy"][0]["header"]["header_name"]
    assert envoy["static_resources"]["clusters"][0]["lb_policy"] == "MAGLEV"
    assert f'"{header}"' in (ROOT / "src/score/client/routing.rs").read_text()
    assert f'"{header}"' in (ROOT / "python/assay/_plans.py").read_text()
    assert f"$http_{header.replace('-', '_')} " in (ROOT / "deploy/balancers/nginx.conf").read_text()
