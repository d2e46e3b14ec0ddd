#!/usr/bin/env python3
"""Scores of questions about conversations, by transformers in f32.

Each question follows its conversation in a further user's turn, or is in one turn that quotes it. See
tests/golden/README.md.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent.parent / "tests"
CHECKPOINTS = ["lm-head-tiny", "qwen3-tiny"]
CONVERSATIONS = [
    [
        {"role": "user", "content": "What is a KV cache?"},
        {"role": "assistant", "content": "It keeps the keys and values of the tokens before."},
    ],
    [
        {"role": "user", "content": "Say it in 日本語, please 🗼"},
        {"role": "assistant", "content": "はい。"},
        {"role": "user", "content": "And once more, with feeling."},
        {"role": "assistant", "content": "はい！ " * 30},
    ],
]
QUESTIONS = {
    "quality": ("How good is the last answer, from 0 to 4?", {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4}),
    "letter": ("Which letter is right, a or b?", {"a": 1, "b": -1.5}),
}


def quoted(messages: list[dict], ask: str) -> list[dict]:
    """One turn that quotes the conversation before the question."""
    turns = "".join(f"<{turn['role']}>\n{turn['content']}\n</{turn['role']}>\n" for turn in messages)
    return [{"role": "user", "content": f"<conversation>\n{turns}</conversation>\n\n{ask}"}]


def appended(messages: list[dict], ask: str) -> list[dict]:
    """A further turn with the question."""
    return [*messages, {"role": "user", "content": ask}]


def answer_token(tokenizer, prompt: str, whole: str, answer: str) -> int:
    """The token that an answer is after the prompt, as the template writes an assistant's turn."""
    rest = whole[len(prompt) :] if whole.startswith(prompt) else answer
    space = rest[: rest.index(answer)]
    ids = tokenizer(prompt + space + answer, add_special_tokens=False)["input_ids"]
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert ids[:-1] == before, (prompt, answer)
    return ids[-1]


def main() -> None:
    """Write one file for each checkpoint."""
    folder = HERE / "golden" / "judges"
    folder.mkdir(exist_ok=True)
    for name in CHECKPOINTS:
        path = HERE / "checkpoints" / name
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        cases = []
        for layout, put in (("append", appended), ("quote", quoted)):
            for messages in CONVERSATIONS:
                for attribute, (ask, answers) in QUESTIONS.items():
                    turns = put(messages, ask)
                    options = {"tokenize": False, "enable_thinking": False}
                    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, **options)
                    tokens = []
                    for answer in answers:
                        answered = [*turns, {"role": "assistant", "content": answer}]
                        whole = tokenizer.apply_chat_template(answered, **options)
                        tokens.append(answer_token(tokenizer, prompt, whole, answer))
                    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
                    with torch.no_grad():
                        logits = model(torch.tensor([ids])).logits[0, -1].float()
                    shares = torch.softmax(logits[tokens], -1)
                    worth = torch.tensor([float(worth) for worth in answers.values()])
                    cases.append(
                        {
                            "layout": layout,
                            "messages": messages,
                            "attribute": attribute,
                            "ids": ids,
                            "tokens": tokens,
                            "expectation": float(shares @ worth),
                            "answer_mass": float(torch.softmax(logits, -1)[tokens].sum()),
                        }
                    )
        text = json.dumps(cases, ensure_ascii=False, indent=1)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
