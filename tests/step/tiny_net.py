"""A net so small that its Hessian and Fisher matrix come from autograd alone."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.problem import Problem


class TinyNet:
    """A net of 53 parameters, its products from the engine, and its matrices from autograd alone."""

    def __init__(self):
        torch.manual_seed(8)
        self.model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        inputs, targets = torch.randn(40, 6, dtype=torch.float64), torch.randint(0, 3, (40,))
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.3)
        for _ in range(30):
            optimizer.zero_grad()
            functional.cross_entropy(self.model(inputs), targets).backward()
            optimizer.step()
        self.problem = Problem(self.model, "cross-entropy", [(inputs, targets)], dtype=torch.float64)
        self.problem.measure_loss()
        names, shapes = zip(*[(name, p.shape) for name, p in self.model.named_parameters()], strict=True)
        self.weights = torch.cat([p.detach().flatten() for p in self.model.parameters()])

        def outputs(vector):
            pieces = torch.split(vector, [shape.numel() for shape in shapes])
            state = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
            return functional_call(self.model, state, (inputs,))

        def loss(vector):
            return functional.cross_entropy(outputs(vector), targets)

        self.loss = loss
        self.gradient = torch.autograd.functional.jacobian(loss, self.weights)
        self.hessian = torch.autograd.functional.hessian(loss, self.weights)
        jacobian = torch.autograd.functional.jacobian(outputs, self.weights)  # (N, C, n)
        shares = torch.softmax(outputs(self.weights), dim=1)
        inner = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None, :]
        self.fisher = torch.einsum("ica,icd,idb->ab", jacobian, inner, jacobian) / len(inputs)

    def operator(self, curvature=None):
        problem = self.problem if curvature is None else self.problem.with_curvature(curvature)
        block = Block(FULL, tuple(problem.parameters), problem.num_params)
        return HessianEngine(problem, memory=10**8).operator(block)
