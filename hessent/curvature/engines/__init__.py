"""Ways to multiply with the Hessian of one micro-batch, each exact, and the choice between them."""
