"""The imports between the folders of src are those that docs/architecture.md allows, and form no circle; nor do those
between its files."""

import re
from pathlib import Path

from conftest import ROOT

SECTION = re.search(r"^## Who uses whom$(.*?)^## ", (ROOT / "docs/architecture.md").read_text(), re.M | re.S)[1]
ALLOWED = {
    folder: set(re.findall(r"`(\w+)`", uses))
    for folders, uses in re.findall(r"^\| (`.*?) \| (.*) \|$", SECTION, re.M)
    for folder in re.findall(r"`(\w+)`", folders)
}
FOLDERS = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()} - {"bin"}


def imports(folder: str) -> dict[str, str]:
    """The other folders that a folder's code names, tests excepted, each with a file that names it."""
    found = {}
    for path in sorted((ROOT / "src" / folder).rglob("*.rs")):
        if path.name == "tests.rs":
            continue
        code = re.split(r"^#\[cfg\(test\)\]\nmod tests", path.read_text(), flags=re.M)[0]
        code = re.sub(r"//.*", "", code)
        names = set(re.findall(r"\bcrate::(\w+)", code))
        for group in re.findall(r"\bcrate::\{(.*?)\};", code, re.S):
            names |= set(re.findall(r"\w+", group))
        found |= {name: str(path.relative_to(ROOT)) for name in names & FOLDERS - {folder}}
    return found


def test_the_table_lists_every_folder():
    assert set(ALLOWED) == FOLDERS


def test_folders_import_only_what_the_table_allows():
    for folder in sorted(FOLDERS):
        extra = {name: path for name, path in imports(folder).items() if name not in ALLOWED[folder]}
        assert not extra, f"{folder} imports {extra}"


def test_the_table_has_no_circle():
    left = dict(ALLOWED)
    while left:
        free = [folder for folder, uses in left.items() if not uses & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for folder in free:
            del left[folder]


SRC = ROOT / "src"


def module(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(SRC).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def without_tests(path: Path) -> str:
    code = re.split(r"^#\[cfg\(test\)\]\nmod tests", path.read_text(), flags=re.M)[0]
    return re.sub(r"//.*", "", code)


FILES = {
    module(path): without_tests(path)
    for path in sorted(SRC.rglob("*.rs"))
    if path.parts[-1] != "tests.rs" and not {"bin", "tests"} & set(path.relative_to(SRC).parts)
}


def paths(tree: str, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of a `use` declaration: `a::{b, c::d}` has `a::b` and `a::c::d`."""
    before, brace, inside = tree.strip().partition("{")
    names = [name.strip() for name in before.split(" as ")[0].split("::") if name.strip()]
    if not brace:
        return [(*prefix, *names)]
    found, depth, item = [], 0, ""
    for letter in inside.rpartition("}")[0] + ",":
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            found += paths(item, (*prefix, *names)) if item.strip() else []
            item = ""
        else:
            item += letter
    return found


def absolute(file: tuple[str, ...], path: tuple[str, ...]) -> tuple[str, ...] | None:
    """A path from the crate's root; None if it leads out of the crate, or to the file's own items."""
    if path[0] == "crate":
        return path[1:]
    if path[0] == "self":
        return file + path[1:]
    if path[0] != "super":
        return file + path if file + path[:1] in FILES else None
    while path and path[0] == "super":
        file, path = file[:-1], path[1:]
    return file + path


USE = re.compile(r"(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
REEXPORTED = {
    (*file, path[-1]): target
    for file, code in FILES.items()
    for visible, tree in USE.findall(code)
    if visible
    for path in paths(tree)
    if (target := absolute(file, path))
}


def home(path: tuple[str, ...]) -> tuple[str, ...]:
    """The file that declares what a path names."""
    for _ in range(6):
        file = next(path[:length] for length in range(len(path), -1, -1) if path[:length] in FILES)
        further = path[len(file) :]
        target = REEXPORTED.get((*file, *further[:1])) if further else None
        if target is None or target == path:
            break
        path = target + further[1:]
    return file


def imported(file: tuple[str, ...], code: str) -> set[tuple[str, ...]]:
    """The files that a file names, apart from those that it is inside of or that are inside of it."""
    named = [path for visible, tree in USE.findall(code) if not visible for path in paths(tree)]
    body = USE.sub("", code)
    named += [tuple(path.split("::")) for path in re.findall(r"(?<![\w:])(?:[a-z_]+::)+\w+", body)]
    homes = {home(target) for path in named if (target := absolute(file, path))}
    return {other for other in homes if other[: len(file)] != file and file[: len(other)] != other}


def test_files_form_no_circle():
    left = {file: imported(file, code) for file, code in FILES.items()}
    # A file that uses none of the files left, or that none of them uses, is not part of a circle.
    while free := [
        file
        for file, uses in left.items()
        if not uses & left.keys() or not any(file in others for others in left.values())
    ]:
        for file in free:
            left.pop(file)
    assert not left, f"a circle among {sorted('::'.join(file) for file in left)}"
