#!/usr/bin/env python3
"""Other engines for CPUs beside Assay, on the same random weights, in one interleaved run.

    bench_peers.py setup DIR [PEER ...]
    bench_peers.py run DIR --assay PROGRAM --engine ENGINE --model CHECKPOINT \\
        --work texts --peers vllm eager --rounds 3 [--json FILE]

`setup` makes an environment with pinned versions for each peer (tools/peers), some
gigabytes each. `run` starts Assay's server and each peer, and gives all of them the same
token ids, new ones in each round, in an order that changes from round to round. It prints
tokens per second and how many times as fast Assay was: medians of the rounds. The same by
processor time follows, which other work on the machine disturbs least with --threads 1.

CHECKPOINT is one of tools/make_bench_checkpoint.py, with --language for generation, or of
tools/make_bench_encoder.py, which onnxruntime and eager take in f32. ENGINE is built from
it. Peers compute in --dtype, and those named after int8 or q8 with weights and activations
of 8 bits; Assay in what ENGINE was built for.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench_common import processor_seconds

HERE = Path(__file__).resolve().parent / "peers"
# The name of a peer, its environment, its worker, and what its worker is to run.
PEERS = {
    "vllm": ("vllm", "vllm_worker.py", ""),
    "vllm-eager": ("vllm", "vllm_worker.py", "eager"),
    "vllm-int8": ("vllm", "vllm_worker.py", "int8"),
    "openvino": ("openvino", "openvino_worker.py", ""),
    "openvino-int8": ("openvino", "openvino_worker.py", "int8"),
    "onnxruntime": ("onnxruntime", "onnxruntime_worker.py", ""),
    "zentorch": ("torch", "torch_worker.py", "zentorch"),
    "inductor": ("torch", "torch_worker.py", "inductor"),
    "eager": ("torch", "torch_worker.py", "eager"),
    "llama-cpp": ("llama-cpp", "llama_cpp_worker.py", ""),
    "llama-cpp-q8": ("llama-cpp", "llama_cpp_worker.py", "q8_0"),
}
# Ids of a vocabulary that all engines of the random checkpoints have.
IDS = 599
PROMPT, RESPONSE, RESPONSES = 512, 128, 16
# What processor time is counted in.
TICK = 0.01


def ids(generator, texts, tokens):
    """Texts of random ids."""
    return [[generator.randrange(IDS) for _ in range(tokens)] for _ in range(texts)]


def best_of_n(generator):
    """The prompt, and the prompt with each of its responses."""
    [prompt] = ids(generator, 1, PROMPT)
    return prompt, [prompt + response for response in ids(generator, RESPONSES, RESPONSE)]


def score(texts):
    """A job that scores texts, its tokens, and nothing to do before."""
    return None, {"score": texts}, sum(map(len, texts))


def cold(generator):
    """Responses to a new prompt."""
    return score(best_of_n(generator)[1])


def warm(generator):
    """Responses to a prompt that was scored before."""
    prompt, texts = best_of_n(generator)
    return {"score": [prompt]}, {"score": texts}, sum(map(len, texts))


def generate(generator, texts, tokens):
    """Texts to continue; the tokens are those generated."""
    return None, {"generate": ids(generator, texts, 16), "tokens": tokens}, texts * tokens


WORK = {
    "texts": lambda generator: score(ids(generator, 8, 256)),
    "one-text": lambda generator: score(ids(generator, 1, 256)),
    "best-of-n": cold,
    "best-of-n-warm": warm,
    "long-2048": lambda generator: score(ids(generator, 1, 2048)),
    "long-8192": lambda generator: score(ids(generator, 1, 8192)),
    "long-32768": lambda generator: score(ids(generator, 1, 32768)),
    "generate": lambda generator: generate(generator, 1, 32),
    "generate-8": lambda generator: generate(generator, 8, 32),
}


class Peer:
    """A worker in an environment of its own."""

    def __init__(self, name, args):
        environment, script, backend = PEERS[name]
        home = args.directory.resolve()
        command = [home / environment / "bin/python", HERE / script, "--model", args.model.resolve()]
        command += ["--kind", kind(args.work), "--dtype", args.dtype, "--threads", args.threads]
        command += ["--context", args.context, "--backend", backend, "--cache", home]
        quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": str(args.threads)}
        with open(home / f"{name}.log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **quiet},
            )
        self.log, self.versions = log.name, None

    def read(self):
        """The next answer."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended; see {self.log}")
        return json.loads(line)

    def ask(self, job):
        """A job's results, and the seconds that it takes."""
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return self.read()

    def run(self, job):
        """Seconds that a job takes."""
        return self.ask(job)["seconds"]

    def stop(self):
        """End the worker."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Assay:
    """Assay's server, over HTTP."""

    def __init__(self, args):
        self.url = f"http://127.0.0.1:{args.port}"
        command = [args.assay, "serve", "--engine", args.engine, "--host", "127.0.0.1", "--port", args.port]
        with open(args.directory / "assay.log", "w", encoding="utf-8") as log:
            command = [*command, "--threads", args.threads]
            self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
        wait_until_ready(self.url, self.process, log.name)
        version = subprocess.run([args.assay, "--version"], check=True, capture_output=True, text=True)
        started = Path(log.name).read_text(encoding="utf-8")
        self.versions = {"assay": version.stdout.split()[-1], "start": first_match(r"threads=.*", started)}

    def run(self, job):
        """Seconds that a job takes, its request and its answer included."""
        if "score" in job:
            path, body = "/classify", {"input": job["score"]}
        else:
            path = "/v1/completions"
            body = {"prompt": job["generate"], "max_tokens": job["tokens"], "ignore_eos": True, "temperature": 0}
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        start = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            answer.read()
        return time.perf_counter() - start

    def stop(self):
        """End the server."""
        self.process.terminate()
        self.process.wait(timeout=60)


def first_match(pattern, text):
    """The first line that matches, or nothing."""
    found = re.search(pattern, text)
    return found[0].strip() if found else ""


def wait_until_ready(url, process, log):
    """Return when a server is ready."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v1/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"the server ended; see {log}")


def kind(work):
    """What the models are loaded for."""
    return "generate" if work.startswith("generate") else "score"


def setup(args):
    """Make the environments."""
    args.directory.mkdir(parents=True, exist_ok=True)
    tool = args.directory / "tool"
    subprocess.run([sys.executable, "-m", "venv", tool], check=True)
    subprocess.run([tool / "bin/pip", "install", "--quiet", "uv==0.13.9"], check=True)
    for name in sorted({PEERS[peer][0] for peer in args.peers}):
        home = args.directory / name
        uv = [tool / "bin/uv", "--quiet"]
        subprocess.run([*uv, "venv", "--clear", home], check=True)
        command = [*uv, "pip", "install", "--python", home / "bin/python", "-r", HERE / f"{name}.txt"]
        # PyPI has no build of torch for CPUs alone, which vLLM's build names, so the version is set here.
        overrides = HERE / f"{name}-overrides.txt"
        subprocess.run([*command, *(["--override", overrides] if overrides.exists() else [])], check=True)
        print(f"{home}: ready", flush=True)


def start(args):
    """Start Assay and the peers; a peer that does not start is reported and left out."""
    engines = {"assay": Assay(args)}
    for name, peer in [(name, Peer(name, args)) for name in args.peers]:
        try:
            peer.versions = peer.read()
            engines[name] = peer
        except RuntimeError as error:
            print(f"{name}: {error}", flush=True)
    return engines


def measure(engines, args):
    """Seconds and tokens of each engine in each round, after a round that is not counted."""
    generator = random.Random(args.seed)
    rates = {name: [] for name in engines}
    for number in range(-1, args.rounds):
        first, job, tokens = WORK[args.work](generator)
        names = list(engines)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            if first:
                engines[name].run(first)
            before = processor_seconds(engines[name].process.pid)
            seconds = engines[name].run(job)
            busy = max(processor_seconds(engines[name].process.pid) - before, TICK)
            if number >= 0:
                rates[name].append((tokens / seconds, tokens / busy))
            print(f"round {number + 1}: {name} {tokens / seconds:.1f} tokens/s, {busy:.2f} s of processor time",
                  flush=True)
    return rates


def main():
    """Set up, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("setup", help="make the environments")
    making.add_argument("directory", type=Path)
    making.add_argument("peers", nargs="*", default=list(PEERS), metavar="PEER", help=", ".join(PEERS))
    running = commands.add_parser("run", help="measure one kind of work")
    running.add_argument("directory", type=Path)
    running.add_argument("--assay", required=True, type=Path, help="the program")
    running.add_argument("--engine", required=True, type=Path, help="engine directory")
    running.add_argument("--model", required=True, type=Path, help="checkpoint directory")
    running.add_argument("--work", required=True, choices=WORK)
    running.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    running.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    running.add_argument("--rounds", type=int, default=3)
    running.add_argument("--threads", type=int, default=2)
    running.add_argument("--context", type=int, default=8224, help="longest text that the peers take")
    running.add_argument("--port", type=int, default=8123)
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--json", type=Path, help="add a line with the results to this file")
    args = parser.parse_args()
    if args.command == "setup":
        setup(args)
        return
    engines = start(args)
    try:
        rates = measure(engines, args)
    finally:
        for engine in engines.values():
            engine.stop()
    report(args, {name: engine.versions for name, engine in engines.items()}, rates)


def report(args, versions, rates):
    """Print the table, and add it to a file if one is named."""
    results = {}
    for name, values in rates.items():
        ratios = [[ours / theirs for ours, theirs in zip(*pair)] for pair in zip(rates["assay"], values)]
        ratio, by_processor = (round(statistics.median(ratio), 2) for ratio in zip(*ratios))
        results[name] = {
            "tokens_per_second": round(statistics.median(rate for rate, _ in values), 1),
            "assay_over_it": ratio,
            "by_processor_time": by_processor,
            "versions": versions[name],
        }
        rate = results[name]["tokens_per_second"]
        print(f"{args.work} {args.dtype} {name}: {rate} tokens/s, Assay is {ratio} times as fast, "
              f"{by_processor} by processor time")
    if args.json:
        line = {"work": args.work, "dtype": args.dtype, "threads": args.threads, "rounds": args.rounds}
        line["engines"] = results
        with open(args.json, "a", encoding="utf-8") as file:
            print(json.dumps(line), file=file)


if __name__ == "__main__":
    main()
