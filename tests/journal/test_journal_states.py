"""A unit goes on from its newest whole state; rows are written once; damage costs what it hit."""

import numpy as np
import pytest
from small_states import Rows, joined, number_of, opened, small


@pytest.fixture
def target(tmp_path):
    return tmp_path / "a.spectrum.h5"


def save(journal, number, rows, **others):
    journal.save_state("000", small(number), {"vectors": Rows(rows)} | others)


def saved(target, *row_counts):
    """Save one state after the other and let the process end."""
    with opened(target) as journal:
        journal.claim("000")
        for number, count in enumerate(row_counts, start=1):
            save(journal, number, count)


def names(target, room="states"):
    return sorted(path.name for path in (target.parent / (target.name + ".partial") / room).iterdir())


def test_a_state_comes_back_bit_for_bit(target):
    with opened(target) as journal:
        assert journal.claim("000")
        save(journal, 7, 8, **{"näme/odd": Rows(2, width=0), "none": Rows(0)})
    with opened(target) as journal:
        assert journal.claim("000")
        arrays, grown = journal.load_state("000")
    assert arrays.keys() == small(7).keys()
    for name, array in small(7).items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable
    assert grown.keys() == {"vectors", "näme/odd", "none"}
    rows = np.concatenate(grown["vectors"])
    np.testing.assert_array_equal(rows, np.concatenate(list(Rows(8).rows_from(0))))
    assert rows.dtype == np.float32
    assert grown["vectors"][0].flags.writeable
    assert grown["none"] == []
    assert journal.damaged == []


def test_the_newest_state_counts(target):
    saved(target, 2, 5, 9)
    with opened(target) as journal:
        journal.claim("000")
        state = journal.load_state("000")
    assert number_of(state) == 3
    assert len(joined(state)) == 9


def test_rows_are_written_once(target):
    with opened(target) as journal:
        journal.claim("000")
        rows = [Rows(count) for count in (4, 4, 6)]
        for number, grown in enumerate(rows):
            journal.save_state("000", small(number), {"vectors": grown})
    assert [grown.asked for grown in rows] == [[0], [], [4]]
    assert names(target) == ["000.a", "000.b", "000.vectors.0-4.rows", "000.vectors.4-6.rows"]


def test_a_restored_unit_writes_only_what_is_new(target):
    saved(target, 4, 6)
    with opened(target) as journal:
        journal.claim("000")
        journal.load_state("000")
        grown = Rows(9)
        journal.save_state("000", small(3), {"vectors": grown})
        assert grown.asked == [6]
        assert number_of(journal.load_state("000")) == 3


@pytest.mark.parametrize(
    ("victim", "number", "rows"), [("000.a", 2, 5), ("000.b", 3, 9), ("000.vectors.5-9.rows", 2, 5)]
)
def test_a_damaged_file_costs_the_states_that_need_it(target, victim, number, rows):
    saved(target, 2, 5, 9)
    path = target.parent / (target.name + ".partial") / "states" / victim
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with opened(target) as journal:
        journal.claim("000")
        state = journal.load_state("000")
        assert (number_of(state), len(joined(state))) == (number, rows)
        assert len(journal.damaged) == 1
        assert victim in journal.damaged[0]
        save(journal, 4, 11)
        state = journal.load_state("000")
        assert (number_of(state), len(joined(state))) == (4, 11)


def test_rows_of_no_state_go_when_a_state_is_taken_up(target):
    saved(target, 2, 5, 9)
    room = target.parent / (target.name + ".partial") / "states"
    (room / "000.a").unlink()
    (room / "000.vectors.9-12.rows").write_bytes(b"of a save that was killed")
    with opened(target) as journal:
        journal.claim("000")
        assert number_of(journal.load_state("000")) == 2
        assert journal.damaged == []
    assert names(target) == ["000.b", "000.vectors.0-2.rows", "000.vectors.2-5.rows"]


def test_whole_rows_that_belong_elsewhere_are_damage(target):
    saved(target, 2, 5)
    with opened(target) as journal:
        journal.claim("001")
        journal.save_state("001", small(1), {"vectors": Rows(7)})
        journal.save_state("001", small(2), {"vectors": Rows(10)})
        room = target.parent / (target.name + ".partial") / "states"
        (room / "001.vectors.7-10.rows").replace(room / "000.vectors.2-5.rows")
        journal.claim("000")
        assert number_of(journal.load_state("000")) == 1
        assert "not the one that belongs to the state" in journal.damaged[0]


def test_rows_that_every_state_needs_cost_the_unit(target):
    saved(target, 2, 5, 9)
    (target.parent / (target.name + ".partial") / "states" / "000.vectors.0-2.rows").unlink()
    with opened(target) as journal:
        journal.claim("000")
        assert journal.load_state("000") is None
        assert any("missing" in sentence for sentence in journal.damaged)
    assert names(target) == []


def test_rows_can_only_be_added(target):
    with opened(target) as journal:
        journal.claim("000")
        save(journal, 1, 4)
        with pytest.raises(ValueError, match="rows can only be added"):
            save(journal, 2, 3)


def test_arrays_may_come_and_go(target):
    with opened(target) as journal:
        journal.claim("000")
        save(journal, 1, 4)
        for number in (2, 3):
            journal.save_state("000", small(number), {"others": Rows(2)})
        assert names(target) == ["000.a", "000.b", "000.others.0-2.rows"]
        save(journal, 4, 3)
        assert number_of(journal.load_state("000")) == 4


def test_states_are_dropped_whole(target):
    saved(target, 2, 5)
    with opened(target) as journal:
        journal.claim("000")
        journal.drop_state("000")
        assert journal.load_state("000") is None
    assert names(target) == []


def test_only_the_holder_of_a_claim_writes(target):
    with opened(target) as journal, pytest.raises(RuntimeError, match="not claimed"):
        save(journal, 1, 2)


def test_a_state_that_is_known_is_not_read_again(target):
    with opened(target) as journal, opened(target) as other:
        journal.claim("000")
        save(journal, 1, 4)
        known = journal.state_number("000")
        for _ in range(2):
            journal.release("000")
            journal.claim("000")
            assert journal.load_state("000", known=known) is None
            assert journal.state_number("000") == known
        grown = Rows(6)
        journal.save_state("000", small(2), {"vectors": grown})
        assert grown.asked == [4]
        known = journal.state_number("000")
        journal.release("000")
        other.claim("000")
        assert number_of(other.load_state("000")) == 2
        save(other, 3, 7)
        other.release("000")
        journal.claim("000")
        assert number_of(journal.load_state("000", known=known)) == 3


def test_a_unit_begun_again_is_not_taken_for_what_it_was(target):
    numbers = set()
    for _ in range(3):
        with opened(target) as journal:
            journal.claim("000")
            save(journal, 1, 4)
            numbers.add(journal.state_number("000"))
            journal.drop_state("000")
    assert len(numbers) == 3
