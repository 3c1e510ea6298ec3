"""The journal of a measurement under way: what was finished, the states of what was not, and who works on it."""
