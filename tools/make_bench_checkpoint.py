#!/usr/bin/env python3
"""Make a random reward model of about half a billion weights, for benchmarks.

    make_bench_checkpoint.py --output DIR [--seed N] [--layers N] [--experts | --language]

The model has the sizes of Qwen2 0.5B (24 layers, hidden size 896) with one label, in
bfloat16. Its scores mean nothing. The tokenizer and the chat template are those of
tests/checkpoints/qwen2-tiny; the ids beyond that small vocabulary are never produced
from text, but may be sent as ids.

With --language it is a language model with the same decoder, and no label.

With --layers 2 it is small enough for benchmarks of what surrounds the engine.

With --experts it has two layers of the sizes of Qwen3-30B-A3B (hidden size 2048), with
64 experts of which each token has 8, and a small vocabulary.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

SMALL = Path(__file__).resolve().parent.parent / "tests" / "checkpoints" / "qwen2-tiny"

CONFIG = {
    "architectures": ["Qwen2ForSequenceClassification"],
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": 896,
    "id2label": {"0": "LABEL_0"},
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "label2id": {"LABEL_0": 0},
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


EXPERTS = {
    **CONFIG,
    "architectures": ["Qwen3MoeForSequenceClassification"],
    "head_dim": 128,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "vocab_size": 4096,
}


def expert_shapes():
    """Names and shapes of all tensors of the model with experts."""
    hidden, ffn, dim = EXPERTS["hidden_size"], EXPERTS["moe_intermediate_size"], EXPERTS["head_dim"]
    heads, kv = EXPERTS["num_attention_heads"] * dim, EXPERTS["num_key_value_heads"] * dim
    shapes = {
        "model.embed_tokens.weight": (EXPERTS["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
        "score.weight": (1, hidden),
    }
    for layer in range(EXPERTS["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        shapes[prefix + "self_attn.q_norm.weight"] = shapes[prefix + "self_attn.k_norm.weight"] = (dim,)
        for name, rows in (("q", heads), ("k", kv), ("v", kv)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, hidden)
        shapes[prefix + "self_attn.o_proj.weight"] = (hidden, heads)
        shapes[prefix + "mlp.gate.weight"] = (EXPERTS["num_experts"], hidden)
        for expert in range(EXPERTS["num_experts"]):
            for name, shape in (("gate", (ffn, hidden)), ("up", (ffn, hidden)), ("down", (hidden, ffn))):
                shapes[f"{prefix}mlp.experts.{expert}.{name}_proj.weight"] = shape
    return shapes


def tensor_shapes():
    """Names and shapes of all tensors."""
    hidden, ffn = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    kv = hidden // CONFIG["num_attention_heads"] * CONFIG["num_key_value_heads"]
    shapes = {
        "model.embed_tokens.weight": (CONFIG["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
        "score.weight": (1, hidden),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, hidden)
            shapes[f"{prefix}self_attn.{name}_proj.bias"] = (rows,)
        shapes[prefix + "self_attn.o_proj.weight"] = (hidden, hidden)
        shapes[prefix + "mlp.gate_proj.weight"] = (ffn, hidden)
        shapes[prefix + "mlp.up_proj.weight"] = (ffn, hidden)
        shapes[prefix + "mlp.down_proj.weight"] = (hidden, ffn)
    return shapes


def make_tensors(seed, shapes):
    """Random tensors in bfloat16: norm weights one, all others of size 0.02."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in sorted(shapes.items()):
        if "norm" in name:
            tensors[name] = torch.ones(shape, dtype=torch.bfloat16)
        else:
            tensors[name] = (0.02 * torch.randn(shape, generator=generator)).to(torch.bfloat16)
    return tensors


def copy_tokenizer(output):
    """Copy the small tokenizer and template; return the ids of its control tokens."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(SMALL / name, output / name)
    added = json.loads((SMALL / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    return {token["content"]: token["id"] for token in added}


def main():
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="directory to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, help="number of layers")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--experts", action="store_true", help="make a mixture of experts")
    kind.add_argument("--language", action="store_true", help="make a language model")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    control = copy_tokenizer(args.output)
    if args.layers:
        for sizes in (CONFIG, EXPERTS):
            sizes["num_hidden_layers"] = sizes["max_window_layers"] = args.layers
    config = {
        **(EXPERTS if args.experts else CONFIG),
        "bos_token_id": None,
        "eos_token_id": control["<|im_end|>"],
        "pad_token_id": control["<|endoftext|>"],
    }
    if args.language:
        config["architectures"] = ["Qwen2ForCausalLM"]
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (args.output / "config.json").write_text(text, encoding="utf-8")
    weights = args.output / "model.safetensors"
    shapes = expert_shapes() if args.experts else tensor_shapes()
    if args.language:
        del shapes["score.weight"]
    save_file(make_tensors(args.seed, shapes), weights, metadata={"format": "pt"})
    weights.chmod(0o644)
    print(f"{weights}: {weights.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
