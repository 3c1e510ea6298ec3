"""Sources of data by name, path or factory, and the replayable stream of batches read from them."""
