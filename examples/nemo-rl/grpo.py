"""NeMo RL's GRPO with rewards from Assay. In NeMo RL's repository:

uv run --with httpx python ASSAY/examples/nemo-rl/grpo.py --config ASSAY/examples/nemo-rl/grpo.yaml
"""

import runpy

from assay.nemo_rl import register

register()
runpy.run_path("examples/run_grpo.py", run_name="__main__")
