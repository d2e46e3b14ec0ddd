#!/usr/bin/env python3
"""Time llama.cpp on the weights of a Qwen2 checkpoint and print one JSON line.

    bench_llama_cpp.py --model DIR --llama-bench PROGRAM --gguf FILE \\
        --tokens 256 --dtype bf16 --threads 2

Writes the decoder of the checkpoint to --gguf, unless that file exists, and then runs
llama-bench on texts of random ids. The head is left out: llama-bench uses the embedding
as head, once per text. Needs the packages gguf, numpy and safetensors, and a llama-bench
built for this machine.
"""

import argparse
import json
import subprocess
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="checkpoint directory")
    parser.add_argument("--llama-bench", required=True, help="llama.cpp's own timing program")
    parser.add_argument("--gguf", required=True, type=Path, help="file to write, kept if it exists")
    parser.add_argument("--tokens", type=int, default=256, help="length of each text")
    parser.add_argument("--dtype", default="bf16", choices=sorted(TYPES))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def gguf_name(name):
    """The name of a tensor in llama.cpp, or None if it has no such tensor."""
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    if not name.startswith("model.layers."):
        return None
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    for theirs, ours in NAMES.items():
        if rest.startswith(theirs):
            return f"blk.{layer}.{ours}{rest.removeprefix(theirs)}"
    return None


def write(model, path, dtype):
    """Write the decoder: matrices in `dtype`, vectors in f32, as llama.cpp requires."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():
                target = gguf_name(name)
                if target is None:
                    continue
                values = tensors.get_tensor(name).float().numpy()
                kind = TYPES[dtype] if values.ndim == 2 else TYPES["f32"]
                data = values if kind == TYPES["f32"] else gguf.quants.quantize(values, kind)
                writer.add_tensor(target, np.ascontiguousarray(data), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    """Write the file if it is missing, run the benchmark, print the result."""
    args = parse_arguments()
    if not args.gguf.exists():
        write(args.model, args.gguf, args.dtype)
    command = [args.llama_bench, "-m", args.gguf, "-t", args.threads, "-p", args.tokens, "-n", 0, "-r", 5, "-o", "json"]
    answer = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    timed = json.loads(answer.stdout)[0]
    result = {
        "engine": "llama.cpp",
        "build": timed["build_commit"],
        "dtype": args.dtype,
        "threads": timed["n_threads"],
        "tokens": args.tokens,
        "tokens_per_second": round(timed["avg_ts"], 1),
        "deviation": round(timed["stddev_ts"], 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
