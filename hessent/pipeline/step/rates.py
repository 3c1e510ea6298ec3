"""The step size of every optimizer: given, that of the training, the best along its direction, or the customary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hessent.measures.learning_rate import stated_rate
from hessent.spectra.provenance import CheckpointInfo

GIVEN, TRAINING, BEST, DEFAULT = "given", "training", "best", "default"
_WHOLE_STEPS = ("newton", "ngd")  # their own step size is 1
# What trained, by the name in the metadata, and which rows take its rate.
_TRAINED: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum", "gd"),
    "adam": ("adam",),
    "adamw": ("adam",),
    "adagrad": ("adagrad",),
    "lion": ("lion",),
    "lion-tanh": ("lion",),
    "emc": ("emc",),
}


def training_rates(checkpoint: CheckpointInfo) -> dict[str, float]:
    """Return the rate of the training's next step, by the optimizers it is one of; empty where it is not stated."""
    settings: Mapping[str, Any] = checkpoint.optimizer
    rate = stated_rate(settings, checkpoint.step, checkpoint.total_steps)
    return {} if rate is None else dict.fromkeys(_TRAINED.get(str(settings.get("name")), ()), rate)


def choose_rate(
    optimizer: str,
    *,
    given: Mapping[str, float],
    trained: Mapping[str, float],
    best: float | None,
    customary: float,
) -> tuple[float, str]:
    """Return an optimizer's step size, and where it is from.

    Parameters
    ----------
    optimizer : str
        Its name.
    given, trained : mapping of str to float
        Rates from the command line, and of the training.
    best : float or None
        The rate of the largest decrease along its direction; None where there is none.
    customary : float
        What is used where nothing else is known.
    """
    for rates, source in ((given, GIVEN), (trained, TRAINING)):
        if optimizer in rates:
            return rates[optimizer], source
    if optimizer in _WHOLE_STEPS:
        return 1.0, DEFAULT
    return (customary, DEFAULT) if best is None else (best, BEST)
