"""The judger of an XTuner configuration: put this into one of its examples of GRPO in place of `judger_config`.

ASSAY_URL names the server, and ASSAY_RANK_BY the attribute that is the reward.
"""

from assay.xtuner import AssayJudgerConfig
from xtuner.v1.rl.utils import CPUResourcesConfig

judger_config = AssayJudgerConfig(
    judger_name="assay",
    cpu_resources=CPUResourcesConfig(num_workers=1, num_cpus_per_worker=1),
)
