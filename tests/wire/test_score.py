"""`assay score`, `eval` and `report`: files in, files out, whatever happens on the way."""

import csv
import fcntl
import io
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BINARIES, LOUVRE, PARIS, Engines, Server, assay, clean_environment, conversation

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


def test_rows_keep_their_columns_and_get_the_scores_that_a_server_gives(engines, server, tmp_path):
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


def test_a_server_scores_a_file_as_the_engine_does_in_process(engines, server, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(40))
    assert score(engines, source, "--output", tmp_path / "here.jsonl").returncode == 0
    there = assay("score", source, "--url", server.url, "--output", tmp_path / "there.jsonl")
    assert there.returncode == 0, there.stderr
    assert (tmp_path / "here.jsonl").read_bytes() == (tmp_path / "there.jsonl").read_bytes()


def test_killed_at_any_moment_and_run_again_it_gives_what_one_run_gives(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(600))
    began = time.monotonic()
    assert score(engines, source, "--output", tmp_path / "whole.jsonl").returncode == 0
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


def test_a_row_that_fails_says_why_and_the_others_go_on(engines, tmp_path):
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


def test_groups_are_ranked_and_the_best_is_kept(engines, tmp_path):
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


def test_a_filter_keeps_what_passes_and_a_wrong_one_is_refused(engines, tmp_path):
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


def test_nothing_is_overwritten_and_no_run_is_mixed_with_another(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(3))
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    taken = score(engines, source, "--output", output)
    assert taken.returncode == 1 and "there already" in taken.stderr and output.read_text() == "mine"
    output.unlink()
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    stopped = score(engines, source, broken, "--output", output)
    assert stopped.returncode == 1 and "broken.json" in stopped.stderr
    other = score(engines, source, "--output", output)
    assert other.returncode == 1 and "other inputs" in other.stderr


def test_standard_input_is_continued_only_where_it_is_the_same(engines, tmp_path):
    command = [BINARIES / "assay", "score", "-", tmp_path / "more.json", "--engine", engines["llama3-tiny"], "--output"]

    def piped(rows: list[dict], output: Path) -> subprocess.CompletedProcess:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        return subprocess.run([*command, output], input=text, env=clean_environment(), capture_output=True, text=True)

    def more(text: str) -> None:
        """The second input, which says of itself that it never changed."""
        (tmp_path / "more.json").write_text(text)
        os.utime(tmp_path / "more.json", (0, 0))

    rows, output, partial = pairs(6), tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    more("[]")
    assert piped(rows, tmp_path / "whole.jsonl").returncode == 0
    done = (tmp_path / "whole.jsonl").read_text().splitlines()
    more("{ ")
    assert piped(rows, output).returncode == 1
    more("[]")
    # As if that run had been killed in its fourth row.
    partial.write_text("\n".join([partial.read_text().splitlines()[0], *done[:3], done[3][:20]]))
    for other, words in [(pairs(7)[1:], "row 1 of the inputs"), (rows[:2], "end 1 rows before")]:
        refused = piped(other, output)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
    assert piped(rows, output).returncode == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes() and not partial.exists()


def test_a_file_is_written_by_one_run_at_a_time(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"
    with (tmp_path / "out.jsonl.partial").open("w") as partial:
        fcntl.flock(partial, fcntl.LOCK_EX)
        second = score(engines, source, "--output", output)
        assert second.returncode == 1 and "another run" in second.stderr
    assert score(engines, source, "--output", output).returncode == 0


def test_a_run_stopped_in_its_last_moment_ends_when_run_again(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"
    assert score(engines, source, "--output", tmp_path / "whole.jsonl").returncode == 0
    # What there is between the output's appearing and the journal's removal.
    begun = score(engines, source, "--output", output, "--filter", "kindness>0")
    assert begun.returncode == 1 and (tmp_path / "out.jsonl.partial").exists()
    output.write_bytes((tmp_path / "whole.jsonl").read_bytes())
    assert score(engines, source, "--output", output).returncode == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not (tmp_path / "out.jsonl.partial").exists()


def test_eval_counts_by_subset_and_sections_as_rewardbench_does(engines, tmp_path):
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
    # RewardBench's arithmetic: within a section by the subsets' full sizes, then the plain mean.
    sections = {
        "Chat": (100 * mean["alpacaeval-easy"] + 40 * mean["mt-bench-med"]) / 140,
        "Chat Hard": mean["mt-bench-hard"],
        "Safety": mean["donotanswer"],
        "Reasoning": (984 * mean["math-prm"] + 164 * mean["hep-go"]) / 1148,
    }
    assert {section["name"]: section["accuracy"] for section in result["sections"]} == pytest.approx(sections)
    assert result["score"] == pytest.approx(sum(sections.values()) / 4)


def test_a_report_is_one_page_of_what_was_scored(engines, tmp_path):
    assert score(engines, write(tmp_path / "in.jsonl", pairs(30)), "--output", tmp_path / "out.jsonl").returncode == 0
    done = assay("report", tmp_path / "out.jsonl", "--model", "tiny")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out.html").read_text()
    assert all(text in page for text in ["helpfulness", "60", "s0", "s2", "tiny"]) and "<script" not in page
    unscored = assay("report", tmp_path / "in.jsonl")
    assert unscored.returncode == 1 and "assay score" in unscored.stderr


def test_a_server_that_is_gone_ends_the_run_and_what_was_done_stays(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", pairs(2))
    gone = assay("score", source, "--url", "http://127.0.0.1:9", "--output", tmp_path / "out.jsonl")
    assert gone.returncode == 1 and "does not answer" in gone.stderr


@pytest.mark.parametrize("wrong", [["x.txt", "--output", "y.jsonl"], ["x.jsonl", "--output", "y.txt"]])
def test_a_file_whose_format_cannot_be_told_is_refused(engines, tmp_path, wrong):
    done = score(engines, *wrong)
    assert done.returncode == 1 and (".jsonl" in done.stderr)


def test_a_servers_own_limits_are_its_rows_errors(one_score: Server, tmp_path):
    rows = [{"prompt": PARIS, "response": "word " * 5000}, {"prompt": PARIS, "response": LOUVRE}]
    done = assay("score", write(tmp_path / "in.jsonl", rows), "--url", one_score.url, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 3, done.stderr
    first, second = read(tmp_path / "out.jsonl")
    assert "tokens" in first["score_error"] and "score_reward" in second
