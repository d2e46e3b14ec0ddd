"""The pages of a server with API keys: anyone may open them, and their calls use the key that is typed."""

from collections.abc import Iterator

import pytest
from conftest import wire
from playwright.sync_api import Page, expect

KEY = "sk-0123456789abcdef0123"


@pytest.fixture(scope="module")
def closed(engines, tmp_path_factory) -> Iterator:
    """A server that requires a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    with wire.Server(engines["llama3-tiny"], "--served-model-name", "five", "--api-keys-file", keys) as server:
        yield server


def test_the_playground_asks_for_a_key_and_keeps_it_for_the_tab(closed, page: Page):
    page.goto(closed.url)
    expect(page.locator("#status")).to_have_text("This server asks for an API key: type it into the marked field.")
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.insert_text("sk-of-somebody-else")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("This API key is not one of the server's.")
    page.fill("#key", KEY)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_have_text("Scored 2 of 2 responses with five.")
    expect(page.locator("#key")).to_have_attribute("aria-invalid", "false")

    page.reload()
    expect(page.locator("#model option").first).to_have_text("five")
    expect(page.locator("#status")).to_have_text("Nothing scored yet.")
    assert page.evaluate("Object.keys(localStorage).length") == 0 and page.evaluate("document.cookie") == ""
    another = page.context.browser.new_page()
    another.goto(closed.url)
    expect(another.locator("#status")).to_contain_text("asks for an API key")
    another.close()


def test_the_api_page_calls_routes_with_a_key(closed, page: Page):
    page.set_viewport_size({"width": 1000, "height": 900})
    page.goto(closed.url + "/docs")
    page.locator(".auth-wrapper .authorize").click()
    page.locator(".auth-container input").fill(KEY)
    page.locator(".auth-container button[type=submit]").click()
    page.locator(".auth-container .btn-done").click()
    models = page.locator("#operations-service-models")
    models.locator(".opblock-summary-control").click()
    models.get_by_role("button", name="Try it out").click()
    models.get_by_role("button", name="Execute").click()
    expect(models.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert all(url.startswith((closed.url, "data:")) for url in page.asked)
