"""Given the path of a dataset that this library wrote, this answers: what is its cube, and where are its arrays?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ome_writers.casts import is_url
from ome_writers.cube import Cube
from ome_writers.manifest import MANIFEST

_MALFORMED: Final = (
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    StopIteration,
    SyntaxError,
)
"""What reading raises where a document is not what it should be; `SyntaxError`: of XML."""


def reopened(path: str) -> tuple[Cube, Any]:
    """Return the cube of a dataset and its arrays, of which `shape` and `read` can be asked.

    The documents may come from anywhere: nothing outside the dataset is read, and no memory taken that they only claim.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If it is no OME-Zarr, OME-TIFF or scratch dataset, or its documents cannot be understood.
    """
    try:
        return _reopened(str(path))
    except _MALFORMED as error:
        raise ValueError(f"{path}: its documents cannot be understood: {error!r}") from error


def _reopened(path: str) -> tuple[Cube, Any]:
    if not is_url(path) and not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if not is_url(path) and Path(path, MANIFEST).is_file():
        from ome_writers.readers import scratch

        return scratch.reopened(Path(path))
    if not is_url(path) and (Path(path).is_file() or not _holds_zarr(Path(path))):
        try:
            from ome_writers.readers import tiff
        except ModuleNotFoundError as error:
            message = f"{path}: reading OME-TIFF needs the library 'tifffile': pip install 'ome-writers[tifffile]'"
            raise ValueError(message) from error

        return tiff.reopened(Path(path))
    from ome_writers.readers import zarr

    return zarr.reopened(path)


def _holds_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
