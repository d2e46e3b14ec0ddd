"""A server to attack, what it takes of the machine, and connections to it."""

import asyncio
import json
import os
import resource
import socket
import subprocess
import urllib.request
from pathlib import Path

MIB = 1 << 20


def raise_file_limit() -> int:
    """Raises the limit on open files as far as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Service:
    """`assay serve` on a free port, with the options given."""

    def __init__(self, assay: Path, engine: Path, *options: str):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASSAY_", "NIM_", "OTEL_"))}
        command = [assay, "serve", engine, "--host", "127.0.0.1", "--port", "0", "--log-format", "json", *options]
        self.process = subprocess.Popen(command, env=kept, stderr=subprocess.PIPE, text=True)
        self.port = int(self._logged("listening")["address"].rsplit(":", 1)[1])
        self._logged("ready")
        # Nobody reads the log from here on, and a full pipe would stop the server.
        self._drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def _logged(self, message: str) -> dict:
        for line in self.process.stderr:
            if line.startswith("{") and (fields := json.loads(line)).get("message") == message:
                return fields
        raise SystemExit(f"the server ended before it logged {message!r}")

    def status(self, field: str) -> int:
        """A size in the process's status, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field + ":")).split()[1]) * 1024

    def forget_peak(self) -> None:
        """Sets the peak to what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def processor_time(self) -> float:
        """Seconds of processor time that the present threads have used, in user and in system code."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        text = urllib.request.urlopen(url, timeout=60).read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines())
        return sum(float(value) for series, value in lines if series.split("{")[0] == name)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._drain.wait()


def request(path: str, body: bytes, length: int | None = None, close: bool = True, headers: str = "") -> bytes:
    """A POST in bytes; `length` announces a longer body than is sent."""
    connection = "close" if close else "keep-alive"
    head = (
        f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: {connection}\r\n"
        f"{headers}content-length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """A connection of asyncio, with little memory of its own."""

    def __init__(self, port: int):
        self.port = port
        self.socket = socket.socket()
        self.socket.setblocking(False)

    async def open(self) -> "Connection":
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self.port))
        return self

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def rest(self) -> bytes:
        """Everything that the server sends until it closes the connection."""
        received = bytearray()
        try:
            while data := await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16):
                received += data
        except ConnectionError:
            pass
        return bytes(received)

    def close(self) -> None:
        self.socket.close()


async def ask(port: int, path: str, body: bytes, headers: str = "") -> bytes:
    """The whole response to a request."""
    connection = Connection(port)
    try:
        await connection.open()
        await connection.send(request(path, body, headers=headers))
        return await connection.rest()
    except ConnectionError:
        return b""
    finally:
        connection.close()


def status_of(response: bytes) -> int:
    """The status of a response; 0 if there was none."""
    words = response.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0
