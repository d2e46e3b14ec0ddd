"""Every command that README and docs show is run, in the order in which they show it.

A block of `sh` or `python` is run unless a comment before it says why it is not:
`<!-- not run here: REASON -->`. Blocks of one page share a folder, and a server of the demo model answers for
`http://localhost:8000`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BINARIES, CHECKPOINTS, ROOT, Server, assay, clean_environment

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"(?:<!-- not run here: (?P<why>[^>]+?) -->\s*\n)?^```(?P<kind>sh|python)\n(?P<text>.*?)^```$", re.M | re.S)

# A server in the foreground would never end: here it is told to once it is ready.
SERVE = r"""
serve_until_ready() {
    "$@" --host 127.0.0.1 --port 0 --log-format json 2>serve.log & local server=$!
    for _ in $(seq 300); do grep -q '"ready"' serve.log && break; kill -0 $server || break; sleep 0.1; done
    cat serve.log
    grep -q '"ready"' serve.log
    kill $server
    wait $server
}
"""


def blocks(page: Path) -> list[tuple[str, str, str | None]]:
    return [(found["kind"], found["text"], found["why"]) for found in BLOCK.finditer(page.read_text())]


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Path:
    """The demo model as the pages build it."""
    engine = tmp_path_factory.mktemp("docs") / "demo-engine"
    command = [BINARIES / "build-engine", "--model", CHECKPOINTS["demo"], "--target", "cpu", "--output", engine, "--name", "demo"]
    subprocess.run(command, check=True, capture_output=True)
    return engine


@pytest.fixture(scope="module")
def demo(engine: Path) -> Iterator[Server]:
    with Server(engine) as server:
        yield server


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(page: Path, engine: Path, demo: Server, tmp_path: Path):
    for folder in ["docs", "engines", "tests"]:
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/release").symlink_to(BINARIES.resolve())
    all_blocks = blocks(page)
    if not any("--output demo-engine" in text for _, text, _ in all_blocks):
        (tmp_path / "demo-engine").symlink_to(engine)
    environment = clean_environment(PATH=f"{BINARIES.resolve()}:{os.environ['PATH']}")
    places = {"http://localhost:8000": demo.url, "CHECKPOINT": str(CHECKPOINTS["demo"]), "--output ENGINE": "--output engine",
              "--engine ENGINE": "--engine engine"}
    for kind, text, why in all_blocks:
        if why:
            continue
        for name, place in places.items():
            text = text.replace(name, place)
        if kind == "python":
            command = [sys.executable, "-c", text]
        else:
            text = re.sub(r"^((?:\S+=\S+ )*)(\S*assay serve\b)", r"\1serve_until_ready \2", text, flags=re.M)
            command = ["bash", "-euo", "pipefail", "-c", SERVE + text]
        path = {"PATH": f"{ROOT / '.venv/bin'}:{environment['PATH']}"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert '"error"' not in done.stdout, f"{text}\n{done.stdout}"


def test_pages_show_commands_and_say_why_when_one_is_not_run():
    shown = [(page.name, why) for page in PAGES for _, _, why in blocks(page)]
    assert len(shown) > 10
    assert all(why is None or len(why.split()) >= 3 for _, why in shown)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def options_page() -> str:
    """`docs/options.md` as it should be."""
    text = "# Every option\n\nMade of the commands' own help; `UPDATE_DOCS=1 make test-wire` writes this page anew. "
    text += "`assay man DIR` and\n`build-engine man DIR` write the same as man pages, `completions SHELL` prints a shell's completions.\n"
    for name in ["assay serve", "assay score", "assay eval", "assay report", "assay profiles", "assay bench", "build-engine"]:
        program, *words = name.split()
        command = [BINARIES / program, *words, "--help"]
        shown = subprocess.run(command, env=clean_environment(COLUMNS="100"), capture_output=True, text=True, check=True)
        lines = [line.rstrip() for line in shown.stdout.splitlines()]
        text += f"\n## `{name}`\n\n```text\n" + "\n".join(lines).strip() + "\n```\n"
    return text


def test_every_option_is_in_its_page():
    page = ROOT / "docs/options.md"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(options_page())
    assert page.read_text() == options_page(), "docs/options.md is old: run UPDATE_DOCS=1 make test-wire"


def test_every_error_is_in_its_page():
    source = (ROOT / "src/api/error.rs").read_text()
    codes = set(re.findall(r'(?:REQUEST|SERVER|OVERLOAD|TIMEOUT), "([a-z_]+)"', source))
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/errors.md").read_text(), re.M))
    assert listed == codes and len(codes) > 10


def test_man_pages_and_completions_are_made_of_the_same_description(tmp_path: Path):
    assert assay("man", str(tmp_path)).returncode == 0
    assert r"max\-seq\-len" in (tmp_path / "assay-serve.1").read_text()
    for shell in ["bash", "zsh", "fish"]:
        assert "max-seq-len" in assay("completions", shell).stdout
