#!/usr/bin/env python3
"""How long a server takes from start to ready, beside the time that reading its files takes.

    bench_start.py --assay PROGRAM --engine ENGINE [--rounds 3]

In each round, the files are dropped from the page cache and read one after the other, they
are dropped again, and the server is started and asked every 10 ms whether it is ready. Then
it is started once more with its files in the page cache. Processor time is that of all
threads until then.
"""

import argparse
import os
import subprocess
import time
import urllib.request
from pathlib import Path

from bench_common import processor_seconds

PART = 1 << 24


def drop_from_page_cache(directory):
    """Make the next read of the files come from the disk."""
    for path in Path(directory).iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_seconds(directory):
    """Seconds that reading all files takes, and their size."""
    size, start = 0, time.perf_counter()
    for path in sorted(Path(directory).iterdir()):
        with open(path, "rb", buffering=0) as file:
            while part := file.read(PART):
                size += len(part)
    return time.perf_counter() - start, size


def start_seconds(args):
    """Seconds until the server is ready, and its processor time."""
    command = [args.assay, "serve", "--engine", args.engine, "--host", "127.0.0.1", "--port", str(args.port)]
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{args.port}/v1/health/ready", timeout=5):
                    return time.perf_counter() - start, processor_seconds(process.pid)
            except OSError:
                time.sleep(0.01)
        raise SystemExit("the server ended")
    finally:
        process.terminate()
        process.wait(timeout=60)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assay", required=True, type=Path, help="the program")
    parser.add_argument("--engine", required=True, type=Path, help="engine directory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8123)
    args = parser.parse_args()
    for number in range(args.rounds):
        drop_from_page_cache(args.engine)
        reading, size = read_seconds(args.engine)
        drop_from_page_cache(args.engine)
        (cold, busy), (warm, _) = start_seconds(args), start_seconds(args)
        print(f"round {number + 1}: {size / 1e9:.2f} GB read in {reading:.2f} s, ready in {cold:.2f} s "
              f"({cold - reading:+.2f} s, {busy:.2f} s of processor time), from the page cache in {warm:.2f} s",
              flush=True)


if __name__ == "__main__":
    main()
