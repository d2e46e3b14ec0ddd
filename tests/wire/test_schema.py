"""Checks the server against its own OpenAPI document, with schemathesis."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import Server

# For requests that the schema allows and for some that it does not: no 5xx, no undocumented status or content type,
# no response that differs from its schema.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def schemathesis(server: Server, directory: Path, *arguments: str) -> None:
    command = [Path(sys.executable).parent / "schemathesis", "run", server.url + "/openapi.json"]
    command += ["--checks", CHECKS, "--seed", "1", "--generation-database", "none", "--no-color"]
    run = subprocess.run([*command, *arguments], cwd=directory, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_request_gets_a_5xx_or_an_undocumented_response(
    server: Server, tmp_path: Path
):
    schemathesis(server, tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "30")
    assert server.process.poll() is None
    assert server.get("/v1/health/ready")[0] == 200


def test_every_route_has_a_summary_and_a_tag(server: Server):
    paths = json.loads(server.get("/openapi.json")[1])["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("summary") and operation.get("tags"), f"{method} {path}"
