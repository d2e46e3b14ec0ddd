#!/usr/bin/env bash
# Installs what Assay is built and tested with: packages of Debian 12 or later or Ubuntu 24.04 or later, and Rust.
#   tools/install-deps.sh         what `make demo` and `make test` need
#   tools/install-deps.sh lint    what `make lint` needs as well
#   tools/install-deps.sh tidy    what `make tidy` needs as well
# Does nothing, and needs no rights, if nothing is missing. Nothing that is installed is replaced or removed: an old
# Rust stays where it is.
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
# Commands of the documentation, which the tests run, and of the tests.
need curl curl --version
need iproute2 ss --version
case "${1-}" in
lint) need clang-format clang-format --version ;;
tidy)
    need clang-tidy clang-tidy --version
    need libomp-dev has_clang_openmp
    ;;
esac

# --- Rust: which one is there, and where a newer one comes from ---

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
# The Makefile looks there first, too.
cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
if [ -x "$cargo_bin/rustup" ]; then
    PATH=$cargo_bin:$PATH
fi
reaches_minimum() { # VERSION
    [ "$(printf '%s\n' "$minimum" "$1" | sort --version-sort | head -n 1)" = "$minimum" ]
}
rust=present
if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    rust=missing
    echo "Rust is not installed, and Assay needs $minimum or later."
else
    # rustup installs the version in rust-toolchain.toml here, or says why it cannot.
    found=$(rustc --version | cut -d' ' -f2)
    if ! reaches_minimum "$found"; then
        rust=missing
        echo "Rust $found is too old: Assay needs $minimum or later."
    fi
fi
if [ $rust = present ] && [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    as_root=(none)
fi
has_apt() { command -v apt-get >/dev/null && [ "${as_root[*]-}" != none ]; }
run_apt() { DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get "$@"; }

# Whether apt would install these packages without removing any, in a version that is new enough.
offers_rust() { # RUSTC CARGO
    local version
    version=$(apt-cache policy "$1" | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')
    [ -n "$version" ] && reaches_minimum "$version" || return 1
    ! apt-get --simulate --no-install-recommends install "$@" | grep -q '^Remv' || return 1
    echo "Installing Rust $version from the packages $*."
    missing+=("$@")
}

installer=no
if has_apt; then
    run_apt update --quiet
fi
if [ $rust = missing ]; then
    # Debian has Rust for its browsers in packages of their own, which are newer than its `rustc`.
    if has_apt && { offers_rust rustc cargo || offers_rust rustc-web cargo-web; }; then
        :
    else
        installer=yes
        has_certificates() { test -s /etc/ssl/certs/ca-certificates.crt; }
        need ca-certificates has_certificates
    fi
fi

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "Missing packages: ${missing[*]} (Debian's names). Install them with this system's package manager." >&2
        exit 1
    elif ! has_apt; then
        echo "Missing packages: ${missing[*]}. sudo is not installed, so run this as root:" >&2
        echo "    apt-get install --yes --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "Installing ${missing[*]}"
    run_apt install --yes --no-install-recommends "${missing[@]}"
fi
if [ $installer = yes ]; then
    echo "Installing Rust with rustup (https://rustup.rs) into $cargo_bin. Your PATH and shell files stay as they are."
    # The version comes from rust-toolchain.toml, at the first use.
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail https://sh.rustup.rs |
        RUSTUP_INIT_SKIP_PATH_CHECK=yes sh -s -- -y --no-modify-path --profile minimal --default-toolchain none
fi
