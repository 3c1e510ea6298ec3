"""A finished unit comes back so exactly that the final file cannot tell whether it was computed or read."""

import dataclasses

import numpy as np
import pytest
import sample_spectra
from small_states import Rows, opened, small

from hessent.journal.unit_file import block_from_bytes, block_to_bytes
from hessent.spectra.hdf5_writer import to_bytes

BLOCKS = {
    "exact": sample_spectra.exact_block(),
    "exact with groups": sample_spectra.grouped_exact_block(),
    "exact with projections": sample_spectra.projected_exact_block(),
    "sampled": sample_spectra.lanczos_block(),
    "sampled without outliers": sample_spectra.lanczos_block(num_outliers=0),
    "sampled with groups": sample_spectra.grouped_lanczos_block(),
    "sampled with groups, no outliers": sample_spectra.grouped_lanczos_block(num_outliers=0),
    "joint": sample_spectra.joint_block(),
    "trace": sample_spectra.trace_block(),
    "trace with groups": sample_spectra.trace_block(items=(3, 4)),
    "odd name": dataclasses.replace(sample_spectra.exact_block("a/\0ü\n"), parameters=(), noise=float("nan")),
}


def same(one, other):
    """Whether two results are alike in every field, type, shape and bit."""
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
        )
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or one != one)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_unit_comes_back_exactly(block):
    again = block_from_bytes("003", block_to_bytes("003", block))
    assert same(block, again)
    assert to_bytes(sample_spectra.spectrum([block])) == to_bytes(sample_spectra.spectrum([again]))


def test_a_finished_unit_is_read_by_others_and_its_states_go(tmp_path):
    target = tmp_path / "a.spectrum.h5"
    with opened(target) as journal, opened(target) as other:
        assert journal.finished("000") is None
        journal.claim("000")
        journal.save_state("000", small(1), {"vectors": Rows(3)})
        journal.finish("000", BLOCKS["joint"])
        assert same(other.finished("000"), BLOCKS["joint"])
        assert not list((tmp_path / "a.spectrum.h5.partial" / "states").iterdir())
        journal.release("000")
        assert not other.claim("000"), "there is nothing left to do"


def test_a_damaged_unit_is_counted_once_and_computed_again(tmp_path):
    target = tmp_path / "a.spectrum.h5"
    with opened(target) as journal:
        for unit in ("000", "001"):
            journal.claim(unit)
            journal.finish(unit, BLOCKS["exact"])
    path = tmp_path / "a.spectrum.h5.partial" / "units" / "000"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    with opened(target) as journal:
        assert journal.finished("000") is None
        assert journal.finished("000") is None
        assert len(journal.damaged) == 1
        assert "units/000" in journal.damaged[0]
        assert journal.claim("000")
        journal.finish("000", BLOCKS["exact"])
        assert same(journal.finished("000"), BLOCKS["exact"])
        assert same(journal.finished("001"), BLOCKS["exact"])


def test_the_file_of_another_unit_is_damage(tmp_path):
    target = tmp_path / "a.spectrum.h5"
    with opened(target) as journal:
        journal.claim("000")
        journal.finish("000", BLOCKS["exact"])
        room = tmp_path / "a.spectrum.h5.partial" / "units"
        (room / "000").rename(room / "001")
        assert journal.finished("001") is None
        assert "it is unit 000" in journal.damaged[0]


def test_what_could_not_be_read_back_is_not_kept(tmp_path):
    block = dataclasses.replace(BLOCKS["exact"], eigenvalues=np.full(64, np.nan))
    with opened(tmp_path / "a.spectrum.h5") as journal:
        journal.claim("000")
        with pytest.raises(ValueError, match="not finite"):
            journal.finish("000", block)
        assert journal.finished("000") is None
