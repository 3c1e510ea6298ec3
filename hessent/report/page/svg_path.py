"""The data of an SVG path in fewer letters: one decimal, relative, and without points that nobody sees."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

NEAR = 0.3  # points: what is nearer to the line than this is not seen
_THIN = 0.05  # points across
_WORD = re.compile(r"[A-Za-z]|-?[0-9.]+(?:e-?[0-9]+)?")

Points = NDArray[np.float64]


def shortened_path(text: str, corner: tuple[float, float], near: float = NEAR) -> str:
    """Return a path, moved so that `corner` becomes the origin.

    Parameters
    ----------
    text : str
        Absolute commands, as matplotlib writes them.
    corner : tuple of float
        In the coordinates of the path.
    near : float
        How near to the line the points are that are left out.

    Returns
    -------
    str
        Nothing where the path encloses nothing: the band around a curve that is exact.
    """
    commands = _commands(text, corner)
    if commands[-1][0].lower() == "z" and _is_a_line(np.concatenate([points for _, points in commands])):
        return ""
    pieces: list[str] = []
    line: list[Points] = []  # points that straight pieces join, the first where the pen is put down or has been
    for command, points in commands:
        if command == "L":
            line.append(points[0])
            continue
        pieces.append(_line(line, near))
        line = [points[-1]] if len(points) else line[:1]
        if command == "M":
            pieces.append("M" + _pair(points[0]))
        else:
            pieces.append(command + " ".join(_pair(point) for point in points))
    return "".join([*pieces, _line(line, near)])


def written(number: float) -> str:
    """Return a number with one decimal, in as few letters as it takes."""
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _commands(text: str, corner: tuple[float, float]) -> list[tuple[str, Points]]:
    found: list[tuple[str, list[float]]] = []
    for word in _WORD.findall(text):
        if word.isalpha():
            found.append((word, []))
        else:
            found[-1][1].append(float(word))
    return [(command, np.array(numbers).reshape(-1, 2) - corner) for command, numbers in found]


def _pair(point: Points) -> str:
    x, y = (written(float(number)) for number in point)
    return x + ("" if y.startswith("-") else " ") + y


def _is_a_line(points: Points) -> bool:
    """Whether a polygon is so thin that it shows nothing beside the line in its middle."""
    x, y = points.T
    area = abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
    length = float(np.hypot(*np.diff(points, axis=0, append=points[:1]).T).sum())
    return area <= _THIN * length / 2


def _line(points: list[Points], near: float) -> str:
    """Straight pieces from the first point on, each relative to the one before, as it is written."""
    if len(points) < 2:
        return ""
    rounded = np.round(_kept(np.array(points), near), 1)
    steps = np.diff(rounded, axis=0)
    if len(steps) == 1 and 0.0 in steps[0]:
        across, down = (float(step) for step in steps[0])
        return f"h{written(across)}" if across else f"v{written(down)}"
    return "l" + " ".join(_pair(step) for step in steps[np.any(steps != 0.0, axis=1)])


def _kept(points: Points, near: float) -> Points:
    """Points without those that are near to the line between their neighbours (Douglas and Peucker, 1973)."""
    kept = np.zeros(len(points), dtype=bool)
    kept[[0, -1]] = True
    waiting = [(0, len(points) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        along = points[last] - points[first]
        away = points[first + 1 : last] - points[first]
        length = float(np.hypot(*along))
        if length > 0.0:
            far = np.abs(along[0] * away[:, 1] - along[1] * away[:, 0]) / length
            # Beyond the ends the line is not: there the distance is that to an end.
            share = away @ along / length**2
            far = np.where(share < 0.0, np.hypot(*away.T), far)
            far = np.where(share > 1.0, np.hypot(*(points[first + 1 : last] - points[last]).T), far)
        else:
            far = np.hypot(*away.T)
        worst = int(np.argmax(far))
        if far[worst] > near:
            kept[first + 1 + worst] = True
            waiting += [(first, first + 1 + worst), (first + 1 + worst, last)]
    chosen: Points = points[kept]
    return chosen
