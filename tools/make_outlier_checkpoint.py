#!/usr/bin/env python3
"""Give a checkpoint the outlier channels of trained models, without changing what it computes.

    make_outlier_checkpoint.py --model DIR --output DIR [--scale 30] [--stream] [--seed N]

Trained models have a few channels that are far larger than the others, and random models do not, so a random model
says little about int8. This script multiplies six channels of every norm by `--scale` and divides the columns that
read them by as much; and it multiplies eight rows of every `up_proj` and divides the columns of `down_proj` that
read them. The checkpoint must have the tensor names of Llama, Qwen2 or Qwen3.

With --stream, the outliers are in the residual stream instead: everything that writes into six of its channels is
multiplied, and the norms' weights there are divided. The larger channels change the norms' means, so this is another
model.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

NORM_CHANNELS = 6
UP_ROWS = 8


def add_outliers(tensors, scale, generator):
    """Scale channels of all norms and rows of all `up_proj`; undo it where they are read."""
    layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("model.layers."))

    def pick(count, width):
        return torch.randperm(width, generator=generator)[:count]

    def multiply(name, index, factor):
        scaled = tensors[name].float()
        scaled[index] = scaled[index] * factor
        tensors[name] = scaled.to(tensors[name].dtype)

    def norm(name, readers):
        channels = pick(NORM_CHANNELS, tensors[name].numel())
        multiply(name, channels, scale)
        for reader in readers:
            multiply(reader, (slice(None), channels), 1 / scale)

    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        attention = [f"{prefix}self_attn.{part}_proj.weight" for part in "qkv"]
        norm(f"{prefix}input_layernorm.weight", attention)
        up, down = f"{prefix}mlp.up_proj.weight", f"{prefix}mlp.down_proj.weight"
        norm(f"{prefix}post_attention_layernorm.weight", [f"{prefix}mlp.gate_proj.weight", up])
        rows = pick(UP_ROWS, tensors[up].shape[0])
        multiply(up, rows, scale)
        multiply(down, (slice(None), rows), 1 / scale)


def add_stream_outliers(tensors, scale, generator):
    """Scale channels of the residual stream; divide the weights of the norms that read them."""
    width = tensors["model.norm.weight"].numel()
    channels = torch.randperm(width, generator=generator)[:NORM_CHANNELS]
    for name, tensor in tensors.items():
        scaled = tensor.float()
        if "embed_tokens" in name:
            scaled[:, channels] *= scale
        elif "o_proj" in name or "down_proj" in name:
            scaled[channels] *= scale
        elif name.endswith("norm.weight") and tensor.numel() == width:
            scaled[channels] /= scale
        tensors[name] = scaled.to(tensor.dtype)


def main():
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the checkpoint's directory")
    parser.add_argument("--output", type=Path, required=True, help="directory to write to")
    parser.add_argument("--scale", type=float, default=30.0, help="factor of the outliers")
    parser.add_argument("--stream", action="store_true", help="put them into the residual stream")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for path in args.model.iterdir():
        if path.suffix in (".json", ".jinja"):
            shutil.copyfile(path, args.output / path.name)
    tensors = load_file(args.model / "model.safetensors")
    add = add_stream_outliers if args.stream else add_outliers
    add(tensors, args.scale, torch.Generator().manual_seed(args.seed))
    save_file(tensors, args.output / "model.safetensors", metadata={"format": "pt"})
    print(f"{args.output}: outliers of {args.scale:g}")


if __name__ == "__main__":
    main()
