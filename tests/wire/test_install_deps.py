"""`tools/install-deps.sh` on machines with and without Rust, with fakes for every program that it would install with."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

TOOLS = ["bash", "sh", "sed", "sort", "head", "cut", "dirname", "grep", "cat", "ls"]
PRESENT = ["cmake", "make", "c++", "python3", "clang-format", "curl", "ss"]


class Machine:
    """A machine whose programs are fakes that note how they were called."""

    def __init__(self, home: Path, rustc: str | None, offers: dict[str, str], removes: str = "", user: int = 0):
        self.home = home
        self.bin = home / "bin"
        self.bin.mkdir()
        self.calls = home / "calls"
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for tool in PRESENT:
            self.fake(tool, "cat >/dev/null")
        self.fake("id", f"echo {user}")
        self.fake("curl", "echo 'echo rustup-init \"$@\" >>'" + str(self.calls))
        if rustc:
            self.fake("rustc", f"echo 'rustc {rustc} (hash)'")
            self.fake("cargo", "")
        candidates = "".join(f"{name}) echo '  Candidate: {version}' ;;\n" for name, version in offers.items())
        self.fake("apt-cache", f'case "$2" in\n{candidates}*) ;;\nesac')
        self.fake("apt-get", f'echo "apt-get $*" >>{self.calls}\n[[ $* == *--simulate* ]] && echo "{removes}"; true')

    def fake(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def install(self) -> tuple[subprocess.CompletedProcess, list[str]]:
        environment = {"PATH": str(self.bin), "HOME": str(self.home)}
        command = [self.bin / "bash", ROOT / "tools/install-deps.sh"]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        return done, [call for call in calls if "--simulate" not in call]


def installed(calls: list[str]) -> list[str]:
    prefix = "apt-get install --yes --no-install-recommends "
    return next((call.removeprefix(prefix).split() for call in calls if call.startswith(prefix)), [])


def test_nothing_happens_where_nothing_is_missing(tmp_path: Path):
    done, calls = Machine(tmp_path, "1.95.0", {}).install()
    assert (done.returncode, done.stdout, calls) == (0, "", [])


@pytest.mark.parametrize(
    ("offers", "packages"),
    [
        ({"rustc": "1.97.1+dfsg1-1"}, ["rustc", "cargo"]),
        # As Debian 12 and 13 have them.
        ({"rustc": "1.63.0+dfsg1-2", "rustc-web": "1.96.0+dfsg1-1~deb12u2"}, ["rustc-web", "cargo-web"]),
    ],
)
def test_rust_comes_from_packages_that_are_new_enough(tmp_path: Path, offers: dict[str, str], packages: list[str]):
    done, calls = Machine(tmp_path, None, offers).install()
    assert done.returncode == 0, done.stderr
    assert calls[0].startswith("apt-get update") and installed(calls) == packages
    assert "Rust is not installed" in done.stdout and "from the packages" in done.stdout


@pytest.mark.parametrize(
    ("rustc", "offers", "removes"),
    [
        (None, {}, ""),
        (None, {"rustc": "1.75.0", "rustc-web": "1.85.0"}, ""),
        # The newer packages would take the place of the old ones, which may be there for a reason.
        ("1.63.0", {"rustc": "1.63.0", "rustc-web": "1.96.0"}, "Remv rustc [1.63.0]"),
    ],
)
def test_otherwise_rustup_installs_it_in_the_users_home(tmp_path: Path, rustc: str | None, offers: dict[str, str], removes: str):
    done, calls = Machine(tmp_path, rustc, offers, removes).install()
    assert done.returncode == 0, done.stderr
    assert calls[-1] == "rustup-init -y --no-modify-path --profile minimal --default-toolchain none"
    assert f"into {tmp_path}/.cargo/bin" in done.stdout
    assert not [package for package in installed(calls) if "rust" in package]


def test_a_rust_of_rustups_goes_before_an_older_one(tmp_path: Path):
    machine = Machine(tmp_path, "1.63.0", {})
    home = tmp_path / ".cargo/bin"
    home.mkdir(parents=True)
    for tool, body in [("rustup", ""), ("cargo", ""), ("rustc", "echo 'rustc 1.95.0 (hash)'")]:
        machine.fake(tool, body)
        (machine.bin / tool).rename(home / tool)
    machine.fake("rustc", "echo 'rustc 1.63.0 (hash)'")
    done, calls = machine.install()
    assert (done.returncode, done.stdout, calls) == (0, "", [])


def test_without_sudo_the_command_for_root_is_printed(tmp_path: Path):
    machine = Machine(tmp_path, "1.95.0", {}, user=1000)
    (machine.bin / "cmake").unlink()
    done, calls = machine.install()
    assert done.returncode == 1 and not calls
    assert "apt-get install --yes --no-install-recommends cmake" in done.stderr
