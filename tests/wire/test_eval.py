"""`assay eval`, reports, and the ranks of files."""

import json
import urllib.request

import pytest
from conftest import LOUVRE, PARIS, Server, assay, conversation
from score_runs import pairs, read, score, write


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
