"""`assay score` through servers."""

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import LOUVRE, PARIS, Server, assay, conversation
from score_runs import pairs, read, score, with_template, write


class Passing(ThreadingHTTPServer):
    """A proxy that forwards some routes of a server and records the requests."""

    def __init__(self, upstream: str, *routes: str):
        self.asked: list[str] = []
        passing = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.pass_on(None)

            def do_POST(self):
                passing.asked.append(self.path)
                self.pass_on(self.rfile.read(int(self.headers["content-length"])))

            def pass_on(self, body: bytes | None):
                if body is not None and self.path not in routes:
                    return self.answer(404, b'{"detail": "Not Found"}')
                try:
                    with urllib.request.urlopen(urllib.request.Request(upstream + self.path, body)) as answer:
                        self.answer(answer.status, answer.read())
                except urllib.error.HTTPError as error:
                    self.answer(error.code, error.read())

            def answer(self, status: int, body: bytes):
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "Passing":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()


REWARDS, CHAT = "/v1/rewards", "/v1/chat/completions"


def test_a_file_gets_the_same_scores_through_a_server_and_in_process(engines, server, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(40))
    assert score(engines, source, "--output", tmp_path / "here.jsonl").returncode == 0
    there = assay("score", source, "--url", server.url, "--output", tmp_path / "there.jsonl")
    assert there.returncode == 0, there.stderr
    assert (tmp_path / "here.jsonl").read_bytes() == (tmp_path / "there.jsonl").read_bytes()


def test_a_row_is_one_request_and_a_server_without_that_route_gets_chat_completions(engines, server, tmp_path):
    rows = [{"prompt": f"{PARIS} {n}", "responses": [LOUVRE, "No.", f"Paris {n}."]} for n in range(4)]
    source = write(tmp_path / "in.jsonl", rows)
    assert score(engines, source, "--output", tmp_path / "here.jsonl").returncode == 0
    # The first request finds out whether the server has the route.
    for routes, due in [((REWARDS, CHAT), [REWARDS] * 5), ((CHAT,), [REWARDS] + [CHAT] * 12)]:
        output = tmp_path / f"{len(routes)}.jsonl"
        with Passing(server.url, *routes) as passing:
            done = assay("score", source, "--url", passing.url, "--output", output)
        assert done.returncode == 0, done.stderr
        assert passing.asked == due
        assert output.read_bytes() == (tmp_path / "here.jsonl").read_bytes()


def test_a_row_is_split_until_the_server_accepts_it(engines, tmp_path):
    rows = [{"prompt": PARIS, "responses": [LOUVRE, 7, *(f"Number {n}." for n in range(9)), "word " * 5000]}]
    source = write(tmp_path / "in.jsonl", rows)
    assert score(engines, source, "--output", tmp_path / "here.jsonl").returncode == 3
    with Server(engines["llama3-tiny"], "--max-request-items", "2", "--max-queue-requests", "1") as small:
        there = assay("score", source, "--url", small.url, "--output", tmp_path / "there.jsonl")
    assert there.returncode == 3, there.stderr
    (here,), (there,) = read(tmp_path / "here.jsonl"), read(tmp_path / "there.jsonl")
    errors = [row.pop("score_error") for row in (here, there)]
    assert here == there and len(here["score_rank"]) == 12
    assert [n for n, rank in enumerate(here["score_rank"]) if rank is None] == [1, 11]
    for error in errors:
        assert "response 2 of 12: `responses` is neither" in error and "response 12 of 12: " in error and "tokens" in error


def test_a_failed_response_does_not_affect_the_others_in_its_row(engines, tmp_path):
    whole, long = [LOUVRE, "No."], "word " * 5000
    rows = [{"prompt": PARIS, "responses": responses} for responses in (whole, [LOUVRE, long, "No."], [long], [])]
    source = write(tmp_path / "in.jsonl", rows)
    done = score(engines, source, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 3
    assert "4 responses scored, 2 rows without scores, 1 row partly scored" in done.stderr
    first, second, third, fourth = read(tmp_path / "out.jsonl")
    for name in ("score_helpfulness", "score_rank"):
        assert second[name] == [first[name][0], None, first[name][1]]
    assert second["score_margin"] == first["score_margin"]
    assert "response 2 of 3: " in second["score_error"] and "score_error" not in first
    assert "response 1 of 1: " in third["score_error"] and "score_rank" not in third
    assert fourth["score_error"] == "`responses` is empty"
    assert score(engines, source, "--output", tmp_path / "best.jsonl", "--best-of").returncode == 3
    best = read(tmp_path / "best.jsonl")
    assert [row["response"] for row in best] == [best[0]["response"]] * 2 and best[0]["response"] in whole
    for output in ("out.parquet", "out.csv"):
        assert score(engines, source, "--output", tmp_path / output).returncode == 3
        report = assay("report", tmp_path / output)
        assert report.returncode == 0 and ": 4 responses" in report.stderr, report.stderr

    pair = [{"prompt": PARIS, "chosen": LOUVRE, "rejected": rejected} for rejected in ("No.", long)]
    source = write(tmp_path / "pairs.jsonl", pair)
    evaluated = assay("eval", source, "--engine", engines["llama3-tiny"], "--json")
    assert evaluated.returncode == 3
    result = json.loads(evaluated.stdout)
    assert (result["all"]["pairs"], result["failed"]) == (1, 1)


def test_a_servers_variables_are_those_of_the_command_and_of_the_server(tmp_path):
    engine = with_template(tmp_path, "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}{{ style }}")
    source = write(tmp_path / "in.jsonl", [{"messages": [{**turn, "mood": "gay"} for turn in conversation()]}])
    texts = []
    for option, given in [({}, {}), ({"style": "bold", "colour": "red"}, {}), ({}, {"style": "bold"})]:
        options = ["--chat-template-kwargs", json.dumps(option)] if option else []
        with Server(engine, *options) as server:
            output = tmp_path / f"out{len(texts)}.jsonl"
            command = ["score", "--url", server.url, source, "--output", output]
            done = assay(*command, *(["--chat-template-kwargs", json.dumps(given)] if given else []))
            assert done.returncode == 0, done.stderr
            texts.append(output.read_text())
            assert server.logged("the chat template never reads this field of a message")["field"] == "mood"
            if option:
                assert server.logged("the chat template never reads this variable")["variable"] == "colour"
    assert texts[0] != texts[1] and texts[1] == texts[2]


def test_a_run_stops_when_the_server_is_gone_and_keeps_its_finished_rows(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(2))
    gone = assay("score", source, "--url", "http://127.0.0.1:9", "--output", tmp_path / "out.jsonl")
    assert gone.returncode == 1 and "does not answer" in gone.stderr


def test_a_row_beyond_the_limits_of_the_server_gets_an_error(one_score: Server, tmp_path):
    rows = [{"prompt": PARIS, "response": "word " * 5000}, {"prompt": PARIS, "response": LOUVRE}]
    done = assay("score", write(tmp_path / "in.jsonl", rows), "--url", one_score.url, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 3, done.stderr
    first, second = read(tmp_path / "out.jsonl")
    assert "tokens" in first["score_error"] and "score_reward" in second


class Answering(ThreadingHTTPServer):
    """A server that scores each response by its length, and answers the items in the order that `order` gives."""

    def __init__(self, order, profile=lambda: None, unanswered=0):
        unanswered = iter(range(unanswered))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/v1/metadata" and next(unanswered, None) is not None:
                    return
                found = {"/v1/models": {"data": [{"id": "m"}]}, "/v1/metadata": {"selectedModelProfileId": profile()}}
                self.answer(200, found[self.path])

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if "messages" not in body:
                    return self.answer(400, {"error": {"message": "missing", "param": "messages"}})
                items = [{"index": n, "scores": {"reward": len(text)}} for n, text in enumerate(body["responses"])]
                self.answer(200, {"data": order(items)})

            def answer(self, status: int, body: dict):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                if profile():
                    self.send_header("x-assay-engine", profile())
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_answers_belong_to_responses_by_their_index(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": "q", "responses": ["a", "bb", "ccc"]}])
    reversed_items = Answering(lambda items: items[::-1])
    done = assay("score", source, "--url", reversed_items.url, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "out.jsonl")[0]["score_reward"] == [1.0, 2.0, 3.0]
    twice = Answering(lambda items: [items[0] | {"index": 1}, *items[1:]])
    done = assay("score", source, "--url", twice.url, "--output", tmp_path / "no.jsonl")
    assert done.returncode == 1 and "index" in done.stderr


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "1.5", None, [1.5], {}])
def test_what_is_not_a_number_is_never_a_score(tmp_path, score):
    source = write(tmp_path / "in.jsonl", [{"prompt": f"q{n}", "responses": ["a", "bb"]} for n in range(3)])
    output = tmp_path / "out.jsonl"
    garbage = Answering(lambda items: [item | {"scores": {"reward": score}} for item in items])
    done = assay("score", source, "--url", garbage.url, "--output", output)
    assert done.returncode == 1 and "cannot read scores" in done.stderr and not output.exists(), done.stderr


def test_a_server_that_does_not_say_what_it_runs_is_asked_again_and_then_refused(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": "q", "responses": ["a", "bb"]}])
    profiles = iter(["one"] * 4 + ["two"] * 99)
    once = Answering(lambda items: items, lambda: next(profiles), unanswered=1)
    done = assay("score", source, "--url", once.url, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 1 and "another engine" in done.stderr, done.stderr
    never = Answering(lambda items: items, lambda: "one", unanswered=99)
    done = assay("score", source, "--url", never.url, "--output", tmp_path / "no.jsonl")
    assert done.returncode == 1 and "/v1/metadata does not answer" in done.stderr, done.stderr
    assert not (tmp_path / "no.jsonl").exists()


def test_a_run_stops_when_the_server_comes_back_with_another_engine(tmp_path):
    profiles = iter(["one"] * 40 + ["two"] * 999)
    source = write(tmp_path / "in.jsonl", [{"prompt": f"q{n}", "responses": ["a", "bb"]} for n in range(50)])
    output = tmp_path / "out.jsonl"
    changing = Answering(lambda items: items, lambda: next(profiles))
    done = assay("score", source, "--url", changing.url, "--output", output, "--concurrency", "2")
    assert done.returncode == 1 and "another engine" in done.stderr, done.stderr
    again = assay("score", source, "--url", changing.url, "--output", output)
    assert again.returncode == 1 and "engine or server" in again.stderr, again.stderr
