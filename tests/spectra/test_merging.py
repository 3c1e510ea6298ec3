"""Parts of one run join to the run; anything else is refused, with everything that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sample_spectra

from hessent.errors import UsageError
from hessent.spectra.hdf5_writer import to_bytes
from hessent.spectra.merging import merge

WHOLE = replace(sample_spectra.spectrum(), complete=True)
NAMES = [block.name for block in WHOLE.blocks]


def part(number, of=3, **changes):
    """Every third block of the whole run, as `--units` writes it."""
    told = {"part": number, "of": of, "done": True, "blocks": NAMES, **changes.pop("units", {})}
    return replace(
        WHOLE,
        complete=False,
        settings={**WHOLE.settings, "units": told},
        blocks=WHOLE.blocks[number - 1 :: of],
        **changes,
    )


def files(*parts):
    return {f"part{index}.h5": spectrum for index, spectrum in enumerate(parts)}


def refusal(*parts):
    with pytest.raises(UsageError) as raised:
        merge(files(*parts))
    return str(raised.value)


def test_there_are_enough_blocks_to_split():
    assert len(NAMES) >= 3


def test_in_any_order_the_parts_make_the_whole_byte_for_byte():
    assert to_bytes(merge(files(part(2), part(3), part(1)))) == to_bytes(WHOLE)


def test_weights_may_have_been_read_from_another_place():
    moved = replace(WHOLE.checkpoint, path="/elsewhere/model.safetensors")
    assert merge(files(part(1), part(2), part(3, checkpoint=moved))).complete


def test_time_limits_may_differ():
    first = part(1)
    first = replace(first, settings={**first.settings, "max_time": 5.0})
    assert merge(files(part(3), part(2), first)).complete


def test_missing_and_repeated_parts_are_named():
    text = refusal(part(1), part(1))
    assert "part 1 of 3 comes 2 times" in text
    assert "missing: part 2, 3 of 3" in text


def test_a_whole_run_is_no_part():
    assert "part1.h5: is a whole run" in refusal(part(1), WHOLE)


def test_a_part_that_was_stopped_is_refused():
    assert "part1.h5: part 2 of 3 was stopped early" in refusal(part(1), part(2, units={"done": False}), part(3))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": WHOLE.seed + 1}, "seed"),
        ({"checkpoint": replace(WHOLE.checkpoint, sha256="0" * 64)}, "checkpoint"),
        ({"data": replace(WHOLE.data, sha256="0" * 64)}, "data"),
        ({"versions": {"hessent": "0.0"}}, "versions"),
        ({"checks": {"symmetry": 0.5}}, "checks"),
        ({"tensor_probe": None}, "tensor_probe"),
    ],
)
def test_parts_of_different_runs_are_refused_with_what_differs(changes, named):
    text = refusal(part(1), part(2), part(3, **changes))
    assert "part2.h5: another run than part0.h5" in text
    assert named in text


def test_another_engine_is_another_run():
    other = part(2)
    other = replace(other, settings={**other.settings, "engine": "another"})
    assert "setting engine" in refusal(part(1), other, part(3))


def test_parts_of_different_splits_are_refused():
    assert "setting units" in refusal(part(1), part(2, of=4), part(3))


def test_a_part_without_a_block_it_should_hold_is_noticed():
    poor = part(3)
    poor = replace(poor, blocks=poor.blocks[1:])
    assert f"no part holds {NAMES[2]}" in refusal(part(1), part(2), poor)


@pytest.mark.parametrize(
    "units", [None, 3, {}, {"part": 1, "of": 3}, {"part": "1", "of": 3, "done": True, "blocks": []}]
)
def test_a_setting_that_only_looks_like_a_part_is_refused(units):
    strange = replace(part(1), settings={**WHOLE.settings, "units": units})
    assert "part0.h5: is no part of a run" in refusal(strange, part(2))
