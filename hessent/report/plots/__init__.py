"""Pictures of spectra; matplotlib is loaded when one is drawn."""
