"""Trainers' own functions, as their repositories have them, against a running server.

`make test-trainers` fetches one file of each repository at a pinned commit and runs these tests. The functions are
taken out of the files unchanged; only what they import is replaced.
"""

import __future__
import ast
import asyncio
import copy
import importlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
import weakref
from abc import ABC
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import requests
from conftest import ATTRIBUTES, CHECKPOINTS, LOUVRE, PARIS, ROOT, Server, conversation
from test_trainers import chat_scores, chatml, llama3

FOLDER = os.environ.get("TRAINER_SOURCES")
pytestmark = pytest.mark.skipif(not FOLDER, reason="run `make test-trainers`")

# Repository, commit and file.
SOURCES = {
    "OpenRLHF": ("OpenRLHF/OpenRLHF", "3c3be6234e0cb353e76bb8019947db9dfe99fca7", "openrlhf/utils/agent.py"),
    "slime": ("THUDM/slime", "624b824a898ab0ec1fcb4d373004c7f3852bf515", "slime/rollout/rm_hub/__init__.py"),
    "miles": ("radixark/miles", "31f1ca961a94cb860cec3b2dea34ec332bfa8f76", "miles/rollout/rm_hub/__init__.py"),
    "verl": (
        "volcengine/verl",
        "b178a3cd56f58b2d502255daba591e92833930a7",
        "verl/experimental/reward_loop/reward_loop.py",
    ),
    "XTuner": ("InternLM/xtuner", "b934f462095c1e750229de35367c50ae36caa786", "xtuner/utils/rm_utils.py"),
    "LLaMA-Factory": (
        "hiyouga/LLaMA-Factory",
        "ff6d4d12eeb035d6ce06805a5733dd7b29f2ac30",
        "src/llamafactory/train/ppo/ppo_utils.py",
    ),
    "ROLL": (
        "alibaba/ROLL",
        "8eb27cc2dc34c4d1310b169d9b86d339004d811a",
        "roll/pipeline/rlvr/rewards/llm_judge_reward_worker.py",
    ),
    "AReaL": ("inclusionAI/AReaL", "4aef98d8d818af55b43621aaadba047ae10f4e77", "areal/api/reward_api.py"),
    "XTuner-judger": (
        "InternLM/xtuner",
        "b934f462095c1e750229de35367c50ae36caa786",
        "xtuner/v1/rl/judger/native.py",
    ),
    "TensorRT-LLM": (
        "NVIDIA/TensorRT-LLM",
        "0bd88711aa8fec008340db83f067e17b5e5e374c",
        "tensorrt_llm/scaffolding/controller.py",
    ),
}


def source(trainer: str) -> str:
    """The text of a trainer's file, which is fetched if it is not there yet."""
    repository, commit, path = SOURCES[trainer]
    folder = Path(FOLDER).resolve() / trainer
    git = ["git", "-C", str(folder)]
    if not folder.exists():
        folder.mkdir(parents=True)
        subprocess.run([*git, "init", "--quiet", "--bare"], check=True)
        subprocess.run([*git, "remote", "add", "origin", f"https://github.com/{repository}"], check=True)
        # Files are fetched when they are shown.
        fetch = ["fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", commit]
        subprocess.run([*git, *fetch], check=True)
    return subprocess.run([*git, "show", f"{commit}:{path}"], check=True, capture_output=True, text=True).stdout


def take(trainer: str, name: str, methods: tuple[str, ...] = (), **imported):
    """A function of a trainer's file, or a class with some of its methods; `imported` stands for its imports."""
    for node in ast.parse(source(trainer)).body:
        if getattr(node, "name", None) == name:
            break
    else:
        raise AssertionError(f"{trainer} has no {name}")
    if methods:
        node.body = [item for item in node.body if getattr(item, "name", None) in methods]
        node.decorator_list, node.bases = [], []
    scope = {"logger": logging.getLogger(trainer), **imported}
    # Annotations stay text, so that what they name need not be there.
    code = compile(ast.Module([node], type_ignores=[]), trainer, "exec", __future__.annotations.compiler_flag)
    exec(code, scope)  # noqa: S102
    return scope[name]


def aiohttp():
    return pytest.importorskip("aiohttp")


def openrlhf(*urls: str):
    methods = ("_fetch_rewards_via_http",)
    executor = take("OpenRLHF", "SingleTurnAgentExecutor", methods, aiohttp=aiohttp(), asyncio=asyncio)()
    executor.reward_endpoints = list(urls)
    return executor


def test_openrlhf_with_several_urls_loses_no_reward(one_score: Server):
    urls = [one_score.url + "/get_reward"] * 3
    # Two texts and three servers: the last gets none.
    for texts in ([chatml()], [chatml(), chatml("No.")], [chatml(str(index)) for index in range(7)]):
        answers = asyncio.run(openrlhf(*urls)._fetch_rewards_via_http(texts, [PARIS] * len(texts), [None] * len(texts)))
        assert len(answers) == 3
        rewards = [reward for answer in answers for reward in answer["rewards"]]
        expected = [post(one_score, "/get_reward", {"query": [text]})["rewards"][0] for text in texts]
        assert rewards == expected and [answer["extra_logs"] for answer in answers] == [{}] * 3


def post(server: Server, path: str, body: dict):
    answer = requests.post(server.url + path, json=body, timeout=60)
    answer.raise_for_status()
    return answer.json()


@pytest.mark.parametrize("trainer", ["slime", "miles"])
def test_slime_and_miles_take_the_body_as_the_reward(server: Server, one_score: Server, trainer: str):
    imported = {"aiohttp": aiohttp(), "asyncio": asyncio}

    async def reward(server: Server, prompt) -> float | dict:
        remote_rm = take(trainer, "remote_rm", _get_shared_session=lambda: session, **imported)
        sample = SimpleNamespace(prompt=prompt, response=LOUVRE, label="42")
        async with imported["aiohttp"].ClientSession() as session:
            return await remote_rm(SimpleNamespace(rm_url=server.url + "/slime/reward"), sample)

    for prompt in (PARIS, conversation()[:1]):
        assert [asyncio.run(reward(one_score, prompt))] == chat_scores(one_score, "one")
        assert list(asyncio.run(reward(server, prompt)).items()) == list(
            zip(ATTRIBUTES, chat_scores(server, "five"), strict=True)
        )


@pytest.mark.parametrize("rollout", ["vllm", "sglang"])
def test_verl_reads_the_last_number(server: Server, one_score: Server, rollout: str):
    for served, model, text in ((one_score, "one", chatml()), (server, "five", llama3())):
        methods = ("_post_request", "compute_score_disrm")
        worker = take("verl", "RewardLoopWorker", methods, aiohttp=aiohttp(), asyncio=asyncio)()
        worker.reward_router_address = served.address
        engine, path = SimpleNamespace(name=rollout), SimpleNamespace(path=model)
        worker.config = SimpleNamespace(reward_model=SimpleNamespace(rollout=engine, model=path))

        async def rendered(_, text=text):
            return text.removeprefix("<|begin_of_text|>")

        worker._preprocess_reward_inputs = rendered
        assert asyncio.run(worker.compute_score_disrm(None)) == {"reward_score": chat_scores(served, model)[-1]}


def test_xtuner_gets_rewards_in_each_of_its_three_modes(server: Server, one_score: Server):
    methods = ("sglang_request_reward", "vllm_request_reward", "lmdeploy_request_reward")
    client = take("XTuner", "RewardModelClient", methods, requests=requests, time=time)()
    for served, model, texts in (
        (one_score, "one", [chatml(), chatml("No.")]),
        (server, "five", [llama3(), llama3("No.")]),
    ):
        client.server_address, client.rm_name = served.address, model
        expected = [chat_scores(served, model, answer) for answer in (LOUVRE, "No.")]
        assert client.sglang_request_reward(texts) == [scores[0] for scores in expected]
        assert client.vllm_request_reward(texts) == [scores[0] for scores in expected]
        # This mode keeps whatever is there: rows of scores.
        assert client.lmdeploy_request_reward(texts) == [[scores] for scores in expected]


def test_llama_factory_gets_a_score_for_each_text(one_score: Server):
    torch = SimpleNamespace(Tensor=list)
    rewards = take("LLaMA-Factory", "get_rewards_from_server", requests=requests, json=json, torch=torch)
    answer = rewards(one_score.url + "/v1/score/evaluation", [chatml(), chatml("No.")])
    assert answer == chat_scores(one_score, "one") + chat_scores(one_score, "one", "No.")


def test_rolls_judge_asks_through_openais_client(judge: Server):
    methods = ("_call_api_model",)
    worker = take("ROLL", "LLMJudgeRewardWorker", methods)()
    worker.judge_api_url, worker.judge_api_key, worker.judge_model_name = judge.url + "/v1", "none", judge.model
    worker.logger = logging.getLogger("ROLL")
    assert isinstance(worker._call_api_model([{"role": "user", "content": "Is 1 + 1 = 2? Answer YES or NO."}]), str)


@pytest.fixture
def package(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Imports a module of the Python package for a trainer, of which the given modules stand in."""
    monkeypatch.syspath_prepend(ROOT / "python")
    monkeypatch.setenv("ASSAY_URL", server.url)
    monkeypatch.setenv("ASSAY_RANK_BY", "coherence")

    def load(name: str, **stand_ins: object) -> ModuleType:
        for path, members in stand_ins.items():
            path = path.replace("__", ".")
            for end in range(len(path.split("."))):
                parent = ".".join(path.split(".")[: end + 1])
                monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent) or ModuleType(parent))
            vars(sys.modules[path]).update(members)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.import_module("assay._environment").client.cache_clear()
        return importlib.import_module(name)

    return load


COHERENCE = ATTRIBUTES.index("coherence")


def test_areal_gets_a_float_from_the_packages_function_in_another_process(server: Server, package):
    imported = {"asyncio": asyncio, "threading": threading, "traceback": traceback, "weakref": weakref}
    imported |= {"ProcessPoolExecutor": ProcessPoolExecutor, "BrokenProcessPool": BrokenProcessPool, "partial": partial}
    wrapper = take("AReaL", "AsyncRewardWrapper", os=os, _get_device_count_safely=lambda: 8, **imported)
    function = wrapper(package("assay.areal").reward)
    prompt = "<|im_start|>user\n" + PARIS + "<|im_end|>\n<|im_start|>assistant\n"

    async def rewards() -> list[float]:
        task_data = {"messages": conversation()[:1], "answer": "42"}
        return [await function(prompt, text, [1], [2], **task_data) for text in (LOUVRE + "<|im_end|>", "No.")]

    due = [chat_scores(server, "five", text)[COHERENCE] for text in (LOUVRE, "No.")]
    assert asyncio.run(rewards()) == due

    async def without_messages() -> float:
        return await function(prompt, LOUVRE, [1], [2])

    with pytest.raises(ValueError, match="messages"):
        asyncio.run(without_messages())


def test_xtuners_judger_writes_the_reward_and_each_attribute_into_a_rollout(server: Server, package):
    base = take("XTuner-judger", "BaseJudger")
    judger = take("XTuner-judger", "Judger", BaseJudger=base)

    class JudgerConfig:
        def __init__(self, judger_name: str):
            self.judger_name = judger_name

    module = package("assay.xtuner", xtuner__v1__rl__judger={"Judger": judger, "JudgerConfig": JudgerConfig})
    made = module.AssayJudgerConfig(judger_name="assay").build_local()
    assert made.get_judger_name() == "assay"

    def rollout(text: str) -> SimpleNamespace:
        rest = {"status": None, "data_source": None, "task_name": None, "reward_model": None}
        return SimpleNamespace(message=conversation()[:1], response=text, reward=None, **rest)

    def due(text: str) -> dict[str, float]:
        scores = chat_scores(server, "five", text)
        return {**dict(zip(ATTRIBUTES, scores, strict=True)), "score": scores[COHERENCE]}

    assert asyncio.run(made.judge(rollout(LOUVRE))).reward == due(LOUVRE)
    several = asyncio.run(made.batch_judge([rollout(LOUVRE), rollout("No.")]))
    assert [state.reward for state in several] == [due(LOUVRE), due("No.")]


@pytest.mark.parametrize("prompt", ["system\nBe kind.\nuser\n{}\nassistant\n", "user\n\n{}assistant\n\n"])
def test_rolls_worker_gets_the_score_of_a_reward_model(server: Server, package, prompt: str):
    worker = take("ROLL", "LLMJudgeRewardWorker", ("_format_judge_prompt",))
    path = "roll__pipeline__rlvr__rewards__llm_judge_reward_worker"
    made = package("assay.roll", **{path: {"LLMJudgeRewardWorker": worker}}).AssayRewardWorker()
    score, info = made._get_llm_judgment("7", prompt.format(PARIS), LOUVRE, "the answer")
    assert score == chat_scores(server, "five")[COHERENCE]
    assert info["prompt"] == PARIS and list(info["scores"]) == ATTRIBUTES


def test_tensorrt_llms_best_of_n_keeps_the_response_with_the_best_steps(engines, package):
    torch = pytest.importorskip("torch")
    tokenizers = pytest.importorskip("transformers")
    tokenizer = tokenizers.AutoTokenizer.from_pretrained(CHECKPOINTS["math-prm-tiny"])

    class Task(SimpleNamespace):
        @staticmethod
        def create_from_prompt(prompt: str) -> "Task":
            return Task(input_str=prompt)

    class Worker:
        async def run_task(self, task: Task):
            return await type(self).task_handlers[type(task)](self, task)

    status = SimpleNamespace(SUCCESS="success")
    stand_ins = {
        "tensorrt_llm__scaffolding__task": {"GenerationTask": Task, "TaskStatus": status},
        "tensorrt_llm__scaffolding__worker": {"Worker": Worker},
    }
    scope = {"torch": torch, "F": torch.nn.functional, "ABC": ABC, "Enum": Enum, "GenerationTask": Task, "copy": copy}
    for name in ("Controller", "ParallelProcess", "NativeRewardController", "PRMController", "BestOfNController"):
        scope[name] = take("TensorRT-LLM", name, **scope)
    with Server(engines["math-prm-tiny"], "--served-model-name", "prm") as server:
        worker = package("assay.scaffolding", **stand_ins).RewardWorker(server.url, model="prm")
        responses = ["2 is even.\n\nSo 3.", "1 + 1 is 2.\n\nSo 2.", "No."]
        generation = SimpleNamespace(process=lambda tasks: iter([tasks]))
        controller = scope["BestOfNController"](generation, scope["PRMController"](tokenizer), len(responses))
        task = Task(input_str=PARIS, output_str=None)
        steps = controller.process([task], sample_num=len(responses))
        parallel = next(steps)
        for response, sub in zip(responses, parallel.sub_gens, strict=True):
            next(sub)[0].output_str = response
        for reward_task in next(steps):
            assert asyncio.run(worker.run_task(reward_task)) == "success"
        with pytest.raises(StopIteration):
            next(steps)
        scores = controller.reward_controller.scores
        assert task.output_str == responses[scores.index(max(scores))]
        # The server's own probabilities of the steps.
        for response, score in zip(responses, scores, strict=True):
            text = "".join(step + "<extra_0>" for step in response.split("\n\n"))
            system = "Please reason step by step, and put your final answer within \\boxed{}."
            turns = [{"role": "system", "content": system}, *conversation(text)]
            item = post(server, "/v1/rewards", {"conversations": [turns]})["data"][0]
            product = 1.0
            for probability in item["scores"].values():
                product *= probability
            assert score == pytest.approx(product, rel=1e-5)


@pytest.fixture
def judge(engines):
    with Server(engines["lm-head-tiny"], "--served-model-name", "judge") as server:
        server.model = "judge"
        yield server
