"""The PAC-Bayes bound of a checkpoint: its parts, joined in `run`."""
