"""What all pictures share: colours, letters, sizes, and bytes that depend on nothing but the numbers.

The settings are matplotlib's own defaults with ours over them, whatever the user's `matplotlibrc` says; no date, no
version and no random name goes into a file.  So the same spectra give the same bytes on the same installation.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hessent.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
LARGEST_SIDE = 100.0  # inches; a picture of 20,000 dots on a side takes more than a gigabyte
_DOTS_PER_INCH = 160
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Look:
    """How a picture looks and how large it is.

    Attributes
    ----------
    dark : bool
        Light letters on a dark ground.
    width, height : float or None
        In inches; None for what the content needs.
    """

    dark: bool = False
    width: float | None = None
    height: float | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be drawn.

        Raises
        ------
        UsageError
            If a side is not a number from 1 to `LARGEST_SIDE`.
        """
        for option, side in (("--width", self.width), ("--height", self.height)):
            if side is not None and not 1.0 <= side <= LARGEST_SIDE:
                raise UsageError(f"{option} {side:g}: inches, from 1 to {LARGEST_SIDE:g}")

    @property
    def ground(self) -> str:
        """Colour behind everything."""
        return "#16181d" if self.dark else "#ffffff"

    @property
    def ink(self) -> str:
        """Colour of letters and frames."""
        return "#e6e6e6" if self.dark else "#222222"

    @property
    def faint(self) -> str:
        """Colour of what stands behind: grids, shades, small print."""
        return "#9aa0a8" if self.dark else "#6a6f78"

    @property
    def colours(self) -> tuple[str, ...]:
        """Colours that people with any colour vision tell apart (Okabe and Ito, 2008), best contrast first."""
        if self.dark:
            return ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#9aa0a8")
        return ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a6f78")


def file_format(path: str) -> str:
    """Return the format that the end of a file's name asks for.

    Raises
    ------
    UsageError
        If it is none of those that can be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"'{path}' does not say what kind of picture to write",
            where="--out",
            expected=f"a name that ends in {', '.join(SUFFIXES)}",
        )
    return SUFFIXES[suffix]


def require_matplotlib() -> None:
    """Load matplotlib.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("pictures are drawn by matplotlib, which is not installed", fix=INSTALL) from error


INSTALL = "pip install 'hessent[plot]'"


@contextmanager
def drawing(look: Look) -> Iterator[None]:
    """Set matplotlib up for a picture, and back afterwards."""
    import matplotlib

    settings = {
        "text.parse_math": False,  # a block's name is no formula
        "svg.hashsalt": "hessent",
        "font.size": 8.0,
        "axes.titlesize": 8.0,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": look.ground,
        "figure.facecolor": look.ground,
        "savefig.facecolor": look.ground,
        "legend.frameon": False,
        "xtick.labelsize": 7.0,
        "ytick.labelsize": 7.0,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor"), look.ink),
        **dict.fromkeys(("xtick.color", "ytick.color", "legend.labelcolor"), look.ink),
    }
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name may be in a script that the font lacks: it is drawn as boxes, and that is no news for a terminal.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        matplotlib.rcdefaults()
        parameters: Any = matplotlib.rcParams  # typed by a list of all its names
        parameters.update(settings)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches; it belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(min(width, LARGEST_SIDE), min(height, LARGEST_SIDE)))


def picture_bytes(figure: Figure, file_format: str) -> bytes:
    """Return a finished figure as a file; to be called within `drawing`."""
    written = io.BytesIO()
    figure.savefig(written, format=file_format, dpi=_DOTS_PER_INCH, metadata=_METADATA[file_format])
    return written.getvalue()


def title_lines(figure: Figure, title: str, small_print: str, look: Look) -> None:
    """Write the title and the line below it at the top left; `TITLE_HEIGHT` inches are kept free for them."""
    height = figure.get_figheight()
    figure.text(0.12 / figure.get_figwidth(), 1 - 0.10 / height, title, va="top", fontsize=10, fontweight="bold")
    figure.text(
        0.12 / figure.get_figwidth(), 1 - 0.31 / height, small_print, va="top", fontsize=7, color=look.faint
    )


TITLE_HEIGHT = 0.62
