"""Blocks: which parameters belong to one diagonal block of the curvature matrix.

The block of a set of parameters is the principal submatrix of the Hessian over all their entries, flattened and
joined in the model's order.  Tied parameters are one parameter and appear once, under their first name.

| specification | blocks |
|---|---|
| `full` | all parameters: the whole matrix |
| `layer` | one per `nn.Module` that owns parameters (a weight together with its bias, a norm's scale and shift); a parameter owned by the model itself (a class token) is a block of its own |
| `module` | one per child of the model; the children of a container (`Sequential`, `ModuleList`, `ModuleDict`) count in its place: residual blocks, transformer blocks |
| `parameter` | one per parameter tensor |
| `GLOB=NAME` | the parameters whose names match GLOB, pooled as NAME |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from hessent.errors import UsageError

KINDS = ("full", "layer", "module", "parameter")
FULL = "full"
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Block:
    """A named set of parameters.

    Attributes
    ----------
    name : str
        Unique among the blocks of a run.
    parameters : tuple of str
        Names of the parameter tensors, in the model's order.
    size : int
        Number of entries n_b, all tensors together.
    """

    name: str
    parameters: tuple[str, ...]
    size: int


def resolve_blocks(
    module: nn.Module, parameters: Mapping[str, Tensor], specifications: Sequence[str], *, full: bool
) -> tuple[Block, ...]:
    """Turn block specifications into blocks, in the model's order, `full` last.

    Parameters
    ----------
    module : nn.Module
        The model; its structure defines layers and modules.
    parameters : mapping of str to Tensor
        The parameters that are measured, in order, tied ones once.
    specifications : sequence of str
        `full`, `layer`, `module`, `parameter` or `GLOB=NAME`; see the table above.
    full : bool
        Whether to add the whole matrix as the block `full`.

    Returns
    -------
    tuple of Block
        Without repetition: a block asked for twice is measured once.

    Raises
    ------
    UsageError
        If a specification is unknown, a glob matches nothing, or two different blocks would bear one name.
    """
    problems: list[str] = []
    blocks: dict[str, Block] = {}
    wants_full = full
    for specification in specifications:
        if specification == FULL:
            wants_full = True
            continue
        groups = _groups(module, parameters, specification)
        if groups is None:
            problems.append(f"'{specification}' is neither one of {', '.join(KINDS)} nor GLOB=NAME")
        elif not groups:
            problems.append(f"'{specification}' matches no parameter")
        for name, members in (groups or {}).items():
            block = _block(name, members, parameters)
            if name == FULL or blocks.setdefault(name, block) != block:
                problems.append(f"two different blocks would be called '{name}'")
    if problems:
        raise UsageError(
            "the blocks cannot be formed",
            where="--blocks",
            problems=problems,
            fix="--blocks layer, or quote a glob over parameter names: --blocks 'layer4.*=stage4'",
        )
    order = {name: position for position, name in enumerate(parameters)}
    ordered = sorted(blocks.values(), key=lambda block: order[block.parameters[0]])
    if wants_full:
        ordered.append(_block(FULL, list(parameters), parameters))
    return tuple(ordered)


def _block(name: str, members: Iterable[str], parameters: Mapping[str, Tensor]) -> Block:
    names = tuple(members)
    return Block(name=name, parameters=names, size=sum(parameters[member].numel() for member in names))


def _groups(module: nn.Module, parameters: Mapping[str, Tensor], specification: str) -> dict[str, list[str]] | None:
    """Parameter names by block name; None for a specification that is not one."""
    if specification == "parameter":
        return {name: [name] for name in parameters}
    if specification == "layer":
        return _collect((_owner(name) or name, name) for name in parameters)
    if specification == "module":
        roots = _module_roots(module)
        return _collect((_nearest(name, roots) or name, name) for name in parameters)
    if "=" in specification:
        pattern, _, name = specification.partition("=")
        matching = [parameter for parameter in parameters if fnmatchcase(parameter, pattern)]
        return {name: matching} if matching and name else {}
    return None


def _collect(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for block, parameter in pairs:
        groups.setdefault(block, []).append(parameter)
    return groups


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _module_roots(module: nn.Module, prefix: str = "") -> list[str]:
    """Names of the model's children, containers replaced by their own children."""
    roots: list[str] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        nested = isinstance(child, _CONTAINERS) or (not prefix and _is_shell(module))
        roots += _module_roots(child, f"{path}.") if nested and any(child.children()) else [path]
    return roots


def _is_shell(module: nn.Module) -> bool:
    """Whether the model only wraps one child (`transformer` in GPT-2 beside a tied head holds everything)."""
    owners = {name.partition(".")[0] for name, _ in module.named_parameters()}
    return len(owners) == 1


def _nearest(parameter: str, roots: Sequence[str]) -> str | None:
    """The root module that holds the parameter."""
    holders = [root for root in roots if parameter.startswith(f"{root}.")]
    return max(holders, key=len) if holders else None
