"""OpenVINO, through optimum, as a worker of tools/bench_peers.py."""

from pathlib import Path

import openvino
import torch
from optimum.intel import OVModelForCausalLM, OVModelForSequenceClassification

import worker

PRECISION = {"float32": "f32", "bfloat16": "bf16"}


def load(args):
    """Convert the model, unless that was done before, and compile it."""
    kind = OVModelForSequenceClassification if args.kind == "score" else OVModelForCausalLM
    converted = Path(args.cache) / f"openvino-{Path(args.model).name}"
    if not converted.exists():
        kind.from_pretrained(args.model, export=True, compile=False, load_in_8bit=False).save_pretrained(converted)
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
