"""Runs of `assay score` that were interrupted, and runs that would meet in one output."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BINARIES, CHECKPOINTS, assay, clean_environment
from score_runs import pairs, read, score, with_template, write

KILLS = int(os.environ.get("ASSAY_KILLS", "8"))


def test_a_run_continues_when_its_output_pipe_is_closed(engines, tmp_path):
    source, output = write(tmp_path / "in.jsonl", pairs(10)), tmp_path / "out.jsonl"
    reader, writer = os.pipe()
    os.close(reader)
    command = [BINARIES / "assay", "score", "--engine", engines["llama3-tiny"], source, "--output", output]
    done = subprocess.run(command, env=clean_environment(), stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert len(read(output)) == 10


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
