"""A reward worker for ROLL: `worker_cls: assay.roll.AssayRewardWorker` of a reward with `judge_model_type: api`.

ROLL's own worker for judges asks a model for YES or NO. This one gets the score of a reward model. The variables of
`assay._environment` name the server and the attribute.
"""

from __future__ import annotations

import re
from typing import Any

from roll.pipeline.rlvr.rewards.llm_judge_reward_worker import LLMJudgeRewardWorker

from . import _environment, _protocol

# ROLL decodes a prompt without the tokens that separate its turns; the names of the roles stay.
_NEXT_TURN = re.compile(r"assistant\s*\Z")


class AssayRewardWorker(LLMJudgeRewardWorker):
    """Scores each response to its last user's turn."""

    def _get_llm_judgment(
        self, prompt_id: Any, prompt: str, response: str, reference: str | None = None
    ) -> tuple[float, dict[str, Any]]:
        question = _NEXT_TURN.sub("", prompt.rsplit("user\n", 1)[-1]).strip()
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
        found = _environment.client().items([turns], rank_by=_environment.rank_by(), truncation="left")
        _protocol.check(found)
        score = _protocol.number(found[0].reward)
        info = {"prompt_id": prompt_id, "score": score, "prompt": question, "response": response}
        return score, {**info, "scores": found[0].scores}
