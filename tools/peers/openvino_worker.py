"""OpenVINO, through optimum, as a worker of tools/bench_peers.py.

The backend `int8` quantizes weights and activations with NNCF, the latter by scales that a
few random texts give (W8A8, static).
"""

from pathlib import Path

import nncf
import openvino
import torch
from optimum.intel import OVModelForCausalLM, OVModelForSequenceClassification

import worker

PRECISION = {"float32": "f32", "bfloat16": "bf16"}
CALIBRATION_TEXTS, CALIBRATION_TOKENS, IDS = 8, 128, 599


def quantize(converted, quantized):
    """Write the converted model with weights and activations of 8 bits."""
    model = openvino.Core().read_model(converted / "openvino_model.xml")
    shape = (1, CALIBRATION_TOKENS)
    texts = [{"input_ids": torch.randint(IDS, shape).numpy(), "attention_mask": torch.ones(shape, dtype=int).numpy()}
             for _ in range(CALIBRATION_TEXTS)]
    result = nncf.quantize(model, nncf.Dataset(texts), model_type=nncf.ModelType.TRANSFORMER)
    quantized.mkdir()
    openvino.save_model(result, quantized / "openvino_model.xml")
    for path in converted.glob("*.json"):
        (quantized / path.name).write_bytes(path.read_bytes())


def load(args):
    """Convert the model, unless that was done before, and compile it."""
    kind = OVModelForSequenceClassification if args.kind == "score" else OVModelForCausalLM
    converted = Path(args.cache) / f"openvino-{Path(args.model).name}"
    if not converted.exists():
        kind.from_pretrained(args.model, export=True, compile=False, load_in_8bit=False).save_pretrained(converted)
    if args.backend == "int8":
        quantized = converted.with_name(f"{converted.name}-int8")
        if not quantized.exists():
            quantize(converted, quantized)
        converted = quantized
    settings = {
        "INFERENCE_PRECISION_HINT": PRECISION[args.dtype],
        "INFERENCE_NUM_THREADS": str(args.threads),
        "NUM_STREAMS": "1",
    }
    model = kind.from_pretrained(converted, ov_config=settings)

    def run(job):
        ids = torch.tensor(job.get("score") or job["generate"])
        mask = torch.ones_like(ids)
        if "score" in job:
            model(input_ids=ids, attention_mask=mask)
        else:
            number = job["tokens"]
            model.generate(ids, attention_mask=mask, do_sample=False, min_new_tokens=number, max_new_tokens=number)

    return {"openvino": openvino.__version__.split("-")[0]}, run


if __name__ == "__main__":
    worker.serve(load)
