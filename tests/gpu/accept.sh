#!/usr/bin/env bash
# The acceptance test: does Assay work on this machine? It has three stages, each of which leaves a report:
#   link   compares the headers with what the code expects and looks for every library (report-link.md)
#   score  builds an engine, serves it, and compares one score with transformers' (report-score.md)
#   all    compares many scores, repeats them alone and in batches, builds with a small head too, compares throughput with
#          the hardware's limit, stops the server under load, and does the same with a chat model (report.md)
# A stage runs those before it first, and none runs after one that failed. Reports say what a failure most likely means.
#
# In the GPU image, with the repository mounted; `--target cpu` runs the same script anywhere:
#   docker run --gpus all --shm-size 1g -v "$PWD":/assay -w /assay assay:gpu tests/gpu/accept.sh --target h100
# Exit status: 0 if everything passed, 1 if something failed (the report says what), 2 for a bad command line.
# shellcheck disable=SC2317 # `step` calls the functions of the steps.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

usage() {
    cat <<'END'
Usage: tests/gpu/accept.sh --target NAME [OPTION VALUE]...
  --stage NAME        link, score or all                         [default: all]
  --target NAME       name of a file in engines/targets (h100, l4, ...), or cpu
  --model DIR         checkpoint of a *ForSequenceClassification  [default: engines/demo]
  --chat-model DIR    checkpoint of a chat model, or none        [default: tests/checkpoints/lm-head-tiny
                                                               with heads of 32 numbers, which GPUs need]
  --output DIR        directory for engine, logs, report         [default: build/accept-TARGET]
  --build "ARGS"      more arguments for build-engine, such as "--tp 2 --quantization fp8"
  --chat-build "ARGS" more arguments for the build of the chat model
  --serve "ARGS"      more arguments for assay serve
  --texts N           conversations to compare                   [default: 48]
  --long-words N      words of one more conversation to compare, such as more than a window has; 0: none
                                                                 [default: 0]
  --tokens N          words in each conversation that is timed   [default: 400]
  --new-tokens N      tokens to generate for each text           [default: 32]
  --seconds N         duration of each throughput measurement    [default: 20]
  --connections N     concurrent requests                        [default: 64]
  --port N            port of the server                         [default: 8123]
  --binaries DIR      directory with assay and build-engine      [default: PATH, else target/release]
  --python FILE       Python with torch and transformers         [default: python3]
END
}

stage=all target='' model=engines/demo chat_model='' output='' build='' chat_build='' serve=''
texts=48 long_words=0 tokens=400 new_tokens=32 seconds=20 connections=64 port=8123 binaries='' python=python3
while [[ $# -gt 0 ]]; do
    case $1 in
    --stage | --target | --model | --chat-model | --output | --build | --chat-build | --serve | --texts | --long-words | --tokens | \
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
if [[ -z $target || ! $stage =~ ^(link|score|all)$ ]]; then
    usage >&2
    exit 2
fi
if [[ -z $binaries ]] && ! command -v assay >/dev/null; then
    binaries=target/release
fi
[[ -n $binaries ]] && PATH=$(realpath "$binaries"):$PATH
command -v assay build-engine >/dev/null || { echo 'assay and build-engine are not on the PATH: build them with cargo build --release, or set --binaries' >&2; exit 2; }
output=${output:-build/accept-$target}
url=http://127.0.0.1:$port
server='' failed=0

rm -rf "$output"
mkdir -p "$output/results"
export TOKENIZERS_PARALLELISM=false
unset ASSAY_CONFIG ASSAY_ENGINE ASSAY_PROFILE NIM_CACHE_PATH NIM_MODEL_PROFILE

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }
step() { # NAME COMMAND ...: runs the command and adds its outcome and log to the report
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
    # shellcheck disable=SC2086 # The arguments are split into words on purpose.
    build-engine --model "$1" --target "$target" --output "$output/$2" --name accept $3
}
start() { # ENGINE
    # shellcheck disable=SC2086 # As above.
    bash docker/entrypoint.sh --engine "$output/$1" --host 127.0.0.1 --port "$port" $serve \
        >>"$output/server.log" 2>&1 &
    server=$!
    judge ready "$url" "$server"
}
end() { # SIGNAL STATUS: sends the signal and expects that exit status
    local status
    kill "-$1" "$server"
    wait "$server"
    status=$?
    server=''
    echo "the server exited with status $status on SIG$1; expected $2"
    [[ $status -eq $2 ]]
}
drain() { # On SIGTERM the server must answer the requests in flight before it exits.
    judge flood "$output" "$url" "$connections" &
    local flood=$!
    judge busy "$url" && end TERM 0
    local ended=$?
    wait "$flood" && [[ $ended -eq 0 ]]
}
kill_and_start_again() { start engine && end KILL 137 && start engine && judge same "$output" "$url" && end TERM 0; }
stop_server() { if [[ -n $server ]]; then kill -KILL "$server" 2>/dev/null; fi; }
trap stop_server EXIT

# Every library that the programs need, and the tools of the image.
find_libraries() {
    local missing=0 program
    for program in assay build-engine; do
        echo "$program: $(command -v "$program")"
        ldd "$(command -v "$program")" | tee "$output/ldd.txt"
        if grep 'not found' "$output/ldd.txt"; then missing=1; fi
    done
    assay --version && build-engine --version || missing=1
    if [[ $target != cpu ]]; then
        "$python" -c 'import tensorrt, tensorrt_llm; print("TensorRT", tensorrt.__version__, "TensorRT-LLM", tensorrt_llm.__version__)' || missing=1
        command -v trtllm-build mpirun || { echo 'trtllm-build or mpirun is not on the PATH'; missing=1; }
    fi
    if [[ $missing -ne 0 ]]; then echo 'something is missing; see above'; return 1; fi
}
compare_headers() {
    local root=${TRTLLM_ROOT:-/app/tensorrt_llm}
    command -v make g++ >/dev/null || { echo 'not compared: this image has no make or g++; the build stage of docker/gpu.Dockerfile has'; return; }
    make check-trtllm-headers TRTLLM_ROOT="$root"
}
# The same model with a head of its own rows only, where the family has that form.
small_head() {
    # shellcheck disable=SC2086 # As above.
    if ! build-engine --model "$model" --target "$target" --output "$output/small" --dry-run --small-head $build; then
        echo 'not tried: build-engine refuses it for this model'
        return
    fi
    build_engine "$model" small "$build --small-head" && start small || return
    judge agreement "$output" "$url" small_head
    local agreed=$?
    end TERM 0 && [[ $agreed -eq 0 ]]
}
# Ends the program unless a later stage is to run.
finish_stage() { # NAME
    judge report "$output" "$target" "$model" "$build" "$1"
    say "$output/report${1:+-$1}.md"
    if [[ $failed -ne 0 || $stage == "${1:-all}" ]]; then
        exit "$failed"
    fi
}

step machine describe_machine
step link find_libraries
if [[ $target != cpu ]]; then step headers compare_headers; fi
finish_stage link

step reference judge reference "$output" "$model" "$texts" "$long_words"
step build build_engine "$model" engine "$build" && step profiles assay profiles --engines "$output/engine" &&
    step start start engine && step first judge first "$output" "$url"
finish_stage score

if [[ -n $server ]]; then
    step agreement judge agreement "$output" "$url"
    step repeatability judge repeatability "$output" "$url" "$target"
    step streaming judge streaming "$output" "$url" "$target"
    step throughput judge throughput "$output" "$url" "$target" "$model" "$connections" "$tokens" "$seconds"
    step drain drain
    stop_server
    step restart kill_and_start_again
    if [[ $target != cpu ]]; then step small_head small_head; fi
    stop_server
fi
if [[ -z $chat_model ]]; then
    chat_model=$output/lm-head-wide
    step chat_model "$python" tests/trtllm_checkpoint/wide.py tests/checkpoints/lm-head-tiny "$chat_model" || chat_model=none
fi
if [[ $chat_model != none ]] && step generation_reference generation reference "$output" "$chat_model" "$new_tokens" &&
    step generation_build build_engine "$chat_model" chat "$chat_build" && step generation_start start chat; then
    step generation_agreement generation agreement "$output" "$url"
    step generation_throughput generation throughput "$output" "$url" "$connections" "$new_tokens" "$seconds"
    step generation_end end TERM 0
    stop_server
fi
finish_stage ''
