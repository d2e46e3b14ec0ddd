"""Best of N with TensorRT-LLM's scaffolding: the responses from one server, their rewards from a model of steps.

python best_of_n.py CHECKPOINT_OF_THE_REWARD_MODEL "How many positive divisors does 196 have?"
"""

import sys

from assay.scaffolding import RewardWorker
from openai import AsyncOpenAI
from tensorrt_llm.scaffolding import NativeGenerationController, ScaffoldingLlm, TRTOpenaiWorker
from tensorrt_llm.scaffolding.controller import BestOfNController, PRMController
from transformers import AutoTokenizer

checkpoint, question = sys.argv[1:]
generator = TRTOpenaiWorker(AsyncOpenAI(base_url="http://localhost:8001/v1", api_key="none"), "policy")
controller = BestOfNController(
    generation_controller=NativeGenerationController(sampling_params={"max_tokens": 1024, "temperature": 0.9}),
    reward_controller=PRMController(AutoTokenizer.from_pretrained(checkpoint), separate_token="<extra_0>"),
    default_sample_num=8,
)
workers = {
    NativeGenerationController.WorkerTag.GENERATION: generator,
    PRMController.WorkerTag.REWARD: RewardWorker("http://localhost:8000"),
}
llm = ScaffoldingLlm(controller, workers)
print(llm.generate(question).outputs[0].text)
llm.shutdown()
