"""The machine, the peak rates of a target, and the precision of an engine."""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

from results import record

ROOT = Path(__file__).resolve().parents[2]
# The precision in a profile's name, the precision it computes in, and the bytes of one weight.
FORMATS = [
    ("f32", "f32", 4), ("bf16", "bf16", 2), ("int8wo", "bf16", 1), ("int4wo", "bf16", 0.5), ("int8", "int8", 1),
    ("fp8", "fp8", 1), ("nvfp4", "fp4", 0.5), ("w4a16", "bf16", 0.5), ("w4a8", "fp8", 0.5), ("w8a8", "int8", 1),
]


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
