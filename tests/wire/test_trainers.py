"""Requests and parsers of reinforcement-learning trainers and of clients made for other servers."""

import json
import math
import urllib.error
import urllib.request

import pytest
import requests
from conftest import ATTRIBUTES, LOUVRE, PARIS, Server, conversation


def post(server: Server, path: str, body: dict):
    """Like `requests.post(...)` with `raise_for_status()` and `json()`."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=180) as answer:
        return json.load(answer)


def chatml(answer: str = LOUVRE) -> str:
    """The conversation as transformers' `apply_chat_template(..., tokenize=False)` renders it for `one`."""
    turns = {"system": "You are a helpful assistant.", "user": PARIS, "assistant": answer}
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns.items())


def llama3(answer: str = LOUVRE) -> str:
    """The same for `five`, whose template starts every text with a BOS token."""
    turn = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>"
    return "<|begin_of_text|>" + turn.format("user", PARIS) + turn.format("assistant", answer)


def chat_scores(server: Server, model: str, answer: str = LOUVRE) -> list[float]:
    completion = server.client().chat.completions.create(model=model, messages=conversation(answer))
    return [entry.logprob for entry in completion.choices[0].logprobs.content]


def test_openrlhf_gets_a_reward_for_every_query(one_score: Server):
    queries = [chatml(), chatml("Stay at home.")]
    answer = post(one_score, "/get_reward", {"query": queries, "prompts": [PARIS] * 2, "labels": [None, "x"]})
    # Older versions read one key, newer ones the whole object.
    assert "rewards" in answer, answer
    assert answer["rewards"] == chat_scores(one_score, "one") + chat_scores(one_score, "one", "Stay at home.")
    assert answer.get("scores", answer["rewards"]) == answer["rewards"]
    assert answer.get("extra_logs", {}) == {}


def test_verl_with_vllm_reads_the_last_probability_of_the_last_text(server: Server, one_score: Server):
    # verl removes the BOS token, because vLLM adds one.
    five = post(
        server,
        "/classify",
        {"model": "five", "input": llama3().removeprefix("<|begin_of_text|>"), "use_activation": False},
    )
    assert five["data"][-1]["probs"][-1] == chat_scores(server, "five")[-1]
    one = post(one_score, "/classify", {"model": "one", "input": chatml(), "use_activation": False})
    assert [one["data"][-1]["probs"][-1]] == chat_scores(one_score, "one")
    assert one["data"][0]["num_classes"] == 1 and one["data"][0]["label"] == "reward"


def test_verl_with_sglang_reads_the_last_number_of_an_embedding(one_score: Server):
    output = post(one_score, "/v1/embeddings", {"model": "one", "input": chatml()})
    assert [output["data"][-1]["embedding"][-1]] == chat_scores(one_score, "one")


def test_a_mistake_is_a_4xx_that_names_the_field_because_verl_does_not_retry_those(one_score: Server):
    with pytest.raises(urllib.error.HTTPError) as error:
        post(one_score, "/classify", {"model": "one", "imput": chatml(), "use_activation": False})
    assert error.value.code == 400
    assert json.load(error.value)["error"]["param"] == "input"


def test_slime_uses_the_whole_body_as_the_reward(server: Server, one_score: Server):
    sample = {"prompt": PARIS, "response": LOUVRE, "label": None}
    assert [post(one_score, "/slime/reward", sample)] == chat_scores(one_score, "one")
    chat = {"prompt": conversation()[:1], "response": LOUVRE, "label": "42"}
    assert [post(one_score, "/slime/reward", chat)] == chat_scores(one_score, "one")
    # If slime applies the template, the prompt ends where the response starts.
    head, tail = chatml().split(LOUVRE)
    templated = {"prompt": head, "response": LOUVRE + tail, "label": None}
    assert [post(one_score, "/slime/reward", templated)] == chat_scores(one_score, "one")
    # With several scores, --reward-key of slime selects one.
    reward = post(server, "/slime/reward", sample)
    assert list(reward) == ATTRIBUTES and list(reward.values()) == chat_scores(server, "five")


def test_vllms_pooling_clients_send_texts_and_conversations(server: Server):
    scores = chat_scores(server, "five")
    texts = post(server, "/pooling", {"model": "five", "input": [llama3(), llama3("No.")]})
    assert [entry["index"] for entry in texts["data"]] == [0, 1]
    assert [entry["data"] for entry in texts["data"]] == [[scores], [chat_scores(server, "five", "No.")]]
    turns = post(server, "/pooling", {"model": "five", "messages": conversation()})
    assert turns["data"][0]["data"][-1][0] == scores[0] and turns["usage"]["prompt_tokens"] > 0
    rows = post(server, "/pooling", {"model": "five", "messages": conversation(), "task": "token_classify"})
    assert len(rows["data"][0]["data"]) == rows["usage"]["prompt_tokens"] and rows["data"][0]["data"][-1] == scores


def test_vllms_benchmark_reads_tokens_from_the_body_or_from_a_header(server: Server):
    texts = [llama3(), llama3("No.")]
    for path, payload in (
        ("/v1/embeddings", {"input": texts}),
        ("/v1/embeddings", {"messages": conversation()}),
        ("/rerank", {"query": PARIS, "documents": [LOUVRE, "No."]}),
        ("/pooling", {"input": texts}),
        ("/pooling", {"messages": conversation(), "encoding_format": "bytes"}),
        ("/pooling", {"input": texts, "encoding_format": "bytes_only"}),
    ):
        payload |= {"model": "five", "truncate_prompt_tokens": -1}
        answer = requests.post(server.url + path, json=payload, timeout=60)
        assert answer.status_code == 200, answer.text
        if payload.get("encoding_format") == "bytes":
            assert json.loads(answer.headers["metadata"])["usage"]["prompt_tokens"] > 0
        elif "encoding_format" not in payload:
            assert answer.json()["usage"]["prompt_tokens"] > 0


def test_the_openai_client_decodes_an_embedding_in_base_64(server: Server):
    embedding = server.client().embeddings.create(model="five", input=llama3())
    assert list(embedding.data[0].embedding) == pytest.approx(chat_scores(server, "five"), abs=0)


def test_text_embeddings_inference_clients_get_labels_with_scores(server: Server, one_score: Server):
    request = {"inputs": chatml(), "raw_scores": True, "truncate": True}
    predictions = post(one_score, "/predict", request)
    assert [prediction["score"] for prediction in predictions] == chat_scores(one_score, "one")
    batch = post(server, "/predict", {"inputs": [[PARIS, LOUVRE], [llama3()]], "raw_scores": True})
    by_label = [{entry["label"]: entry["score"] for entry in entries} for entries in batch]
    assert by_label == [dict(zip(ATTRIBUTES, chat_scores(server, "five"), strict=True))] * 2
    ranks = post(one_score, "/rerank", {"query": PARIS, "texts": [LOUVRE, "No."], "raw_scores": True})
    assert {rank["index"]: [rank["score"]] for rank in ranks} == {
        0: chat_scores(one_score, "one"),
        1: chat_scores(one_score, "one", "No."),
    }


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_rerank_clients_get_the_best_document_first(one_score: Server, path: str):
    documents = [LOUVRE, "No.", "Stay at home."]
    answer = post(one_score, path, {"model": "one", "query": PARIS, "documents": documents, "top_n": 2})
    results = answer["results"]
    assert len(results) == 2 and results[0]["relevance_score"] >= results[1]["relevance_score"]
    for result in results:
        assert result["document"]["text"] == documents[result["index"]]
        assert [result["relevance_score"]] == chat_scores(one_score, "one", documents[result["index"]])


def test_fastdeploy_clients_get_a_list_of_scores(server: Server):
    answer = post(server, "/v1/reward", {"model": "", "messages": conversation(), "user": "user-123"})
    assert answer["data"][0] == {"index": 0, "object": "reward", "score": chat_scores(server, "five")}


def test_a_process_reward_model_gives_a_pair_for_each_step_or_the_lowest_score(engines):
    answer = "Add the numbers.<extra_0>The sum is 5.<extra_0>"
    with Server(engines["math-prm-tiny"], "--served-model-name", "steps") as server:
        steps = chat_scores(server, "steps", answer)
        assert len(steps) == 2
        pooled = post(server, "/pooling", {"model": "steps", "messages": conversation(answer)})
        assert [right for _, right in pooled["data"][0]["data"]] == steps
        assert all(wrong + right == pytest.approx(1) for wrong, right in pooled["data"][0]["data"])
        slime = {"prompt": conversation()[:1], "response": answer}
        assert post(server, "/slime/reward", slime) == min(steps)
        rewards = post(server, "/v1/rewards", {"messages": conversation()[:1], "responses": [answer, "No steps."]})
        assert rewards["ranked_by"] == "min(step)" and rewards["data"][0]["rank"] == 1
        assert rewards["data"][1]["error"]["code"] == "invalid_messages"


def test_one_call_scores_many_responses_and_reports_cached_tokens(server: Server):
    responses = [LOUVRE, "No.", "", LOUVRE]
    answer = post(server, "/v1/rewards", {"messages": conversation()[:1], "responses": responses, "timing": True})
    for response, item in zip(responses, answer["data"], strict=True):
        assert list(item["scores"].values()) == chat_scores(server, "five", response)
        assert item["timing"]["engine"] >= 0
    ranked = sorted(answer["data"], key=lambda item: item["rank"])
    best = [item["scores"]["helpfulness"] for item in ranked]
    assert best == sorted(best, reverse=True) and answer["ranked_by"] == "helpfulness"
    assert answer["usage"]["cached_tokens"] > 0


def test_a_rank_of_openrlhf_without_samples_gets_empty_lists(one_score: Server):
    answer = post(one_score, "/get_reward", {"query": [], "prompts": [], "labels": []})
    assert answer == {"rewards": [], "scores": [], "extra_logs": {}}


def test_openrlhf_sends_a_whole_rollout_at_once(one_score: Server):
    queries = [chatml(f"Answer {index}.") for index in range(3000)]
    rewards = post(one_score, "/get_reward", {"query": queries, "prompts": queries, "labels": queries})["rewards"]
    assert len(rewards) == 3000
    assert [rewards[7]] == chat_scores(one_score, "one", "Answer 7.")


def test_the_card_of_skywork_reward_reads_embeddings_of_a_list(server: Server):
    # The card removes the BOS token, because SGLang adds one.
    texts = [llama3(answer).removeprefix("<|begin_of_text|>") for answer in [LOUVRE, "No."]]
    rewards = [response["embedding"][0] for response in post(server, "/classify", {"model": "five", "text": texts})]
    assert rewards == [chat_scores(server, "five")[0], chat_scores(server, "five", "No.")[0]]


def test_llama_factory_reads_scores_of_any_response(one_score: Server):
    payload = {"model": "model", "messages": [chatml(), chatml("No.")]}
    rewards = post(one_score, "/v1/score/evaluation", payload)["scores"]
    assert rewards == chat_scores(one_score, "one") + chat_scores(one_score, "one", "No.")


def test_nemo_gym_gets_the_rollout_back_with_its_reward(server: Server):
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
               "content": [{"type": "output_text", "text": LOUVRE, "annotations": []}]}
    rollout = {
        "responses_create_params": {"input": [{"role": "user", "content": PARIS}]},
        "response": {"id": "r", "created_at": 1.0, "model": "m", "object": "response", "output": [message],
                     "parallel_tool_calls": False, "tool_choice": "none", "tools": []},
        "task": {"id": 7},
    }
    answer = post(server, "/verify", rollout)
    assert answer | rollout == answer
    assert list(answer["reward_components"].values()) == chat_scores(server, "five")
    assert answer["reward"] == chat_scores(server, "five")[0]


def test_nvidias_reranking_clients_read_logits_by_index(one_score: Server):
    passages = [LOUVRE, "No."]
    payload = {"model": "one", "query": {"text": PARIS}, "passages": [{"text": text} for text in passages],
               "truncate": "END"}
    rankings = post(one_score, "/v1/ranking", payload)["rankings"]
    for entry in rankings:
        assert [entry["logit"]] == chat_scores(one_score, "one", passages[entry["index"]])


def test_tensorrt_llms_scaffolding_reads_steps_from_context_logits(engines):
    answer = "Add the numbers.<extra_0>The sum is 5.<extra_0>"
    with Server(engines["math-prm-tiny"], "--served-model-name", "steps") as server:
        steps = chat_scores(server, "steps", answer)
        tokens = json.loads(tokenized(server, answer))["tokens"]
        payload = {"model": "steps", "prompt": tokens, "max_tokens": 1, "return_context_logits": True}
        logits = post(server, "/v1/completions", payload)["choices"][0]["context_logits"]
        assert len(logits) == len(tokens)
        ends = [index for index, row in enumerate(logits) if row != [0.0, 0.0]]
        assert len(ends) == 2 and all(tokens[index] == tokens[ends[0]] for index in ends)
        # A softmax of each pair, the second of which is the probability that the step is right.
        right = [1 / (1 + math.exp(logits[index][0] - logits[index][1])) for index in ends]
        assert right == pytest.approx(steps, rel=1e-5)


def tokenized(server: Server, answer: str) -> str:
    body = json.dumps({"messages": conversation(answer), "add_generation_prompt": False}).encode()
    request = urllib.request.Request(server.url + "/tokenize", body, {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=60).read().decode()


def test_a_url_with_a_password_sends_the_key(engines, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("\ufeffsk-0123456789abcdef trainer\n", encoding="utf-8")
    with Server(engines["qwen2-tiny"], "--served-model-name", "one", "--api-keys-file", keys) as server:
        url = f"http://trainer:sk-0123456789abcdef@{server.address}/get_reward"
        answer = requests.post(url, json={"query": [chatml()]}, timeout=60)
        assert answer.status_code == 200 and len(answer.json()["rewards"]) == 1
        wrong = requests.post(f"http://trainer:wrong@{server.address}/get_reward", json={"query": []}, timeout=60)
        assert wrong.status_code == 401
