"""GRPO with AReaL, rewarded by a server: python train.py --config grpo.yaml

The data set needs a column `messages` with the prompt. ASSAY_RANK_BY chooses the attribute.
"""

import os
import sys

from areal import PPOTrainer
from areal.api.cli_args import GRPOConfig, load_expr_config
from areal.dataset import get_custom_dataset
from areal.utils.hf_utils import load_hf_tokenizer

os.environ.setdefault("ASSAY_URL", "http://localhost:8000")


def main(arguments: list[str]) -> None:
    config, _ = load_expr_config(arguments, GRPOConfig)
    tokenizer = load_hf_tokenizer(config.tokenizer_path)
    train = get_custom_dataset(split="train", dataset_config=config.train_dataset, tokenizer=tokenizer)
    valid = get_custom_dataset(split="test", dataset_config=config.valid_dataset, tokenizer=tokenizer)
    workflow = {
        "reward_fn": "assay.areal.reward",
        "gconfig": config.gconfig,
        "tokenizer": config.tokenizer_path,
        "enable_thinking": False,
    }
    with PPOTrainer(config, train_dataset=train, valid_dataset=valid) as trainer:
        trainer.train(
            workflow="areal.workflow.rlvr.RLVRWorkflow",
            workflow_kwargs=workflow,
            eval_workflow="areal.workflow.rlvr.RLVRWorkflow",
            eval_workflow_kwargs={**workflow, "gconfig": config.gconfig.new(temperature=0.6)},
        )


if __name__ == "__main__":
    main(sys.argv[1:])
