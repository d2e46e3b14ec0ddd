#!/usr/bin/env bash
# Runs rustc so that it compiles coverage counters in: RUSTC_WORKSPACE_WRAPPER for the crates of this repository alone,
# because a build of all of them with counters takes ten minutes.
set -euo pipefail

# A build script is linked without libFuzzer.
case " $* " in *" --crate-name build_script_build "*) exec "$@" ;; esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
