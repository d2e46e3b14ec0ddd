"""An environment for NeMo RL whose reward is the model's, and a data processor that keeps the prompt for it.

    from assay.nemo_rl import register

    register()  # before NeMo RL sets up its data and its environments

Data then name `env_name: assay` and `processor: assay`, and the configuration has

    env:
      assay: {url: "http://localhost:8000", rank_by: helpfulness}

NeMo RL's own processors put text into the message log to which the policy's chat template was applied. `process` also
keeps the messages, which the reward model's own template needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
import torch
from nemo_rl.environments.interfaces import EnvironmentInterface, EnvironmentReturn

from . import _protocol
from .client import Client

NAME = "assay"


class Environment(EnvironmentInterface):
    """Scores the response to a prompt; an episode is one turn.

    The configuration has the server's `url`, and may have `api_key`, `model`, `rank_by`, `retry_for`, and `fields` of
    `/v1/rewards`, such as `{truncation: left}`. A response that cannot be scored raises an error.
    """

    def __init__(self, config: dict[str, Any]):
        options = {name: config[name] for name in ("api_key", "model", "retry_for") if config.get(name) is not None}
        self._client = Client(config["url"], **options)
        self._rank_by = config.get("rank_by")
        self._fields = dict(config.get("fields") or {})

    def step(
        self, message_log_batch: Sequence[Sequence[dict[str, Any]]], metadata: Sequence[dict[str, Any] | None]
    ) -> EnvironmentReturn:
        answers = [log[-1]["content"] for log in message_log_batch]
        conversations = [
            [*_prompt(info), {"role": "assistant", "content": answer}]
            for info, answer in zip(metadata, answers, strict=True)
        ]
        found = self._client.items(conversations, rank_by=self._rank_by, **self._fields)
        _protocol.check(found)
        return EnvironmentReturn(
            observations=[{"role": "environment", "content": ""} for _ in answers],
            metadata=[{**(info or {}), "scores": item.scores} for info, item in zip(metadata, found, strict=True)],
            next_stop_strings=[None] * len(answers),
            rewards=torch.tensor([item.reward for item in found], dtype=torch.float32),
            terminateds=torch.ones(len(answers), dtype=torch.bool),
            answers=answers,
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """The mean of each attribute."""
        scored = [info["scores"] for info in batch.get("extra_env_info") or [] if info and info.get("scores")]
        names = dict.fromkeys(name for scores in scored for name in scores)
        means = {}
        for name in names:
            values = [scores[name] for scores in scored if name in scores]
            means[f"{NAME}/{name}"] = sum(values) / len(values)
        return batch, means


AssayEnvironment = ray.remote(Environment)
"""The actor that NeMo RL starts."""


def process(
    datum_dict: dict[str, Any], task_data_spec: Any, tokenizer: Any, max_seq_length: int | None, idx: int
) -> dict[str, Any]:
    """A datum of `messages`, whose last turn may be a reference answer, as NeMo RL's processors return it."""
    turns = [dict(turn) for turn in datum_dict["messages"]]
    answer = turns.pop()["content"] if turns[-1]["role"] == "assistant" else None
    if task_data_spec.prompt:
        turns[-1]["content"] = task_data_spec.prompt.format(turns[-1]["content"])
    if task_data_spec.system_prompt:
        turns.insert(0, {"role": "system", "content": task_data_spec.system_prompt})
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, add_special_tokens=False)
    tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"][0]
    length = len(tokens)
    fits = max_seq_length is None or length <= max_seq_length
    datum = {
        # As in NeMo RL's own processors, what does not fit is cut short and does not count.
        "message_log": [{"role": "user", "content": text, "token_ids": tokens if fits else tokens[:4]}],
        "length": length,
        "extra_env_info": {"prompt": turns, "ground_truth": answer},
        "loss_multiplier": 1.0 if fits else 0.0,
        "idx": idx,
    }
    if "task_name" in datum_dict:
        datum["task_name"] = datum_dict["task_name"]
    return datum


def register() -> None:
    """Makes the environment and the processor known to NeMo RL as `assay`."""
    from nemo_rl.data.processors import register_processor
    from nemo_rl.distributed.ray_actor_environment_registry import ACTOR_ENVIRONMENT_REGISTRY
    from nemo_rl.distributed.virtual_cluster import PY_EXECUTABLES
    from nemo_rl.environments.utils import register_env

    actor = f"{__name__}.AssayEnvironment"
    ACTOR_ENVIRONMENT_REGISTRY[actor] = PY_EXECUTABLES.SYSTEM
    register_env(NAME, actor)
    register_processor(NAME, process)


def _prompt(info: dict[str, Any] | None) -> list[dict[str, Any]]:
    prompt = (info or {}).get("prompt")
    if prompt is None:
        raise ValueError("extra_env_info has no `prompt`: use `processor: assay`, or put the messages there yourself")
    return _protocol.turns_of(prompt)

