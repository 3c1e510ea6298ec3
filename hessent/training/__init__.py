"""The small trainer behind `hessent train`: a seeded run that saves checkpoints to measure spectra on."""
