"""An adapter is merged into what the ranks read, as if the checkpoint had been merged before."""

import json

import numpy as np
import pytest

from files import ROOT, build, numbers, read_safetensors, synthetic, write_safetensors

RANK, ALPHA = 4, 6


def adapted(base, path, whole):
    """Writes an adapter of `base` as peft saves it, and the merged checkpoint; whole modules are replaced by others."""
    random = np.random.default_rng(7)
    adapter, merged = path / "adapter", path / "merged"
    adapter.mkdir()
    merged.mkdir()
    config = json.loads((ROOT / "tests/adapters/lora-classifier/adapter_config.json").read_text())
    config |= {"r": RANK, "lora_alpha": ALPHA, "rank_pattern": {}, "alpha_pattern": {}, "base_model_name_or_path": "base"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    changes, tensors = {}, dict(base.tensors)
    for name, array in base.tensors.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if name.endswith("_proj.weight"):
            out, inp = array.shape
            a = random.normal(size=(RANK, inp)).astype(np.float32) * 0.1
            b = random.normal(size=(out, RANK)).astype(np.float32) * 0.1
            changes |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
            tensors[name] = array + np.float32(ALPHA / RANK) * (b @ a)
        elif name == whole:
            tensors[name] = changes[f"{module}.weight"] = random.normal(size=array.shape).astype(np.float32)
    assert whole in base.tensors
    write_safetensors(adapter / "adapter_model.safetensors", changes)
    for file in base.path.iterdir():
        if file.suffix != ".safetensors":
            (merged / file.name).write_bytes(file.read_bytes())
    write_safetensors(merged / "model.safetensors", tensors)
    return adapter, merged


@pytest.mark.parametrize("options", [(), ("--tp", 2, "--pp", 2)], ids=["one rank", "four ranks"])
def test_ranks_of_an_adapter_are_those_of_the_merged_checkpoint(options, tmp_path):
    sizes = {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2}
    base = synthetic(tmp_path / "base", "llama3-tiny", **sizes, num_hidden_layers=2)
    adapter, merged = adapted(base, tmp_path, "score.weight")
    ours = build(base.path, tmp_path / "ours", "--adapter", adapter, *options)
    expected = build(merged, tmp_path / "expected", *options)
    plain = build(base.path, tmp_path / "plain", *options)
    assert ours.config == expected.config
    changed = 0
    for rank, tensors in enumerate(expected.ranks):
        assert tensors.keys() == ours.ranks[rank].keys()
        for name, (kind, elements) in tensors.items():
            found_kind, found = ours.ranks[rank][name]
            assert found_kind == kind, name
            wanted, found = numbers(kind, elements), numbers(kind, found)
            # Sums in another order may round to the next number of bf16.
            assert (np.abs(found - wanted) <= 2.0**-7 * np.abs(wanted) + 1e-6).all(), name
            changed += not np.array_equal(found, numbers(*plain.ranks[rank][name]))
    assert changed >= 2 * 4 + 1, "the adapter changes attention, feed-forward networks and the head"


def test_the_merged_head_is_the_adapters(tmp_path):
    sizes = {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2}
    base = synthetic(tmp_path / "base", "llama3-tiny", **sizes, num_hidden_layers=1)
    adapter, _ = adapted(base, tmp_path, "score.weight")
    built = build(base.path, tmp_path / "built", "--adapter", adapter)
    saved = read_safetensors(adapter / "adapter_model.safetensors")
    head = numbers(*saved["base_model.model.score.weight"])
    kind, rows = built.ranks[0]["lm_head.weight"]
    found = numbers(kind, rows)[: len(head)]
    assert np.abs(found - head).max() <= 2.0**-8 * np.abs(head).max()
