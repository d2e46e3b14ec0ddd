"""vLLM's build for CPUs as a worker of tools/bench_peers.py, with prefix caching on.

It also answers `{"ask": TEXTS, "labels": IDS, "at_once": N}` with the log-probability of
each label after each text, of which N are submitted at once, and with the prompts' tokens
that were cached. `salt` keeps jobs apart that shall not share the cache.
"""

import os

import worker


def load(args):
    """Load the model; a job gives all its texts at once, which is fastest in vLLM."""
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{args.threads - 1}")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    # The engine runs in this process, so that nothing is sent to another one.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    # vLLM reads these when it is imported.
    import vllm  # pylint: disable=import-outside-toplevel

    engine = vllm.LLM(
        args.model,
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
