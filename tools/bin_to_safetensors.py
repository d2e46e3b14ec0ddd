#!/usr/bin/env python3
"""Convert a checkpoint's `.bin` weights to safetensors, in place.

    python3 tools/bin_to_safetensors.py DIRECTORY

Needs torch and safetensors. Files are read with `weights_only=True`, so nothing that a
file contains is run. Weights, value heads and adapters are converted; the `.bin` files
stay, and the sets of weights that have a safetensors file already are left alone.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

# What the files are called, what becomes of them, and the module that a file of a single
# module is in.
SINGLE = {
    "pytorch_model.bin": ("model.safetensors", ""),
    "value_head.bin": ("value_head.safetensors", ""),
    "adapter_model.bin": ("adapter_model.safetensors", ""),
    "regression_layer.pt": ("regression_layer.safetensors", "regression_layer."),
    "gating_layer.pt": ("gating_layer.safetensors", "gating_layer."),
}
INDEX, NEW_INDEX = "pytorch_model.bin.index.json", "model.safetensors.index.json"


def load(path):
    """The tensors of a file, each with memory of its own."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if set(state) == {"model"} or set(state) == {"state_dict"}:
        (state,) = state.values()
    return {name: value.clone().contiguous() for name, value in state.items() if torch.is_tensor(value)}


def convert(source, target, module=""):
    """Convert one file; its tensors' names and sizes in bytes."""
    tensors = {module + name: value for name, value in load(source).items()}
    save_file(tensors, target, {"format": "pt"})
    print(f"{target}: {len(tensors)} tensors")
    return {name: value.numel() * value.element_size() for name, value in tensors.items()}


def convert_shards(directory):
    """Convert the shards that an index lists, and the index."""
    index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    names, sizes = {}, {}
    for shard in sorted(set(index["weight_map"].values())):
        new = shard.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"
        for name, size in convert(directory / shard, directory / new).items():
            names[name], sizes[name] = new, size
    listing = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": names}
    (directory / NEW_INDEX).write_text(json.dumps(listing, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main():
    """Convert what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    done = False
    for source, (target, module) in SINGLE.items():
        if (directory / source).exists() and not (directory / target).exists():
            convert(directory / source, directory / target, module)
            done = True
    if (directory / INDEX).exists() and not (directory / NEW_INDEX).exists():
        convert_shards(directory)
        done = True
    if not done:
        sys.exit(f"{directory}: there is nothing to convert")


if __name__ == "__main__":
    main()
