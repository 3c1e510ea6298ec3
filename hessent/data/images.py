"""`images:DIR`: photographs sorted into one folder per class.

    DIR/<class>/*.png|jpg|jpeg             one split, "train"
    DIR/train/<class>/…, DIR/test/<class>/…   two splits ("val" serves as "test")

Classes are numbered in the order of their folders' names.  An image becomes RGB (or grey, channels=1), is scaled
so that its shorter side is `resize` (default: `size`), cut to size × size around its centre, divided by 255 and
normalised.  Without `size` nothing is scaled and all images must have the size of the first.  Orientation marks
(EXIF) are not applied and transparency is dropped.

Decoded pixels are kept in memory up to one GiB, because a spectrum takes hundreds of passes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from hessent.data.dataset import Dataset, DatasetSpec
from hessent.data.image_decoding import ImageDecoder, import_pillow
from hessent.data.request import DataRequest
from hessent.data.source_file import SourceFile
from hessent.data.tensors import Normalization
from hessent.errors import DataError

_SUFFIXES = (".png", ".jpg", ".jpeg")
_OTHER_IMAGES = (".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".heic")
_MOST_FILE_BYTES = 128 * 2**20
_CACHE_BYTES = 2**30


def open_images(request: DataRequest) -> Dataset:
    """Return the images below a folder.

    Raises
    ------
    DataError
        If there are no class folders, a class is empty, the splits' classes differ, or an image cannot be read.
    """
    import_pillow(request.name)
    folders = _split_folders(Path(request.path), request)
    classes = _classes(folders["train"], request.name)
    if request.split != "train":
        found = _classes(folders[request.split], request.name)
        if found != classes:
            odd = sorted(set(found) ^ set(classes))
            raise DataError(
                "the splits have different classes",
                where=request.name,
                problems=[f"'{name}' is only in one of them" for name in odd[:20]],
            )
    return ImageFolder(folders[request.split], classes, request, tuple(s for s in request.splits if s in folders))


class ImageFolder(Dataset):
    """Images decoded when they are asked for.

    Parameters
    ----------
    folder : Path
        Holds one folder per class.
    classes : list of str
        Their names, in the order of the labels.
    request : DataRequest
        With the parameters size, resize, interpolation, channels, mean and std.
    splits : tuple of str
        See `Dataset`.

    Raises
    ------
    DataError
        If a class has no image, or the first image cannot be read.
    """

    def __init__(self, folder: Path, classes: list[str], request: DataRequest, splits: tuple[str, ...]) -> None:
        self.name, self.split, self.splits = request.name, request.split, splits
        self.synthetic, self.licence = False, None
        self._paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            found = _images(folder / name, self.name)
            self._paths += found
            labels += [label] * len(found)
        self._labels = torch.tensor(labels, dtype=torch.int64)
        self._parameters = request.parameters
        channels = int(request.parameters["channels"])
        self._decoder = ImageDecoder(
            channels=channels,
            size=request.parameters["size"],
            resize=request.parameters["resize"],
            interpolation=request.parameters["interpolation"],
        )
        self._normalization = Normalization(1 / 255, request.parameters["mean"], request.parameters["std"])
        self._normalization.check(channels, self.name)
        self._seen: dict[int, SourceFile] = {}
        self._pixels: dict[int, Tensor] = {}
        self._shape: tuple[int, ...] | None = None
        first = self._decode(0)
        self._shape = tuple(first.shape)
        self._most_cached = _CACHE_BYTES // first.numel()
        self.spec = DatasetSpec("images", self._shape, len(classes))

    def __len__(self) -> int:
        return len(self._paths)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at `indices`, (B, C, H, W) float32, and their labels.

        Raises
        ------
        DataError
            If a file changed, is no sound image, or has another size.
        """
        pixels = torch.stack([self._cached(index) for index in indices.tolist()])
        return self._normalization.apply(pixels), self._labels[indices]

    def digest(self, indices: Tensor | None = None) -> str:
        """Return the sha256 (hex) of the files' bytes, their labels and what is done to the pixels."""
        chosen = range(len(self)) if indices is None else indices.tolist()
        digest = hashlib.sha256(repr(sorted(self._parameters.items())).encode())
        for index in chosen:
            digest.update(hashlib.sha256(self._read(index)).digest())
            digest.update(int(self._labels[index]).to_bytes(8, "little"))
        return digest.hexdigest()

    def _cached(self, index: int) -> Tensor:
        pixels = self._pixels.get(index)
        if pixels is None:
            pixels = self._decode(index)
            if len(self._pixels) < self._most_cached:
                self._pixels[index] = pixels
        return pixels

    def _read(self, index: int) -> bytes:
        path = self._paths[index]
        source = self._seen.setdefault(index, SourceFile.at(path, self.name))
        if source.size > _MOST_FILE_BYTES:
            raise DataError(
                f"{self._title(index)} has {source.size:,} bytes",
                where=self.name,
                expected=f"at most {_MOST_FILE_BYTES:,}",
            )
        with source.open(self.name) as file:
            return file.read(_MOST_FILE_BYTES)

    def _decode(self, index: int) -> Tensor:
        pixels = self._decoder.decode(self._read(index), what=self._title(index), where=self.name)
        if self._shape is not None and tuple(pixels.shape) != self._shape:
            raise DataError(
                f"{self._title(index)} gives {tuple(pixels.shape)}, the first image {self._shape}",
                where=self.name,
                expected="images of one size",
                fix="add the parameter size=224, or another, to scale and cut them",
            )
        return pixels

    def _title(self, index: int) -> str:
        return f"{str(self._paths[index])!r} (sample {index})"


def _split_folders(folder: Path, request: DataRequest) -> dict[str, Path]:
    if not os.path.isdir(folder):
        raise DataError(
            f"'{folder}' is no folder", where=request.name, expected="a folder with one folder per class"
        )
    if not os.path.isdir(folder / "train"):
        folders = {"train": folder}
    else:
        folders = {"train": folder / "train"}
        for name in ("test", "val"):
            if os.path.isdir(folder / name):
                folders.setdefault("test", folder / name)
    if request.split not in folders:
        raise DataError(
            f"there is no split '{request.split}'",
            where=request.name,
            expected="the folders train and test (or val)",
        )
    return folders


def _classes(folder: Path, where: str) -> list[str]:
    names = sorted(entry.name for entry in _entries(folder, where) if os.path.isdir(entry))
    if len(names) < 2:
        raise DataError(
            f"'{folder}' holds {len(names)} class folder{'s' if len(names) != 1 else ''}",
            where=where,
            expected="DIR/<class>/*.png or *.jpg with two classes or more",
        )
    return names


def _entries(folder: Path, where: str) -> list[os.DirEntry[str]]:
    """List a folder, hidden entries left out."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as failure:
        raise DataError(f"'{folder}' cannot be read: {failure.strerror}", where=where) from failure


def _images(folder: Path, where: str) -> list[Path]:
    names = sorted(entry.name for entry in _entries(folder, where))
    other = [name for name in names if name.lower().endswith(_OTHER_IMAGES)]
    if other:
        raise DataError(
            f"{str(folder)!r} holds {len(other)} images of other kinds, such as {other[0]!r}",
            where=where,
            expected="png or jpg",
            fix="convert them: leaving them out would be a different data set",
        )
    found = [folder / name for name in names if name.lower().endswith(_SUFFIXES)]
    if not found:
        raise DataError(f"the class folder {str(folder)!r} holds no image", where=where, expected="*.png or *.jpg")
    return found
