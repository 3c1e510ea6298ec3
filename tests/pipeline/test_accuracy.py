"""Which wishes for accuracy go together."""

from __future__ import annotations

import pytest

from hessent.curvature.blocks import Block
from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK
from hessent.errors import UsageError
from hessent.pipeline.accuracy import LEAST_MATVECS, Accuracy, refuse_large_exact, sampled_fraction
from hessent.pipeline.request import SpectrumRequest


@pytest.mark.parametrize(
    ("wish", "option"),
    [
        ({"data_groups": 1}, "--data-groups 1: must be at least 2"),
        ({"data_groups": 1, "data_error": False}, "--data-groups 1: must be at least 2"),
        ({"population": 0}, "--population 0: must be at least 1"),
        ({"population": 100, "data_error": False}, "--no-data-error"),
        ({"only": "gap"}, "--only gap: must be one of trace"),
        ({"only": "trace", "num_probes": 4}, "--probes 4: does not go with --only trace"),
        ({"only": "trace", "num_steps": 40}, "--steps 40: does not go with --only trace"),
        ({"only": "trace", "method": "exact"}, "--method exact: does not go with --only trace"),
        ({"only": "trace", "method": "lanczos"}, "--method lanczos: does not go with --only trace"),
        ({"only": "trace", "population": 100}, "--population 100: does not go with --only trace"),
        ({"max_matvecs": 3}, f"--max-matvecs 3: must be at least {LEAST_MATVECS}"),
        ({"max_matvecs": LEAST_MATVECS - 1, "only": "trace"}, f"must be at least {LEAST_MATVECS}"),
        ({"method": "guess"}, "--method guess: must be one of auto, exact, lanczos"),
        ({"num_probes": 0}, "--probes 0: must be at least 1"),
        ({"num_steps": 0}, "--steps 0: must be at least 1"),
        ({"num_steps": 8193}, "--steps 8193: must be at most 8192"),
        ({"rtol": -0.1}, "--rtol -0.1: must be at least 0"),
        ({"rtol": float("nan")}, "--rtol nan: must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wish, option):
    assert len(Accuracy(**wish).problems()) == 1
    with pytest.raises(UsageError, match="out of range") as caught:
        Accuracy(**wish).require_sound()
    assert option in str(caught.value)


def test_all_problems_are_told_at_once_with_those_of_the_other_options():
    wish = Accuracy(only="trace", num_probes=2, num_steps=2, data_groups=0)
    assert len(wish.problems()) == 3
    with pytest.raises(UsageError) as caught:
        SpectrumRequest("x.safetensors", accuracy=wish, samples=0)
    for option in ("--probes", "--steps", "--data-groups", "--samples"):
        assert option in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "groups"),
    [
        ({}, 4),
        ({"data_groups": 7, "population": 10**6}, 7),
        ({"data_error": False, "data_groups": 7}, 1),
        ({"only": "trace"}, 1),
        ({"only": "trace", "max_matvecs": LEAST_MATVECS, "rtol": 0.0}, 1),
        ({"method": "lanczos", "num_probes": 3, "num_steps": 9}, 4),
    ],
)
def test_what_makes_sense_is_accepted(wish, groups):
    accuracy = Accuracy(**wish)
    accuracy.require_sound()
    assert accuracy.num_groups == groups
    assert accuracy.solver_settings(seed=0, basis_memory=1).only_trace == (wish.get("only") == "trace")


def test_files_of_earlier_versions_are_of_runs_without_data_error():
    # They do not hold these settings at all, which must read like their being off.
    settings = Accuracy(data_error=False).as_settings()
    assert settings["data_groups"] is None
    assert settings["population"] is None
    assert settings["only"] is None


def test_the_sampled_fraction_is_that_of_a_finite_population():
    assert sampled_fraction(100, None) == 0.0
    assert sampled_fraction(100, 400) == 0.25
    assert sampled_fraction(100, 100) == 1.0
    with pytest.raises(UsageError, match="100 samples of it are used"):
        sampled_fraction(100, 99)


def test_forming_a_block_whole_counts_its_check_into_the_budget():
    blocks = [Block("a", ("a",), 20)]
    fits = Accuracy(method="exact", max_matvecs=20 + PRODUCTS_PER_BLOCK)
    refuse_large_exact(blocks, fits.solver_settings(seed=0, basis_memory=2**20))
    for matvecs, memory, found in (
        (19 + PRODUCTS_PER_BLOCK, 2**20, "products"),
        (None, 24 * 400 - 1, "parameters"),
    ):
        wish = Accuracy(method="exact", max_matvecs=matvecs)
        with pytest.raises(UsageError, match="formed exactly") as caught:
            refuse_large_exact(blocks, wish.solver_settings(seed=0, basis_memory=memory))
        assert found in str(caught.value)
