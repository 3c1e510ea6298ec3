"""Eigenvalues from products alone: exact for small blocks, deflated Lanczos quadrature for large ones."""
