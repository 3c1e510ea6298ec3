"""Reading ahead changes when data is read, and nothing else."""

import threading
import time

import pytest

from hessent.curvature.prefetch import prefetched


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "read ahead"]


def test_items_come_prepared_and_in_order():
    assert list(prefetched(range(20), lambda item: 2 * item)) == list(range(0, 40, 2))
    assert list(prefetched([], str)) == []
    assert list(prefetched([None, None], lambda item: item)) == [None, None]
    assert not readers()


def test_the_next_items_are_read_while_one_is_used():
    read = []

    def source():
        for item in range(10):
            read.append(item)
            yield item

    ahead = prefetched(source(), lambda item: item)
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(read) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 3 <= len(read) <= 5  # two wait, one is in the hand of the reader
    ahead.close()
    assert not readers()


@pytest.mark.parametrize("where", ["source", "prepare"])
def test_an_error_comes_after_the_items_before_it(where):
    def source():
        yield 1
        yield 2
        if where == "source":
            raise OSError("the disk is gone")
        yield 3

    def prepare(item):
        if item == 3:
            raise OSError("the disk is gone")
        return item

    ahead = prefetched(source(), prepare)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert not readers()
