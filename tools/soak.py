#!/usr/bin/env python3
"""Loads a server for minutes while half of the clients hang up, and prints its memory and descriptors over time.

    tools/soak.py --url http://127.0.0.1:8000 --pid PID --minutes 10 --rate 50

Every other client hangs up before its response: in the headers, in the body, or while the server is working. The
others must get a complete response, or be refused because the queue is full; if one does not, the exit status is 1.
`--pid` is the process id of `assay serve` on this machine.
"""

import argparse
import asyncio
import json
import random
import time
from pathlib import Path
from urllib.parse import urlsplit


def request(host: str, number: int) -> bytes:
    words = random.Random(number).choices(["rain", "sun", "the Louvre", "a long walk", "nothing"], k=20 + number % 200)
    prompt = {"role": "user", "content": f"What of this, number {number}?"}
    body = json.dumps({"messages": [prompt], "responses": [" ".join(words), "No."]}).encode()
    head = f"POST /v1/rewards HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


async def client(host: str, port: int, number: int, counts: dict[str, int]) -> None:
    whole = request(host, number)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        if number % 2:
            end = random.choice([20, len(whole) - 10, len(whole)])
            writer.write(whole[:end])
            await writer.drain()
            await asyncio.sleep(random.uniform(0, 0.05))
            counts["left"] += 1
            return
        writer.write(whole)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status == b"429":
            counts["refused"] += 1
            return
        items = json.loads(body).get("data", []) if status == b"200" else []
        # Under overload, the queue may have room for only one of two.
        full = {"overloaded"} & {item["error"]["code"] for item in items if "error" in item}
        scored = len(items) == 2 and all("scores" in item for item in items)
        counts["answered" if scored else "refused" if full else "failed"] += 1
    finally:
        writer.close()


def state(pid: int) -> str:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return f"{int(status['VmRSS'].split()[0]) / 1024:.1f} MiB resident, {descriptors} descriptors, {status['Threads'].strip()} threads"


async def soak(host: str, port: int, pid: int, seconds: float, rate: float) -> int:
    counts = {"answered": 0, "refused": 0, "left": 0, "failed": 0}
    clients: set[asyncio.Task] = set()
    began = reported = time.monotonic()
    print(f"{0:5.0f} s: {state(pid)}", flush=True)
    number = 0
    while (now := time.monotonic()) < began + seconds:
        while number < (now - began) * rate:
            clients.add(asyncio.create_task(client(host, port, number, counts)))
            number += 1
        if now > reported + 60:
            reported = now
            print(f"{now - began:5.0f} s: {state(pid)}; {counts}", flush=True)
        done = {task for task in clients if task.done()}
        clients -= done
        counts["failed"] += sum(task.exception() is not None for task in done)
        await asyncio.sleep(0.01)
    results = await asyncio.gather(*clients, return_exceptions=True)
    counts["failed"] += sum(isinstance(result, BaseException) for result in results)
    await asyncio.sleep(5)
    print(f"  end: {state(pid)}; {counts}")
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=50, help="clients a second, half of which hang up")
    given = parser.parse_args()
    place = urlsplit(given.url)
    raise SystemExit(asyncio.run(soak(place.hostname, place.port or 80, given.pid, 60 * given.minutes, given.rate)))
