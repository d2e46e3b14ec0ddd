"""The modules of trainers. Each is called as its trainer calls it; with the trainer's package installed, by it.

`make test-python` runs what needs no trainer; `make test-trainers` installs TRL, verl, SkyRL-Gym and distilabel.
"""

import asyncio
import importlib.util
import json
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from assay import Client, ScoringError, Server, ServerError, _environment
from assay import areal, openrlhf, slime, verl
from assay.trl import reward_func

ROOT = Path(__file__).parents[2]
QUESTION, ANSWERS = "What is the capital of France?", ["Paris.", "No idea."]
TURNS = [{"role": "user", "content": QUESTION}]
TOO_LONG = "long " * 20_000

pytestmark = pytest.mark.usefixtures("environment")


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture
def expected(client: Client) -> list[dict[str, float]]:
    return client.score(QUESTION, ANSWERS)


@pytest.fixture
def ranked_by_coherence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_RANK_BY", "coherence")


# --- TRL ---


def test_trl_gives_texts_or_messages_and_gets_a_number_for_each(server: Server, expected):
    function = reward_func(server.url)
    due = [scores["helpfulness"] for scores in expected]
    assert function([QUESTION] * 2, ANSWERS, completion_ids=[[1], [2]], trainer_state=None) == due
    completions = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    assert function(prompts=[TURNS] * 2, completions=completions) == due
    coherent = reward_func(server.url, rank_by="coherence")
    assert coherent([QUESTION] * 2, ANSWERS) == [scores["coherence"] for scores in expected]
    assert (function.__name__, coherent.__name__) == ("assay", "assay_coherence")


def test_trl_gets_an_error_or_none_and_never_a_zero(server: Server):
    with pytest.raises(ScoringError):
        reward_func(server.url)([QUESTION] * 2, ["Paris.", TOO_LONG])
    rewards = reward_func(server.url, skip_failed=True)([QUESTION] * 2, ["Paris.", TOO_LONG])
    assert isinstance(rewards[0], float) and rewards[1] is None


@needs("trl")
def test_trls_grpo_trains_a_step_with_two_attributes(server: Server, tmp_path):
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    # The tokenizer of the demo model, and a policy that has learnt nothing.
    demo = __import__("conftest").ROOT / "engines/demo"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(demo)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.pad_token
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )
    functions = [reward_func(server.url), reward_func(server.url, rank_by="coherence")]
    arguments = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=8,
        max_steps=1, reward_weights=[0.5, 0.5], report_to=[], use_cpu=True, logging_steps=1, bf16=False,
    )
    data = Dataset.from_list([{"prompt": "What is 1+1?"}, {"prompt": "Say hello."}])
    trainer = GRPOTrainer(
        model=Qwen2ForCausalLM(config), reward_funcs=functions, args=arguments, train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "rewards/assay/mean" in entry)
    assert logged["rewards/assay/mean"] != 0 and logged["rewards/assay_coherence/mean"] != 0


# --- verl ---


def test_verl_gets_the_reward_and_each_attribute(expected):
    for extra in [{"question": QUESTION}, {"prompt": TURNS}]:
        result = verl.compute_score("gsm8k", ANSWERS[0], "Paris", extra, reward_router_address=None)
        assert result == expected[0] | {"score": expected[0]["helpfulness"]}
    batch = verl.compute_scores(["x"] * 2, ANSWERS, [None] * 2, [{"question": QUESTION}] * 2)
    assert [result["score"] for result in batch] == [scores["helpfulness"] for scores in expected]
    with pytest.raises(ValueError, match="extra_info"):
        verl.compute_score("gsm8k", ANSWERS[0], "Paris", {})


def test_the_environment_chooses_the_attribute(ranked_by_coherence, expected):
    assert verl.compute_score("x", ANSWERS[0], None, {"question": QUESTION})["score"] == expected[0]["coherence"]


@needs("verl")
def test_verl_loads_the_function_by_its_name(expected):
    # verl's own loader, without the rest of verl, which needs torch and more.
    folder = importlib.util.find_spec("verl").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("import_utils", f"{folder}/utils/import_utils.py")
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    function = loader.load_extern_object("pkg://assay.verl", "compute_score")
    assert function("x", ANSWERS[1], None, {"question": QUESTION})["score"] == expected[1]["helpfulness"]


# --- OpenRLHF ---


def templated(answer: str) -> str:
    """As the policy's tokenizer renders the conversation; the demo model's template is plain text."""
    return f"user: {QUESTION}\nassistant: {answer}"


def test_openrlhf_gets_the_scores_of_templated_texts(server: Server, client: Client, monkeypatch):
    queries = [templated(answer) for answer in ANSWERS]
    due = client.post("/get_reward", {"query": queries}).json()["rewards"]
    assert openrlhf.scores(queries) == due and openrlhf.scores([]) == []
    monkeypatch.setenv("ASSAY_RANK_BY", "helpfulness")
    assert openrlhf.scores(queries) == due
    monkeypatch.setenv("ASSAY_RANK_BY", "coherence")
    assert openrlhf.scores(queries) != due
    monkeypatch.setenv("ASSAY_RANK_BY", "nope")
    with pytest.raises(ServerError, match="helpfulness"):
        openrlhf.scores(queries)


@needs("torch")
def test_openrlhf_gets_tensors():
    result = openrlhf.reward_func([templated(answer) for answer in ANSWERS], [QUESTION] * 2, [None] * 2)
    assert result["rewards"].shape == (2,) and result["scores"] is result["rewards"] and result["extra_logs"] == {}


# --- slime ---


def test_slime_gets_the_reward_of_a_sample_or_of_a_group(ranked_by_coherence, expected):
    due = [scores["coherence"] for scores in expected]
    for prompt in [QUESTION, TURNS]:
        samples = [SimpleNamespace(prompt=prompt, response=answer, label=None) for answer in ANSWERS]
        assert asyncio.run(slime.reward(None, samples[0])) == due[0]
        assert asyncio.run(slime.reward(None, samples, evaluation=True)) == due


def test_slime_gets_the_score_of_the_servers_rule_for_every_form_of_prompt(client: Client):
    due = client.rewards(QUESTION, ANSWERS)
    for prompt in [QUESTION, TURNS]:
        samples = [SimpleNamespace(prompt=prompt, response=answer) for answer in ANSWERS]
        assert asyncio.run(slime.reward(None, samples)) == due


def test_slime_gets_an_error_and_never_a_zero(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as changed, pytest.raises(ValueError, match="nope.*helpfulness"):
        changed.setenv("ASSAY_RANK_BY", "nope")
        asyncio.run(slime.reward(None, SimpleNamespace(prompt=QUESTION, response="Paris.")))
    with pytest.raises(ScoringError):
        asyncio.run(slime.reward(None, SimpleNamespace(prompt=TURNS, response=TOO_LONG)))
    with pytest.raises(ServerError):
        asyncio.run(slime.reward(None, SimpleNamespace(prompt=QUESTION, response=TOO_LONG)))


# --- AReaL ---


def test_areal_gets_the_reward_of_a_completion_without_its_end(ranked_by_coherence, expected):
    areal._client.cache_clear()
    due = [scores["coherence"] for scores in expected]
    for end in ["", "<|im_end|>", "<|eot_id|>", "\n<|im_end|>\n<|endoftext|>", "</s>"]:
        prompt = "<|im_start|>user\n" + QUESTION + "<|im_end|>\n<|im_start|>assistant\n"
        rewards = [areal.reward(prompt, answer + end, [1], [2], messages=TURNS, answer="x") for answer in ANSWERS]
        assert rewards == due
    with pytest.raises(ValueError, match="messages"):
        areal.reward(QUESTION, "Paris.", [1], [2])


def test_areal_gets_an_error_before_it_would_take_a_zero(monkeypatch):
    areal._client.cache_clear()
    # An attempt may start as late as the time for trying again ends.
    assert areal._TIMEOUT + areal._RETRY_FOR < 15
    monkeypatch.setattr(areal, "_TIMEOUT", 0.5)
    monkeypatch.setattr(areal, "_RETRY_FOR", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ASSAY_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ServerError):
            areal.reward(QUESTION, "Paris.", [1], [2], messages=TURNS)
    areal._client.cache_clear()


# --- SkyRL ---


@needs("skyrl_gym")
def test_skyrl_makes_the_environment_and_gets_its_reward(expected):
    import skyrl_gym

    skyrl_gym.register(id="assay", entry_point="assay.skyrl:AssayEnv")
    env = skyrl_gym.make("assay", env_config={}, extras={"reward_spec": {}})
    prompt, _ = env.init(TURNS)
    assert prompt == TURNS
    output = env.step(ANSWERS[0])
    assert output["reward"] == expected[0]["helpfulness"] and output["done"] and output["observations"] == []
    assert output["metadata"] == expected[0]


# --- NeMo RL ---


@needs("nemo_rl")
def test_nemo_rl_makes_the_environment_which_scores_the_messages_of_the_prompt(server: Server, expected):
    import ray
    import torch
    from nemo_rl.data.interfaces import TaskDataSpec
    from nemo_rl.data.processors import PROCESSOR_REGISTRY
    from nemo_rl.environments.utils import create_env
    from transformers import AutoTokenizer

    from assay import nemo_rl

    nemo_rl.register()
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "tests/checkpoints/llama3-tiny")
    row = {"messages": [*TURNS, {"role": "assistant", "content": "Paris."}], "task_name": "geography"}
    datum = PROCESSOR_REGISTRY["assay"](row, TaskDataSpec(task_name="geography"), tokenizer, 512, 0)
    (prompt,) = datum["message_log"]
    assert prompt["content"] == tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    assert len(prompt["token_ids"]) == datum["length"] and datum["loss_multiplier"] == 1.0
    short = PROCESSOR_REGISTRY["assay"](row, TaskDataSpec(task_name="geography"), tokenizer, 5, 0)
    assert short["loss_multiplier"] == 0.0 and len(short["message_log"][0]["token_ids"]) <= 5
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    try:
        environment = create_env("assay", {"url": server.url, "rank_by": "coherence"})
        logs = [[prompt, {"role": "assistant", "content": answer}] for answer in ANSWERS]
        given = ray.get(environment.step.remote(logs, [datum["extra_env_info"]] * 2))
        _, metrics = ray.get(environment.global_post_process_and_metrics.remote({"extra_env_info": given.metadata}))
        with pytest.raises(ValueError, match="processor: assay"):
            ray.get(environment.step.remote(logs, [{"ground_truth": "Paris."}] * 2))
        with pytest.raises(ScoringError):
            too_long = [[prompt, {"role": "assistant", "content": TOO_LONG}]]
            ray.get(environment.step.remote(too_long, [datum["extra_env_info"]]))
    finally:
        ray.shutdown()
    assert torch.equal(given.rewards, torch.tensor([scores["coherence"] for scores in expected]))
    assert given.terminateds.tolist() == [True, True] and given.answers == ANSWERS
    assert metrics["assay/helpfulness"] == pytest.approx(sum(scores["helpfulness"] for scores in expected) / 2)


# --- distilabel ---


@needs("distilabel")
def test_distilabels_pipeline_scores_generations(server: Server, expected):
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts

    from assay.distilabel import AssayScores

    with Pipeline(name="scores") as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": QUESTION, "generations": ANSWERS}])
        load >> AssayScores(url=server.url, attribute="coherence")
    rows = list(pipeline.run(use_cache=False)["default"]["train"])
    assert rows[0]["scores"] == [scores["coherence"] for scores in expected]
    attributes = [json.loads(one) if isinstance(one, str) else one for one in rows[0]["attributes"]]
    assert attributes == expected


def test_the_client_of_the_environment_is_made_once():
    assert _environment.client() is _environment.client()
