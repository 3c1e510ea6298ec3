"""One step of every optimizer at a checkpoint: its parts, joined in `run`."""
