#!/usr/bin/env python3
"""Time and computed tokens of ten questions about a conversation against one, by turns.

    bench_rubric.py URL [ROUNDS]

URL is of a server on a model that generates. Each request has another conversation of
about 512 tokens, and each question comes to about 20 tokens with its turn. The answers
asked about are the tokens `a` and `b`. A conversation is new in each run, unless two
runs start in the same second.
"""

import json
import statistics
import sys
import time
import urllib.request

CONVERSATION = 512
QUESTION = 20


def post(url: str, body: dict) -> dict:
    """Post JSON and read JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def count(url: str, messages: list[dict], start_answer: bool) -> int:
    """Tokens of a conversation."""
    body = {"messages": messages, "add_generation_prompt": start_answer}
    return post(f"{url}/tokenize", body)["count"]


def conversation(url: str, seed: int) -> list[dict]:
    """The longest conversation of at most 512 tokens that starts with the seed."""
    words = 1
    while True:
        longer = [
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": f"Number {seed}. " + "and so on " * words},
        ]
        if count(url, longer, False) > CONVERSATION:
            return messages
        messages, words = longer, words + 1


def items(padding: int) -> list[dict]:
    """Ten questions of the same length."""
    asks = [f"Is it {number}{' or' * padding}?" for number in range(10)]
    return [{"name": f"i{n}", "ask": ask, "answers": {"a": 1, "b": 0}} for n, ask in enumerate(asks)]


def main() -> None:
    """Print each request, and the medians at the end."""
    url, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    seed = int(time.time()) * 100
    first = conversation(url, seed)
    before = count(url, first, False)
    padding = 0
    while count(url, [*first, {"role": "user", "content": items(padding)[0]["ask"]}], True) < before + QUESTION:
        padding += 1
    times, tokens = {1: [], 10: []}, {1: [], 10: []}
    for _ in range(rounds):
        for questions in (1, 10):
            seed += 1
            body = {"conversations": [conversation(url, seed)], "rubric": items(padding)[:questions]}
            start = time.perf_counter()
            usage = post(f"{url}/v1/rewards", body)["usage"]
            times[questions].append(time.perf_counter() - start)
            tokens[questions].append(usage["prompt_tokens"] - usage["cached_tokens"])
            print(f"{questions:2} questions: {times[questions][-1]:.2f} s, {usage}", flush=True)
    for name, values in (("time", times), ("computed tokens", tokens)):
        one, ten = statistics.median(values[1]), statistics.median(values[10])
        print(f"{name}: {one:.2f} for one, {ten:.2f} for ten, ratio {ten / one:.2f}")


if __name__ == "__main__":
    main()
