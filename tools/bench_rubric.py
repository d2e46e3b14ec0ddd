#!/usr/bin/env python3
"""Time and computed tokens of rubrics: ten questions against one, and five about each of sixteen responses.

    bench_rubric.py URL [ROUNDS]

URL is of a server on a model that generates. Ten questions and one are asked by turns,
each about another conversation of about 512 tokens; each question comes to about 20
tokens with its turn. Sixteen responses of about 128 tokens answer one prompt of about
512, and are asked five questions each. The answers asked about are the tokens `a` and
`b`. A conversation is new in each run, unless two runs start in the same second.
"""

import json
import statistics
import sys
import time
import urllib.request

CONVERSATION = 512
RESPONSE = 128
RESPONSES = 16
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


def longest(most: int, tokens) -> int:
    """The largest number of words that comes to at most so many tokens."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tokens(middle) <= most else (low, middle - 1)
    return low


def text(seed: int, words: int) -> str:
    """A text that starts with the seed."""
    return f"Number {seed}. " + "and so on " * words


def user(content: str) -> dict:
    """A user's turn."""
    return {"role": "user", "content": content}


def assistant(content: str) -> dict:
    """An assistant's turn."""
    return {"role": "assistant", "content": content}


def items(padding: int, number: int) -> list[dict]:
    """Questions of the same length."""
    asks = [f"Is it {index}{' or' * padding}?" for index in range(number)]
    return [{"name": f"i{n}", "ask": ask, "answers": {"a": 1, "b": 0}} for n, ask in enumerate(asks)]


def ask(url: str, body: dict) -> tuple[float, int]:
    """The time that a request takes, and the tokens that are computed for it."""
    start = time.perf_counter()
    usage = post(f"{url}/v1/rewards", body)["usage"]
    return time.perf_counter() - start, usage["prompt_tokens"] - usage["cached_tokens"]


def ten_against_one(url: str, seed: int, padding: int, rounds: int) -> None:
    """Print each request, and the ratios of the medians."""
    words = longest(CONVERSATION, lambda words: count(url, [user("Why?"), assistant(text(seed, words))], False))
    times, tokens = {1: [], 10: []}, {1: [], 10: []}
    for turn in range(2 * rounds):
        # The first is alternately one question and ten.
        questions = (1, 10, 10, 1)[turn % 4]
        conversation = [user("Why?"), assistant(text(seed + turn, words))]
        seconds, computed = ask(url, {"conversations": [conversation], "rubric": items(padding, questions)})
        times[questions].append(seconds)
        tokens[questions].append(computed)
        print(f"{questions:2} questions: {seconds:.2f} s, {computed} tokens computed", flush=True)
    ratios = {}
    for name, values in (("time", times), ("computed tokens", tokens)):
        one, ten = statistics.median(values[1]), statistics.median(values[10])
        ratios[name] = ten / one
        print(f"{name}: {one:.2f} for one, {ten:.2f} for ten, ratio {ratios[name]:.2f}")
    print(f"ratio of time over ratio of tokens: {ratios['time'] / ratios['computed tokens']:.2f}")


def sixteen_responses(url: str, seed: int, padding: int, rounds: int) -> None:
    """Print each request, and what is computed of prompt, responses and questions."""
    words = longest(CONVERSATION, lambda words: count(url, [user(text(seed, words))], False))
    prompt = count(url, [user(text(seed, words))], False)
    response_words = longest(
        RESPONSE, lambda more: count(url, [user(text(seed, words)), assistant(text(seed, more))], False) - prompt
    )
    for turn in range(rounds):
        first = seed + 100 * turn
        responses = [text(first + index, response_words) for index in range(RESPONSES)]
        body = {"messages": [user(text(first, words))], "responses": responses, "rubric": items(padding, 5)}
        seconds, computed = ask(url, body)
        whole = [user(text(first, words)), assistant(responses[-1])]
        response = count(url, whole, False) - prompt
        question = count(url, [*whole, user(items(padding, 1)[0]["ask"])], True) - prompt - response
        least = prompt + RESPONSES * (response + 5 * question)
        print(f"16 responses, 5 questions: {seconds:.2f} s, {computed} tokens computed; prompt, responses and "
              f"questions once each are {least}", flush=True)


def main() -> None:
    """Measure both."""
    url, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    seed = int(time.time()) * 10000
    first = [user("Why?"), assistant("Because.")]
    before, padding = count(url, first, False), 0
    while count(url, [*first, user(items(padding, 1)[0]["ask"])], True) < before + QUESTION:
        padding += 1
    ten_against_one(url, seed, padding, rounds)
    sixteen_responses(url, seed + 1000, padding, rounds)


if __name__ == "__main__":
    main()
