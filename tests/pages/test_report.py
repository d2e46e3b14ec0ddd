"""The page that `assay report` writes."""

import json
from pathlib import Path

from conftest import wire
from playwright.sync_api import Page


def test_a_report_opens_from_a_file_and_fits_a_phone(engines, page: Page, tmp_path: Path):
    text = lambda n: "A walk along the Seine. " * n  # noqa: E731
    rows = [{"prompt": "Paris?", "chosen": text(n + 1), "rejected": text(9 - n), "subset": f"s{n % 2}"} for n in range(8)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scored = wire.assay("score", tmp_path / "in.jsonl", "--engine", engines["llama3-tiny"], "--output", tmp_path / "out.jsonl")
    assert scored.returncode == 0, scored.stderr
    assert wire.assay("report", tmp_path / "out.jsonl").returncode == 0
    page.goto((tmp_path / "out.html").as_uri())
    assert page.locator("svg").count() == 10 and page.locator("table").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"
    page.locator("summary").first.click()
    assert "Paris?" in page.locator("details[open]").inner_text()
    assert page.faults == [] and len(page.asked) == 1
