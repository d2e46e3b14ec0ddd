"""The client over a real server, and over answers that a server gives rarely."""

import asyncio
import contextlib
import json
import logging
import math
import os
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

import assay
from assay import AsyncClient, Client, ScoringError, Server, ServerError
from assay._batches import BatchScorer
from assay._protocol import reward_of

ANSWERS = ["The capital is Paris.", "No.", "It is a country in Europe."]
QUESTION = "What is the capital of France?"


def chat_scores(server: Server, answer: str) -> dict[str, float]:
    """The scores of another route."""
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}]
    body = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "demo", "messages": messages}).json()
    return {entry["token"]: entry["logprob"] for entry in body["choices"][0]["logprobs"]["content"]}


def test_scores_are_those_of_every_route_in_the_order_of_the_responses(server: Server, client: Client):
    scores = client.score(QUESTION, ANSWERS)
    assert scores == [chat_scores(server, answer) for answer in ANSWERS]
    assert client.rewards(QUESTION, ANSWERS) == [one["helpfulness"] for one in scores]
    assert client.rewards(QUESTION, ANSWERS, rank_by="coherence") == [one["coherence"] for one in scores]
    turns = [{"role": "user", "content": QUESTION}]
    assert client.score(turns, ANSWERS) == scores
    assert client.models() == ["demo"] and client.attributes() == list(scores[0])
    assert client.ranked_by() == "helpfulness"
    with Client(server.url, model="other") as other, pytest.raises(ServerError, match="other"):
        other.attributes()
    assert client.score(QUESTION, []) == []


def test_batches_and_the_asynchronous_client_give_the_same_scores(server: Server, client: Client):
    answers = [f"{answer} {n}" for n in range(20) for answer in ANSWERS]
    expected = client.score(QUESTION, answers)
    with Client(server.url + "/v1/", batch_size=7) as small:
        assert small.score(QUESTION, answers) == expected

    async def run() -> list[dict[str, float]]:
        async with AsyncClient(server.url, batch_size=7) as client:
            assert await client.models() == ["demo"]
            assert await client.attributes() == list(expected[0])
            return await client.score(QUESTION, answers)

    assert asyncio.run(run()) == expected


def test_a_response_without_scores_raises_with_its_index_and_never_becomes_a_score(client: Client):
    answers = ["fine", "long " * 20_000, "fine"]
    with pytest.raises(ScoringError) as raised:
        client.score(QUESTION, answers)
    assert list(raised.value.failures) == [1] and "response 1" in str(raised.value)
    with pytest.raises(ScoringError):
        client.rewards(QUESTION, answers)
    turns = lambda answer: [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}]  # noqa: E731
    found = client.items([turns(answer) for answer in answers])
    assert [item.error is None for item in found] == [True, False, True]
    assert found[1].scores is None and found[1].reward is None


def test_a_refusal_of_the_server_names_the_field(client: Client):
    with pytest.raises(ServerError) as raised:
        client.rewards(QUESTION, ANSWERS, rank_by="nope")
    assert raised.value.status == 400 and raised.value.param == "rank_by"
    with pytest.raises(TypeError):
        client.score(QUESTION, "not a list")
    with pytest.raises(ValueError):
        Client(batch_size=0)


def answering(answers: list[httpx.Response | Exception], **options) -> tuple[Client, list[dict]]:
    """A client whose server gives these answers in turn, and the bodies that it got."""
    asked: list[dict] = []
    rest = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        answer = next(rest)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Client("http://x", transport=httpx.MockTransport(handle), **options), asked


def rewards(*scores: float, **changed) -> httpx.Response:
    data = [{"index": index, "scores": {"reward": score}} for index, score in enumerate(scores)]
    return httpx.Response(200, json={"data": data, "ranked_by": "reward"} | changed)


def test_responses_to_a_prompt_carry_one_digest_for_balancers():
    seen: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("x-assay-prompt"))
        texts = json.loads(request.content)["conversations"]
        return rewards(*(1.0 for _ in texts))

    prompt = 'What is "1+1"?\n\u0007é😀'
    with Client("http://x", transport=httpx.MockTransport(handle), batch_size=1) as client:
        client.score(prompt, ["a", "b"])
        client.rewards([{"content": prompt, "name": None, "role": "user"}], ["c"])
        client.rewards("another", ["a"])
        client.rewards([{"name": "Ann", "content": "q", "role": "user"}], ["a"])

    async def run() -> None:
        async with AsyncClient("http://x", transport=httpx.MockTransport(handle)) as client:
            await client.score(prompt, ["a", "b"])

    asyncio.run(run())
    # `assay score` has the same digests of the same prompts in a test of its own.
    assert seen[:3] + seen[5:] == ["4d854f863422b44c"] * 4 and seen[3] not in (None, seen[0])
    assert seen[4] == "2d547909373cd904"


def test_a_batch_scorer_needs_a_server_and_closes_its_connections():
    with pytest.raises(ValueError, match="empty list"):
        BatchScorer([])
    scorer = BatchScorer(["http://x", "http://y"])
    scorer.close()
    with pytest.raises(RuntimeError, match="closed"):
        scorer.items(["q"], ["a"])


def test_a_busy_server_is_asked_again_when_it_says(monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    busy = [httpx.Response(429, headers={"Retry-After": "7"}, json={"error": {"message": "full"}}), httpx.Response(503)]
    client, asked = answering([*busy, httpx.ConnectError("gone"), rewards(0.5)])
    assert client.rewards("q", ["a"]) == [0.5] and len(asked) == 4
    assert slept[0] >= 7 and all(seconds > 0 for seconds in slept)


def test_retries_end_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    client, asked = answering([httpx.Response(503, headers={"Retry-After": "60"}, json={"error": {"message": "full"}})], retry_for=5)
    with pytest.raises(ServerError, match="full") as raised:
        client.rewards("q", ["a"])
    assert raised.value.status == 503 and len(asked) == 1
    client, _ = answering([httpx.ConnectError("gone")], retry_for=0)
    with pytest.raises(ServerError, match="does not answer"):
        client.rewards("q", ["a"])


@pytest.mark.parametrize("options", [{"url": "localhost:8000"}, {"url": ""}, {"api_key": "key\n"}, {"api_key": "kéy"}])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_url_or_a_key_that_cannot_work_is_refused_at_once(kind: type, options: dict):
    with pytest.raises(ValueError, match="http://|api_key"):
        kind(**options)


def test_a_server_that_does_not_answer_is_reported_while_it_is_asked_again(monkeypatch, caplog):
    monkeypatch.setattr("time.sleep", lambda _: None)
    client, _ = answering([httpx.ConnectError("gone"), httpx.ConnectTimeout(""), httpx.Response(429), rewards(0.5)])
    with caplog.at_level(logging.WARNING, "assay"):
        assert client.rewards("q", ["a"]) == [0.5]
    assert ["gone; trying again" in caplog.messages[0], "ConnectTimeout; trying" in caplog.messages[1]] == [True, True]
    # A busy server is normal.
    assert len(caplog.messages) == 2


def test_an_error_of_one_batch_ends_the_others_of_the_asynchronous_client():
    ended: list[str] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        text = json.loads(request.content)["conversations"][0][-1]["content"]
        if text == "wrong":
            return httpx.Response(400, json={"error": {"message": "wrong"}})
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(text)
            raise
        return rewards(1.0)

    async def run() -> None:
        async with AsyncClient("http://x", batch_size=1, transport=httpx.MockTransport(handle)) as client:
            with pytest.raises(ServerError, match="wrong"):
                await client.rewards("q", ["slow", "wrong", "slower"])
            assert sorted(ended) == ["slow", "slower"]

    asyncio.run(run())


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json={"data": [{}]})])
def test_a_list_of_models_that_is_none_raises_an_error_of_the_package(answer: httpx.Response):
    client = Client("http://x", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(ServerError, match="/v1/models"):
        client.models()


def test_a_forked_process_does_not_read_answers_to_another():
    """Trainers fork workers that use the client of their parent."""
    seen: list[tuple] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None: ...

        def do_POST(self) -> None:
            seen.append(self.client_address)
            self.rfile.read(int(self.headers["Content-Length"]))
            body = rewards(0.5).content
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Client(f"http://127.0.0.1:{server.server_port}", retry_for=0) as client:
        client.rewards("q", ["a"])
        child = os.fork()
        if child == 0:
            os._exit(0 if client.rewards("q", ["a"]) == [0.5] else 1)
        assert os.waitpid(child, 0)[1] == 0
        client.rewards("q", ["a"])
    server.shutdown()
    server.server_close()
    parent, forked, again = seen
    assert parent == again != forked


@pytest.mark.parametrize(
    "answer",
    [
        rewards(0.5),
        rewards(0.5, 0.5, 0.5),
        rewards(0.5, 0.5, ranked_by="other"),
        rewards(0.5, 0.5, data=[{"index": 0, "scores": {"reward": 0.5}}] * 2),
        rewards(0.5, 0.5, data=[{"index": 0, "scores": {"reward": None}}, {"index": 1, "scores": {"reward": 1}}]),
        httpx.Response(200, text="<html>a proxy</html>"),
    ],
)
def test_an_answer_that_is_not_one_score_for_each_response_raises(answer: httpx.Response):
    client, _ = answering([answer])
    with pytest.raises(ServerError):
        client.rewards("q", ["a", "b"])


def test_answers_are_matched_by_index():
    data = [{"index": 1, "scores": {"reward": 2.0}}, {"index": 0, "scores": {"reward": 1.0}}]
    client, _ = answering([rewards(data=data)])
    assert client.rewards("q", ["a", "b"]) == [1.0, 2.0]


def test_errors_keep_what_they_say_in_another_process():
    for error in [ServerError("gone", 400, "code", "field"), ScoringError({3: "too long", 5: "empty"})]:
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error) and vars(copy) == vars(error)


def test_steps_are_summed_up_as_the_server_names_it():
    scores = {"step_1": 0.5, "step_2": 0.25, "step_10": 0.75}
    found = {name: reward_of(scores, f"{name}(step)") for name in ["min", "mean", "last", "prod"]}
    assert found == {"min": 0.25, "mean": 0.5, "last": 0.75, "prod": math.prod(scores.values())}
    for missing in ["max(step)", "min(other)"]:
        with pytest.raises(KeyError):
            reward_of(scores, missing)


def test_a_server_that_cannot_start_says_why(tmp_path):
    with pytest.raises(ServerError, match="did not start"):
        assay.Server(tmp_path)


@pytest.mark.parametrize("options", [[], ["--log-level", "error"], ["--log-level=assay::scheduler=debug,off"]])
def test_a_server_is_found_whatever_is_logged_and_without_a_proxy(engine, monkeypatch, options: list[str]):
    monkeypatch.setenv("ASSAY_LOG_LEVEL", "warn")
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"]:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ["NO_PROXY", "no_proxy"]:
        monkeypatch.delenv(name, raising=False)
    with Server(engine, "--threads", "1", *options, timeout=60) as server, server.client() as client:
        assert client.models() == ["demo"]
    with contextlib.closing(BatchScorer(engine=str(engine), engine_options=options, retry_for=0)) as scorer:
        assert scorer.items([QUESTION], ["Paris"])[0].error is None
