"""K-FAC: one Kronecker product per layer, from second moments of its inputs and of its output gradients."""
