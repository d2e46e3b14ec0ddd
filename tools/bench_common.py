"""What the benchmarks of other engines share: options, text sizes, the clock."""

import argparse
import statistics
import time

REPEATS = 5


def parser(doc):
    """A parser with the options that all of them have."""
    arguments = argparse.ArgumentParser(description=doc.splitlines()[0])
    arguments.add_argument("--model", required=True, help="checkpoint directory")
    arguments.add_argument("--texts", type=int, default=32)
    arguments.add_argument("--tokens", type=int, default=256, help="length of each text")
    arguments.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=0)
    return arguments


def median_seconds(run):
    """Return the median time of several runs after a warm-up."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
