#!/usr/bin/env python3
"""Attacks the memory of a server, and compares each peak with what the formula of docs/operations.md allows.

    tests/fire/memory.py --assay target/release/assay --engine build/demo-engine

Exit status 1 if a peak is more than 10% above that, or if the server does not answer after an attack.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service import MIB, Connection, Service, ask, raise_file_limit, request, status_of

# The formula of docs/operations.md: bytes for each connection, and factors on the options that bound the rest.
CONNECTION = 192 << 10
TERMS = {"bodies": 1.15, "texts": 4, "lists": 1, "parsing": 72}

CONNECTIONS, BODY = 4096, 16 * MIB
# Seconds for which a slow client is connected.
HELD = 10
# Seconds for which the others wait for an answer.
WAIT = 20

SMALL = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}).encode()


def rewards(prompt: str, responses: list[str]) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": prompt}], "responses": responses}).encode()


async def one(attack: Attack, port: int, data: bytes, then: Callable) -> None:
    connection = Connection(port)
    try:
        await connection.open()
        await connection.send(data)
        await then(connection)
    except ConnectionError:
        pass
    finally:
        connection.close()


async def all_at_once(attack: Attack, port: int, data: bytes, then: Callable) -> None:
    await asyncio.gather(*(one(attack, port, data, then) for _ in range(attack.clients)))


async def wait(attack: Attack, port: int) -> None:
    """Sends whole bodies and waits for the answers, for a while."""

    async def rest(connection: Connection) -> None:
        try:
            await asyncio.wait_for(connection.rest(), WAIT)
        except asyncio.TimeoutError:
            pass

    await all_at_once(attack, port, request(attack.path, attack.body), rest)


async def hang_up(attack: Attack, port: int) -> None:
    """Sends whole bodies and leaves at once."""
    await all_at_once(attack, port, request(attack.path, attack.body), lambda _: asyncio.sleep(0))


async def ignore(attack: Attack, port: int) -> None:
    """Sends whole bodies and reads nothing of the answers."""
    await all_at_once(attack, port, request(attack.path, attack.body), lambda _: asyncio.sleep(WAIT))


async def hold(attack: Attack, port: int) -> None:
    """Sends all but the last byte of bodies and waits."""
    data = request(attack.path, attack.body[:-1], len(attack.body))
    await all_at_once(attack, port, data, lambda _: asyncio.sleep(HELD))


@dataclass(frozen=True)
class Attack:
    name: str
    clients: int
    path: str
    body: bytes
    # What the clients do with it.
    send: Callable
    # Terms of the formula that it can fill, besides that of the connections.
    fills: tuple[str, ...]


def attacks() -> list[Attack]:
    chat, rewards_path = "/v1/chat/completions", "/v1/rewards"
    long_text = [{"role": "user", "content": "word " * 1_500_000}, {"role": "assistant", "content": "a"}]
    objects = b'{"messages":[' + b'{"a":0},' * (15 * MIB // 8 - 10) + b"0]}"
    numbers = b'{"input":[' + b"1," * (15 * MIB // 2 - 10) + b"1]}"
    best_of = rewards("prompt " * 1570, [f"r{n}" for n in range(1024)])
    return [
        Attack("texts that cannot fit, clients gone", 10, chat, json.dumps({"messages": long_text}).encode(), hang_up, ("bodies", "parsing")),
        Attack("bodies of 15 MB that never end", 60, chat, b" " * (15 * MIB), hold, ("bodies",)),
        Attack("bodies of 64 KiB that never end", 4000, chat, b" " * (64 << 10), hold, ()),
        Attack("best of 1,024 with a prompt of 11 kB", 24, rewards_path, best_of, wait, ("texts", "parsing")),
        Attack("131,072 empty responses in 400 kB", 24, rewards_path, rewards("a", [""] * (128 << 10)), wait, ("bodies", "texts", "parsing")),
        Attack("bodies of 15 MB of small objects", 24, chat, objects, wait, ("bodies", "parsing")),
        Attack("bodies of 15 MB of token ids", 24, "/classify", numbers, wait, ("bodies", "parsing")),
        Attack("lists of tokens that nobody reads", 24, "/tokenize", json.dumps({"inputs": "a b " * 500_000}).encode(), ignore, ("bodies", "lists", "parsing")),
    ]  # fmt: skip


def warm_up(service: Service) -> None:
    """Fills the engine's batch and cache, so that what follows is not the engine's memory."""
    text = "some words of an answer, " * 60
    for number in range(3):
        response = asyncio.run(ask(service.port, "/v1/rewards", rewards(f"{number} {text}", [f"{text} {n}" for n in range(24)])))
        assert status_of(response) == 200, response[:300]


def allowed(rest: int, connections: int, fills: tuple[str, ...], given: argparse.Namespace) -> float:
    """What the formula allows when this number of connections fill these of its terms."""
    sizes = {"bodies": given.inflight * MIB, "texts": given.inflight * MIB, "lists": given.inflight * MIB, "parsing": BODY}
    return rest + connections * CONNECTION + sum(TERMS[term] * sizes[term] for term in fills)


def run(given: argparse.Namespace) -> int:
    raise_file_limit()
    sizes = {"--max-connections": CONNECTIONS, "--max-inflight-bytes": given.inflight * MIB, "--max-body-bytes": BODY}
    options = [word for name, value in sizes.items() for word in (name, str(value))]
    failed = False
    with Service(given.assay, given.engine, *options, *given.option) as service:
        warm_up(service)
        rest = service.status("VmRSS")
        most = allowed(rest, CONNECTIONS, tuple(TERMS), given)
        print(f"at rest {rest / MIB:.0f} MiB; the formula allows {most / MIB:.0f} MiB")
        for attack in attacks():
            if given.only and not any(words in attack.name for words in given.only):
                continue
            start, used = time.monotonic(), service.processor_time()
            service.forget_peak()
            asyncio.run(attack.send(attack, service.port))
            answered = status_of(asyncio.run(ask(service.port, "/v1/chat/completions", SMALL)))
            peak, limit = service.status("VmHWM"), allowed(rest, attack.clients, attack.fills, given)
            ok = peak <= 1.1 * limit and answered == 200
            failed |= not ok
            print(
                f"{'ok  ' if ok else 'FAIL'} {attack.clients:4} x {attack.name:36} peak {peak / MIB:5.0f} MiB of {limit / MIB:5.0f}, "
                f"then {service.status('VmRSS') / MIB:5.0f}; {time.monotonic() - start:4.0f} s, "
                f"{service.processor_time() - used:5.1f} s of processor time; then status {answered}",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True)
    parser.add_argument("--engine", type=Path, required=True, help="directory of an engine")
    parser.add_argument("--inflight", type=int, default=256, help="--max-inflight-bytes of the server, in MiB")
    parser.add_argument("--only", action="append", help="words in the name of an attack; repeat for several")
    parser.add_argument("--option", action="append", default=[], help="further option of the server, such as --option=--threads=1")
    raise SystemExit(run(parser.parse_args()))
