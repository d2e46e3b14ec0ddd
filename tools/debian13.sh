#!/usr/bin/env bash
# Builds the C++ of the CPU engine with the compiler and the oneDNN of another Debian, and runs its tests there. The
# root of that system is made once, in build/. Needs root and debootstrap.
#   tools/debian13.sh            builds, and runs the tests
#   tools/debian13.sh build      only builds
# SUITE, by default trixie (Debian 13), names another release. compare_onednn.py measures the result.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${SUITE:-trixie}
root=build/$suite
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
    echo "needs root and debootstrap (apt-get install debootstrap)" >&2
    exit 1
fi

if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    mkdir -p build
    debootstrap --variant=minbase --include=cmake,g++,libdnnl-dev,make "$suite" "$root"
    touch "$root/.complete"
fi
mkdir -p "$root/assay"
rm -rf "$root/assay/cpp"
cp -r cpp "$root/assay/"

inside() { chroot "$root" env -C /assay PATH=/usr/bin:/bin ASSAY_WARNINGS_ARE_ERRORS="${ASSAY_WARNINGS_ARE_ERRORS-}" "$@"; }
inside cmake -S cpp -B build -DCMAKE_BUILD_TYPE=Release
inside cmake --build build --parallel "$(nproc)"
if [ "${1-}" != build ]; then
    inside ctest --test-dir build --output-on-failure
fi
