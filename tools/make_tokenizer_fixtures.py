#!/usr/bin/env python3
"""Make random tokenizer configurations, and record the ids that transformers gives with them.

Each case is a checkpoint without weights: a `tokenizer.json` of the test checkpoints, changed, and the files
that override parts of it. The cases in `tests/golden/tokenizers` are those of the default options. For a
longer run:

    python tools/make_tokenizer_fixtures.py --seed 1 --cases 5000 --output /tmp/tokenizers.json
    TOKENIZER_CASES=/tmp/tokenizers.json cargo test --lib builder::tokenizer

`classes.json` has cases for each class that assembles a tokenizer of its own, whatever the file has.
"""

import argparse
import copy
import json
import logging
import random
import tempfile
from pathlib import Path

from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from fixtures.files import TESTS

# The tokenizer.json of a case, relative to `tests`, and its model types.
BASES = {
    "checkpoints/llama3-tiny": ["llama", "llama", "qwen2", "mistral", "nemotron", "olmo2"],
    "checkpoints/llama2-tiny": ["llama", "llama", "mistral", "gemma2", "phi3", "internlm2"],
    "checkpoints/qwen2-tiny": ["qwen2", "qwen3", "llama"],
    "prompts/gemma2": ["gemma2", "gemma3_text", "llama"],
    "prompts/mistral": ["mistral", "llama"],
}
CLASSES = [
    None,
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "Qwen2Tokenizer",
    "GemmaTokenizer",
    "HouseTokenizer",
]
NEW = ["<|im_start|>", "<|im_end|>", "<image>", "[STEP]", "River", "river", "ab", "ь", "<sep>x", "<sep>", "tok en"]
OLD = ["<s>", "</s>", "<unk>", "<|eot_id|>", "<|endoftext|>", "<|begin_of_text|>", "the", "▁the", "\n"]
NAMED = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
SPECIFIC = ["image_token", "step_token", "end_of_turn_token"]
TEXT = [
    " ", "  ", "\n", "\n\n", "\t", ".", "!", "the river", " the", "The", "River bank", "riverside", "ab", "abc",
    "é", "e\u0301", "ﬁ", "東京", "🗼", "1234", "don't", "_", "▁", "ＡＢ", "x", "İ", "\u00a0", "a",
]  # fmt: skip


class Case:
    """Draws one configuration."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def maybe(self, probability=0.5):
        return self.random.random() < probability

    def content(self):
        return self.random.choice(NEW if self.maybe(0.7) else OLD)

    def flags(self):
        flags = {name: self.maybe(0.25) for name in ["lstrip", "rstrip", "single_word", "normalized"]}
        return flags | {"special": self.maybe(0.6)}

    def token(self):
        return {"content": self.content()} | self.flags()

    def given(self):
        if self.maybe(0.6):
            return self.content()
        return {"__type": "AddedToken"} | self.token()

    def distinct(self, count):
        tokens = {}
        for _ in range(count):
            token = self.token()
            tokens[token["content"]] = token
        return list(tokens.values())

    def config(self):
        config = {}
        for name in NAMED:
            if self.maybe(0.25):
                config[name] = None if self.maybe(0.1) else self.given()
        for name in SPECIFIC:
            if self.maybe(0.1):
                config[name] = self.given()
        if self.maybe(0.3):
            name = self.random.choice(["extra_special_tokens", "additional_special_tokens"])
            config[name] = [self.given() for _ in range(self.random.randint(0, 3))]
        elif self.maybe(0.2):
            config["extra_special_tokens"] = {name: self.given() for name in SPECIFIC if self.maybe()}
        if self.maybe(0.5):
            ids = self.random.sample(range(0, 720), 5)
            config["added_tokens_decoder"] = {str(id): token for id, token in zip(ids, self.distinct(3))}
        for name in ["add_bos_token", "add_eos_token", "add_prefix_space", "legacy"]:
            if self.maybe(0.2):
                config[name] = self.maybe()
        tokenizer_class = self.random.choice(CLASSES)
        if tokenizer_class:
            config["tokenizer_class"] = tokenizer_class
        return config

    def special_tokens_map(self):
        tokens = {name: self.random.choice([self.content(), self.token()]) for name in NAMED if self.maybe(0.2)}
        for token in tokens.values():
            if isinstance(token, dict):
                token.pop("special")
        if self.maybe(0.3):
            name = self.random.choice(["extra_special_tokens", "additional_special_tokens"])
            tokens[name] = [self.content() for _ in range(self.random.randint(0, 3))]
        return tokens

    def changes(self):
        """Changes to fields of tokenizer.json."""
        changes = {}
        if self.maybe(0.3):
            next_id = self.random.randint(590, 720)
            changes["added_tokens"] = [{"id": next_id + n} | token for n, token in enumerate(self.distinct(3))]
        if self.maybe(0.1):
            changes["normalizer"] = self.random.choice([{"type": "Lowercase"}, {"type": "NFKC"}])
        if self.maybe(0.1):
            changes["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        if self.maybe(0.1):
            changes["padding"] = {
                "strategy": {"Fixed": 8}, "direction": "Left", "pad_to_multiple_of": None,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>",
            }  # fmt: skip
        return changes

    def text(self):
        pieces = [self.random.choice(TEXT + NEW + OLD) for _ in range(self.random.randint(1, 8))]
        return "".join(pieces)

    def draw(self):
        base = self.random.choice(list(BASES))
        files = {}
        if self.maybe(0.9):
            files["tokenizer_config.json"] = self.config()
        if self.maybe(0.3):
            files["special_tokens_map.json"] = self.special_tokens_map()
        if self.maybe(0.2):
            files["added_tokens.json"] = {token["content"]: 650 + n for n, token in enumerate(self.distinct(3))}
        return {
            "base": base,
            "model_type": self.random.choice(BASES[base]),
            "changes": self.changes(),
            "files": files,
            "texts": [self.text() for _ in range(6)],
        }


# Parts of tokenizer.json that no class has.
ODD = {
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
    "pre_tokenizer": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    },
}
ODD_TEXTS = [
    "Hello  World 12345, it's   don't\n\n x_y",
    "Ünïcode — e\u0301 漢字 ﬁ  ok\t😀 A.B.C ",
    " lead <|eot_id|> [SEP] </s> 3.14\r\n\r\n ok",
]
# Base, model types and classes; None for a tokenizer_config.json without tokenizer_class.
CLASS_CASES = [
    (
        "llama3-tiny",
        ["llama"],
        ["GPT2Tokenizer", "GPTNeoXTokenizerFast", "CohereTokenizer", "CohereTokenizerFast", "RobertaTokenizer"]
        + ["BartTokenizer", "CodeGenTokenizer", "HouseTokenizer", "BloomTokenizerFast"],
    ),
    (
        "llama3-tiny",
        ["gpt2", "gpt_neox", "cohere", "olmoe", "qwen2_moe", "qwen3_moe", "granite", "olmo3", "glm", "glm4", "mixtral"],
        [None, "GPT2Tokenizer"],
    ),
    ("llama2-tiny", ["mixtral", "mistral"], ["LlamaTokenizer"]),
    (
        "bert-tiny",
        ["bert"],
        [None, "BertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "DistilBertTokenizerFast"]
        + ["PreTrainedTokenizerFast", "TokenizersBackend"],
    ),
    ("deberta-tiny", ["deberta-v2"], [None, "DebertaV2TokenizerFast"]),
    ("roberta-tiny", ["roberta"], [None, "RobertaTokenizerFast", "LongformerTokenizer"]),
    ("xlm-roberta-tiny", ["xlm-roberta"], [None, "XLMRobertaTokenizer", "XLMRobertaTokenizerFast"]),
]


def class_cases():
    """Every class on a file with odd parts: with and without named tokens, and with a prefix space."""
    for base, model_types, classes in CLASS_CASES:
        directory = TESTS / "checkpoints" / base
        config = json.loads((directory / "tokenizer_config.json").read_text())
        for name in ["tokenizer_class", "model_input_names", "chat_template"]:
            config.pop(name, None)
        unnamed = {name: value for name, value in config.items() if name not in NAMED}
        for model_type in model_types:
            for name in classes:
                named = {"tokenizer_class": name} if name else {}
                configs = [config | named, unnamed | named, config | named | {"add_prefix_space": True}]
                for tokenizer_config in configs if model_type in base or model_type == "llama" else configs[:1]:
                    yield {
                        "base": f"checkpoints/{base}",
                        "model_type": model_type,
                        "changes": ODD,
                        "files": {"tokenizer_config.json": tokenizer_config},
                        "texts": ODD_TEXTS,
                    }
    yield {
        "base": "checkpoints/llama3-tiny",
        "model_type": "llama",
        "tokenizer_class": "Qwen2Tokenizer",
        "changes": ODD,
        "files": {},
        "texts": ODD_TEXTS,
    }


def load(case, folder):
    """The tokenizer of a case, as transformers loads it."""
    tokenizer = json.loads((TESTS / case["base"] / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | copy.deepcopy(case["changes"])))
    (folder / "config.json").write_text(json.dumps({name: case[name] for name in ["model_type", "tokenizer_class"] if name in case}))
    for name, content in case["files"].items():
        (folder / name).write_text(json.dumps(content))
    return AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, text):
    """The ids of a text; None if the tokenizer fails on it, as without a token for unknown words."""
    try:
        return tokenizer.encode(text, add_special_tokens=False)
    except Exception:
        return None


def record(case):
    """Adds what transformers gives; None if it cannot load the case."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            tokenizer = load(case, Path(folder))
        except Exception as error:
            logging.info("left out, since transformers fails: %s", error)
            return None
    ids = [encode(tokenizer, text) for text in case["texts"]]
    added = {token.content: id for id, token in tokenizer.added_tokens_decoder.items()}
    segments = {"segments": "token_type_ids" in tokenizer("a", "b")} if "bert" in case["base"] else {}
    return case | segments | {"ids": ids, "added": added, "special_tokens": tokenizer.special_tokens_map}


def write(recorded, path):
    """Write cases, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in recorded)
    path.write_text(f'{{"cases": [\n{lines}\n]}}\n')
    print(f"{len(recorded)} cases in {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--output", type=Path, default=TESTS / "golden/tokenizers/random.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    transformers_logging.set_verbosity_error()
    recorded = []
    for number in range(options.cases):
        case = record(Case(f"{options.seed}.{number}").draw())
        if case:
            recorded.append(case)
    write(recorded, options.output)
    write([case for case in map(record, class_cases()) if case], options.output.with_name("classes.json"))


if __name__ == "__main__":
    main()
