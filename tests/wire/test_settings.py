"""Options from the command line, the environment and a file."""

from pathlib import Path

import pytest
from conftest import assay


def settings(*arguments: str, **variables: str) -> dict[str, str]:
    done = assay("serve", "--print-config", "--engine", "engine", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    lines = [line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line]
    return {name: value.strip('"') for name, value in lines}


def test_precedence_is_command_line_then_environment_then_file_then_default(tmp_path: Path):
    file = tmp_path / "assay.yaml"
    file.write_text("port: 1003\nmax_seq_len: 1003\nthreads: 1003\n")
    environment = {"ASSAY_PORT": "1002", "ASSAY_MAX_SEQ_LEN": "1002", "ASSAY_CONFIG": str(file)}
    got = settings("--port", "1001", **environment)
    assert (got["port"], got["max_seq_len"], got["threads"], got["host"]) == ("1001", "1002", "1003", "0.0.0.0")


def test_variables_of_nim_rank_between_our_variables_and_the_file(tmp_path: Path):
    file = tmp_path / "assay.yaml"
    file.write_text("port: 1003\nlog_format: human\n")
    nim = {"NIM_SERVER_PORT": "1002", "NIM_JSONL_LOGGING": "1", "NIM_LOG_LEVEL": "DEBUG"}
    got = settings("--config", str(file), **nim)
    assert (got["port"], got["log_format"], got["log_level"]) == ("1002", "json", "debug")
    assert settings(ASSAY_PORT="1001", **nim)["port"] == "1001"


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [("port: 80\nprot: 81\n", 2, "prot"), ("# first\nport: eighty\n", 2, "eighty"), ("port: [\n", 2, "port")],
)
def test_a_mistake_in_the_file_is_reported_with_its_line(tmp_path: Path, text: str, line: int, word: str):
    file = tmp_path / "assay.yaml"
    file.write_text(text)
    done = assay("serve", "--engine", "engine", "--config", str(file))
    assert done.returncode == 1
    assert f"{file}:{line}" in done.stderr or f"{file}:1" in done.stderr
    assert word in done.stderr


def test_an_invalid_variable_is_named():
    done = assay("serve", "--engine", "engine", ASSAY_PORT="http")
    assert done.returncode == 2
    assert "http" in done.stderr
    done = assay("serve", "--engine", "engine", NIM_SERVER_PORT="http")
    assert done.returncode == 1
    assert "NIM_SERVER_PORT" in done.stderr
