"""Evaluation of the model, and the tables in its model card."""

import gzip
import json
import random
import re
import tarfile
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from .data import Pool, read_items
from .faults import BAD, UNSEEN, spoil
from .model import END, LABELS, collate, fit
from .prompts import Example, plain_question


@torch.no_grad()
def score_texts(model, tokenizer, conversations):
    """Scores of whole conversations, through the chat template, in 32-bit floats."""
    if isinstance(model, Served):
        return model.score_texts(tokenizer, conversations)
    end, limit = tokenizer.convert_tokens_to_ids(END), model.config.max_position_embeddings
    encoded = [
        tokenizer.apply_chat_template(c, add_generation_prompt=False, return_dict=False)
        for c in conversations
    ]
    rows_of = defaultdict(list)  # the same conversation is scored once
    for row, ids in enumerate(encoded):
        rows_of[tuple(fit(ids, end, limit))].append(row)
    encoded, places = list(rows_of), list(rows_of.values())
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    scores = torch.zeros(sum(map(len, places)), len(LABELS))
    at = 0
    while at < len(order):
        size = max(1, 8192 // len(encoded[order[min(at + 31, len(order) - 1)]]))
        rows = order[at : at + min(32, size)]
        ids, last = collate([encoded[i] for i in rows], model.config.pad_token_id)
        mask = (torch.arange(ids.shape[1])[None, :] <= last[:, None]).long()
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        for row, value in zip(rows, logits, strict=True):
            scores[places[row]] = value
        at += len(rows)
    return scores.numpy()


class Served:
    """Scores from a running server in place of the model, to evaluate an engine of any type."""

    def __init__(self, url, limit):
        self.url, self.limit = url, limit

    def shortened(self, tokenizer, conversation):
        """The conversation, its last turn cut at the end until the server accepts it."""
        ids = tokenizer.apply_chat_template(conversation, return_dict=False)
        surplus = len(ids) - self.limit
        if surplus <= 0:
            return conversation
        last = conversation[-1]
        content = tokenizer.encode(last["content"], add_special_tokens=False)
        cut = tokenizer.decode(content[: max(0, len(content) - surplus - 8)])
        return [*conversation[:-1], {**last, "content": cut}]

    def score(self, conversation):
        body = json.dumps({"model": "demo", "messages": conversation}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", body, headers)
        with urllib.request.urlopen(request) as answer:
            content = json.load(answer)["choices"][0]["message"]["content"]
        return [float(pair.split(":")[1]) for pair in content.split(",")]

    def score_texts(self, tokenizer, conversations):
        short = [self.shortened(tokenizer, c) for c in conversations]
        with ThreadPoolExecutor(32) as pool:
            return np.array(list(pool.map(self.score, short)), dtype=np.float32)


def compare(model, tokenizer, pairs):
    """Share of (better, worse) conversations in the right order. A tie is an error."""
    scores = score_texts(model, tokenizer, [c for pair in pairs for c in pair])[:, 0]
    return scores[0::2] > scores[1::2]


def talk(prompt, answer):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def held_out_pairs(items, seed, limit):
    """{kind: [(good, bad)]} from held-out items, the bad made from held-out text."""
    rng, pool, out = random.Random(seed), Pool(items), defaultdict(list)
    chosen = rng.sample(items, min(limit, len(items)))
    for item in chosen:
        prompt = plain_question(item.prompt)
        example = Example(item, [{"role": "user", "content": prompt}], item.answer)
        for kind in [*BAD, *UNSEEN]:
            text = spoil(rng, example, pool, kind)
            if text is not None:
                out[kind].append((talk(prompt, item.answer), talk(prompt, text)))
    return out


def right_wrong_pairs(items):
    """Held-out sums with a right and a wrong solution by a model."""
    rows = [i for i in items if i.source == "gsm8k_model_solutions" and i.wrong]
    return [(talk(i.prompt, i.answer), talk(i.prompt, w)) for i in rows for w in i.wrong]


def read_predictions(archive, name):
    with tarfile.open(archive) as tar:
        lines = tar.extractfile(f"./{name}_predictions.jsonl").read().decode().splitlines()
    return [json.loads(line) for line in lines]


def instruction_prompt(row):
    return row["instruction"] + (f"\n\nInput: {row['input']}" if row["input"].strip() else "")


def self_instruct_pairs(archive, same_length=False):
    """text-davinci-003 against davinci on the same instructions."""
    better, worse = (read_predictions(archive, n) for n in ("text-davinci-003", "davinci"))
    pairs = []
    for good, bad in zip(better, worse, strict=True):
        assert good["instruction"] == bad["instruction"] and good["input"] == bad["input"]
        one, two = good["response"].strip(), bad["response"].strip()
        if same_length:
            two = two[: len(one)]
        if one != two:
            prompt = instruction_prompt(good)
            pairs.append((talk(prompt, one), talk(prompt, two)))
    return pairs


HH_DIALOGUES = 500


def hh_pairs(path):
    """First dialogues of the harmlessness test: the chosen against the rejected."""

    def turns(text):
        parts = re.split(r"\n\n(Human|Assistant): ?", text)[1:]
        roles = {"Human": "user", "Assistant": "assistant"}
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return [{"role": roles[r], "content": c.strip()} for r, c in pairs]

    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:HH_DIALOGUES]
    return [(turns(row["chosen"]), turns(row["rejected"])) for row in rows]


PARIS = "I am going to Paris, what should I see?"
PARIS_ANSWERS = [
    (
        "a good answer",
        "Ah, Paris, the City of Light! There are so many amazing things to see and do in this "
        "beautiful city. Here are some of the top attractions: the Eiffel Tower, the Louvre "
        "Museum, Notre-Dame Cathedral, the Arc de Triomphe and a walk along the Seine.",
    ),
    ("words in disorder", "paris paris is is see the the what should should"),
    (
        "another subject",
        "Affected individuals should have annual eye examinations to check their vision.",
    ),
    ("no answer", ""),
]


def held_out_figures(model, tokenizer, items, seed, limit):
    """[(kind, right, pairs)] for every kind of bad answer."""
    found = held_out_pairs(items, seed, limit)
    kinds = [kind for kind in [*BAD, *UNSEEN] if found[kind]]
    right = compare(model, tokenizer, [pair for kind in kinds for pair in found[kind]])
    rows, at = [], 0
    for kind in kinds:
        rows.append((kind, int(right[at : at + len(found[kind])].sum()), len(found[kind])))
        at += len(found[kind])
    return rows


def summed(rows, name, kinds):
    rows = [row for row in rows if row[0] in kinds]
    return name, sum(row[1] for row in rows), sum(row[2] for row in rows)


def measure(output, data, seed, limit, server=None):
    """All figures of the model card, from the checkpoint on disk."""
    tokenizer = AutoTokenizer.from_pretrained(output)
    model = AutoModelForSequenceClassification.from_pretrained(output, dtype=torch.float32).eval()
    if server:
        model = Served(server, model.config.max_position_embeddings)
    items = read_items(data / "qa_pairs.jsonl.gz")["test"]
    kinds = held_out_figures(model, tokenizer, items, seed, limit)
    figures = {"held out": kinds, "others": []}
    figures["others"].append(summed(kinds, "**all kinds seen in training**", BAD))
    figures["others"].append(summed(kinds, "kinds never trained on", UNSEEN))
    archive = data / "self_instruct_human_eval.tar.gz"
    pairs = self_instruct_pairs(archive)
    sets = [
        ("**text-davinci-003 over davinci**", pairs),
        ("the same, davinci cut to the other's length", self_instruct_pairs(archive, True)),
        ("GSM8K: right over wrong solution", right_wrong_pairs(items)),
        (
            "hh-rlhf harmlessness test, first 500: chosen over rejected",
            hh_pairs(data / "hh_rlhf_harmless_base_test.jsonl.gz"),
        ),
    ]
    for name, rows in sets:
        right = compare(model, tokenizer, rows)
        figures["others"].append((name, int(right.sum()), len(rows)))
    shorter = sum(len(a[-1]["content"]) < len(b[-1]["content"]) for a, b in pairs)
    figures["others"].append(
        ("no model: the shorter of text-davinci-003 and davinci", shorter, len(pairs))
    )
    scores = score_texts(model, tokenizer, [talk(PARIS, text) for _, text in PARIS_ANSWERS])
    figures["paris"] = list(zip(PARIS_ANSWERS, scores.tolist(), strict=True))
    return figures


def tables(figures):
    """The figures as Markdown."""

    def share(right, count):
        return f"{100 * right / max(1, count):.1f} %"

    lines = ["| comparison | right order | pairs |", "|---|---|---|"]
    lines += [f"| {name} | {share(right, n)} | {n} |" for name, right, n in figures["others"]]
    lines += [
        "",
        "Held-out answers against each kind of bad answer:",
        "",
        "| bad answer | good one ranked above | pairs |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name}{' (not in training)' if name in UNSEEN else ''} | {share(right, n)} | {n} |"
        for name, right, n in figures["held out"]
    ]
    lines += [
        "",
        f'Scores for the question "{PARIS}":',
        "",
        "| answer | " + " | ".join(LABELS) + " |",
        "|---|" + "---|" * len(LABELS),
    ]
    lines += [
        f'| {name}: "{text[:48]}{"..." if len(text) > 48 else ""}" | '
        + " | ".join(f"{v:.2f}" for v in row)
        + " |"
        for (name, text), row in figures["paris"]
    ]
    return "\n".join(lines)


def update_card(output, text):
    """Put the tables between the two marks of the model card, if there is one."""
    card = output / "README.md"
    if card.exists():
        old = card.read_text(encoding="utf-8")
        new = re.sub(
            r"(<!-- figures -->\n).*(<!-- end of figures -->)",
            lambda m: m.group(1) + text + "\n" + m.group(2),
            old,
            flags=re.S,
        )
        card.write_text(new, encoding="utf-8")
