#!/usr/bin/env bash
# Installs the packages that Assay is built and tested with, on Debian 12 or later and Ubuntu 24.04 or later:
#   tools/install-deps.sh         what `make demo` and `make test` need
#   tools/install-deps.sh lint    what `make lint` needs as well
#   tools/install-deps.sh tidy    what `make tidy` needs as well
# Does nothing, and needs no rights, if nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # PACKAGE COMMAND ...: the package is missing if the command fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
has_onednn() { echo '#include <dnnl.hpp>' | c++ -E -x c++ - ; }
has_clang_openmp() { ls /usr/lib/llvm-*/lib/clang/*/include/omp.h; }
has_venv() { python3 -c 'import ensurepip, venv'; }

need cmake cmake --version
need make make --version
need g++ c++ --version
need libdnnl-dev has_onednn
need python3-venv has_venv
case "${1-}" in
lint) need clang-format clang-format --version ;;
tidy)
    need clang-tidy clang-tidy --version
    need libomp-dev has_clang_openmp
    ;;
esac

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null; then
    echo "Rust is not installed. Install Rust $minimum or later (https://rustup.rs), then run this command again." >&2
    exit 1
fi
# Fails where rustup has no toolchain of the version in rust-toolchain.toml; rustup then says what to do.
found=$(rustc --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$minimum" "$found" | sort --version-sort | head -n 1)" != "$minimum" ]; then
    echo "Rust $found is too old: Assay needs $minimum or later. Update it, for example with rustup" >&2
    echo "(https://rustup.rs), then run this command again." >&2
    exit 1
fi
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

command="apt-get install --yes --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "Missing packages: ${missing[*]} (Debian's names). Install them with this system's package manager." >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "Missing packages: ${missing[*]}. sudo is not installed, so run this as root:" >&2
    echo "    $command" >&2
    exit 1
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update --quiet
# shellcheck disable=SC2086 # The command is split into words on purpose.
"${as_root[@]}" $command
