"""Given the path of a dataset that this library wrote, this answers: what is its cube, and where are its arrays?"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from ome_writers.casts import is_url
from ome_writers.cube import Cube
from ome_writers.manifest import MANIFEST
from ome_writers.records import Record


def reopened(path: str) -> tuple[Cube, Any]:
    """Return the cube of a dataset and its arrays, of which `shape` and `read` can be asked.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If it is no OME-Zarr, OME-TIFF or scratch dataset, or its documents cannot be understood.
    """
    reader, where = _reader_of(path)
    found: tuple[Cube, Any] = reader.reopened(where)
    return found


def frame_metadata(path: str) -> list[Record]:
    """Return the metadata that came with the frames of a dataset, each with its `array` and `storage_index`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `reopened`.
    """
    reader, where = _reader_of(path)
    found: list[Record] = reader.frame_metadata(where)
    return found


def missing_frames(path: str) -> list[tuple[int, int]]:
    """Return the numbers of the frames of a dataset that did not come, as ranges, first and last."""
    reader, where = _reader_of(path)
    found: list[tuple[int, int]] = reader.missing_frames(where)
    return found


def _reader_of(path: str) -> tuple[ModuleType, Any]:
    """Return the module that reads a dataset, and the path as it wants it."""
    path = str(path)
    if not is_url(path) and not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if not is_url(path) and Path(path, MANIFEST).is_file():
        from ome_writers.readers import scratch

        return scratch, Path(path)
    if not is_url(path) and (Path(path).is_file() or not _holds_zarr(Path(path))):
        try:
            from ome_writers.readers import tiff
        except ModuleNotFoundError as error:
            message = f"{path}: reading OME-TIFF needs the library 'tifffile': pip install 'ome-writers[tifffile]'"
            raise ValueError(message) from error

        return tiff, Path(path)
    from ome_writers.readers import zarr

    return zarr, path


def _holds_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
