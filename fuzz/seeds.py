#!/usr/bin/env python3
"""Writes the seeds of a fuzz target, and a dictionary of the words in them: seeds.py TARGET DIRECTORY.

The seeds are those in fuzz/seeds and what the tests and the docs have already: checkpoints, templates, requests.
"""

import pathlib
import re
import shutil
import sys

FUZZ = pathlib.Path(__file__).resolve().parent
REPOSITORY = FUZZ.parent
CHECKPOINTS = REPOSITORY / "tests" / "checkpoints"


def safetensors_header(path: pathlib.Path) -> bytes:
    """The JSON between the length and the data of a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(length)


def documented_requests(page: pathlib.Path) -> dict[str, bytes]:
    """The request of each `POST` route on a page of the docs, as the target `requests` reads it."""
    requests = {}
    for section in page.read_text().split("\n### ")[1:]:
        route = re.match(r"`POST (/\S+)`", section)
        body = re.search(r"```json\n(.*?)```", section, re.DOTALL)
        if route and body:
            name = route[1].strip("/").replace("/", "-")
            requests[name] = f"POST {route[1]}\n{body[1]}".encode()
    return requests


def from_repository(target: str) -> dict[str, bytes]:
    """Seeds made of files that the tests and docs use, by name."""
    match target:
        case "config":
            return {path.parent.name: path.read_bytes() for path in CHECKPOINTS.glob("*/config.json")}
        case "requests":
            return documented_requests(REPOSITORY / "docs" / "api.md")
        case "safetensors":
            return {path.parent.name: safetensors_header(path) for path in CHECKPOINTS.glob("*/model.safetensors")}
        case "templates":
            templates = (REPOSITORY / "tests" / "prompts").glob("*/chat_template.jinja")
            return {path.parent.name: path.read_bytes() for path in templates}
        case _:
            return {}


def dictionary(seeds: list[bytes]) -> str:
    """A dictionary for libFuzzer of the words in the seeds."""
    words = {word.decode() for seed in seeds for word in re.findall(rb"[A-Za-z_]\w{2,30}", seed)}
    return "".join(f'"{word}"\n' for word in sorted(words))


def main(target: str, output: pathlib.Path) -> None:
    seeds = from_repository(target)
    seeds |= {path.name: path.read_bytes() for path in (FUZZ / "seeds" / target).glob("*")}
    shutil.rmtree(output / "seeds", ignore_errors=True)
    (output / "seeds").mkdir(parents=True)
    for name, content in seeds.items():
        (output / "seeds" / name).write_bytes(content)
    (output / "dictionary").write_text(dictionary(list(seeds.values())))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
