#!/bin/sh
# Stands in for TensorRT-LLM's trtllm-build: makes what that would leave behind, as environment variables say.
printf '%s\n' "$*" > "$FAKE_LOG"
while [ $# -gt 0 ]; do
    case $1 in
        --checkpoint_dir) checkpoint=$2 ;;
        --output_dir) output=$2 ;;
        --max_batch_size) batch=$2 ;;
        --max_num_tokens) tokens=$2 ;;
        --max_seq_len) length=$2 ;;
    esac
    shift 2
done
echo 'building on standard output'
echo 'and on standard error' >&2
case $FAKE_MODE in
    fail) echo 'RuntimeError: no kernel image is available' >&2; exit 3 ;;
    hang) sleep 600 & echo $! > "$FAKE_LOG.child"; wait ;;
    lower) tokens=512 ;;
esac
for file in "$checkpoint"/rank*.safetensors; do
    rank=$(basename "$file" .safetensors)
    [ "$FAKE_MODE" = forget ] && [ "$rank" = rank1 ] && continue
    { echo "plan of $rank"; cksum < "$file"; } > "$output/$rank.engine"
done
echo 'timing cache' > model.cache
cat > "$output/config.json" <<END
{"version": "1.2.1", "pretrained_config": $(cat "$checkpoint/config.json"),
 "build_config": {"max_batch_size": $batch, "max_num_tokens": $tokens, "max_seq_len": $length}}
END
