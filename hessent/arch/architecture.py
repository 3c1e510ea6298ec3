"""The words this room speaks: options, recipes, what was read from shapes, what was built.

A `Recipe` is what a registry name stands for.  Its `read` looks at the shapes in a checkpoint (or at none, for
training) and at the options, and answers with a `Reading`: every setting resolved, the settings that had to be
assumed, and whatever does not fit.  The resolved options are exactly the keyword arguments of the network's
constructor, so a printed reading can be typed back as ``--arch-option`` and stored in a checkpoint's metadata.
Nothing here needs torch: listing and reading architectures stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name -> shape, as found in a checkpoint."""

Rename = Callable[[str], str | None]
"""Checkpoint key -> the network's key; None drops a key that carries no weight (a stored causal mask, say)."""

OptionType = Literal["int", "float", "bool", "choice", "sizes"]


@dataclass(frozen=True)
class OptionSpec:
    """One option of an architecture.

    Attributes
    ----------
    type : str
        ``int``, ``float``, ``bool``, ``choice``, or ``sizes`` (positive integers, typed ``2-2-2-2``).
    default : object
        Value when nothing else decides; None when the default depends on other settings (then `help` says how).
    help : str
        One line for ``hessent archs NAME``.
    choices : tuple of str
        The valid words of a ``choice``.
    follows : bool
        True when a checkpoint's tensor shapes decide it, so that it matters only for training.
    """

    type: OptionType
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    follows: bool = False


@dataclass(frozen=True)
class Reading:
    """What shapes, options and the name together say about a network.

    Attributes
    ----------
    options : mapping
        Every setting, resolved; the keyword arguments of the network.
    assumptions : tuple of str
        Sentences about settings that neither the tensors nor the user decided.
    problems : tuple of str
        What does not fit; when there are any, `options` must not be built.
    rename : callable or None
        Checkpoint key (prefixes stripped or not) to the network's key.
    closeness : float
        Share of the checkpoint's tensors whose names belong to this family, 0 to 1; orders the near misses.
    """

    options: Mapping[str, Any]
    assumptions: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    rename: Rename | None = None
    closeness: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """What a registry name stands for; plug-ins offer objects of this class.

    Attributes
    ----------
    family : str
        The family's name, shared by its variants.
    summary : str
        One line for ``hessent archs``.
    options : mapping of str to OptionSpec
        Every option the network takes.
    read : callable
        ``read(shapes or None, given options, fixed settings) -> Reading``; never raises for a poor fit.
    network : str
        ``"module:attr"`` of the constructor, imported only when a network is built.
    fixed : mapping
        Settings that the name itself decides (``resnet18``: depths 2-2-2-2).
    data_options : callable
        ``data_options(input_shape, num_classes) -> options`` that make a fresh network fit a dataset; empty for
        data of a kind that the network does not take.
    data_problem : callable
        ``data_problem(options, input_shape, num_classes)``: the sentence why this network cannot take this data,
        or None.
    default_loss, default_data
        Used when neither the command line nor the checkpoint names one.
    """

    family: str
    summary: str
    options: Mapping[str, OptionSpec]
    read: Callable[[Shapes | None, Mapping[str, Any], Mapping[str, Any]], Reading]
    network: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    data_options: Callable[[tuple[int, ...], int | None], dict[str, Any]] = lambda shape, classes: {}
    data_problem: Callable[[Mapping[str, Any], tuple[int, ...], int | None], str | None] = lambda *data: None
    default_loss: str = "cross-entropy"
    default_data: str | None = None


@dataclass(frozen=True)
class Architecture:
    """One registry entry, as it is listed.

    Attributes
    ----------
    name, family, summary : str
    options : mapping of str to OptionSpec
    default_loss : str
    default_data : str or None
    fixed : mapping
        Settings that the name itself decides.
    source : str
        ``built-in``, or the distribution that a plug-in comes from.
    problem : str or None
        Why the entry cannot be used (a plug-in that does not load, a name that is taken).
    """

    name: str
    family: str
    summary: str
    options: Mapping[str, OptionSpec]
    default_loss: str
    default_data: str | None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    source: str = "built-in"
    problem: str | None = None

    @classmethod
    def of(cls, name: str, recipe: Recipe, source: str) -> Architecture:
        """Return the listing of a recipe."""
        return cls(
            name,
            recipe.family,
            recipe.summary,
            recipe.options,
            recipe.default_loss,
            recipe.default_data,
            recipe.fixed,
            source,
        )


@dataclass(frozen=True)
class BuiltModel:
    """A network ready to take a checkpoint's tensors, or to be trained.

    Attributes
    ----------
    model : torch.nn.Module
        In float32, in training mode as torch leaves it, with torch's own random start values.
    name : str
        The name it was built from; for ``auto`` the name that was found.
    options : mapping
        Resolved options, inferred ones included.
    assumptions : tuple of str
        Sentences: what did not follow from the tensors.
    rename : callable or None
        Checkpoint key to the network's key; a None answer drops the key.
    default_loss : str
    default_data : str or None
    """

    model: nn.Module
    name: str
    options: Mapping[str, Any]
    assumptions: tuple[str, ...]
    rename: Rename | None
    default_loss: str
    default_data: str | None


@dataclass(frozen=True)
class Fit:
    """How well one built-in architecture fits a checkpoint's tensors.

    Attributes
    ----------
    name : str
    options : mapping
        Settings read from the tensors, defaults included.
    fits : bool
        True when every tensor is there, none is left over, and every shape agrees.
    problems : tuple of str
    assumptions : tuple of str
    family : str
    closeness : float
        Share of the tensors whose names belong to the family, 0 to 1.
    num_wrong : int
        Tensors missing, left over or misshapen; all of them where no network could be read.
    """

    name: str
    options: Mapping[str, Any]
    fits: bool
    problems: tuple[str, ...]
    assumptions: tuple[str, ...] = ()
    family: str = ""
    closeness: float = 0.0
    num_wrong: int = 0
