"""What the workers of tools/bench_peers.py share: one line of JSON in, one out.

A worker loads a model in an environment of its own, prints a line with its versions when
it is ready, and then answers each job: `{"score": TEXTS}` or `{"generate": TEXTS,
"tokens": N}`, where a text is a list of token ids. The answer has the seconds that it
took, and results if the job has any. Everything that the engine prints goes to stderr.
"""

import argparse
import json
import os
import sys
import time


def options():
    """The options that all workers have."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="checkpoint directory")
    parser.add_argument("--kind", required=True, choices=("score", "generate"))
    parser.add_argument("--dtype", required=True, choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="longest text")
    parser.add_argument("--backend", default="", help="what a worker with several ways runs")
    parser.add_argument("--cache", required=True, help="directory for converted models")
    return parser.parse_args()


def serve(load):
    """Load the engine with the options, and answer jobs until stdin ends.

    `load` returns a dict of versions and a function that does one job.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    versions, run = load(options())
    print(json.dumps(versions), file=answers)
    for line in sys.stdin:
        job = json.loads(line)
        start = time.perf_counter()
        results = run(job) or {}
        print(json.dumps({"seconds": time.perf_counter() - start, **results}), file=answers)
