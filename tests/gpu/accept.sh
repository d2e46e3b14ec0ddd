#!/usr/bin/env bash
# Settles on one machine whether Assay works there: builds an engine from a checkpoint, serves it, compares its
# scores with transformers', asks for them again alone and together, measures throughput against what the
# hardware can do, ends the server under load; does the same for the texts of a chat model; and writes one report
# (report.md and report.json).
#
# In the GPU image, with the repository mounted; `--target cpu` runs the same script anywhere:
#   docker run --gpus all --shm-size 1g -v "$PWD":/assay -w /assay assay:gpu tests/gpu/accept.sh --target h100
# Exit status: 0 everything passed, 1 something failed (the report says what), 2 bad command line.
# shellcheck disable=SC2317 # The steps' functions are called by `step`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

usage() {
    cat <<'END'
Usage: tests/gpu/accept.sh --target NAME [OPTION VALUE]...
  --target NAME       a file of engines/targets (h100, l4, ...), or cpu
  --model DIR         checkpoint, a *ForSequenceClassification   [default: engines/demo]
  --chat-model DIR    checkpoint of a chat model, or none        [default: tests/checkpoints/lm-head-tiny]
  --output DIR        folder for engine, logs and report         [default: build/accept-TARGET]
  --build "ARGS"      more arguments of build-engine, such as "--tp 2 --quantization fp8"
  --chat-build "ARGS" the same for the chat model
  --serve "ARGS"      more arguments of assay serve
  --texts N           conversations that are compared            [default: 48]
  --tokens N          words of a conversation that is timed      [default: 400]
  --new-tokens N      tokens of a text that is generated         [default: 32]
  --seconds N         how long throughput is measured            [default: 20]
  --connections N     requests at once                           [default: 64]
  --port N            port of the server                         [default: 8123]
  --binaries DIR      folder of assay and build-engine           [default: PATH, else target/release]
  --python FILE       Python with torch and transformers         [default: python3]
END
}

target='' model=engines/demo chat_model=tests/checkpoints/lm-head-tiny output='' build='' chat_build='' serve=''
texts=48 tokens=400 new_tokens=32 seconds=20 connections=64 port=8123 binaries='' python=python3
while [[ $# -gt 0 ]]; do
    case $1 in
    --target | --model | --chat-model | --output | --build | --chat-build | --serve | --texts | --tokens | \
        --new-tokens | --seconds | --connections | --port | --binaries | --python)
        if [[ $# -lt 2 ]]; then
            echo "$1 needs a value" >&2
            exit 2
        fi
        name=${1#--}
        printf -v "${name//-/_}" %s "$2"
        shift 2
        ;;
    --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done
if [[ -z $target ]]; then
    usage >&2
    exit 2
fi
if [[ -z $binaries ]] && ! command -v assay >/dev/null; then
    binaries=target/release
fi
[[ -n $binaries ]] && PATH=$(realpath "$binaries"):$PATH
command -v assay build-engine >/dev/null || { echo 'assay and build-engine are missing: cargo build --release' >&2; exit 2; }
output=${output:-build/accept-$target}
url=http://127.0.0.1:$port
server='' failed=0

rm -rf "$output"
mkdir -p "$output/results"
export TOKENIZERS_PARALLELISM=false
unset ASSAY_CONFIG ASSAY_ENGINE ASSAY_PROFILE NIM_CACHE_PATH NIM_MODEL_PROFILE

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }
step() { # NAME COMMAND...: its verdict and log become part of the report
    local name=$1 started=$EPOCHREALTIME status
    shift
    say "$name"
    "$@" >"$output/$name.log" 2>&1
    status=$?
    "$python" tests/gpu/accept.py step "$output" "$name" "$status" "$started" "$EPOCHREALTIME"
    if [[ $status -ne 0 ]]; then
        failed=1
        tail -n 5 "$output/$name.log" | sed 's/^/          /'
    fi
    return "$status"
}
judge() { "$python" tests/gpu/accept.py "$@"; }
generation() { "$python" tests/gpu/generate.py "$@"; }

describe_machine() {
    judge machine "$output" "$target" "$model"
    if command -v nvidia-smi >/dev/null; then nvidia-smi; fi
}
build_engine() { # CHECKPOINT ENGINE ARGUMENTS
    # shellcheck disable=SC2086 # The arguments' words are theirs.
    build-engine --model "$1" --target "$target" --output "$output/$2" --name accept $3
}
start() { # [ENGINE]
    # shellcheck disable=SC2086
    bash docker/entrypoint.sh --engine "$output/${1:-engine}" --host 127.0.0.1 --port "$port" $serve \
        >>"$output/server.log" 2>&1 &
    server=$!
    judge ready "$url" "$server"
}
end() { # SIGNAL STATUS: the server ends on the signal with that status
    local status
    kill "-$1" "$server"
    wait "$server"
    status=$?
    server=''
    echo "the server ended with status $status on SIG$1, expected $2"
    [[ $status -eq $2 ]]
}
drain() { # Told to end while requests are in flight, it answers them first.
    judge flood "$output" "$url" "$connections" &
    local flood=$!
    judge busy "$url" && end TERM 0
    local ended=$?
    wait "$flood" && [[ $ended -eq 0 ]]
}
kill_and_start_again() { start && end KILL 137 && start && judge same "$output" "$url" && end TERM 0; }
stop_server() { if [[ -n $server ]]; then kill -KILL "$server" 2>/dev/null; fi; }
trap stop_server EXIT

step machine describe_machine
step reference judge reference "$output" "$model" "$texts"
if step build build_engine "$model" engine "$build" && step profiles assay profiles --engines "$output/engine" && step start start; then
    step agreement judge agreement "$output" "$url"
    step repeatability judge repeatability "$output" "$url" "$target"
    step streaming judge streaming "$output" "$url" "$target"
    step throughput judge throughput "$output" "$url" "$target" "$model" "$connections" "$tokens" "$seconds"
    step drain drain
    stop_server
    step restart kill_and_start_again
fi
if [[ $chat_model != none ]] && step generation_reference generation reference "$output" "$chat_model" "$new_tokens" &&
    step generation_build build_engine "$chat_model" chat "$chat_build" && step generation_start start chat; then
    step generation_agreement generation agreement "$output" "$url"
    step generation_throughput generation throughput "$output" "$url" "$connections" "$new_tokens" "$seconds"
    step generation_end end TERM 0
    stop_server
fi
judge report "$output" "$target" "$model" "$build"
say "$output/report.md"
exit "$failed"
