"""The memory that a dry run counts for a step of a sampled block is what a step takes."""

import pytest
import torch
from benchmarks.live_storages import LiveStorages
from small_run import trained_mlp

from hessent.__main__ import main
from hessent.curvature.groups import Division, GroupSums
from hessent.curvature.operator import Product
from hessent.eigensolver.block_lanczos import BlockLanczos
from hessent.eigensolver.settings import SolverSettings
from hessent.pipeline.vector_places import bytes_of_all_steps, step_bytes

SIZE = 20_000


def bytes_of_steps(columns):
    """What each step of a Krylov space takes from its request on, beside the vectors that are kept."""
    eigenvalues = torch.linspace(-1, 3, SIZE, dtype=torch.float64)
    starts = torch.randn(columns, SIZE, generator=torch.Generator().manual_seed(1))
    found = []
    with LiveStorages([starts, eigenvalues]) as storages:
        solver = BlockLanczos(starts, dtype=torch.float32, group_steps=0).extend(4)
        V = next(solver)
        while True:
            before = storages.live - V.nbytes
            product = Product(V * eigenvalues[:, None])
            V, storages.peak = None, storages.live
            try:
                V = solver.send(product)
            except StopIteration:
                return found
            del product
            found.append(storages.peak - before)


@pytest.mark.parametrize("columns", [2, 8])
def test_a_step_takes_what_is_counted_for_it(columns):
    _, *later = bytes_of_steps(columns)  # the first makes room for the vectors that are kept
    assert 0.7 * step_bytes(SIZE, columns) <= min(later) <= step_bytes(SIZE, columns)


def test_a_dry_run_says_that_an_engine_is_built_from_smaller_micro_batches(capsys):
    words = ["spectrum", str(trained_mlp()), "--dry-run", "--engine", "linearized", "--memory"]
    assert main([*words, "300K"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "linearized is built within memory: micro-batches of at most" in said
    assert main([*words, "1G"]) == 0
    assert "within memory" not in " ".join(capsys.readouterr().err.split())


def test_a_product_takes_less_of_it_than_what_follows():
    V = torch.randn(SIZE, 3, dtype=torch.float64)
    with LiveStorages([V]) as storages:
        sums = GroupSums(V, Division(), torch.float32)
        for column in range(3):
            some = slice(column, column + 1)
            sums.add(0, some, 2 * V[:, some].float())
        sums.product(7)
    assert storages.peak <= step_bytes(SIZE, 3)


def test_a_dry_run_counts_two_steps_where_graphs_are_kept_and_all_where_they_are_not():
    settings = SolverSettings(num_probes=4)
    sizes = [3000, 5000, 2000]
    assert bytes_of_all_steps(settings, sizes, one_by_one=True) == step_bytes(8000, 4)
    assert bytes_of_all_steps(settings, sizes, one_by_one=False) == step_bytes(10_000, 4)
    assert bytes_of_all_steps(settings, sizes[:1], one_by_one=True) == step_bytes(3000, 4)
    assert bytes_of_all_steps(settings, [], one_by_one=True) == 0
