"""Train the demo reward model in `engines/demo`, or evaluate it again.

The model is a small Llama with a five-value head: helpfulness, correctness,
coherence, complexity and verbosity, each on a scale of about 0 to 4. There are
no human ratings in its training data. Good answers come from MedQuAD and GSM8K;
the bad ones are made here, by damaging good answers in many ways.

    python tools/train_demo_model.py                    # train, write, measure
    python tools/train_demo_model.py --evaluate-only    # measure what is there

The stages are modules of `tools/demo_model`. The model card gives the options of the
checkpoint that is in the repository.
Everything random is seeded. Sums over several threads have no fixed order, so two
runs agree closely but not bit for bit.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from demo_model.data import Pool, read_items
from demo_model.evaluation import held_out_figures, measure, summed, tables, update_card
from demo_model.faults import BAD
from demo_model.model import export, new_model, train_tokenizer
from demo_model.training import train

ROOT = Path(__file__).resolve().parent.parent


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT / "../shared/data", help="folder with the data files"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "engines/demo", help="folder of the checkpoint"
    )
    parser.add_argument(
        "--evaluate-only", action="store_true", help="only measure the checkpoint in --output"
    )
    parser.add_argument(
        "--server", help="measure the engine that a server at this address serves, as `demo`"
    )
    parser.add_argument("--no-card", action="store_true", help="leave the model card as it is")
    parser.add_argument(
        "--test-items", type=int, default=200, help="held-out items to measure with"
    )
    parser.add_argument("--steps", type=int, default=160, help="steps of training")
    parser.add_argument("--start-from", type=Path, help="go on from this checkpoint")
    parser.add_argument(
        "--whole-answers", type=float, default=0.15, help="share of answers kept at full length"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="longest time; the rate falls in time"
    )
    parser.add_argument(
        "--watch", type=int, default=300, help="steps between looks at the development split"
    )
    parser.add_argument(
        "--groups", type=int, default=10, help="prompts in a step, each with about four answers"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def train_and_export(args):
    splits = read_items(args.data / "qa_pairs.jsonl.gz")
    print({name: len(items) for name, items in splits.items()}, flush=True)
    pool = Pool(splits["train"], args.whole_answers)
    if args.start_from:
        tokenizer = Tokenizer.from_file(str(args.start_from / "tokenizer.json"))
        model = AutoModelForSequenceClassification.from_pretrained(
            args.start_from, dtype=torch.float32
        )
    else:
        tokenizer = train_tokenizer(splits["train"])
        model = new_model(tokenizer)
        torch.nn.init.normal_(model.score.weight, std=0.02)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    started = time.time()

    def watch(model):
        export(model, tokenizer, args.output)
        model.eval()
        rows = held_out_figures(
            model, AutoTokenizer.from_pretrained(args.output), splits["dev"], args.seed, 40
        )
        print("dev", summed(rows, "all", BAD)[1:], {k: f"{r}/{n}" for k, r, n in rows}, flush=True)
        model.train()

    model.train()
    train(model, tokenizer, pool, args, watch)
    print(f"trained in {(time.time() - started) / 60:.1f} minutes", flush=True)
    export(model.eval(), tokenizer, args.output)


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    torch.set_num_threads(args.threads)
    if not args.evaluate_only:
        train_and_export(args)
    text = tables(measure(args.output, args.data, args.seed, args.test_items, args.server))
    print(text)
    if not args.no_card and not args.server:
        update_card(args.output, text)


if __name__ == "__main__":
    main()
