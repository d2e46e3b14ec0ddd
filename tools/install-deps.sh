#!/usr/bin/env bash
# Installs what Assay is built and tested with, where it is missing: Debian 12 or later, Ubuntu 24.04
# or later. Does nothing, and asks for no rights, where nothing is missing.
set -euo pipefail

missing=()
need() { # PACKAGE, then a command that succeeds where the package is there
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
has_onednn() { echo '#include <dnnl.hpp>' | c++ -E -x c++ - ; }
has_venv() { python3 -c 'import ensurepip, venv'; }

need cmake cmake --version
need make make --version
need g++ c++ --version
need libdnnl-dev has_onednn
need python3-venv has_venv
need clang-format clang-format --version

if ! command -v cargo >/dev/null; then
    echo 'Rust is missing: install it as https://rustup.rs says, then run this again.' >&2
    exit 1
fi
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

command="apt-get install --yes --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "Missing: ${missing[*]}. This system has no apt-get: install what its package manager calls these." >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "Missing: ${missing[*]}. Installing takes root's rights, and there is no sudo here: run this as root:" >&2
    echo "    $command" >&2
    exit 1
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update --quiet
# shellcheck disable=SC2086 # The words of the command are its words.
"${as_root[@]}" $command
