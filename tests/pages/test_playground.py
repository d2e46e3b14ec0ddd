"""The playground, used with the keyboard alone."""

import json
import subprocess
import urllib.request

from playwright.sync_api import Page, expect


def rewards(url: str, prompt: str, responses: list[str]) -> list[dict]:
    body = {"model": "five", "messages": [{"role": "user", "content": prompt}], "responses": responses}
    request = urllib.request.Request(url + "/v1/rewards", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["data"]


def tab_to(page: Page, selector: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator(selector).evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{selector} cannot be reached with the Tab key")


def fill(page: Page, selector: str, text: str) -> None:
    tab_to(page, selector)
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def test_responses_can_be_compared_without_a_mouse(server, page: Page):
    page.goto(server.url)
    expect(page.locator("#model option").first).to_have_text("five")
    prompt, responses = "What's <b>1+1</b>?", ["1+1 is \"2\" & that's it.", "<img src=x onerror=alert(1)>", ""]
    fill(page, "#prompt", prompt)
    fill(page, ".response:nth-child(1) textarea", responses[0])
    fill(page, ".response:nth-child(2) textarea", responses[1])
    tab_to(page, "#add")
    page.keyboard.press("Enter")
    expect(page.locator(".response:nth-child(3) textarea")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_have_text("Scored 3 of 3 responses with five.")

    due = rewards(server.url, prompt, responses)
    assert page.locator(".attribute h3").all_text_contents() == list(due[0]["scores"])
    shown = [float(value) for value in page.locator(".bar .value").evaluate_all("all => all.map(one => one.title)")]
    assert shown == [item["scores"][name] for name in due[0]["scores"] for item in due]
    best = min(due, key=lambda item: item["rank"])["index"]
    expect(page.locator("#ranking li").first.locator(".mark")).to_have_text("ABC"[best])
    assert "<img" in page.locator("#ranking").text_content() and page.locator("#ranking img").count() == 0
    assert page.faults == []
    assert all(url.startswith((server.url, "data:")) for url in page.asked)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"


def test_the_code_shown_makes_the_same_request(server, page: Page):
    page.goto(server.url)
    expect(page.locator("#model option").first).to_have_text("five")
    page.fill(".response:nth-child(1) textarea", "It's \"quoted\"\nover two lines, $HOME and `ls`.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#code")).to_be_visible()
    command = page.locator("#curl").text_content()
    answer = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout)
    expect(page.locator(".bar")).not_to_have_count(0)
    shown = page.locator(".attribute:first-child .value").evaluate_all("all => all.map(one => Number(one.title))")
    assert shown == [item["scores"]["helpfulness"] for item in answer["data"]]
    sent = {}
    fake = type("requests", (), {"post": lambda url, json: sent.update(url=url, json=json) or Answer()})
    program = page.locator("#python").text_content().replace("import requests", "")
    exec(program, {"requests": fake, "print": lambda *_: None})
    assert sent["url"] == server.url + "/v1/rewards"
    assert sent["json"]["responses"][0] == "It's \"quoted\"\nover two lines, $HOME and `ls`."


class Answer:
    def raise_for_status(self) -> None: ...

    def json(self) -> dict:
        return {"data": [{"index": 0, "scores": {}}]}


def test_an_error_of_the_server_is_shown(server, page: Page):
    page.goto(server.url)
    expect(page.locator("#model option").first).to_have_text("five")
    page.fill(".response:nth-child(1) textarea", "word " * 5000)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#ranking .bad")).to_contain_text("tokens")
    expect(page.locator("#status")).to_contain_text("Scored 1 of 2")
