#!/bin/sh
# slime, and miles. slime itself can also post to the server: --rm-type remote_rm --rm-url http://HOST:8000/slime/reward
set -eu
export ASSAY_URL="${ASSAY_URL:-http://localhost:8000}"

exec python train.py \
    --hf-checkpoint Qwen/Qwen3-4B \
    --prompt-data train.jsonl --input-key prompt --apply-chat-template \
    --n-samples-per-prompt 8 --rollout-batch-size 32 \
    --custom-rm-path assay.slime.reward
