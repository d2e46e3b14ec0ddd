"""An environment for SkyRL, of one turn, whose reward is the model's.

    import skyrl_gym

    skyrl_gym.register(id="assay", entry_point="assay.skyrl:AssayEnv")

The variables of `assay._environment` name the server and the attribute.
"""

from __future__ import annotations

from typing import Any

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from . import _environment, _protocol


class AssayEnv(BaseTextEnv):
    """Scores the first response to the prompt."""

    def __init__(self, env_config: Any = None, extras: dict[str, Any] | None = None):
        super().__init__()
        self._prompt: list[dict[str, Any]] = []

    def init(self, prompt: Any) -> tuple[Any, dict[str, Any]]:
        self._prompt = _protocol.turns_of(prompt)
        return prompt, {}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        client, rank_by = _environment.client(), _environment.rank_by()
        conversation = [*self._prompt, {"role": "assistant", "content": action}]
        item = client.items([conversation], rank_by=rank_by)[0]
        _protocol.check([item])
        return BaseTextEnvStepOutput(observations=[], reward=item.reward, done=True, metadata=dict(item.scores or {}))
