"""Errors, as the OpenAI client raises them."""

import json
import urllib.error
import urllib.request

import openai
import pytest
from conftest import Server, conversation


def refused(server: Server, kind: type[openai.APIStatusError], **request) -> dict:
    request = {"model": "five", "messages": conversation()} | request
    with pytest.raises(kind) as caught:
        server.client().chat.completions.create(**request)
    assert caught.value.body["message"]
    return caught.value.body


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0].content[0].type"),
        ({"n": 2}, "n"),
        ({"tools": "f"}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"temperature": "hot"}, "temperature"),
        ({"extra_body": {"priority": 1000}}, "priority"),
        ({"extra_body": {"timeout": -1}}, "timeout"),
        ({"extra_body": {"wish": "a good score"}}, "wish"),
    ],
)
def test_an_error_names_the_bad_field(server: Server, request_: dict, param: str):
    body = refused(server, openai.BadRequestError, **request_)
    assert body["param"] == param
    assert param in body["message"]
    assert body["type"] == "invalid_request_error"


def test_an_unknown_model_is_not_found(server: Server):
    body = refused(server, openai.NotFoundError, model="gpt-4o")
    assert body["code"] == "model_not_found"
    assert "gpt-4o" in body["message"] and "five" in body["message"]


def test_the_error_for_a_long_text_has_its_length_and_the_limit(server: Server):
    body = refused(server, openai.BadRequestError, messages=conversation("word " * 2000))
    assert body["code"] == "context_length_exceeded"
    assert "1024" in body["message"]


def test_a_body_over_the_limit_is_413(engines):
    with Server(engines["llama3-tiny"], "--max-body-bytes", "2000", "--served-model-name", "five") as server:
        body = refused(server, openai.APIStatusError, messages=conversation("word " * 1_000_000))
        assert body["code"] == "request_too_large"
        assert "2000 bytes" in body["message"]
        assert server.client().chat.completions.create(model="five", messages=conversation()).choices


def test_a_missed_deadline_is_a_timeout(engines):
    with Server(engines["llama3-tiny"], "--simulate", "stall", "--served-model-name", "five") as server:
        body = refused(server, openai.InternalServerError, extra_body={"timeout": 0.1})
        assert body["type"] == "timeout_error"


def test_a_strict_server_requires_the_assistant_to_be_last(engines):
    with Server(engines["llama3-tiny"], "--require-assistant-turn", "--served-model-name", "five") as server:
        body = refused(server, openai.BadRequestError, messages=[{"role": "user", "content": "ping"}])
        assert body["param"] == "messages[0].role"
        assert "user" in body["message"]


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b'{"model": "five", ', 400, "malformed_json"),
        ("POST", "/v1/chat/completions", b"\xff\xfe", 400, "malformed_json"),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400, "malformed_json"),
        ("GET", "/v1/chat/completions", None, 405, "method_not_allowed"),
        ("POST", "/v1/chat/completion", b"{}", 404, "unknown_url"),
    ],
)
def test_requests_that_no_openai_client_sends_get_an_error_too(
    server: Server, method: str, path: str, data: bytes | None, status: int, code: str
):
    request = urllib.request.Request(server.url + path, data=data, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == status
    assert json.load(caught.value)["error"]["code"] == code


def test_the_server_still_answers_after_all_these_errors(server: Server):
    assert server.get("/v1/health/ready")[0] == 200
    assert server.client().chat.completions.create(model="five", messages=conversation()).choices
