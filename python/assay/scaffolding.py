"""A worker for the reward controllers of TensorRT-LLM's scaffolding, such as `PRMController`.

    workers = {PRMController.WorkerTag.REWARD: RewardWorker("http://localhost:8000"), ...}

TensorRT-LLM's own `OpenaiWorker` does not ask for context logits, without which `PRMController` stops with an error;
only a model that it loads in its own process has them there.
"""

from __future__ import annotations

from typing import Any

import torch
from tensorrt_llm.scaffolding.task import GenerationTask, TaskStatus
from tensorrt_llm.scaffolding.worker import Worker

from .async_client import AsyncClient


class RewardWorker(Worker):
    """Gets the context logits of texts, which have the chat template applied."""

    def __init__(self, url: str = "http://localhost:8000", *, api_key: str | None = None, model: str | None = None):
        self._url, self._api_key, self._model = url, api_key, model

    async def generation_handler(self, task: GenerationTask) -> TaskStatus:
        body: dict[str, Any] = {"prompt": task.input_str, "max_tokens": 1, "return_context_logits": True}
        if self._model is not None:
            body["model"] = self._model
        async with AsyncClient(self._url, api_key=self._api_key) as client:
            answer = (await client.post("/v1/completions", body)).json()
        task.context_logits = torch.tensor(answer["choices"][0]["context_logits"])
        return TaskStatus.SUCCESS

    task_handlers = {GenerationTask: generation_handler}
