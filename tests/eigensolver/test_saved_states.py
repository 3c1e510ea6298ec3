"""A solver that is interrupted after any product and restored ends with the same spectrum, bit for bit."""

import functools

import numpy as np
import pytest
import torch
from interrupted_solvers import (
    GroupedMatrix,
    interrupted_always,
    interrupted_once,
)
from oracles import DenseOperator, network_like
from small_matrices import solver_for

from hessent.eigensolver.overflow import Overflow


@functools.cache
def operator_of(name, dtype=torch.float64):
    if name == "grouped":
        return GroupedMatrix(130)
    values = {
        "network": network_like(130),
        "wide": network_like(260),
        "power": 1.0 / np.arange(1, 301),
        "flat": np.linspace(1.0, 2.0, 100),
        "rank 5": np.r_[np.zeros(85), np.linspace(1.0, 3.0, 5)],
        "two values": np.repeat([1.0, 3.0], 45),
        "tiny": np.arange(1.0, 6.0),
        "zero": np.zeros(40),
        "small": network_like(60),
        "repeated": np.r_[np.full(5, 10.0), 9.0, 8.0, 7.0, np.linspace(0.01, 1.0, 62)],
        "few values": np.repeat([20.0, 10.0, 5.0], [15, 10, 25]),
        "large": network_like(130),
    }[name]
    return DenseOperator(values, dtype=dtype)


CASES = {
    "tolerance": ("network", {"rtol": 0.05}),
    # The tolerance would be met between two looks: nobody may look there.
    "met between looks": ("wide", {"num_probes": 2, "rtol": 0.02}),
    "trace met between looks": ("network", {"only_trace": True, "rtol": 1e-4}),
    "fine tolerance": ("flat", {"rtol": 0.005}),
    "budget": ("network", {"max_matvecs": 150, "rtol": 0.02}),
    "whole budget": ("network", {"max_matvecs": 77, "rtol": 0.0}),
    "budget of one look": ("network", {"max_matvecs": 20}),
    "steps": ("network", {"num_probes": 3, "num_steps": 25}),
    "groups": ("grouped", {"rtol": 0.05}),
    "groups and steps": ("grouped", {"num_probes": 3, "num_steps": 45}),
    "rank-deficient": ("rank 5", {}),
    "invariant": ("two values", {"rtol": 0.0}),
    "more steps than dimensions": ("tiny", {"rtol": 0.0}),
    "zero": ("zero", {}),
    "exact, first look": ("small", {"method": "exact"}),
    "exact": ("large", {"method": "exact"}),
    "exact with groups": ("grouped", {"method": "exact"}),
    "exact without room for groups": ("grouped", {"method": "exact", "basis_memory": 4 * 8 * 130**2}),
    "trace": ("network", {"only_trace": True, "rtol": 0.01}),
    "trace with a budget": ("network", {"only_trace": True, "rtol": 0.0, "max_matvecs": 100}),
    "trace of low rank": ("rank 5", {"only_trace": True, "method": "lanczos"}),
    "trace of one product": ("network", {"only_trace": True, "max_matvecs": 1}),
}


def solver_of(name, dtype=torch.float64, **more):
    matrix, settings = CASES[name]
    operator = operator_of(matrix, dtype)
    items = operator.items if matrix == "grouped" else None
    return functools.partial(solver_for, operator, dtype=dtype, group_items=items, **settings, **more), operator


FEW_VECTORS = {  # cases with the number of vectors that find room
    "missed copies": ("repeated", 200, {"rtol": 0.1}),
    "many missed copies": ("few values", 200, {"num_probes": 3, "num_steps": 20}),
    "restarted search": ("repeated", 40, {"rtol": 0.3}),
    "longer search": ("power", 310, {"num_probes": 4, "num_steps": 8, "rtol": 0.001, "seed": 1}),
    "budget": ("repeated", 100, {"max_matvecs": 120, "rtol": 0.0}),
    "short budget": ("repeated", 100, {"max_matvecs": 9}),
    "groups": ("grouped", 200, {"num_probes": 3, "num_steps": 12}),
    "zero": ("zero", 100, {}),
    "more steps than dimensions": ("tiny", 40, {"rtol": 0.0}),
}


def deflated(name, dtype=torch.float64):
    matrix, vectors, settings = FEW_VECTORS[name]
    operator = operator_of(matrix, dtype)
    items = operator.items if matrix == "grouped" else None
    memory = vectors * dtype.itemsize * operator.size
    return (
        functools.partial(solver_for, operator, dtype=dtype, group_items=items, basis_memory=memory, **settings),
        operator,
    )


@pytest.mark.parametrize("name", sorted(set(FEW_VECTORS) - {"missed copies", "restarted search", "longer search"}))
def test_interrupted_at_every_product_few_vectors_give_the_same_spectrum(name):
    interrupted_always(*deflated(name))


@pytest.mark.parametrize(
    ("name", "every", "dtype"),
    [
        ("many missed copies", 12, torch.float32),
        ("missed copies", 53, torch.float64),
        ("longer search", 150, torch.float64),  # amid an instalment that was not planned
        ("restarted search", 41, torch.float64),
        ("restarted search", 67, torch.float32),
    ],
)
def test_interrupted_at_one_product_few_vectors_give_the_same_spectrum(name, every, dtype):
    interrupted_once(*deflated(name, dtype), every=every)


@pytest.mark.parametrize("name", CASES)
def test_interrupted_at_every_product_the_spectrum_is_the_same(name):
    interrupted_always(*solver_of(name))


@pytest.mark.parametrize("name", ["tolerance", "rank-deficient", "exact", "trace"])
def test_states_of_float32_products_are_as_good(name):
    interrupted_always(*solver_of(name, torch.float32))


@pytest.mark.parametrize(
    ("name", "every"),
    [("tolerance", 9), ("groups", 13), ("rank-deficient", 1), ("exact with groups", 1), ("trace", 6)],
)
def test_interrupted_at_one_product_the_spectrum_is_the_same(name, every):
    interrupted_once(*solver_of(name), every=every)


@pytest.mark.parametrize("in_memory", [0, 10])
@pytest.mark.parametrize("name", ["tolerance", "trace"])
def test_vectors_in_a_file_are_part_of_the_state(name, in_memory, tmp_path):
    told = []
    beyond = Overflow(file=2**30, folder=str(tmp_path), spilled=told.append)
    make, operator = solver_of(name)
    interrupted_once(
        functools.partial(make, basis_memory=in_memory * 8 * operator.size, overflow=beyond), operator, every=11
    )
    assert told
