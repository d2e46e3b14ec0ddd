"""Existing clients, each with the calls that it really makes."""

import asyncio
import json
import re
from pathlib import Path

import openai
import pytest
import requests
from conftest import ATTRIBUTES, LOUVRE, PARIS, ROOT, Server, conversation


def pairs(content: str) -> dict[str, float]:
    """Parses scores as the guide to NVIDIA's NIM does."""
    return {pair.split(":")[0]: float(pair.split(":")[1]) for pair in content.split(",")}


def test_the_example_of_the_nim_guide_gets_a_dictionary_of_rewards(server: Server):
    completion = server.client().chat.completions.create(
        model="nvidia/nemotron-4-340b-reward", messages=conversation(), stream=False
    )
    rewards = pairs(completion.choices[0].message.content)
    assert list(rewards) == ATTRIBUTES
    assert all(isinstance(value, float) for value in rewards.values())


def test_nemo_curator_finds_rewards_in_logprobs_that_it_did_not_request(server: Server):
    completion = server.client().chat.completions.create(model="five", messages=conversation())
    assert completion.choices[0].logprobs is not None
    scores = {entry.token: entry.logprob for entry in completion.choices[0].logprobs.content}
    assert scores == pairs(completion.choices[0].message.content)


def test_camel_gets_the_same_rewards_with_its_timeout_and_retries(server: Server):
    client = server.client(timeout=180, max_retries=3)
    completion = client.chat.completions.create(messages=conversation(), model="five")
    logprobs = completion.choices[0].logprobs.content
    assert {entry.token: entry.logprob for entry in logprobs}.keys() == set(ATTRIBUTES)
    assert all(entry.bytes is None and entry.top_logprobs == [] for entry in logprobs)


def test_a_judge_probes_with_a_user_turn_and_reads_one_reward_from_one_token(one_score: Server):
    client = one_score.client()
    probe = client.chat.completions.create(
        model="one", messages=[{"role": "user", "content": "ping"}], temperature=0, max_tokens=1
    )
    assert probe.choices[0].message.content.startswith("reward:")
    completion = client.chat.completions.create(
        model="one", messages=conversation(), temperature=0, max_tokens=1
    )
    assert float(completion.choices[0].message.content.split("reward:")[1]) != 0.0


def test_a_data_generator_finds_every_reward_with_its_regular_expression(server: Server):
    completion = server.client().chat.completions.create(
        model="five", messages=conversation(), temperature=0, max_tokens=8
    )
    content = completion.choices[0].message.content
    found = re.findall(r"([a-z]+):(-?\d+\.?\d*)", content)
    assert {name: float(value) for name, value in found} == pairs(content)
    assert re.fullmatch(r"([a-z]+:-?\d+\.\d+,?)+", content)


def test_an_empty_response_has_a_score(server: Server):
    completion = server.client().chat.completions.create(model="five", messages=conversation(answer=""))
    assert list(pairs(completion.choices[0].message.content)) == ATTRIBUTES


def test_a_response_is_a_complete_chat_completion(server: Server):
    completion = server.client().chat.completions.create(model="five", messages=conversation())
    assert completion.object == "chat.completion"
    assert completion.id.startswith("chatcmpl-")
    assert completion.created > 1_700_000_000
    assert completion.model == "five"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.role == "assistant"
    assert completion.usage.completion_tokens == 1
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 1
    assert completion.usage.prompt_tokens_details.cached_tokens >= 0


def test_a_streaming_client_gets_the_same_rewards(server: Server):
    client = server.client()
    whole = client.chat.completions.create(model="five", messages=conversation())
    stream = client.chat.completions.create(
        model="five", messages=conversation(), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].logprobs.content == whole.choices[0].logprobs.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, "stop"]
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_the_helpers_of_the_openai_package_read_a_reward(server: Server):
    completions = server.client().chat.completions
    content = completions.create(model="five", messages=conversation()).choices[0].message.content
    parsed = completions.parse(model="five", messages=conversation())
    assert parsed.choices[0].message.content == content and parsed.choices[0].message.parsed is None
    with completions.stream(
        model="five", messages=conversation(), logprobs=True, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta"} <= kinds
    assert final.choices[0].message.content == content and final.usage.completion_tokens == 1
    assert len(final.choices[0].logprobs.content) == len(ATTRIBUTES)


def test_nims_finish_reason_is_an_option(engines):
    with Server(engines["llama3-tiny"], "--finish-reason", "length") as server:
        client = server.client()
        model = client.models.list().data[0].id
        assert client.chat.completions.create(model=model, messages=conversation()).choices[0].finish_reason == "length"
        with pytest.raises(openai.LengthFinishReasonError):
            client.chat.completions.parse(model=model, messages=conversation())


def test_a_text_that_is_too_long_says_so_in_the_words_that_clients_match(server: Server):
    long = conversation("more " * 20_000)
    with pytest.raises(openai.BadRequestError) as error:
        server.client().chat.completions.create(model="five", messages=long)
    # litellm makes a ContextWindowExceededError of these words, lmdeploy's tests look for the last three.
    assert "this model's maximum context length is" in str(error.value)
    assert error.value.code == "context_length_exceeded" and error.value.param == "messages"


def test_a_stream_is_read_as_utf_8(server: Server):
    body = {"model": "five", "messages": conversation(), "stream": True}
    answer = requests.post(server.url + "/v1/chat/completions", json=body, stream=True, timeout=60)
    assert answer.encoding == "utf-8" and answer.text.endswith("data: [DONE]\n\n")


def test_concurrent_requests_get_the_scores_they_get_alone(server: Server):
    answers = [f"{LOUVRE} {'Then take the train. ' * number}" for number in range(24)]
    client = server.client()
    alone = [
        client.chat.completions.create(model="five", messages=conversation(answer)).choices[0].message.content
        for answer in answers
    ]

    async def together() -> list[str]:
        async with server.async_client() as client:
            requests = [
                client.chat.completions.create(model="five", messages=conversation(answer)) for answer in answers
            ]
            return [completion.choices[0].message.content for completion in await asyncio.gather(*requests)]

    assert asyncio.run(together()) == alone


def test_responses_carry_the_request_id_and_timings(server: Server):
    answer = server.client().chat.completions.with_raw_response.create(
        model="five", messages=conversation(), extra_headers={"X-Request-Id": "mine-7"}
    )
    assert answer.headers["x-request-id"] == "mine-7"
    assert answer.parse()._request_id == "mine-7"
    assert float(answer.headers["x-queue-time"]) >= 0
    assert float(answer.headers["x-inference-time"]) > 0


def test_priority_and_timeout_are_fields_or_headers(server: Server):
    client = server.client()
    for extra in (
        {"extra_body": {"priority": -1, "timeout": 60}},
        {"extra_headers": {"X-Priority": "5", "X-Request-Timeout": "60"}},
    ):
        assert client.chat.completions.create(model="five", messages=conversation(), **extra).choices


def test_models_are_listed_under_each_of_their_names(server: Server):
    models = server.client().models
    assert [model.id for model in models.list()] == ["five", "nvidia/nemotron-4-340b-reward"]
    assert models.retrieve("nvidia/nemotron-4-340b-reward").max_model_len == 1024


@pytest.mark.parametrize("checkpoint", ["llama3-tiny", "qwen2-tiny"])
def test_prompts_have_as_many_tokens_as_in_transformers(
    checkpoint: str, server: Server, one_score: Server
):
    server, model = {"llama3-tiny": (server, "five"), "qwen2-tiny": (one_score, "one")}[checkpoint]
    golden = json.loads(Path(ROOT / f"tests/golden/prompts/{checkpoint}.json").read_text())
    cases = [case for case in golden["cases"] if len(case["ids"]) <= 1000 and not case.get("add_generation_prompt")]
    assert len(cases) >= 5
    for case in cases:
        completion = server.client().chat.completions.create(model=model, messages=case["messages"])
        assert completion.usage.prompt_tokens == len(case["ids"]), case["name"]


def test_the_demo_model_prefers_a_good_response_to_word_salad(engines):
    with Server(engines["demo"], "--served-model-name", "demo") as server:
        client = server.client()
        good, bad = (
            pairs(client.chat.completions.create(model="demo", messages=conversation(answer, PARIS)).choices[0].message.content)
            for answer in (LOUVRE, "of the day Seine see see Louvre to to and tower")
        )
        assert good["helpfulness"] > bad["helpfulness"]
