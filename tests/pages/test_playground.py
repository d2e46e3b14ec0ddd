"""The playground, used with the keyboard alone."""

import json
import subprocess
import urllib.request

from conftest import wire
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
    best = min(due, key=lambda item: item["rank"])
    expect(page.locator("#ranking li").first.locator(".mark")).to_have_text("ABC"[best["index"]])
    expect(page.locator("#ranking li").first.locator(".value")).to_have_attribute("title", str(best["scores"]["helpfulness"]))
    expect(page.locator(".reason").first).to_have_text("Ranked by helpfulness")
    expect(page.locator("#about")).to_contain_text("5 attributes")
    expect(page.locator("#key")).to_be_hidden()
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
    page.locator("#code summary").click()
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


def scored(page: Page) -> None:
    page.locator("#score").click()
    expect(page.locator("#status")).to_contain_text("Scored")


def paste(page: Page, text: str) -> None:
    if page.locator("#paste-box").get_attribute("open") is None:
        page.locator("#paste-box summary").click()
    page.fill("#paste", text)
    page.locator("#paste-use").click()


def test_many_responses_become_a_table_that_can_be_sorted(server, page: Page):
    page.goto(server.url)
    expect(page.locator("#model option").first).to_have_text("five")
    texts = [f"Answer {n}: {'see the Louvre ' * n}" for n in range(16)]
    paste(page, json.dumps(texts))
    scored(page)
    due = rewards(server.url, "I am going to Paris, what should I see?", texts)
    rows = page.locator(".table-responses tbody tr")
    expect(rows).to_have_count(16)
    ranks = [int(rank) for rank in page.locator(".table-responses tbody td:first-child").all_text_contents()]
    assert ranks == sorted(item["rank"] for item in due)
    page.locator(".sort", has_text="verbosity").click()
    shown = page.locator(".table-responses tbody td:last-child .value").evaluate_all("all => all.map(one => Number(one.title))")
    assert shown == sorted((item["scores"]["verbosity"] for item in due), reverse=True)
    rows.first.locator("summary").click()
    expect(rows.first.locator("details p")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"
    assert page.faults == []


def test_a_wide_table_scrolls_by_itself_and_its_rows_keep_their_names(server, page: Page):
    names = ["score", *(f"ultrafeedback-instruction_following_{n}" for n in range(19))]
    data = [{"index": index, "rank": index + 1, "scores": dict.fromkeys(names, index / 10)} for index in range(16)]
    answer = {"model": "five", "data": data, "ranked_by": "score", "usage": {"prompt_tokens": 9}}
    page.route("**/v1/rewards", lambda route: route.fulfill(json=answer))
    page.goto(server.url)
    paste(page, json.dumps([f"Answer {n}: {'see the Louvre ' * 20}" for n in range(16)]))
    scored(page)
    frame = page.locator(".scrolled")
    kept = page.locator(".table-responses tr:first-child > :nth-child(-n+2)")
    for width in (390, 1366):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"the page is wider than {width}"
        places = []
        for left in (0, 1_000_000):
            frame.evaluate("(element, left) => { element.scrollLeft = left }", left)
            places.append(kept.evaluate_all("all => all.map(one => one.getBoundingClientRect().x)"))
        assert places[0] == places[1], "the rank and the response scrolled away"
        right = kept.last.evaluate("one => one.getBoundingClientRect().right")
        last = page.locator(".table-responses tbody tr:first-child td:last-child").bounding_box()
        assert last["x"] >= right and last["x"] + last["width"] <= width, "no room is left for a score"
        head = page.locator(".table-responses thead th:last-child .sort").bounding_box()
        assert 80 <= head["width"] <= 110, "a long name is squeezed, or makes its column wide"


def test_many_attributes_become_a_table_tinted_by_attribute(server, page: Page):
    names = ["score", *(f"helpsteer-{n}" for n in range(19))]
    data = [{"index": index, "rank": index + 1, "scores": {name: index / 10 for name in names}} for index in range(2)]
    answer = {"model": "five", "data": data, "ranked_by": "score", "usage": {"prompt_tokens": 9}}
    page.route("**/v1/rewards", lambda route: route.fulfill(json=answer))
    page.goto(server.url)
    scored(page)
    assert page.locator(".table-attributes tbody th").all_text_contents() == names
    tints = page.locator(".table-attributes tbody tr").nth(5).locator("td").evaluate_all("all => all.map(one => one.style.cssText)")
    assert tints == ["--share: 0.000;", "--share: 1.000;"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"


def test_results_are_dimmed_once_the_form_is_edited(server, page: Page):
    page.goto(server.url)
    scored(page)
    expect(page.locator("#result")).not_to_have_class("stale")
    page.fill("#prompt", "Something else")
    expect(page.locator("#result")).to_have_class("stale")
    expect(page.locator("#status")).to_have_text("Edited since: score again.")
    scored(page)
    expect(page.locator("#result")).not_to_have_class("stale")


def test_several_turns_and_pasted_requests_are_scored_as_they_are(server, page: Page):
    page.goto(server.url)
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "1+1?"}]
    paste(page, json.dumps({"messages": turns, "responses": ["2", "3"]}))
    expect(page.locator(".turn")).to_have_count(3)
    with page.expect_request("**/v1/rewards") as sent:
        scored(page)
    assert json.loads(sent.value.post_data) == {"model": "five", "messages": turns, "responses": ["2", "3"]}
    for text in ["2\n---\n3\n---\n4", '{"response": "2"}\n{"response": "3"}\n{"response": "4"}']:
        paste(page, text)
        assert page.locator(".response textarea").evaluate_all("all => all.map(one => one.value)") == ["2", "3", "4"]


def test_what_is_wrong_with_the_network_is_said_plainly(server, page: Page):
    page.goto(server.url)
    expect(page.locator("#model option").first).to_have_text("five")
    page.route("**/v1/rewards", lambda route: route.fulfill(status=502, body="<html>bad gateway"))
    page.locator("#score").click()
    expect(page.locator("#status")).to_contain_text("answered 502 with something other than JSON")
    page.route("**/v1/rewards", lambda route: route.abort())
    page.locator("#score").click()
    expect(page.locator("#status")).to_contain_text("The server does not answer")


def test_a_model_that_generates_gets_a_form_for_a_chat(page: Page, tmp_path):
    checkpoint = wire.CHECKPOINTS["lm-head-tiny"]
    with wire.Server(checkpoint, "--task", "chat", "--dtype", "f32", ASSAY_CACHE=str(tmp_path)) as chat:
        page.goto(chat.url)
        expect(page.locator("#do")).to_have_text("Generate")
        expect(page.locator("#responses-box")).to_be_hidden()
        page.locator("#score").click()
        expect(page.locator("#status")).to_contain_text("generated")
        page.locator("#reply button").click()
        expect(page.locator(".turn")).to_have_count(3)
    assert page.faults == []


# The relative luminance and contrast of WCAG 2.
CONTRAST = """
() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = numbers(color).map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((numbers(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const low = [];
  for (const one of document.querySelectorAll("main *, header *")) {
    if (!one.checkVisibility() || one.disabled) continue;
    const style = getComputedStyle(one);
    const has = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (has && contrast(style.color, ground(one)) < 4.5) low.push(["text", one.tagName, one.className, contrast(style.color, ground(one))]);
    if (/^(TEXTAREA|SELECT|INPUT)$/.test(one.tagName) || one.className === "track") {
      const edge = contrast(style.borderTopColor, ground(one.parentElement));
      if (edge < 3) low.push(["edge", one.tagName, one.className, edge]);
    }
  }
  return low;
}
"""


def test_texts_and_edges_have_enough_contrast(server, page: Page):
    page.goto(server.url)
    for _ in range(6):
        page.locator("#add").click()
    scored(page)
    assert page.evaluate(CONTRAST) == []
    page.reload()
    scored(page)
    assert page.evaluate(CONTRAST) == []
