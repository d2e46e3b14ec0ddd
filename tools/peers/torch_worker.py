"""transformers as a worker of tools/bench_peers.py: eager, or compiled by inductor or zentorch."""

import torch
import transformers

import worker


def load(args):
    """Load the model; a job's texts have one length and are one batch."""
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    scores = args.kind == "score"
    kind = transformers.AutoModelForSequenceClassification if scores else transformers.AutoModelForCausalLM
    model = kind.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()
    if args.backend == "zentorch":
        import zentorch  # pylint: disable=import-outside-toplevel

        versions["zentorch"] = zentorch.__version__
    if args.backend != "eager":
        model.forward = torch.compile(model.forward, backend=args.backend)

    # Encoders have no cache, and take no such argument.
    uncached = {"use_cache": False} if hasattr(model.config, "use_cache") else {}

    def run(job):
        ids = torch.tensor(job.get("score") or job["generate"])
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            if "score" in job:
                model(input_ids=ids, attention_mask=mask, **uncached)
            else:
                number = job["tokens"]
                model.generate(ids, attention_mask=mask, do_sample=False, min_new_tokens=number, max_new_tokens=number)

    return versions, run


if __name__ == "__main__":
    worker.serve(load)
