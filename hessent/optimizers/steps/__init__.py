"""Explicit steps: what an optimizer that holds a state does next at a checkpoint, as a direction."""
