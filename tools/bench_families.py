#!/usr/bin/env python3
"""Measure cpp/bench/decoder_bench on the layers of every family, and print a table.

    bench_families.py BENCH [--dtype f32] [--texts N] [--tokens N] [--layers N] [--rounds N] [--cpu N] [MODEL ...]

The decoder and its matrix products alone take turns, an iteration each, on one thread. Rates are tokens per
second of processor time. "Beside the weights" is the memory that the engine takes for the iteration, as a part of
the weights of the layers of the whole model.
"""

import argparse
import statistics

from compare_onednn import Bench

MODELS = (
    "qwen2 qwen3 llama gemma2 gemma3 nemotron phi3 olmo2 glm granite cohere2 gpt_neox gpt2 qwen3_moe"
).split()


def measured(arguments, model):
    workload = [arguments.dtype, arguments.texts, arguments.tokens, 1, arguments.layers, model]
    bench = Bench(arguments.bench, [str(part) for part in workload], arguments.cpu)
    words = bench.version.split()
    beside, weights = (float(words[words.index(name) + 1]) for name in ("beside-weights", "weights"))
    rounds = [bench.run() for _ in range(arguments.rounds)]
    ratios = sorted(run["decoder"] / run["products"] for run in rounds)
    rate = statistics.median(run["decoder"] for run in rounds)
    bench.process.stdin.close()
    bench.process.wait()
    return statistics.median(ratios), ratios[0], ratios[-1], rate, beside / 2**20, beside / weights


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int, help="run on this CPU only")
    arguments = parser.parse_args()
    print("| model | share of oneDNN's products | from, to | tokens/s | beside the weights |")
    print("|---|---|---|---|---|")
    for model in arguments.models:
        ratio, least, most, rate, mebibytes, part = measured(arguments, model)
        print(
            f"| {model} | {ratio:.2f} | {least:.2f}, {most:.2f} | {rate:.0f} | {mebibytes:.0f} MiB, {part:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
