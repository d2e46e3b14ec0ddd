#!/usr/bin/env python3
"""Connects thousands of clients at the same moment, and prints how long each waited for its response.

    tests/fire/crowd.py --assay target/release/assay --engine build/demo-engine

Each client sends one small conversation, which is of use for half a second, and must get a response within a second: a
score, or a refusal. Exit status 1 if one does not. The clients are one process on the same machine, whose own time
counts; `net.core.somaxconn` bounds how many connections may wait to be accepted.
"""

import argparse
import collections
import errno
import json
import select
import socket
import time
from pathlib import Path

from service import Service, raise_file_limit, request, status_of

TURNS = [{"role": "user", "content": "What is 1+1?"}, {"role": "assistant", "content": "2"}]
BODY = json.dumps({"messages": TURNS, "timeout": 0.5}).encode()


class Client:
    def __init__(self, port: int):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.start = time.monotonic()
        self.end = None
        self.response = b""
        self.error = self.socket.connect_ex(("127.0.0.1", port))

    def failed(self) -> bool:
        return self.error not in (0, errno.EINPROGRESS)

    def progress(self, data: bytes, events: int) -> bool:
        """Sends the request, or reads the response; returns whether the client is done."""
        try:
            if events & select.EPOLLOUT:
                self.socket.send(data)
                return False
            received = self.socket.recv(1 << 16)
            self.response += received
            done = not received
        except OSError as error:
            self.error = error.errno
            done = True
        if done:
            self.end = time.monotonic()
        return done


def crowd(port: int, clients: int, seconds: float) -> list[Client]:
    """All clients, after each has its response or the time is over."""
    data, poll = request("/v1/chat/completions", BODY), select.epoll()
    everyone, waiting = [], {}

    def work(timeout: float) -> None:
        for number, events in poll.poll(timeout, 256):
            client = waiting[number]
            if client.progress(data, events):
                poll.unregister(number)
                del waiting[number]
                client.socket.close()
            elif events & select.EPOLLOUT:
                poll.modify(number, select.EPOLLIN)

    for _ in range(clients):
        client = Client(port)
        everyone.append(client)
        if client.failed():
            client.end = client.start
            continue
        waiting[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLOUT)
        work(0)
    give_up = time.monotonic() + seconds
    while waiting and time.monotonic() < give_up:
        work(0.1)
    for client in waiting.values():
        client.socket.close()
    return everyone


def run(given: argparse.Namespace) -> int:
    files = raise_file_limit()
    if files < given.clients + 100:
        raise SystemExit(f"the limit of open files is {files}: raise it, or use fewer --clients")
    options = ["--max-connections", str(given.connections or given.clients), *given.option]
    with Service(given.assay, given.engine, *options) as service:
        crowd(service.port, 200, 10)
        start, used = time.monotonic(), service.processor_time()
        everyone = crowd(service.port, given.clients, 30)
        seconds, used = time.monotonic() - start, service.processor_time() - used
        alive = status_of(request_once(service.port))
        print(f"{service.descriptors()} descriptors afterwards, {service.status('VmRSS') >> 20} MiB resident")
    waits = sorted(client.end - client.start for client in everyone if client.end is not None)
    statuses = collections.Counter(status_of(client.response) for client in everyone)
    unanswered = statuses.pop(0, 0)
    late = sum(wait > 1 for wait in waits)
    percentiles = ", ".join(f"p{p:g} {waits[min(len(waits) - 1, int(len(waits) * p / 100))]:.3f} s" for p in (50, 90, 99, 99.9, 100))
    print(f"{given.clients} clients in {seconds:.2f} s, {used:.2f} s of the server's processor time: {dict(statuses)}, {unanswered} without response")
    print(f"{percentiles}; {late} waited longer than a second; then health answered {alive}")
    return int(unanswered > 0 or late > 0 or alive != 200)


def request_once(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 30) as stream:
        stream.sendall(b"GET /v1/health/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        return stream.recv(1 << 16)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True)
    parser.add_argument("--engine", type=Path, required=True, help="directory of an engine")
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--connections", type=int, help="--max-connections of the server; as many as clients if not set")
    parser.add_argument("--option", action="append", default=[], help="further option of the server")
    raise SystemExit(run(parser.parse_args()))
