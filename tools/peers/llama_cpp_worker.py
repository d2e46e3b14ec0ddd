"""llama.cpp, through llama-cpp-python, as a worker of tools/bench_peers.py. It runs one text after the other."""

import sys
from pathlib import Path

import llama_cpp

import worker

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import bench_llama_cpp  # noqa: E402  pylint: disable=wrong-import-position

TYPES = {"float32": "f32", "bfloat16": "bf16"}


def load(args):
    """Write the model's file, unless that was done before, and load it."""
    model = Path(args.model)
    file = Path(args.cache) / f"{model.name}-{args.dtype}.gguf"
    if not file.exists():
        bench_llama_cpp.write(model, file, TYPES[args.dtype])
    engine = llama_cpp.Llama(
        str(file), n_ctx=args.context, n_batch=2048, n_threads=args.threads, n_threads_batch=args.threads, verbose=False
    )

    def run(job):
        texts = job.get("score") or job["generate"]
        for ids in texts:
            engine.reset()
            engine.eval(ids)
            for _ in range(job.get("tokens", 1) - 1):
                engine.eval([engine.sample(temp=0)])

    return {"llama-cpp-python": llama_cpp.__version__}, run


if __name__ == "__main__":
    worker.serve(load)
