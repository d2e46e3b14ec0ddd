"""Train the demonstration reward model in `engines/demo`, or measure it again.

The model is a small Llama with a five-value head: helpfulness, correctness,
coherence, complexity and verbosity, each on a scale of about 0 to 4. There are
no human ratings in its training data. Good answers come from MedQuAD and GSM8K;
the bad ones are made here, by spoiling good answers in many ways.

    python tools/train_demo_model.py                    # train, write, measure
    python tools/train_demo_model.py --evaluate-only    # measure what is there

The model card gives the options of the checkpoint that is in the repository.
Everything random is seeded. Sums in several threads are not ordered, so two
runs agree closely, not bit for bit.
"""

import argparse
import gzip
import hashlib
import json
import math
import random
import re
import tarfile
import time
import urllib.request
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

ROOT = Path(__file__).resolve().parent.parent
LABELS = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL = [PAD, BEGIN, END, *ROLES.values()]
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# The pre-tokenizer of Llama 3: words with their leading space, digits by threes.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MAX_POSITIONS = 2048
VOCABULARY = 6144


# ---------------------------------------------------------------- reading data


@dataclass
class Item:
    """A prompt with a good answer and, for some sums, wrong ones."""

    source: str
    prompt: str
    answer: str
    topic: str
    form: str
    wrong: list = field(default_factory=list)


QUESTION_FORMS = re.compile(
    r"^(what (?:is|are) \(are\)|what (?:is|are) the (?:symptoms|treatments|stages"
    r"|complications|outlook|genetic changes) (?:of|for|related to)"
    r"|how many people are affected by|who is at risk for"
    r"|do you have information about|what to do for|how to diagnose|how to prevent"
    r"|what research \(or clinical trials\) is being done for|what causes)\s+(.+)$",
    re.I,
)
INHERITED = re.compile(r"^is (.+) inherited$", re.I)


def topic_of(source, prompt):
    """What a question is about, and the form of the question."""
    text = prompt.strip().rstrip("? ")
    if source == "medquad":
        match = QUESTION_FORMS.match(text)
        if match:
            return match.group(2).strip(), match.group(1).lower()
        match = INHERITED.match(text)
        if match:
            return match.group(1).strip(), "is inherited"
    return text, source


def split_of(topic):
    """Put a whole topic in one split: 90 % training, 5 % development, 5 % test."""
    bucket = int(hashlib.sha256(topic.lower().encode()).hexdigest(), 16) % 20
    return {0: "test", 1: "dev"}.get(bucket, "train")


def clean_answer(text):
    """Strip an answer; end one that the data set cut at its last sentence."""
    text = text.strip()
    if len(text) >= 2990:
        ends = [m.end() for m in re.finditer(r"[.!?](?=\s)", text)]
        text = text[: ends[-1]] if ends else text
    return text


def read_items(path):
    """Read the question-answer pairs into {split: [Item]}."""
    splits = {"train": [], "dev": [], "test": []}
    wrong = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            answer, prompt = clean_answer(row["response"]), row["prompt"].strip()
            if row.get("correct") is False:
                wrong[prompt].append(answer)
            elif answer:
                topic, form = topic_of(row["source"], prompt)
                item = Item(row["source"], prompt, answer, topic, form)
                splits[split_of(topic)].append(item)
    for items in splits.values():
        for item in items:
            item.wrong = wrong.get(item.prompt, [])
    seen = {item.answer for item in splits["train"]}
    for name in ("dev", "test"):
        splits[name] = [item for item in splits[name] if item.answer not in seen]
    return splits


class Pool:
    """The items of a split, with the indexes that the makers of bad answers use."""

    def __init__(self, items, whole=0.15):
        self.items = items
        self.whole = whole  # how often an answer is used at its full length
        self.by_domain = defaultdict(list)
        self.by_form = defaultdict(list)
        self.by_topic = defaultdict(list)
        counts = Counter()
        for item in items:
            self.by_domain[domain(item)].append(item)
            self.by_form[item.form].append(item)
            self.by_topic[item.topic].append(item)
            counts.update(re.findall(r"[a-z]+", item.answer.lower()))
        self.common = {word for word, _ in counts.most_common(400)}
        self.words = [word for word, n in counts.items() if n >= 3 and len(word) >= 4]

    def another(self, rng, item, items=None):
        """An item other than this one, with another topic where there is one."""
        items = items or self.items
        for _ in range(8):
            other = rng.choice(items)
            if other.topic != item.topic and other.answer != item.answer:
                return other
        return rng.choice(self.items)


def domain(item):
    return "medicine" if item.source == "medquad" else "sums"


def sentences(text):
    """Split at the ends of sentences and lines."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9(\"'-])|\n+", text)
    return [part.strip() for part in parts if part.strip()]


# ------------------------------------------------------- prompts, good answers


@dataclass
class Example:
    """A conversation up to the answer, and what a good answer is."""

    item: Item
    messages: list
    good: str
    kind: str = "full"
    wrong: str = ""

    @property
    def prompt(self):
        return self.messages[-1]["content"]


def pick(rng, choices):
    """One of several texts, written with bars between them."""
    return rng.choice(choices.split("|"))


WRAPPERS = [
    "Question: {}",
    "Q: {}\nA:",
    "{}\n\nOutput:",
    "Please answer the following question.\n\n{}",
    "Answer the question below.\n\nInput: {}",
    "Answer the question below.\n\nInput: {}\nOutput:",
    "I have a question: {}",
    "Can you help me with this? {}",
    "{} Please explain.",
    "I would like to know more. {}",
    "Instruction: give a helpful answer.\nInput: {}",
]
SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "Answer truthfully and to the point.",
    "You are a patient teacher. Explain things clearly.",
    "Be brief.",
    "You answer questions from readers.",
]
OPENINGS = [
    "Sure! ",
    "Certainly. ",
    "Here is the answer: ",
    "Good question. ",
    "Sure, here you go:\n\n",
]
CLOSINGS = [
    " I hope this helps.",
    "\n\nI hope this helps!",
    "\n\nLet me know if you have any other questions.",
]


def plain_question(prompt):
    return prompt.replace("is (are)", "is").replace("??", "?").replace(" ?", "?")


def phrase(rng, prompt):
    """The question as people might put it."""
    text = plain_question(prompt) if rng.random() < 0.85 else prompt
    if rng.random() < 0.5:
        text = rng.choice(WRAPPERS).format(text)
    if rng.random() < 0.08:
        text = text.lower()
    return text


def first_sentences(rng, text, low=1, high=4):
    return " ".join(sentences(text)[: rng.randint(low, high)])


def clip_sentences(text, size):
    """The first sentences, up to a number of characters."""
    ends = [m.end() for m in re.finditer(r"[.!?](?=\s)", text[:size])]
    return text[: ends[-1]] if ends and len(text) > size else text


def question_task(rng, item, pool):
    """The question itself; the answer whole, or its first sentences or paragraph."""
    prompt, answer, draw = phrase(rng, item.prompt), item.answer, rng.random()
    if domain(item) == "sums":
        result = re.search(r"(?:answer is|A:)\s*(\S+?)\.?$", answer)
        if result and draw < 0.15:
            form = pick(rng, "{}|The answer is {}.|{}.")
            return prompt, form.format(result.group(1)), "short", ""
        return prompt, answer, "full", rng.choice(item.wrong) if item.wrong else ""
    if draw < 0.45:
        return prompt, first_sentences(rng, answer, 1, 5), "short", ""
    if draw < 0.55:
        parts = sentences(answer)[: rng.randint(3, 8)]
        size = rng.randint(1, 3)
        paragraphs = [" ".join(parts[i : i + size]) for i in range(0, len(parts), size)]
        return prompt, "\n\n".join(paragraphs), "full", ""
    if draw < 1 - pool.whole:
        answer = clip_sentences(answer, 700)
    return prompt, answer, "full", ""


def summary_task(rng, item, pool):
    parts = sentences(item.answer)[:6]
    ask = pick(
        rng,
        "Summarize the following text in one sentence.|"
        "What is the main point of this passage?|Give a one-sentence summary.",
    )
    return f"{ask}\n\n{pick(rng, '|Input: |Text: ')}{' '.join(parts)}", parts[0], "task", ""


def topic_task(rng, item, pool):
    ask = pick(
        rng,
        "What is the following text about?|Give this text a title.|"
        "Name the subject of the passage.|Suggest a keyword for the text below.",
    )
    topic = item.topic if domain(item) == "medicine" else "A word problem"
    other = pool.another(rng, item).topic[:60]
    form = pick(rng, "{}|The text is about {}.|Title: {}")
    text = first_sentences(rng, item.answer, 2, 5)
    return f"{ask}\n\n{text}", form.format(topic), "task", form.format(other)


def make_question_task(rng, item, pool):
    ask = pick(
        rng,
        "Write a question that this text answers.|"
        "Which question would lead to the following answer?|"
        "Generate a question for the passage.",
    )
    return (
        f"{ask}\n\n{first_sentences(rng, item.answer, 2, 5)}",
        plain_question(item.prompt),
        "task",
        plain_question(pool.another(rng, item).prompt),
    )


LABEL_PAIRS = [
    ("Medicine", "Arithmetic"),
    ("health", "mathematics"),
    ("A", "B"),
    ("Doctor", "Teacher"),
]


def classify_task(rng, item, pool):
    names = ["medicine", "sums"]
    chosen = rng.choice(LABEL_PAIRS)
    labels = dict(zip(names, chosen, strict=True))
    ask = pick(
        rng,
        "Classify the text as {} or {}.|Is the following {} or {}?|"
        "Choose the right category: {}, {}.",
    )
    right = domain(item)
    order = rng.sample(names, 2)
    text = first_sentences(rng, item.answer, 1, 3)
    key = " (A is medicine, B is arithmetic)" if labels["medicine"] == "A" else ""
    form = pick(rng, "{}|{}.|The text belongs to {}.|Category: {}")
    wrong = labels[names[1 - names.index(right)]]
    return (
        ask.format(labels[order[0]], labels[order[1]]) + key + "\n\n" + text,
        form.format(labels[right]),
        "task",
        form.format(wrong),
    )


def blank_task(rng, item, pool):
    sentence = first_sentences(rng, item.answer, 1, 1)
    words = re.findall(r"[A-Za-z]{5,}", sentence) or ["answer"]
    word = rng.choice(words)
    ask = pick(rng, "Fill in the blank.|Which word is missing?|Complete the sentence.")
    form = rng.choice(
        [
            "{}",
            "The missing word is {}.",
            sentence.replace(word, "{}", 1) if "{" not in sentence else "{}",
        ]
    )
    return (
        f"{ask}\n\n{sentence.replace(word, '____', 1)}",
        form.replace("{}", word, 1),
        "task",
        form.replace("{}", rng.choice(pool.words), 1),
    )


def words_task(rng, item, pool):
    """Small jobs on a list of words: sorting, turning round, formats."""
    words = list(dict.fromkeys(re.findall(r"[A-Za-z]{4,}", item.answer)))
    words = rng.sample(words, min(len(words), rng.randint(3, 9))) or ["one", "two"]
    jobs = [
        ("Sort these words by the alphabet.", ", ".join(sorted(words, key=str.lower))),
        ("Put the words in reverse order.", ", ".join(reversed(words))),
        ("Write the words in capital letters.", ", ".join(words).upper()),
        ("Turn the words into a bulleted list.", "\n".join(f"- {w}" for w in words)),
        ("Number the words.", "\n".join(f"{i}. {w}" for i, w in enumerate(words, 1))),
        ("Turn the words into a JSON array.", json.dumps(words)),
        (
            "Make an HTML list of the words.",
            "<ul>\n" + "\n".join(f"  <li>{w}</li>" for w in words) + "\n</ul>",
        ),
        (
            "Make a table with each word and its number of letters.",
            "| Word | Letters |\n| --- | --- |\n" + "\n".join(f"| {w} | {len(w)} |" for w in words),
        ),
        ("Which word is the longest?", max(words, key=len)),
        ("How many words are there?", rng.choice(["{}", "There are {} words."]).format(len(words))),
    ]
    ask, good = rng.choice(jobs)
    return f"{ask}\n\n{pick(rng, '|Input: |Words: ')}{', '.join(words)}", good, "task", ""


def mistyped(rng, text, rate=0.06):
    """Swap, drop or double letters here and there."""
    out = list(text)
    for i in range(len(out) - 1):
        if out[i].isalpha() and rng.random() < rate:
            draw = rng.random()
            if draw < 0.4:
                out[i], out[i + 1] = out[i + 1], out[i]
            else:
                out[i] = "" if draw < 0.7 else out[i] * 2
    return "".join(out)


def correct_task(rng, item, pool):
    text = first_sentences(rng, item.answer, 1, 4)
    ask = pick(rng, "Correct the spelling.|Fix the typos in the following text.|Proofread this.")
    return (
        f"{ask}\n\n{rng.choice(['', 'Input: '])}{mistyped(rng, text)}",
        text,
        "task",
        mistyped(rng, text, 0.12),
    )


def write_task(rng, item, pool):
    """A message, post or article, made of the answer's sentences."""
    topic = item.topic if domain(item) == "medicine" else "this problem: " + item.prompt
    kind = pick(
        rng,
        "a short email|a letter|a blog post|a short article|a note|a paragraph|"
        "a tweet|an introduction",
    )
    ask = pick(
        rng,
        "Write {} about {}|Could you write {} on {}|I need {} about {}|Compose {} that explains {}",
    )
    parts = sentences(item.answer)[: rng.randint(2, 8)]
    body = " ".join(parts)
    if kind in ("a short email", "a letter", "a note"):
        name = pick(rng, "Sam|Dr. Lee|Maria|all|colleagues|Mr. Brown")
        hello = pick(rng, "Dear|Hi|Hello")
        goodbye = pick(rng, "Best regards,|Thank you,|Sincerely,")
        sender = pick(rng, "Alex|[Your name]|Jo")
        body = f"{hello} {name},\n\n{body}\n\n{goodbye}\n{sender}"
    elif kind == "a tweet":
        body = f"{parts[0]} #{re.sub('[^A-Za-z]', '', item.topic.title())[:20]}"
    elif rng.random() < 0.3:
        body = f"{item.topic[:60].title()}\n\n{body}"
    return ask.format(kind, topic), body, "task", ""


def list_task(rng, item, pool):
    topic = item.topic if domain(item) == "medicine" else "this problem: " + item.prompt
    ask = pick(
        rng,
        "List some facts about {}|What should I know about {}?|"
        "Give me a few points on {}|Make a list about {}",
    )
    parts = sentences(item.answer)[: rng.randint(2, 7)]
    mark = pick(rng, "- {1}|{0}. {1}|* {1}|{0}) {1}")
    lead = rng.choice(["", "", f"Here are some of the main points about {topic[:60]}:\n\n"])
    return (
        ask.format(topic),
        lead + "\n".join(mark.format(i, p) for i, p in enumerate(parts, 1)),
        "task",
        "",
    )


def mention_task(rng, item, pool):
    text = first_sentences(rng, item.answer, 2, 4)
    inside = rng.random() < 0.5
    word = (
        rng.choice(re.findall(r"[A-Za-z]{4,}", text) or ["answer"])
        if inside
        else rng.choice(pool.words)
    )
    inside = word.lower() in text.lower()
    form = rng.choice([("Yes", "No"), ("Yes, it does.", "No, it does not."), ("True", "False")])
    return f'Does the text mention "{word}"?\n\n{text}', form[not inside], "task", form[inside]


def continue_task(rng, item, pool):
    parts = sentences(item.answer)
    if len(parts) < 3:
        return question_task(rng, item, pool)
    at = rng.randint(1, min(4, len(parts) - 1))
    ask = pick(rng, "Continue the text.|What comes next?|Finish this passage.")
    return (
        f"{ask}\n\n{' '.join(parts[:at])}",
        " ".join(parts[at : at + rng.randint(1, 4)]),
        "task",
        "",
    )


def read_task(rng, item, pool):
    """A passage with the question after it."""
    ask = pick(rng, "Read the text and answer.|Use the passage below.|")
    prompt = f"{ask}\n\n{item.answer[:1500]}\n\n{plain_question(item.prompt)}"
    return prompt, first_sentences(rng, item.answer, 1, 2), "task", ""


TASKS = [
    summary_task, topic_task, make_question_task, classify_task, blank_task,
    words_task, words_task, correct_task, write_task, write_task, list_task,
    list_task, mention_task, continue_task, read_task,
]  # fmt: skip


def make_example(rng, item, pool):
    """A prompt in some form with a good answer, now and then in a longer talk."""
    task = question_task if rng.random() < 0.55 else rng.choice(TASKS)
    prompt, good, kind, wrong = task(rng, item, pool)
    if rng.random() < 0.08:
        good = rng.choice(OPENINGS) + good
    if rng.random() < 0.05:
        good += rng.choice(CLOSINGS)
    messages = []
    if rng.random() < 0.1:
        messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    while rng.random() < 0.1:
        other = pool.another(rng, item)
        messages.append({"role": "user", "content": phrase(rng, other.prompt)})
        messages.append({"role": "assistant", "content": first_sentences(rng, other.answer, 1, 4)})
    messages.append({"role": "user", "content": prompt.strip()})
    return Example(item, messages, good, kind, wrong)


# ----------------------------------------------------------------- bad answers


def like_length(rng, example, text):
    """Cut a borrowed answer at a sentence, to about the length of the good one."""
    if rng.random() < 0.3:
        return clip_sentences(text, 900) if len(example.good) < 900 else text
    out = ""
    for part in sentences(text):
        if out and len(out) + len(part) > 1.2 * len(example.good):
            break
        out = f"{out} {part}".strip()
    return out


def mismatched_same_source(rng, example, pool):
    item = example.item
    near = pool.by_form[item.form] if rng.random() < 0.5 else pool.by_domain[domain(item)]
    return like_length(rng, example, pool.another(rng, item, near).answer)


def mismatched_other_source(rng, example, pool):
    other = "sums" if domain(example.item) == "medicine" else "medicine"
    return like_length(rng, example, pool.another(rng, example.item, pool.by_domain[other]).answer)


def other_question(rng, example, pool):
    """The answer to another question about the same topic."""
    same = [
        i
        for i in pool.by_topic[example.item.topic]
        if i.answer != example.item.answer and i.prompt != example.item.prompt
    ]
    return (
        like_length(rng, example, rng.choice(same).answer)
        if same and example.kind != "task"
        else None
    )


def wrong_result(rng, example, pool):
    return example.wrong or None


def shuffled_words(rng, example, pool):
    words = example.good.split()
    rng.shuffle(words)
    return " ".join(words)


def shuffled_chunks(rng, example, pool):
    words, chunks = example.good.split(), []
    while words:
        size = rng.randint(2, 6)
        chunks.append(" ".join(words[:size]))
        words = words[size:]
    rng.shuffle(chunks)
    return " ".join(chunks) if len(chunks) > 2 else None


def shuffled_sentences(rng, example, pool):
    parts = sentences(example.good)
    rng.shuffle(parts)
    return " ".join(parts) if len(parts) > 2 else None


def target_size(rng, low=120, high=2200):
    """A length in characters, small ones as likely as large ones."""
    high = 3 * high if rng.random() < 0.1 else high
    return int(math.exp(rng.uniform(math.log(low), math.log(high))))


def repeated_sentence(rng, example, pool):
    parts = sentences(example.good)
    at = rng.randrange(len(parts))
    times = rng.choice([1, 2, 3, 5, max(2, target_size(rng) // max(20, len(parts[at])))])
    glue = pick(rng, " |\n|\n\n")
    tail = parts[at + 1 :] if rng.random() < 0.3 else []
    return glue.join(parts[:at] + [parts[at]] * (min(times, 80) + 1) + tail)


def repeated_answer(rng, example, pool):
    glue = pick(rng, " |\n|\n\n|\n\n\n")
    return glue.join([example.good] * rng.choice([2, 2, 3, 4, 6]))[
        : max(2500, 3 * len(example.good))
    ]


def word_loop(rng, example, pool):
    """A few words again and again, as a model caught in a loop writes them."""
    words = (rng.choice([example.good, example.prompt])).split()
    at = rng.randrange(len(words))
    loop = " ".join(words[at : at + rng.randint(1, 8)])
    size = target_size(rng, 60, 1500)
    start = " ".join(words[:at]) if rng.random() < 0.5 else ""
    glue = pick(rng, " | |\n|, ")
    return (start + glue + glue.join([loop] * max(3, size // (len(loop) + 1)))).strip()


def cut(rng, example, pool):
    """Stop in the middle of a sentence or of a word."""
    text = example.good
    if len(text) < 25:
        return None
    at = int(len(text) * rng.uniform(0.15, 0.9))
    if rng.random() < 0.7 and " " in text[:at]:
        at = text[:at].rindex(" ")
    text = text[:at].rstrip(".!?: \n")
    return text or None


def numbered_variations(rng, example, size):
    """One line again and again, with a counter or one word changed."""
    words = rng.choice(sentences(example.good) + [example.prompt[:150]]).split()[:20]
    start, lines = rng.randint(1, 3), []
    style = pick(rng, "{}. |- ||Example {}: |* |{}) ")
    while sum(map(len, lines)) < size and len(lines) < 120:
        at = rng.randrange(len(words))
        changed = words[:at] + [rng.choice(words)] + words[at + 1 :]
        lines.append(style.format(start + len(lines)) + " ".join(changed))
    return rng.choice(["\n", "\n\n"]).join(lines)


ROUNDS = [
    ("Q: ", "A: "), ("Question: ", "Answer: "), ("Input: ", "Output: "),
    ("Instruction: ", "Output: "), ("Problem: ", "Solution: "), ("User: ", "Bot: "),
    ("### Question\n", "### Answer\n"), ("Prompt: ", "Response: "), ("", ""),
    ("Exercise: ", ""), ("Task: ", "Example: "), ("Human: ", "AI: "), ("", "Output: "),
    ("- ", "- "), ("Example: ", "Answer: "), ("Student: ", "Teacher: "),
]  # fmt: skip


def question_rounds(rng, example, pool, size):
    """More questions and answers after the answer, in one layout."""
    ask, reply = rng.choice(ROUNDS)
    gap, same = rng.choice(["\n", "\n\n"]), rng.random() < 0.35
    only_questions = rng.random() < 0.25
    parts, total = [], 0
    while total < size:
        other = example.item if same and rng.random() < 0.7 else pool.another(rng, example.item)
        question = example.prompt if same and rng.random() < 0.6 else phrase(rng, other.prompt)
        parts.append(ask + question)
        if not only_questions:
            parts.append(reply + first_sentences(rng, other.answer, 1, 3))
        total += len(parts[-1]) + len(question)
    return gap.join(parts)


def ramble_text(rng, example, pool, size):
    """Whole sentences that have nothing to do with each other."""
    parts, total = [], 0
    while total < size:
        parts.append(rng.choice(sentences(pool.another(rng, example.item).answer)))
        total += len(parts[-1])
    return pick(rng, " |\n|\n\n").join(parts)


JUNK = [
    "Posted on {d} by {w}", "Copyright (c) {n} {w}. All rights reserved.", "Back to top",
    "Reply", "Share this:", "Click here to read more", "Page {n} of {n}", "import {w}",
    "<div class=\"{w}\">", "</div>", "<br>", "http://www.{w}.com/{w}", "# {w}", "// {w}",
    "{w}({n}, {n});", "return {w};", "Related posts", "Tags: {w}, {w}, {w}", "Posts: {n}",
    "[{n}] {w}", "Comments ({n})", "Login or register to post", "{w}: {n}", "def {w}(self):",
    "{n} {n} {n} {n}", "Last edited by {w}", "Category: {w}", "Edit: {w}", "{w} said on {d}:",
]  # fmt: skip


def junk_text(rng, example, pool, size):
    """What is left of web pages and listings."""
    lines, kinds = [], rng.sample(JUNK, rng.randint(2, 8))
    while sum(map(len, lines)) < size:
        line = rng.choice(kinds)
        while "{" in line:
            line = line.replace("{w}", rng.choice(pool.words), 1).replace(
                "{n}", str(rng.randint(0, 2999)), 1
            )
            line = line.replace(
                "{d}", f"{rng.randint(1, 28)}/{rng.randint(1, 12)}/20{rng.randint(10, 24)}", 1
            )
        lines.append(line)
    return "\n".join(lines)


def blank_text(rng, example, pool, size):
    """Blanks, dots and empty labels."""
    piece = pick(
        rng,
        "____ |______________\n|\n\n\n|. |...| - |A:\n|Answer:\n\n|Output:\n|=====|* \n|"
        "1.\n2.\n3.\n|? |[ ]\n",
    )
    return (piece * (size // len(piece) + 1))[:size]


def fragment_text(rng, example, pool, size):
    """A list of scraps."""
    parts, total = [], 0
    mark = pick(rng, "- ||* |{}. |, ")
    while total < size:
        words = pool.another(rng, example.item).answer.split()
        at = rng.randrange(len(words))
        scrap = " ".join(words[at : at + rng.randint(1, 6)])
        parts.append(mark.format(len(parts) + 1) + scrap)
        total += len(scrap) + 2
    return pick(rng, "\n|\n| ").join(parts)


def line_again(rng, example, size):
    """The prompt, or a sentence of the answer, over and over."""
    glue = pick(rng, "\n|\n\n| ")
    line = rng.choice(sentences(example.good) + [example.prompt])
    return glue.join([line] * (1 + min(60, size // 60)))


def run_on(rng, example, pool):
    """A fair start, then no stop: what a bare language model often does."""
    size = target_size(rng)
    filler = rng.choice([
        lambda: question_rounds(rng, example, pool, size),
        lambda: question_rounds(rng, example, pool, size),
        lambda: question_rounds(rng, example, pool, size),
        lambda: numbered_variations(rng, example, size),
        lambda: ramble_text(rng, example, pool, size),
        lambda: junk_text(rng, example, pool, size),
        lambda: blank_text(rng, example, pool, size),
        lambda: fragment_text(rng, example, pool, size),
        lambda: line_again(rng, example, size),
    ])()  # fmt: skip
    beginning = first_sentences(rng, example.good, 1, 2)
    other = mismatched_same_source(rng, example, pool)
    start = rng.choice([example.good, example.good, example.good, beginning, other])
    return start + pick(rng, "\n|\n\n|\n\n\n| ") + cut_end(rng, filler)


def cut_end(rng, text):
    """Now and then, stop in mid-sentence, as a limit on length does."""
    return text[: -rng.randint(1, 20)] if rng.random() < 0.5 and len(text) > 60 else text


def no_answer(rng, example, pool):
    """Only what could follow an answer, without the answer."""
    size = target_size(rng, 60)
    maker = rng.choice([question_rounds, question_rounds, ramble_text])
    return cut_end(rng, maker(rng, example, pool, size))


def echo(rng, example, pool):
    prompt = example.prompt
    draw = rng.random()
    if draw < 0.5:
        return prompt
    if draw < 0.75:
        return pick(rng, "\n|\n\n| ").join([prompt] * rng.randint(2, 8))[:5000]
    words = prompt.split()
    return " ".join(words[: max(1, int(len(words) * rng.uniform(0.3, 0.9)))])


def empty(rng, example, pool):
    return rng.choice(
        ["", "", "", ".", "A:", "Answer:", "-", "...", "?", "\u200b", "Output:", "None", "N/A"]
    )


def junk(rng, example, pool):
    maker = rng.choice([junk_text, blank_text, fragment_text])
    return maker(rng, example, pool, target_size(rng, 30, 1500))


def salad(rng, example, pool):
    """Words of the prompt in disorder, some of them doubled."""
    words = example.prompt.split()
    if rng.random() < 0.5:
        words = [re.sub(r"\W", "", w).lower() for w in words]
    if rng.random() < 0.4:
        words += rng.sample(pool.words, rng.randint(1, 10))
    if rng.random() < 0.7:
        rng.shuffle(words)
    words = words[: rng.randint(3, 60)]
    out = []
    for word in words:
        out += [word] * rng.choice([1, 1, 2, 2, 3])
    return " ".join(out)


def noisy(rng, example, pool):
    """Letters swapped, dropped and doubled all over."""
    return mistyped(rng, example.good, rng.uniform(0.1, 0.4))


def swapped_words(rng, example, pool):
    """Words of the answer replaced by words from anywhere."""
    rate = rng.uniform(0.15, 0.6)
    return " ".join(
        rng.choice(pool.words) if rng.random() < rate else w for w in example.good.split()
    )


def ramble(rng, example, pool):
    return ramble_text(rng, example, pool, max(120, int(len(example.good) * rng.uniform(0.5, 1.5))))


def reversed_words(rng, example, pool):
    return " ".join(reversed(example.good.split()))


def interleaved(rng, example, pool):
    """The answer's sentences by turns with those of an answer on something else."""
    other = sentences(pool.another(rng, example.item).answer)
    return " ".join(
        part for pair in zip(sentences(example.good), other, strict=False) for part in pair
    )


# kind: (maker, weight in training, helpfulness, correctness, coherence)
BAD = {
    "mismatched, same source": (mismatched_same_source, 5.0, 0.5, 0.4, 3.2),
    "mismatched, other source": (mismatched_other_source, 2.0, 0.3, 0.2, 3.1),
    "other question, same topic": (other_question, 1.0, 1.4, 1.4, 3.2),
    "wrong result": (wrong_result, 3.0, 1.5, 0.7, 3.4),
    "shuffled words": (shuffled_words, 1.2, 0.2, 0.6, 0.1),
    "shuffled chunks": (shuffled_chunks, 1.6, 0.4, 0.8, 0.4),
    "shuffled sentences": (shuffled_sentences, 2.0, 2.0, 2.7, 1.6),
    "repeated sentence": (repeated_sentence, 2.0, 1.0, 1.9, 0.8),
    "repeated answer": (repeated_answer, 1.0, 1.2, 2.2, 1.0),
    "word loop": (word_loop, 1.0, 0.2, 0.4, 0.1),
    "cut": (cut, 2.5, 1.8, 2.4, 2.0),
    "run-on": (run_on, 6.0, 0.8, 1.5, 0.8),
    "no answer": (no_answer, 2.0, 0.2, 0.2, 1.0),
    "echoed prompt": (echo, 1.2, 0.2, 0.2, 1.6),
    "empty": (empty, 0.5, 0.0, 0.0, 0.2),
    "junk": (junk, 1.2, 0.1, 0.1, 0.2),
    "word salad": (salad, 0.8, 0.1, 0.1, 0.0),
    "letters garbled": (noisy, 0.8, 0.8, 1.2, 0.6),
    "words replaced": (swapped_words, 1.0, 0.4, 0.5, 0.4),
    "rambling": (ramble, 1.2, 0.3, 0.2, 0.9),
}
# Kinds kept out of training, to see whether the model has learnt more than a list.
UNSEEN = {"words reversed": reversed_words, "interleaved with another answer": interleaved}
GOOD = {"full": (3.6, 3.6, 3.8), "task": (3.6, 3.6, 3.7)}


def spoil(rng, example, pool, kind):
    """A bad answer of this kind, or None where the kind does not apply."""
    maker = UNSEEN[kind] if kind in UNSEEN else BAD[kind][0]
    text = maker(rng, example, pool)
    return None if text is None or text.strip() == example.good.strip() else text


# ------------------------------------------------------------------- targets


def verbosity(text):
    """0 for nothing, about 2.5 for fifty words, 4 for five hundred and more."""
    return min(4.0, 4.0 * math.log1p(len(text.split())) / math.log1p(500))


def complexity(text):
    """Long words, rich vocabulary and long sentences, weighed together."""
    words = re.findall(r"[^\W\d_]+", text)
    if not words:
        return 0.0
    length = min(1.0, max(0.0, (sum(map(len, words)) / len(words) - 3.2) / 3.0))
    long_share = min(1.0, sum(len(w) >= 9 for w in words) / len(words) / 0.25)
    variety = len({w.lower() for w in words[:100]}) / len(words[:100])
    sentence = min(1.0, len(words) / max(1, len(sentences(text))) / 28)
    return 4.0 * (0.4 * length + 0.25 * long_share + 0.15 * variety + 0.2 * sentence)


def targets(kind, text):
    """The five values that the model is to give to this answer."""
    if kind == "short":
        help_, right, clear = min(3.5, 2.9 + 0.15 * len(sentences(text))), 3.5, 3.7
    elif kind in GOOD:
        help_, right, clear = GOOD[kind]
    else:
        help_, right, clear = BAD[kind][2:]
        if kind == "run-on":  # the further it goes, the worse
            help_ = max(0.4, 1.6 - 0.35 * math.log1p(len(text) / 400))
    return [help_, right, clear, complexity(text), verbosity(text)]


# --------------------------------------------------------------- training data

SYLLABLES = [
    c + v
    for c in "b d f g k l m n p r s t v z br st tr pl ch sh".split()
    for v in "a e i o u ai ea on er in".split()
]


class Disguise:
    """Replace the rarer words of a group by invented ones, each always alike.

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


def render(messages, answer):
    """The chat template, written out; `export` checks that the two agree."""
    turns = [*messages, {"role": "assistant", "content": answer}]
    return BEGIN + "".join(ROLES[m["role"]] + m["content"].strip() + END for m in turns)


def fit(ids, end, limit):
    """Cut a sequence that is too long, keeping the end mark."""
    return ids if len(ids) <= limit else ids[: limit - 1] + [end]


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


def collate(sequences, pad=0):
    """Pad on the right; returns ids and the place of each last token."""
    lengths = torch.tensor([len(s) for s in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), pad)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids, lengths - 1


# -------------------------------------------------------------------- the model


def train_tokenizer(items):
    """A byte-level BPE on the training split alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (part for item in items for part in (item.prompt, item.answer))
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


def new_model(tokenizer):
    ids = {label: i for i, label in enumerate(LABELS)}
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        id2label={i: label for label, i in ids.items()},
        label2id=ids,
        pad_token_id=tokenizer.token_to_id(PAD),
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
    )
    return LlamaForSequenceClassification(config)


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


# ------------------------------------------------------------------- measuring


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
    """Scores by a running server, in place of the model: of an engine of any type."""

    def __init__(self, url, limit):
        self.url, self.limit = url, limit

    def shortened(self, tokenizer, conversation):
        """The conversation with as much of its last turn's end cut off as the server takes."""
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
    """All figures of the model card, from the checkpoint as it lies on disk."""
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


# -------------------------------------------------------------------- writing


def export(model, tokenizer, output):
    """Write the checkpoint, tensors in bfloat16, and check the chat template."""
    output.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string())
    config.update(
        architectures=["LlamaForSequenceClassification"],
        dtype="bfloat16",
        use_cache=False,
        rope_theta=10000.0,
    )
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {
        name: value.detach().to(torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    (output / "model.safetensors").chmod(0o644)
    tokenizer.save(str(output / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": MAX_POSITIONS,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (output / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
    check_template(output)


def check_template(output):
    fast = AutoTokenizer.from_pretrained(output)
    turns = [
        {"role": "system", "content": "Be brief."},
        *talk("How  are you? ", " Fine.\n"),
        {"role": "user", "content": "And now? 1234"},
    ]
    ids = fast.apply_chat_template(
        [*turns, {"role": "assistant", "content": "Still fine."}],
        add_generation_prompt=False,
        return_dict=False,
    )
    assert ids == fast(render(turns, "Still fine."), add_special_tokens=False)["input_ids"]
    assert ids[-1] == fast.eos_token_id != fast.pad_token_id


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
