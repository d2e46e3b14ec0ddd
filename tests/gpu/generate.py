"""The steps of `accept.sh` for a model that generates text; each writes its results to OUTPUT/results."""

import concurrent.futures
import json
import os
import random
import statistics
import sys
import time

from client import QUESTIONS, Client, noise
from results import read, record

ASK = {"temperature": 0, "ignore_eos": True, "logprobs": True}


def complete(client, messages, **more):
    """The tokens, their log-probabilities, and the number of prompt tokens."""
    status, body = client.post("/v1/chat/completions", {"messages": messages} | ASK | more)
    if status != 200:
        raise RuntimeError(f"status {status}: {body.decode()}")
    answer = json.loads(body)
    tokens = answer["choices"][0]["logprobs"]["content"]
    return [one["token"] for one in tokens], [one["logprob"] for one in tokens], answer["usage"]["prompt_tokens"]


def reference(output, model, new_tokens):
    """Greedy tokens of transformers in f32, with their log-probabilities in f32 and, for the same tokens, in bf16."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = [tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in chats]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    answers, logprobs = None, {}
    for dtype in ("float32", "bfloat16"):
        loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).to(device).eval()
        with torch.inference_mode():
            if answers is None:
                ids = [torch.tensor([prompt], device=device) for prompt in prompts]
                options = {"do_sample": False, "min_new_tokens": int(new_tokens), "max_new_tokens": int(new_tokens)}
                # No end token, so that the text is the plain greedy one.
                loaded.generation_config = transformers.GenerationConfig(eos_token_id=None, pad_token_id=0)
                answers = [loaded.generate(one, **options)[0, one.shape[1] :].tolist() for one in ids]
            logprobs[dtype] = []
            for prompt, answer in zip(prompts, answers, strict=True):
                logits = loaded(torch.tensor([prompt + answer], device=device)).logits[0, len(prompt) - 1 : -1].float()
                every = torch.log_softmax(logits, -1)
                logprobs[dtype].append([float(row[token]) for row, token in zip(every, answer, strict=True)])
        del loaded
    record(output, "generation_reference", messages=chats, prompts=prompts, answers=answers, logprobs=logprobs)


def agreement(output, url):
    """Compares greedy texts up to where they part: a bf16 engine should be about as far from f32 as transformers in
    bf16, and part from it only where two tokens are about equally likely."""
    found, client = read(output, "generation_reference"), Client(url)
    if found is None:
        sys.exit("there is no reference to compare with")
    spelling = {}

    def spell(token):
        if token not in spelling:
            spelling[token] = json.loads(client.post("/detokenize", {"tokens": [token]})[1])["prompt"]
        return spelling[token]

    together, ours, theirs, same_tokens = [], [], [], True
    for index, messages in enumerate(found["messages"]):
        answer = found["answers"][index]
        spelled, logprobs, prompt_tokens = complete(client, messages, max_tokens=len(answer), skip_special_tokens=False)
        same_tokens &= prompt_tokens == len(found["prompts"][index])
        f32, bf16 = found["logprobs"]["float32"][index], found["logprobs"]["bfloat16"][index]
        alike = next((at for at, (a, b) in enumerate(zip(spelled, answer)) if a != spell(b)), len(answer))
        together.append(alike)
        ours += [abs(a - b) for a, b in zip(logprobs[:alike], f32)]
        theirs += [abs(a - b) for a, b in zip(bf16[:alike], f32)]
    sampled = {"max_tokens": 32, "temperature": 1, "seed": 7}
    seeds = [complete(client, found["messages"][0], **sampled)[0] for _ in range(2)]
    result = {
        "texts": len(together), "same_token_counts": same_tokens, "tokens_each": len(found["answers"][0]),
        "tokens_alike": together, "mean_difference": statistics.mean(ours) if ours else None,
        "transformers_bf16_mean_difference": statistics.mean(theirs) if theirs else None,
        "a_seed_repeats": seeds[0] == seeds[1],
    }
    print(json.dumps(result, indent=1))
    record(output, "generation", **result)
    if not same_tokens:
        sys.exit("token counts differ from those of transformers")
    if not ours:
        sys.exit("no text starts with the token of transformers")
    if statistics.mean(ours) > 2 * statistics.mean(theirs) + 1e-3:
        sys.exit("log-probabilities are further from f32 than rounding to bf16 explains")
    if not result["a_seed_repeats"]:
        sys.exit("the same seed gave two texts")


def throughput(output, url, connections, new_tokens, seconds):
    """Tokens per second with many concurrent texts, and with one alone."""
    connections, new_tokens, seconds = int(connections), int(new_tokens), float(seconds)
    options = {"max_tokens": new_tokens, "logprobs": False, "temperature": 1}

    def generate(client, own):
        body = {"messages": noise(own, 50)[:1]} | ASK | options
        status, answer = client.post("/v1/chat/completions", body)
        if status != 200:
            raise RuntimeError(f"status {status}: {answer.decode()}")
        return json.loads(answer)["usage"]["completion_tokens"]

    client, own = Client(url), random.Random(3)
    generate(client, own)
    alone = []
    for _ in range(5):
        started = time.perf_counter()
        alone.append(generate(client, own) / (time.perf_counter() - started))
    stop = time.perf_counter() + seconds

    def work(seed):
        mine, tokens = Client(url), 0
        own = random.Random(seed)
        while time.perf_counter() < stop:
            tokens += generate(mine, own)
        return tokens

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        tokens = sum(pool.map(work, range(connections)))
    elapsed = time.perf_counter() - started
    result = {"connections": connections, "tokens_each": new_tokens, "tokens": tokens, "seconds": elapsed,
              "tokens_per_second": tokens / elapsed, "tokens_per_second_alone": statistics.median(alone)}
    print(json.dumps(result, indent=1))
    record(output, "generation_throughput", **result)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    globals()[sys.argv[1]](*sys.argv[2:])
