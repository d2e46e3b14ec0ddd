"""The memory for writing a checkpoint does not grow with the checkpoint."""

import json
import shutil
import struct
import subprocess
import sys

import pytest

from files import BUILD_ENGINE, ROOT

MIB = 1 << 20


def hollow(path, layers, hidden=1024, ffn=4096):
    """A Llama checkpoint of zeros, in a sparse file that takes no disk space."""
    path.mkdir()
    original = ROOT / "tests/checkpoints/llama3-tiny"
    for file in original.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, path / file.name)
    config = json.loads((original / "config.json").read_text())
    config |= {"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers}
    config |= {"num_attention_heads": 8, "num_key_value_heads": 8}
    (path / "config.json").write_text(json.dumps(config))
    shapes = {
        "model.embed_tokens.weight": [config["vocab_size"], hidden],
        "model.norm.weight": [hidden],
        "score.weight": [len(config["id2label"]), hidden],
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for name in "qkvo":
            shapes[f"{prefix}.self_attn.{name}_proj.weight"] = [hidden, hidden]
        shapes |= {f"{prefix}.mlp.{name}_proj.weight": [ffn, hidden] for name in ("gate", "up")}
        shapes[f"{prefix}.mlp.down_proj.weight"] = [hidden, ffn]
        shapes |= {f"{prefix}.{name}_layernorm.weight": [hidden] for name in ("input", "post_attention")}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape + [1])[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return end


# The peak of a child includes the size of its parent at the fork, so a small process starts the build.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


@pytest.mark.parametrize("quantization", ["none", "int8-weight-only"])
def test_memory_is_bounded(quantization, tmp_path):
    size = hollow(tmp_path / "source", layers=3)
    assert size > 96 * MIB
    command = [BUILD_ENGINE, "--model", tmp_path / "source", "--target", "h100", "--tp", "2", "--output", tmp_path / "built"]
    command += ["--checkpoint-only", "--quantization", quantization]
    measured = [sys.executable, "-c", MEASURE, *map(str, command)]
    done = subprocess.run(measured, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 64 * MIB
