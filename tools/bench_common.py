"""What the benchmarks of other engines share: options, text sizes, the clock."""

import argparse
import os
import statistics
import time
from pathlib import Path

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


def processor_seconds(pid):
    """Processor time of a process and of all that it started."""
    children, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended
        process = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(process)
        ticks[process] = int(fields[11]) + int(fields[12])
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        total += ticks.get(process, 0)
        waiting += children.get(process, [])
    return total / os.sysconf("SC_CLK_TCK")
