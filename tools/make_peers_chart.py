#!/usr/bin/env python3
"""Draw how many times as fast Assay is as other engines, from the results of tools/bench_peers.py.

    make_peers_chart.py RESULTS.jsonl docs/images/peers.svg [--title TEXT] [--clock]

Each kind of work has one bar per engine; the line is at 1, equally fast. Ratios are those
of processor time, or with --clock of the time on the clock. Among several
results for the same work and engine, the last counts. The colours follow the reader's
light or dark setting.
"""

import argparse
import json
from pathlib import Path
from xml.sax.saxutils import escape

TITLES = {
    "texts": "8 texts of 256 tokens",
    "one-text": "one text of 256 tokens",
    "best-of-n": "16 responses, new prompt",
    "best-of-n-warm": "16 responses, prompt cached",
    "long-2048": "one text of 2,048 tokens",
    "long-8192": "one text of 8,192 tokens",
    "generate": "generation, one stream",
    "generate-8": "generation, 8 streams",
    "rubric": "ten questions, new conversation",
    "rubric-warm": "ten questions, conversation cached",
    "short": "short texts over HTTP",
}
NAMES = {
    "vllm": "vLLM",
    "vllm-eager": "vLLM",
    "vllm-at-once": "vLLM, ten at once",
    "vllm-int8": "vLLM, W8A8",
    "openvino": "OpenVINO",
    "openvino-int8": "OpenVINO, W8A8",
    "onnxruntime": "ONNX Runtime",
    "inductor": "transformers, inductor",
    "eager": "transformers, eager",
    "zentorch": "zentorch",
    "llama-cpp": "llama.cpp",
    "llama-cpp-q8": "llama.cpp, Q8_0",
}
LEFT, BAR, WIDTH, ROW, GAP, TOP = 300, 380, 760, 20, 12, 58
# Ratios beyond this are cut, with an arrow.
LARGEST = 5.0
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.work { font-weight: 600; }
.ahead { fill: #1a7f37; }
.behind { fill: #bc4c00; }
.one { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 4 3; }
.back { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ahead { fill: #3fb950; }
  .behind { fill: #db6d28; }
  .one { stroke: #9198a1; }
  .back { fill: #0d1117; }
}
"""


def read(path, measure):
    """Ratios by work and engine."""
    ratios = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        found = {name: engine[measure] for name, engine in result["engines"].items() if name != "assay"}
        ratios.setdefault(result["work"], {}).update(found)
    return {work: ratios[work] for work in TITLES if work in ratios}


def text(x, y, content, kind="", anchor="start"):
    """A text element."""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def bar(y, name, ratio):
    """The bar of one engine, its name and its ratio."""
    length = round(min(ratio, LARGEST) / LARGEST * BAR)
    kind = "ahead" if ratio >= 1 else "behind"
    label = f"{ratio:.2f} ×" if ratio < 10 else f"{ratio:.0f} ×"
    arrow = f'<path class="{kind}" d="M{LEFT + length} {y} l8 7 l-8 7 z"/>' if ratio > LARGEST else ""
    return [
        text(LEFT - 8, y + 12, NAMES[name], anchor="end"),
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length}" height="14" rx="2"/>{arrow}',
        text(LEFT + length + (14 if arrow else 6), y + 12, label),
    ]


def draw(ratios, title):
    """The drawing."""
    body, y = [], TOP
    for work, engines in ratios.items():
        body.append(text(16, y + 12, TITLES[work], "work"))
        y += ROW
        for name in (name for name in NAMES if name in engines):
            body += bar(y, name, engines[name])
            y += ROW
        y += GAP
    one = LEFT + BAR / LARGEST
    body.append(f'<line class="one" x1="{one}" x2="{one}" y1="{TOP - 8}" y2="{y - GAP}"/>')
    body.append(text(one, TOP - 14, "equally fast", anchor="middle"))
    height = y + 4
    described = "; ".join(
        f"{TITLES[work]}: " + ", ".join(f"{NAMES[name]} {ratio:.2f}" for name, ratio in engines.items())
        for work, engines in ratios.items()
    )
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(described)}</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
        text(16, 26, title, "title"),
        *body,
        "</svg>\n",
    ])


def main():
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--title", default="How many times as fast as other engines Assay is")
    parser.add_argument("--clock", action="store_true", help="compare the time on the clock")
    args = parser.parse_args()
    ratios = read(args.results, "assay_over_it" if args.clock else "by_processor_time")
    args.output.write_text(draw(ratios, args.title), encoding="utf-8")


if __name__ == "__main__":
    main()
