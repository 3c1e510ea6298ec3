"""Losses as sums over items, by name or as functions of the user's."""
