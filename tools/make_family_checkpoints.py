#!/usr/bin/env python3
"""Make the small checkpoints of `fixtures/families` and `fixtures/heads.py`, with golden scores.

The scores are those of transformers; InternLM2, which transformers does not have, is computed
by the reference in `fixtures/internlm2.py`. See tests/golden/README.md.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForSequenceClassification

from fixtures.families import FAMILIES
from fixtures.family_checkpoint import make_checkpoint
from fixtures.files import TESTS, check_versions, write_cases
from fixtures.heads import HEADS
from fixtures.internlm2 import InternLM2
from fixtures.scores import make_repeatable, random_sequences, score


def scorer(spec, directory, dtype, attention):
    """What scores one sequence of ids."""
    if spec["config"]["model_type"] == "internlm2":
        return InternLM2(directory, dtype).score
    if "head" in spec:
        return head_scorer(spec, directory, dtype, attention)
    if "fresh" in spec:
        load = {key: value for key, value in spec.items() if key != "fresh"}
        return lambda ids: scorer(load, directory, dtype, attention)(ids)
    model = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=dtype, attn_implementation=attention
    ).eval()
    assert next(model.parameters()).dtype == dtype
    return lambda ids: score(model, ids)


def head_scorer(spec, directory, dtype, attention):
    """Scores by transformers' decoder, and the head as its code writes it."""
    model = AutoModel.from_pretrained(directory, dtype=dtype, attn_implementation=attention).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    files = sorted(directory.glob("*.safetensors"))
    weights = {k: v.to(dtype) for file in files for k, v in load_file(file).items()}

    def linear(x, name):
        return torch.nn.functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    linear.weights = weights

    def score_ids(ids):
        states = model(torch.tensor([ids])).last_hidden_state[0]
        if "scores" in spec:
            scores = spec["scores"](states, ids, linear, tokenizer)
        else:
            scores = spec["score"](states[-1], linear)
        return [float(v) for v in scores.float()]

    return score_ids


def sequences(spec, config, directory):
    """Random ids of the chosen lengths, with the tokens that the model is read at."""
    drawn = random_sequences(spec, config)
    if "prepare" in spec:
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        rng = np.random.Generator(np.random.PCG64(2000 + spec["seed"]))
        return [spec["prepare"](ids, rng, tokenizer) for ids in drawn]
    token = config.get("reward_token_id")
    return drawn if token is None else [ids[:-1] + [token] for ids in drawn]


def make_scores(spec, directory, config, path):
    """Score the random sequences in both types and write the golden file."""
    full = scorer(spec, directory, torch.float32, "eager")
    half = scorer(spec, directory, torch.bfloat16, spec.get("attention", "sdpa"))
    with torch.inference_mode():
        cases = [{"ids": i, "f32": full(i), "bf16": half(i)} for i in sequences(spec, config, directory)]
        check(full, cases, config)
    write_cases(path, {"cases": cases}, {"labels": spec.get("served", spec["labels"])})


def check(score, cases, config):
    """Assert that scores are spread and depend on early tokens and on order."""
    if all(len(case["f32"]) == len(cases[0]["f32"]) for case in cases):
        spread = np.array([case["f32"] for case in cases]).std(axis=0).mean()
    else:
        spread = np.concatenate([case["f32"] for case in cases]).std()
    assert 0.15 < spread < 3, spread
    base = next(case for case in cases if len(case["ids"]) >= 127)
    ids = base["ids"]
    for changed in (ids[:5] + [7] + ids[6:], ids[64:126] + ids[:64] + ids[126:]):
        moved = max(abs(a - b) for a, b in zip(score(changed), base["f32"]))
        assert moved > 1e-3, moved


def main():
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=TESTS)
    parser.add_argument("--only", choices=sorted(FAMILIES | HEADS), help="make one checkpoint only")
    args = parser.parse_args()
    check_versions()
    make_repeatable()
    for name, spec in (FAMILIES | HEADS).items():
        if args.only in (None, name):
            directory = args.root / "checkpoints" / name
            config = make_checkpoint(spec, directory)
            config = config.get("text_config", config)
            make_scores(spec, directory, config, args.root / "golden" / "scores" / f"{name}.json")
            print(name)


if __name__ == "__main__":
    main()
