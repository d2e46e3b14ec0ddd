#!/bin/sh
# PPO with OpenRLHF 0.10; older versions call the option --remote_rm_url.
set -eu
export ASSAY_URL="${ASSAY_URL:-http://localhost:8000}"

exec python -m openrlhf.cli.train_ppo_ray \
    --actor.model_name_or_path Qwen/Qwen3-4B \
    --reward.remote_url "$(dirname "$0")/reward.py" \
    --data.prompt_dataset OpenRLHF/prompt-collection-v0.1 \
    --data.input_key context_messages --data.apply_chat_template
