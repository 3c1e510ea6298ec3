"""A finished block as bytes: a spectrum file of that block alone, read by the same guarded reader as all others.

Every number comes back bit for bit, so it does not show in the final file whether a block was computed by the
process that writes it, or read from the journal.
"""

from __future__ import annotations

from hessent.errors import SpectrumFileError
from hessent.spectra.hdf5_reader import from_bytes
from hessent.spectra.hdf5_writer import to_bytes
from hessent.spectra.model import BlockSpectrum, CheckpointInfo, DataInfo, LossInfo, Spectrum
from hessent.storage.sealed_file import DamagedFileError, seal, unseal


def block_to_bytes(unit: str, block: BlockSpectrum) -> bytes:
    """Return the sealed bytes of a finished unit.

    Raises
    ------
    ValueError
        If the block holds what a spectrum file cannot hold (numbers that are not finite, arrays that do not fit).
    """
    content = to_bytes(_around(unit, block))
    try:
        from_bytes(content, where=block.name)
    except SpectrumFileError as error:
        raise ValueError(f"the block '{block.name}' cannot be kept: {error.found}") from error
    return seal(content)


def block_from_bytes(unit: str, sealed: bytes | bytearray) -> BlockSpectrum:
    """Return the block of a finished unit.

    Raises
    ------
    DamagedFileError
        If the bytes are not those of that unit.
    """
    try:
        spectrum = from_bytes(unseal(sealed), where=unit)
    except SpectrumFileError as error:
        raise DamagedFileError(f"it holds no spectrum: {error.found}") from error
    if spectrum.settings != {"unit": unit} or len(spectrum.blocks) != 1:
        raise DamagedFileError(f"it is not the file of unit {unit}")
    return spectrum.blocks[0]


def _around(unit: str, block: BlockSpectrum) -> Spectrum:
    """Return the smallest spectrum file that holds a block; what was measured stands in the journal's manifest."""
    return Spectrum(
        checkpoint=CheckpointInfo(path="", sha256="", arch=""),
        data=DataInfo(name="", samples=0, available=0, sha256=""),
        loss=LossInfo(name="", value=0.0),
        curvature="hessian",
        seed=0,
        complete=False,
        settings={"unit": unit},
        versions={},
        checks={},
        blocks=(block,),
    )
