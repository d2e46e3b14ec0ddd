#!/usr/bin/env python3
"""Record prompts that end with the text of the last message, as transformers' `continue_final_message` makes them.

Writes golden/continued.json below the directory given with --root: for each tokenizer of the prompt tests, its
conversations, each with the ids that the last message is continued after, or null where transformers refuses.
"""

import argparse
import json
from pathlib import Path

from transformers import AutoTokenizer

TOKENIZERS = [
    "checkpoints/llama3-tiny",
    "checkpoints/llama2-tiny",
    "checkpoints/qwen2-tiny",
    "prompts/mistral",
    "prompts/qwen3",
    "prompts/gemma2",
    "prompts/gemma3",
    "prompts/nemotron",
    "prompts/phi3",
    "prompts/olmo2",
    "prompts/internlm2",
]
QUESTION = {"role": "user", "content": "Hi there, can you help?"}
LAST = ["Sure,", " Sure, ", "It is 4 \n\n", "Yes.\nNo.", "THE END", "", "a", "<b>"]
# Text that the template takes apart or that is elsewhere in the prompt, too.
MORE = [
    "<think>\nTwo.\n</think>\n\nFour",
    "<think>\nTwo and",
    "Two.\n</think>\nFour",
    "Hi there, can you help?",
    "assistant",
    "\n",
    "café \u4f60\u597d",
    "{{ 1 }} {% if %}",
]


def conversations():
    for text in LAST:
        yield [QUESTION, {"role": "assistant", "content": text}]
    for text in MORE:
        yield [QUESTION, {"role": "assistant", "content": text}]
    yield [QUESTION, {"role": "assistant", "content": "Sure,"}, QUESTION, {"role": "assistant", "content": "Sure,"}]
    yield [QUESTION, {"role": "assistant", "content": "Sure."}, {"role": "user", "content": "And then"}]
    yield [QUESTION, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]
    yield [QUESTION]
    yield [{"role": "system", "content": "Be brief."}, QUESTION, {"role": "assistant", "content": "Be brief."}]


def ids(tokenizer, messages):
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    except Exception as error:  # templates raise what they like
        print(f"refused: {error}"[:100])
        return None
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1] / "tests")
    root = parser.parse_args().root
    golden = {}
    for name in TOKENIZERS:
        tokenizer = AutoTokenizer.from_pretrained(root / name)
        golden[name] = [{"messages": turns, "ids": ids(tokenizer, turns)} for turns in conversations()]
    lines = ",\n".join(
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]"
        for name, cases in golden.items()
    )
    (root / "golden/continued.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
