"""Given the path of a dataset that this library wrote, this answers: what is its cube, and where are its arrays?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ome_writers.casts import is_url
from ome_writers.cube import Cube
from ome_writers.manifest import MANIFEST, as_now
from ome_writers.records import Record
from ome_writers.regular import MOST_DOCUMENT, IrregularFileError, read_regular
from ome_writers.target import absent

_MALFORMED: Final = (
    IrregularFileError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    StopIteration,
    SyntaxError,
)
"""What reading raises where a document is not what it should be; `SyntaxError`: of XML."""


@contextmanager
def _understood(path: str) -> Iterator[None]:
    try:
        yield
    except _MALFORMED as error:
        raise ValueError(f"{path}: its documents cannot be understood: {error!r}") from error


def reopened(path: str, camera: str | int | None = None) -> tuple[Cube, Any]:
    """Return the cube of a dataset (or of one of its cameras) and its arrays, which know their `shape`, and `read`.

    The documents may come from anywhere: nothing outside the dataset is read, and no memory taken that they only claim.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If it is no OME-Zarr, OME-TIFF or scratch dataset, or its documents cannot be understood.
    """
    with _understood(path):
        return _reopened(str(path), camera)


def _reopened(path: str, camera: str | int | None) -> tuple[Cube, Any]:
    if not is_url(path) and not Path(path).exists():
        raise absent(path)
    if not is_url(path) and Path(path, MANIFEST).is_file():
        from ome_writers.readers import scratch

        return scratch.reopened(Path(path), camera)
    if not is_url(path) and (Path(path).is_file() or not _holds_zarr(Path(path))):
        opened: tuple[Cube, Any] = _tiff(path).reopened(Path(path), camera)
        return opened
    from ome_writers.readers import zarr

    return zarr.reopened(path, camera)


def frame_metadata(path: str) -> list[Record]:
    """Return the metadata that came with the frames of a dataset, each with its `array` and `storage_index`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `reopened`.
    """
    with _understood(path):
        return _frame_metadata(str(path))


def _frame_metadata(path: str) -> list[Record]:
    if not is_url(path) and not Path(path).exists():
        raise absent(path)
    if not is_url(path) and Path(path, MANIFEST).is_file():
        from ome_writers.readers import scratch

        return scratch.frame_metadata(Path(path))
    if not is_url(path) and (Path(path).is_file() or not _holds_zarr(Path(path))):
        records: list[Record] = _tiff(path).frame_metadata(Path(path))
        return records
    from ome_writers.readers import zarr

    return zarr.frame_metadata(path)


def noted(path: str) -> dict[str, Any]:
    """Return what the documents of a dataset say of its run: `verdict`, `frames` and so on.

    That is `{}` for datasets of other libraries; `missing` is ranges of frame numbers, first and last.

    Raises
    ------
    FileNotFoundError, ValueError
        As `reopened`.
    """
    with _understood(path):
        return _noted(str(path))


def _noted(path: str) -> dict[str, Any]:
    if not is_url(path) and not Path(path).exists():
        raise absent(path)
    if not is_url(path) and Path(path, MANIFEST).is_file():
        return dict(as_now(json.loads(read_regular(Path(path, MANIFEST), MOST_DOCUMENT))))
    if not is_url(path) and (Path(path).is_file() or not _holds_zarr(Path(path))):
        said: dict[str, Any] = _tiff(path).noted(Path(path))
        return said
    from ome_writers.readers import zarr

    found = zarr.node(path, "") or {}
    noted_there: dict[str, Any] = found.get("attributes", {}).get("ome_writers", {})
    return noted_there


def _tiff(path: str) -> ModuleType:
    try:
        from ome_writers.readers import tiff
    except ModuleNotFoundError as error:
        message = f"{path}: reading OME-TIFF needs the library 'tifffile': pip install 'ome-writers[tifffile]'"
        raise ValueError(message) from error
    return tiff


def _holds_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
