"""Logs and traces, as an operator sees them."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Engines, Server, conversation
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SECRET = "the password is swordfish"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """A collector that receives spans over OTLP."""

    def __init__(self):
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces", self.path
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list:
        resources = [each for request in self.requests for each in request.resource_spans]
        return [span for each in resources for scope in each.scope_spans for span in scope.spans]

    def services(self) -> set[str]:
        resources = [each.resource for request in self.requests for each in request.resource_spans]
        return {attribute(resource, "service.name") for resource in resources}


def attribute(holder, name: str):
    value = next(each.value for each in holder.attributes if each.key == name)
    return getattr(value, value.WhichOneof("value"))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


def test_a_request_is_a_tree_of_spans_under_the_span_of_its_caller(engines: Engines, collector: Collector):
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "deployment=test"}
    with Server(engines["llama3-tiny"], "--served-model-name", "five", **variables) as server:
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": "mine"}
        server.client().chat.completions.create(
            model="five", messages=conversation(SECRET), extra_headers=headers
        )
        server.client().chat.completions.create(model="five", messages=conversation(), stream=True).close()
        server.get("/nowhere/" + "swordfish")
        assert server.end() == 0
    assert collector.services() == {"assay"}
    spans = collector.spans()
    assert SECRET not in str(spans) and "swordfish" not in str(spans)
    root = next(span for span in spans if span.trace_id.hex() == TRACE and span.name.startswith("POST"))
    assert root.name == "POST /v1/chat/completions"
    assert root.parent_span_id.hex() == CALLER
    assert attribute(root, "http.response.status_code") == 200
    assert attribute(root, "assay.request_id") == "mine"
    assert attribute(root, "assay.sequences") == 1
    assert attribute(root, "gen_ai.usage.input_tokens") > 10
    children = [span for span in spans if span.parent_span_id == root.span_id]
    assert [span.name for span in children] == ["prompt", "queue", "engine", "answer"]
    for before, after in zip(children, children[1:]):
        assert before.start_time_unix_nano <= after.start_time_unix_nano
    for child in children:
        assert child.trace_id == root.trace_id
        assert root.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
        assert child.end_time_unix_nano <= root.end_time_unix_nano
    roots = [span for span in spans if span.name.startswith(("GET", "POST"))]
    assert len({span.trace_id for span in roots}) == 3
    lost = next(span for span in roots if span.name == "GET unknown")
    assert (attribute(lost, "error.type"), lost.parent_span_id) == ("unknown_url", b"")


class Loading(Server):
    """A server whose engine never finishes loading."""

    STARTED = "listening"


def test_requests_are_traced_while_the_engine_loads(engines: Engines, collector: Collector, tmp_path: Path):
    engine = engines.copy("llama3-tiny", tmp_path)
    (engine / "tokenizer.json").unlink()
    os.mkfifo(engine / "tokenizer.json")
    with Loading(engine, "--simulate", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server:
        assert server.get("/v1/health/ready")[0] == 503
        assert server.end() == 0
    assert [span.name for span in collector.spans()] == ["GET /v1/health/ready"]


def test_an_unreachable_collector_delays_no_response(engines: Engines):
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "10"}
    with Server(engines["llama3-tiny"], "--served-model-name", "five", **variables) as server:
        for _ in range(20):
            assert server.client().chat.completions.create(model="five", messages=conversation())
        assert server.end() == 0


def test_an_unsupported_protocol_is_refused_by_name(engines: Engines):
    with pytest.raises(AssertionError, match="`grpc` is not supported"):
        Server(
            engines["llama3-tiny"],
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4317",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        )


def test_responses_say_how_long_each_stage_took(server: Server):
    answer = server.client().chat.completions.with_raw_response.create(model="five", messages=conversation())
    stages = dict(stage.split(";dur=") for stage in answer.headers["server-timing"].split(", "))
    assert list(stages) == ["prompt", "queue", "engine", "answer"]
    assert all(float(milliseconds) >= 0 for milliseconds in stages.values())
    assert float(stages["engine"]) > 0


def test_log_lines_have_the_request_id_and_never_the_text(engines: Engines):
    arguments = ["--served-model-name", "five", "--log-level", "trace"]
    with Server(engines["llama3-tiny"], *arguments) as server:
        client = server.client()
        headers = {"X-Request-Id": "mine-1"}
        client.chat.completions.create(model="five", messages=conversation(SECRET), extra_headers=headers)
        for broken in ({"model": "five", "messages": SECRET}, {"model": "five", "messages": [{"role": SECRET}]}):
            with pytest.raises(Exception, match="400|404|Error"):
                client.post("/chat/completions", body=broken, cast_to=object)
        line = server.logged("answered")
        assert (line["span"]["id"], line["span"]["path"]) == ("mine-1", "/v1/chat/completions")
        assert server.end() == 0
        assert SECRET not in "".join(server.lines)


def test_request_logging_writes_the_text_to_the_log(engines: Engines):
    with Server(engines["llama3-tiny"], "--served-model-name", "five", NIM_DISABLE_LOG_REQUESTS="0") as server:
        server.client().chat.completions.create(model="five", messages=conversation(SECRET))
        line = next(line for line in server.log if "body" in line)
        assert SECRET in json.loads(line["body"])["messages"][1]["content"]
        assert line["span"]["id"]
