"""Plain English: turns of phrase that CONTRIBUTING.md bans, in pages and comments, and tables that hold facts, not paragraphs."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

PAGES = sorted(
    [
        *ROOT.glob("[A-Z]*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        ROOT / "engines/demo/README.md",
        *(ROOT / "tests").rglob("README.md"),
        ROOT / "fuzz/README.md",
        ROOT / "python/README.md",
        ROOT / "examples/README.md",
    ]
)
# Made from the programs' own help.
GENERATED = {"options.md"}
# A paragraph of CONTRIBUTING.md names the banned turns between these marks.
QUOTED = re.compile(r"<!-- banned -->.*?<!-- end -->", re.S)
LONGEST_CELL = 25
# What a reader would stumble over, and what to write instead. Only turns that are never right are listed.
BANNED = {
    r"(?:^|[.!?:] |\| )Of (?!course\b|these\b|them\b|those\b)": "start with the subject",
    r"(?<!here )\b(?:is|are|was|were) no (?!longer\b|more\b)": "is not a ...",
    r"\b(?:behind|in front of) the (?:first|last|second|next|other|token|text|turn|step)s?\b": "after, before",
    r"\bso many\b|\bso much\b": "that many, or the number",
    r"\bwho(?:m)?ever\b": "anyone who",
    r"\bfor ever\b": "forever, or until when",
    r"\bby hand\b": "manually",
    r"\bby turns\b": "interleaved, alternately",
    r"\bwhere (?:it|there) (?:has|is) one\b": "if there is one",
    r"\b(?:is|are|was|were) told\b|\btold (?:to|otherwise|so|by)\b": "signalled, configured, reported",
    r"\b(?:its|their|the|a) begin\b": "start",
    r"\bone less (?:another|the other)\b|\brow \S+ less row\b": "minus",
    r"\blies? (?:in|on|beside|outside|between|there)\b": "is",
    r"\bstands? (?:in|on|beside|for itself|there)\b": "is",
    r"\b(?:is|are) to be (?!expected\b)": "must be",
    r"\bas such a\b": "repeat the noun",
    r"\ba (?:request|row|key|object|line|record) a (?:line|row|key)\b": "per",
    r"\bin all company\b|\bin (?:any|other|whatever) company\b": "in any batch",
    r"\bnot to be had\b": "not available",
}


def prose(page: Path) -> str:
    """A page without its code, its front matter and its links' targets."""
    text = QUOTED.sub("", page.read_text())
    text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.M | re.S)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'"[^"\n]*"', '"quoted"', re.sub(r"`[^`\n]*`", "`code`", text))
    return re.sub(r"\]\([^)]*\)", "]", text)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], ids=name)
def test_a_page_has_none_of_the_banned_turns(page: Path):
    text = re.sub(r"(?<![\n|])\n(?![\n|#>*-])", " ", prose(page))  # unwrap paragraphs
    found = [
        f"{text[max(0, hit.start() - 40) : hit.end() + 40]!r}: {advice}"
        for turn, advice in BANNED.items()
        for hit in re.finditer(turn, text, re.M)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in GENERATED], ids=name)
def test_cells_of_tables_are_short(page: Path):
    for line in prose(page).splitlines():
        if line.lstrip().startswith("|"):
            for cell in line.strip().strip("|").split(" | "):
                assert len(cell.split()) <= LONGEST_CELL, cell


COMMENT = re.compile(r"(?:///?!?|#)\s(.*)$")
CODE = ("build.rs", "src/**/*.rs", "cpp/**/*.*", "tests/**/*.rs", "tests/**/*.cc", "tests/**/*.h", "tests/**/*.py")
TOOLS = ("tools/**/*.*", "benches/*.rs", "fuzz/src/*.rs", "deploy/**/*.*", "docker/*", ".ci/*")


def test_comments_have_none_of_the_banned_turns():
    files = [file for pattern in CODE + TOOLS for file in ROOT.glob(pattern) if file.is_file()]
    assert len(files) > 300
    found = []
    for file in files:
        if file == Path(__file__):
            continue  # it lists them
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            comment = COMMENT.search(line)
            text = re.sub(r"`[^`]*`", "`code`", comment[1]) if comment else ""
            found += [f"{name(file)}:{number}: {text}: {BANNED[turn]}" for turn in BANNED if re.search(turn, text)]
    assert not found, "\n".join(found)
