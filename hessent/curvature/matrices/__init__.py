"""Which matrix is multiplied with: the Hessian, or one of those built from the derivatives of the outputs."""
