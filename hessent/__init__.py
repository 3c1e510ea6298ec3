"""hessent: spectra of the loss curvature around saved checkpoints, each number with its error."""

__version__ = "0.1.0"
