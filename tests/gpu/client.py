"""A client of the server, and conversations to send to it."""

import concurrent.futures
import http.client
import json
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

QUESTIONS = [
    "I am going to Paris, what should I see?",
    "How do I boil an egg?",
    "Why is the sky blue?",
    "Write a line about the sea.",
    "What is the square root of 144?",
    "Is it safe to eat raw rice?",
]
ANSWERS = [
    "See the Louvre in the morning, and walk along the Seine in the evening.",
    "I do not know.",
    "Put it in boiling water for eight minutes, then into cold water.",
    "Air scatters short wavelengths more than long ones, so blue light reaches us from everywhere.",
    "No.",
    "It is 12, since 12 times 12 is 144.",
    "The sea keeps what it is told, and tells it to every shore.",
    "No idea, look it up yourself!!!",
]
WORDS = "river stone light answer morning number window reason garden letter winter engine silver measure".split()


def conversations(count):
    """Questions with good answers and with answers to other questions."""
    chosen = []
    for number in range(count):
        question = QUESTIONS[number % len(QUESTIONS)]
        answer = ANSWERS[(number // len(QUESTIONS)) % len(ANSWERS)]
        if number >= len(QUESTIONS) * len(ANSWERS):
            answer += f" Besides, {number}."
        chosen.append([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])
    return chosen


def noise(generator, words):
    """A random conversation, which shares no prefix beyond the template with any other."""
    text = " ".join(generator.choice(WORDS) for _ in range(words))
    return [
        {"role": "user", "content": f"{generator.random()} {text}"},
        {"role": "assistant", "content": "As you say."},
    ]


class Client:
    """A client with one connection."""

    def __init__(self, url):
        self.address = urlsplit(url).netloc
        self.connection = http.client.HTTPConnection(self.address, timeout=600)

    def post(self, path, body):
        headers = {"Content-Type": "application/json"}
        self.connection.request("POST", path, json.dumps({"model": "accept"} | body), headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def score(self, messages):
        """The scores in the order of the model, and the number of prompt tokens."""
        status, body = self.post("/v1/chat/completions", {"messages": messages})
        if status != 200:
            raise RuntimeError(f"status {status}: {body.decode()}")
        answer = json.loads(body)
        scores = [entry["logprob"] for entry in answer["choices"][0]["logprobs"]["content"]]
        return scores, answer["usage"]["prompt_tokens"]


def together(url, messages, connections):
    """The scores of all conversations, with this many concurrent requests."""
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        return list(pool.map(lambda one: Client(url).score(one)[0], messages))


def ready(url, process):
    """Waits until the server is ready; fails if its process exits first."""
    for _ in range(6000):
        try:
            with urllib.request.urlopen(f"{url}/v1/health/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        # Until someone waits for it, /proc lists an exited process as a zombie.
        stat = Path("/proc", process, "stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            sys.exit("the server exited before it was ready; see server.log")
        time.sleep(0.1)
    sys.exit("the server was not ready within ten minutes")


def busy(url):
    """Waits until requests are in flight."""
    for _ in range(600):
        with urllib.request.urlopen(f"{url}/v1/metrics", timeout=10) as answer:
            running = [line for line in answer.read().decode().splitlines() if line.startswith("num_requests_running")]
        if running and float(running[0].rsplit(" ", 1)[1]) > 0:
            return
        time.sleep(0.05)
    sys.exit("no request was in flight within half a minute")
