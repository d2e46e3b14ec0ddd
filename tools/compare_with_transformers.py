#!/usr/bin/env python3
"""Compare an engine's tokens and scores with those of its checkpoint in transformers.

    python3 tools/compare_with_transformers.py CHECKPOINT ENGINE [--adapter DIR]

Runs `assay check ENGINE`, tokenizes and scores the same conversations with transformers
in float32, and prints both. The exit status is 1 if tokens differ, or scores by more
than `--tolerance`. Needs torch and transformers, and peft for an adapter. Classifiers
are scored as they are; for a model with code of its own, `--remote-code` runs that code.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="directory or name of the checkpoint")
    parser.add_argument("engine", type=Path, help="engine directory that was built from it")
    parser.add_argument("--adapter", help="adapter that was merged into the engine")
    parser.add_argument("--assay", default="assay", help="path of the program")
    parser.add_argument("--expect", type=Path, help="JSONL file of conversations, as for `assay check`")
    parser.add_argument("--tolerance", type=float, default=0.1, help="largest difference of a score")
    parser.add_argument("--separator", default="\n", help="text between two steps of a token classifier")
    parser.add_argument("--remote-code", action="store_true", help="run the checkpoint's own code")
    return parser.parse_args()


def scores_steps(checkpoint):
    """Whether it is a model of TRL's PRMTrainer."""
    architectures = AutoConfig.from_pretrained(checkpoint).architectures or [""]
    return architectures[0].endswith("ForTokenClassification")


def steps_of(tokenizer, messages, separator):
    """Ids of a conversation and the ends of its steps, as TRL's PRMTrainer encodes them."""
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids += tokenizer("\n".join(turn["content"] for turn in messages[:-1]), add_special_tokens=False)["input_ids"]
    ends = []
    for step in messages[-1]["content"].removesuffix(separator).split(separator):
        for text in (step, separator):
            ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        ends.append(len(ids) - 1)
    return ids, ends


def load(args, steps):
    """The model in float32, on the CPU; `steps` says whether it scores steps."""
    kind = AutoModel if args.remote_code else AutoModelForSequenceClassification
    if steps:
        kind = AutoModelForTokenClassification
    labels = {}
    if args.adapter:
        from peft import PeftModel
        from safetensors import safe_open

        with safe_open(Path(args.adapter) / "adapter_model.safetensors", "pt") as file:
            heads = [file.get_slice(name).get_shape()[0] for name in file.keys() if ".score." in name]
        labels = {"num_labels": heads[0]} if heads else {}
    model = kind.from_pretrained(
        args.checkpoint, dtype=torch.float32, trust_remote_code=args.remote_code, **labels
    )
    if args.adapter:
        model = PeftModel.from_pretrained(model, args.adapter).merge_and_unload()
    return model.eval()


def scores_of(model, ids):
    """The model's numbers for one sequence."""
    with torch.inference_mode():
        output = model(torch.tensor([ids]))
    found = getattr(output, "logits", None)
    if found is None:
        found = output.score if hasattr(output, "score") else output[0]
    return [float(value) for value in found.flatten().float()]


def scores_of_steps(model, ids, ends):
    """The probability of the second class at each end of a step."""
    with torch.inference_mode():
        return torch.softmax(model(torch.tensor([ids])).logits[0, ends], dim=-1)[:, 1].tolist()


def main():
    """Compare conversation by conversation."""
    args = parse_arguments()
    command = [args.assay, "check", str(args.engine)]
    command += ["--expect", str(args.expect)] if args.expect else []
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    if not lines:
        sys.exit("`assay check` printed no scores")
    tokenizer = AutoTokenizer.from_pretrained(
        args.adapter if args.adapter and (Path(args.adapter) / "tokenizer_config.json").exists() else args.checkpoint,
        trust_remote_code=args.remote_code,
    )
    steps = not args.remote_code and scores_steps(args.checkpoint)
    model = load(args, steps)
    different = 0
    for line in lines:
        ours = list(line["scores"].values())
        if steps:
            ids, ends = steps_of(tokenizer, line["messages"], args.separator)
            theirs = scores_of_steps(model, ids, ends)
        else:
            ids = tokenizer.apply_chat_template(line["messages"], tokenize=True, return_dict=True)["input_ids"]
            theirs = scores_of(model, line["ids"])
        distance = max((abs(a - b) for a, b in zip(theirs, ours)), default=float("inf"))
        wrong = len(theirs) != len(ours) or distance > args.tolerance or ids != line["ids"]
        different += wrong
        print(f"{line['messages'][-1]['content'][:60]!r}: tokens {'equal' if ids == line['ids'] else 'DIFFER'}, "
              f"assay {ours}, transformers {theirs}, distance {distance:.2g}")
    print(f"{len(lines) - different} of {len(lines)} conversations agree")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
