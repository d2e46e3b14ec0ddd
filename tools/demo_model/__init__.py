"""The demonstration reward model, by stages: data, prompts, faults, model, training, evaluation."""
