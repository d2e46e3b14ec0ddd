#!/bin/sh
# GRPO with verl. The data has the prompt in extra_info.question, as verl's own data scripts write it.
set -eu
export ASSAY_URL="${ASSAY_URL:-http://localhost:8000}"

exec python -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo \
    data.train_files=train.parquet data.val_files=val.parquet \
    data.train_batch_size=256 data.max_prompt_length=1024 data.max_response_length=1024 \
    actor_rollout_ref.model.path=Qwen/Qwen3-4B \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=8 \
    reward.num_workers=64 \
    reward.custom_reward_function.path=pkg://assay.verl \
    reward.custom_reward_function.name=compute_score \
    trainer.n_gpus_per_node=8 trainer.nnodes=1 trainer.total_epochs=1
