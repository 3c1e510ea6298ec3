"""A small net with every awkward kind of parameter, and the next step that an optimizer object itself takes."""

import torch
from torch import nn
from torch.nn import functional

from hessent.checkpoint.adam_files import StoredState
from hessent.checkpoint.optimizer_names import states_by_name
from hessent.curvature.engine import HessianEngine
from hessent.curvature.problem import Problem
from hessent.optimizers.steps.all_steps import explicit_steps

SAMPLES = 24


class Odd(nn.Module):
    """Tied, unused, empty and 0-dimensional parameters beside two layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = nn.Linear(4, 4, bias=False)
        self.again.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.unused = nn.Parameter(torch.ones(3))
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs)) * self.scale
        return self.head(torch.tanh(self.again(hidden)) + self.empty.sum())


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


class Place:
    """A checkpoint: problem, engine, gradient and gradients of mini-batches, the last two by plain autograd."""

    def __init__(self, make=mlp, *, batches=3, dtype=torch.float64, loss="cross-entropy", data=None):
        torch.manual_seed(5)
        self.model = make().double()
        self.inputs, self.targets = data or (torch.randn(SAMPLES, 4).double(), torch.randint(0, 3, (SAMPLES,)))
        count = len(self.inputs)
        cut = [(self.inputs[i : i + 7], self.targets[i : i + 7]) for i in range(0, count, 7)]
        self.problem = Problem(self.model, loss, cut, dtype=dtype)
        self.problem.measure_loss()
        self.engine = HessianEngine(self.problem, memory=2**28)
        self.loss = functional.mse_loss if loss == "mse" else functional.cross_entropy
        self.gradient = self.gradient_over(range(count))
        self.mini = [self.gradient_over(torch.randperm(count)[:6].tolist()) for _ in range(batches)]

    def gradient_over(self, rows):
        rows = list(rows)
        loss = self.loss(self.model(self.inputs[rows]), self.targets[rows])
        named = dict(self.model.named_parameters())
        found = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
        return dict(zip(named, found, strict=True))

    def step(self, name, *, states=None, trained=None, **settings):
        (found,) = self.steps([name], states=states, trained=trained, **settings)
        return found

    def steps(self, names, *, states=None, trained=None, **settings):
        return explicit_steps(
            self.problem,
            self.gradient,
            states,
            "run/step-7.optim.safetensors",
            self.mini,
            trained or {},
            self.engine,
            names=names,
            **settings,
        )

    def flat(self, by_parameter):
        return torch.cat([by_parameter[name].reshape(-1) for name in self.problem.parameters])

    def random(self, seed):
        generator = torch.Generator().manual_seed(seed)
        weights = self.problem.parameters.items()
        return {n: torch.randn(w.shape, generator=generator, dtype=torch.float64) for n, w in weights}


def copies(place):
    """Parameters of their own at the place's weights, by name."""
    return {name: nn.Parameter(value.detach().clone()) for name, value in place.model.named_parameters()}


def give(parameters, gradient):
    for name, parameter in parameters.items():
        parameter.grad = gradient[name].clone()


def grown_state(place, make, *, skipped=()):
    """The state an optimizer reaches by moving along random gradients, as it is read from a checkpoint."""
    parameters = copies(place)
    optimizer = make(parameters.values())
    for seed in range(4):
        give(parameters, {name: 0.1 * value for name, value in place.random(seed).items()})
        for name in skipped:
            parameters[name].grad = None
        optimizer.step()
    settings = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    tensors = states_by_name(parameters.items(), optimizer)
    return {name: StoredState(state, settings) for name, state in tensors.items()}


def next_step(place, make, *, states=None, before=()):
    """The change of weights, for a rate of 1, that the optimizer makes next with the full gradient.

    The state is that given, or grows from nothing by the gradients of `before` while the weights are held.
    """
    parameters = copies(place)
    start = {name: value.detach().clone() for name, value in parameters.items()}
    optimizer = make(parameters.values())
    for name, stored in (states or {}).items():
        optimizer.state[parameters[name]] = {key: value.clone() for key, value in stored.tensors.items()}
    for gradient in (*before, place.gradient):
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(start[name])
        give(parameters, gradient)
        optimizer.step()
    return {name: parameter.detach() - start[name] for name, parameter in parameters.items()}
