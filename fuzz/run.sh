#!/usr/bin/env bash
# Fuzzes one target, or runs it once over the inputs in some files:
#   fuzz/run.sh TARGET [SECONDS [OPTION OF LIBFUZZER ...]]
#   fuzz/run.sh TARGET FILE ...
#
# Needs no nightly toolchain and no cargo-fuzz: stable options of rustc compile the coverage counters in. Inputs that
# reach new code are kept in build/fuzz/TARGET/corpus, and an input that fails in build/fuzz/TARGET/failures.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?usage: fuzz/run.sh TARGET [SECONDS | FILE ...]}
shift

# The options of cargo-fuzz. With --target they do not apply to build scripts.
coverage=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cdebug-assertions=yes
    -Ccodegen-units=1
)
host=$(rustc --version --verbose | sed -n 's/^host: //p')
RUSTFLAGS="${coverage[*]}" cargo build --locked --release --package assay-fuzz --bin "$target" \
    --target "$host" --target-dir build/fuzz-target
program=build/fuzz-target/$host/release/$target

if [ -f "${1-}" ]; then
    exec "$program" -timeout=10 -rss_limit_mb=4096 "$@"
fi
seconds=${1:-60}
shift $(($# > 0))
work=build/fuzz/$target
mkdir -p "$work/corpus" "$work/failures"
python3 fuzz/seeds.py "$target" "$work"
exec "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -dict="$work/dictionary" \
    -artifact_prefix="$work/failures/" "$@" "$work/corpus" "$work/seeds"
