"""The schemas of request bodies against the code that reads the bodies.

A schema is a type for the documentation, and the fields are read one by one, so that every error names its
field. These tests compare the two from outside: for every route and every name that occurs in the routes'
code, they ask the server whether it reads a field of this name, which types and values it takes, and whether
it may be left out.
"""

import copy
import http.client
import json
import re
from collections.abc import Iterator

from conftest import ROOT, Engines, Server

API = ROOT / "src/api"
SOURCES = {path: path.read_text() for path in API.rglob("*.rs")}
# Every name that the code of a route may ask a request for.
NAMES = sorted({name for text in SOURCES.values() for name in re.findall(r'"([A-Za-z_][A-Za-z0-9_]*)"', text)})
# Fields that any route takes if they change nothing. They are documented in one place for all routes.
NEUTRAL = set(re.findall(r'"([a-z_]+)",\s*(?:Any|False|Zero|One|NoLimit|Empty|Words)', SOURCES[API / "neutral.rs"]))
NEUTRAL |= {"response_format", "modalities"}
# Fields that say how to generate, which a reward model ignores. Those that a model that generates reads are documented.
IGNORED = set(re.findall(r'"([a-z_]+)", Kind::', SOURCES[API / "chat/request.rs"]))

TEXT = "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
TURNS = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]


def content() -> dict:
    """A text in an object with parts."""
    return {"content": [{"type": "text", "text": "Hello"}]}


# Requests of other forms than the example in the document.
FORMS = {
    "/classify": [{"messages": TURNS}, {"text": TEXT}, {"input_ids": [72, 101]}],
    "/pooling": [{"input": TEXT}, {"prompt": TEXT}, {"messages": TURNS}],
    "/predict": [{"inputs": TEXT, "parameters": {"top_k": 1}}],
    "/rerank": [
        {"query": "Hello", "texts": ["Good day"]},
        {"query": {"text": "Hello"}, "documents": [{"text": "Good day"}]},
        {"query": content(), "documents": [content()]},
    ],
    "/score": [
        {"queries": ["Hello"], "documents": ["Good day"]},
        {"queries": ["Hello"], "items": ["Good day"]},
        {"data_1": "Hello", "data_2": "Good day"},
        {"query": TEXT, "items": [TEXT]},
        {"query": [72, 101], "items": [[108]]},
        {"query": "Yes?", "items": ["No."], "label_token_ids": [5, 7], "apply_softmax": True},
    ],
    "/tokenize": [{"messages": TURNS}, {"inputs": TEXT}],
    "/v1/chat/completions": [
        {"messages": TURNS, "max_tokens": 1, "logprobs": True},
        {"messages": TURNS, "max_tokens": 1, "stream": True, "stream_options": {"include_usage": True}},
    ],
    "/v1/chat/completions/batch": [{"messages": [TURNS], "max_tokens": 1, "logprobs": True}],
    "/v1/completions": [
        {"prompt": TEXT, "return_context_logits": True},
        {"prompt": TEXT, "max_tokens": 1, "logprobs": 1},
    ],
    "/v1/embeddings": [{"messages": TURNS}],
    "/v1/ranking": [{"query": content(), "passages": [content()]}],
    "/v1/reward": [{"input": TEXT}],
    "/v1/rewards": [{"conversations": [TURNS]}, {"conversations": [{"messages": TURNS}]}, {"texts": [TEXT]}],
}


Connection = http.client.HTTPConnection

# A value of each JSON type, none of which can be read as another.
VALUES = {"string": "zz zz", "integer": 7, "number": 0.5, "boolean": True, "array": [], "object": {"no": "type"}}


# Numbers whose bounds are those of the model that is served, or of another field.
BOUND_ELSEWHERE = {"dimensions", "truncate_prompt_tokens", "best_of", "min_tokens"}
# `content` may be missing beside `tool_calls`.
MAY_BE_MISSING = {"content"}


class Route:
    """A route that reads a JSON object, and the servers and bodies that show what it reads."""

    def __init__(self, path: str, schema: dict, document: dict):
        self.path, self.schema, self.document = path, schema, document
        self.generates: Connection | None = None

    def resolve(self, schema: dict) -> dict:
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def alternatives(self, schema: dict) -> Iterator[dict]:
        """The schemas of which a value has to fit one, without the one for null."""
        schema = self.resolve(schema)
        parts = schema.get("oneOf") or schema.get("anyOf")
        if parts is None:
            yield schema
            return
        for part in parts:
            if part.get("type") != "null":
                yield from self.alternatives(part)

    def fitting(self, schema: dict, value: dict) -> dict:
        """Those alternatives of a schema whose words `value` has, such as its `type`."""

        def fits(alternative: dict) -> bool:
            words = {name: self.resolve(field).get("enum") for name, field in alternative.get("properties", {}).items()}
            return all(value[name] in words[name] for name in value.keys() & words.keys() if words[name])

        return {"oneOf": [alternative for alternative in self.alternatives(schema) if fits(alternative)]}

    def properties(self, schema: dict) -> tuple[dict[str, dict], set[str]]:
        """The fields of an object, those of the schemas that it includes too, and which are required."""
        fields: dict[str, dict] = {}
        required: list[set[str]] = []
        for alternative in self.alternatives(schema):
            own, needed = dict(alternative.get("properties", {})), set(alternative.get("required", []))
            for part in alternative.get("allOf", []):
                inner, inner_needed = self.properties(part)
                own |= inner
                needed |= inner_needed
            fields |= own
            required += [needed] if own else []
        return fields, set.intersection(*required) if required else set()

    def kinds(self, schema: dict) -> set[str]:
        """The JSON types of a value."""
        kinds: set[str] = set()
        for alternative in self.alternatives(schema):
            named = alternative.get("type")
            if named is None and "allOf" in alternative:
                named = "object"
            if named is None:
                return {"string", "integer", "number", "boolean", "array", "object"}
            kinds |= {named} if isinstance(named, str) else set(named)
        return kinds | ({"integer"} if "number" in kinds else set())


def ask(connection: Connection, path: str, body: dict) -> tuple[int, str]:
    """The status, and the message if it is an error."""
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status == 200:
        # An item may have an error of its own.
        own = path == "/v1/rewards" and [item["error"] for item in json.loads(text)["data"] if item.get("error")]
        return (400, own[0]["message"]) if own else (200, "")
    # Some values of `timeout` are short.
    assert answer.status < 500 or answer.status == 504, text
    parsed = json.loads(text)
    error = parsed.get("error", parsed)
    return answer.status, error["message"] if isinstance(error, dict) else error


def at(body, path: tuple):
    for key in path:
        body = body[key]
    return body


def with_field(body: dict, path: tuple, name: str, value) -> dict:
    changed = copy.deepcopy(body)
    at(changed, path)[name] = value
    return changed


def spelled(path: tuple, name: str) -> str:
    """The path of a field as errors spell it."""
    text = ""
    for key in (*path, name):
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def objects(route: Route, schema: dict, value, path: tuple = ()) -> Iterator[tuple[tuple, dict]]:
    """Every object in a body that has a schema with properties, and that schema."""
    if isinstance(value, dict):
        schema = route.fitting(schema, value)
        fields, _ = route.properties(schema)
        if fields:
            yield path, schema
        for name in value.keys() & fields.keys():
            yield from objects(route, fields[name], value[name], (*path, name))
    elif isinstance(value, list) and value:
        for alternative in route.alternatives(schema):
            if "items" in alternative:
                yield from objects(route, alternative["items"], value[0], (*path, 0))


class Place:
    """An object of a request, in all bodies that have it there."""

    def __init__(self, route: Route, path: tuple, schema: dict):
        self.route, self.path = route, path
        self.fields, self.required = route.properties(schema)
        # Server, body, and the answer to a field that nobody knows.
        self.bodies: list[tuple[Connection, dict, str]] = []

    def add(self, server: Connection, body: dict) -> None:
        _, unheard = ask(server, self.route.path, with_field(body, self.path, "unheard_of", {"no": "type"}))
        self.bodies.append((server, body, unheard))

    def asked(self, name: str, value) -> Iterator[tuple[Connection, int, str]]:
        """Server, status and message where the field has this value, of those bodies whose form has the field."""
        for server, body, unheard in self.bodies:
            status, message = ask(server, self.route.path, with_field(body, self.path, name, value))
            if not is_unknown(message, unheard):
                yield server, status, message

    def answers(self, name: str, value) -> Iterator[tuple[int, str]]:
        for _, status, message in self.asked(name, value):
            yield status, message

    def reads(self) -> set[str]:
        """The names of the fields that are read in some body."""
        return {name for server, body, unheard in self.bodies for name in self.read_in(server, body, unheard)}

    def read_in(self, server: Connection, body: dict, unheard: str) -> Iterator[str]:
        # What is read is reported before what is unknown, so one request tells whether any of many names is read.
        rest = [name for name in NAMES if name not in NEUTRAL]
        while True:
            crowd = copy.deepcopy(body)
            at(crowd, self.path).update(dict.fromkeys(rest, {"no": "type"}))
            status, message = ask(server, self.route.path, crowd)
            if status == 200 or is_unknown(message, unheard):
                break
            found = [name for name in rest if self.names(message, name)]
            if found and "` is not supported: " not in message:
                yield found[0]
            # A field may be refused only because another is there, which the error names too.
            named = found or [name for name in rest if f"`{name}`" in message]
            assert named, f"{self.route.path}: {message}"
            rest.remove(named[0])
        for name in NEUTRAL - {"modalities"}:
            status, message = ask(server, self.route.path, with_field(body, self.path, name, {"no": "type"}))
            if status != 200 and self.names(message, name) and "` is not supported: " not in message:
                yield name

    def names(self, message: str, name: str) -> bool:
        """Whether an error is about this field or a part of it."""
        return bool(re.match("`" + re.escape(spelled(self.path, name)) + r"[`.\[]", message))

    def refuses(self, name: str, value) -> bool:
        """Whether no form takes this value, and each says that the field is wrong."""
        field = f"`{spelled(self.path, name)}`"
        verdicts, by_generator = [], False
        for server, status, message in self.asked(name, value):
            verdicts.append(status != 200 and (self.names(message, name) or field in message))
            by_generator |= server is self.route.generates and verdicts[-1]
        # A form that does not read the field may let it pass, and a reward model ignores how to generate.
        return any(verdicts) and (all(verdicts) or name in NEUTRAL or by_generator)

    def takes(self, name: str, value) -> bool:
        """Whether some form takes a value like this one: it is not the field itself that is refused."""
        field = re.escape(f"`{spelled(self.path, name)}`")
        wrong = field + r" (must be .*not (a string|a number|a boolean|a list|an object|[-0-9.e]+)|is (missing|empty))"
        return any(not re.match(wrong, message) for _, message in self.answers(name, value))

    def problems(self) -> Iterator[str]:
        """What differs between the schema and the code."""
        for name in sorted(self.reads() - self.fields.keys() - IGNORED):
            yield f"{spelled(self.path, name)} is read and is not in the schema"
        for name, schema in self.fields.items():
            field = spelled(self.path, name)
            if not any(True for _ in self.answers(name, {"no": "type"})):
                yield f"{field} is in the schema and is not read"
                continue
            for problem in [*self.type_problems(name, schema), *self.bound_problems(name, schema)]:
                yield f"{field}: {problem}"
            yield from self.required_problems(name)

    def required_problems(self, name: str) -> Iterator[str]:
        present = [(server, body) for server, body, _ in self.bodies if name in at(body, self.path)]
        if not present or len(present) < len(self.bodies) and name not in self.required:
            return
        server, body = present[0]
        without = copy.deepcopy(body)
        del at(without, self.path)[name]
        _, message = ask(server, self.route.path, without)
        is_missed = self.names(message, name) and "is missing" in message and name not in MAY_BE_MISSING
        if is_missed != (name in self.required):
            yield f"{spelled(self.path, name)}: required is {name in self.required}, and without it: {message!r}"

    def type_problems(self, name: str, schema: dict) -> Iterator[str]:
        kinds = self.route.kinds(schema)
        words = [part["enum"] for part in self.route.alternatives(schema) if "enum" in part]
        for kind, value in VALUES.items():
            if kind == "string" and words:
                kinds.discard("string")
            if kind == "array" and kind in kinds:
                # An empty list may be too short, and an item of any type would do.
                value = [{"no": "type"}]
            if kind in kinds and not self.takes(name, value):
                yield f"a value of type {kind} is refused: {list(self.answers(name, value))}"
            if kind not in kinds and not self.refuses(name, value):
                yield f"a value of type {kind} is not refused: {list(self.answers(name, value))}"
        for word in [word for enum in words for word in enum]:
            if all("must be one of" in message for _, message in self.answers(name, word)):
                yield f"{word} is refused: {list(self.answers(name, word))}"
        for status, message in self.answers(name, "no_such_word") if words else ():
            listed = re.search("must be one of ([^:;]*?)(, not no_such_word)?$", message)
            if listed and set(listed[1].split(", ")) != set(words[0]):
                yield f"the schema lists {words[0]}, and the error is {message!r}"

    def bound_problems(self, name: str, schema: dict) -> Iterator[str]:
        alternatives = list(self.route.alternatives(schema))
        for part in alternatives:
            kinds = self.route.kinds(part)
            if "array" in kinds and len(alternatives) == 1:
                refused = any(self.names(message, name) for _, message in self.answers(name, []))
                if bool(part.get("minItems")) != refused:
                    yield f"minItems is {part.get('minItems')}, and []: {list(self.answers(name, []))}"
            if kinds & {"integer", "number"} and name not in BOUND_ELSEWHERE:
                yield from self.number_problems(name, part)

    def number_problems(self, name: str, part: dict) -> Iterator[str]:
        step = 1 if "number" not in self.route.kinds(part) else 0.001
        for bound, exclusive, sign in (("minimum", "exclusiveMinimum", -1), ("maximum", "exclusiveMaximum", 1)):
            if bound in part:
                inside, outside = part[bound], part[bound] + sign * max(step, abs(part[bound]) * 1e-6 * (step < 1))
            elif exclusive in part:
                inside, outside = part[exclusive] - sign * step, part[exclusive]
            else:
                inside, outside = sign * (2**63 - 1 if step == 1 else 1e30), None
            declared = f"{bound} is {part.get(bound, part.get(exclusive))}"
            if not self.takes_number(name, inside):
                yield f"{declared}, and {inside}: {list(self.answers(name, inside))}"
            if outside is not None and not self.refuses(name, outside):
                yield f"{declared}, and {outside}: {list(self.answers(name, outside))}"

    def takes_number(self, name: str, value) -> bool:
        return any(not self.names(message, name) for _, message in self.answers(name, value))


def is_unknown(message: str, unheard: str) -> bool:
    """Whether an error says that the route has no such field, as `unheard` says of another."""
    reason = message.partition("` is not supported: ")[2]
    expected = unheard.partition("` is not supported: ")[2]
    return bool(reason) and (reason.startswith("did you mean") or reason == expected)


def routes(document: dict) -> Iterator[tuple[Route, list[dict]]]:
    """A route for each schema of a request, and bodies in all its forms."""
    found: dict[str, tuple[Route, list[dict]]] = {}
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if content and content["schema"] and "{" not in path:
            _, bodies = found.setdefault(json.dumps(content["schema"]), (Route(path, content["schema"], document), []))
            bodies += [content["example"], *FORMS.get(path, [])]
    yield from found.values()


def places(route: Route, servers: list[Connection], bodies: list[dict]) -> list[Place]:
    """Every object in the requests of a route."""
    found: dict[str, Place] = {}
    route.generates = servers[1]
    for body in bodies:
        for server in servers:
            # Without a limit, a model that chats would generate for long.
            is_long = server is route.generates and "messages" in body and "max_tokens" not in body
            if is_long or ask(server, route.path, body)[0] != 200:
                continue
            for path, schema in objects(route, route.schema, body):
                found.setdefault(repr(path), Place(route, path, schema)).add(server, body)
    assert found, f"no server answers {route.path}"
    return list(found.values())


def test_every_field_of_a_request_is_in_its_schema_and_the_reverse(engines: Engines):
    names = ["--served-model-name", "demo", "model"]
    with (
        Server(engines["llama3-tiny"], *names, "--simulate", "instant") as scores,
        Server(engines["lm-head-tiny"], *names, "--max-seq-len", "128") as generates,
    ):
        document = json.loads(scores.get("/openapi.json")[1])
        servers = [http.client.HTTPConnection(server.address, timeout=60) for server in (scores, generates)]
        compared, problems = 0, []
        for route, bodies in routes(document):
            for place in places(route, servers, bodies):
                compared += len(place.fields)
                problems += [f"{route.path} {problem}" for problem in place.problems()]
    assert compared > 200, compared
    assert not problems, "\n".join(problems)
