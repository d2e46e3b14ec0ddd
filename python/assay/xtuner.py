"""A judger for XTuner: `judger_config=AssayJudgerConfig(judger_name="assay")`.

A rollout gets its reward as `score`, on which XTuner trains, and each attribute beside it. The variables of
`assay._environment` name the server and the attribute.
"""

from __future__ import annotations

from typing import Any

from xtuner.v1.rl.judger import Judger, JudgerConfig

from . import _environment, _protocol


class AssayJudger(Judger):
    """Scores the response to the messages of a rollout, or of several."""

    async def judge_payload(self, payload: Any) -> Any:
        payloads = payload if isinstance(payload, list) else [payload]
        conversations = []
        for one in payloads:
            if one["response"] is None:
                raise ValueError("a rollout has no response: XTuner's agent loop has not decoded it")
            turns = _protocol.turns_of(one["message"])
            conversations.append([*turns, {"role": "assistant", "content": one["response"]}])
        async with _environment.async_client() as client:
            found = await client.items(conversations, rank_by=_environment.rank_by(), truncation="left")
        _protocol.check(found)
        rewards = [{**(item.scores or {}), "score": item.reward} for item in found]
        return rewards if isinstance(payload, list) else rewards[0]


class AssayJudgerConfig(JudgerConfig):
    """What XTuner makes a judger of, in its own process or, with `cpu_resources`, in Ray actors."""

    def build_local(self) -> AssayJudger:
        return AssayJudger(judger_name=self.judger_name)
