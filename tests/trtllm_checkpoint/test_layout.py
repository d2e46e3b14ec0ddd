"""Every tensor of every rank is where TensorRT-LLM expects it."""

import json

import numpy as np
import pytest

from files import Source, build, numbers, synthetic
from reading import ARCHITECTURES, expected, expected_rest
from wide import NEWER, SIZES, checkpoint, head_dim, head_options


def compare(source, built, *division, **head):
    ranks = expected(source, *division, **head)
    assert len(built.ranks) == len(ranks)
    for number, (rank, wanted) in enumerate(zip(built.ranks, ranks)):
        assert set(rank) == set(wanted), f"rank {number}"
        for name, array in wanted.items():
            kind, elements = rank[name]
            assert kind == ("F32" if name.endswith("router.weight") else "BF16"), name
            assert elements.shape == array.shape, f"rank {number}: {name}"
            np.testing.assert_array_equal(numbers(kind, elements), array, f"rank {number}: {name}")


@pytest.mark.parametrize("tensor_parallel", [1, 2, 4])
@pytest.mark.parametrize(
    "name",
    ["llama3-tiny", "qwen2-window", "nemotron-tiny", "qwen3-tiny", "mistral-tiny", "gemma2-tiny", "phi3-tiny", "internlm2-tiny"],
)
def test_heads_and_projections_are_split_among_ranks(name, tensor_parallel, tmp_path):
    built = build(checkpoint(name), tmp_path / "built", "--tp", tensor_parallel)
    compare(Source(checkpoint(name)), built, tensor_parallel)


@pytest.mark.parametrize("tensor_parallel", [1, 2])
@pytest.mark.parametrize("name", NEWER)
def test_the_layers_of_every_other_family_are_split_among_ranks(name, tensor_parallel, tmp_path):
    built = build(checkpoint(name), tmp_path / "built", "--tp", tensor_parallel, *head_options(name))
    compare(Source(checkpoint(name)), built, tensor_parallel)
    kind = Source(checkpoint(name)).config["model_type"]
    assert built.config["architecture"] == ARCHITECTURES[kind]


def test_experts_and_positions_are_split_among_stages(tmp_path):
    for name in ("mixtral-tiny", "qwen2-moe-even", "gpt2-wide"):
        built = build(checkpoint(name), tmp_path / name, "--tp", 2, "--pp", 3)
        compare(Source(checkpoint(name)), built, 2, 3)


@pytest.mark.parametrize("tensor_parallel, stages", [(1, 1), (2, 1), (4, 1), (2, 2)])
@pytest.mark.parametrize("name", ["math-rm-tiny", "math-prm-tiny", "armo-tiny"])
def test_the_first_layers_of_a_head_are_rows_of_lm_head_and_the_rest_is_a_separate_file(name, tensor_parallel, stages, tmp_path):
    built = build(checkpoint(name), tmp_path / "built", "--tp", tensor_parallel, "--pp", stages)
    source = Source(checkpoint(name))
    compare(source, built, tensor_parallel, stages)
    rest = expected_rest(source)
    assert set(built.head) == set(rest)
    for tensor, array in rest.items():
        np.testing.assert_array_equal(built.head[tensor], array, tensor)


@pytest.mark.parametrize("tensor_parallel, stages", [(1, 1), (4, 1), (2, 2)])
@pytest.mark.parametrize("name", ["llama3-tiny", "qwen2-window", "qwen3-tiny", "math-rm-tiny", "armo-tiny"])
def test_a_small_head_has_64_rows_and_uses_the_model_that_supports_it(name, tensor_parallel, stages, tmp_path):
    options = ("--small-head", "--tp", tensor_parallel, "--pp", stages)
    built = build(checkpoint(name), tmp_path / "built", *options)
    source = Source(checkpoint(name))
    compare(source, built, tensor_parallel, stages, head_rows=64)
    fields = {
        "architecture": "Qwen2ForSequenceClassification",
        "num_labels": 64,
        "vocab_size": source.config["vocab_size"],
        "qwen_type": "qwen3" if name == "qwen3-tiny" else "qwen2",
        "attn_bias": source.config["model_type"] == "qwen2",
        "mlp_bias": False,
    }
    assert built.config == built.config | fields


@pytest.mark.parametrize("name", ["llama3-tiny", "nemotron-tiny", "gemma2-tiny"])
@pytest.mark.parametrize("stages", [2, 3])
def test_layers_are_split_among_stages(name, stages, tmp_path):
    built = build(checkpoint(name), tmp_path / "built", "--tp", 2, "--pp", stages)
    compare(Source(checkpoint(name)), built, 2, stages)


@pytest.mark.parametrize("tensor_parallel", [1, 2, 4])
def test_a_vocabulary_that_the_ranks_do_not_divide_evenly_is_padded(tensor_parallel, tmp_path):
    source = synthetic(
        tmp_path / "source",
        "qwen2-tiny",
        vocab_size=611,
        hidden_size=128,
        num_attention_heads=4,
        num_key_value_heads=1,
        intermediate_size=112,
    )
    built = build(source.path, tmp_path / "built", "--tp", tensor_parallel)
    compare(source, built, tensor_parallel)
    assert built.config["vocab_size"] == 611


@pytest.mark.parametrize(
    "tensor_parallel, stages, vocab_size", [(1, 2, 612), (2, 2, 611), (4, 2, 616), (1, 3, 612), (2, 3, 611)]
)
def test_logits_are_as_wide_as_the_runtime_takes_them_for_all_ranks(tensor_parallel, stages, vocab_size, tmp_path):
    source = synthetic(
        tmp_path / "source",
        "qwen2-tiny",
        vocab_size=611,
        hidden_size=128,
        num_attention_heads=4,
        num_key_value_heads=1,
        intermediate_size=112,
        num_hidden_layers=3,
    )
    built = build(source.path, tmp_path / "built", "--tp", tensor_parallel, "--pp", stages)
    compare(source, built, tensor_parallel, stages)
    assert built.config["vocab_size"] == vocab_size
    # trtllm-build pads for the ranks of a stage, the runtime for all.
    world = tensor_parallel * stages
    rows = sum(rank["lm_head.weight"][1].shape[0] for rank in built.ranks if "lm_head.weight" in rank)
    assert rows == -(-vocab_size // tensor_parallel) * tensor_parallel == -(-vocab_size // world) * world


def test_every_checkpoint_has_heads_that_tensorrt_llm_has_attention_for(tmp_path):
    for name in ("llama3-tiny", "nemotron-tiny", "armo-tiny", "llama-linear"):
        assert build(checkpoint(name), tmp_path / name).config["head_size"] in SIZES
        assert head_dim(Source(checkpoint(name)).config) in SIZES


def test_the_configuration_describes_the_layers(tmp_path):
    for name, fields in {
        "llama3-tiny": {"attn_bias": False, "mlp_bias": False, "rotary_base": 500000.0},
        "qwen2-window": {"qwen_type": "qwen2", "attn_bias": True, "tie_word_embeddings": False},
        "qwen3-tiny": {"qwen_type": "qwen3", "attn_bias": False},
        "nemotron-tiny": {"bias": False, "rotary_pct": 0.5, "hidden_act": "squared-relu", "rotary_embedding_dim": 48},
        "gemma2-tiny": {"final_logit_softcapping": None, "use_parallel_embedding": True},
        "phi3-tiny": {"hidden_act": "swiglu"},
        "mistral-tiny": {},
        "internlm2-tiny": {"rotary_scaling": None},
    }.items():
        original = json.loads((checkpoint(name) / "config.json").read_text())
        config = build(checkpoint(name), tmp_path / name, "--tp", 2).config
        same = {
            "vocab_size": original["vocab_size"],
            "hidden_size": original["hidden_size"],
            "num_hidden_layers": original["num_hidden_layers"],
            "num_attention_heads": original["num_attention_heads"],
            "num_key_value_heads": original["num_key_value_heads"],
            "intermediate_size": original["intermediate_size"],
            "max_position_embeddings": original["max_position_embeddings"],
            "norm_epsilon": original.get("norm_eps", original.get("rms_norm_eps")),
        }
        constant = {
            "architecture": ARCHITECTURES[original["model_type"]],
            "dtype": "bfloat16",
            "logits_dtype": "float32",
            "position_embedding_type": "rope_gpt_neox",
            "mapping": {"world_size": 2, "tp_size": 2, "pp_size": 1},
        }
        assert config == config | same | constant | fields, name
        assert config["quantization"]["quant_algo"] is None
    llama = json.loads((tmp_path / "llama3-tiny/config.json").read_text())
    assert llama["rotary_scaling"] == {
        "type": "llama3",
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
