"""Every block belongs to one part, and the parts have about the same to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hessent.errors import UsageError
from hessent.pipeline.parts import Part

PLANS = st.lists(st.integers(0, 5000), min_size=1, max_size=40).map(
    lambda counts: {f"block{index}": count for index, count in enumerate(counts)}
)


@given(PLANS, st.data())
def test_the_parts_are_a_partition_in_the_models_order(planned, data):
    of = data.draw(st.integers(1, len(planned)))
    shares = [Part(number, of).share(planned) for number in range(1, of + 1)]
    assert sorted(name for share in shares for name in share) == sorted(planned)
    assert all(share for share in shares)
    for share in shares:
        assert share == [name for name in planned if name in share]


@given(PLANS, st.data())
def test_no_part_has_more_to_do_than_an_even_share_and_one_block(planned, data):
    of = data.draw(st.integers(1, len(planned)))
    work = {name: max(count, 1) for name, count in planned.items()}
    bound = sum(work.values()) / of + max(work.values())
    for number in range(1, of + 1):
        assert sum(work[name] for name in Part(number, of).share(planned)) <= bound


@pytest.mark.parametrize("text", ["1/3", " 2 / 3 ", "3/3", "1/1"])
def test_a_part_is_read_as_written(text):
    assert str(Part.parse(text)) == text.replace(" ", "")


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "١/٣", "1.0/3"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"--units.*\n.*2/3"):
        Part.parse(text)


def test_more_parts_than_blocks_are_refused():
    with pytest.raises(UsageError, match="3 parts of 2 blocks"):
        Part(1, 3).share({"a": 1, "b": 2})
