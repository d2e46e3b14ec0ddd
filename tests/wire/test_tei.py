"""What the tests, types and OpenAPI document of text-embeddings-inference ask of its routes, sent to small models."""

import math

import pytest
import requests
from conftest import ATTRIBUTES, Server, ask, ok, refused


def test_tei_predicts_a_text_as_in_a_batch(peer: Server):
    single = ok(peer, "/predict", {"inputs": "test"})
    assert {entry["label"] for entry in single} == set(ATTRIBUTES)
    assert all(isinstance(entry["score"], float) for entry in single)
    assert ok(peer, "/predict", {"inputs": [["test"]] * 5}) == [single] * 5


def test_tei_ranks_equal_texts_with_equal_scores(ranker: Server):
    ranks = ok(ranker, "/rerank", {"query": "test", "texts": ["test", "other", "test"], "return_text": True})
    by_index = {rank["index"]: rank for rank in ranks}
    assert by_index[0]["score"] == by_index[2]["score"] and by_index[1]["text"] == "other"
    # Equal texts keep their order here.
    assert [rank["index"] for rank in ranks if rank["index"] != 1] == [0, 2]
    assert "/v1/embeddings" in ask(ranker, "/embed", {"inputs": "test"}).json()["error"]["message"]


def test_tei_takes_inputs_in_all_its_forms(peer: Server):
    alone, pair = (ok(peer, "/predict", {"inputs": [[text] if text == "a" else ["a", "b"]]})[0] for text in ("a", "b"))
    assert ok(peer, "/predict", {"inputs": "a"}) == ok(peer, "/predict", {"inputs": ["a"]}) == alone
    assert ok(peer, "/predict", {"inputs": ["a", "b"]}) == pair
    # A batch of both kinds.
    assert ok(peer, "/predict", {"inputs": [["a"], ["a", "b"]], "truncate": None}) == [alone, pair]
    raw = ok(peer, "/predict", {"inputs": "a", "raw_scores": True})
    assert [entry["label"] for entry in raw] == [entry["label"] for entry in alone] and raw != alone
    assert [entry["score"] for entry in raw] == sorted((entry["score"] for entry in raw), reverse=True)
    for inputs in ([], ["a", "b", "c"], [["a", "b", "c"]], [[]], [["a"], "b"], 5, [5]):
        assert refused(peer, "/predict", {"inputs": inputs})["param"].startswith("inputs")


def test_tei_cuts_a_text_only_if_it_may(peer: Server):
    long = "word " * 5000
    for path, body in (("/predict", {"inputs": long}), ("/rerank", {"query": "q", "texts": ["a", long]})):
        assert refused(peer, path, body)["code"] == "context_length_exceeded"
        for direction in ("left", "Left", "right", "Right"):
            ok(peer, path, body | {"truncate": True, "truncation_direction": direction})
    error = refused(peer, "/rerank", {"query": "q", "texts": ["a"], "truncation_direction": "up"})
    assert error["param"] == "truncation_direction"


def test_tei_returns_texts_only_if_asked(ranker: Server):
    body = {"query": "q", "texts": ["a", "b"]}
    assert all(rank.keys() == {"index", "score"} for rank in ok(ranker, "/rerank", body))
    assert all(rank["text"] == body["texts"][rank["index"]] for rank in ok(ranker, "/", body | {"return_text": True}))
    shares, raw = (ok(ranker, "/rerank", body | {"raw_scores": raw}) for raw in (False, True))
    for share, logit in zip(shares, raw, strict=True):
        assert math.isclose(share["score"], 1 / (1 + math.exp(-logit["score"])), rel_tol=1e-6)


def test_tei_locates_tokens_and_decodes_them(ranker: Server):
    text = "Hello, wörld!"
    [tokens] = ok(ranker, "/tokenize", {"inputs": text, "add_special_tokens": False})
    assert all(token.keys() == {"id", "text", "special", "start", "stop"} for token in tokens)
    # Places are in bytes.
    spelled = [text.encode()[token["start"] : token["stop"]].decode(errors="replace") for token in tokens]
    assert spelled == [token["text"] for token in tokens]
    assert len(ok(ranker, "/tokenize", {"inputs": [text, "a"]})) == 2
    ids = [token["id"] for token in tokens]
    assert ok(ranker, "/decode", {"ids": ids}) == [text]
    assert ok(ranker, "/decode", {"ids": [ids, ids[:1]], "skip_special_tokens": True})[0] == text
    assert refused(ranker, "/tokenize", {"inputs": []})["param"] == "inputs"


def test_tei_describes_its_model(peer: Server):
    info = requests.get(peer.url + "/info", timeout=60).json()
    labels = info["model_type"]["classifier"]
    assert {int(index): name for index, name in labels["id2label"].items()} == dict(enumerate(ATTRIBUTES))
    assert labels["label2id"] == {name: index for index, name in enumerate(ATTRIBUTES)}
    for name in ("max_concurrent_requests", "max_input_length", "max_batch_tokens", "max_client_batch_size"):
        assert isinstance(info[name], int)
    assert isinstance(info["auto_truncate"], bool) and info["version"] and info["model_id"] == "five"
    assert requests.get(peer.url + "/health", timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("path", "meant"),
    [("/embed", "/v1/embeddings"), ("/embed_all", "/v1/embeddings"), ("/embed_sparse", "/v1/embeddings"),
     ("/similarity", "/rerank"), ("/vertex", "/predict")],
)
def test_a_route_for_embeddings_of_tei_names_one_that_is_here(peer: Server, path: str, meant: str):
    answer = ask(peer, path, {"inputs": "a"})
    assert answer.status_code == 404 and f"did you mean {meant}?" in answer.json()["error"]["message"]
