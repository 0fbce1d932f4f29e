"""Given the path of a dataset that this library wrote, this answers: what is its cube, and where are its arrays?"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from ome_writers.casts import is_url
from ome_writers.cube import Cube
from ome_writers.manifest import MANIFEST
from ome_writers.records import Record
from ome_writers.target import absent


def reopened(path: str, camera: str | int | None = None) -> tuple[Cube, Any]:
    """Return the cube of a dataset (or of one of its cameras) and its arrays, which know their `shape`, and `read`.

    The documents may come from anywhere: nothing outside the dataset is read, and no memory taken that they only claim.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    NotADataset
        If it is no OME-Zarr, OME-TIFF or scratch dataset, or one of its documents cannot be understood; says which.
    ValueError
        If it has no such camera, or no library is there that reads it.
    """
    reader, place = _reader(str(path))
    opened: tuple[Cube, Any] = reader.reopened(place, camera)
    return opened


def frame_metadata(path: str) -> list[Record]:
    """Return the metadata that came with the frames of a dataset, each with its `array` and `storage_index`.

    Raises
    ------
    FileNotFoundError, NotADataset, ValueError
        As `reopened`.
    """
    reader, place = _reader(str(path))
    records: list[Record] = reader.frame_metadata(place)
    return records


def noted(path: str) -> dict[str, Any]:
    """Return what the documents of a dataset say of its run: `verdict`, `frames` and so on.

    That is `{}` for datasets of other libraries; `missing` is ranges of frame numbers, first and last.

    Raises
    ------
    FileNotFoundError, NotADataset, ValueError
        As `reopened`.
    """
    reader, place = _reader(str(path))
    said: dict[str, Any] = reader.noted(place)
    return said


def _reader(path: str) -> tuple[ModuleType, str | Path]:
    """Return the module that reads the format of a dataset, and the place of the dataset as it takes it."""
    if not is_url(path):
        place = Path(path)
        if not place.exists():
            raise absent(path)
        if (place / MANIFEST).is_file():
            from ome_writers.readers import scratch

            return scratch, place
        if place.is_file() or not _holds_zarr(place):
            return _tiff(path), place
    from ome_writers.readers import zarr

    return zarr, path


def _tiff(path: str) -> ModuleType:
    try:
        from ome_writers.readers import tiff
    except ModuleNotFoundError as error:
        message = f"{path}: reading OME-TIFF needs the library 'tifffile': pip install 'ome-writers[tifffile]'"
        raise ValueError(message) from error
    return tiff


def _holds_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
