"""Models that generate text, called by the OpenAI client."""

import asyncio
import subprocess
from collections.abc import Iterator

import openai
import pytest
from conftest import BINARIES, CHECKPOINTS, Server

ASKED = [{"role": "user", "content": "I am going to Paris, what should I see?"}]


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> Iterator[Server]:
    """Serves a tiny chat model as `chat`."""
    engine = tmp_path_factory.mktemp("engines") / "chat"
    command = [BINARIES / "build-engine", "--model", CHECKPOINTS["lm-head-tiny"], "--target", "cpu", "--output", engine]
    built = subprocess.run([*command, "--dtype", "f32", "--task", "chat"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with Server(engine, "--served-model-name", "chat") as server:
        yield server


def test_a_streamed_response_equals_the_whole_one(chat: Server):
    ask = dict(model="chat", messages=ASKED, max_tokens=24, temperature=0)
    whole = chat.client().chat.completions.create(**ask)
    assert whole.choices[0].finish_reason in ("stop", "length") and whole.usage.completion_tokens <= 24
    chunks = list(chat.client().chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content and text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason


def test_a_seed_gives_the_same_text_in_any_batch(chat: Server):
    async def all_at_once() -> list[str]:
        client = chat.async_client()
        asks = [
            client.chat.completions.create(model="chat", messages=ASKED, max_tokens=16, seed=seed, temperature=1.5)
            for seed in [7, 1, 7, 2, 7]
        ]
        return [answer.choices[0].message.content for answer in await asyncio.gather(*asks)]

    first, other, second, another, third = asyncio.run(all_at_once())
    assert first == second == third and len({first, other, another}) > 1


def test_the_client_can_read_log_probabilities(chat: Server):
    answer = chat.client().chat.completions.create(
        model="chat", messages=ASKED, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3
    )
    for token in answer.choices[0].logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        # Greedy sampling takes the most likely token.
        assert token.top_logprobs[0].token == token.token
        assert [top.logprob for top in token.top_logprobs] == sorted((top.logprob for top in token.top_logprobs), reverse=True)


def test_completions_accept_several_prompts_and_echo_them(chat: Server):
    answer = chat.client().completions.create(model="chat", prompt=["Paris is", "The Seine"], max_tokens=4, echo=True, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text.startswith(prompt) for choice, prompt in zip(answer.choices, ["Paris is", "Paris is", "The Seine", "The Seine"])] == [True] * 4


def test_an_unsupported_field_is_refused_by_name(chat: Server, server: Server):
    for field, value in [("tool_choice", "required"), ("response_format", {"type": "json_object"}), ("logit_bias", {"x": 1})]:
        with pytest.raises(openai.BadRequestError) as refused:
            chat.client().chat.completions.create(model="chat", messages=ASKED, **{field: value})
        assert field in str(refused.value)
    with pytest.raises(openai.BadRequestError) as refused:
        server.client().completions.create(model="five", prompt="Paris")
    assert refused.value.code == "wrong_task"


def test_the_engine_is_free_after_a_client_closes_its_stream(chat: Server):
    client = chat.client()
    stream = client.chat.completions.create(model="chat", messages=ASKED, max_tokens=200, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    again = client.chat.completions.create(model="chat", messages=ASKED, max_tokens=2)
    assert again.usage.completion_tokens <= 2
