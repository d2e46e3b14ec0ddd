"""llama.cpp, through llama-cpp-python, as a worker of tools/bench_peers.py. It runs one text after the other.

The backend is a type of llama.cpp for the weights, such as `q8_0`, or none for --dtype.
"""

from pathlib import Path

import gguf_file
import llama_cpp
import worker

TYPES = {"float32": "f32", "bfloat16": "bf16"}


def load(args):
    """Write the model's file, unless that was done before, and load it."""
    model = Path(args.model)
    kind = args.backend or TYPES[args.dtype]
    file = Path(args.cache) / f"{model.name}-{kind}.gguf"
    if not file.exists():
        gguf_file.write(model, file, kind)
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
