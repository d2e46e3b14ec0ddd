# Tries the image for GPUs over the stand-in for TensorRT-LLM: what it refuses without a GPU, and building and serving
# engines of one and of two ranks with a stand-in for the driver's library.
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # build-image.sh sets the root; inside.sh reads the rest.
volumes=(/engines)
if compgen -G "$root/etc/ssh/ssh_host_*" >/dev/null; then
    fail 'the image has host keys for SSH, which everyone who has the image would know'
fi
install -d -o 10001 -g 10001 "$root/engines"
cp -r engines/demo "$root/models"
# What `docker run --gpus` adds to the image.
driver=(LD_LIBRARY_PATH=/app/tensorrt_llm/driver FAKE_LOG=/tmp/trtllm-build.log)

refused() { # PATTERN COMMAND ...: the command fails, and says why
    local pattern=$1 said
    shift
    if said=$(inside "$@" 2>&1); then
        fail "$* succeeded without a GPU: $said"
    fi
    grep -q "$pattern" <<<"$said" || fail "$* did not say '$pattern': $said"
    echo "refused: ${said##*$'\n'}"
}

variables=("${driver[@]}" STAND_IN_GPUS=1)
inside build-engine --model /models --target h100 --output /engines/one --name demo
echo 'ranks 2' >"$folder/two.conf"
inside build-engine --model /models --target h100 --tp 2 --output /engines/two --name demo
install -o 10001 "$folder/two.conf" "$root/engines/two/stand-in.conf"

variables=()
refused 'no NVIDIA driver' entrypoint.sh
refused 'no NVIDIA driver' entrypoint.sh serve /engines/one
inside entrypoint.sh assay profiles

variables=("${driver[@]}" STAND_IN_GPUS=0)
refused 'sees no GPU' entrypoint.sh

for ranks in 1 2; do
    variables=("${driver[@]}" "STAND_IN_GPUS=$ranks")
    inside entrypoint.sh assay profiles
    started=$(inside assay serve /engines --print-ranks)
    [[ $started == "$ranks" ]] || fail "the entry script would start $started ranks on $ranks GPUs"
    serve
    given[ranks]=$(score)
    echo "scores with $ranks: ${given[ranks]}"
    stop
done
[[ ${given[1]} == "${given[2]}" ]] || fail 'two ranks gave other scores than one'
