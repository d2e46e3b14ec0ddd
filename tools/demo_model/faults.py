"""Bad answers, made by damaging good ones, and the target values for both."""

import math
import re

from .data import domain, sentences
from .prompts import clip_sentences, first_sentences, mistyped, phrase, pick


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
    """A few words again and again, as from a model caught in a loop."""
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
    """The sentences of the answer alternating with those of an answer about something else."""
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
    """The five target values for this answer."""
    if kind == "short":
        help_, right, clear = min(3.5, 2.9 + 0.15 * len(sentences(text))), 3.5, 3.7
    elif kind in GOOD:
        help_, right, clear = GOOD[kind]
    else:
        help_, right, clear = BAD[kind][2:]
        if kind == "run-on":  # the further it goes, the worse
            help_ = max(0.4, 1.6 - 0.35 * math.log1p(len(text) / 400))
    return [help_, right, clear, complexity(text), verbosity(text)]
