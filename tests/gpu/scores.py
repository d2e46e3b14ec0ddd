"""Steps that compare scores with those of transformers and with earlier ones of the same server."""

import json
import random
import statistics
import sys

from client import Client, conversations, noise, together
from hardware import precision
from results import read, record


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


def same(output, url):
    """Checks that the restarted server gives the same scores."""
    before, messages = read(output, "agreement")["scores"], read(output, "reference")["messages"]
    after = [Client(url).score(one)[0] for one in messages]
    changed = sum(a != b for a, b in zip(before, after))
    largest = max(differences(before, after))
    print(f"{changed} of {len(after)} scores changed, by at most {largest}")
    record(output, "restart", changed=changed, largest_change=largest)
