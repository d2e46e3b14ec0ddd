"""The pages in headless Chromium, with the servers of tests/wire."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

# Loaded by its path, because the name `conftest` is this module.
_spec = importlib.util.spec_from_file_location("wire", Path(__file__).parents[1] / "wire/conftest.py")
wire = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire)
engines, server = wire.engines, wire.server

# In milliseconds. Playwright's own limit of 5 s is too short for a debug build on a busy machine.
TIME_LIMIT = wire.TIME_LIMIT * 1000
expect.set_options(timeout=TIME_LIMIT)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request) -> Iterator[Page]:
    """A page as wide as a phone that records every error and every request."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=request.param)
    page.set_default_timeout(TIME_LIMIT)
    page.faults, page.asked = [], []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: page.asked.append(asked.url))
    yield page
    page.close()
