"""Architectures: from a name and the shapes found in a checkpoint to a network that the tensors fit into."""
