#!/usr/bin/env python3
"""Make the small checkpoints of encoders with a classifier, with golden scores and pairs.

Goes with `make_test_checkpoints.py`, whose corpus and file formats it shares. The
tokenizers are trained here and saved by transformers' own classes; scores and the ids of
pairs are those of transformers. See tests/golden/README.md.
"""

import argparse
import json
import shutil
from pathlib import Path

import make_test_checkpoints as common
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# Heads of 24 fill no whole register.
SIZES = {
    "hidden_size": 72,
    "intermediate_size": 104,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "torch_dtype": "bfloat16",
}


# ---------------------------------------------------------------------------
# Tokenizers
# ---------------------------------------------------------------------------


def unigram(specials, pre_tokenizer):
    """Pieces and scores of a Unigram model trained on the corpus."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=520, special_tokens=specials, unk_token=specials[1], show_progress=False
    )
    tokenizer.train_from_iterator(common.corpus_lines(), trainer)
    vocab = dict(tokenizer.get_vocab())
    by_id = sorted(vocab, key=vocab.get)
    # A score of its own for each piece, whatever the trainer's order of ties.
    return [(p, 0.0) if p in specials else (p, -4.0 - i / 100) for i, p in enumerate(by_id)]


def deberta_tokenizer():
    """As microsoft/deberta-v3-large has it."""
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    pieces = unigram(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], pre_tokenizers.Metaspace())
    rest = [piece for piece in pieces if piece[0] not in specials]
    vocab = [(token, 0.0) for token in specials[:4]] + rest + [("[MASK]", 0.0)]
    return DebertaV2Tokenizer(vocab=vocab, unk_id=3)


def xlm_roberta_tokenizer():
    """As FacebookAI/xlm-roberta-base has it."""
    pieces = unigram(["<pad>", "<unk>", "<s>", "</s>", "<mask>"], pre_tokenizers.Metaspace())
    rest = [piece for piece in pieces if piece[0] not in ROBERTA_SPECIALS]
    vocab = [(token, 0.0) for token in ROBERTA_SPECIALS[:4]] + rest + [("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocab)


def bert_tokenizer():
    """As google-bert/bert-base-uncased has it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=520, special_tokens=BERT_SPECIALS, show_progress=False, limit_alphabet=200
    )
    tokenizer.train_from_iterator(common.corpus_lines(), trainer)
    # The trainer numbers pieces of equal counts in any order.
    vocab = BERT_SPECIALS + sorted(set(tokenizer.get_vocab()) - set(BERT_SPECIALS))
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(vocab)}, do_lower_case=True)


def byte_level(specials):
    """Vocabulary and merges of a byte-level BPE trained on the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        special_tokens=specials,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(common.corpus_lines(), trainer)
    return tokenizer


def roberta_tokenizer():
    """As FacebookAI/roberta-base has it."""
    trained = byte_level(ROBERTA_SPECIALS)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return RobertaTokenizer(vocab=model["vocab"], merges=merges)


def modernbert_tokenizer():
    """As answerdotai/ModernBERT-base has it."""
    tokenizer = byte_level(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


# ---------------------------------------------------------------------------
# Checkpoints
# ---------------------------------------------------------------------------

DEBERTA = {
    "architecture": "DebertaV2ForSequenceClassification",
    "tokenizer": deberta_tokenizer,
    "attention": "eager",
    "config": {
        "model_type": "deberta-v2",
        "layer_norm_eps": 1e-7,
        "max_position_embeddings": 96,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "pooler_dropout": 0,
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": 72,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        # Most of the texts are longer than what has a bucket of its own.
        "position_buckets": 18,
        "relative_attention": True,
        "share_att_key": True,
        "type_vocab_size": 0,
    },
}
MODERNBERT = {
    "architecture": "ModernBertForSequenceClassification",
    "tokenizer": modernbert_tokenizer,
    "config": {
        "model_type": "modernbert",
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_pooling": "cls",
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        # No multiple of a block or a tile.
        "local_attention": 26,
        "max_position_embeddings": 1024,
        "norm_eps": 1e-5,
        "norm_bias": False,
        "num_hidden_layers": 4,
    },
}
ENCODERS = {
    "deberta-tiny": {**DEBERTA, "seed": 71},
    # As the first versions have it: nothing is shared, and positions are added to the input.
    "deberta-apart": {
        **DEBERTA,
        "seed": 79,
        "labels": ["helpful", "harmless"],
        "config": {
            **DEBERTA["config"],
            "max_position_embeddings": 420,
            "max_relative_positions": 50,
            "norm_rel_ebd": "none",
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": True,
            "position_buckets": -1,
            "share_att_key": False,
            "type_vocab_size": 2,
        },
    },
    "bert-tiny": {
        "seed": 73,
        "architecture": "BertForSequenceClassification",
        "tokenizer": bert_tokenizer,
        "config": {
            "model_type": "bert",
            "layer_norm_eps": 1e-12,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
        },
    },
    "roberta-tiny": {
        "seed": 74,
        "architecture": "RobertaForSequenceClassification",
        "tokenizer": roberta_tokenizer,
        "padding": True,
        "config": {
            "model_type": "roberta",
            "layer_norm_eps": 1e-5,
            "max_position_embeddings": 403,
            "type_vocab_size": 1,
        },
    },
    "xlm-roberta-tiny": {
        "seed": 75,
        "architecture": "XLMRobertaForSequenceClassification",
        "tokenizer": xlm_roberta_tokenizer,
        "config": {
            "model_type": "xlm-roberta",
            "layer_norm_eps": 1e-5,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
        },
    },
    "modernbert-tiny": {**MODERNBERT, "seed": 76},
    "modernbert-mean": {
        **MODERNBERT,
        "seed": 77,
        "config": {**MODERNBERT["config"], "classifier_pooling": "mean", "num_hidden_layers": 2},
    },
}


def make_config(spec, tokenizer):
    """The whole config.json, laid out as published ones are."""
    config = {**SIZES, **spec["config"], "architectures": [spec["architecture"]]}
    config["vocab_size"] = len(tokenizer)
    for key in ("pad", "cls", "sep"):
        config[f"{key}_token_id"] = getattr(tokenizer, f"{key}_token_id")
    labels = spec.get("labels", ["LABEL_0"])
    config["id2label"] = {str(i): name for i, name in enumerate(labels)}
    config["label2id"] = {name: i for i, name in enumerate(labels)}
    return config


def random_tensor(name, shape, rng):
    """Random values whose size keeps the scores spread and all parts at work."""
    values = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("bias"):
        return 0.3 * values
    if len(shape) == 1:
        return 1.0 + 0.25 * values
    if "embed" in name:
        return 0.7 * values
    gain = 1.4 if "classifier" in name or "head." in name or "pooler" in name else 1.2
    # Tokens that choose among others, so that each of them counts.
    gain = 2.0 if "query" in name or "key" in name or "Wqkv" in name else gain
    return gain / np.sqrt(shape[1], dtype=np.float32) * values


def make_tensors(spec, directory):
    """All tensors of a checkpoint, from its seed, rounded to bfloat16."""
    rng = np.random.Generator(np.random.PCG64(spec["seed"]))
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(directory))
    tensors = {}
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith("_ids"):
            continue
        values = random_tensor(name, tuple(tensor.shape), rng)
        tensors[name] = torch.from_numpy(values).to(torch.bfloat16).contiguous()
    return tensors


def make_checkpoint(spec, directory):
    """Write a whole checkpoint directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tokenizer = spec["tokenizer"]()
    tokenizer.save_pretrained(directory)
    config = make_config(spec, tokenizer)
    common.write_json(directory / "config.json", config, indent=2)
    common.save_weights(make_tensors(spec, directory), directory, 1)
    return AutoTokenizer.from_pretrained(directory), config


# ---------------------------------------------------------------------------
# Golden scores
# ---------------------------------------------------------------------------


def sequences(spec, tokenizer, config):
    """Random ids of the chosen lengths between the tokens of a pair."""
    rng = np.random.Generator(np.random.PCG64(1000 + spec["seed"]))
    kept_out = set(tokenizer.all_special_ids)
    if spec.get("padding"):
        kept_out.remove(tokenizer.pad_token_id)
    choice = [i for i in range(config["vocab_size"]) if i not in kept_out]
    cases = []
    for length in common.LENGTHS:
        ids = [int(i) for i in rng.choice(choice, length)]
        ids[0] = tokenizer.cls_token_id
        if length > 2:
            ids[-1] = tokenizer.sep_token_id
        if length > 4 and length != 33:
            ids[length // 3] = tokenizer.sep_token_id
        cases.append(ids)
    return cases


def segments(ids, tokenizer, config):
    """As the tokenizer gives them for a pair."""
    if config.get("type_vocab_size", 0) < 2:
        return [0] * len(ids)
    first = ids.index(tokenizer.sep_token_id) if tokenizer.sep_token_id in ids else len(ids)
    return [int(i > first) for i in range(len(ids))]


def scorer(spec, directory, tokenizer, config, dtype):
    """What scores one sequence of ids."""
    attention = spec.get("attention", "eager" if dtype == torch.float32 else "sdpa")
    model = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=dtype, attn_implementation=attention
    ).eval()
    assert next(model.parameters()).dtype == dtype

    def score(ids):
        given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if config["model_type"] != "modernbert":
            given["token_type_ids"] = torch.tensor([segments(ids, tokenizer, config)])
        with torch.inference_mode():
            return [float(v) for v in model(**given).logits[0].float()]

    return score


def check(score, cases):
    """Assert that scores are spread and depend on tokens, order and segments."""
    spread = np.array([case["f32"] for case in cases]).std(axis=0).mean()
    assert 0.1 < spread < 3, spread
    base = next(case for case in cases if len(case["ids"]) >= 127)
    ids = base["ids"]
    for changed in (ids[:5] + [9] + ids[6:], ids[:1] + ids[64:126] + ids[1:64] + ids[126:]):
        moved = max(abs(a - b) for a, b in zip(score(changed), base["f32"]))
        assert moved > 1e-3, moved


CONVERSATIONS = [
    [("user", "What is 2 + 3?"), ("assistant", "It is 5.")],
    [("user", "Le café est-il   agréable?\nOui,\tje crois."), ("assistant", "Very good!  I think so 🙂\n")],
    [("user", "  leading and trailing  "), ("assistant", "  both  ")],
    [("user", "A question without an answer")],
    [("user", "你好，世界。"), ("assistant", "")],
    [("system", "Be brief."), ("user", "One?"), ("assistant", "Two."), ("user", "Three?"), ("assistant", "Four.")],
    [("user", "It's fine; they'll come"), ("assistant", "ﬁne ½ Ⅷ e\u0301te\u0301")],
]


def pairs(tokenizer):
    """Conversations and the ids that transformers gives for them as pairs of texts."""
    cases = []
    for turns in CONVERSATIONS:
        texts = [text for _, text in turns]
        answered = len(turns) > 1
        prompt = "\n".join(texts[:-1] if answered else texts)
        ids = tokenizer(prompt, texts[-1]) if answered else tokenizer(prompt)
        messages = [{"role": role, "content": text} for role, text in turns]
        cases.append({"messages": messages, "ids": ids["input_ids"]})
    # Text that spells a control token is text.
    spelled = [f"a {tokenizer.sep_token} b", f"{tokenizer.cls_token}c{tokenizer.pad_token}"]
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    framed = tokenizer("a", "a")["input_ids"]
    text = tokenizer("a", add_special_tokens=False)["input_ids"]
    first = next(i for i in range(len(framed)) if framed[i : i + len(text)] == text)
    second = len(framed) - 1 - len(text)
    parts = [backend.encode(part, add_special_tokens=False).ids for part in spelled]
    if any(id in tokenizer.all_special_ids for part in parts for id in part):
        # The vocabulary of a Unigram model has them as pieces, and spells them itself.
        return cases
    ids = framed[:first] + parts[0] + framed[first + len(text) : second] + parts[1] + framed[-1:]
    messages = [{"role": r, "content": t} for r, t in zip(("user", "assistant"), spelled)]
    return cases + [{"messages": messages, "ids": ids}]


def main():
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=common.HERE.parent / "tests")
    parser.add_argument("--only", choices=sorted(ENCODERS), help="make one checkpoint only")
    args = parser.parse_args()
    common.check_versions()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name, spec in ENCODERS.items():
        if args.only not in (None, name):
            continue
        directory = args.root / "checkpoints" / name
        tokenizer, config = make_checkpoint(spec, directory)
        full = scorer(spec, directory, tokenizer, config, torch.float32)
        half = scorer(spec, directory, tokenizer, config, torch.bfloat16)
        drawn = sequences(spec, tokenizer, config)
        cases = [{"ids": ids, "f32": full(ids), "bf16": half(ids)} for ids in drawn]
        check(full, cases)
        labels = spec.get("labels", ["LABEL_0"])
        common.write_cases(args.root / "golden" / "scores" / f"{name}.json", {"cases": cases}, {"labels": labels})
        common.write_cases(args.root / "golden" / "pairs" / f"{name}.json", {"cases": pairs(tokenizer)})
        print(name)


if __name__ == "__main__":
    main()
