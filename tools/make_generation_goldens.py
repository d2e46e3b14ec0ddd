#!/usr/bin/env python3
"""Greedy texts of transformers, in f32, for the checkpoints that generate.

Reward checkpoints whose embedding is tied serve as language models too: their head
is left out, and the embedding gives the logits. See tests/golden/README.md.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent.parent / "tests"
CHECKPOINTS = ["lm-head-tiny", "qwen3-tiny", "gemma2-tiny", "olmo2-tiny", "granite-tiny", "cohere-tiny"]
CHAT = [
    [{"role": "user", "content": "What is a KV cache?"}],
    [
        {"role": "user", "content": "Say it in 日本語, please 🗼"},
        {"role": "assistant", "content": "はい。"},
        {"role": "user", "content": "And once more, with feeling."},
    ],
]
TEXTS = ["The capital of France is", "def main():\n    print("]
NEW_TOKENS = 24


def greedy(model, ids: list[int]) -> dict:
    """The most likely tokens after `ids`, with their log-probabilities."""
    tokens, logprobs = [], []
    for _ in range(NEW_TOKENS):
        logits = model(torch.tensor([ids + tokens])).logits[0, -1].float()
        token = int(logits.argmax())
        tokens.append(token)
        logprobs.append(float(torch.log_softmax(logits, -1)[token]))
    return {"prompt": ids, "tokens": tokens, "logprobs": logprobs}


def main() -> None:
    """Write one file for each checkpoint."""
    folder = HERE / "golden" / "generation"
    folder.mkdir(exist_ok=True)
    for name in CHECKPOINTS:
        path = HERE / "checkpoints" / name
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        chats = [
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            for chat in CHAT
        ]
        texts = [tokenizer(text)["input_ids"] for text in TEXTS]
        with torch.no_grad():
            golden = {
                "chats": [
                    {"messages": chat} | greedy(model, ids)
                    for chat, ids in zip(CHAT, chats, strict=True)
                ],
                "texts": [
                    {"text": text} | greedy(model, ids)
                    for text, ids in zip(TEXTS, texts, strict=True)
                ],
            }
        for entry in golden["chats"] + golden["texts"]:
            entry["decoded"] = tokenizer.decode(entry["tokens"], skip_special_tokens=True)
        text = json.dumps(golden, ensure_ascii=False, indent=1)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
