#!/usr/bin/env python3
"""Short conversations over HTTP: requests per second, the limits, and what a request costs by stage.

    bench_short.py --assay PROGRAM --engine ENGINE [--vllm URL] [--tokenizer FILE]

ENGINE is one of a small model under the name `m`, so that the engine is not all that
counts: `build-engine --model engines/demo --name m`. The load is tools/bench_short.lua,
run by wrk: 32 clients, each with conversations of 40 words. Measured are, in --rounds
interleaved rounds of --seconds:

- Assay's server, and vLLM's at URL, if one runs there on the same checkpoint as model `m`;
- Assay with an engine that returns at once (--simulate), which is the limit of all else;
- the engine alone: one request with many texts of as many token ids as a conversation has.

Beside requests per second, the server's processor time per request is measured, which
other work on the machine disturbs least. The limit is what front end and engine take on
their own, added. With --tokenizer, the time per text of the `tokenizers` package is
printed, too, which must be installed then.
"""

import argparse
import http.client
import json
import random
import re
import statistics
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from bench_common import processor_seconds
from bench_peers import wait_until_ready

LOAD = Path(__file__).resolve().with_suffix(".lua")
CLIENTS = 32
WORDS = ("water", "light", "house", "answer", "number", "people", "small", "large", "river", "green",
         "think", "because", "through", "after", "before", "under", "always", "never", "often", "again")
ANSWERED = re.compile(r"answered (\d+) in (\d+) us, failed (\d+), median (\d+) us, p99 (\d+) us")
TEXTS = 256


def conversation():
    """A conversation like those of the load."""
    text = " ".join(random.choice(WORDS) for _ in range(40))
    return [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": text}]


def serve(args, port, *more):
    """Start a server and return its process and URL."""
    command = [args.assay, "serve", "--engine", args.engine, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--threads", str(args.threads), *more]
    log = f"{args.engine}-{port}.log"
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(url, process, log)
    return process, url


def load(url, seconds, process=None):
    """Requests per second under the load, median latency in ms, and the server's processor time per request in us."""
    busy = processor_seconds(process.pid) if process else 0.0
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "60s", "-s", LOAD, f"{url}/classify"]
    output = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    answered, duration, failed, median, _ = map(int, ANSWERED.search(output).groups())
    if failed or not answered:
        raise SystemExit(f"{answered} requests to {url} were answered, and {failed} failed")
    busy = processor_seconds(process.pid) - busy if process else 0.0
    return answered / duration * 1e6, median / 1000, busy / answered * 1e6


def stages(url, seconds):
    """Median milliseconds of each stage that `Server-Timing` reports, and of the whole, one request after the other."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    found, end = {}, time.perf_counter() + seconds
    while time.perf_counter() < end:
        body = json.dumps({"model": "m", "messages": conversation()})
        start = time.perf_counter()
        connection.request("POST", "/classify", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        found.setdefault("whole", []).append((time.perf_counter() - start) * 1000)
        for name, length in re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]):
            found.setdefault(name, []).append(float(length))
    return {name: round(statistics.median(values), 4) for name, values in found.items()}


def stages_under_load(url, seconds):
    """The same, while all clients but one load the server."""
    thread = threading.Thread(target=load, args=(url, seconds + 2))
    thread.start()
    time.sleep(1)
    found = stages(url, seconds)
    thread.join()
    return found


def engine_alone(url, tokens, process):
    """Processor time per text, in us, of one request with many texts."""
    texts = [[random.randrange(599) for _ in range(tokens)] for _ in range(TEXTS)]
    request = urllib.request.Request(
        f"{url}/classify", json.dumps({"input": texts}).encode(), {"content-type": "application/json"}
    )
    busy = processor_seconds(process.pid)
    with urllib.request.urlopen(request) as answer:
        answer.read()
    return (processor_seconds(process.pid) - busy) / TEXTS * 1e6


def tokens_of(url):
    """Tokens of a conversation of the load."""
    body = json.dumps({"model": "m", "messages": conversation()}).encode()
    request = urllib.request.Request(f"{url}/classify", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["usage"]["prompt_tokens"]


def package_microseconds(file):
    """Microseconds per conversation of the `tokenizers` package, its template written out."""
    import tokenizers  # pylint: disable=import-outside-toplevel

    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    texts = ["<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + "".join(
        f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in conversation()
    ) for _ in range(2000)]
    start = time.process_time()
    for text in texts:
        tokenizer.encode(text, add_special_tokens=False)
    return (time.process_time() - start) / len(texts) * 1e6


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assay", required=True, type=Path, help="the program")
    parser.add_argument("--engine", required=True, type=Path, help="engine directory")
    parser.add_argument("--vllm", help="URL of vLLM's server")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of the checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--port", type=int, default=8123, help="of the server; the next one is used too")
    parser.add_argument("--threads", type=int, default=2, help="of the engine; 1 on a busy machine")
    args = parser.parse_args()
    real, url = serve(args, args.port)
    simulated, front = serve(args, args.port + 1, "--simulate")
    try:
        measure(args, {"assay": (url, real), "front end": (front, simulated)})
    finally:
        for process in (real, simulated):
            process.terminate()
            process.wait(timeout=60)


def measure(args, servers):
    """Print rates and processor time by round, their medians, and the stages."""
    url, real = servers["assay"]
    if args.vllm:
        servers["vllm"] = (args.vllm, None)
    tokens = tokens_of(url)
    print(f"{tokens} tokens per conversation")
    for server, _ in servers.values():
        load(server, 2)
    rates, busy = {name: [] for name in servers}, {name: [] for name in (*servers, "engine")}
    for number in range(args.rounds):
        for name, (server, process) in servers.items():
            rate, median, taken = load(server, args.seconds, process)
            rates[name].append(rate)
            busy[name].append(taken)
            print(f"round {number + 1}: {name} {rate:.0f} requests/s, median {median:.1f} ms, "
                  f"{taken:.0f} us of processor time per request", flush=True)
        busy["engine"].append(engine_alone(url, tokens, real))
        print(f"round {number + 1}: engine alone {busy['engine'][-1]:.0f} us of processor time per text", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    taken = {name: statistics.median(values) for name, values in busy.items()}
    limit = taken["front end"] + taken["engine"]
    print(json.dumps({"requests per second": medians, "us of processor time": taken}))
    print(f"limit {limit:.0f} us of processor time per request, {limit / taken['assay']:.2f} of it reached")
    if args.vllm:
        print(f"Assay is {medians['assay'] / medians['vllm']:.1f} times as fast as vLLM's server")
    front = servers["front end"][0]
    print("stages in ms, one client:", json.dumps(stages(url, 3)))
    print("stages in ms, under load:", json.dumps(stages_under_load(url, 3)))
    print("stages in ms, one client, without an engine:", json.dumps(stages(front, 3)))
    if args.tokenizer:
        print(f"the tokenizers package: {package_microseconds(args.tokenizer):.1f} us of processor time per text")


if __name__ == "__main__":
    main()
