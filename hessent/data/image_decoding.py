"""From the bytes of a PNG or JPEG file to pixels of a wanted size; Pillow does the decoding."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hessent.errors import DataError

EIGHT_BIT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")  # what has more would be cut off silently
_MOST_PIXELS = 64_000_000


@dataclass(frozen=True)
class ImageDecoder:
    """How images become tensors.

    Attributes
    ----------
    channels : int
        3 for colour, 1 for grey.
    size : int or None
        Side in pixels of the square cut out around the centre; None leaves images as they are.
    resize : int or None
        Length that the shorter side is scaled to before; None: `size`.
    interpolation : str
        "bilinear" or "bicubic", both averaging when they shrink.
    """

    channels: int
    size: int | None
    resize: int | None
    interpolation: str

    def decode(self, content: bytes, *, what: str, where: str) -> Tensor:
        """Return the pixels of one image.

        Parameters
        ----------
        content : bytes
            Of a PNG or JPEG file.
        what, where : str
            The file and the data's name, for messages.

        Returns
        -------
        Tensor
            (channels, height, width) uint8.

        Raises
        ------
        DataError
            If it is no sound image, too large, or has more than eight bits per channel.
        """
        image_module = import_pillow(where)
        broken = (OSError, ValueError, SyntaxError, EOFError, image_module.DecompressionBombError)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd marks beside the pixels; sizes have their own limit
                image = image_module.open(io.BytesIO(content), formats=("PNG", "JPEG"))
                self._check(image, what, where)
                image = self._fit(image.convert("L" if self.channels == 1 else "RGB"), where)
        except broken as failure:
            raise DataError(
                f"{what} is no sound image: {failure}",
                where=where,
                expected="a PNG or JPEG file",
                fix="repair or remove it",
            ) from failure
        pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
        return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()

    def _check(self, image: Any, what: str, where: str) -> None:
        """Refuse by the header alone, before any pixel is unpacked."""
        if image.width * image.height > _MOST_PIXELS:
            raise DataError(
                f"{what} has {image.width} × {image.height} pixels",
                where=where,
                expected=f"at most {_MOST_PIXELS:,}",
            )
        if image.mode not in EIGHT_BIT_MODES:
            raise DataError(
                f"{what} has pixels of mode {image.mode}",
                where=where,
                expected="eight bits per channel",
                fix="convert it, or store the data as arrays",
            )

    def _fit(self, image: Any, where: str) -> Any:
        if self.size is None:
            return image
        shorter = self.resize or self.size
        if shorter < self.size:
            raise DataError(f"resize={shorter} is below size={self.size}", where=where, expected="resize ≥ size")
        scale = shorter / min(image.size)
        width, height = (max(self.size, round(length * scale)) for length in image.size)
        if width * height > _MOST_PIXELS:
            raise DataError(f"an image would grow to {width} × {height} pixels", where=where, fix="a smaller size")
        method = import_pillow(where).Resampling[self.interpolation.upper()]
        left, top = (width - self.size) // 2, (height - self.size) // 2
        return image.resize((width, height), method).crop((left, top, left + self.size, top + self.size))


def import_pillow(where: str) -> Any:
    """Return the module PIL.Image.

    Raises
    ------
    DataError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as failure:
        raise DataError(
            "reading images needs the package Pillow", where=where, fix="pip install pillow"
        ) from failure
    return Image
