"""The ranks together give the scores that transformers gives for the original."""

import itertools
import json

import numpy as np
import pytest

from files import ROOT, Source, bf16, build
from forward import Decoder
from wide import NEWER, checkpoint, head_options


def listed(manifest, name):
    """The numbers listed under a name in YAML; none if the name is absent."""
    lines = manifest.split(f"{name}:", 1)[1].splitlines()[1:] if f"{name}:" in manifest else []
    items = itertools.takewhile(lambda line: line.lstrip().startswith("- "), lines)
    return [float(line.lstrip().removeprefix("- ")) for line in items]


def windows_of(manifest):
    """The windows that the server tells the library, by layer."""
    if "keys:" not in manifest:
        return {}
    keys = int(manifest.split("keys:", 1)[1].split()[0])
    return {int(layer): keys for layer in listed(manifest, " layers")}


# TensorRT-LLM's classes of these families cannot be divided into stages.
WITHOUT_STAGES = ("phi3-tiny", "phi3-longrope", "glm-wide", "neox-wide")


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
        *NEWER,
    ],
)
def test_the_ranks_together_give_the_scores_of_the_original(name, tensor_parallel, stages, tmp_path):
    if name in WITHOUT_STAGES and stages > 1:
        pytest.skip("TensorRT-LLM's class has no stages")
    if tensor_parallel > 2 and (name == "llama-linear" or name in NEWER):
        pytest.skip("two ranks show how it is divided")
    options = ("--tp", tensor_parallel, "--pp", stages, *head_options(name))
    built = build(checkpoint(name), tmp_path / "built", *options)
    manifest = (tmp_path / "built/checkpoint.yaml").read_text()
    decoder = Decoder(built, windows=windows_of(manifest))
    golden = json.loads((ROOT / f"tests/golden/scores/{name}.json").read_text())
    longest = int(manifest.split("max_seq_len: ")[1].split()[0])
    labels = len(golden["labels"])
    bias = built.head.get("head.0_bias", np.zeros(labels))
    errors, of_bf16 = [], []
    for case in golden["cases"]:
        if len(case["ids"]) > min(longest, 120):
            continue
        logits = decoder.logits(np.array(case["ids"]))
        assert not logits[labels:].any(), "rows that are not scores are zero"
        errors.append(np.abs(logits[:labels] + bias - case["f32"]).max())
        of_bf16.append(np.abs(np.array(case["bf16"]) - case["f32"]).max())
    # Weights in bf16 and arithmetic in f32 come closer to f32 than bf16 throughout.
    assert len(errors) > 3
    assert max(errors) < max(of_bf16)
    assert np.mean(errors) < np.mean(of_bf16)


def upper(name, products, head, objectives=19):
    """The outputs of a head from what the library gives: the products of its first layers, in bf16 precision."""

    def layers(x, numbered):
        for weight, bias in numbered:
            x = head[weight] @ np.maximum(x, 0) + head.get(bias, 0)
        return x

    if name.startswith("math"):
        return layers(products + head["head.0_bias"], [("head.1", "head.1_bias")])
    scores, gates = products[:objectives], products[objectives:] + head["gating.0_bias"]
    count = sum("_bias" not in tensor for tensor in head)
    return scores, layers(gates, [(f"gating.{layer}", f"gating.{layer}_bias") for layer in range(1, count + 1)])


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def scores_of(name, decoder, built, ids, source):
    """The scores of a text by the definition of the model."""
    head, manifest = built.head, (built.path / "checkpoint.yaml").read_text()
    width = len(head["head.0_bias"]) if name.startswith("math") else 19 + len(head["gating.0_bias"])

    def read(place):
        logits = decoder.logits(ids[: place + 1])
        assert not logits[width:].any(), "rows that are not part of the head are zero"
        return upper(name, bf16(logits[:width]), head)

    if name == "math-rm-tiny":
        return read(len(ids) - 1)
    if name == "math-prm-tiny":
        step = int(manifest.split("each_step:")[1].split("id:")[1].split()[0])
        return np.array([softmax(read(place))[1] for place in np.flatnonzero(ids == step)])
    pattern = [int(token) for token in listed(manifest, "pattern")]
    end = max(place for place in range(len(ids)) if list(ids[place : place + len(pattern)]) == pattern)
    (scores, _), (_, gates) = read(len(ids) - 1), read(end)
    shares = softmax(gates / source.config["gating_temperature"])
    mixed = source["gating.logit_scale"][0] * (scores @ source["reward_transform_matrix"]) @ shares
    return np.append(scores, mixed)


@pytest.mark.parametrize("tensor_parallel, stages", [(1, 1), (4, 1), (2, 2)])
@pytest.mark.parametrize("name", ["math-rm-tiny", "math-prm-tiny", "armo-tiny"])
def test_heads_of_several_layers_give_the_scores_of_the_original(name, tensor_parallel, stages, tmp_path):
    built = build(checkpoint(name), tmp_path / "built", "--tp", tensor_parallel, "--pp", stages)
    decoder, source = Decoder(built), Source(checkpoint(name))
    golden = json.loads((ROOT / f"tests/golden/scores/{name}.json").read_text())
    errors, of_bf16 = [], []
    for case in golden["cases"]:
        ids = np.array(case["ids"])
        if len(ids) > 120:
            continue
        scores = scores_of(name, decoder, built, ids, source)
        errors.append(np.abs(scores - case["f32"]).max())
        of_bf16.append(np.abs(np.array(case["bf16"]) - case["f32"]).max())
    print(f"{name}: mean {np.mean(errors):.1e}, largest {max(errors):.1e}; transformers in bf16 {np.mean(of_bf16):.1e}, {max(of_bf16):.1e}")
    assert len(errors) > 3
    assert max(errors) < max(of_bf16)
    assert np.mean(errors) < np.mean(of_bf16)
