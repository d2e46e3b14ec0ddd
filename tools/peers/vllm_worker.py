"""vLLM's build for CPUs as a worker of tools/bench_peers.py, with prefix caching on.

It also answers `{"ask": TEXTS, "labels": IDS, "at_once": N}` with the log-probability of
each label after each text, of which N are submitted at once, and with the prompts' tokens
that were cached. `salt` keeps jobs apart that shall not share the cache.

The backend `int8` computes with weights of 8 bits, one scale for each row, and activations
of 8 bits, one scale for each token (W8A8, dynamic), as compressed-tensors describes it.
"""

import json
import os
import re
from pathlib import Path

import torch
import worker
from safetensors.torch import load_file, save_file

LINEAR = re.compile(r"layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight$")


def quantization():
    """The description of such a checkpoint in its config.json."""
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    activations = {**weights, "strategy": "token", "dynamic": True}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {
        "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
        "ignore": ["lm_head", "score"], "config_groups": {"group_0": group},
    }


def quantize(model, quantized):
    """Write a checkpoint whose linear layers have weights of 8 bits."""
    tensors = {}
    for path in sorted(model.glob("*.safetensors")):
        for name, tensor in load_file(path).items():
            if LINEAR.search(name):
                scale = tensor.float().abs().amax(dim=1, keepdim=True) / 127
                tensors[f"{name}_scale"] = scale.to(tensor.dtype)
                tensor = torch.round(tensor.float() / scale).clamp(-127, 127).to(torch.int8)
            tensors[name] = tensor.contiguous()
    quantized.mkdir()
    save_file(tensors, quantized / "model.safetensors", {"format": "pt"})
    for path in model.glob("*.json"):
        if not path.name.endswith(".index.json"):
            (quantized / path.name).write_bytes(path.read_bytes())
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = quantization()
    (quantized / "config.json").write_text(json.dumps(config), encoding="utf-8")


def load(args):
    """Load the model; a job gives all its texts at once, which is fastest in vLLM."""
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{args.threads - 1}")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    # The engine runs in this process, so that nothing is sent to another one.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    # vLLM reads these when it is imported.
    import vllm  # pylint: disable=import-outside-toplevel

    model = Path(args.model)
    if args.backend == "int8":
        quantized = Path(args.cache) / f"vllm-{model.name}-int8"
        if not quantized.exists():
            quantize(model, quantized)
        model = quantized
    engine = vllm.LLM(
        str(model),
        runner="pooling" if args.kind == "score" else "generate",
        dtype=args.dtype,
        max_model_len=args.context,
        enable_prefix_caching=True,
        disable_log_stats=True,
        # Compiling takes minutes on a busy machine.
        enforce_eager=args.backend == "eager",
    )

    def ask(job):
        wanted = vllm.SamplingParams(
            temperature=0, max_tokens=1, logprobs=len(job["labels"]), logprob_token_ids=job["labels"], detokenize=False
        )
        answers, texts = [], [{"prompt_token_ids": ids, "cache_salt": job["salt"]} for ids in job["ask"]]
        for start in range(0, len(texts), job["at_once"]):
            answers += engine.generate(texts[start : start + job["at_once"]], wanted, use_tqdm=False)
        found = [answer.outputs[0].logprobs[0] for answer in answers]
        return {
            "logprobs": [[each[label].logprob for label in job["labels"]] for each in found],
            "cached": sum(answer.num_cached_tokens or 0 for answer in answers),
        }

    def run(job):
        if "ask" in job:
            return ask(job)
        texts = [{"prompt_token_ids": ids} for ids in job.get("score") or job["generate"]]
        if "score" in job:
            engine.classify(texts, use_tqdm=False)
        else:
            wanted = vllm.SamplingParams(temperature=0, max_tokens=job["tokens"], ignore_eos=True, detokenize=False)
            engine.generate(texts, wanted, use_tqdm=False)
        return {}

    return {"vllm": vllm.__version__}, run


if __name__ == "__main__":
    worker.serve(load)
