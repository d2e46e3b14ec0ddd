"""Startup, shutdown and failure, as an orchestrator sees them."""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from conftest import Engines, Server, assay, conversation, until

ENGINE_FAILED = 3
UNDRAINED = 4
ENGINE_CHANGED = 5
KILLED = 143


def refused_start(*arguments: str | Path) -> str:
    """The one-line message with which the server refuses to start."""
    done = assay("serve", "--host", "127.0.0.1", "--log-level", "error", *map(str, arguments), ASSAY_PORT="0")
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# --- Startup ---


@pytest.mark.parametrize("name", ["engine.yaml", "weights.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_missing_file_is_named(engines: Engines, tmp_path: Path, name: str):
    engine = engines.copy("llama3-tiny", tmp_path)
    (engine / name).unlink()
    assert name in refused_start("--engine", engine)


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_truncated_file_is_named(engines: Engines, tmp_path: Path, name: str):
    engine = engines.copy("llama3-tiny", tmp_path)
    content = (engine / name).read_bytes()
    (engine / name).write_bytes(content[: len(content) // 2])
    assert name in refused_start("--engine", engine)


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_file_with_one_bit_changed_is_named(engines: Engines, tmp_path: Path, name: str):
    engine = engines.copy("llama3-tiny", tmp_path)
    content = bytearray((engine / name).read_bytes())
    content[len(content) // 2] ^= 1
    (engine / name).write_bytes(content)
    assert name in refused_start("--engine", engine)


def test_a_changed_manifest_is_named(engines: Engines, tmp_path: Path):
    engine = engines.copy("llama3-tiny", tmp_path)
    manifest = engine / "engine.yaml"
    manifest.write_text(manifest.read_text().replace("instruction_set: ", "instruction_set: not_"))
    assert "engine.yaml" in refused_start("--engine", engine)


def test_an_invalid_manifest_is_named(engines: Engines, tmp_path: Path):
    engine = engines.copy("llama3-tiny", tmp_path)
    (engine / "engine.yaml").write_text("format: 1\nwishes: many\n")
    assert "engine.yaml" in refused_start("--engine", engine)


def test_a_directory_without_an_engine_is_named(tmp_path: Path):
    assert str(tmp_path) in refused_start("--engine", tmp_path)


def test_the_error_for_a_missing_engine_says_what_to_do():
    assert "assay serve MODEL" in refused_start()


def test_a_limit_above_that_of_the_engine_is_refused(engines: Engines):
    sentence = refused_start("--engine", engines["llama3-tiny"], "--max-seq-len", "100000")
    assert "100000" in sentence and "1024" in sentence


def test_a_limit_below_that_of_the_engine_is_applied(engines: Engines):
    with Server(engines["llama3-tiny"], "--max-seq-len", "64", "--served-model-name", "five") as server:
        assert server.client().models.list().data[0].max_model_len == 64
        with pytest.raises(openai.BadRequestError, match="64"):
            server.client().chat.completions.create(model="five", messages=conversation("word " * 100))


def test_a_port_in_use_is_named(engines: Engines):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        sentence = refused_start("--engine", engines["llama3-tiny"], "--port", port)
        assert port in sentence and "--port" in sentence


# --- Shutdown ---


def test_an_idle_server_exits_at_once_on_sigterm(engines: Engines):
    with Server(engines["llama3-tiny"], "--shutdown-grace", "3600", "--keep-alive", "3600") as server:
        # An idle keep-alive connection must not delay the exit, which would then take an hour.
        server.client().models.list()
        assert server.end() == 0


@pytest.fixture
def without_exit_handlers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of processes of which none may run the exit handlers of its libraries."""
    source, library, ran = tmp_path / "handler.c", tmp_path / "handler.so", tmp_path / "ran"
    source.write_text(
        '#include <fcntl.h>\n#include <unistd.h>\n'
        f'__attribute__((destructor)) static void ran(void) {{ close(open("{ran}", O_CREAT, 0600)); }}\n'
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    subprocess.run(["true"], env={"LD_PRELOAD": str(library)}, check=True)
    assert ran.exists()
    ran.unlink()
    yield {"LD_PRELOAD": str(library)}
    assert not ran.exists()


def test_nothing_is_torn_down_under_an_engine_that_still_computes(engines: Engines, tmp_path: Path, without_exit_handlers):
    """Exit handlers would destroy what oneDNN and OpenMP keep, and a process with an engine could end by a crash."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"messages": conversation()}) + "\n")
    of_engine = ["--engine", engines["llama3-tiny"], rows, "--output", tmp_path / "scored.jsonl"]
    assert assay("score", *of_engine, "--filter", "kindness>0", **without_exit_handlers).returncode == 1
    assert assay("score", *of_engine, **without_exit_handlers).returncode == 0
    with Server(engines["llama3-tiny"], **without_exit_handlers) as server:
        assert server.end() == 0


def test_requests_in_flight_are_finished_on_sigterm(engines: Engines):
    statuses = []

    async def flood(server: Server) -> None:
        async with server.async_client() as client:

            async def one(number: int) -> None:
                try:
                    answer = "word " * 150 + str(number)
                    await client.chat.completions.create(model="five", messages=conversation(answer))
                    statuses.append(200)
                except openai.APIStatusError as error:
                    assert error.body["code"] == "shutting_down"
                    statuses.append(error.status_code)

            async def end() -> None:
                while 200 not in statuses:
                    await asyncio.sleep(0.001)
                server.process.send_signal(signal.SIGTERM)

            await asyncio.gather(end(), *(one(number) for number in range(200)))

    with Server(engines["llama3-tiny"], "--served-model-name", "five") as server:
        asyncio.run(flood(server))
        assert server.process.wait(60) == 0
    assert len(statuses) == 200
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 1


@contextmanager
def stalled(engines: Engines, *arguments: str) -> Iterator[tuple[Server, socket.socket]]:
    """A server, and a connection with a request that never gets a response."""
    options = ("--simulate", "stall", "--served-model-name", "five", *arguments)
    request = b'{"model":"five","messages":[{"role":"user","content":"Hello"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(request)}\r\n\r\n"
    with Server(engines["llama3-tiny"], *options) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as waiting:
            waiting.sendall(head.encode() + request)
            until(lambda: server.metric("num_requests_running") == 1)
            yield server, waiting


def test_a_draining_server_is_live_but_not_ready(engines: Engines):
    with stalled(engines) as (server, _):
        assert server.get("/v1/health/ready")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.get("/v1/health/ready")[0] == 503)
        assert server.get("/v1/health/live")[0] == 200


def test_after_the_grace_period_the_exit_status_says_that_work_was_left(engines: Engines):
    with stalled(engines, "--shutdown-grace", "0.5") as (server, _):
        assert server.end() == UNDRAINED


def test_a_second_sigterm_ends_the_server_at_once(engines: Engines):
    with stalled(engines, "--shutdown-grace", "600") as (server, _):
        server.process.send_signal(signal.SIGTERM)
        server.logged("shutting down: finishing requests in flight")
        assert server.end() == KILLED


def test_a_request_is_cancelled_when_its_client_hangs_up(engines: Engines):
    with stalled(engines) as (server, waiting):
        waiting.close()
        until(lambda: server.metric("request_cancelled_total") == 1)


# --- Failure ---


def test_a_failed_engine_ends_the_process_if_so_configured(engines: Engines):
    options = ("--simulate", "fail", "--on-engine-failure", "exit", "--served-model-name", "five")
    with Server(engines["llama3-tiny"], *options) as server:
        with pytest.raises(openai.InternalServerError) as caught:
            server.client().chat.completions.create(model="five", messages=conversation())
        assert caught.value.body["code"] == "engine_failed"
        assert server.process.wait(60) == ENGINE_FAILED


def test_a_stalled_engine_ends_the_process_if_so_configured(engines: Engines):
    options = ("--simulate", "stall", "--stall-timeout", "0.2", "--on-engine-failure", "exit")
    with Server(engines["llama3-tiny"], *options, "--served-model-name", "five") as server:
        with pytest.raises(openai.InternalServerError) as caught:
            server.client().chat.completions.create(model="five", messages=conversation())
        assert caught.value.status_code == 503
        assert caught.value.body["code"] == "engine_stalled"
        assert server.process.wait(60) == ENGINE_FAILED


def test_a_failed_engine_is_loaded_again_if_so_configured(engines: Engines):
    options = ("--simulate", "fail", "--on-engine-failure", "restart", "--served-model-name", "five")
    with Server(engines["llama3-tiny"], *options) as server:
        with pytest.raises(openai.InternalServerError):
            server.client().chat.completions.create(model="five", messages=conversation())
        until(lambda: server.metric("engine_restarts_total") == 1)
        until(lambda: server.get("/v1/health/ready")[0] == 200)


def test_the_process_ends_when_the_restart_attempts_are_used_up(engines: Engines):
    options = ("--simulate", "fail", "--restart-attempts", "2", "--restart-wait", "0", "--served-model-name", "five")
    codes = []
    with Server(engines["llama3-tiny"], *options) as server:
        while server.process.poll() is None:
            try:
                server.client().chat.completions.create(model="five", messages=conversation())
            except openai.InternalServerError as error:
                codes.append(error.body["code"])
            except openai.APIConnectionError:
                continue
        assert server.process.returncode == ENGINE_FAILED
    assert codes.count("engine_failed") == 3


@pytest.mark.parametrize(("status", "kind"), [("429", openai.RateLimitError), ("503", openai.InternalServerError)])
def test_a_full_queue_has_the_configured_status(engines: Engines, status: str, kind: type[openai.APIStatusError]):
    options = ("--max-queue-requests", "1", "--max-batch-size", "1", "--overload-status", status)

    async def refusal(server: Server) -> BaseException:
        async with server.async_client() as client:
            create = client.chat.completions.create
            # Some stay in flight, one waits, and the rest find the queue full.
            requests = [asyncio.create_task(create(model="five", messages=conversation(f"{n}"))) for n in range(10)]
            done, waiting = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
            for request in waiting:
                request.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return done.pop().exception()

    with stalled(engines, *options) as (server, _):
        error = asyncio.run(refusal(server))
        assert isinstance(error, kind)
        assert error.body["code"] == "overloaded"
        assert int(error.response.headers["retry-after"]) >= 1


# --- The engine's files under a running server ---


def score(server: Server) -> str:
    completion = server.client().chat.completions.create(model="five", messages=conversation())
    return completion.choices[0].message.content


def truncate(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(100)


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(bytes(64))


@pytest.mark.parametrize("change", [truncate, overwrite, Path.unlink])
@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_file_that_changes_while_it_is_served_changes_no_score_and_is_reported(
    engines: Engines, tmp_path: Path, name: str, change
):
    engine = engines.copy("llama3-tiny", tmp_path)
    with Server(engine, "--served-model-name", "five") as server:
        before = score(server)
        change(engine / name)
        assert score(server) == before
        assert name in server.logged_with("the engine directory was changed")["message"]
        assert server.metric("engine_directory_changes_total") == 1
        assert score(server) == before
        assert server.get("/v1/health/ready")[0] == 200


def test_a_server_that_is_to_exit_when_its_engine_is_replaced_finishes_and_exits(engines: Engines, tmp_path: Path):
    engine = engines.copy("llama3-tiny", tmp_path)
    with Server(engine, "--served-model-name", "five", "--on-engine-change", "exit") as server:
        score(server)
        engine.rename(tmp_path / "old")
        engines.copy("qwen2-tiny", tmp_path).rename(engine)
        assert "another engine" in server.logged_with("the engine directory was changed")["message"]
        assert server.process.wait(30) == ENGINE_CHANGED


def test_files_that_are_only_touched_are_not_reported(engines: Engines, tmp_path: Path):
    engine = engines.copy("llama3-tiny", tmp_path)
    with Server(engine, "--served-model-name", "five", "--log-level", "debug") as server:
        (engine / "weights.safetensors").touch()
        server.logged_with("the engine's files were touched")
        assert server.metric("engine_directory_changes_total") == 0
