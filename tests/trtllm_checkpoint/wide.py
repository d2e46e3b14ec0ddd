#!/usr/bin/env python3
"""Checkpoints with attention heads as wide as TensorRT-LLM needs them, which score as the originals do.

The heads of most test checkpoints are 8 to 24 numbers wide, and TensorRT-LLM has attention for 32 and more. Here each
gets four times its numbers. The old ones go where their rotary frequencies are the same, and the new ones are zero:

    python tests/trtllm_checkpoint/wide.py tests/checkpoints/lm-head-tiny OUTPUT
"""

import atexit
import functools
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from files import ROOT, Source, write_safetensors

# Rows of these matrices, norms and biases belong to heads, and columns of those.
ROWS = ("q_proj", "k_proj", "v_proj", "qkv_proj", "wqkv", "q_norm", "k_norm")
COLUMNS = ("o_proj", "attention.wo")
SIZES = (32, 48, 64, 80, 96, 104, 112, 128, 144, 160, 192, 224, 256)


def head_dim(config):
    """The width of a head."""
    hidden, heads = config.get("hidden_size", config.get("n_embd")), config.get("num_attention_heads", config.get("n_head"))
    return config.get("head_dim") or hidden // heads


def places(dim, rotary):
    """Where each number of a head goes: pair `i` of `rotary` is rotated like pair `4 i` of `4 * rotary`."""
    half = rotary // 2
    first = 4 * np.arange(half)
    return np.concatenate([first, 2 * rotary + first, 4 * rotary + np.arange(dim - rotary)])


def widen(array, axis, dim, where):
    """Puts the numbers of each head along `axis` in their new places."""
    moved = np.moveaxis(array, axis, 0)
    wide = np.zeros((moved.shape[0] // dim, 4 * dim, *moved.shape[1:]), np.float32)
    wide[:, where] = moved.reshape(-1, dim, *moved.shape[1:])
    return np.moveaxis(wide.reshape(-1, *moved.shape[1:]), 0, axis)


def widened(original, output):
    """Writes `original` with wide heads to `output`."""
    source = Source(original)
    config = source.config
    dim = head_dim(config)
    where = places(dim, int(dim * config.get("partial_rotary_factor", 1)))
    scaling = config.get("rope_scaling") or {}
    for field in ("short_factor", "long_factor"):
        if field in scaling:
            scaling[field] = [factor for factor in scaling[field] for _ in range(4)]
    normed = any("q_norm" in name for name in source.tensors)
    # Four times the width halves the scores. Twice the queries double them; norms of queries undo their own halving.
    scaled = "query_pre_attn_scalar" in config or "attention_multiplier" in config
    assert not (normed and scaled), "norms that count from 1 cannot be halved exactly"
    queries = config["num_attention_heads"] * dim
    changes = {"head_dim": 4 * dim}
    tensors = {}
    for name, array in source.tensors.items():
        if config["model_type"] == "phi3":
            # The heads of this family are as wide as the hidden state together.
            changes |= {"hidden_size": 4 * config["hidden_size"]}
            array = with_wide_state(array, name, config["hidden_size"])
        if any(part in name for part in ROWS):
            if "k_norm" in name:
                array = array / 2
            if not normed and not scaled and ".k_proj" not in name and ".v_proj" not in name:
                array = array.copy()
                doubled(array, name, config, dim, queries)
            array = widen(array, 0, dim, where)
        elif any(part in name for part in COLUMNS) and name.endswith(".weight"):
            array = widen(array, 1, dim, where)
        tensors[name] = array
    output.mkdir(parents=True)
    for file in original.iterdir():
        if file.suffix != ".safetensors" and not file.name.endswith("index.json"):
            shutil.copy(file, output / file.name)
    (output / "config.json").write_text(json.dumps(config | changes))
    write_safetensors(output / "model.safetensors", tensors)


def with_wide_state(array, name, hidden):
    """Pads the hidden state with zeros. Its mean square is a quarter then, so norms halve their weights."""
    if "norm" in name:
        array = array / 2
    axes = [axis for axis, size in enumerate(array.shape) if size == hidden and not (axis == 1 and "o_proj" in name)]
    return np.pad(array, [(0, 3 * hidden if axis in axes else 0) for axis in range(array.ndim)])


def doubled(array, name, config, dim, queries):
    """Doubles the rows of queries in place."""
    if "wqkv" in name:
        heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
        array.reshape(kv, heads // kv + 2, dim, -1)[:, :-2] *= 2
    else:
        array[:queries] *= 2


@functools.cache
def checkpoint(name):
    """A test checkpoint that TensorRT-LLM has attention for: as it is, or a copy with wide heads."""
    original = ROOT / "tests/checkpoints" / name
    if head_dim(json.loads((original / "config.json").read_text())) in SIZES:
        return original
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    widened(original, Path(folder) / name)
    return Path(folder) / name


# Checkpoints whose families are not built from the classes of Llama, Qwen and Gemma 2 alone.
NEWER = [
    "mixtral-tiny",
    "qwen2-moe-even",
    "qwen3-moe-even",
    "granite-tiny",
    "glm-wide",
    "cohere-norms",
    "neox-wide",
    "gpt2-wide",
    "gemma3-wide",
    "phi3-longrope",
]


def head_options(name):
    """The options about the head of a checkpoint that does not describe its own."""
    file = ROOT / "tests/checkpoints" / name / "head.yaml"
    return ("--head", file) if file.exists() else ()


if __name__ == "__main__":
    widened(Path(sys.argv[1]), Path(sys.argv[2]))
