"""Writes tests/golden/eval.json: random scores, and what the benchmarks' own code makes of them.

    make_eval_goldens.py CHECKOUTS > tests/golden/eval.json

CHECKOUTS has clones of allenai/reward-bench, THU-KEG/RM-Bench, ScalerLab/JudgeBench and QwenLM/ProcessBench, named
reward-bench, RM-Bench, JudgeBench and ProcessBench. Their code is run as it is; only the functions that compute figures
are taken, since the modules import what loads models. Needs numpy and pandas.
"""

import ast
import contextlib
import json
import random
import sys
import types
import typing
from collections import defaultdict
from pathlib import Path

import numpy
import pandas

CHECKOUTS = Path(sys.argv[1])
choose = random.Random(5)


def functions(path: str, *names: str, **known) -> dict:
    """The functions of these names in a file, wherever they are defined."""
    module = ast.parse((CHECKOUTS / path).read_text())
    found = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name in names]
    scope = {"np": numpy, "pd": pandas, "defaultdict": defaultdict, **vars(typing), **known}
    exec(compile(ast.Module(found, []), path, "exec"), scope)
    return scope


def score() -> float:
    """A score of few values, so that there are ties."""
    return choose.randrange(-8, 9) / 4


def rewardbench() -> dict:
    scope = functions("reward-bench/rewardbench/utils.py", "calculate_scores_per_section")
    constants: dict = {}
    exec((CHECKOUTS / "reward-bench/rewardbench/constants.py").read_text(), constants)
    counts, mapping = constants["EXAMPLE_COUNTS"], constants["SUBSET_MAPPING"]
    rows = [{"subset": subset, "scores": [score(), score()]} for subset in counts for _ in range(9)]
    metrics = {}
    for subset in counts:
        results = [chosen > rejected for row in rows if row["subset"] == subset for chosen, rejected in [row["scores"]]]
        metrics[subset] = sum(results) / len(results)
    sections = scope["calculate_scores_per_section"](counts, mapping, metrics)
    return {"rows": rows, "subsets": metrics, "sections": sections}


class Dataset(list):
    """As much of a data set as the scoring of ties uses."""

    column_names = ()

    def add_column(self, *_):
        return self


def rewardbench2() -> dict:
    frames = types.SimpleNamespace(from_pandas=lambda frame: frame)
    scope = functions(
        "reward-bench/rewardbench/utils.py",
        "reroll_and_score_dataset", "_compute_prompt_stats", "process_single_model",
        Dataset=frames,
    )
    rows, subsets = [], {}
    for subset in ["Factuality", "Precise IF", "Math", "Safety", "Focus"]:
        added = [{"id": f"{subset}-{n}", "subset": subset, "chosen": 1, "scores": [score() for _ in range(4)]} for n in range(20)]
        flat = [{"text": "", "scores": value, "row": n} for n, row in enumerate(added) for value in row["scores"]]
        frame = types.SimpleNamespace(to_pandas=lambda flat=flat: pandas.DataFrame(flat))
        subsets[subset] = float(scope["reroll_and_score_dataset"](frame, [4] * len(added))["results"].mean())
        rows += added
    ties = []
    for prompt in range(40):
        ties.append({"id": f"ref:{prompt}", "chosen": 1, "scores": [1 + score(), *(score() for _ in range(5))]})
        correct = choose.randrange(2, 6)
        near = [1.5 + score() / 8 for _ in range(correct)]
        ties.append({"id": f"tied:{prompt}", "chosen": correct, "scores": [*near, *(score() for _ in range(6))]})
    # One whose correct answers are equal, for which the authors divide by zero.
    ties += [{"id": "ref:99", "chosen": 1, "scores": [1.0, 0.5]}, {"id": "tied:99", "chosen": 2, "scores": [1.0, 1.0, 0.0]}]
    samples = Dataset({"id": row["id"], "num_correct": row["chosen"], "scores": row["scores"]} for row in ties)
    subsets["Ties"] = scope["process_single_model"](samples)[1]
    rows += [row | {"subset": "Ties"} for row in ties]
    return {"rows": rows, "subsets": subsets, "score": sum(subsets.values()) / len(subsets)}


def rm_bench() -> dict:
    scope = functions("RM-Bench/scripts/utils.py", "split_dataset_by_domain", "compute_accuracy")
    rows = [
        {"subset": domain, "chosen": 3, "scores": [score() for _ in range(6)]}
        for domain in ["chat", "math", "code", "safety-refuse", "safety-response"]
        for _ in range(15)
    ]
    results = [
        {"domain": row["subset"], "score_chosen": row["scores"][:3], "score_rejected": row["scores"][3:]} for row in rows
    ]
    return {"rows": rows, "figures": {name: float(value) for name, value in scope["compute_accuracy"](results).items()}}


def judgebench() -> dict:
    metrics: dict = {}
    exec((CHECKOUTS / "JudgeBench/utils/metrics.py").read_text(), metrics)
    sources = ["mmlu-pro-law", "mmlu-pro-math", "livebench-reasoning", "livebench-math", "livecodebench"]
    rows = [
        {"source": source, "label": choose.choice(["A>B", "B>A"]), "scores": [score(), score()]}
        for source in sources
        for _ in range(20)
    ]

    # A reward model's judgment of both orders, as the judges of reward models make it.
    def judged(a: float, b: float) -> dict:
        return {"decision": "A>B" if a > b else "B>A"}

    pairs = [row | {"judgments": [judged(*row["scores"]), judged(*row["scores"][::-1])]} for row in rows]
    groups = ["mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench", ""]
    figures = {
        group: metrics["compute_final_metrics"](pairs, True, lambda pair, group=group: pair["source"].startswith(group)) / 100
        for group in groups
    }
    return {"rows": rows, "figures": figures}


def process_bench() -> dict:
    path = "ProcessBench/code/run_eval_prm_rlhflow.py"
    rows, figures = [], {}
    for config in ["gsm8k", "math", "olympiadbench", "omnimath"]:
        added = []
        for n in range(25):
            scores = [choose.choice([0.9, 0.8, 0.5, 0.4]) for _ in range(choose.randrange(1, 6))]
            label = choose.choice([-1, *range(len(scores))])
            added.append({"id": f"{config}-{n}", "subset": config, "label": label, "scores": scores})
        rows += added
        figures[config] = process_bench_figures(path, added)
    return {"rows": rows, "figures": figures}


def process_bench_figures(path: str, rows: list[dict]) -> dict:
    # The model of that script says + or -, which is a probability of at least or below one half.
    def create(messages, **_):
        step = sum(message["role"] == "user" for message in messages) - 1
        said = "+" if create.scores[step] >= 0.5 else "-"
        message = types.SimpleNamespace(content=said)
        return types.SimpleNamespace(choices=[types.SimpleNamespace(message=message)])

    client = types.SimpleNamespace(chat=types.SimpleNamespace(completions=types.SimpleNamespace(create=create)))
    predict = functions(path, "single_process", client=client)["single_process"]
    predictions = []
    for row in rows:
        create.scores = row["scores"]
        predictions.append(predict({"problem": "", "steps": [""] * len(row["scores"])}))
    # The statements of the script between its predictions and its figures, except those that write files.
    main = next(node for node in ast.parse((CHECKOUTS / path).read_text()).body if isinstance(node, ast.FunctionDef))
    loop = next(node for node in main.body if isinstance(node, ast.For))
    kept = [node for node in loop.body if isinstance(node, ast.Assign | ast.For)]
    kept = [node for node in kept if not (isinstance(node, ast.Assign) and node.targets[0].id == "input_data")]
    scope = {"np": numpy, "input_data": rows, "predictions": predictions}
    exec(compile(ast.Module(kept, []), path, "exec"), scope)
    return {"error": scope["acc1"] / 100, "correct": scope["acc2"] / 100, "f1": scope["f1"] / 100}


benchmarks = [rewardbench, rewardbench2, rm_bench, judgebench, process_bench]
# Some of the code prints what it does.
with contextlib.redirect_stdout(sys.stderr):
    figures = {benchmark.__name__: benchmark() for benchmark in benchmarks}
print(json.dumps(figures, default=float))
