"""Runs every command that README and docs show, in order, and checks that their links and paths exist.

A block of `sh` or `python` is run unless a comment above it says why not: `<!-- not run here: REASON -->`. The blocks
of one page share a folder, and a server with the demo model replaces `http://localhost:8000`.
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
# Pages whose links and paths are checked, but whose commands are not run.
OTHERS = [
    *ROOT.glob("[A-Z]*.md"),
    *(ROOT / ".github").rglob("*.md"),
    *(ROOT / "deploy").rglob("*.md"),
    ROOT / "engines/demo/README.md",
    ROOT / "examples/README.md",
    ROOT / "python/README.md",
    ROOT / "tests/golden/README.md",
    ROOT / "tests/trtllm/README.md",
]
ALL_PAGES = sorted({*PAGES, *OTHERS})
BLOCK = re.compile(r"(?:<!-- not run here: (?P<why>[^>]+?) -->\s*\n)?^```(?P<kind>sh|python)\n(?P<text>.*?)^```$", re.M | re.S)

# A server in the foreground would never end, so it is stopped once it is ready.
SERVE = r"""
serve_until_ready() {
    ASSAY_PORT=0 "$@" --log-format json 2>serve.log & local server=$!
    for _ in $(seq 300); do grep -q '"ready"' serve.log && break; kill -0 $server || break; sleep 0.1; done
    cat serve.log
    grep -q '"ready"' serve.log
    kill $server
    wait $server
}
"""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


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


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_of_a_page_work(page: Path, engine: Path, demo: Server, tmp_path: Path):
    for folder in ["docs", "engines", "examples", "tests"]:
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/release").symlink_to(BINARIES.resolve())
    all_blocks = blocks(page)
    if not any("--output demo-engine" in text for _, text, _ in all_blocks):
        (tmp_path / "demo-engine").symlink_to(engine)
    environment = clean_environment(PATH=f"{BINARIES.resolve()}:{os.environ['PATH']}", ASSAY_CACHE=str(tmp_path / "cache"))
    # The Python package, as if it were installed.
    environment["PYTHONPATH"] = str(ROOT / "python")
    # Two addresses of the server stand for two servers, and MODEL for a language model.
    places = {"http://localhost:8000": demo.url, "http://reward-0:8000": demo.url,
              "http://reward-1:8000": demo.url.replace("127.0.0.1", "localhost"), "CHECKPOINT": str(CHECKPOINTS["demo"]),
              "--engine MODEL": f"--engine {CHECKPOINTS['lm-head-tiny']}", "--output ENGINE": "--output engine",
              "--engine ENGINE": "--engine engine"}
    for kind, text, why in all_blocks:
        if why:
            continue
        for shown, place in places.items():
            text = text.replace(shown, place)
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


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives to a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_links_lead_somewhere(page: Path):
    for target, _, fragment in re.findall(r"\]\((?!\w+:)([^)#]*)(#([^)]*))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if fragment:
            assert fragment in anchors(linked), f"{target}#{fragment}"


# Places where a path in backticks starts; what a build makes is not there.
FOLDERS = "src|cpp|tests|tools|docs|engines|deploy|docker|benches|fuzz|examples|python|.github|.ci"


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_paths_in_backticks_exist(page: Path):
    for path in re.findall(rf"`((?:{FOLDERS})/[^\s`]*)`", page.read_text()):
        if not re.search(r"[A-Z]{3}|NAME|<", path):  # placeholders such as tests/checkpoints/NAME
            # A test may be named after its file: tests/it/parity.rs::name.
            assert list(ROOT.glob(path.split("::")[0].rstrip("/"))), path


@pytest.mark.parametrize("folder", ["docker", "fuzz", "tests", "tools"])
def test_a_program_can_be_run_by_its_path(folder: str):
    for path in sorted((ROOT / folder).rglob("*.*")):
        if path.suffix in (".py", ".sh"):
            assert os.access(path, os.X_OK) == path.read_text().startswith("#!"), path


def scores(text: str) -> dict[str, list[float]]:
    """The scores that a text shows by name, in the order in which it shows them."""
    found: dict[str, list[float]] = {}
    for name, score in re.findall(r'(helpfulness|correctness)"?: ?(-?[0-9.]+)', text):
        found.setdefault(name, []).append(float(score))
    return found


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_scores_that_a_page_shows_are_those_of_the_demo_model(page: str, demo: Server):
    text = (ROOT / page).read_text()
    shown = [block for block in re.findall(r"^```json\n(.*?)^```$", text, re.M | re.S) if scores(block)]
    asked = re.findall(r"^curl (http://localhost:8000\S+) -d '(.*?)'$", text, re.M | re.S)[: len(shown)]
    assert shown and len(asked) == len(shown)
    for block, (url, body) in zip(shown, asked, strict=True):
        command = ["curl", "-sS", url.replace("http://localhost:8000", demo.url), "-d", body]
        given = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        # Without bf16, a processor gives slightly different scores.
        assert {name: pytest.approx(values, abs=0.05) for name, values in scores(given).items()} == scores(block)


def test_man_pages_and_completions_are_made_of_the_same_description(tmp_path: Path):
    assert assay("man", str(tmp_path)).returncode == 0
    assert r"max\-seq\-len" in (tmp_path / "assay-serve.1").read_text()
    for shell in ["bash", "zsh", "fish"]:
        assert "max-seq-len" in assay("completions", shell).stdout
