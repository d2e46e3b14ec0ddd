"""Steps that put the server under load."""

import concurrent.futures
import http.client
import json
import random
import statistics
import sys
import time

from client import Client, noise
from hardware import precision, target_facts
from results import read, record


def throughput(output, url, target, model, connections, words, seconds):
    """Tokens per second with distinct texts, also as a share of the dense rate, and the time of one text alone."""
    connections, words, seconds = int(connections), int(words), float(seconds)
    generator = random.Random(7)
    client = Client(url)
    alone = []
    for _ in range(12):
        started = time.perf_counter()
        client.score(noise(generator, words))
        alone.append(time.perf_counter() - started)
    short = []
    for _ in range(12):
        started = time.perf_counter()
        client.score(noise(generator, 1))
        short.append(time.perf_counter() - started)
    stop = time.perf_counter() + seconds

    def work(seed):
        own, mine = random.Random(seed), Client(url)
        done = tokens = 0
        while time.perf_counter() < stop:
            tokens += mine.score(noise(own, words))[1]
            done += 1
        return done, tokens

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        done = list(pool.map(work, range(connections)))
    elapsed = time.perf_counter() - started
    requests, tokens = sum(one for one, _ in done), sum(one for _, one in done)
    kind, size, profile = precision(output)
    facts, parameters = target_facts(target), read(output, "reference")
    result = {"connections": connections, "requests": requests, "tokens": tokens, "seconds": elapsed,
              "tokens_per_second": tokens / elapsed, "requests_per_second": requests / elapsed,
              "milliseconds_alone": 1000 * statistics.median(alone),
              "milliseconds_alone_short": 1000 * statistics.median(short),
              "precision": kind, "profile": profile["name"], "ranks": profile["ranks"]}
    if parameters:
        count = parameters["parameters"]
        rate = facts["rates"].get(kind, facts["rates"]["bf16"]) * 1e12 * profile["ranks"]
        bandwidth = float(facts["memory_gb_per_s"]) * 1e9 * profile["ranks"]
        # One multiplication and one addition for each weight and token; attention is left out.
        result["limit_tokens_per_second"] = rate / (2 * count)
        result["share_of_limit"] = tokens / elapsed / result["limit_tokens_per_second"]
        # A short text alone must at least read every weight once.
        result["share_of_bandwidth_short"] = count * size / statistics.median(short) / bandwidth
    print(json.dumps(result, indent=1))
    record(output, "throughput", **result)


def flood(output, url, connections):
    """Sends requests until the server refuses: each must get a score, or be refused before it is started."""
    def work(seed):
        own, counts = random.Random(1000 + seed), {"scored": 0, "refused": 0, "broken": 0}
        client = Client(url)
        while counts["refused"] + counts["broken"] == 0:
            try:
                status, _ = client.post("/v1/chat/completions", {"messages": noise(own, 200)})
                counts["scored" if status == 200 else "refused"] += 1
            except ConnectionRefusedError:
                counts["refused"] += 1
            except (OSError, http.client.HTTPException):
                # An idle connection may be closed while the server exits, which looks the same here as a response
                # that was cut off. The exit status distinguishes them: it is 4 if a request got no response.
                counts["broken"] += 1
        return counts

    with concurrent.futures.ThreadPoolExecutor(int(connections)) as pool:
        counts = list(pool.map(work, range(int(connections))))
    total = {name: sum(one[name] for one in counts) for name in counts[0]}
    print(total)
    record(output, "drain", **total)
    if total["scored"] == 0:
        sys.exit("nothing was scored before the server exited")
