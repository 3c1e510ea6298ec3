"""Checkpoints: reading what cannot be trusted, matching it to a module, writing, and runs of several."""
