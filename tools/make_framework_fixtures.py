#!/usr/bin/env python3
"""Save one reward model as training frameworks save it, by their own code.

    python tools/make_framework_fixtures.py FRAMEWORK

The model is tests/checkpoints/lm-head-tiny with a head of fixed numbers; each framework
loads it, gets the head and saves it to tests/frameworks/NAME. Nothing is trained, except
by TRL, whose trainer takes one step at a learning rate of 0. Frameworks are installed
without their dependencies beside requirements.txt (`pip install --no-deps --target`), one
after the other because they need different versions of trl; what they import and do not
need to save a model, such as deepspeed, is replaced by a stub:

    trl 1.16.0, llamafactory 0.9.5 with trl 0.24.0, openrlhf 0.11.2, ms-swift 4.6.0 with modelscope
"""

import argparse
import importlib.abc
import importlib.machinery
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent / "tests"
BASE = ROOT / "checkpoints" / "lm-head-tiny"
STUBBED = {
    "av", "cryptography", "deepspeed", "fire", "flash_attn", "json_repair", "omegaconf",
    "optree", "pylatexenc", "ray", "torchdata", "torchmetrics", "vllm", "wandb",
}


class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes modules that are not installed, and not needed here."""

    def find_spec(self, name, path=None, target=None):
        del path, target
        if name.split(".")[0] in STUBBED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__file__ = [], spec, spec.name
        return module

    def exec_module(self, module):
        pass


def head():
    """The head's matrix, of numbers that bfloat16 has."""
    return (torch.arange(32, dtype=torch.float32).reshape(1, 32) - 13) / 64


def fresh(name):
    """An empty directory for a fixture."""
    directory = ROOT / "frameworks" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def trl(directory):
    """RewardTrainer on a classifier with one label."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=1, dtype=torch.float32)
    model.score.weight.data = head()
    turns = [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}]
    rows = Dataset.from_list([{"chosen": turns, "rejected": turns}] * 2)
    options = RewardConfig(
        output_dir=str(directory / "run"), max_steps=1, learning_rate=0.0, use_cpu=True, bf16=False,
        per_device_train_batch_size=2, report_to=[], save_strategy="no", gradient_checkpointing=False,
    )
    trainer = RewardTrainer(model=model, args=options, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(directory))
    shutil.rmtree(directory / "run", ignore_errors=True)


def llamafactory(directory):
    """The state of a model with a value head, as transformers' trainer saves it, divided by LLaMA-Factory."""
    from llamafactory.train.callbacks import fix_valuehead_checkpoint
    from trl import AutoModelForCausalLMWithValueHead

    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    model = AutoModelForCausalLMWithValueHead.from_pretrained(model)
    model.v_head.summary.weight.data = head()
    model.v_head.summary.bias.data.fill_(0.25)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, directory / "model.safetensors")
    fix_valuehead_checkpoint(model, str(directory), safe_serialization=True)
    AutoTokenizer.from_pretrained(BASE).save_pretrained(directory)


def openrlhf(directory):
    """The reward model of `train_rm`, saved by its strategy."""
    import deepspeed.checkpoint.utils
    from openrlhf.models import get_llm_for_sequence_regression
    from openrlhf.utils.deepspeed import deepspeed as strategy

    model = get_llm_for_sequence_regression(
        str(BASE), "reward", normalize_reward=True, attn_implementation="eager"
    )
    model.score.weight.data = head().bfloat16()
    # As train_rm and its trainer set them at the end.
    model.config.value_head_prefix, model.config.mean, model.config.std = "score", 0.25, 2.0
    own = SimpleNamespace(
        is_rank_0=lambda: True,
        args=SimpleNamespace(ds=SimpleNamespace(zero_stage=2, tensor_parallel_size=1)),
        _unwrap_model=lambda model: model,
    )
    clone = lambda state: {name: value.clone() for name, value in state.items()}  # noqa: E731
    deepspeed.checkpoint.utils.clone_tensors_for_torch_save = clone
    strategy.torch_dist_barrier_and_cuda_sync = lambda: None
    strategy.DeepspeedStrategy.save_model(own, model, AutoTokenizer.from_pretrained(BASE), str(directory))


def ms_swift(directory):
    """A model of the task `seq_cls` with one label, saved as the trainer does."""
    from swift.model import get_model_processor

    model, _ = get_model_processor(
        str(BASE), model_type="llama", torch_dtype=torch.float32, task_type="seq_cls", num_labels=1, device_map="cpu"
    )
    model.score.weight.data = head()
    model.save_pretrained(directory)


FRAMEWORKS = {"trl": trl, "llamafactory": llamafactory, "openrlhf": openrlhf, "ms-swift": ms_swift}


def main():
    """Save the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=sorted(FRAMEWORKS))
    name = parser.parse_args().framework
    sys.meta_path.append(Stub())
    torch.set_num_threads(1)
    directory = fresh(name)
    FRAMEWORKS[name](directory)
    # The text side is the base model's; how frameworks write it is tested elsewhere.
    for file in directory.iterdir():
        if file.name != "config.json" and file.suffix != ".safetensors":
            file.unlink()
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    print(name, config["architectures"], sorted(file.name for file in directory.iterdir()))


if __name__ == "__main__":
    main()
