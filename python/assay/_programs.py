"""The programs: those inside of this package, or else those in the PATH."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

BUNDLED = Path(__file__).parent / "_bin"


def find(name: str) -> Path:
    """The path of a program. The directory in ASSAY_BINARIES goes first.

    Raises:
        FileNotFoundError: there is none.
    """
    directory = os.environ.get("ASSAY_BINARIES")
    candidates = [Path(directory) / name] if directory else []
    candidates.append(BUNDLED / name)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    # The script that this package installs has the same name, and would call itself.
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path and not _is_script(Path(path)):
            return Path(path)
    raise FileNotFoundError(
        f"the program {name} is not installed; build it with `make install`, or set ASSAY_BINARIES to its directory"
    )


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _run(name: str) -> None:
    try:
        program = find(name)
    except FileNotFoundError as error:
        sys.exit(str(error))
    os.execv(program, [name, *sys.argv[1:]])


def assay() -> None:
    _run("assay")


def build_engine() -> None:
    _run("build-engine")
