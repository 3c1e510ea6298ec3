"""The optimizers a run can use: their settings, checked as typed, and the torch object that takes the steps.

    sgd     θ ← θ − η·m,  m ← μ·m + g + w·θ                              (momentum μ, weight decay w inside)
    adam    θ ← θ − η·m̂ / (√v̂ + ε), gradient g + w·θ                     (weight decay w inside the gradient)
    adamw   the same without w in the gradient, and θ ← θ − η·w·θ         (decoupled weight decay)
    lion, lion-tanh   see `hessent.optimizers.lion`                       (decoupled weight decay)
    emc     see `hessent.optimizers.emc`                                  (no weight decay)

A setting that the chosen optimizer does not have is refused, never ignored.

References
----------
Kingma, Ba (2015), Adam: a method for stochastic optimization.
Loshchilov, Hutter (2019), Decoupled weight decay regularization.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hessent.errors import UsageError, suggest
from hessent.optimizers.emc import DEFAULT_LEVELS, DEFAULT_RATE, Emc
from hessent.optimizers.lion import Lion
from hessent.optimizers.tanh_scales import groups

Settings = Mapping[str, float | tuple[float, float] | None]

# Each optimizer's settings and defaults: torch's own, but for momentum and the rate of SGD, which torch leaves at
# plain gradient descent and 1e-3.  Lion's are its authors'; the scale of tanh has none.  EMC's
# document names no rate: with this one it learns the digits about as fast as SGD.
DEFAULTS: Mapping[str, Settings] = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    "adam": {"lr": 1e-3, "betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.0},
    "adamw": {"lr": 1e-3, "betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.01},
    "lion": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "lion-tanh": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0, "tanh_scale": None},
    "emc": {"lr": DEFAULT_RATE, "levels": DEFAULT_LEVELS},
}
_MOST_LEVELS = 20  # the longest memory is then of a million steps


def resolve_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of an optimizer: those given, defaults for the rest.

    Parameters
    ----------
    name : str
        A key of `DEFAULTS`.
    given : mapping
        `lr`, `momentum`, `weight_decay`, `betas`, `epsilon`, `tanh_scale`, `levels`; None stands for "not given".

    Returns
    -------
    dict
        Setting to value, in the order of `DEFAULTS`.

    Raises
    ------
    UsageError
        If there is no such optimizer, it has no such setting, or a value is out of range; all problems at once.
    """
    if name not in DEFAULTS:
        hint = suggest(name, DEFAULTS)
        raise UsageError(f"no optimizer '{name}'", where="--optimizer", expected=", ".join(DEFAULTS), fix=hint)
    defaults = DEFAULTS[name]
    chosen = {key: value for key, value in given.items() if value is not None}
    problems = [f"{name} has no {option_of(key)}" for key in chosen if key not in defaults]
    problems += [problem for key, value in chosen.items() if key in defaults and (problem := _problem(key, value))]
    if "tanh_scale" in defaults and "tanh_scale" not in chosen:
        problems.append(f"{name} needs --tanh-scale: a number, or a file that hessent lion wrote")
    if problems:
        raise UsageError(
            "the optimizer cannot be set up like this",
            where=f"--optimizer {name}",
            problems=problems,
            expected=f"settings of {name}: " + ", ".join(option_of(key) for key in defaults),
        )
    return {key: chosen.get(key, default) for key, default in defaults.items()}


def option_of(setting: str) -> str:
    """Return the command-line option of a setting."""
    return "--" + setting.replace("_", "-")


def _problem(key: str, value: Any) -> str | None:
    if key == "lr":
        return None if 0 < value < float("inf") else f"--lr {value:g} is not above 0"
    if key == "tanh_scale":
        return None  # checked where it is read
    if key == "levels":
        inside = isinstance(value, int) and 1 <= value <= _MOST_LEVELS
        return None if inside else f"--levels {value} is not a whole number from 1 to {_MOST_LEVELS}"
    if key in ("weight_decay", "epsilon"):
        return None if 0 <= value < float("inf") else f"{option_of(key)} {value:g} is not at least 0"
    values = value if key == "betas" else (value,)
    outside = [number for number in values if not 0 <= number < 1]
    return f"{option_of(key)} {outside[0]:g} is not at least 0 and below 1" if outside else None


def build_optimizer(
    name: str, settings: Mapping[str, Any], named: Iterable[tuple[str, nn.Parameter]]
) -> torch.optim.Optimizer:
    """Return the torch optimizer for settings that `resolve_settings` made; `named` are the network's parameters.

    Raises
    ------
    UsageError
        If scales of tanh do not fit the parameters.
    """
    values = dict(settings)
    if name == "lion-tanh":
        return Lion(groups(values.pop("tanh_scale"), named), **values)
    parameters = [parameter for _, parameter in named]
    if name == "lion":
        return Lion(parameters, **values)
    if name == "emc":
        return Emc(parameters, **values)
    if name == "sgd":
        return torch.optim.SGD(parameters, **values)
    values["eps"] = values.pop("epsilon")
    return (torch.optim.Adam if name == "adam" else torch.optim.AdamW)(parameters, **values)
