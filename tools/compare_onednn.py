#!/usr/bin/env python3
"""Measure two builds of cpp/bench/decoder_bench alternately, and print the ratio of their rates.

    compare_onednn.py FIRST SECOND [--workload "DTYPE TEXTS TOKENS THREADS LAYERS"] [--rounds N] [--cpu N]

FIRST and SECOND are commands, for example `target/debug/cpp/build/decoder_bench` and `chroot build/trixie
/assay/build/decoder_bench`. Both stay open and take turns, an iteration each, so that other work
on the machine slows both. Rates are tokens per second of processor time.
"""

import argparse
import shlex
import statistics
import subprocess


class Bench:
    def __init__(self, command, arguments, cpu):
        pinned = ["taskset", "--cpu-list", str(cpu)] if cpu is not None else []
        self.process = subprocess.Popen(
            [*pinned, *shlex.split(command), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the benchmark ended with status {self.process.wait()}")
        return line.strip()

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        words = self.read().split()
        return dict(zip(words[::2], map(float, words[1::2])))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu", type=int, help="run both on this CPU only")
    parser.add_argument("--workload", default="bf16", help="the benchmark's own arguments")
    arguments = parser.parse_args()
    first, second = (
        Bench(command, arguments.workload.split(), arguments.cpu)
        for command in (arguments.first, arguments.second)
    )
    print(f"{arguments.workload}: {second.version} over {first.version}")
    rounds = [(first.run(), second.run()) for _ in range(arguments.rounds)]
    for part in ("decoder", "products"):
        ratios = sorted(b[part] / a[part] for a, b in rounds)
        rates = [statistics.median(run[part] for run in side) for side in zip(*rounds)]
        quarter = len(ratios) // 4
        print(
            f"  {part}: {statistics.median(ratios):.3f} "
            f"(half of {len(ratios)} rounds from {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}; "
            f"{rates[0]:.0f} and {rates[1]:.0f} tokens/s)"
        )


if __name__ == "__main__":
    main()
