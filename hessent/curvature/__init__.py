"""Curvature of a model's loss: the problem, its losses, operators and engines."""
