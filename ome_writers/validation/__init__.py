"""Given a path, this answers: is the dataset there sound, and if not, what is wrong with it and where?

Knows OME-Zarr 0.4 and 0.5 and (OME-)TIFF of any origin. It reads every pixel once, chunk by chunk, and changes nothing.

1. Structure: what the metadata name is there, and shapes, axes and pages fit.
2. The words of others: yaozarrs, the official NGFF schemas, the schema of OME-XML.
3. What this library notes of a run: whether it came to its end, and which frames came.
4. Every chunk or page is there, and can be decoded; checksums where there are any.
"""

from __future__ import annotations

import os
from pathlib import Path

from ome_writers.errors import NotADataset
from ome_writers.progress import counted
from ome_writers.regular import understood
from ome_writers.target import absent
from ome_writers.validation.words import Check, Findings, Report

__all__ = ["Check", "Report", "validate"]

_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def validate(path: str | os.PathLike[str], *, progress: bool = False) -> Report:
    """Check a dataset: structure, metadata, and that every chunk or page is present and can be decoded.

    Parameters
    ----------
    path
        An OME-Zarr folder, a TIFF file, or a folder of OME-TIFF files.
    progress
        Whether to show a progress bar (needs `rich`).

    Returns
    -------
    A report with a row for each check that found nothing, and for each fault. `report.sound` says whether nothing
    failed. Checks that need a library which is not installed are listed as `not run`.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    NotADataset
        If what is there is neither OME-Zarr nor TIFF, or so strange that no check can tell what is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> import ome_writers as ow
    >>> dims = ow.dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
    >>> with TemporaryDirectory() as folder:
    ...     settings = ow.AcquisitionSettings(root_path=f"{folder}/cells.ome.zarr", dtype="uint8", dimensions=dims)
    ...     outcome = ow.write(ow.compile(settings), np.ones((3, 8, 8), "uint8"))
    ...     sound = validate(outcome.root).sound
    ...     Path(outcome.root, "0/c/1/0/0").unlink()
    ...     found = validate(outcome.root).failed
    >>> sound, [(check.name, check.location) for check in found]
    (True, [('chunks', '0/c/1/0/0')])
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise absent(path)
    found = Findings()
    with counted("chunks", shown=progress) as advance, understood(root):
        if root.is_dir() and _holds_zarr(root):
            from ome_writers.validation.zarr import validate_zarr

            kind = validate_zarr(root, found, advance)
        else:
            from ome_writers.validation.tiff import tiff_files, validate_tiff

            files = tiff_files(root)
            if not files:
                raise NotADataset(f"{path}: is neither an OME-Zarr, nor a TIFF file or a folder of OME-TIFF files")
            kind = validate_tiff(root, files, found, advance)
    return Report(str(path), kind, tuple(found.checks))


def _holds_zarr(folder: Path) -> bool:
    """Return whether a folder is a zarr group or array, or was one before its own metadata got lost."""
    places = [folder, *(child for child in folder.iterdir() if child.is_dir())]
    return any((place / name).is_file() for place in places for name in _ZARR)
