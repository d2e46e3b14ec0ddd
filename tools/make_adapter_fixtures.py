#!/usr/bin/env python3
"""Make adapters as peft saves them, with the scores of the adapted models.

Their base models are checkpoints of tests/checkpoints. Every adapter goes to
tests/adapters/NAME, and the scores of the model that `merge_and_unload` gives, in
float32, to tests/golden/scores/NAME.json. The script asserts that they are those of
the unmerged model. Needs peft besides requirements.txt; see tests/golden/README.md.
"""

import argparse
import json
import shutil

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from fixtures.files import TESTS, check_versions, write_cases, write_json
from fixtures.scores import make_repeatable, random_sequences

DECODER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

ADAPTERS = {
    # A classifier on a language model; ranks and factors by pattern.
    "lora-classifier": {
        "seed": 71,
        "base": "lm-head-tiny",
        "config": {
            "task_type": "SEQ_CLS",
            "r": 4,
            "lora_alpha": 8,
            "target_modules": DECODER,
            "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6, "^model.layers.0.mlp.up_proj": 3},
            "alpha_pattern": {"k_proj": 3, r"layers\.\d.self_attn.v_proj": 20},
        },
    },
    "lora-rslora": {
        "seed": 72,
        "base": "lm-head-tiny",
        "config": {
            "task_type": "SEQ_CLS",
            "r": 8,
            "lora_alpha": 4,
            "use_rslora": True,
            "target_modules": "all-linear",
            "modules_to_save": ["score"],
            "rank_pattern": {"up_proj": 5},
            # peft resets it, because no layer of a decoder is laid out so.
            "fan_in_fan_out": True,
        },
    },
    "lora-dora": {
        "seed": 73,
        "base": "lm-head-tiny",
        "config": {
            "task_type": "SEQ_CLS",
            "r": 4,
            "lora_alpha": 6,
            "use_dora": True,
            "target_modules": DECODER + ["embed_tokens"],
        },
    },
    # The logits of a vocabulary whose rows and embedding are changed.
    "lora-embedding": {
        "seed": 74,
        "base": "lm-head-tiny",
        "rows": [420, 17],
        "config": {
            "task_type": "CAUSAL_LM",
            "r": 3,
            "lora_alpha": 6,
            "target_modules": ["embed_tokens", "lm_head", "q_proj"],
        },
    },
    "lora-fused": {
        "seed": 75,
        "base": "phi3-tiny",
        "config": {
            "task_type": "SEQ_CLS",
            "r": 4,
            "lora_alpha": 8,
            "target_modules": ["qkv_proj", "gate_up_proj", "o_proj"],
            "modules_to_save": ["score"],
        },
    },
    # GPT-2 stores matrices as [inputs, outputs]; one of them is square.
    "lora-transposed": {
        "seed": 78,
        "base": "gpt2-tiny",
        "config": {
            "task_type": "SEQ_CLS",
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["attn.c_proj", "c_attn", "mlp.c_fc"],
            "modules_to_save": ["score"],
        },
    },
    "dora-transposed": {
        "seed": 79,
        "base": "gpt2-tiny",
        "config": {
            "task_type": "SEQ_CLS",
            "r": 2,
            "lora_alpha": 4,
            "use_dora": True,
            "target_modules": ["attn.c_proj", "mlp.c_proj"],
        },
    },
    # Trained biases: those of the base model, and the adapter's own.
    "lora-bias": {
        "seed": 76,
        "base": "llama2-tiny",
        "config": {
            "task_type": "SEQ_CLS",
            "r": 4,
            "lora_alpha": 4,
            "bias": "lora_only",
            "lora_bias": True,
            "target_modules": ["q_proj", "v_proj", "o_proj", "down_proj"],
        },
    },
    # New tokens: embedding and head are saved whole, with more rows than the base model's.
    "lora-new-tokens": {
        "seed": 77,
        "base": "lm-head-tiny",
        "resize": 644,
        "rows": [642],
        "config": {
            "task_type": "CAUSAL_LM",
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["v_proj", "up_proj"],
            "modules_to_save": ["embed_tokens", "lm_head"],
        },
    },
}


def base_model(spec):
    """The base model in float32, as training loads it."""
    directory = TESTS / "checkpoints" / spec["base"]
    kind = AutoModelForCausalLM if "rows" in spec else AutoModelForSequenceClassification
    labels = {} if "rows" in spec or spec["base"] != "lm-head-tiny" else {"num_labels": 1}
    model = kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", **labels)
    if "resize" in spec:
        model.resize_token_embeddings(spec["resize"], mean_resizing=False)
    return model.eval()


def randomise(model, seed):
    """Give what was trained numbers of the size that training gives."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for name, parameter in sorted(model.named_parameters()):
        if not parameter.requires_grad:
            continue
        values = torch.from_numpy(rng.standard_normal(tuple(parameter.shape), dtype=np.float32))
        with torch.no_grad():
            if "magnitude" in name:
                parameter.mul_(1 + 0.2 * values)
            elif "modules_to_save" in name and ("embed" in name or "lm_head" in name):
                parameter.add_(0.1 * values)
            elif "score" in name:
                parameter.copy_(values / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(0.25 * values)


def logits(model, ids, spec):
    """The scores of one sequence."""
    with torch.inference_mode():
        found = model(torch.tensor([ids])).logits[0].float()
        return [float(v) for v in (found[-1, spec["rows"]] if "rows" in spec else found)]


def make(name, spec):
    """Write one adapter and its scores."""
    torch.manual_seed(spec["seed"])
    directory = TESTS / "adapters" / name
    shutil.rmtree(directory, ignore_errors=True)
    model = get_peft_model(base_model(spec), LoraConfig(**spec["config"]))
    randomise(model, spec["seed"])
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16).float()
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    shrink(directory / "adapter_model.safetensors")
    config = json.loads((directory / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"../../checkpoints/{spec['base']}"
    config["target_modules"] = sorted(config["target_modules"])
    write_json(directory / "adapter_config.json", config, indent=2)

    loaded = PeftModel.from_pretrained(base_model(spec), directory).eval()
    base_config = json.loads((TESTS / "checkpoints" / spec["base"] / "config.json").read_text())
    sizes = {**base_config, "vocab_size": spec.get("resize", base_config["vocab_size"])}
    sequences = random_sequences(spec, sizes)
    unmerged = [logits(loaded, ids, spec) for ids in sequences]
    # Norms of rows are rounded, too, when they are computed before the merge.
    merged = loaded.merge_and_unload()
    cases = [{"ids": ids, "f32": logits(merged, ids, spec), "bf16": []} for ids in sequences]
    worst = max(abs(a - b) for u, c in zip(unmerged, cases) for a, b in zip(u, c["f32"]))
    spread = np.array([case["f32"] for case in cases]).std()
    assert worst < 1e-4 and spread > 0.1, (name, worst, spread)
    plain = [logits(base_model({**spec, "config": {}}), ids, spec) for ids in sequences[:6]]
    moved = max(abs(a - b) for p, c in zip(plain, cases) for a, b in zip(p, c["f32"]))
    assert moved > 0.1, (name, moved)
    write_cases(TESTS / "golden" / "scores" / f"{name}.json", {"cases": cases}, {"labels": ["reward"]})
    print(f"{name}: merged and unmerged within {worst:.1e}")


def shrink(path):
    """Store the adapter's tensors in bfloat16, which holds them exactly."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    halves = {k: v.to(torch.bfloat16) if torch.equal(v.to(torch.bfloat16).float(), v.float()) else v for k, v in tensors.items()}
    save_file({k: v.contiguous() for k, v in halves.items()}, path, metadata)


def main():
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(ADAPTERS), help="make one adapter only")
    args = parser.parse_args()
    check_versions()
    make_repeatable()
    for name, spec in ADAPTERS.items():
        if args.only in (None, name):
            make(name, spec)


if __name__ == "__main__":
    main()
