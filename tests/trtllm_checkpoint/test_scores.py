"""The ranks together give the scores that transformers gave for the original."""

import json

import numpy as np
import pytest

from files import ROOT, build
from forward import Decoder

CHECKPOINTS = ROOT / "tests/checkpoints"


@pytest.mark.parametrize("tensor_parallel, stages", [(1, 1), (2, 1), (4, 1), (2, 2)])
@pytest.mark.parametrize(
    "name",
    [
        "llama3-tiny",
        "llama-linear",
        "qwen2-window",
        "qwen3-tiny",
        "mistral-tiny",
        "gemma2-tiny",
        "nemotron-tiny",
        "nemo-tiny",
        "phi3-tiny",
        "internlm2-tiny",
        "nemotron-reward-tiny",
        "openrlhf-tiny",
    ],
)
def test_ranks_score_as_the_original_does(name, tensor_parallel, stages, tmp_path):
    if name == "phi3-tiny" and stages > 1:
        pytest.skip("TensorRT-LLM's Phi-3 has no stages")
    if name == "llama-linear" and tensor_parallel > 2:
        pytest.skip("it has two heads")
    built = build(CHECKPOINTS / name, tmp_path / "built", "--tp", tensor_parallel, "--pp", stages)
    decoder = Decoder(built)
    golden = json.loads((ROOT / f"tests/golden/scores/{name}.json").read_text())
    manifest = (tmp_path / "built/checkpoint.yaml").read_text()
    longest = int(manifest.split("max_seq_len: ")[1].split()[0])
    labels = len(golden["labels"])
    bias = np.zeros(labels)
    if "head_bias:" in manifest:
        lines = manifest.split("head_bias:")[1].splitlines()[1 : labels + 1]
        bias = np.array([float(line.strip().removeprefix("- ")) for line in lines])
    errors, of_bf16 = [], []
    for case in golden["cases"]:
        if len(case["ids"]) > min(longest, 120):
            continue
        logits = decoder.logits(np.array(case["ids"]))
        assert not logits[labels:].any(), "rows that are no scores are zero"
        errors.append(np.abs(logits[:labels] + bias - case["f32"]).max())
        of_bf16.append(np.abs(np.array(case["bf16"]) - case["f32"]).max())
    # Weights are bf16 and the arithmetic is f32, so they are closer to f32 than bf16 all through is.
    assert len(errors) > 3
    assert max(errors) < max(of_bf16)
    assert np.mean(errors) < np.mean(of_bf16)
