#!/usr/bin/env python3
"""Record where transformers reads a classifier whose padding token ends turns, or is no token at all.

Writes golden/padding.json below the directory given with --root. For checkpoints of several families, the
configuration's padding token is set to the token that ends a turn, to -1 or to nothing; for each, texts with that token
at their end, in their middle and nowhere, and their scores in float32.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fixtures.files import TESTS, check_versions
from fixtures.scores import make_repeatable

FAMILIES = [
    "llama3-tiny",
    "llama2-tiny",
    "qwen2-tiny",
    "qwen3-tiny",
    "mistral-tiny",
    "gemma2-tiny",
    "gemma3-vision",
    "nemotron-tiny",
    "phi3-tiny",
    "glm-tiny",
]
TURNS = [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "It is 5."}]


def said(tokenizer):
    """The ids of a conversation."""
    return tokenizer.apply_chat_template(TURNS, tokenize=True, return_dict=False)


def texts(tokenizer, end):
    """Ids with the token at all kinds of places."""
    whole = said(tokenizer)
    plain = [token for token in whole if token != end]
    half = len(plain) // 2
    return [whole, plain, plain + [end], plain + [end] * 3, plain[:half] + [end, end] + plain[half:], [end, *plain], [end] * 4]


def with_pad(directory, pad):
    """Sets the padding token in a checkpoint's configuration."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, config.get("text_config", config)):
        part["pad_token_id"] = pad
    path.write_text(json.dumps(config), encoding="utf-8")


def main():
    """Make the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=TESTS)
    root = parser.parse_args().root
    check_versions()
    make_repeatable()
    golden = {}
    for name in FAMILIES:
        tokenizer = AutoTokenizer.from_pretrained(root / "checkpoints" / name)
        end = [token for token in said(tokenizer) if token in tokenizer.all_special_ids][-1]
        golden[name] = []
        for pad in (end, -1, None):
            with tempfile.TemporaryDirectory() as copy:
                directory = Path(copy) / name
                shutil.copytree(root / "checkpoints" / name, directory)
                with_pad(directory, pad)
                model = AutoModelForSequenceClassification.from_pretrained(
                    directory, dtype=torch.float32, attn_implementation="eager"
                ).eval()
            with torch.inference_mode():
                cases = [
                    {"ids": ids, "scores": model(torch.tensor([ids])).logits[0].tolist()}
                    for ids in texts(tokenizer, end)
                ]
            golden[name].append({"pad": pad, "cases": cases})
        print(name)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(pads)}" for name, pads in golden.items())
    (root / "golden" / "padding.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
