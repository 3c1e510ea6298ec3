"""`hessent.check`: from a run and a policy, however they are given, to a report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hessent.report.checks.judged_spectrum import (
    JudgedSpectrum,
    judged_documents,
    judged_entry,
    require_complete,
)
from hessent.report.checks.judgement import CheckReport, judge
from hessent.report.checks.policy import rules_of_policy
from hessent.report.checks.policy_file import read_policy
from hessent.report.checks.rules import Rule
from hessent.report.checks.spectrum_files import latest, read_run

_IN_MEMORY = "(in memory)"
_GIVEN = "(baseline)"


def check(
    spectrum: Any,
    policy: Any,
    *,
    baseline: Any = None,
    strict: bool = False,
    population: bool = False,
    allow_incomplete: bool = False,
) -> CheckReport:
    """Hold the rules of a policy against a spectrum.

    Parameters
    ----------
    spectrum : Spectrum, path-like or mapping
        What is judged: a spectrum as `hessent.spectrum` and `hessent.load` return it, a spectra file, a
        ``hessent.summary/1`` document or its file, or a folder of such files (its latest step).
    policy : path-like, mapping or sequence of mappings
        A TOML file, ``{"rule": [{"measure": "lambda_max", "max": 250}]}``, or the list of rules alone.
    baseline : Spectrum, path-like or mapping, optional
        What changes are measured against; takes the place of the baselines that the policy names.
    strict : bool
        Count what is unsure as a failure, and refuse a baseline of other data.
    population : bool
        Judge the intervals of the population that the data was drawn from.
    allow_incomplete : bool
        Take a run that was stopped early, or one part of a split run.

    Returns
    -------
    CheckReport
        With `failed`, `outcome` ("holds", "violated" or "unsure"), `results` and `to_json()`.

    Raises
    ------
    UsageError
        If the policy is wrong, or does not fit the spectrum; everything that is wrong, at once.
    SpectrumFileError
        If a file cannot be read.

    Examples
    --------
    >>> rules = [{"measure": "trace", "max_increase": "20%"}]
    >>> hessent.check("run.spectrum.h5", rules, baseline="main.json").failed  # doctest: +SKIP
    False
    """
    name = os.fspath(baseline) if isinstance(baseline, str | os.PathLike) else _GIVEN
    rules = _rules(policy, None if baseline is None else name)
    given = {} if baseline is None else {name: _judged(baseline, name)}
    return check_rules(
        rules,
        _judged(spectrum, _IN_MEMORY),
        given,
        strict=strict,
        population=population,
        allow_incomplete=allow_incomplete,
    )


def check_rules(
    rules: Sequence[Rule],
    run: JudgedSpectrum,
    baselines: Mapping[str, JudgedSpectrum] | None = None,
    *,
    strict: bool = False,
    population: bool = False,
    allow_incomplete: bool = False,
) -> CheckReport:
    """Hold rules against a run, reading the baselines that they name.

    Parameters
    ----------
    rules : sequence of Rule
        At least one.
    run : JudgedSpectrum
        What is judged.
    baselines : mapping of str to JudgedSpectrum, optional
        Those already at hand.
    strict, population, allow_incomplete
        See `check`.

    Raises
    ------
    UsageError, SpectrumFileError
        See `check`.
    """
    require_complete(run, allowed=allow_incomplete)
    known = {name: (baselines or {}).get(name) or read_run(name) for name in baselines_of(rules)}
    for other in known.values():
        require_complete(other, allowed=allow_incomplete)
    return judge(rules, run, known, strict=strict, population=population)


def baselines_of(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Return the baselines that rules name, each once."""
    return tuple(dict.fromkeys(rule.baseline for rule in rules if rule.baseline is not None))


def _rules(policy: Any, baseline: str | None) -> tuple[Rule, ...]:
    if isinstance(policy, str | os.PathLike):
        where = os.fspath(policy)
        table, lines = read_policy(where)
        return rules_of_policy(table, where=where, baseline=baseline, lines=lines)
    return rules_of_policy(policy if isinstance(policy, Mapping) else {"rule": policy}, baseline=baseline)


def _judged(given: Any, name: str) -> JudgedSpectrum:
    """Return what a check knows of a spectrum, in whatever form it was given."""
    if isinstance(given, JudgedSpectrum):
        return given
    if isinstance(given, str | os.PathLike):
        return read_run(os.fspath(given))
    if isinstance(given, Mapping):
        return latest(judged_documents(given, name), name)
    from hessent.report.selection import SpectrumEntry

    return judged_entry(SpectrumEntry(name, given))
