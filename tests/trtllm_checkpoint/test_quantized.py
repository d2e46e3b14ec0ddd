"""Quantized weights equal the originals within the rounding of their format."""

import numpy as np
import pytest

from files import bf16, build, numbers, synthetic
from forward import Decoder
from reading import expected

ALGORITHMS = {"fp8": "FP8_PER_CHANNEL_PER_TOKEN", "int8-weight-only": "W8A16", "int4-weight-only": "W4A16"}
# One unit of the format at the largest number of a row, of which rounding loses at most half, plus the rounding of
# the scale to bf16.
MATRICES = ("qkv.weight", "dense.weight", "fc.weight", "gate.weight", "proj.weight")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Matrices whose rows and columns are multiples of 64 on each of four ranks."""
    return synthetic(
        tmp_path_factory.mktemp("quantized") / "source",
        "llama3-tiny",
        hidden_size=256,
        intermediate_size=512,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
    )


def mixed_gemm_layout(integers, bits, interleaved):
    """Integers `[in, out]` in the order of TensorRT-LLM's `preprocess_weights_for_mixed_gemm`: the same steps on
    arrays with one integer in each element."""
    rows, columns = integers.shape
    # The rows of a matrix instruction: pairs of rows that are 8 apart become adjacent.
    of_instruction = 128 // bits
    order = np.arange(of_instruction).reshape(-1, 4, 2).swapaxes(0, 1).reshape(-1)
    integers = integers.reshape(-1, of_instruction, columns)[:, order].reshape(rows, columns)
    integers = integers.T
    if interleaved:
        together = 16 // bits
        integers = integers.reshape(columns // together, together, rows // 64, 64).swapaxes(1, 2)
    integers = integers.reshape(-1) + 2 ** (bits - 1)
    if bits == 8:
        return integers.reshape(-1, 2, 2).swapaxes(1, 2).reshape(-1).astype(np.uint8)
    integers = integers.reshape(-1, 4, 2).swapaxes(1, 2).reshape(-1, 2).astype(np.uint8)
    return integers[:, 0] | integers[:, 1] << 4


def read_integers(elements, out, bits, interleaved):
    """The integers `[out, in]` of a tensor, by inverting the layout."""
    inp = elements.shape[0]
    assert elements.shape == (inp, out * bits // 8)
    stored = elements.reshape(-1).view(np.uint8)
    if bits == 4:
        stored = np.stack([stored & 15, stored >> 4], -1).reshape(-1)
    # Finds the source of each position by encoding the digits of its index.
    places = np.arange(inp * out).reshape(inp, out)
    half, base = 2 ** (bits - 1), 2**bits
    origin, weight, rest = np.zeros(inp * out, np.int64), 1, places.copy()
    while rest.any():
        digits = mixed_gemm_layout(rest % base - half, bits, interleaved)
        if bits == 4:
            digits = np.stack([digits & 15, digits >> 4], -1).reshape(-1)
        origin += digits.astype(np.int64) * weight
        weight, rest = weight * base, rest // base
    integers = np.empty(inp * out, np.int64)
    integers[origin] = stored.astype(np.int64) - half
    return integers.reshape(inp, out).T


def dequantizer(quantization, interleaved):
    """Turns the quantized tensors of a rank into matrices."""

    def dequantize(rank):
        tensors = {}
        for name, (kind, elements) in rank.items():
            scale = rank.get(name.replace(".weight", ".per_channel_scale"))
            if not name.endswith(".weight") or scale is None:
                tensors[name] = numbers(kind, elements)
                continue
            scale = numbers(*scale)
            if quantization == "fp8":
                assert kind == "F8_E4M3"
                values = numbers(kind, elements)
            else:
                assert kind == "I8"
                bits = 8 if quantization.startswith("int8") else 4
                values = read_integers(elements, len(scale), bits, interleaved)
            tensors[name] = values * scale[:, None]
        return tensors

    return dequantize


@pytest.mark.parametrize("tensor_parallel", [1, 2, 4])
@pytest.mark.parametrize(
    "quantization, target",
    [
        ("fp8", "h100"),
        ("fp8", "l40s"),
        ("int8-weight-only", "a100"),
        ("int8-weight-only", "h100"),
        ("int4-weight-only", "l40s"),
        ("int4-weight-only", "h200"),
    ],
)
def test_weights_equal_the_originals_within_rounding(source, quantization, target, tensor_parallel, tmp_path):
    options = ("--tp", tensor_parallel, "--quantization", quantization)
    built = build(source.path, tmp_path / "built", *options, target=target)
    assert built.config["quantization"]["quant_algo"] == ALGORITHMS[quantization]
    assert "*lm_head" in built.config["quantization"]["exclude_modules"]
    dequantize = dequantizer(quantization, interleaved=target in ("a100", "l40s"))
    # The originals before rounding to bf16: quantization starts from the numbers in the checkpoint.
    for rank, wanted in zip(built.ranks, expected(source, tensor_parallel)):
        found = dequantize(rank)
        assert {name for name in found if not name.endswith("scale")} == set(wanted)
        for name, array in wanted.items():
            if not name.endswith(MATRICES):
                np.testing.assert_array_equal(found[name], array, name)
                continue
            error, largest = np.abs(found[name] - array), np.abs(array).max(1, keepdims=True)
            input_rounding = np.abs(array) * 2**-8
            if quantization == "fp8":
                # Three bits of mantissa; below the smallest normal number, steps of 2^-9.
                allowed = np.maximum(np.abs(array) * 2**-4, largest / 448 * 2**-10)
            else:
                bits = 8 if quantization.startswith("int8") else 4
                step = largest / 2 ** (bits - 1) * (1 + 2**-8)
                # The largest positive number is one step above what the format holds.
                allowed = np.where(array > largest - step, step, step / 2)
                allowed += np.abs(array) * 2**-7
            assert (error <= (allowed + input_rounding) * 1.001).all(), f"{name}: {error.max()}"


def test_scales_equal_those_of_tensorrt_llm(source, tmp_path):
    built = build(source.path, tmp_path / "fp8", "--quantization", "fp8")
    weight = source["model.layers.1.mlp.down_proj.weight"]
    kind, scale = built.ranks[0]["transformer.layers.1.mlp.proj.per_channel_scale"]
    assert kind == "F32"
    np.testing.assert_allclose(scale, np.abs(weight).max(1) / 448, rtol=1e-6)
    built = build(source.path, tmp_path / "int8", "--quantization", "int8-weight-only")
    kind, scale = built.ranks[0]["transformer.layers.1.mlp.proj.per_channel_scale"]
    assert kind == "BF16"
    np.testing.assert_array_equal(numbers(kind, scale), bf16(np.abs(weight).max(1) / 128))


def test_finer_formats_give_closer_scores(source, tmp_path):
    random = np.random.default_rng(1)
    texts = [random.integers(0, 640, 30) for _ in range(6)]
    labels = len(source["score.weight"])
    exact = Decoder(build(source.path, tmp_path / "exact"))
    errors = []
    for quantization in ("int8-weight-only", "fp8", "int4-weight-only"):
        built = build(source.path, tmp_path / quantization, "--tp", 2, "--quantization", quantization)
        decoder = Decoder(built, dequantizer(quantization, interleaved=False))
        strays = [np.abs(decoder.logits(ids) - exact.logits(ids))[:labels].mean() for ids in texts]
        errors.append(np.mean(strays))
    spread = np.std([exact.logits(ids)[:labels] for ids in texts])
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < spread / 4


def test_integers_for_blackwell_workstations_are_left_to_trtllm_build(source, tmp_path):
    built = build(source.path, tmp_path / "built", "--quantization", "int8-weight-only", target="rtx-pro-6000-blackwell")
    assert built.config["quantization"]["quant_algo"] == "W8A16"
    assert {kind for kind, _ in built.ranks[0].values()} == {"BF16"}
