#!/usr/bin/env python3
"""Measure how many pairs of texts a reward model ranks in each number format as it does in f32.

    quantization_accuracy.py --model DIR [--texts 64] [--tokens 40] [--methods NAME ...]

Computes in PyTorch, on any machine, what the engines compute in these formats: the roundings are theirs, one by one,
though not the order of sums. Texts are random token ids. The checkpoint must be a classifier of Llama, Qwen2 or Qwen3
without a bias in its feed-forward network.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

FP8_MOST = 448.0


def bf16(x):
    """Round to bf16."""
    return x.to(torch.bfloat16).float()


def integers(x, most):
    """Round each row to integers up to `most`, with a scale of its own."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / most
    return torch.round(x / scale) * scale


def fp8(x):
    """Round each row to e4m3, with a scale of its own."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / FP8_MOST
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


def same(x):
    """Round nothing."""
    return x


# How weights are rounded, what goes into their products, and all else.
FORMATS = {
    "f32": (same, same, same),
    "bf16": (bf16, same, bf16),
    "int8": (lambda w: integers(w, 127), lambda x: integers(x, 127), bf16),
    "int8-weights": (lambda w: integers(w, 127), same, bf16),
    "int4-weights": (lambda w: integers(w, 7), same, bf16),
    "fp8": (fp8, fp8, bf16),
}


def power_of_two(x):
    """The nearest power of two."""
    return torch.exp2(torch.round(torch.log2(x)))


def hadamard(x, block):
    """Multiply blocks of each row by a normalised Hadamard matrix."""
    shape = x.shape
    x = x.reshape(-1, block)
    half = 1
    while half < block:
        x = x.reshape(-1, block // (2 * half), 2, half)
        x = torch.stack((x[:, :, 0] + x[:, :, 1], x[:, :, 0] - x[:, :, 1]), 2)
        half *= 2
    return (x.reshape(-1, block) / block**0.5).reshape(shape)


def largest_block(width):
    """The largest power of two that divides `width`."""
    return width & -width


class Model:
    """A checkpoint in f32, and what is done to it before it is quantized."""

    def __init__(self, path):
        self.config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        self.tensors = load_file(path / "model.safetensors")
        hidden, heads = self.config["hidden_size"], self.config["num_attention_heads"]
        self.heads, self.kv_heads = heads, self.config["num_key_value_heads"]
        self.head_dim = self.config.get("head_dim") or hidden // heads
        self.eps = self.config["rms_norm_eps"]

    def get(self, name):
        return self.tensors[name].float()

    def layer(self, number, method, stream):
        """One layer's tensors, after `method`."""
        prefix = f"model.layers.{number}."
        part = lambda name: self.get(f"{prefix}{name}.weight")
        bias = lambda name: self.tensors.get(f"{prefix}{name}.bias")
        attention = [f"self_attn.{name}_proj" for name in "qkv"]
        biases = [bias(name) for name in attention]
        layer = {
            "input": part("input_layernorm"),
            "qkv": torch.cat([part(name) for name in attention]),
            "bias": None if biases[0] is None else torch.cat([b.float() for b in biases]),
            "o": part("self_attn.o_proj"),
            "post": part("post_attention_layernorm"),
            "gate_up": torch.cat([part("mlp.gate_proj"), part("mlp.up_proj")]),
            "down": part("mlp.down_proj"),
            "q_norm": self.get(f"{prefix}self_attn.q_norm.weight") if f"{prefix}self_attn.q_norm.weight" in self.tensors else None,
            "k_norm": self.get(f"{prefix}self_attn.k_norm.weight") if f"{prefix}self_attn.k_norm.weight" in self.tensors else None,
        }
        if "balance" in method:
            self.balance(layer, stream)
        if "rotate" in method:
            block = largest_block(self.config["hidden_size"])
            for norm, reader in (("input", "qkv"), ("post", "gate_up")):
                layer[reader] = hadamard(layer[reader] * layer[norm], block)
                layer[norm] = torch.ones_like(layer[norm])
            for writer in ("o", "down"):
                layer[writer] = hadamard(layer[writer].T.contiguous(), block).T.contiguous()
        return layer

    def balance(self, layer, stream):
        """Even out norms and the columns that read them, values and outputs, ups and downs.

        `stream` has the mean squares of the residual stream's channels, as far as the weights show them.
        """
        dim, kv = self.head_dim, self.kv_heads
        group = self.heads // kv
        size = layer["input"].square() * stream / stream.mean()
        self.fold(layer, "input", "qkv", size)
        values = layer["qkv"][(self.heads + kv) * dim :]
        sizes = values.square() @ (layer["input"].square() * stream / stream.mean())
        outputs = layer["o"].abs().amax(0).reshape(kv, group, dim).amax(1).reshape(-1)
        factor = evening(sizes, outputs)
        values /= factor[:, None]
        if layer["bias"] is not None:
            layer["bias"][-kv * dim :] /= factor
        repeated = lambda x: x.reshape(kv, 1, dim).expand(kv, group, dim).reshape(-1)
        layer["o"] = layer["o"] * repeated(factor)
        stream += layer["o"].square() @ repeated(sizes / factor.square())

        self.fold(layer, "post", "gate_up", layer["post"].square() * stream / stream.mean())
        width = layer["down"].shape[1]
        inputs = layer["post"].square() * stream / stream.mean()
        gates, ups = (layer["gate_up"].square() @ inputs).split(width)
        sizes = ups * gates * 0.25
        factor = evening(sizes, layer["down"].abs().amax(0))
        layer["gate_up"][width:] /= factor[:, None]
        layer["down"] = layer["down"] * factor
        stream += layer["down"].square() @ (sizes / factor.square())

    @staticmethod
    def fold(layer, norm, reader, size):
        """Move scales from a norm into the matrix that reads it."""
        factor = evening(size, layer[reader].abs().amax(0))
        layer[norm] = layer[norm] / factor
        layer[reader] = layer[reader] * factor


def evening(mean_squares, columns):
    """Powers of two that numbers are divided by, and columns multiplied by, so that both are about even."""
    factor = (mean_squares.sqrt() / columns).sqrt()
    return power_of_two(factor / factor.median())


def rms(x, weight, eps):
    """An RMS norm."""
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return y * weight


@torch.inference_mode()
def scores(model, ids, fmt, method):
    """One score for each row of ids."""
    of_weights, of_states, rest = FORMATS[fmt]
    config = model.config
    dim, heads, kv = model.head_dim, model.heads, model.kv_heads
    texts, tokens = ids.shape
    embedding = model.get("model.embed_tokens.weight")
    stream, sizes = rest(embedding[ids]), embedding.square().mean(0)
    block = largest_block(config["hidden_size"])
    if "rotate" in method:
        stream = rest(hadamard(stream, block))
    theta = config.get("rope_theta") or config.get("rope_parameters", {}).get("rope_theta", 10000.0)
    angles = torch.arange(tokens)[:, None] / theta ** (torch.arange(0, dim, 2) / dim)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def rope(x):
        return x * cos + torch.cat((-x[..., dim // 2 :], x[..., : dim // 2]), -1) * sin

    def product(x, w):
        return of_states(x) @ of_weights(w).T

    for number in range(config["num_hidden_layers"]):
        layer = model.layer(number, method, sizes)
        x = rest(rms(stream, layer["input"], model.eps))
        qkv = product(x, layer["qkv"])
        if layer["bias"] is not None:
            qkv += layer["bias"]
        q, k, v = (
            part.reshape(texts, tokens, -1, dim).transpose(1, 2)
            for part in qkv.split([heads * dim, kv * dim, kv * dim], -1)
        )
        if layer["q_norm"] is not None:
            q, k = rms(q, layer["q_norm"], model.eps), rms(k, layer["k_norm"], model.eps)
        q, k, v = rest(rope(q)), rest(rope(k)), rest(v)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        mixed = rest(mixed.transpose(1, 2).reshape(texts, tokens, heads * dim))
        stream = stream + product(mixed, layer["o"])
        x = rest(rms(stream, layer["post"], model.eps))
        gate, up = rest(product(x, layer["gate_up"])).chunk(2, -1)
        h = rest(torch.nn.functional.silu(gate) * up)
        down = layer["down"]
        if "hadamard" in method:
            inner = largest_block(h.shape[-1])
            h, down = hadamard(h, inner), hadamard(down, inner)
        stream = stream + product(h, down)
    last = stream[:, -1]
    if "rotate" in method:
        last = hadamard(last, block)
    head = model.get("score.weight")
    return (rms(last, model.get("model.norm.weight"), model.eps) @ head.T)[:, 0]


def alike(ours, truth):
    """The share of pairs that both order in the same way."""
    pairs = [(ours[i] < ours[j]) == (truth[i] < truth[j]) for i, j in itertools.combinations(range(len(truth)), 2)]
    return sum(map(int, pairs)) / len(pairs)


def main():
    """Print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--vocabulary", type=int, default=400)
    parser.add_argument("--methods", nargs="+", default=["bf16", "int8", "int8+balance"])
    args = parser.parse_args()
    model = Model(args.model)
    ids = torch.randint(args.vocabulary, (args.texts, args.tokens), generator=torch.Generator().manual_seed(1))
    truth = scores(model, ids, "f32", ())
    for name in args.methods:
        start = time.time()
        fmt, *method = name.split("+")
        ours = scores(model, ids, fmt, method)
        error = ((ours - truth).std() / truth.std()).item()
        print(f"{args.model.name} {name}: {alike(ours, truth):.4f} of pairs, error {error:.4f} of the spread, {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
