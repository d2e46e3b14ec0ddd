"""ONNX Runtime, through optimum, as a worker of tools/bench_peers.py; for encoders."""

from pathlib import Path

import onnxruntime
import torch
from optimum.onnxruntime import ORTModelForSequenceClassification

import worker


def load(args):
    """Convert the model, unless that was done before, and load it; it computes in f32."""
    converted = Path(args.cache) / f"onnx-{Path(args.model).name}"
    if not converted.exists():
        ORTModelForSequenceClassification.from_pretrained(args.model, export=True).save_pretrained(converted)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    model = ORTModelForSequenceClassification.from_pretrained(converted, session_options=options)

    def run(job):
        ids = torch.tensor(job["score"])
        model(input_ids=ids, attention_mask=torch.ones_like(ids))

    return {"onnxruntime": onnxruntime.__version__}, run


if __name__ == "__main__":
    worker.serve(load)
