#!/usr/bin/env python3
"""Time transformers on a reward model and print one JSON line.

    bench_transformers.py --model DIR --texts 32 --tokens 256 \\
        --dtype bfloat16 --threads 2 [--batch N]

All texts are random ids of the same length, so no padding is computed. Prints two
figures: all texts as one batch, and the best of several batch sizes. With --batch, only
that batch size is timed. Each figure is the median of five runs after one warm-up.
"""

import json

import torch
import transformers
from transformers import AutoModelForSequenceClassification

import bench_common

BATCHES = (1, 4, 8, 32)


def parse_arguments():
    """Read the command line."""
    parser = bench_common.parser(__doc__)
    parser.add_argument("--batch", type=int, help="time this batch size only")
    return parser.parse_args()


def random_ids(config, texts, tokens, seed):
    """Random ids other than the pad id, one row per text."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, config.vocab_size - 1, (texts, tokens), generator=generator)
    if config.pad_token_id is None:
        config.pad_token_id = config.vocab_size - 1
    return ids + (ids >= config.pad_token_id)


def run_once(model, ids, batch):
    """Score all texts, `batch` at a time; return the scores."""
    scores = []
    for rows in ids.split(batch):
        mask = torch.ones_like(rows)
        out = model(input_ids=rows, attention_mask=mask, use_cache=False)
        scores.append(out.logits)
    return torch.cat(scores)


def tokens_per_second(model, ids, batch):
    """Return the median speed of several runs after a warm-up."""
    return ids.numel() / bench_common.median_seconds(lambda: run_once(model, ids, batch))


def main():
    """Run the measurements."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, dtype=getattr(torch, args.dtype)
    ).eval()
    ids = random_ids(model.config, args.texts, args.tokens, args.seed)
    wanted = {args.batch} if args.batch else {b for b in BATCHES if b <= args.texts} | {args.texts}
    with torch.inference_mode():
        speeds = {batch: round(tokens_per_second(model, ids, batch), 1) for batch in sorted(wanted)}
    best = max(speeds, key=speeds.get)
    result = {
        "engine": "transformers",
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "attention": model.config._attn_implementation,
        "dtype": args.dtype,
        "threads": args.threads,
        "texts": args.texts,
        "tokens": args.tokens,
        "tokens_per_second_by_batch": speeds,
        "tokens_per_second_one_batch": speeds.get(args.texts),
        "best_batch": best,
        "tokens_per_second_best": speeds[best],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
