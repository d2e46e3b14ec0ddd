#!/usr/bin/env python3
"""Make the small checkpoints of encoders with a classifier, with golden scores and pairs.

The tokenizers are trained here and saved by transformers' own classes; scores and the ids of
pairs are those of transformers. See tests/golden/README.md.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from fixtures.encoders import ENCODERS, SIZES
from fixtures.files import TESTS, check_versions, write_cases, write_json
from fixtures.scores import LENGTHS, make_repeatable
from fixtures.weights import save_weights


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
    write_json(directory / "config.json", config, indent=2)
    save_weights(make_tensors(spec, directory), directory, 1)
    return AutoTokenizer.from_pretrained(directory), config


def sequences(spec, tokenizer, config):
    """Random ids of the chosen lengths between the tokens of a pair."""
    rng = np.random.Generator(np.random.PCG64(1000 + spec["seed"]))
    kept_out = set(tokenizer.all_special_ids)
    if spec.get("padding"):
        kept_out.remove(tokenizer.pad_token_id)
    choice = [i for i in range(config["vocab_size"]) if i not in kept_out]
    cases = []
    for length in LENGTHS:
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
    parser.add_argument("--root", type=Path, default=TESTS)
    parser.add_argument("--only", choices=sorted(ENCODERS), help="make one checkpoint only")
    args = parser.parse_args()
    check_versions()
    make_repeatable()
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
        write_cases(args.root / "golden" / "scores" / f"{name}.json", {"cases": cases}, {"labels": labels})
        write_cases(args.root / "golden" / "pairs" / f"{name}.json", {"cases": pairs(tokenizer)})
        print(name)


if __name__ == "__main__":
    main()
