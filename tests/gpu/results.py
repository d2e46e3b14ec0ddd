"""Results of steps, which each step writes to OUTPUT/results and later ones read."""

import json
from pathlib import Path


def record(output, name, **found):
    Path(output, "results", f"{name}.json").write_text(json.dumps(found, indent=1))


def read(output, name):
    path = Path(output, "results", f"{name}.json")
    return json.loads(path.read_text()) if path.exists() else None
