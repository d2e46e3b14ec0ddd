#!/usr/bin/env python3
"""Make the tokenizers and chat templates of more families, with golden prompts.

Writes, below the directory given with --root:

    prompts/NAME/            tokenizer and chat template, without weights
    golden/prompts/NAME.json rendered conversations and their ids

See tests/golden/README.md.
"""

import argparse
import shutil
from pathlib import Path

import jinja2
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from fixtures.conversations import plain_conversations, smuggling_conversations, turns
from fixtures.files import TESTS, check_versions, write_cases
from fixtures.forms import write_tokenizer
from fixtures.prompt_families import FAMILIES
from fixtures.prompts import plain_case, smuggling_ids, special_pattern


def more_conversations():
    """What only some of these templates treat in ways of their own."""
    return {
        "thoughts": turns("2 + 3?", "<think>\nTwo and three.\n</think>\n\nFive."),
        "thoughts-before": turns("2 + 3?", "<think>\nSum.\n</think>\n\n5", "And 4?", "9"),
        "thoughts-open": turns("2 + 3?", "Two and three.\n</think>\n5"),
        "thoughts-twice": turns("?", "<think>a</think>b<think>c</think>\n\n\nd"),
        "words-paired": turns("<tool_response>\n5\n</tool_response>", "<think>\na\n</think>\n\nFive."),
        "words-alone": turns("What does <think> do?</tool_response> x", "It opens <think> or <tool_response>"),
        "words-in-words": turns("a<think>b</think>c", "</think></think>d <tool_response>", "<think>", "e"),
        "line-ends": turns("a\nb\n\nc\n\n\nd\n\n\n\ne\n\n\n\n\nf", "\n\n\nx\n\n\n"),
        "two-questions": [
            {"role": "user", "content": "One?"},
            {"role": "user", "content": "Two?"},
            {"role": "assistant", "content": "Both."},
        ],
        "answer-first": [
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Hi."},
        ],
    }


def case_or_refusal(make, name, messages):
    """A golden case, or the words in which the template refuses it."""
    try:
        return make(messages)
    except jinja2.exceptions.TemplateError as error:
        return {"name": name, "messages": messages, "refused": error.message}


def make_prompts(spec, directory, path):
    """Render and encode all conversations and write the golden file."""
    specials = spec["form"]["specials"]
    chat = AutoTokenizer.from_pretrained(directory)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    own = {"turn": spec["turn"], "end": spec["end"], "open_token": spec["open"]}
    attacks = smuggling_conversations(**own, specials=specials)

    def plain(name):
        return lambda messages: plain_case(name, messages, chat, tokenizer, specials)

    def smuggled(name):
        return lambda messages: {
            "name": name,
            "messages": messages,
            "ids": smuggling_ids(messages, chat, tokenizer, specials),
        }

    conversations = plain_conversations() | more_conversations()
    # What is a lookalike elsewhere may be a control token here.
    pattern = special_pattern(specials)
    for case, messages in list(conversations.items()):
        if any(pattern.search(message["content"]) for message in messages):
            attacks[case] = conversations.pop(case)
    cases = [case_or_refusal(plain(n), n, m) for n, m in conversations.items()]
    smuggling = [case_or_refusal(smuggled(n), n, m) for n, m in attacks.items()]
    write_cases(path, {"cases": cases, "smuggling": smuggling})
    refused = sum("refused" in case for case in cases + smuggling)
    return len(cases) + len(smuggling), refused


def main():
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=TESTS)
    parser.add_argument("--only", choices=sorted(FAMILIES), help="make one family's only")
    args = parser.parse_args()
    check_versions()
    for name, spec in FAMILIES.items():
        if args.only in (None, name):
            directory = args.root / "prompts" / name
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            write_tokenizer(spec["form"], directory, True)
            path = args.root / "golden" / "prompts" / f"{name}.json"
            count, refused = make_prompts(spec, directory, path)
            print(f"{name}: {count} conversations, {refused} of them refused")


if __name__ == "__main__":
    main()
