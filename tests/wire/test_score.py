"""`assay score`, `eval` and `report`: files in, files out, also after failures."""

import csv
import fcntl
import io
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import BINARIES, CHECKPOINTS, LOUVRE, PARIS, ROOT, Engines, Server, assay, clean_environment, conversation

KILLS = int(os.environ.get("ASSAY_KILLS", "8"))


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def score(engines: Engines, *arguments, checkpoint: str = "llama3-tiny", **options):
    return assay("score", "--engine", engines[checkpoint], "--threads", "1", *arguments, **options)


def pairs(count: int) -> list[dict]:
    words = ["Rain", "sun", "the Louvre", "a long walk", "nothing", "Édith Piaf", "the 5th"]
    choose = random.Random(1).choice
    text = lambda: " and ".join(choose(words) for _ in range(choose([2, 5, 60])))  # noqa: E731
    return [{"id": n, "prompt": f"{PARIS} ({n % 7})", "chosen": text(), "rejected": text(), "subset": f"s{n % 3}"}
            for n in range(count)]


def test_tools_and_variables_of_a_row_give_one_score_by_every_way(tmp_path, monkeypatch):
    checkpoint = Path(shutil.copytree(CHECKPOINTS["qwen3-tiny"], tmp_path / "checkpoint"))
    template = "{{ tools | tojson if tools }}{{ style | default('') }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    (checkpoint / "chat_template.jinja").write_text(template)
    monkeypatch.setitem(CHECKPOINTS, "with-tools", checkpoint)
    directory = Engines(tmp_path / "engines")["with-tools"]
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"at": {"type": "string"}}}}]
    given = [{}, {"tools": tools}, {"tools": json.dumps(tools)}, {"tools": tools, "chat_template_kwargs": {"style": "bold"}}]
    rows = [{"prompt": PARIS, "response": LOUVRE, **columns} for columns in given]
    source = write(tmp_path / "in.jsonl", rows)
    done = assay("score", "--engine", directory, source, "--output", tmp_path / "engine.jsonl")
    assert done.returncode == 0, done.stderr
    scores = [row["score_reward"] for row in read(tmp_path / "engine.jsonl")]
    assert scores[1] == scores[2] and len(set(scores)) == 3
    with Server(directory, "--served-model-name", "tools") as server:
        done = assay("score", "--url", server.url, source, "--output", tmp_path / "server.jsonl")
        assert done.returncode == 0, done.stderr
        assert read(tmp_path / "server.jsonl") == read(tmp_path / "engine.jsonl")
        for columns, score_of_row in zip([given[0], given[1], given[1], given[3]], scores, strict=True):
            answer = server.client().chat.completions.create(
                model="tools", messages=conversation(LOUVRE), extra_body=columns
            )
            assert answer.choices[0].logprobs.content[0].logprob == score_of_row


def test_steps_of_a_list_have_the_scores_that_the_models_trainer_gives_them(engines, tmp_path):
    for checkpoint in ["trl-prm-tiny", "skywork-prm-tiny"]:
        cases = json.loads((ROOT / f"tests/golden/steps/{checkpoint}.json").read_text())["cases"]
        rows = [{"prompt": c["prompt"], "completions": c["steps"], "labels": [True] * len(c["steps"])} for c in cases]
        rows.append({"prompt": "q", "completions": ["a", "b\nc"], "labels": [True, True]})
        output = tmp_path / f"{checkpoint}.jsonl"
        done = score(engines, write(tmp_path / "in.jsonl", rows), "--output", output, checkpoint=checkpoint)
        assert done.returncode == 3, done.stderr
        *scored, refused = read(output)
        for case, row in zip(cases, scored, strict=True):
            found = [value for name, value in row.items() if name.startswith("score_step_")]
            assert found == pytest.approx(case["scores"], abs=1e-5)
        assert "step 2 of `completions`" in refused["score_error"]


def test_rows_keep_their_columns_and_get_the_scores_of_a_server(engines, server, tmp_path):
    rows = [{"id": 1, "messages": conversation(), "kept": {"a": [1, None]}}, {"id": 2, "messages": conversation("No.")}]
    done = score(engines, write(tmp_path / "in.jsonl", rows), "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    client = server.client()
    for before, after in zip(rows, read(tmp_path / "out.jsonl"), strict=True):
        assert {name: after[name] for name in before} == before
        answer = client.chat.completions.create(model="five", messages=before["messages"])
        served = {f"score_{entry.token}": entry.logprob for entry in answer.choices[0].logprobs.content}
        assert list(after) == [*before, *served]
        assert {name: after[name] for name in served} == served
    assert "2 responses scored" in done.stderr


def test_a_run_continues_when_its_output_pipe_is_closed(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(10)), tmp_path / "out.jsonl"
    reader, writer = os.pipe()
    os.close(reader)
    command = [BINARIES / "assay", "score", "--engine", engines["llama3-tiny"], source, "--output", output]
    done = subprocess.run(command, env=clean_environment(), stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert len(read(output)) == 10


def test_a_file_gets_the_same_scores_through_a_server_and_in_process(engines, server, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(40))
    assert score(engines, source, "--output", tmp_path / "here.jsonl").returncode == 0
    there = assay("score", source, "--url", server.url, "--output", tmp_path / "there.jsonl")
    assert there.returncode == 0, there.stderr
    assert (tmp_path / "here.jsonl").read_bytes() == (tmp_path / "there.jsonl").read_bytes()


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


def test_a_row_that_already_has_a_score_column_is_kept_verbatim(engines, tmp_path):
    rows = [*pairs(3), pairs(4)[3] | {"score_margin": 7, "score_error": "mine"}, *pairs(6)[4:]]
    source, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert score(engines, source, "--output", output).returncode == 3
    whole = output.read_bytes()
    taken = read(output)[3]
    assert "row 4" in taken["score_error"] and json.loads(taken["score_line"]) == rows[3]
    output.unlink()
    assert score(engines, source, "--output", output, "--filter", "kindness>0").returncode == 1
    assert score(engines, source, "--output", output).returncode == 3
    assert output.read_bytes() == whole


def test_a_run_killed_at_any_moment_and_run_again_gives_the_same_output(engines, tmp_path):
    rows = pairs(600)
    for row in rows[::50]:
        row["rejected"] = "word " * 5000
    source = write(tmp_path / "in.jsonl", rows)
    began = time.monotonic()
    assert score(engines, source, "--output", tmp_path / "whole.jsonl").returncode == 3
    whole, seconds = (tmp_path / "whole.jsonl").read_bytes(), time.monotonic() - began
    output, moment, kills = tmp_path / "out.jsonl", random.Random(7).uniform, 0
    command = [BINARIES / "assay", "score", source, "--engine", engines["llama3-tiny"], "--threads", "1", "--output", output]
    while True:
        process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
        if kills < KILLS:
            try:
                process.wait(moment(0, seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
        process.wait()
        if output.exists() and not (tmp_path / "out.jsonl.partial").exists():
            assert output.read_bytes() == whole, f"after {kills} kills"
            if kills == KILLS:
                return
            output.unlink()


def test_a_failed_row_says_why_and_the_run_continues(engines, tmp_path):
    rows = [{"prompt": PARIS, "response": LOUVRE}, {"prompt": PARIS}, {"prompt": PARIS, "response": "word " * 5000}]
    source = write(tmp_path / "in.jsonl", rows)
    source.write_text('{"torn": \n' + source.read_text())
    done = score(engines, source, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 3, done.stderr
    torn, first, second, third = read(tmp_path / "out.jsonl")
    assert "line 1" in torn["score_error"] and torn["score_line"] == '{"torn": '
    assert "score_helpfulness" in first and "score_error" not in first
    assert second["score_error"] == "the row has no `response`"
    assert "tokens" in third["score_error"] and not any(name.startswith("score_h") for name in third)


def test_the_best_response_of_each_group_is_kept(engines, tmp_path):
    rows = [{"prompt": f"{PARIS} {n}", "responses": [LOUVRE, "No.", "Paris is in France."]} for n in range(3)]
    source = write(tmp_path / "in.jsonl", rows)
    assert score(engines, source, "--output", tmp_path / "all.jsonl").returncode == 0
    assert score(engines, source, "--output", tmp_path / "best.jsonl", "--best-of", "--by", "coherence").returncode == 0
    for row, best in zip(read(tmp_path / "all.jsonl"), read(tmp_path / "best.jsonl"), strict=True):
        scores = row["score_coherence"]
        assert best["response"] == row["responses"][scores.index(max(scores))]
        assert best["score_coherence"] == max(scores)
        ordered = sorted(row["score_helpfulness"], reverse=True)
        assert [ordered.index(score) + 1 for score in row["score_helpfulness"]] == row["score_rank"]
        assert row["score_margin"] == pytest.approx(ordered[0] - ordered[1])


def test_a_filter_keeps_the_rows_that_match_and_an_invalid_one_is_refused(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(30))
    assert score(engines, source, "--output", tmp_path / "all.jsonl").returncode == 0
    filtered = score(engines, source, "--output", tmp_path / "some.jsonl", "--filter", "margin>0 and not chosen_verbosity>1")
    assert filtered.returncode == 0, filtered.stderr
    due = [row for row in read(tmp_path / "all.jsonl") if row["score_margin"] > 0 and not row["score_chosen_verbosity"] > 1]
    assert read(tmp_path / "some.jsonl") == due and 0 < len(due) < 30
    wrong = score(engines, source, "--output", tmp_path / "no.jsonl", "--filter", "margin >> 0")
    assert wrong.returncode == 2 and "column 9" in wrong.stderr
    unknown = score(engines, source, "--output", tmp_path / "no.jsonl", "--filter", "kindness>0")
    assert unknown.returncode == 1 and "kindness" in unknown.stderr and "chosen_helpfulness" in unknown.stderr


def test_csv_json_and_standard_input_are_read_and_written(engines, tmp_path):
    rows = pairs(5)
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    (tmp_path / "in.csv").write_text(text.getvalue())
    (tmp_path / "in.json").write_text(json.dumps(rows))
    write(tmp_path / "in.jsonl", rows)
    margins = []
    for name in ["in.jsonl", "in.csv", "in.json"]:
        output = tmp_path / name.replace("in", "out")
        assert score(engines, tmp_path / name, "--output", output).returncode == 0
        done = {".csv": lambda: list(csv.DictReader(output.open())), ".json": lambda: json.loads(output.read_text()),
                ".jsonl": lambda: read(output)}[output.suffix]()
        margins.append([float(row["score_margin"]) for row in done])
    command = [BINARIES / "assay", "score", "-", "--engine", engines["llama3-tiny"], "--output", tmp_path / "piped.parquet"]
    source = (tmp_path / "in.jsonl").read_bytes()
    assert subprocess.run(command, input=source, env=clean_environment(), capture_output=True).returncode == 0
    again = score(engines, tmp_path / "piped.parquet", "--output", tmp_path / "again.jsonl", "--prefix", "second_")
    assert again.returncode == 0, again.stderr
    margins.append([row["second_margin"] for row in read(tmp_path / "again.jsonl")])
    assert margins[1:] == margins[:1] * 3


def test_a_long_json_array_is_read_in_bounded_memory(engines, tmp_path):
    def peak(rows: int) -> int:
        """The peak memory of a run, in MiB. Parsed, the zeros take ten times the space that they take in the file."""
        first = {"prompt": PARIS, "response": LOUVRE, "zeros": [0] * 100}
        (tmp_path / f"{rows}.json").write_text(json.dumps([first, *[first | {"response": None}] * rows]))
        command = [BINARIES / "assay", "score", tmp_path / f"{rows}.json", "--engine", engines["llama3-tiny"]]
        command += ["--threads", "1", "--output", tmp_path / f"{rows}.out.jsonl"]
        process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 3
        return used.ru_maxrss >> 10

    few, many = peak(1000), peak(30_000)
    assert many < few + 30, f"{few} MiB for 1,000 rows, {many} MiB for 30,000"


def test_output_is_never_overwritten_and_runs_are_never_mixed(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(3))
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    taken = score(engines, source, "--output", output)
    assert taken.returncode == 1 and "already exists" in taken.stderr and output.read_text() == "mine"
    output.unlink()
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    stopped = score(engines, source, broken, "--output", output)
    assert stopped.returncode == 1 and "broken.json" in stopped.stderr
    partial, whole = tmp_path / "out.jsonl.partial", tmp_path / "whole.jsonl"
    assert not partial.exists(), "no row is scored before every input was looked at"
    # As if a run had been killed after its first row.
    assert score(engines, source, "--output", whole).returncode == 0
    assert score(engines, source, "--output", output, "--filter", "kindness>0").returncode == 1
    partial.write_text(partial.read_text() + whole.read_text().splitlines()[0] + "\n")
    other = score(engines, source, write(tmp_path / "more.jsonl", pairs(1)), "--output", output)
    assert other.returncode == 1 and "different inputs" in other.stderr


def test_a_run_over_standard_input_resumes_only_with_the_same_rows(engines, tmp_path):
    command = [BINARIES / "assay", "score", "-", tmp_path / "more.json", "--engine", engines["llama3-tiny"], "--output"]

    def piped(rows: list[dict], output: Path, *arguments) -> subprocess.CompletedProcess:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        whole = [*command, output, *arguments]
        return subprocess.run(whole, input=text, env=clean_environment(), capture_output=True, text=True)

    rows, output, partial = pairs(6), tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    (tmp_path / "more.json").write_text("[]")
    assert piped(rows, tmp_path / "whole.jsonl").returncode == 0
    done = (tmp_path / "whole.jsonl").read_text().splitlines()
    assert piped(rows, output, "--filter", "kindness>0").returncode == 1
    # As if that run had been killed while it wrote its fourth row.
    partial.write_text("\n".join([partial.read_text().splitlines()[0], *done[:3], done[3][:20]]))
    for other, words in [(pairs(7)[1:], "row 1 of the inputs"), (rows[:2], "end 1 rows before")]:
        refused = piped(other, output)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
    assert piped(rows, output).returncode == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not partial.exists()


def test_two_runs_cannot_write_one_file(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"
    with (tmp_path / "out.jsonl.partial").open("w") as partial:
        fcntl.flock(partial, fcntl.LOCK_EX)
        second = score(engines, source, "--output", output)
        assert second.returncode == 1 and "another run" in second.stderr
    assert score(engines, source, "--output", output).returncode == 0


def test_a_run_killed_just_before_its_end_finishes_when_run_again(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"
    assert score(engines, source, "--output", tmp_path / "whole.jsonl").returncode == 0
    # The state after the output has appeared and before the journal is removed.
    begun = score(engines, source, "--output", output, "--filter", "kindness>0")
    assert begun.returncode == 1 and (tmp_path / "out.jsonl.partial").exists()
    output.write_bytes((tmp_path / "whole.jsonl").read_bytes())
    assert score(engines, source, "--output", output).returncode == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not (tmp_path / "out.jsonl.partial").exists()


def with_template(directory: Path, template: str, date: str = "2025-01-31") -> Path:
    """An engine whose chat template is this one."""
    checkpoint, engine = directory / f"checkpoint {date}", directory / date
    shutil.copytree(CHECKPOINTS["llama3-tiny"], checkpoint)
    (checkpoint / "chat_template.jinja").write_text(template)
    command = [BINARIES / "build-engine", "--model", checkpoint, "--target", "cpu", "--dtype", "f32"]
    built = subprocess.run([*command, "--output", engine, "--template-date", date], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return engine


def test_a_run_goes_on_only_with_the_variables_and_the_date_that_it_started_with(tmp_path):
    template = "{{ strftime_now('%Y-%m-%d') }}{{ style }}{% for m in messages %}<|eot_id|>{{ m.content }}{% endfor %}"
    for date in ("2025-01-31", "2025-02-01"):
        with_template(tmp_path, template, date)
    source, output = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"

    def run(date: str, variables: dict, *arguments):
        given = ["--chat-template-kwargs", json.dumps(variables)] if variables else []
        command = ["score", "--engine", tmp_path / date, "--threads", "1", source, "--output", output]
        return assay(*command, *given, *arguments)

    def scored(date: str, variables: dict) -> list:
        output.unlink(missing_ok=True)
        done = run(date, variables)
        assert done.returncode == 0, done.stderr
        return read(output)

    def scores(*arguments) -> list:
        rows = scored(*arguments)
        return [value for row in rows for name, value in row.items() if name.startswith("score_")]

    first, bold = scores("2025-01-31", {}), scores("2025-01-31", {"style": "bold"})
    assert first != bold and first != scores("2025-02-01", {})
    assert first == scores("2025-02-01", {"strftime_now": "2025-01-31"})
    row = scored("2025-01-31", {"style": "bold"})[0]
    output.unlink()
    # As if a run had been killed after its first row.
    assert run("2025-01-31", {"style": "bold"}, "--filter", "kindness>0").returncode == 1
    partial = tmp_path / "out.jsonl.partial"
    partial.write_text(partial.read_text().splitlines()[0] + "\n" + json.dumps(row, ensure_ascii=False) + "\n")
    for date, variables in [("2025-01-31", {}), ("2025-01-31", {"style": 1}), ("2025-02-01", {"style": "bold"})]:
        refused = run(date, variables)
        assert refused.returncode == 1 and "out.jsonl.partial" in refused.stderr, refused.stderr
    done = run("2025-01-31", {"style": "bold"})
    assert done.returncode == 0, done.stderr
    assert bold == [value for row in read(output) for name, value in row.items() if name.startswith("score_")]
    unknown = run("2025-01-31", {"messages": []})
    assert unknown.returncode == 2 and "`messages` is not a variable that can be set" in unknown.stderr


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


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv.gz"])
def test_a_run_that_ended_after_any_step_gives_the_same_output_when_run_again(engines, tmp_path, name):
    source, output, whole = write(tmp_path / "in.jsonl", pairs(5)), tmp_path / name, tmp_path / f"whole-{name}"
    assert score(engines, source, "--output", whole).returncode == 0
    partial, unfinished = tmp_path / f"{name}.partial", tmp_path / f"{name}.unfinished"
    # A run that cannot write its output leaves the journal with every row.
    unfinished.mkdir()
    assert score(engines, source, "--output", output).returncode == 1
    unfinished.rmdir()
    journal = partial.read_bytes()
    lines = journal.splitlines(keepends=True)
    assert len(lines) == 6
    ends = [sum(map(len, lines[:count])) for count in range(7)]
    for end in sorted({0, 1, len(journal) - 1, *ends, *(end + 9 for end in ends[:-1])}):
        partial.write_bytes(journal[:end])
        assert score(engines, source, "--output", output).returncode == 0, f"cut off at {end}"
        assert output.read_bytes() == whole.read_bytes() and not partial.exists(), f"cut off at {end}"
        output.unlink()
    # While the output was written, and after it got its name.
    for state in [unfinished, output]:
        partial.write_bytes(journal)
        state.write_bytes(whole.read_bytes()[:40])
        assert score(engines, source, "--output", output).returncode == 0
        assert output.read_bytes() == whole.read_bytes() and not partial.exists() and not unfinished.exists()
        output.unlink()


def test_a_run_with_another_engine_date_or_options_does_not_continue(engines, tmp_path):
    checkpoint = shutil.copytree(CHECKPOINTS["llama3-tiny"], tmp_path / "checkpoint")
    turn = "<|start_header_id|>{{ m['role'] }}<|end_header_id|>{{ m['content'] }}<|eot_id|>"
    template = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}" + turn + "{% endfor %}"
    (checkpoint / "chat_template.jinja").write_text(template)
    dated = {}
    for date in ["2024-07-26", "2025-01-01"]:
        dated[date] = tmp_path / date
        build = [BINARIES / "build-engine", "--model", checkpoint, "--target", "cpu", "--output", dated[date]]
        subprocess.run([*build, "--template-date", date], check=True, capture_output=True)
    source, output = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.unfinished").mkdir()
    run = lambda engine, *options: assay("score", source, "--engine", engine, "--output", output, *options)  # noqa: E731
    first = run(dated["2024-07-26"])
    assert first.returncode == 1 and "scored rows are in" in first.stderr
    before = (tmp_path / "out.jsonl.partial").read_bytes()
    for engine, options, words in [
        (dated["2025-01-01"], [], "different engine"),
        (engines["llama3-tiny"], [], "different engine"),
        (dated["2024-07-26"], ["--simulate"], "different engine"),
        (dated["2024-07-26"], ["--by", "coherence"], "different columns"),
        (dated["2024-07-26"], ["--prefix", "s_"], "different columns"),
        (dated["2024-07-26"], ["--allow-unanswered"], "different form"),
    ]:
        refused = run(engine, *options)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
        assert (tmp_path / "out.jsonl.partial").read_bytes() == before
    (tmp_path / "out.jsonl.unfinished").rmdir()
    assert run(dated["2024-07-26"]).returncode == 0 and len(read(output)) == 3


def test_eval_reports_subsets_and_sections_as_rewardbench_does(engines, tmp_path):
    subsets = ["alpacaeval-easy", "mt-bench-med", "mt-bench-hard", "donotanswer", "hep-go", "math-prm"]
    rows = [row | {"subset": subsets[n % len(subsets)]} for n, row in enumerate(pairs(60))]
    source = write(tmp_path / "in.jsonl", rows)
    assert score(engines, source, "--output", tmp_path / "out.jsonl").returncode == 0
    done = assay("eval", source, "--engine", engines["llama3-tiny"], "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    right = {subset: [] for subset in subsets}
    for row in read(tmp_path / "out.jsonl"):
        right[row["subset"]].append(row["score_margin"] > 0)
    mean = {subset: sum(hits) / len(hits) for subset, hits in right.items()}
    assert {subset["name"]: subset["accuracy"] for subset in result["subsets"]} == pytest.approx(mean)
    # As RewardBench computes it: subsets weighted by size within a section, then the plain mean of the sections.
    sections = {
        "Chat": (100 * mean["alpacaeval-easy"] + 40 * mean["mt-bench-med"]) / 140,
        "Chat Hard": mean["mt-bench-hard"],
        "Safety": mean["donotanswer"],
        "Reasoning": (984 * mean["math-prm"] + 164 * mean["hep-go"]) / 1148,
    }
    assert {section["name"]: section["accuracy"] for section in result["sections"]} == pytest.approx(sections)
    assert result["score"] == pytest.approx(sum(sections.values()) / 4)


def test_a_report_is_one_page_about_the_scored_rows(engines, tmp_path):
    assert score(engines, write(tmp_path / "in.jsonl", pairs(30)), "--output", tmp_path / "out.jsonl").returncode == 0
    done = assay("report", tmp_path / "out.jsonl", "--model", "tiny")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out.html").read_text()
    assert all(text in page for text in ["helpfulness", "60", "s0", "s2", "tiny"]) and "<script" not in page
    unscored = assay("report", tmp_path / "in.jsonl")
    assert unscored.returncode == 1 and "assay score" in unscored.stderr


def test_a_report_of_scores_without_a_prefix_names_its_attributes(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(4)), tmp_path / "out.jsonl"
    assert score(engines, source, "--prefix", "", "--output", output).returncode == 0
    unnamed = assay("report", output, "--prefix", "")
    assert unnamed.returncode == 1 and "--attributes" in unnamed.stderr
    done = assay("report", output, "--prefix", "", "--attributes", "helpfulness,coherence")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out.html").read_text()
    assert "Distribution of coherence" in page and "Distribution of verbosity" not in page


def test_a_run_stops_when_the_server_is_gone_and_keeps_its_finished_rows(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(2))
    gone = assay("score", source, "--url", "http://127.0.0.1:9", "--output", tmp_path / "out.jsonl")
    assert gone.returncode == 1 and "does not answer" in gone.stderr


@pytest.mark.parametrize("wrong", [["x.txt", "--output", "y.jsonl"], ["x.jsonl", "--output", "y.txt"]])
def test_a_file_of_unknown_format_is_refused(engines, tmp_path, wrong):
    done = score(engines, *wrong)
    assert done.returncode == 1 and (".jsonl" in done.stderr)


def test_a_row_beyond_the_limits_of_the_server_gets_an_error(one_score: Server, tmp_path):
    rows = [{"prompt": PARIS, "response": "word " * 5000}, {"prompt": PARIS, "response": LOUVRE}]
    done = assay("score", write(tmp_path / "in.jsonl", rows), "--url", one_score.url, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 3, done.stderr
    first, second = read(tmp_path / "out.jsonl")
    assert "tokens" in first["score_error"] and "score_reward" in second


def test_one_rule_ranks_files_as_the_server_ranks_candidates(engines, tmp_path):
    answers = [LOUVRE, "No.", "Paris is in France.", "Rain and sun and a long walk."]
    source = write(tmp_path / "in.jsonl", [{"prompt": PARIS, "responses": answers}])
    for checkpoint, options in [("armo-tiny", []), ("llama3-tiny", ["--score-weights", "helpfulness=-1,verbosity=2"])]:
        with Server(engines[checkpoint], *options) as ranking:
            body = json.dumps({"messages": conversation()[:1], "responses": answers}).encode()
            with urllib.request.urlopen(urllib.request.Request(ranking.url + "/v1/rewards", body)) as answer:
                served = json.load(answer)
            done = assay("score", source, "--url", ranking.url, "--output", tmp_path / f"{checkpoint}.jsonl")
            assert done.returncode == 0, done.stderr
        (row,) = read(tmp_path / f"{checkpoint}.jsonl")
        assert row["score_rank"] == [item["rank"] for item in served["data"]]
        assert row["score_ranked_by"] == served["ranked_by"]
    here = score(engines, source, "--output", tmp_path / "here.jsonl", checkpoint="armo-tiny")
    assert here.returncode == 0, here.stderr
    assert (tmp_path / "here.jsonl").read_bytes() == (tmp_path / "armo-tiny.jsonl").read_bytes()
    best = score(engines, source, "--output", tmp_path / "best.jsonl", "--best-of", checkpoint="armo-tiny")
    assert best.returncode == 0, best.stderr
    (row,) = read(tmp_path / "here.jsonl")
    assert read(tmp_path / "best.jsonl")[0]["response"] == answers[row["score_rank"].index(1)]
    unknown = score(engines, source, "--output", tmp_path / "by.jsonl", "--by", "nope")
    assert unknown.returncode == 1 and "helpfulness" in unknown.stderr
    assert not (tmp_path / "by.jsonl.partial").exists()


def test_steps_are_scored_and_ranked_by_any_summary_and_need_a_model_of_steps(engines, tmp_path):
    rows = [{"prompt": f"What is {n}+1?", "completions": [f"{n}+1 = ", f"{n + 1}", "done"][: 1 + n % 3], "labels": [True] * (1 + n % 3)}
            for n in range(6)]
    source = write(tmp_path / "in.jsonl", rows)
    refused = score(engines, source, "--output", tmp_path / "no.jsonl")
    assert refused.returncode == 1 and "process reward model" in refused.stderr
    steps = {}
    for by in [None, "min(step)", "mean(step)", "last(step)", "prod(step)"]:
        output = tmp_path / f"{by}.jsonl"
        done = score(engines, source, "--output", output, *(["--by", by] if by else []), checkpoint="math-prm-tiny")
        assert done.returncode == 0, done.stderr
        for row in read(output):
            count = len(row["completions"])
            steps[count] = [row[f"score_step_{n + 1}"] for n in range(count)]
            assert f"score_step_{count + 1}" not in row and row["score_ranked_by"] == (by or "min(step)")
        report = assay("report", output)
        assert report.returncode == 0 and "6 responses" in report.stderr, report.stderr
    assert sorted(steps) == [1, 2, 3]


def test_without_a_prefix_a_column_called_like_an_attribute_is_refused(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": PARIS, "response": LOUVRE, "helpfulness": 3}])
    for output in ["out.jsonl", "out.parquet"]:
        done = score(engines, source, "--output", tmp_path / output, "--prefix", "")
        assert done.returncode == 1 and "`helpfulness`" in done.stderr and not (tmp_path / output).exists()
    source = write(tmp_path / "other.jsonl", [{"prompt": PARIS, "response": LOUVRE, "quality": 3}])
    done = score(engines, source, "--output", tmp_path / "other.out.jsonl", "--prefix", "")
    assert done.returncode == 0 and read(tmp_path / "other.out.jsonl")[0]["quality"] == 3, done.stderr


class Answering(ThreadingHTTPServer):
    """A server that scores each response by its length, and answers the items in the order that `order` gives."""

    def __init__(self, order, profile=lambda: None):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
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


def test_a_run_stops_when_the_server_comes_back_with_another_engine(tmp_path):
    profiles = iter(["one"] * 40 + ["two"] * 999)
    source = write(tmp_path / "in.jsonl", [{"prompt": f"q{n}", "responses": ["a", "bb"]} for n in range(50)])
    output = tmp_path / "out.jsonl"
    changing = Answering(lambda items: items, lambda: next(profiles))
    done = assay("score", source, "--url", changing.url, "--output", output, "--concurrency", "2")
    assert done.returncode == 1 and "another engine" in done.stderr, done.stderr
    again = assay("score", source, "--url", changing.url, "--output", output)
    assert again.returncode == 1 and "engine or server" in again.stderr, again.stderr


def test_standard_output_gets_the_rows_and_nothing_else(engines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path / "in.jsonl", pairs(3))
    assert score(engines, source, "--output", tmp_path / "out.jsonl").returncode == 0
    done = score(engines, source, "--output", "-")
    assert done.returncode == 0 and done.stdout == (tmp_path / "out.jsonl").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_an_interrupted_run_says_how_to_go_on(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(2000)), tmp_path / "out.jsonl"
    command = [BINARIES / "assay", "score", source, "--engine", engines["llama3-tiny"], "--threads", "1", "--output", output]
    process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "out.jsonl.partial"
    while not partial.exists() or partial.stat().st_size < 2000:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command again" in said and not output.exists()


def test_a_full_disk_leaves_no_unfinished_file_and_says_where_the_rows_are(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(40))
    command = ["bash", "-c", 'ulimit -f 12; trap "" XFSZ; exec "$@"', "bash", BINARIES / "assay", "score", source, "--engine"]
    command += [engines["llama3-tiny"], "--threads", "1", "--output", tmp_path / "out.json"]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 1 and "out.json.partial" in done.stderr and "run the same command again" in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.json.partial"]
    again = score(engines, source, "--output", tmp_path / "out.json")
    assert again.returncode == 0 and len(json.loads((tmp_path / "out.json").read_text())) == 40, again.stderr


def test_eval_follows_the_benchmark_that_the_rows_are_of(engines, tmp_path):
    texts = [LOUVRE, "No.", "Paris is in France.", "Rain.", "A long walk.", "See it."]
    cases = {
        "RewardBench 2": ("llama3-tiny", {"id": "1", "prompt": PARIS, "chosen": texts[:1], "rejected": texts[1:4], "subset": "Math"}, "Math"),
        "RM-Bench": ("llama3-tiny", {"id": "1", "prompt": PARIS, "chosen": texts[:3], "rejected": texts[3:], "domain": "chat"}, "chat"),
        "ProcessBench": ("math-prm-tiny", {"id": "gsm8k-0", "problem": PARIS, "steps": texts, "label": -1}, "gsm8k correct"),
    }
    for benchmark, (checkpoint, row, name) in cases.items():
        source = write(tmp_path / "in.jsonl", [row, row | {"id": row["id"].replace("1", "2").replace("-0", "-1")}])
        done = assay("eval", source, "--engine", engines[checkpoint], "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["benchmark"] == benchmark and result["score"] is None and result["failed"] == 0
        (figure,) = [figure for figure in result["figures"] if figure["name"] == name]
        assert figure["rows"] == 2 and 0 <= figure["value"] <= 1
        assert name in assay("eval", source, "--engine", engines[checkpoint]).stdout
    judged = {"question": PARIS, "response_A": LOUVRE, "response_B": "No.", "source": "mmlu-pro-law"}
    source = write(tmp_path / "judged.jsonl", [judged | {"label": "A>B"}, judged | {"label": "B>A"}])
    result = json.loads(assay("eval", source, "--engine", engines["llama3-tiny"], "--json").stdout)
    assert [(subset["name"], subset["pairs"], subset["accuracy"]) for subset in result["subsets"]] == [("mmlu-pro", 2, 0.5)]
    unlabelled = write(tmp_path / "unlabelled.jsonl", [{"prompt": PARIS, "responses": texts}])
    refused = assay("eval", unlabelled, "--engine", engines["llama3-tiny"])
    assert refused.returncode == 1 and "which responses are better" in refused.stderr


def test_a_system_prompt_counts_and_a_column_that_is_not_read_is_named(engines, tmp_path):
    system, plain = {"system": "Answer briefly.", "prompt": PARIS, "response": LOUVRE}, {"prompt": PARIS, "response": LOUVRE}
    same = {"messages": [{"role": "system", "content": "Answer briefly."}, *conversation()]}
    scores = []
    for name, row in {"system": system, "same": same, "plain": plain, "context": plain | {"context": "It rains."}}.items():
        done = score(engines, write(tmp_path / f"{name}.jsonl", [row]), "--output", tmp_path / f"{name}.out.jsonl")
        assert done.returncode == 0, done.stderr
        scores.append(read(tmp_path / f"{name}.out.jsonl")[0]["score_helpfulness"])
        assert ("warning" in done.stderr and "context" in done.stderr) == (name == "context")
    assert scores[0] == scores[1] != scores[2] == scores[3]


def test_what_came_in_comes_out_digit_by_digit(engines, tmp_path):
    line = '{"id":12345678901234567890123,"price":1.10,"u":18446744073709551615,"prompt":"p","response":"r"'
    source = tmp_path / "in.jsonl"
    source.write_text(line + "}\n")
    assert score(engines, source, "--output", tmp_path / "out.jsonl").returncode == 0
    assert (tmp_path / "out.jsonl").read_text().startswith(line + ",")
    assert score(engines, source, "--output", tmp_path / "out.CSV.gz").returncode == 0
    assert score(engines, tmp_path / "out.CSV.gz", "--output", tmp_path / "again.tsv", "--prefix", "second_").returncode == 0
    first = (tmp_path / "again.tsv").read_text().splitlines()[1]
    assert first.startswith("12345678901234567890123\t1.10\t18446744073709551615\tp\tr\t")
    assert score(engines, source, "--output", tmp_path / "out.parquet").returncode == 0
