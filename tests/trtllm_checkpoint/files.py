"""Safetensors files as numpy arrays, and checkpoints to build from."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
BUILD_ENGINE = ROOT / "target/debug/build-engine"
TYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I8": np.int8,
    "U8": np.uint8,
    "F8_E4M3": np.uint8,
}


def read_safetensors(path):
    """The tensors of a file by name, each as its type and elements; bf16 and fp8 as their bits."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, info in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, after = info["data_offsets"]
        assert begin == end, f"{name} leaves a gap"
        kind = TYPES[info["dtype"]]
        assert begin % np.dtype(kind).itemsize == 0, f"{name} is not aligned"
        elements = np.frombuffer(data[8 + length + begin : 8 + length + after], kind)
        tensors[name] = (info["dtype"], elements.reshape(info["shape"]))
        end = after
    assert 8 + length + end == len(data), "bytes after the last tensor"
    return tensors


def write_safetensors(path, tensors):
    """Writes arrays as f32 tensors."""
    header, offset = {}, 0
    for name, array in tensors.items():
        end = offset + array.size * 4
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    blobs = [array.astype(np.float32).tobytes() for array in tensors.values()]
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def numbers(kind, elements):
    """Elements of any type, as f32."""
    if kind == "BF16":
        return (elements.astype(np.uint32) << 16).view(np.float32)
    if kind == "F8_E4M3":
        bits = elements.astype(np.int32)
        exponent, mantissa = bits >> 3 & 15, bits & 7
        normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        magnitude = np.where(exponent == 0, mantissa / 512, normal)
        return np.where(bits & 128, -magnitude, magnitude).astype(np.float32)
    return elements.astype(np.float32)


def bf16(values):
    """Rounds to the nearest bf16, ties to even; returns f32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


class Source:
    """A Hugging Face checkpoint."""

    def __init__(self, path):
        self.path = Path(path)
        self.config = json.loads((self.path / "config.json").read_text())
        files = self.path.glob("*.safetensors")
        self.tensors = {
            name: numbers(*tensor) for file in files for name, tensor in read_safetensors(file).items()
        }

    def __getitem__(self, name):
        return self.tensors[name]


class Built:
    """A checkpoint for trtllm-build, and the layers of the head that `lm_head` does not hold."""

    def __init__(self, path):
        self.path = path
        head = path / "head.safetensors"
        tensors = read_safetensors(head) if head.exists() else {}
        self.head = {name: numbers(*tensor) for name, tensor in tensors.items() if not name.startswith("pad.")}
        self.config = json.loads((path / "config.json").read_text())
        count = self.config["mapping"]["world_size"]
        self.ranks = [read_safetensors(path / f"rank{rank}.safetensors") for rank in range(count)]
        assert not (path / f"rank{count}.safetensors").exists()


def build(source, output, *options, target="h100"):
    """Builds a checkpoint; the build must succeed."""
    command = [BUILD_ENGINE, "--model", source, "--target", target, "--output", output, "--checkpoint-only", *options]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return Built(output)


def synthetic(path, like, seed=0, **changes):
    """A Llama or Qwen2 checkpoint with random weights and the tokenizer and template of a test checkpoint."""
    path.mkdir()
    original = ROOT / "tests/checkpoints" / like
    for file in original.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, path / file.name)
    config = json.loads((original / "config.json").read_text()) | changes
    config.pop("head_dim", None)
    (path / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(seed)
    hidden, ffn, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    dim = hidden // heads
    kv = config["num_key_value_heads"] * dim
    labels = len(config.get("id2label", [0]))

    def normal(*shape):
        # The rows differ widely in size, so each needs its own scale.
        rows = np.exp(random.normal(size=shape[:1])).reshape(-1, *[1] * (len(shape) - 1))
        return (random.normal(size=shape) * 0.1 * rows).astype(np.float32)

    tensors = {"model.embed_tokens.weight": normal(config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name, out, inp in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", ffn, hidden),
            ("mlp.up_proj", ffn, hidden),
            ("mlp.down_proj", hidden, ffn),
        ]:
            tensors[f"{prefix}.{name}.weight"] = normal(out, inp)
            if config["model_type"] == "qwen2" and name[-6:] in ("q_proj", "k_proj", "v_proj"):
                tensors[f"{prefix}.{name}.bias"] = normal(out)
        for name in ["input_layernorm", "post_attention_layernorm"]:
            tensors[f"{prefix}.{name}.weight"] = 1 + normal(hidden)
    tensors["model.norm.weight"] = 1 + normal(hidden)
    if not config["architectures"][0].endswith("ForCausalLM"):
        tensors["score.weight"] = normal(labels, hidden)
    elif not config.get("tie_word_embeddings"):
        tensors["lm_head.weight"] = normal(config["vocab_size"], hidden)
    write_safetensors(path / "model.safetensors", tensors)
    return Source(path)
