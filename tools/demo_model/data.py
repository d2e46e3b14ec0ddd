"""The data: questions with good answers, read, cleaned and split."""

import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Item:
    """A prompt with a good answer and, for some sums, wrong answers."""

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
        """An item other than this one, with another topic if there is one."""
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
