"""Training on groups of answers to one prompt."""

import math
import random
import re
import time

import torch
from torch.nn import functional as F

from .faults import BAD, spoil, targets
from .model import END, collate, fit, render
from .prompts import first_sentences, make_example

SYLLABLES = [
    c + v
    for c in "b d f g k l m n p r s t v z br st tr pl ch sh".split()
    for v in "a e i o u ai ea on er in".split()
]


class Disguise:
    """Replace the rarer words of a group by invented ones, consistently.

    Training text is medicine and sums only. In disguise, a match between a
    prompt and an answer cannot be known from the subject; it has to be seen
    from the words that both share.
    """

    def __init__(self, rng, pool):
        self.rng, self.pool, self.map = rng, pool, {}

    def word(self, match):
        word = match.group(0)
        low = word.lower()
        if low in self.pool.common:
            return word
        if low not in self.map:
            self.map[low] = "".join(self.rng.choices(SYLLABLES, k=self.rng.randint(2, 4)))
        new = self.map[low]
        return new.capitalize() if word[0].isupper() else new

    def __call__(self, text):
        return re.sub(r"[A-Za-z]{4,}", self.word, text)


def make_group(rng, pool, bad_per_good=3):
    """A conversation with several answers: [(messages, answer, kind, targets)]."""
    example = make_example(rng, rng.choice(pool.items), pool)
    answers = [(example.kind, example.good)]
    if example.kind == "full" and rng.random() < 0.3:
        answers.append(("short", first_sentences(rng, example.item.answer, 1, 3)))
    if rng.random() < 0.02:
        return None
    kinds = list(BAD)
    weights = [BAD[kind][1] for kind in kinds]
    if example.wrong and rng.random() < 0.5:
        answers.append(("wrong result", example.wrong))
    while len(answers) < bad_per_good + 1:
        kind = rng.choices(kinds, weights)[0]
        text = spoil(rng, example, pool, kind)
        if text is not None:
            answers.append((kind, text))
    values = [targets(kind, text) for kind, text in answers]
    messages = example.messages
    if rng.random() < 0.2:
        disguise = Disguise(rng, pool)
        messages = [{**m, "content": disguise(m["content"])} for m in messages]
        answers = [(kind, disguise(text)) for kind, text in answers]
    return [
        (messages, text, kind, value) for (kind, text), value in zip(answers, values, strict=True)
    ]


def batches(rng, tokenizer, pool, groups):
    """Endless lists of groups: [[(ids, targets)]]."""
    end = tokenizer.token_to_id(END)
    while True:
        made = [group for group in (make_group(rng, pool) for _ in range(groups)) if group]
        texts = [render(messages, answer) for group in made for messages, answer, _, _ in group]
        ids = iter(
            [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
        )
        limit = 1536 if rng.random() < 0.1 else 1024
        yield [[(fit(next(ids), end, limit), row[3]) for row in group] for group in made]


def hidden_states(model, ids):
    """With padding on the right and causal attention no mask is needed."""
    with torch.autocast("cpu", torch.bfloat16):
        return model.model(ids, use_cache=False).last_hidden_state


def last_states(model, sequences, budget=4096):
    """The state at each last token; sequences come sorted by length."""
    out, part = [], []
    for sequence in [*sequences, None]:
        if part and (
            sequence is None
            or len(sequence) * (len(part) + 1) > budget
            or len(sequence) > 1.3 * len(part[0]) + 16
        ):
            ids, last = collate(part)
            out.append(hidden_states(model, ids)[torch.arange(len(part)), last].float())
            part = []
        part.append(sequence)
    return torch.cat(out)


def reward_loss(scores, wanted, groups):
    """Distance to the targets, and the order of the answers within each group."""
    weight = torch.tensor([1.0, 0.7, 0.7, 0.3, 0.3])
    loss = (F.smooth_l1_loss(scores, wanted, beta=0.5, reduction="none") * weight).mean()
    same = groups[:, None] == groups[None, :]
    order = scores.new_zeros(())
    for column, gap in ((0, 0.25), (1, 0.5), (2, 0.5)):
        better = same & (wanted[:, None, column] - wanted[None, :, column] > gap)
        difference = scores[:, None, column] - scores[None, :, column]
        if better.any():
            order = order + F.softplus(-2.0 * difference[better]).mean() * (
                0.5 if column == 0 else 0.2
            )
    return loss + order


def optimizer_for(model, rate):
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def set_rate(optimizer, rate, step, progress, warm=60):
    """Rise over the first steps, then fall along a cosine as progress goes to 1."""
    fall = 0.02 + 0.49 * (1 + math.cos(math.pi * progress))
    value = rate * min(1.0, (step + 1) / warm) * fall
    for group in optimizer.param_groups:
        group["lr"] = value


def train(model, tokenizer, pool, args, watch):
    """Learn to score."""
    rng = random.Random(args.seed)
    source = batches(rng, tokenizer, pool, args.groups)
    optimizer, started, average, seen = optimizer_for(model, args.rate), time.time(), None, 0
    for step in range(args.steps):
        progress = max(step / args.steps, (time.time() - started) / (60 * args.minutes))
        if progress >= 1:
            break
        rows = [(ids, value, g) for g, group in enumerate(next(source)) for ids, value in group]
        rows.sort(key=lambda row: len(row[0]))
        wanted = torch.tensor([row[1] for row in rows])
        groups = torch.tensor([row[2] for row in rows])
        set_rate(optimizer, args.rate, step, progress)
        scores = model.score(last_states(model, [row[0] for row in rows]))
        loss = reward_loss(scores, wanted, groups)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen += len(rows)
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if step % 20 == 19:
            place, passed = f"step {step + 1}/{args.steps}", f"{time.time() - started:.0f} s"
            print(f"{place} loss {average:.3f} answers {seen} {passed}", flush=True)
        if step % args.watch == args.watch - 1 and step + 1 < args.steps:
            watch(model)
    print(f"{seen} answers", flush=True)
