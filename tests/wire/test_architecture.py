"""The imports between the folders of src are those that docs/architecture.md allows, and form no circle."""

import re

from conftest import ROOT

SECTION = re.search(r"^## Who uses whom$(.*?)^## ", (ROOT / "docs/architecture.md").read_text(), re.M | re.S)[1]
ALLOWED = {
    folder: set(re.findall(r"`(\w+)`", uses))
    for folders, uses in re.findall(r"^\| (`.*?) \| (.*) \|$", SECTION, re.M)
    for folder in re.findall(r"`(\w+)`", folders)
}
FOLDERS = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()} - {"bin"}


def imports(folder: str) -> dict[str, str]:
    """The other folders that a folder's code names, tests apart, each with a file that names it."""
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
