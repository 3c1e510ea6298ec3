"""What of a measurement changes its numbers, as it stands in a spectrum: whether another one would be the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hessent.spectra.model import Spectrum

# Where two measurements differ in nothing but these, their numbers agree up to rounding.
HARMLESS = frozenset(
    {"batch_size", "device", "engine", "engine_why", "graphs_kept", "graph_bytes", "threads", "max_time"}
)
_UNSAID: Mapping[str, Any] = {"precondition": "none", "normalization": "trace"}  # in files that do not say
SPLIT_PROBES = "split_probes"  # says what else is in the file, and changes nothing of the spectra
UNIT_DIAGONAL = "unit_diagonal"  # says what was found, not what was asked for


def harmful(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change numbers, what files left unsaid included.

    Parameters
    ----------
    settings : mapping
        `Spectrum.settings`.
    """
    changing = settings.keys() - HARMLESS - {SPLIT_PROBES, UNIT_DIAGONAL}
    return {**_UNSAID, **{name: value for name, value in settings.items() if name in changing}}


def held(spectrum: Spectrum) -> dict[str, Any]:
    """Return what a spectrum was made with, by the names that `differences` compares."""
    return {
        "checkpoint": spectrum.checkpoint.sha256,
        "curvature": spectrum.curvature,
        "arch": spectrum.checkpoint.arch,
        "arch options": dict(spectrum.checkpoint.arch_options),
        "data": spectrum.data.sha256,
        "loss": spectrum.loss.name,
        "seed": spectrum.seed,
        "split-probes": spectrum.settings.get(SPLIT_PROBES),
        **{name.replace("_", "-"): value for name, value in harmful(spectrum.settings).items()},
    }


def differences(spectrum: Spectrum, asked: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that was asked and that a spectrum was not made with.

    Parameters
    ----------
    spectrum : Spectrum
        From a file.
    asked : mapping
        Values by the names of `held`; what is not named is not asked.
    """
    found = held(spectrum)
    return [
        f"{name}: {found.get(name)} in the file, {value} now"
        for name, value in asked.items()
        if found.get(name) != value
    ]
