"""The measurements of `accept.sh`: each subcommand is one step and writes its results to OUTPUT/results."""

import os
import sys

from client import busy, ready
from hardware import machine
from load import flood, throughput
from report import report, step
from scores import agreement, first, reference, repeatability, same, streaming

STEPS = (machine, reference, ready, first, agreement, repeatability, streaming, throughput, flood, busy, same, step, report)

if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    steps = {function.__name__: function for function in STEPS}
    steps[sys.argv[1]](*sys.argv[2:])
