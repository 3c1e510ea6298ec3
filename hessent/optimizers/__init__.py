"""Optimizers: what their updates are made of, and those that torch lacks."""
