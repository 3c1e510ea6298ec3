"""Measures of a spectrum, from stored coefficients alone, each with its interval."""
