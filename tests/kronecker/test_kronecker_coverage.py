"""Layers whose factors would not account for their curvature are refused by name."""

import pytest
import torch
from cases import cases, seeded
from dense_blocks import problem_of
from torch import nn
from torch.nn import functional

from hessent.curvature.kronecker import coverage, layers
from hessent.curvature.kronecker.coverage import find_coverage, uncovered_kinds


def covered(model, inputs, targets, loss="mse", **how):
    found = find_coverage(problem_of(model.double(), loss, inputs, targets), **{"reduce": False, **how})
    return [layer.name for layer in found.layers], dict(found.refused)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_head_that_is_also_the_embedding_is_refused():
    case = next(case for case in cases() if "tied" in case.name)
    problem = problem_of(seeded(case.model), case.loss, case.inputs, case.targets)
    found = find_coverage(problem, reduce=False)
    assert list(found.refused) == ["lm_head"]
    assert "used elsewhere" in found.refused["lm_head"]
    assert "transformer.h.0.mlp.c_fc" in [layer.name for layer in found.layers]
    assert uncovered_kinds(problem.model, list(problem.parameters), found.parameters) == ("Embedding", "LayerNorm")


def test_a_weight_that_two_layers_share_is_refused_in_both():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.other.weight = self.one.weight

        def forward(self, x):
            return self.other(torch.tanh(self.one(x)))

    names, refused = covered(Tied(), random(4, 3), random(4, 3))
    assert (names, list(refused)) == ([], ["one", "other"])


def test_a_layer_whose_weight_a_function_takes_past_it_is_refused():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.unseen = nn.Linear(3, 3)

        def forward(self, x):
            hidden = functional.linear(self.layer(x), self.layer.weight)
            return functional.linear(hidden, self.unseen.weight, self.unseen.bias)

    names, refused = covered(Both(), random(4, 3), random(4, 3))
    assert names == []
    assert "elsewhere" in refused["layer"]
    assert "not called" in refused["unseen"]


def test_the_layer_inside_multihead_attention_is_refused():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.attention(x, x, x)[0].mean(1))

    names, refused = covered(Attending(), random(3, 5, 4), random(3, 2))
    assert (names, list(refused)) == (["head"], ["attention.out_proj"])


def test_reduced_factors_need_the_samples_first():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(torch.tanh(self.layer(x.transpose(0, 1))).mean(0))

    for length in (5, 6):  # as many positions as samples, and another number of them
        data = random(6, length, 4), random(6, 2)
        assert covered(TimeFirst(), *data)[0] == ["layer", "head"]
        names, refused = covered(TimeFirst(), *data, reduce=True)
        assert names == ["head"]
        assert "--kfac-approx expand" in refused["layer"]


def test_a_frozen_part_of_a_net_is_no_layer_of_it():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    assert covered(model, random(4, 3), random(4, 2)) == (["2"], {})


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
def test_wrong_patches_would_be_seen(mode, monkeypatch):
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=(2, 1), dilation=(1, 2), groups=2, padding_mode=mode),
        nn.Flatten(),
        nn.LazyLinear(2),
    )
    data = random(3, 4, 7, 8), random(3, 2)
    model.double()(data[0])
    assert covered(model, *data)[0] == ["0", "2"]
    right = layers._patches
    monkeypatch.setattr(layers, "_patches", lambda *given: right(*given).roll(1, -1))
    assert covered(model, *data)[0] == ["2"]


def test_transposed_convolutions_and_recurrent_layers_are_named_as_uncovered():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.cell, self.head = nn.ConvTranspose1d(2, 2, 2), nn.GRUCell(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.cell(self.up(x).mean(2)))

    problem = problem_of(Other().double(), "mse", random(3, 2, 4), random(3, 2))
    found = coverage.find_coverage(problem, reduce=False)
    assert [layer.name for layer in found.layers] == ["head"]
    kinds = uncovered_kinds(problem.model, list(problem.parameters), found.parameters)
    assert kinds == ("ConvTranspose1d", "GRUCell")
