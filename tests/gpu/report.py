"""The report of a stage: which steps passed, what they measured, and what a failure most likely means."""

import json
from pathlib import Path

from results import read


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
