#!/bin/sh
# Stands in for TensorRT-LLM's trtllm-build: makes what that would leave behind, as environment variables say, and
# refuses options that version 1.2.1 does not know (its `commands/build.py` and `plugin/plugin.py`).
refuse() { echo "trtllm-build: error: $1" >&2; exit 2; }
printf '%s\n' "$*" > "$FAKE_LOG"
while [ $# -gt 0 ]; do
    case $1 in
        --checkpoint_dir) checkpoint=$2 ;;
        --output_dir) output=$2 ;;
        --max_batch_size) batch=$2 ;;
        --max_num_tokens) tokens=$2 ;;
        --max_seq_len) length=$2 ;;
        --opt_num_tokens) optimal=$2 ;;
        --max_input_len | --max_beam_width | --tokens_per_block | --workers) ;;
        --kv_cache_type) [ "$2" = paged ] || refuse "argument $1: invalid choice: $2" ;;
        --logits_dtype) [ "$2" = float32 ] || [ "$2" = float16 ] || refuse "argument $1: invalid choice: $2" ;;
        --gemm_plugin) [ "$2" = auto ] || [ "$2" = disable ] || refuse "argument $1: invalid choice: $2" ;;
        --remove_input_padding | --use_paged_context_fmha | --reduce_fusion | --multiple_profiles)
            [ "$2" = enable ] || [ "$2" = disable ] || refuse "argument $1: invalid choice: $2"
            [ "$1" = --multiple_profiles ] && profiles=$2 ;;
        *) refuse "unrecognized arguments: $1" ;;
    esac
    shift 2
done
[ "$profiles" = enable ] && [ -n "$optimal" ] && refuse 'multiple_profiles is enabled, while opt_num_tokens is set'
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
