#!/usr/bin/env python3
"""Time vLLM's CPU build on a reward model and print one JSON line.

    bench_vllm.py --model DIR --texts 32 --tokens 256 --dtype bfloat16 --threads 2

All texts are random ids of the same length and are submitted at once, which is fastest in
vLLM. The time is the median of five runs after one warm-up. Prefix caching is off because
every run has the same texts.
"""

import json
import os
import random

import bench_common


def main():
    """Run the measurement."""
    args = bench_common.parser(__doc__).parse_args()
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{args.threads - 1}")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    # vLLM reads this when it is imported.
    import vllm  # pylint: disable=import-outside-toplevel

    engine = vllm.LLM(
        args.model,
        runner="pooling",
        dtype=args.dtype,
        max_model_len=4096,
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    generator = random.Random(args.seed)
    texts = [
        {"prompt_token_ids": [generator.randrange(599) for _ in range(args.tokens)]}
        for _ in range(args.texts)
    ]
    seconds = bench_common.median_seconds(lambda: engine.classify(texts, use_tqdm=False))
    result = {
        "engine": "vllm",
        "vllm": vllm.__version__,
        "dtype": args.dtype,
        "threads": args.threads,
        "texts": args.texts,
        "tokens": args.tokens,
        "tokens_per_second": round(args.texts * args.tokens / seconds, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
