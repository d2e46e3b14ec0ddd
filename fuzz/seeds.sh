#!/usr/bin/env bash
# Builds every fuzz target and runs it once over each of its seeds:
#   fuzz/seeds.sh            only the seeds
#   fuzz/seeds.sh SECONDS    then fuzzes it for some seconds, from the same random numbers each time
#
# Only this repository's own code has coverage counters, and none of it is optimized; fuzz/run.sh does better.
set -euo pipefail
cd "$(dirname "$0")/.."

export PROGRAMS=${CARGO_TARGET_DIR:-target}/debug FUZZED_SECONDS=${1-0}

run() { # TARGET OPTION OF LIBFUZZER ...: prints what an input did that failed, and keeps the input
    local target=$1 work=build/fuzz/$1
    shift
    mkdir -p "$work/failures"
    # A slow machine is no failure, a hang is.
    if ! "$PROGRAMS/$target" -timeout=120 -rss_limit_mb=4096 -artifact_prefix="$work/failures/" "$@" >"$work/log" 2>&1; then
        tail -n 30 "$work/log" >&2
        echo "the fuzz target $target failed on an input that is in $work/failures or among its seeds" >&2
        return 1
    fi
}

fuzz() { # TARGET
    local work=build/fuzz/$1
    python3 fuzz/seeds.py "$1" "$work"
    run "$1" "$work"/seeds/*
    echo "$1: $(grep -c '^Executed' "$work/log") seeds"
    if [ "$FUZZED_SECONDS" -gt 0 ]; then
        run "$1" -seed=1 -max_total_time="$FUZZED_SECONDS" -dict="$work/dictionary" "$work/seeds"
        echo "$1: $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$work/log") other inputs"
    fi
}

RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/with_counters.sh cargo build --locked --package assay-fuzz --bins
export -f run fuzz
find fuzz/fuzz_targets -name '*.rs' -exec basename -s .rs {} + | sort |
    xargs --max-args 1 --max-procs "$(nproc)" bash -euo pipefail -c 'fuzz "$1"' bash
