"""Registers the environment `assay`; the data names it in its column `env_class`."""

import skyrl_gym

skyrl_gym.register(id="assay", entry_point="assay.skyrl:AssayEnv")
