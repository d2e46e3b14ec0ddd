"""The measurements of `accept.sh`: each subcommand is one step and writes its results to OUTPUT/results."""

import concurrent.futures
import http.client
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
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
# The precision in a profile's name, the precision it computes in, and the bytes of one weight.
FORMATS = [
    ("f32", "f32", 4), ("bf16", "bf16", 2), ("int8wo", "bf16", 1), ("int4wo", "bf16", 0.5), ("int8", "int8", 1),
    ("fp8", "fp8", 1), ("nvfp4", "fp4", 0.5), ("w4a16", "bf16", 0.5), ("w4a8", "fp8", 0.5), ("w8a8", "int8", 1),
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


def record(output, name, **found):
    Path(output, "results", f"{name}.json").write_text(json.dumps(found, indent=1))


def read(output, name):
    path = Path(output, "results", f"{name}.json")
    return json.loads(path.read_text()) if path.exists() else None


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


def machine(output, target, model):
    found = {"host": platform.platform(), "python": platform.python_version(), "target": target, "model": model}
    found["assay"] = subprocess.run(["assay", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
        found["gpus"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.CalledProcessError):
        found["gpus"] = []
    print(json.dumps(found, indent=1))
    record(output, "machine", **found)


def reference(output, model, texts, long_words="0"):
    """The scores of transformers, in f32 and in bf16."""
    import torch
    import transformers

    messages = conversations(int(texts))
    if int(long_words):
        messages.append(noise(random.Random(3), int(long_words)))
    config = transformers.AutoConfig.from_pretrained(model)
    if not (config.architectures or [""])[0].endswith("ForSequenceClassification"):
        sys.exit(f"{model} is a {config.architectures}: only *ForSequenceClassification has a reference here")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = [tokenizer.apply_chat_template(one, tokenize=True, return_dict=False) for one in messages]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = {}
    for dtype in ("float32", "bfloat16"):
        classifier = transformers.AutoModelForSequenceClassification
        loaded = classifier.from_pretrained(model, dtype=getattr(torch, dtype)).to(device).eval()
        if loaded.config.pad_token_id is None:
            loaded.config.pad_token_id = 0
        with torch.inference_mode():
            rows = [loaded(torch.tensor([one], device=device)).logits[0].float().tolist() for one in ids]
        scores[dtype] = rows
        parameters = loaded.num_parameters() - loaded.get_input_embeddings().weight.numel()
        del loaded
    record(output, "reference", messages=messages, scores=scores, tokens=[len(one) for one in ids],
           parameters=parameters, device=device, transformers=transformers.__version__, torch=torch.__version__)


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


def differences(ours, theirs):
    return [abs(a - b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True)]


def order(ours, theirs):
    """The share of pairs that both rank the same by the first attribute, ties left out."""
    alike = every = 0
    for i in range(len(ours)):
        for j in range(i):
            a, b = ours[i][0] - ours[j][0], theirs[i][0] - theirs[j][0]
            if a and b:
                every += 1
                alike += (a > 0) == (b > 0)
    return alike / every if every else 1.0


def first(output, url):
    """One score, which must be near that of transformers."""
    found = read(output, "reference")
    if found is None:
        sys.exit("there is no reference to compare with")
    ours, tokens = Client(url).score(found["messages"][0])
    f32, bf16 = (found["scores"][dtype][0] for dtype in ("float32", "bfloat16"))
    difference, theirs = max(differences([ours], [f32])), max(differences([bf16], [f32]))
    result = {"scores": ours, "transformers": f32, "difference": difference, "transformers_bf16_difference": theirs,
              "tokens": tokens, "transformers_tokens": found["tokens"][0]}
    print(json.dumps(result, indent=1))
    record(output, "first", **result)
    if tokens != found["tokens"][0]:
        sys.exit("the number of tokens differs from that of transformers")
    _, size, _ = precision(output)
    if size > 1 and difference > max(8 * theirs, 0.1):
        sys.exit(f"the first score is {difference:.4g} away from transformers in f32")


def agreement(output, url, name="agreement"):
    """Compares with transformers: a bf16 engine should be about as far from f32 as transformers in bf16."""
    found = read(output, "reference")
    if found is None:
        sys.exit("there is no reference to compare with")
    client = Client(url)
    answers = [client.score(one) for one in found["messages"]]
    ours, f32, bf16 = [scores for scores, _ in answers], found["scores"]["float32"], found["scores"]["bfloat16"]
    mine, theirs = differences(ours, f32), differences(bf16, f32)
    same_tokens = [tokens for _, tokens in answers] == found["tokens"]
    result = {
        "texts": len(ours), "attributes": len(ours[0]), "same_token_counts": same_tokens,
        "mean_difference": statistics.mean(mine), "largest_difference": max(mine),
        "transformers_bf16_mean_difference": statistics.mean(theirs),
        "transformers_bf16_largest_difference": max(theirs), "pairs_ordered_alike": order(ours, f32),
    }
    print(json.dumps(result, indent=1))
    full = read(output, "agreement")
    if name != "agreement" and full is not None:
        result["largest_difference_from_the_full_head"] = max(differences(ours, full["scores"]))
        print(result["largest_difference_from_the_full_head"])
    record(output, name, scores=ours, **result)
    if not same_tokens:
        sys.exit("token counts differ from those of transformers")
    # Quantized weights differ more, so only their ranking is judged.
    _, size, _ = precision(output)
    if size > 1:
        if statistics.mean(mine) > 2 * statistics.mean(theirs) + 1e-3:
            sys.exit("the scores are further from f32 than rounding to bf16 explains")
    elif order(ours, f32) < 0.95:
        sys.exit("the quantized engine ranks more than one pair in twenty differently from f32")


def repeatability(output, url, target):
    """Checks that a text has one score bit for bit. The CPU engine promises that; for TensorRT it is only reported."""
    first = read(output, "agreement")["scores"]
    messages = read(output, "reference")["messages"]
    again = [Client(url).score(one)[0] for one in messages]
    mixed = list(range(len(messages))) * 4
    random.Random(1).shuffle(mixed)
    batched = together(url, [messages[index] for index in mixed], 32)
    alone_changed = sum(a != b for a, b in zip(first, again))
    batched_changed = sum(scores != first[index] for index, scores in zip(mixed, batched))
    largest = max(differences(batched, [first[index] for index in mixed]))
    result = {"texts": len(messages), "changed_alone": alone_changed, "asked_together": len(mixed),
              "changed_together": batched_changed, "largest_change": largest}
    print(json.dumps(result, indent=1))
    record(output, "repeatability", **result)
    if target == "cpu" and (alone_changed or batched_changed):
        sys.exit("the CPU engine gave a text two scores")


def streaming(output, url, target):
    """Checks that a streamed response has the scores of a whole one, within the repeatability of whole ones."""
    messages = conversations(1)[0]
    client = Client(url)
    whole = json.loads(client.post("/v1/chat/completions", {"messages": messages})[1])
    status, body = client.post("/v1/chat/completions", {"messages": messages, "stream": True})
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    text = "".join(choice["delta"].get("content") or "" for line in lines if line != "[DONE]"
                   for choice in json.loads(line)["choices"])
    record(output, "streaming", status=status, events=len(lines))
    expected = whole["choices"][0]["message"]["content"]
    if lines[-1:] != ["[DONE]"] or [name for name, _ in pairs(text)] != [name for name, _ in pairs(expected)]:
        sys.exit(f"streamed {text!r}, whole {expected!r}")
    # The second request reuses the prefix of the first, for which TensorRT may choose another kernel.
    allowed = 0 if target == "cpu" else max(read(output, "repeatability")["largest_change"], 2**-5)
    if max(differences([[score for _, score in pairs(text)]], [[score for _, score in pairs(expected)]])) > allowed:
        sys.exit(f"streamed {text!r}, whole {expected!r}: more than {allowed} apart")


def pairs(text):
    """The names and scores in the text of a response."""
    return [(name, float(score)) for name, score in (pair.split(":") for pair in text.split(",") if pair)]


def target_facts(name):
    """The peak rates of a target, from its file."""
    for path in sorted(Path(ROOT, "engines/targets").glob("*.yaml")):
        lines = [line for line in path.read_text().splitlines() if ": " in line and not line.startswith("#")]
        facts = {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}
        if name == facts["name"] or f'"{name}"' in facts["aliases"]:
            rates = dict(pair.split(":") for pair in facts["dense_tflops"].strip("{ }").split(","))
            facts["rates"] = {precision.strip(): float(rate) for precision, rate in rates.items()}
            return facts
    sys.exit(f"there is no target {name} in engines/targets")


def precision(output):
    """The precision of the engine, the bytes of one weight (both by the profile's name), and the profile."""
    profile = json.loads(subprocess.run(
        ["assay", "profiles", "--json", "--engines", Path(output, "engine")], capture_output=True, check=True).stdout)[0]
    word = re.search(r"-([^-]+)(-tp\d+(-pp\d+)?-\w+)?$", profile["name"])[1]
    kind, size = next(format[1:] for format in FORMATS if word.startswith(format[0]))
    return kind, size, profile


def throughput(output, url, target, model, connections, words, seconds):
    """Tokens per second with distinct texts, also as a share of the dense rate, and the time of one text alone."""
    connections, words, seconds = int(connections), int(words), float(seconds)
    generator = random.Random(7)
    client = Client(url)
    alone = []
    for _ in range(12):
        started = time.perf_counter()
        client.score(noise(generator, words))
        alone.append(time.perf_counter() - started)
    short = []
    for _ in range(12):
        started = time.perf_counter()
        client.score(noise(generator, 1))
        short.append(time.perf_counter() - started)
    stop = time.perf_counter() + seconds

    def work(seed):
        own, mine = random.Random(seed), Client(url)
        done = tokens = 0
        while time.perf_counter() < stop:
            tokens += mine.score(noise(own, words))[1]
            done += 1
        return done, tokens

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        done = list(pool.map(work, range(connections)))
    elapsed = time.perf_counter() - started
    requests, tokens = sum(one for one, _ in done), sum(one for _, one in done)
    kind, size, profile = precision(output)
    facts, parameters = target_facts(target), read(output, "reference")
    result = {"connections": connections, "requests": requests, "tokens": tokens, "seconds": elapsed,
              "tokens_per_second": tokens / elapsed, "requests_per_second": requests / elapsed,
              "milliseconds_alone": 1000 * statistics.median(alone),
              "milliseconds_alone_short": 1000 * statistics.median(short),
              "precision": kind, "profile": profile["name"], "ranks": profile["ranks"]}
    if parameters:
        count = parameters["parameters"]
        rate = facts["rates"].get(kind, facts["rates"]["bf16"]) * 1e12 * profile["ranks"]
        bandwidth = float(facts["memory_gb_per_s"]) * 1e9 * profile["ranks"]
        # One multiplication and one addition for each weight and token; attention is left out.
        result["limit_tokens_per_second"] = rate / (2 * count)
        result["share_of_limit"] = tokens / elapsed / result["limit_tokens_per_second"]
        # A short text alone must at least read every weight once.
        result["share_of_bandwidth_short"] = count * size / statistics.median(short) / bandwidth
    print(json.dumps(result, indent=1))
    record(output, "throughput", **result)


def flood(output, url, connections):
    """Sends requests until the server refuses: each must get a score, or be refused before it is started."""
    def work(seed):
        own, counts = random.Random(1000 + seed), {"scored": 0, "refused": 0, "broken": 0}
        client = Client(url)
        while counts["refused"] + counts["broken"] == 0:
            try:
                status, _ = client.post("/v1/chat/completions", {"messages": noise(own, 200)})
                counts["scored" if status == 200 else "refused"] += 1
            except ConnectionRefusedError:
                counts["refused"] += 1
            except (OSError, http.client.HTTPException):
                # An idle connection may be closed while the server exits, which looks the same here as a response
                # that was cut off. The exit status distinguishes them: it is 4 if a request got no response.
                counts["broken"] += 1
        return counts

    with concurrent.futures.ThreadPoolExecutor(int(connections)) as pool:
        counts = list(pool.map(work, range(int(connections))))
    total = {name: sum(one[name] for one in counts) for name in counts[0]}
    print(total)
    record(output, "drain", **total)
    if total["scored"] == 0:
        sys.exit("nothing was scored before the server exited")


def busy(url):
    """Waits until requests are in flight."""
    for _ in range(600):
        with urllib.request.urlopen(f"{url}/v1/metrics", timeout=10) as answer:
            running = [line for line in answer.read().decode().splitlines() if line.startswith("num_requests_running")]
        if running and float(running[0].rsplit(" ", 1)[1]) > 0:
            return
        time.sleep(0.05)
    sys.exit("no request was in flight within half a minute")


def same(output, url):
    """Checks that the restarted server gives the same scores."""
    before, messages = read(output, "agreement")["scores"], read(output, "reference")["messages"]
    after = [Client(url).score(one)[0] for one in messages]
    changed = sum(a != b for a, b in zip(before, after))
    largest = max(differences(before, after))
    print(f"{changed} of {len(after)} scores changed, by at most {largest}")
    record(output, "restart", changed=changed, largest_change=largest)


def step(output, name, status, started, ended):
    path = Path(output, "steps.jsonl")
    with path.open("a") as steps:
        line = {"step": name, "passed": status == "0", "seconds": round(float(ended) - float(started), 2)}
        steps.write(json.dumps(line) + "\n")


def last_words(output, name):
    lines = Path(output, f"{name}.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


# What a step that fails on a new machine most likely means; nobody has run them on one before.
MEANINGS = {
    "machine": "assay does not start here: see its log",
    "link": "the image is not that of docker/gpu.Dockerfile, or its libraries moved: compare the paths in build.rs",
    "headers": "this TensorRT-LLM has another interface than 1.2.1's as it was read: the first error names the member",
    "reference": "torch or transformers is missing, or does not know the checkpoint: not a fault of Assay's",
    "build": "trtllm-build does not take the checkpoint or an option: its last words name which; send the whole log",
    "profiles": "the engine was built for another kind of GPU, or another TensorRT-LLM, than this machine has",
    "start": "the engine does not load: look for the first [ERROR] in server.log; memory, a version or an assumption "
             "about the Executor",
    "first": "if the difference is large, a tensor is in the wrong place or the logits are read at the wrong token",
    "agreement": "if many are off, the precision of the head; if long ones, the rotary table or a window",
    "repeatability": "only the CPU engine promises it; on a GPU this step fails only when a request does",
    "streaming": "the stream's format, not the engine",
    "throughput": "requests failed under load: memory or the length of the library's queue; see server.log",
    "drain": "the server exited before its answers were sent, or mpirun did not pass the signal on",
    "restart": "GPU memory was not freed, or the port not released",
    "small_head": "the runtime does not take a vocabulary of 64 from config.json: keep the full head, and send the log",
    "chat_model": "numpy is missing",
    "generation_reference": "as for reference",
    "generation_build": "as for build",
    "generation_start": "as for start",
    "generation_agreement": "if the first token differs, the prompt; if a later one, sampling or the end id",
    "generation_throughput": "as for throughput",
    "generation_end": "as for drain",
}


def report(output, target, model, build, stage=""):
    """Writes the report of a stage as Markdown and as JSON."""
    steps = [json.loads(line) for line in Path(output, "steps.jsonl").read_text().splitlines()]
    names = ["machine", "first", "agreement", "small_head", "repeatability", "streaming", "throughput", "drain", "restart", "generation",
             "generation_throughput"]
    results = {name: found for name in names if (found := read(output, name)) is not None}
    for name in ("agreement", "small_head"):
        results.get(name, {}).pop("scores", None)
    passed = all(one["passed"] for one in steps)
    whole = {"passed": passed, "stage": stage or "all", "target": target, "model": model, "build": build, "steps": steps, "results": results}
    path = Path(output, f"report-{stage}" if stage else "report")
    path.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
    lines = [f"# Acceptance on {target}, stage {stage or 'all'}: {'passed' if passed else 'FAILED'}", "",
             f"Checkpoint `{model}`, build-engine `{build or '(defaults)'}`.", "", "| step | | seconds | |", "|---|---|---|---|"]
    for one in steps:
        words = "" if one["passed"] else last_words(output, one["step"]).replace("|", "\\|")
        lines.append(f"| {one['step']} | {'passed' if one['passed'] else 'FAILED'} | {one['seconds']} | {words} |")
    failed = [one["step"] for one in steps if not one["passed"]]
    if failed:
        lines += ["", "Most likely:", ""] + [f"- **{step}**: {MEANINGS.get(step, 'not known')}" for step in failed]
        lines += ["", "Please send this file, the `.log` files of these steps and `server.log`."]
    for name, found in results.items():
        lines += ["", f"## {name.capitalize().replace('_', ' ')}", "", "| | |", "|---|---|"]
        lines += [f"| {key.replace('_', ' ')} | {shown(value)} |" for key, value in found.items()]
    lines += ["", f"Peak rates and bandwidth are from `engines/targets` for {target}."]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def shown(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    globals()[sys.argv[1]](*sys.argv[2:])
