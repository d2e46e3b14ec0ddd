"""Prompts of many forms, each with a good answer."""

import json
import re
from dataclasses import dataclass

from .data import Item, domain, sentences


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
