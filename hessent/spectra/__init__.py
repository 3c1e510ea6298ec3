"""The waist: spectra as data, and as files."""
