"""Language models: the whole head is where TensorRT-LLM expects it, and the ranks together give its logits."""

import json
import shutil

import numpy as np
import pytest

from files import ROOT, Source, bf16, build, numbers, synthetic, write_safetensors
from forward import Decoder
from reading import vocabulary_head
from test_layout import compare
from wide import checkpoint

DIVISIONS = [(1, 1), (2, 1), (4, 1), (2, 2)]
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
}


def causal(path, name):
    """A test checkpoint turned into the language model of its decoder; the embedding is its head."""
    shutil.copytree(checkpoint(name), path)
    config = json.loads((path / "config.json").read_text())
    family = config["architectures"][0].removesuffix("ForSequenceClassification").removesuffix("ForCausalLM")
    config["architectures"] = [f"{family}ForCausalLM"]
    (path / "config.json").write_text(json.dumps(config))
    kept = {key: array for key, array in Source(path).tensors.items() if key != "score.weight"}
    write_safetensors(path / "model.safetensors", kept)
    return Source(path)


def language_model(path, family, tied, **changes):
    """A random language model whose sizes suit every quantization."""
    like = {"Llama": "llama3-tiny", "Qwen2": "qwen2-window"}[family]
    architecture = {"architectures": [f"{family}ForCausalLM"], "tie_word_embeddings": tied}
    return synthetic(path, like, **architecture, **SHAPE | changes)


@pytest.mark.parametrize("tensor_parallel, stages", DIVISIONS)
@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_whole_head_is_split_among_the_ranks_of_the_last_stage(family, tied, tensor_parallel, stages, tmp_path):
    source = language_model(tmp_path / "source", family, tied)
    built = build(source.path, tmp_path / "built", "--tp", tensor_parallel, "--pp", stages)
    compare(source, built, tensor_parallel, stages, generates=True)
    if family == "Qwen2":
        # The head is written even if it was tied to the embedding.
        assert built.config["tie_word_embeddings"] is False


@pytest.mark.parametrize("tensor_parallel", [1, 2, 4])
def test_a_vocabulary_that_the_ranks_do_not_divide_evenly_is_padded(tensor_parallel, tmp_path):
    source = language_model(tmp_path / "source", "Llama", True, vocab_size=643)
    built = build(source.path, tmp_path / "built", "--tp", tensor_parallel)
    compare(source, built, tensor_parallel, generates=True)
    assert built.config["vocab_size"] == 643


@pytest.mark.parametrize("name", ["lm-head-tiny", "qwen3-tiny", "gemma2-tiny"])
@pytest.mark.parametrize("tensor_parallel, stages", DIVISIONS)
def test_the_ranks_together_give_the_log_probabilities_of_the_original(name, tensor_parallel, stages, tmp_path):
    source = causal(tmp_path / "source", name)
    built = build(source.path, tmp_path / "built", "--tp", tensor_parallel, "--pp", stages)
    compare(source, built, tensor_parallel, stages, generates=True)
    if name == "gemma2-tiny":
        assert built.config["final_logit_softcapping"] == source.config["final_logit_softcapping"]
    decoder = Decoder(built)
    golden = json.loads((ROOT / f"tests/golden/generation/{name}.json").read_text())
    errors = []
    for case in golden["texts"]:
        for count in range(4):
            logits = decoder.logits(np.array(case["prompt"] + case["tokens"][:count])).astype(np.float64)
            log_probabilities = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            errors.append(abs(log_probabilities[case["tokens"][count]] - case["logprobs"][count]))
    assert len(errors) >= 8
    # The weights are rounded to bf16.
    assert np.mean(errors) < 0.02 and max(errors) < 0.1


@pytest.mark.parametrize("quantization", ["fp8", "int8-weight-only", "int4-weight-only"])
def test_head_and_embedding_are_never_quantized(quantization, tmp_path):
    source = language_model(tmp_path / "source", "Llama", False)
    built = build(source.path, tmp_path / "built", "--tp", 2, "--quantization", quantization)
    head = np.split(bf16(vocabulary_head(source, source.config)), 2)
    for rank, part in zip(built.ranks, head):
        kind, elements = rank["lm_head.weight"]
        assert kind == "BF16" and rank["transformer.vocab_embedding.weight"][0] == "BF16"
        np.testing.assert_array_equal(numbers(kind, elements), part)
        assert rank["transformer.layers.0.mlp.fc.weight"][0] != "BF16"
    assert "*lm_head" in built.config["quantization"]["exclude_modules"]


def test_the_manifest_has_the_task_and_the_end_tokens(tmp_path):
    for task, options in {"chat": (), "completion": ("--task", "completion")}.items():
        build(checkpoint("lm-head-tiny"), tmp_path / task, *options)
        manifest = (tmp_path / task / "checkpoint.yaml").read_text()
        assert f"task: {task}\n" in manifest
        assert "end_tokens:" in manifest


@pytest.mark.parametrize("vocab, stages, allowed", [(640, 2, True), (643, 2, False), (642, 4, False), (643, 1, True)])
def test_a_vocabulary_that_stages_would_need_padded_with_tokens_is_refused(vocab, stages, allowed, tmp_path):
    source = language_model(tmp_path / "source", "Llama", True, vocab_size=vocab, num_hidden_layers=4)
    options = ("--pp", stages)
    if allowed:
        build(source.path, tmp_path / "built", *options)
        return
    with pytest.raises(AssertionError, match=f"vocabulary of {vocab} tokens for all {stages} ranks"):
        build(source.path, tmp_path / "built", *options)
