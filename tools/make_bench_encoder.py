#!/usr/bin/env python3
"""Make a random reward model with the sizes of DeBERTa-v3-large, for benchmarks. Needs torch and transformers.

    make_bench_encoder.py --output DIR [--layers 24]

Its scores mean nothing. The tokenizer is that of tests/checkpoints/deberta-tiny; ids
beyond that small vocabulary are never produced from text, but may be sent as ids.
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

SMALL = Path(__file__).resolve().parent.parent / "tests" / "checkpoints" / "deberta-tiny"
SIZES = {
    "vocab_size": 1024, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096,
    "max_position_embeddings": 512, "pooler_hidden_size": 1024,
}
POSITIONS = {
    "relative_attention": True, "position_buckets": 256, "max_relative_positions": -1, "pos_att_type": "p2c|c2p",
    "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
}


def main():
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="directory to write to")
    parser.add_argument("--layers", type=int, default=24)
    args = parser.parse_args()
    torch.manual_seed(0)
    config = DebertaV2Config(
        **SIZES, **POSITIONS, num_hidden_layers=args.layers, type_vocab_size=0, num_labels=1, layer_norm_eps=1e-7,
        pad_token_id=0, cls_token_id=1, sep_token_id=2,
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(args.output)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(SMALL / name, args.output / name)


if __name__ == "__main__":
    main()
