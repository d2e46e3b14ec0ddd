"""Records what Jinja2 makes of small templates, in tests/golden/jinja.jsonl.

The first line of the file has the variables; every other line has a template and its text, or null if Jinja2 raises an
error. This script renders each template again and writes the file with what it finds. To add a template, add a line
with it and null, then run the script. The environment is the one that transformers compiles chat templates in.
"""

import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

PATH = pathlib.Path(__file__).parent.parent / "tests/golden/jinja.jsonl"


class Fixed(datetime.datetime):
    """A clock that always shows one day."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def render(template, variables):
    try:
        return chat_template_utils._compile_jinja_template(template).render(**variables)
    except Exception:
        return None


def main():
    chat_template_utils.datetime = Fixed
    first, *lines = PATH.read_text(encoding="utf-8").strip("\n").split("\n")
    variables = json.loads(first)
    texts = {template: render(template, variables) for template, _ in map(json.loads, lines)}
    # Addresses of objects are not the same twice.
    stable = [[template, text] for template, text in texts.items() if " at 0x" not in (text or "")]
    lines = [first, *(json.dumps(line, ensure_ascii=False) for line in stable)]
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(len(stable), "templates,", sum(text is None for _, text in stable), "errors")


if __name__ == "__main__":
    main()
