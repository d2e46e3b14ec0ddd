#!/usr/bin/env python3
"""Make process reward models whose steps are encoded one by one, with prompts and scores.

Skywork-o1-Open-PRM's published code (github.com/SkyworkAI/skywork-o1-prm-inference) and
TRL's PRMTrainer both encode the prompt and each step apart, and read the model at the end
of each step. The ids of the second come from TRL itself. Checkpoints go to
tests/checkpoints/NAME, conversations with their ids, the ends of their steps and their
scores in float32 to tests/golden/steps/NAME.json. Needs trl 1.12 besides requirements.txt;
see tests/golden/README.md.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer
from trl.experimental.prm import PRMTrainer

from fixtures.family_checkpoint import make_checkpoint
from fixtures.files import TESTS, check_versions
from fixtures.forms import LLAMA2_FORM, QWEN2_FORM
from fixtures.heads import SMALL
from fixtures.scores import make_repeatable

SEPARATOR = "\n"

# Conversations as a prompt and its steps; none contains the separator.
CONVERSATIONS = [
    ("What is 2 + 3 + 4?", ["2 + 3 is 5.", "5 + 4 is 9."]),
    ("What is 2 + 3 + 4?", ["2 + 3 is 6.", "6 + 4 is 10."]),
    ("Say one word.", ["Word"]),
    ("Two lines\nof a question", ["  first, with spaces  ", "second", "- third: (x), so"]),
    ("An empty step", ["before", "", "after"]),
    ("\u00dcber \u4f60\u597d \U0001f600?", ["café \u2014 \u201cnaïve\u201d", "\u597d\t2"]),
    ("A longer answer", [f"Step {n}: {n} times {n} is {n * n}." for n in range(1, 13)]),
]

SPECS = {
    "skywork-prm-tiny": {
        "seed": 53,
        "form": {**QWEN2_FORM, "config": {**QWEN2_FORM["config"], "bos_token": "<|endoftext|>"}},
        "architecture": "Qwen2ForPrmModel",
        "config": {**SMALL, "model_type": "qwen2", "head_dim": None, "use_sliding_window": False},
        "labels": ["step"],
        # As its wrapper's state_dict() has it: the language model's own head, too.
        "head": {
            "lm_head.weight": (640, 32),
            "v_head.summary.weight": (1, 32),
            "v_head.summary.bias": (1,),
        },
    },
    "trl-prm-tiny": {
        "seed": 54,
        "form": LLAMA2_FORM,
        "architecture": "LlamaForTokenClassification",
        "config": {**SMALL, "model_type": "llama", "vocab_size": 704},
        "labels": ["LABEL_0", "LABEL_1"],
        "head": {"score.weight": (2, 32), "score.bias": (2,)},
    },
}


def skywork_ids(tokenizer, prompt, steps):
    """Ids and the ends of steps as Skywork's code makes them: a line break after the prompt,
    and its id after each step."""
    ids = tokenizer.encode(f"{tokenizer.bos_token}{prompt}\n")
    ends = []
    for step in steps:
        ids += tokenizer.encode(step) if step else []
        ids.append(tokenizer.encode(SEPARATOR)[-1])
        ends.append(len(ids) - 1)
    return ids, ends


def trl_ids(tokenizer, prompt, steps):
    """Ids and the ends of steps as TRL's trainer makes them: the places of its labels."""
    row = {"prompt": prompt, "completions": steps, "labels": [True] * len(steps)}
    made = PRMTrainer.tokenize_row(
        row,
        tokenizer,
        step_separator=SEPARATOR,
        max_length=None,
        max_completion_length=None,
        train_on_last_step_only=False,
        is_eval=False,
    )
    return made["input_ids"], [place for place, label in enumerate(made["labels"]) if label != -100]


def skywork_scores(directory, ids, ends):
    """The sigmoid of the value head at each end."""
    model = AutoModel.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    weights = load_file(directory / "model.safetensors")
    states = model(torch.tensor([ids])).last_hidden_state[0, ends]
    weight, bias = (weights[f"v_head.summary.{part}"].float() for part in ("weight", "bias"))
    return torch.sigmoid(torch.nn.functional.linear(states, weight, bias))[:, 0]


def trl_scores(directory, ids, ends):
    """The probability of the second class at each end."""
    model = AutoModelForTokenClassification.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return torch.softmax(model(torch.tensor([ids])).logits[0, ends], dim=-1)[:, 1]


def main():
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=TESTS)
    args = parser.parse_args()
    check_versions()
    make_repeatable()
    for name, encode, score in (
        ("skywork-prm-tiny", skywork_ids, skywork_scores),
        ("trl-prm-tiny", trl_ids, trl_scores),
    ):
        directory = args.root / "checkpoints" / name
        make_checkpoint(SPECS[name], directory)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        cases = []
        for prompt, steps in CONVERSATIONS:
            ids, ends = encode(tokenizer, prompt, steps)
            with torch.inference_mode():
                scores = [float(value) for value in score(directory, ids, ends)]
            cases.append({"prompt": prompt, "steps": steps, "ids": ids, "ends": ends, "scores": scores})
        every = [value for case in cases for value in case["scores"]]
        assert 0.1 < max(every) - min(every), every
        target = args.root / "golden" / "steps" / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps({"cases": cases}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
