"""The reward function that train.sh names."""

from assay.openrlhf import reward_func

__all__ = ["reward_func"]
