"""Every example in docs/api.md, sent to a server."""

import json
import re
import urllib.request

import pytest
from conftest import ROOT, Server

TEXT = (ROOT / "docs/api.md").read_text()
SECTIONS = re.findall(r"^### `(GET|POST) (\S+)`\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)


def examples(section: str) -> list:
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", section, re.MULTILINE | re.DOTALL)]


def shape(value, names: set[str]):
    """The structure of a response: types in place of values. The keys of the fields in `names` are ignored."""
    if isinstance(value, dict):
        return {key: "any" if key in names else shape(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0], names)] if value else []
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.mark.parametrize(("method", "path", "section"), SECTIONS, ids=[f"{m} {p}" for m, p, _ in SECTIONS])
def test_a_documented_example_gets_the_documented_response(server: Server, method: str, path: str, section: str):
    *asked, shown = examples(section)
    body = None
    if method == "POST":
        body = json.dumps(asked[0]).replace('"demo"', '"five"').encode()
    request = urllib.request.Request(server.url + path, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        given = json.load(answer)
    if path == "/slime/reward":
        assert set(shown) <= set(given)
        return
    assert shape(given, {"scores"}) == shape(shown, {"scores"})


def test_every_route_in_the_openapi_document_is_documented(server: Server):
    for path in json.loads(server.get("/openapi.json")[1])["paths"]:
        assert path.replace("{name}", "NAME") in TEXT, path
