"""Whether data and a network belong together, said before the first batch instead of by a crash in it."""

from __future__ import annotations

from collections.abc import Sequence


def shape_problem(
    input_shape: tuple[int, ...], names: Sequence[str], sizes: Sequence[int | None], *, what: str
) -> str | None:
    """Compare the shape of one input with what a network takes.

    Parameters
    ----------
    input_shape : tuple of int
        Of one input of the data.
    names : sequence of str
        Names of the axes the network takes.
    sizes : sequence of int or None
        Their sizes; None where any will do.
    what : str
        One input in a word: "images".

    Returns
    -------
    str or None
        The sentence, None if they agree.
    """
    if len(input_shape) != len(names):
        return f"the network takes {what} ({', '.join(names)}), the data's inputs have shape {tuple(input_shape)}"
    wrong = [
        f"{name} {size} and the data's have {found}"
        for name, size, found in zip(names, sizes, input_shape, strict=True)
        if size is not None and size != found
    ]
    return f"the network takes {what} with {', '.join(wrong)}" if wrong else None


def classes_problem(num_classes: int | None, outputs: int, *, what: str = "classes") -> str | None:
    """Return a sentence if the data has more classes (or tokens) than the network has outputs."""
    if num_classes is None or num_classes <= outputs:
        return None
    return f"the data has {num_classes} {what}, the network has outputs for {outputs}"
