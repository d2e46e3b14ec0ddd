"""Signed scores, checked by other implementations of the standards, and by `assay verify`."""

import base64
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import http_message_signatures as signatures
import jwt
import pytest
import requests
import rfc8785
from conftest import LOUVRE, PARIS, Engines, Server, assay, conversation
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

REWARDS = {"messages": conversation()[:1], "responses": [LOUVRE, "No."]}
REQUESTS = {
    "/v1/rewards": REWARDS,
    "/v1/chat/completions": {"messages": conversation()},
    "/get_reward": {"query": [f"{PARIS} {LOUVRE}"]},
    "/classify": {"text": PARIS},
    "/pooling": {"input": PARIS},
    "/rerank": {"query": PARIS, "documents": [LOUVRE]},
    "/invocations": {"inputs": PARIS},
}


class Keys:
    """A pair of keys in files, as openssl writes them."""

    def __init__(self, directory: Path, name: str):
        self.private, self.public = directory / f"{name}.pem", directory / f"{name}-public.pem"
        self.key = ed25519.Ed25519PrivateKey.generate()
        write_private(self.key, self.private)
        public, encoding = self.key.public_key(), serialization.Encoding
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(public.public_bytes(encoding.PEM, kind))
        self.id = hashlib.sha256(public.public_bytes(encoding.DER, kind)).hexdigest()


def write_private(key, path: Path) -> None:
    path.touch(mode=0o600)
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, kind, serialization.NoEncryption()))


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"), "first")


@pytest.fixture(scope="module")
def signing(engines: Engines, keys: Keys):
    with Server(engines["llama3-tiny"], "--served-model-name", "five", "--signing-key", keys.private) as server:
        yield server


def verify_rfc9421(response: requests.Response, keys: Keys) -> None:
    """Checks a response by another implementation of RFC 9421, and its digests by hashlib."""

    class Resolver(signatures.HTTPSignatureKeyResolver):
        def resolve_public_key(self, key_id: str):
            assert key_id == keys.id
            return keys.key.public_key()

    verifier = signatures.HTTPMessageVerifier(
        signature_algorithm=signatures.algorithms.ED25519, key_resolver=Resolver()
    )
    [result] = verifier.verify(response)
    covered = set(result.covered_components)
    assert {'"@status"', '"content-digest"', '"x-assay-request-digest"', '"@path";req', '"@method";req'} <= covered
    assert {'"x-assay-engine"', '"x-assay-digest"'} <= covered
    for header, body in [("content-digest", response.content), ("x-assay-request-digest", response.request.body)]:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert response.headers[header] == f"sha-256=:{digest}:"


def post(server: Server, path: str, body: dict | bytes) -> requests.Response:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(server.url + path, data=body, timeout=30)


# --- Responses ---


@pytest.mark.parametrize("path", REQUESTS)
def test_the_signature_of_a_response_fits_by_another_implementation_of_the_rfc(signing: Server, keys: Keys, path: str):
    response = post(signing, path, REQUESTS[path])
    assert response.status_code == 200, response.text
    verify_rfc9421(response, keys)


def test_a_large_response_is_signed(signing: Server, keys: Keys):
    response = post(signing, "/v1/rewards", REWARDS | {"responses": [LOUVRE] * 1000})
    assert response.status_code == 200 and len(response.content) > 200_000
    verify_rfc9421(response, keys)


def test_a_large_request_in_chunks_is_signed(signing: Server, keys: Keys):
    body = json.dumps({"messages": conversation()[:1], "responses": ["Yes. " * 50] * 2000}).encode()
    pieces = (body[start : start + 30_000] for start in range(0, len(body), 30_000))
    response = requests.post(signing.url + "/v1/rewards", data=pieces, timeout=60)
    assert response.status_code == 200, response.text
    response.request.body = body
    verify_rfc9421(response, keys)


def test_errors_streams_and_what_has_no_scores_are_not_signed(signing: Server):
    stream = {"messages": conversation(), "stream": True}
    for response in [
        post(signing, "/v1/rewards", {"messages": []}),
        post(signing, "/v1/rewards", b"{"),
        post(signing, "/nowhere", {}),
        post(signing, "/v1/chat/completions", stream),
        requests.get(signing.url + "/v1/models", timeout=30),
        requests.get(signing.url + "/v1/health/ready", timeout=30),
    ]:
        assert not {"signature", "signature-input"} & {name.lower() for name in response.headers}, response.text


def test_a_server_without_a_key_signs_nothing(server: Server):
    assert "signature" not in post(server, "/v1/rewards", REWARDS).headers


def test_the_key_can_be_replaced_while_serving(engines: Engines, tmp_path: Path):
    first, second = Keys(tmp_path, "first"), Keys(tmp_path, "second")
    with Server(engines["llama3-tiny"], "--signing-key", first.private) as server:
        verify_rfc9421(post(server, "/v1/rewards", REWARDS), first)
        first.private.write_bytes(second.private.read_bytes())
        server.process.send_signal(signal.SIGHUP)
        server.logged("signing key reloaded")
        verify_rfc9421(post(server, "/v1/rewards", REWARDS), second)
        first.private.write_text("damaged")
        server.process.send_signal(signal.SIGHUP)
        server.logged_with("signing key not reloaded")
        verify_rfc9421(post(server, "/v1/rewards", REWARDS), second)


def test_a_key_whose_permissions_are_corrected_is_read(engines: Engines, tmp_path: Path):
    first, second = Keys(tmp_path, "first"), Keys(tmp_path, "second")
    with Server(engines["llama3-tiny"], "--signing-key", first.private) as server:
        first.private.chmod(0o644)
        first.private.write_bytes(second.private.read_bytes())
        server.logged_with("run `chmod 600` on it")
        first.private.chmod(0o600)
        server.logged("signing key reloaded")
        verify_rfc9421(post(server, "/v1/rewards", REWARDS), second)


def test_a_key_that_cannot_sign_is_refused_with_what_to_do(engines: Engines, keys: Keys, tmp_path: Path):
    elliptic, exposed = tmp_path / "elliptic.pem", tmp_path / "exposed.pem"
    write_private(ec.generate_private_key(ec.SECP256R1()), elliptic)
    exposed.write_bytes(keys.private.read_bytes())
    exposed.chmod(0o644)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file, words in [
        (elliptic, "is not an Ed25519 key"),
        (exposed, "chmod 600"),
        (keys.public, "does not contain a private key"),
        (tmp_path / "absent.pem", "cannot read"),
        (pipe, "not a regular file"),
    ]:
        refused = assay("serve", "--engine", engines["llama3-tiny"], "--port", "0", "--signing-key", file)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
        assert "signing_key" in refused.stderr


# --- assay verify, for responses ---


def saved(response: requests.Response, directory: Path) -> dict[str, Path]:
    """A response in the files that curl would write."""
    files = {name: directory / name for name in ["request", "response", "headers"]}
    files["request"].write_bytes(response.request.body)
    files["response"].write_bytes(response.content)
    lines = [f"HTTP/1.1 {response.status_code} OK", *(f"{name}: {value}" for name, value in response.headers.items())]
    files["headers"].write_text("\r\n".join(lines) + "\r\n\r\n")
    return files


def verify(key: Path, files: dict[str, Path], *arguments: str) -> subprocess.CompletedProcess:
    options = [option for name, file in files.items() for option in (f"--{name}", file)]
    return assay("verify", "--key", key, *options, *arguments)


def test_assay_verify_says_what_differs_from_a_signed_response(signing: Server, keys: Keys, tmp_path: Path):
    response = post(signing, "/v1/rewards", REWARDS)
    files = saved(response, tmp_path)
    valid = verify(keys.public, files)
    assert valid.returncode == 0, valid.stdout + valid.stderr
    assert keys.id in valid.stdout and response.headers["x-assay-digest"] in valid.stdout

    engine = response.headers["x-assay-engine"]
    score = str(response.json()["data"][0]["scores"]["helpfulness"])
    for name, before, after, words in [
        ("request", "Louvre", "Eiffel", "the request is not the one"),
        ("response", score, "1.5", "the body of the response differs"),
        ("headers", engine, engine[::-1], "x-assay-engine"),
        ("headers", "200 OK", "201 Created", "the status"),
        ("headers", "Signature: ", "Signed: ", "it has no header signature"),
    ]:
        text = files[name].read_text()
        assert text.lower().count(before.lower()) >= 1, text
        place = text.lower().index(before.lower())
        files[name].write_text(text[:place] + after + text[place + len(before) :], newline="")
        found = verify(keys.public, files)
        assert found.returncode == 1 and words in found.stdout, (name, found.stdout + found.stderr)
        files[name].write_text(text, newline="")
    assert verify(keys.public, files, "--path", "/v1/rewards/").returncode == 0
    assert "the route" in verify(keys.public, files, "--path", "/score").stdout
    other = Keys(tmp_path, "other")
    found = verify(other.public, files)
    assert found.returncode == 1 and keys.id in found.stdout and other.id in found.stdout


def test_files_of_a_response_that_never_end_are_refused(keys: Keys, tmp_path: Path):
    for name in ["request", "response", "headers"]:
        files = {other: tmp_path / other for other in ["request", "response", "headers"]}
        for file in files.values():
            file.write_text("HTTP/1.1 200 OK\r\n\r\n")
        files[name] = Path("/dev/zero")
        refused = verify(keys.public, files)
        assert refused.returncode == 1 and "/dev/zero: it has more than 1073741824 bytes" in refused.stderr


# --- Files ---

ROWS = [
    {"id": 1, "prompt": PARIS, "response": LOUVRE},
    {"id": 2, "prompt": PARIS, "response": "No. \u20ac \U0001f600 \"\\\n"},
]
GROUPS = [
    {"prompt": PARIS, "responses": [LOUVRE, "No.", "Perhaps."]},
    {"prompt": "2 + 2?", "responses": ["4", "5", "six"]},
]
PAIRS = [{"prompt": PARIS, "chosen": LOUVRE, "rejected": "No."}]
LISTS = [{"prompt": PARIS, "chosen": [LOUVRE], "rejected": ["No.", "Stay at home."]}]


def score(source: tuple, keys: Keys, rows: list[dict], output: Path, *options: str) -> None:
    """Scores rows and signs the scores."""
    rows_file = output.with_name("rows.jsonl")
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scored = assay("score", rows_file, *source, "--output", output, "--signing-key", keys.private, *options)
    assert scored.returncode == 0, scored.stderr


def check_jws(token: str, keys: Keys, messages: list[dict], scores: dict[str, float]) -> dict:
    """Checks a signature by other implementations of RFC 7515, RFC 7797 and RFC 8785, and returns its header."""
    payload = rfc8785.dumps({"conversation": {"messages": messages}, "scores": scores})
    jwt.api_jws.decode(token, keys.key.public_key(), algorithms=["EdDSA"], detached_payload=payload)
    header = jwt.get_unverified_header(token)
    assert header["kid"] == keys.id
    return header


def test_a_stranger_can_check_a_row_with_the_row_and_the_public_key(engines: Engines, keys: Keys, tmp_path: Path):
    output = tmp_path / "scored.jsonl"
    score(("--engine", engines["llama3-tiny"]), keys, ROWS, output)
    for row in map(json.loads, output.read_text().splitlines()):
        scores = {name[6:]: row[name] for name in row if name.startswith("score_") and name != "score_signature"}
        messages = conversation(row["response"], row["prompt"])
        check_jws(row["score_signature"], keys, messages, scores)
        with pytest.raises(jwt.InvalidSignatureError):
            check_jws(row["score_signature"], keys, messages, scores | {"helpfulness": 0.5})


def test_a_server_and_an_engine_give_the_same_signatures(
    engines: Engines, keys: Keys, signing: Server, tmp_path: Path
):
    outputs = [tmp_path / "engine.jsonl", tmp_path / "server.jsonl"]
    score(("--engine", engines["llama3-tiny"]), keys, ROWS, outputs[0])
    score(("--url", signing.url), keys, ROWS, outputs[1])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    header = jwt.get_unverified_header(json.loads(outputs[0].read_text().splitlines()[0])["score_signature"])
    headers = post(signing, "/v1/rewards", REWARDS).headers
    assert (header["engine"], header["digest"]) == (headers["x-assay-engine"], headers["x-assay-digest"])


def test_scores_of_a_server_are_taken_only_with_the_expected_signature(
    engines: Engines, keys: Keys, signing: Server, server: Server, tmp_path: Path
):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "scored.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    other = Keys(tmp_path, "other")

    def scored(url: str, key: Path) -> subprocess.CompletedProcess:
        return assay("score", rows, "--url", url, "--output", output, "--verify-key", key)

    for url, key, words in [
        (server.url, keys.public, "/v1/rewards: the response is not signed: it has no header content-digest"),
        (signing.url, other.public, f"it is signed by the key {keys.id}, and the key to check with is {other.id}"),
        (signing.url, keys.private, "does not contain a public key in PEM"),
    ]:
        refused = scored(url, key)
        assert refused.returncode == 1 and words in refused.stderr and not output.exists(), refused.stderr
    done = scored(signing.url, keys.public)
    assert done.returncode == 0, done.stderr
    plain = tmp_path / "plain.jsonl"
    assert assay("score", rows, "--url", signing.url, "--output", plain).returncode == 0
    assert output.read_bytes() == plain.read_bytes()
    drift = ("drift", "--url", signing.url, "--engine", engines["llama3-tiny"], "--verify-key")
    assert assay(*drift, keys.public).returncode == 0
    assert "it is signed by the key" in assay(*drift, other.public).stderr


@pytest.mark.parametrize("extension", ["jsonl", "json.gz", "csv", "parquet"])
@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (ROWS, ()),
        (GROUPS, ()),
        (GROUPS, ("--best-of",)),
        (GROUPS, ("--filter", "rank<=2")),
        (PAIRS, ()),
        (PAIRS, ("--best-of",)),
        (LISTS, ()),
    ],
    ids=["one", "groups", "groups-best", "groups-filtered", "pairs", "pairs-best", "lists"],
)
def test_assay_verify_checks_the_files_of_every_format(
    engines: Engines, keys: Keys, tmp_path: Path, rows: list[dict], options: tuple, extension: str
):
    output = tmp_path / f"scored.{extension}"
    score(("--engine", engines["llama3-tiny"]), keys, rows, output, *options)
    valid = assay("verify", output, "--key", keys.public)
    assert valid.returncode == 0, valid.stdout + valid.stderr
    assert valid.stdout.startswith("valid: ")


def test_assay_verify_names_the_rows_that_differ(engines: Engines, keys: Keys, tmp_path: Path):
    output = tmp_path / "scored.jsonl"
    score(("--engine", engines["llama3-tiny"]), keys, GROUPS, output)
    original = [json.loads(line) for line in output.read_text().splitlines()]

    def verified(change, key: Path = keys.public) -> str:
        rows = json.loads(json.dumps(original))
        change(rows)
        output.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = assay("verify", output, "--key", key)
        assert found.returncode == (0 if found.stdout.startswith("valid") else 1)
        return found.stdout

    def set_score(rows):
        rows[1]["score_helpfulness"][2] += 1e-9

    def set_prompt(rows):
        rows[0]["prompt"] += " "

    def swap(rows):
        signatures = rows[1]["score_signature"]
        signatures[0], signatures[1] = signatures[1], signatures[0]

    def strip(rows):
        del rows[1]["score_signature"]

    assert verified(lambda rows: None).startswith("valid: ")
    assert verified(lambda rows: [row.update(note="added") for row in rows]).startswith("valid: ")
    assert "row 2, response 3 of 3: the signature does not fit" in verified(set_score)
    assert verified(set_prompt).count("the signature does not fit") == 3
    assert verified(swap).count("row 2, response") == 2
    assert verified(strip).count("the scores are not signed") == 3
    other = Keys(tmp_path, "other")
    assert verified(lambda rows: None, other.public).count(f"signed by the key {keys.id}") == 6
    for name, value in [("prompt", None), ("prompt", 5), ("responses", None), ("responses", []), ("responses", "4")]:
        found = verified(lambda rows, name=name, value=value: rows[1].update({name: value}))
        assert "row 2: `score_helpfulness` has a value that is not the score of a response" in found, (name, value)
    for value in [9.5, "9.5", True, {"a": 9.5}, [1.0, 2.0, 3.0, 9.5], original[1]["score_helpfulness"] + [9.5]]:
        found = verified(lambda rows, value=value: rows[1].update(score_honesty=value))
        assert found.startswith(str(output)) and "row 2" in found, value
    assert verified(lambda rows: rows[1].update(score_honesty=None)).startswith("valid: ")
    unnamed = assay("verify", output, "--key", keys.public, "--prefix", "")
    assert unnamed.returncode == 1 and "with an empty --prefix, scores cannot be told" in unnamed.stderr
