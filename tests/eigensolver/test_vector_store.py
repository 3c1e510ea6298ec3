"""Vectors in memory and in a file: the same numbers wherever they lie, and nothing is left behind."""

import errno
import os
import tempfile

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like
from small_matrices import solve

from hessent.eigensolver.overflow import Overflow
from hessent.eigensolver.vector_store import VectorStore
from hessent.errors import ComputationError
from hessent.measures.registry import compute_measures

SIZE = 50


def vectors(count, size=SIZE, *, dtype=torch.float64, seed=0):
    return torch.randn(count, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def store_of(rows, block, *, in_memory, folder, device="cpu", on_host=0):
    """A store with room for `in_memory` vectors, the others in a file, filled in blocks."""
    each = rows.shape[1] * rows.element_size()
    store = VectorStore(
        rows.shape[1],
        dtype=rows.dtype,
        device=torch.device(device),
        memory=in_memory * each,
        overflow=Overflow(host=on_host * each, file=2**30, folder=str(folder)),
    )
    for first in range(0, len(rows), block):
        store.append(rows[first : first + block].to(device))
    return store


def require_equal_to(store, rows, bar):
    others, weights = vectors(3, seed=1, dtype=rows.dtype), vectors(3, len(rows), seed=2, dtype=rows.dtype)
    device = store.last(1).device
    assert len(store) == len(rows)
    found = store.coefficients(others.to(device)).cpu()
    assert float((found - others @ rows.T).abs().max()) <= bar
    assert float((store.combine(weights.to(device)).cpu() - weights @ rows).abs().max()) <= bar
    assert torch.equal(torch.cat([piece.cpu() for piece in store.pieces()]), rows)
    for count in (1, 5, len(rows)):
        assert torch.equal(store.last(count).cpu(), rows[-count:])


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("in_memory", [0, 1, 7, 80, 1000])
@pytest.mark.parametrize(("count", "block"), [(7, 7), (130, 1), (300, 4), (301, 7)])
def test_any_mix_of_places_gives_the_numbers_of_one_tensor(tmp_path, dtype, bar, in_memory, count, block):
    rows = vectors(count, dtype=dtype)
    require_equal_to(store_of(rows, block, in_memory=in_memory, folder=tmp_path), rows, bar)


@pytest.mark.gpu
@pytest.mark.parametrize(("in_memory", "on_host"), [(0, 0), (3, 5), (3, 1000), (1000, 0)])
def test_pinned_memory_and_file_beside_a_gpu_give_the_numbers_of_one_tensor(tmp_path, in_memory, on_host):
    rows = vectors(301, dtype=torch.float32)
    store = store_of(rows, 7, in_memory=in_memory, folder=tmp_path, device="cuda", on_host=on_host)
    require_equal_to(store, rows, 1e-4)


def test_vectors_added_in_other_blocks_and_precisions_are_the_same(tmp_path):
    rows = vectors(90, dtype=torch.float32)
    store = VectorStore(SIZE, dtype=torch.float32, device=torch.device("cpu"))
    for first, end in ((0, 1), (1, 60), (60, 90)):
        store.append(rows[first:end].double())
    require_equal_to(store, rows, 1e-4)


def test_without_vectors_there_are_no_coefficients_and_combinations_are_zero():
    store = VectorStore(SIZE, dtype=torch.float32, device=torch.device("cpu"), memory=0)
    store.append(torch.empty(0, SIZE))
    assert len(store) == 0
    assert store.coefficients(vectors(3)).shape == (3, 0)
    assert torch.equal(store.combine(torch.empty(3, 0)), torch.zeros(3, SIZE))
    assert list(store.pieces()) == []


def test_each_place_is_filled_before_the_next_and_the_file_is_told_of(tmp_path):
    told = []
    overflow = Overflow(file=8 * SIZE * 20, folder=str(tmp_path), spilled=told.append)
    store = VectorStore(
        SIZE, dtype=torch.float64, device=torch.device("cpu"), memory=8 * SIZE * 10, overflow=overflow
    )
    store.append(vectors(10))
    assert told == []
    store.append(vectors(1))
    assert sum(told) == 8 * SIZE * 20  # one chunk, cut to what is allowed
    assert overflow.share(1, 4).file == 8 * SIZE * 5
    overflow.share(1, 4).spilled(3)
    assert told[-1] == 3


def test_a_store_that_grows_moves_nothing():
    store = VectorStore(SIZE, dtype=torch.float64, device=torch.device("cpu"))
    store.append(vectors(2))
    first = store.last(2).data_ptr()
    store.append(vectors(500))
    assert next(store.pieces()).data_ptr() == first


def test_the_file_has_no_name_and_ends_with_its_store(tmp_path):
    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    store = store_of(vectors(30), 4, in_memory=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    if open_before is not None:
        assert len(os.listdir("/proc/self/fd")) > open_before
        del store
        assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_full_disk_is_an_error_before_a_vector_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    store = store_of(vectors(5), 5, in_memory=5, folder=tmp_path)
    with pytest.raises(ComputationError, match="No space left") as caught:
        store.append(vectors(1))
    assert str(tmp_path) in str(caught.value)
    assert "--memory" in str(caught.value)
    assert len(store) == 5


def test_a_folder_that_takes_no_file_is_an_error(tmp_path):
    with pytest.raises(ComputationError, match="no file for vectors can be made"):
        store_of(vectors(5), 5, in_memory=0, folder=tmp_path / "nowhere")


def test_where_room_cannot_be_reserved_at_once_it_is_written(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    files = []
    made = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: files.append(made(**options)) or files[-1])
    rows = vectors(30)
    store = store_of(rows, 4, in_memory=3, folder=tmp_path)
    require_equal_to(store, rows, 1e-12)
    assert os.fstat(files[0].fileno()).st_blocks * 512 >= 27 * SIZE * 8


@pytest.mark.parametrize("settings", [{}, {"only_trace": True, "rtol": 0.01}, {"max_matvecs": 200}])
def test_a_block_with_memory_for_ten_vectors_and_a_file_is_the_block_with_enough_memory(tmp_path, settings):
    size = 600
    told = []
    beyond = Overflow(file=2**30, folder=str(tmp_path), spilled=told.append)
    enough = solve(DenseOperator(network_like(size)), **settings).spectrum
    little = solve(
        DenseOperator(network_like(size)), basis_memory=10 * 8 * size, overflow=beyond, **settings
    ).spectrum
    assert sum(told) >= 100 * 8 * size
    assert (little.method, little.status, little.num_matvecs) == (enough.method, enough.status, enough.num_matvecs)
    mine, others = compute_measures(little), compute_measures(enough)
    assert mine.keys() == others.keys()
    for name in mine:
        if others[name].value is None:
            assert mine[name].value is None
        else:
            assert mine[name].value == pytest.approx(others[name].value, rel=1e-9), name
    if enough.outliers is not None:
        np.testing.assert_allclose(little.outliers.values, enough.outliers.values, rtol=1e-9)
