"""`assay score`: files in, files out, also after failures."""

import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import BINARIES, CHECKPOINTS, LOUVRE, PARIS, ROOT, Engines, Server, assay, clean_environment, conversation
from score_runs import pairs, read, score, write


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


@pytest.mark.parametrize("wrong", [["x.txt", "--output", "y.jsonl"], ["x.jsonl", "--output", "y.txt"]])
def test_a_file_of_unknown_format_is_refused(engines, tmp_path, wrong):
    done = score(engines, *wrong)
    assert done.returncode == 1 and (".jsonl" in done.stderr)


def test_without_a_prefix_a_column_called_like_an_attribute_is_refused(engines, tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": PARIS, "response": LOUVRE, "helpfulness": 3}])
    for output in ["out.jsonl", "out.parquet"]:
        done = score(engines, source, "--output", tmp_path / output, "--prefix", "")
        assert done.returncode == 1 and "`helpfulness`" in done.stderr and not (tmp_path / output).exists()
    source = write(tmp_path / "other.jsonl", [{"prompt": PARIS, "response": LOUVRE, "quality": 3}])
    done = score(engines, source, "--output", tmp_path / "other.out.jsonl", "--prefix", "")
    assert done.returncode == 0 and read(tmp_path / "other.out.jsonl")[0]["quality"] == 3, done.stderr


def test_standard_output_gets_the_rows_and_nothing_else(engines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path / "in.jsonl", pairs(3))
    assert score(engines, source, "--output", tmp_path / "out.jsonl").returncode == 0
    done = score(engines, source, "--output", "-")
    assert done.returncode == 0 and done.stdout == (tmp_path / "out.jsonl").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


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
