"""What the tests of other servers ask of the routes that Assay has from them, sent to servers with small models.

docs/integrations.md counts the cases, and says which of their requests are refused on purpose.
"""

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import openai
import pytest
import requests
from conftest import ATTRIBUTES, LOUVRE, PARIS, Server, ask, conversation, ok, refused
from infinity_client import Client
from infinity_client.api.default import health
from test_trainers import chatml, llama3

LABELS = [5, 7, 11]
FRIES = ["I love fries!", "I hate fries!", "I am jealous of fries!"]
TOWERS = [f"The tower is in {place}." for place in ("Paris", "London", "Berlin")]


# SGLang: classify.


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
@pytest.mark.parametrize("text", ["classify this", ["first", "second"], [11, 22, 33]])
def test_sglang_classifies_a_text_texts_or_token_ids(peer: Server, path: str, text):
    texts = text if isinstance(text, list) and isinstance(text[0], str) else [text]
    answer = ok(peer, path, {"model": "five", "input": text, "rid": "rid-1", "priority": 7, "user": "u"})
    assert answer["id"].startswith("classify-") and answer["object"] == "list" and answer["model"] == "five"
    assert [entry["index"] for entry in answer["data"]] == list(range(len(texts)))
    for entry in answer["data"]:
        assert math.isclose(sum(entry["probs"]), 1, rel_tol=1e-6) and entry["num_classes"] == len(ATTRIBUTES)
        assert entry["label"] == ATTRIBUTES[entry["probs"].index(max(entry["probs"]))]
    usage = answer["usage"]
    assert usage["prompt_tokens"] == usage["total_tokens"] > 0 and usage["completion_tokens"] == 0
    alone = [ok(peer, path, {"input": one})["usage"]["prompt_tokens"] for one in texts]
    assert usage["prompt_tokens"] == sum(alone)


@pytest.mark.parametrize(
    ("text", "field"),
    [([], "input"), ("", "input"), (["ok", ""], "input[1]"), ([1, -1], "input[1]"), ([1, "bad"], "input[1]")],
)
def test_sglang_refuses_what_cannot_be_classified(peer: Server, text, field: str):
    # A text of spaces has tokens, so that it has a score; SGLang refuses it.
    error = refused(peer, "/v1/classify", {"model": "five", "input": text})
    assert error["param"] == field and error["message"] and error["type"] == "invalid_request_error"


def test_sglangs_native_classification_gives_raw_scores_by_text_and_by_token_ids(peer: Server):
    one = ok(peer, "/classify", {"text": "a", "rid": "x"})
    assert one["meta_info"]["id"] == "x" and len(one["embedding"]) == len(ATTRIBUTES)
    many = ok(peer, "/classify", {"text": ["a", "b"]})
    assert many[0]["embedding"] == one["embedding"] != many[1]["embedding"]
    ids = ok(peer, "/tokenize", {"prompt": "a"})["tokens"]
    assert ok(peer, "/classify", {"input_ids": ids})["embedding"] == one["embedding"]


# SGLang: scores of items.


def is_distribution(row: list[float]) -> bool:
    return math.isclose(sum(row), 1, abs_tol=1e-6) and all(0 <= share <= 1 for share in row)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 6, 10])
def test_sglang_scores_any_number_of_items(chat: Server, peer: Server, count: int):
    items = [f"item {index}" for index in range(count)]
    for server, more, width in ((chat, {"label_token_ids": LABELS}, 3), (peer, {}, 5)):
        body = {"query": "Rate each:", "items": items, "apply_softmax": True} | more
        answer = ok(server, "/v1/score", body)
        assert answer["object"] == "scoring" and answer["model"] == server.client().models.list().data[0].id
        assert len(answer["scores"]) == count
        assert all(len(row) == width and is_distribution(row) for row in answer["scores"])
        usage = answer["usage"]
        assert usage["prompt_tokens"] == usage["total_tokens"] and usage["completion_tokens"] == 0
        assert (usage["prompt_tokens"] > 0) == (count > 0)
        assert ok(server, "/v1/score", body)["scores"] == answer["scores"], "the same again"
        assert len({tuple(row) for row in answer["scores"]}) == count, "items differ"


@pytest.mark.parametrize("labels", [1, 2, 4, 8])
def test_sglang_scores_any_number_of_labels(chat: Server, labels: int):
    body = {"query": "Choose:", "items": ["A", "B"], "label_token_ids": list(range(1, labels + 1))}
    raw = ok(chat, "/v1/score", body)["scores"]
    assert all(len(row) == labels and not is_distribution(row) for row in raw), "probabilities among all tokens"
    shares = ok(chat, "/v1/score", body | {"apply_softmax": True})["scores"]
    assert all(len(row) == labels and is_distribution(row) for row in shares)


def test_sglang_scores_token_ids_as_their_text(chat: Server, peer: Server):
    for server, more in ((chat, {"label_token_ids": LABELS}), (peer, {})):
        body = {"query": "Rate this: ", "items": ["Good", "Bad"], "apply_softmax": True} | more
        by_text = ok(server, "/v1/score", body)["scores"]
        ids = [ok(server, "/tokenize", {"prompt": "Rate this: " + item})["tokens"] for item in ("Good", "Bad")]
        assert ids[0][:2] == ids[1][:2]
        by_ids = ok(server, "/v1/score", body | {"query": ids[0][:2], "items": [one[2:] for one in ids]})["scores"]
        assert by_ids == by_text and by_text[0] != by_text[1]


@pytest.mark.parametrize("query", ["", "选择最佳选项：", "I pledge allegiance"])
def test_sglang_joins_any_query_with_its_items_in_both_orders(chat: Server, query: str):
    for first in (False, True):
        body = {"query": query, "items": ["选项A", " to"], "label_token_ids": LABELS, "item_first": first}
        assert all(map(is_distribution, ok(chat, "/v1/score", body | {"apply_softmax": True})["scores"]))


def test_a_reward_model_gives_raw_scores_of_items_unless_shares_are_asked_for(peer: Server, ranker: Server):
    rows = ok(peer, "/v1/score", {"query": "Evaluate:", "items": ["Alpha", "Beta"]})["scores"]
    assert not any(map(is_distribution, rows))
    assert ok(peer, "/v1/score", {"query": "Evaluate:", "items": ["Alpha"]}).get("pooled_hidden_states") is None
    # SGLang's softmax of a single score is always 1; here it is the probability that the other routes give.
    [[share]] = ok(ranker, "/v1/score", {"query": "Evaluate:", "items": ["Alpha"], "apply_softmax": True})["scores"]
    assert 0 < share < 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"label_token_ids": "bad"}, "label_token_ids"),
        ({"label_token_ids": [999999]}, "label_token_ids[0]"),
        ({"items": 42}, "items"),
        ({"items": None}, "items"),
        ({"return_pooled_hidden_states": True}, "return_pooled_hidden_states"),
    ],
)
def test_sglang_refuses_what_cannot_be_scored(chat: Server, change: dict, field: str):
    body = {"query": "Q", "items": ["X"], "label_token_ids": LABELS}
    assert refused(chat, "/v1/score", body | change)["param"] == field


# SGLang: rankings.


def test_sglang_ranks_documents_in_a_bare_list(ranker: Server):
    documents = [LOUVRE, "No.", "Stay at home."]
    ranked = ok(ranker, "/sglang/v1/rerank", {"query": PARIS, "documents": documents})
    assert sorted(entry["index"] for entry in ranked) == [0, 1, 2]
    scores = [entry["score"] for entry in ranked]
    assert scores == sorted(scores, reverse=True) and all(isinstance(score, float) for score in scores)
    assert all(entry["document"] == documents[entry["index"]] for entry in ranked)
    assert all(entry["meta_info"]["prompt_tokens"] > 0 for entry in ranked)
    for top, kept in ((1, 1), (2, 2), (10, 3)):
        body = {"query": PARIS, "documents": documents, "top_n": top, "return_documents": False}
        short = ok(ranker, "/sglang/v1/rerank", body)
        assert [entry["index"] for entry in short] == [entry["index"] for entry in ranked][:kept]
        assert [entry.get("document") for entry in short] == [None] * kept
    [single] = ok(ranker, "/sglang/v1/rerank", {"query": PARIS, "documents": documents[:1]})
    assert single["index"] == 0 and single["document"] == LOUVRE


def test_sglang_ranks_by_the_first_of_several_scores(peer: Server):
    ranked = ok(peer, "/sglang/v1/rerank", {"query": PARIS, "documents": [LOUVRE, "No."]})
    rewards = ok(peer, "/v1/rewards", {"messages": conversation()[:1], "responses": [LOUVRE, "No."]})
    first = [item["scores"]["helpfulness"] for item in rewards["data"]]
    assert [entry["index"] for entry in ranked] == sorted((0, 1), key=lambda index: -first[index])


def test_sglang_ranks_documents_that_are_lists_of_text_parts(ranker: Server):
    def parts(text: str) -> list[dict]:
        return [{"type": "text", "text": text}]

    plain = ok(ranker, "/sglang/v1/rerank", {"query": PARIS, "documents": [LOUVRE, "No."]})
    listed = {"query": parts(PARIS), "documents": [parts(LOUVRE), parts("No.")]}
    in_parts = ok(ranker, "/sglang/v1/rerank", listed)
    assert [entry["score"] for entry in in_parts] == [entry["score"] for entry in plain]
    picture = [*parts("a"), {"type": "image_url", "image_url": {"url": "x"}}]
    assert refused(ranker, "/sglang/v1/rerank", listed | {"query": picture})["param"] == "query[1].type"
    # An empty query or document is text of no length, as it is for the other routes; SGLang refuses it.
    assert refused(ranker, "/sglang/v1/rerank", {"query": "q", "documents": []})["param"] == "documents"


# SGLang: the service.


@pytest.mark.parametrize("path", ["/get_model_info", "/model_info"])
def test_sglang_describes_its_model(chat: Server, ranker: Server, path: str):
    for server, generates in ((chat, True), (ranker, False)):
        info = requests.get(server.url + path, timeout=60).json()
        assert info["is_generation"] is generates
        assert info["model_path"] == info["tokenizer_path"] and info["weight_version"]


def test_sglang_describes_its_server_to_many_at_once(chat: Server):
    def info(_: int) -> dict:
        return requests.get(chat.url + "/server_info", timeout=60).json()

    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(info, range(16)):
            assert isinstance(answer["max_total_num_tokens"], int) and isinstance(answer["version"], str)


def test_sglangs_probes_answer_while_a_request_is_computed(chat: Server):
    with ThreadPoolExecutor(1) as pool:
        body = {"prompt": "Once", "max_tokens": 256, "ignore_eos": True}
        running = pool.submit(ask, chat, "/v1/completions", body)
        for path in ("/health", "/ping", "/health_generate"):
            assert requests.get(chat.url + path, timeout=60).status_code == 200, path
        assert running.result().status_code == 200


def test_sglang_lists_and_finds_its_model(chat: Server):
    client = chat.client()
    [model] = list(client.models.list())
    assert isinstance(model.max_model_len, int)
    found = client.models.retrieve("chat")
    assert found.id == "chat" == found.root
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")
    for ask_another in (
        lambda: client.chat.completions.create(model="another", messages=conversation()[:1]),
        lambda: client.completions.create(model="another", prompt="a"),
    ):
        with pytest.raises(openai.NotFoundError) as error:
            ask_another()
        assert error.value.code == "model_not_found"


@pytest.mark.parametrize("text", ["Hello SGLang world! 123 😊, ಪರ್ವತ", ["First sentence.", "Second, with 中文."], ""])
def test_sglang_tokenizes_a_text_or_several_and_spells_them_again(chat: Server, text):
    for special in (True, False):
        answer = ok(chat, "/v1/tokenize", {"model": "chat", "prompt": text, "add_special_tokens": special})
        tokens, count = answer["tokens"], answer["count"]
        if isinstance(text, list):
            assert count == [len(ids) for ids in tokens] and all(count)
        else:
            assert count == len(tokens)
        for skip in (True, False):
            body = {"model": "chat", "tokens": tokens, "skip_special_tokens": skip}
            spelt = ok(chat, "/detokenize", body)
            assert spelt["text"] == spelt["prompt"]
            if skip or not special:
                assert spelt["text"] == text
    assert ok(chat, "/v1/detokenize", {"tokens": []})["text"] == ""


def test_sglang_tokenizes_a_conversation_as_the_template_renders_it(chat: Server):
    turns = {"model": "chat", "messages": conversation()[:1]}
    answer = ok(chat, "/v1/tokenize", turns)
    assert answer["count"] == len(answer["tokens"]) and answer["max_model_len"] > 0
    completion = ok(chat, "/v1/chat/completions", turns | {"max_tokens": 1, "return_token_ids": True})
    assert completion["prompt_token_ids"] == answer["tokens"]
    for body in ({"prompt": 12345}, {"prompt": ["a", 7]}, {}, turns | {"prompt": "a"}):
        refused(chat, "/v1/tokenize", body)
    for tokens in (["a", "b"], [1, -1, 2], [[1], 2]):
        refused(chat, "/detokenize", {"tokens": tokens})


# Infinity.


def test_infinity_lists_its_models_and_says_that_it_lives(ranker: Server):
    answer = requests.get(ranker.url + "/infinity/models", timeout=60).json()
    assert answer["data"][0]["id"] == "one" and isinstance(answer["data"][0]["stats"], dict)
    alive = health.sync(client=Client(base_url=ranker.url + "/infinity", raise_on_unexpected_status=True))
    assert abs(alive["unix"] - time.time()) < 3600


def test_infinity_classifies_texts(peer: Server):
    answer = ok(peer, "/infinity/classify", {"model": "five", "input": FRIES})
    assert answer["model"] == "five" and answer["usage"]["total_tokens"] > 0
    assert [{entry["label"] for entry in text} for text in answer["data"]] == [set(ATTRIBUTES)] * 3
    assert all(is_distribution([entry["score"] for entry in text]) for text in answer["data"])


@pytest.mark.parametrize("documents", list(permutations(TOWERS)))
def test_infinity_ranks_documents_in_whatever_order_they_are(ranker: Server, documents: tuple[str]):
    whole = ok(ranker, "/infinity/rerank", {"model": "one", "query": PARIS, "documents": documents})
    assert "usage" in whole and whole["model"] == "one"
    best = [documents[result["index"]] for result in whole["results"]]
    for top in (1, 2, 8000):
        for send_back in (True, False):
            body = {"query": PARIS, "documents": documents, "top_n": top, "return_documents": send_back}
            results = ok(ranker, "/infinity/rerank", body)["results"]
            assert [documents[result["index"]] for result in results] == best[:top]
            assert [result["document"] for result in results] == ([None] * len(results), best[:top])[send_back]


def test_infinity_refuses_a_negative_number_of_results(ranker: Server):
    # Infinity's status is 422, and it refuses 0 too, which keeps all here.
    body = {"query": PARIS, "documents": TOWERS, "top_n": -1}
    error = refused(ranker, "/infinity/rerank", body)
    assert error["param"] == "top_n" and error["message"] and error["code"]


# FastDeploy.


@pytest.mark.parametrize("path", ["/v1/reward", "/v1/chat/reward"])
def test_fastdeploy_scores_a_conversation_of_text_parts(peer: Server, path: str):
    def parts(text: str) -> list[dict]:
        return [{"type": "text", "text": text}]

    turns = [{"role": "user", "content": parts("北京天安门在哪里？")}]
    turns.append({"role": "assistant", "content": parts("北京天安门在中国北京故宫的前面。")})
    body = {"model": "default", "messages": turns, "user": "user-123"}
    score = ok(peer, path, body)["data"][0]["score"]
    assert len(score) == len(ATTRIBUTES) and float(score[0]) == score[0]
    # With the prompt in the cache, too.
    assert ok(peer, path, body)["data"][0]["score"] == score


def test_fastdeploy_reads_scores_as_embeddings(peer: Server):
    texts = ["北京天安门在哪里?", "上海东方明珠有多高?", "杭州西湖的面积是多少?"]
    single = ok(peer, "/v1/embeddings", {"model": "five", "input": texts[0]})["data"]
    assert len(single) == 1 and all(isinstance(number, float) for number in single[0]["embedding"])
    batch = ok(peer, "/v1/embeddings", {"model": "default", "input": texts})["data"]
    assert [entry["index"] for entry in batch] == [0, 1, 2]
    assert {len(entry["embedding"]) for entry in batch} == {len(ATTRIBUTES)}
    assert batch[0]["embedding"] == single[0]["embedding"]


# lmdeploy.


def test_lmdeploy_pools_texts_and_token_ids_into_rows_of_scores(peer: Server):
    text = llama3()
    ids = ok(peer, "/tokenize", {"prompt": text})["tokens"]
    rows = [ok(peer, "/pooling", {"model": "five", "input": form}) for form in (text, [text], ids, [ids])]
    assert all(row["data"][0]["data"] == rows[0]["data"][0]["data"] for row in rows)
    assert rows[0]["data"][0]["object"] == "pooling" and rows[0]["usage"]["prompt_tokens"] == len(ids)
    assert refused(peer, "/pooling", {"model": "five", "input": []})["param"] == "input"
    assert refused(peer, "/pooling", {"model": "five", "input": 7})["param"] == "input"


def test_lmdeploys_client_counts_tokens(peer: Server, chat: Server):
    for server in (peer, chat):
        # What its client sends, and the two fields that it reads.
        body = {"input": "Hi, pls intro yourself", "do_preprocess": False, "add_bos": False}
        one = ok(server, "/v1/encode", body)
        assert one["length"] == len(one["input_ids"]) and all(isinstance(token, int) for token in one["input_ids"])
        many = ok(server, "/v1/encode", body | {"input": [body["input"], "a"]})
        assert many == {"input_ids": [one["input_ids"], many["input_ids"][1]], "length": [one["length"], 1]}
        with_bos = ok(server, "/v1/encode", body | {"add_bos": True})
        assert with_bos["length"] > one["length"]


def test_lmdeploys_client_streams_with_a_word_for_true(chat: Server):
    body = {"model": "chat", "prompt": "Shanghai is", "stream": "true", "stop": [" city", " China"]}
    # What its client writes into every request.
    body |= {"suffix": None, "temperature": 0.01, "n": 1, "max_completion_tokens": 16, "max_tokens": 16, "top_p": 1.0}
    body |= {"top_k": 40, "user": None, "repetition_penalty": 1.0, "ignore_eos": False, "skip_special_tokens": True}
    body |= {"spaces_between_special_tokens": True, "stream_options": None}
    lines = ask(chat, "/v1/completions", body).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert all(chunk["object"] == "text_completion" and chunk["model"] == "chat" for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("field", [{"top_p": 1.01}, {"top_p": "x"}, {"n": 0}, {"n": "x"}, {"temperature": -0.01}])
def test_lmdeploy_refuses_numbers_out_of_their_range(chat: Server, field: dict):
    for stream in (False, True):
        body = {"model": "chat", "messages": conversation()[:1], "stream": stream} | field
        assert refused(chat, "/v1/chat/completions", body)["param"] == next(iter(field))


def test_templated_texts_of_trainers_score_alike_on_every_route_of_peers(ranker: Server):
    text = chatml()
    [[matrix]] = ok(ranker, "/v1/score", {"items": [text]})["scores"]
    assert ok(ranker, "/classify", {"text": text})["embedding"] == [matrix]
    assert ok(ranker, "/pooling", {"input": text, "use_activation": False})["data"][0]["data"] == [[matrix]]
