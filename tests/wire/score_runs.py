"""Runs of `assay score` for tests, and the files that they read and write."""

import json
import random
import shutil
import subprocess
from pathlib import Path

from conftest import BINARIES, CHECKPOINTS, PARIS, Engines, assay


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def score(engines: Engines, *arguments, checkpoint: str = "llama3-tiny", **options):
    return assay("score", "--engine", engines[checkpoint], "--threads", "1", *arguments, **options)


def pairs(count: int) -> list[dict]:
    words = ["Rain", "sun", "the Louvre", "a long walk", "nothing", "Édith Piaf", "the 5th"]
    choose = random.Random(1).choice
    text = lambda: " and ".join(choose(words) for _ in range(choose([2, 5, 60])))  # noqa: E731
    return [{"id": n, "prompt": f"{PARIS} ({n % 7})", "chosen": text(), "rejected": text(), "subset": f"s{n % 3}"}
            for n in range(count)]


def with_template(directory: Path, template: str, date: str = "2025-01-31") -> Path:
    """An engine whose chat template is this one."""
    checkpoint, engine = directory / f"checkpoint {date}", directory / date
    shutil.copytree(CHECKPOINTS["llama3-tiny"], checkpoint)
    (checkpoint / "chat_template.jinja").write_text(template)
    command = [BINARIES / "build-engine", "--model", checkpoint, "--target", "cpu", "--dtype", "f32"]
    built = subprocess.run([*command, "--output", engine, "--template-date", date], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return engine
