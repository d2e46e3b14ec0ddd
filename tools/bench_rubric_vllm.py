#!/usr/bin/env python3
"""A rubric of ten questions: one call of Assay against ten questions to vLLM, with its prefix cache on.

    bench_rubric_vllm.py DIR --assay PROGRAM --engine ENGINE --model CHECKPOINT [--peer vllm-eager]

DIR is that of `bench_peers.py setup`. CHECKPOINT is a language model, such as
tools/make_bench_checkpoint.py --language makes, and ENGINE is built from it. The
conversation has about 512 tokens and each question about 20 with its turn. Assay is asked
over HTTP. vLLM is asked in process, with token ids; it generates one token for each
question and returns the log-probabilities of the answers `a` and `b`: one question after
the other, and ten at once.

A cold conversation is new; about a warm one, one other question was asked before. The
order changes with each round. Times are those of the clock and of the processor; the
latter is what a busy machine disturbs least, with --threads 1. Ends with an error if the
two count the prompts' tokens differently, or if a probability differs by more than
--tolerance.
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

from bench_common import processor_seconds
from bench_peers import Assay, Peer
from bench_rubric import CONVERSATION, QUESTION, assistant, count, items, longest, post, text, user

QUESTIONS = 10
WAYS = {"assay": 0, "vllm, one by one": 1, "vllm, ten at once": QUESTIONS}


def ask_assay(engine, conversation, questions):
    """The probability of `a` against `b` for each question, the prompts' tokens, those computed, and the seconds."""
    start = time.perf_counter()
    answer = post(f"{engine.url}/v1/rewards", {"conversations": [conversation], "rubric": questions})
    seconds = time.perf_counter() - start
    scores, usage = answer["data"][0]["scores"], answer["usage"]
    computed = usage["prompt_tokens"] - usage["cached_tokens"]
    return [scores[question["name"]] for question in questions], usage["prompt_tokens"], computed, seconds


class Vllm:
    """Questions to vLLM, as token ids that Assay's server makes."""

    def __init__(self, worker, url):
        self.worker, self.url = worker, url
        self.labels = [self.tokens({"prompt": word, "add_special_tokens": False})[0] for word in ("a", "b")]

    def tokens(self, body):
        """Token ids of a text or of a conversation."""
        return post(f"{self.url}/tokenize", body)["tokens"]

    def ask(self, conversation, questions, at_once):
        """The same as `ask_assay`, for a number of questions in flight."""
        turns = [[*conversation, user(question["ask"])] for question in questions]
        prompts = [self.tokens({"messages": messages, "add_generation_prompt": True}) for messages in turns]
        job = {"ask": prompts, "labels": self.labels, "at_once": at_once, "salt": str(at_once)}
        answer = self.worker.ask(job)
        tokens = sum(map(len, prompts))
        chances = [1 / (1 + math.exp(second - first)) for first, second in answer["logprobs"]]
        return chances, tokens, tokens - answer["cached"], answer["seconds"]


class Results:
    """Times and computed tokens by state and way, and how far the probabilities are apart."""

    def __init__(self):
        self.clock, self.processor, self.computed, self.apart = {}, {}, {}, 0.0

    def add(self, state, way, seconds, busy, computed):
        """Keep and print one measurement."""
        for values, value in ((self.clock, seconds), (self.processor, busy), (self.computed, computed)):
            values.setdefault((state, way), []).append(value)
        print(f"{state} {way}: {seconds:.2f} s, {busy:.2f} s of processor time, {computed} tokens computed", flush=True)

    def compare(self, answers):
        """Note how far the probabilities are apart; end if they do not belong to the same prompts."""
        counts = {way: answer[1] for way, answer in answers.items()}
        if len(set(counts.values())) != 1:
            sys.exit(f"the prompts' tokens are counted differently: {counts}")
        for chances, *_ in answers.values():
            gap = max(abs(one - other) for one, other in zip(answers["assay"][0], chances))
            self.apart = max(self.apart, gap)

    def print(self):
        """Print medians, and ratios by round."""
        for state in ("cold", "warm"):
            for kind, times in (("clock", self.clock), ("processor", self.processor)):
                for way in WAYS:
                    pairs = zip(times[state, way], times[state, "assay"])
                    ratios = [theirs / ours for theirs, ours in pairs]
                    print(f"{state} {way}: {statistics.median(times[state, way]):.2f} s by the {kind}, "
                          f"{statistics.median(ratios):.2f} of Assay's ({min(ratios):.2f} to {max(ratios):.2f}), "
                          f"{statistics.median(self.computed[state, way]):.0f} tokens computed")
        print(f"largest difference of a probability: {self.apart:.1e}")

    def lines(self, peer):
        """The ratios as tools/bench_peers.py writes them."""
        for state, work in (("cold", "rubric"), ("warm", "rubric-warm")):
            engines = {}
            for way, name in zip(WAYS, ("assay", peer, "vllm-at-once")):
                pairs = [zip(times[state, way], times[state, "assay"]) for times in (self.clock, self.processor)]
                clock, processor = (
                    round(statistics.median(theirs / ours for theirs, ours in pair), 2) for pair in pairs
                )
                engines[name] = {"assay_over_it": clock, "by_processor_time": processor}
            yield json.dumps({"work": work, "rounds": len(self.clock[state, "assay"]), "engines": engines})


def measure(results, engines, words, questions, seed, number):
    """One round: each way, about a cold and about a warm conversation, which all ways have in common."""
    ways = list(WAYS.items())
    ways = ways[number % len(ways):] + ways[:number % len(ways)]
    for offset, state in enumerate(("cold", "warm")):
        conversation = [user("Why?"), assistant(text(seed + 2 * number + offset, words))]
        answers = {}
        for way, at_once in ways:
            engine, ask = engines[way]
            if state == "warm":
                ask(conversation, [{**questions[0], "name": "before", "ask": "Was it?"}], at_once)
            busy = processor_seconds(engine.process.pid)
            answers[way] = ask(conversation, questions, at_once)
            busy = processor_seconds(engine.process.pid) - busy
            results.add(state, way, answers[way][3], busy, answers[way][2])
        results.compare(answers)


def padding_of(url):
    """How long a question must be to come to the wanted number of tokens with its turn."""
    first = [user("Why?"), assistant("Because.")]
    before, padding = count(url, first, False), 0
    while count(url, [*first, user(items(padding, 1)[0]["ask"])], True) < before + QUESTION:
        padding += 1
    return padding


def compare(ours, theirs, rounds):
    """Measure all rounds."""
    seed = int(time.time()) * 10000
    vllm = Vllm(theirs, ours.url)
    engines = {way: (theirs, vllm.ask) for way in WAYS}
    engines["assay"] = (ours, lambda conversation, questions, _: ask_assay(ours, conversation, questions))
    questions = items(padding_of(ours.url), QUESTIONS)
    words = longest(CONVERSATION, lambda words: count(ours.url, [user("Why?"), assistant(text(seed, words))], False))
    for way, (_, ask) in engines.items():
        ask([user("Is it warm?")], questions, WAYS[way])
    results = Results()
    for number in range(rounds):
        measure(results, engines, words, questions, seed, number)
    results.print()
    return results


def main():
    """Start both, measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--assay", required=True, type=Path, help="the program")
    parser.add_argument("--engine", required=True, type=Path, help="engine directory")
    parser.add_argument("--model", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--peer", default="vllm", choices=("vllm", "vllm-eager"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=2048, help="longest text that vLLM takes")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--json", type=Path, help="add the ratios to this file, for tools/make_peers_chart.py")
    args = parser.parse_args()
    args.work = "generate"
    ours, theirs = Assay(args), Peer(args.peer, args)
    try:
        print(theirs.read(), flush=True)
        results = compare(ours, theirs, args.rounds)
    finally:
        theirs.stop()
        ours.stop()
    if args.json:
        with open(args.json, "a", encoding="utf-8") as file:
            print(*results.lines(args.peer), sep="\n", file=file)
    if results.apart > args.tolerance:
        sys.exit(f"that is more than {args.tolerance}")


if __name__ == "__main__":
    main()
