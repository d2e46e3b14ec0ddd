#!/usr/bin/env python3
"""Measures what a busy server does with further requests, over HTTP.

    tests/fire/overload.py --assay target/release/assay --engine build/demo-engine

- Refusals: processor time of the server for each request that meets a full queue, or comes too late for its deadline; at
  most 0.1 ms.
- Retry-After: compared with the time that the queue then took; right within a factor of two.
- Interactive requests of a higher priority beside a bulk load of 1,024 candidates: p99 of at most three iterations.

Exit status 1 if one of them does not hold.
"""

import argparse
import asyncio
import itertools
import json
import math
import socket
import statistics
import time
from multiprocessing import Process
from pathlib import Path

from service import Service, ask, raise_file_limit, request, status_of


def chat(words: int, number: int = 0, **fields: object) -> bytes:
    answer = f"{number} " + "word " * words
    turns = [{"role": "user", "content": "What is 1+1?"}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns, **fields}).encode()


def header(response: bytes, name: str) -> str | None:
    lines = response.partition(b"\r\n\r\n")[0].decode().splitlines()[1:]
    return next((line.split(": ", 1)[1] for line in lines if line.lower().startswith(name + ":")), None)


# --- Refusals ---


def refusals(given: argparse.Namespace) -> bool:
    """Requests on one connection each after the other, to an engine that never answers and a queue that is full."""
    options = ["--simulate", "stall", "--stall-timeout", "3600", "--max-queue-requests", "1", "--max-batch-size", "1"]
    ok = True
    with Service(given.assay, given.engine, *options, "--shutdown-grace", "0.1", *given.option) as service:
        held = []
        for number in range(4):
            stream = socket.create_connection(("127.0.0.1", service.port))
            stream.sendall(request("/v1/chat/completions", chat(3, number)))
            held.append(stream)
            time.sleep(0.2)
        ok &= refusals_cost(service, "a full queue", 429)
    with Service(given.assay, given.engine, "--simulate", "stall", *given.option) as service:
        ok &= refusals_cost(service, "a deadline", 504, timeout=1e-9)
    return ok


def refusals_cost(service: Service, why: str, status: int, **fields: object) -> bool:
    ok = True
    for words in (4, 200):
        cost, statuses = refused(service, request("/v1/chat/completions", chat(words, 9, **fields), close=False))
        ok &= statuses == {status} and cost <= 0.1e-3
        print(f"refusing a request of {words} words for {why} costs {cost * 1e3:.3f} ms of processor time; statuses {statuses}")
    return ok


def refused(service: Service, data: bytes, count: int = 2_000) -> tuple[float, set[int]]:
    """Processor time for each of many requests, and their statuses."""
    statuses = set()
    with socket.create_connection(("127.0.0.1", service.port)) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count + 100):
            if number == 100:
                before = service.processor_time()
            stream.sendall(data)
            statuses.add(status_of(stream.recv(1 << 16)))
    return (service.processor_time() - before) / count, statuses


# --- Retry-After ---


def retry_after(given: argparse.Namespace) -> bool:
    """A burst that overflows the queue. Each refused client asks how long the queue then took: until the last accepted
    request, because nothing else arrives."""
    with Service(given.assay, given.engine, "--max-queue-requests", str(given.queue), *given.option) as service:
        # The server learns how fast its engine is.
        asyncio.run(burst(service.port, given.queue // 10, 1000))
        answers = asyncio.run(burst(service.port, 2 * given.queue, 1000))
    accepted = [when for when, response in answers if status_of(response) == 200]
    ratios = []
    for when, response in answers:
        seconds = header(response, "retry-after")
        if status_of(response) == 429 and seconds is not None and max(accepted) > when + 1:
            ratios.append(int(seconds) / (max(accepted) - when))
    if not ratios:
        print("Retry-After: nothing was refused")
        return False
    print(
        f"Retry-After: {len(accepted)} accepted and {len(ratios)} refused; its value was {min(ratios):.2f} to {max(ratios):.2f} times, "
        f"in the median {statistics.median(ratios):.2f} times, the time that the queue then took"
    )
    return 0.5 <= min(ratios) and max(ratios) <= 2


async def burst(port: int, count: int, words: int) -> list[tuple[float, bytes]]:
    """The responses to requests sent together, and when they came."""

    async def one(number: int) -> tuple[float, bytes]:
        response = await ask(port, "/v1/chat/completions", chat(words, number))
        return time.monotonic(), response

    return await asyncio.gather(*(one(number) for number in range(count)))


# --- Interactive requests ---


def interactive(given: argparse.Namespace) -> bool:
    """One small request after another while clients keep asking for 1,024 candidates."""
    with Service(given.assay, given.engine, *given.option) as service:
        beside_bulk(service, 3, -1)
        results = {name: beside_bulk(service, given.seconds, priority) for name, priority in [("higher", -1), ("the same", 0)]}
    ok = True
    for name, (iteration, waits) in results.items():
        p99 = waits[min(len(waits) - 1, math.ceil(len(waits) * 0.99))]
        if name == "higher":
            ok = p99 <= 3 * iteration
        print(
            f"interactive requests of {name} priority beside 1,024 candidates: p50 {statistics.median(waits) * 1e3:.0f} ms, p99 "
            f"{p99 * 1e3:.0f} ms of {len(waits)}; an iteration takes {iteration * 1e3:.1f} ms: {p99 / iteration:.1f} iterations"
        )
    return ok


def beside_bulk(service: Service, seconds: float, priority: int) -> tuple[float, list[float]]:
    """The mean time of an iteration, and how long each interactive request took, from the shortest."""
    # In processes of their own, so that they do not delay the requests that are measured.
    load = [Process(target=bulk, args=(service.port, client, seconds)) for client in range(2)]
    for process in load:
        process.start()
    time.sleep(1)
    start, before = time.monotonic(), service.metric("iterations_total")
    waits = asyncio.run(one_by_one(service.port, seconds - 2, priority))
    iteration = (time.monotonic() - start) / (service.metric("iterations_total") - before)
    for process in load:
        process.join()
    return iteration, sorted(waits)


def bulk(port: int, client: int, seconds: float) -> None:
    """Asks for 1,024 different candidates, again and again."""
    end = time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() > end:
            return
        responses = [f"{client} {number} {candidate} " + "some words of an answer, " * 12 for candidate in range(1024)]
        body = json.dumps({"messages": [{"role": "user", "content": "What is 1+1?"}], "responses": responses}).encode()
        asyncio.run(ask(port, "/v1/rewards", body))


async def one_by_one(port: int, seconds: float, priority: int) -> list[float]:
    waits = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        response = await ask(port, "/v1/chat/completions", chat(10, len(waits), priority=priority))
        waits.append(time.monotonic() - start)
        assert status_of(response) == 200, response[:300]
        await asyncio.sleep(0.02)
    return waits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True)
    parser.add_argument("--engine", type=Path, required=True, help="directory of an engine")
    parser.add_argument("--queue", type=int, default=1000, help="--max-queue-requests where a burst overflows the queue")
    parser.add_argument("--seconds", type=float, default=20, help="how long interactive requests are measured")
    parser.add_argument("--option", action="append", default=[], help="further option of the server, such as --option=--threads=1")
    parser.add_argument("--only", action="append", choices=["refusals", "retry_after", "interactive"])
    given = parser.parse_args()
    raise_file_limit()
    checks = [refusals, retry_after, interactive]
    held = [check(given) for check in checks if not given.only or check.__name__ in given.only]
    raise SystemExit(int(not all(held)))
