#!/usr/bin/env bash
# Builds every fuzz target as a plain program and runs it once over each of its seeds.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --package assay-fuzz --bins
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    python3 fuzz/seeds.py "$target" "build/fuzz/$target"
    if ! "${CARGO_TARGET_DIR:-target}/debug/$target" "build/fuzz/$target"/seeds/* >"build/fuzz/$target/log" 2>&1; then
        tail -n 30 "build/fuzz/$target/log" >&2
        echo "the fuzz target $target failed on one of its seeds" >&2
        exit 1
    fi
    echo "$target: $(grep -c '^Executed' "build/fuzz/$target/log") seeds"
done
