"""GRPO with two attributes of a reward model as rewards.

    ASSAY_URL=http://localhost:8000 python grpo.py --policy Qwen/Qwen3-0.6B
"""

import argparse
import os

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from assay import Client
from assay.trl import reward_func

parser = argparse.ArgumentParser()
parser.add_argument("--policy", default="Qwen/Qwen3-0.6B")
parser.add_argument("--attributes", nargs="+", default=["helpfulness", "coherence"])
parser.add_argument("--weights", nargs="+", type=float, default=[0.7, 0.3])
arguments = parser.parse_args()

client = Client(os.environ.get("ASSAY_URL", "http://localhost:8000"), api_key=os.environ.get("ASSAY_API_KEY"))
# A column `prompt` of texts or messages.
dataset = load_dataset("trl-lib/ultrafeedback-prompt", split="train")

trainer = GRPOTrainer(
    model=arguments.policy,
    reward_funcs=[reward_func(client, rank_by=attribute, truncation="left") for attribute in arguments.attributes],
    train_dataset=dataset,
    args=GRPOConfig(
        output_dir="grpo",
        reward_weights=arguments.weights,
        num_generations=8,
        per_device_train_batch_size=8,
        max_completion_length=512,
        learning_rate=1e-6,
        logging_steps=10,
    ),
)
trainer.train()
