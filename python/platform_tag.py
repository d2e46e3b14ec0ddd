"""Marks a wheel that contains the programs with the platform that they run on."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# glibc of Debian 12, on which the programs are built.
PLATFORM = "manylinux_2_36_x86_64"


class PlatformTag(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if (Path(self.root) / "assay/_bin/assay").exists():
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{PLATFORM}"
