#!/usr/bin/env python3
"""Train small SentencePiece models of many kinds, and record the ids that SentencePiece gives.

Needs sentencepiece 0.2 besides tools/requirements.txt. The models in `tests/golden/sentencepiece` are
those of the default options. For a longer run, with random options and texts:

    python tools/make_sentencepiece_fixtures.py --seed 1 --random 40 --output /tmp/sentencepiece
    SENTENCEPIECE_CASES=/tmp/sentencepiece cargo test --lib builder::tokenizer
"""

import argparse
import io
import json
import random
from pathlib import Path

import sentencepiece

from fixtures.corpus import CORPUS
from fixtures.files import TESTS

AWKWARD = [
    "", " ", "   ", "a", " a", "a ", "  a  b  ", "\n", "a\nb", "\n\n a \t b\r\n", "▁", "▁▁a▁", "a ▁ b▁",
    "The river is two miles wide.", "the  river   is", "don't", "12345.678,90", "fib(n - 1)", "ﬁ ﬂ ½ Ⅷ ＡＢ１",
    "é e\u0301 E\u0301\u0301", "ﾊﾟ ｶﾞ", "東京タワー", "Москва", "🗼🙂👩‍👩‍👧", "a\u00a0b\u3000c\u200bd", "\u0000a\ufeff", "İIıi",
    "<s>a</s>", "<unk>", "<0x0A>", "a<sep>b", " <sep> ", "<sep><sep>x", "x<tool>y", "<ctrl>", "<cls>the<sep>river",
    "\u0e33 \u0e40\u0e01", "नमस्ते", "한국어", "\u1100\u1161", "a\u0308\u0323", "…—“”", "~!@#$%^&*()_+",
    "thetheriverriver", "aaaaaaaaaaaa", "q̣̇", "ﷺ", "ÅÅÅ",
]  # fmt: skip

FIXED = {
    "bpe-llama": {
        "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
    "bpe-internlm": {
        "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False, "add_dummy_prefix": False,
        "user_defined_symbols": ["<sep>", "<tool>"], "control_symbols": ["<ctrl>"],
    },
    "bpe-unknown": {"model_type": "bpe", "normalization_rule_name": "identity", "user_defined_symbols": ["<sep>"]},
    "unigram": {"model_type": "unigram", "normalization_rule_name": "identity", "character_coverage": 0.98},
    "unigram-bytes": {
        "model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "identity",
        "user_defined_symbols": ["<sep>", "<tool>"], "control_symbols": ["<ctrl>"], "add_dummy_prefix": False,
    },
    "unigram-nfkc": {
        "model_type": "unigram", "normalization_rule_name": "nmt_nfkc", "user_defined_symbols": ["<sep>"],
    },
}  # fmt: skip


def random_options(draw):
    symbols = [symbol for symbol in ["<sep>", "<tool>"] if draw.random() < 0.4]
    return {
        "model_type": draw.choice(["bpe", "unigram"]),
        "byte_fallback": draw.random() < 0.5,
        "normalization_rule_name": draw.choice(["identity", "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"]),
        "remove_extra_whitespaces": draw.random() < 0.5,
        "add_dummy_prefix": draw.random() < 0.5,
        "split_digits": draw.random() < 0.5,
        "character_coverage": draw.choice([0.98, 0.9995, 1.0]),
        "user_defined_symbols": symbols,
        "control_symbols": ["<ctrl>"] if draw.random() < 0.5 else [],
        "vocab_size": draw.choice([500, 540, 600]),
    }


def random_text(draw):
    pieces = AWKWARD + CORPUS.split()[:200] + [" ", "\n"]
    return "".join(draw.choice(pieces) + draw.choice(["", " "]) for _ in range(draw.randint(1, 8)))


def train(options, output):
    model = io.BytesIO()
    lines = [line for line in CORPUS.splitlines() if line.strip()] + ["東京 é ﬁ Москва"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        minloglevel=2,
        hard_vocab_limit=False,
        num_threads=1,
        **{"vocab_size": 500} | options,
    )
    output.write_bytes(model.getvalue())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--random", type=int, default=0, help="number of models with random options")
    parser.add_argument("--output", type=Path, default=TESTS / "golden/sentencepiece")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw = random.Random(arguments.seed)
    kinds = {f"random-{n}": random_options(draw) for n in range(arguments.random)} or FIXED
    texts = AWKWARD + [random_text(draw) for _ in range(40 if arguments.random == 0 else 300)]
    recorded = []
    for name, options in kinds.items():
        path = arguments.output / f"{name}.model"
        train(options, path)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        # Text that spells a control token is encoded apart in every tokenizer with added tokens.
        plain = [text for text in texts if not any(token in text for token in ["<s>", "</s>", "<unk>", "<ctrl>"])]
        recorded.append({"name": name, "texts": plain, "ids": [processor.encode(text) for text in plain]})
    lines = ",\n".join(json.dumps(model, ensure_ascii=False) for model in recorded)
    (arguments.output / "cases.json").write_text(f'{{"models": [\n{lines}\n]}}\n')
    print(f"{len(recorded)} models in {arguments.output}")


if __name__ == "__main__":
    main()
