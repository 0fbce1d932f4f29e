"""What tests of a writer of OME-TIFF need: plans, the frames of a plan one by one, and what tifffile finds there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ome_writers.documents import Document
from ome_writers.formats import OmeTiffFormat
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings
from ome_writers.shorthand import dims_from_standard_axes
from ome_writers.writer import Block


def tiff_plan(sizes: dict[str, Any], *, mode: str = "redundant", single: str = "auto", **settings: Any) -> Plan:
    """Return a plan of uint16 frames for OME-TIFF.

    Examples
    --------
    >>> tiff_plan({"t": 4, "p": 2, "y": 8, "x": 8}).layout.files
    ('a_p000.ome.tiff', 'a_p001.ome.tiff')
    """
    dims = settings.pop("dimensions", None) or dims_from_standard_axes(sizes)
    layout: dict[str, Any] = {"multi_file_metadata": mode, "prefer_single_file": single}
    given: dict[str, Any] = {"root_path": "a.ome.tiff", "dtype": "uint16", "dimensions": dims}
    given["format"] = OmeTiffFormat(**layout)
    return compile(AcquisitionSettings(**given | settings))


def tiff_pixels(shape: tuple[int, ...], dtype: str = "uint16") -> NDArray[Any]:
    """Return pixels that are never 0 (but for `bool`), the same each time.

    Examples
    --------
    >>> tiff_pixels((4, 5), "complex64").dtype
    dtype('complex64')
    """
    numbers = np.random.default_rng(0).integers(1, 120, shape)
    if dtype == "bool":
        return np.asarray(numbers % 3 == 0)
    return np.asarray(numbers + 1j * numbers[::-1] if dtype[0] == "c" else numbers).astype(dtype)


def single_frames(plan: Plan, data: NDArray[Any]) -> Iterator[Block]:
    """Yield the frames of `data`, in the order of the plan, all in one buffer that is overwritten after each."""
    height, width = data.shape[-2:]
    buffer = np.empty((height, width), data.dtype)
    for row, frame in zip(plan.table, data.reshape(-1, height, width), strict=False):
        buffer[:] = frame
        lead = (None,) * row["index"].size
        yield Block((int(row["frame"]),), int(row["array"]), tuple(row["index"].tolist()), buffer[lead])
        buffer[:] = 0


def comments(text: str, *paths: str) -> list[Document]:
    """Return a comment for each of some files, or for the only one.

    Examples
    --------
    >>> [document.path for document in comments("<OME/>", "a.tiff", "b.tiff")]
    ['a.tiff', 'b.tiff']
    """
    return [Document(path, "comment", text) for path in paths or ("",)]


def tiff_pages(path: Path) -> list[NDArray[Any]]:
    """Return the pages of a file, as they lie there."""
    import tifffile

    with tifffile.TiffFile(path, is_ome=False) as file:
        return [page.asarray() for page in file.pages]


def tiff_description(path: Path) -> str:
    """Return the description of a file's first page."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        return str(file.pages.first.description)
