"""Records what Python's datetime.strftime gives, in tests/golden/strftime.jsonl: a date, a format and a text
per line."""

import datetime
import json
import pathlib

DATES = ["2024-07-26", "2024-01-01", "2023-01-01", "2024-12-31", "2000-02-29", "1999-12-31", "2026-11-08", "2021-01-03"]
FLAGS = ["", "-", "_", "0", "^", "#", "10", "-5", "_6", "05"]
LETTERS = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYQ"
OTHERS = ["", "plain", "100%%", "%f", "%z|%Z", "%", "%-", "%B %-d, %Y", "%d %b %Y", "%I:%M %p", "%Ey %Od", "é %A", "%%d"]


def main():
    formats = [f"%{flag}{letter}" for letter in LETTERS for flag in FLAGS] + OTHERS
    lines = ['"Recorded by tools/make_strftime_goldens.py"']
    for index, name in enumerate(DATES):
        date = datetime.datetime.fromisoformat(name)
        # Flags change the form only, so that two dates are enough for them.
        chosen = formats if index < 2 else [f"%{letter}" for letter in LETTERS]
        for format in chosen:
            lines.append(json.dumps([name, format, date.strftime(format)], ensure_ascii=False))
    path = pathlib.Path(__file__).parent.parent / "tests/golden/strftime.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
