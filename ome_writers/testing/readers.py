"""Given the root of a dataset and an array, this answers: what do other people's libraries find there?"""

from __future__ import annotations

import posixpath
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from ome_writers.layout import ArraySpec


def read_zarr(writer: object, root: str, array: ArraySpec) -> NDArray[Any]:  # noqa: ARG001 - as every `ReadArray`
    """Read an array of an OME-Zarr with zarr-python."""
    import zarr

    return np.asarray(zarr.open_array(posixpath.join(root, array.path), mode="r")[...])


def read_tiff(writer: object, root: str, array: ArraySpec) -> NDArray[Any] | None:  # noqa: ARG001 - as every `ReadArray`
    """Read an image of an OME-TIFF with tifffile, as the OME-XML describes it; `None` if that does not mention it.

    It lies where `array.path` says, or where the description in that file says that it does.
    """
    import tifffile

    path, text = _described(Path(root, array.path))
    images = [image.attrib["ID"] for image in ET.fromstring(text).findall("{*}Image")]  # noqa: S314 - our own
    if f"Image:{array.image}" not in images:
        return None
    with tifffile.TiffFile(path, omexml=text) as file, warnings.catch_warnings():
        # It says so of every image of a single page that lies in another file.
        warnings.filterwarnings("ignore", ".*reading array from closed file", UserWarning)
        return np.asarray(file.series[images.index(f"Image:{array.image}")].asarray())


def _described(path: Path) -> tuple[Path, str]:
    """Return the OME-XML that describes the pixels of a file, and a TIFF file in the folder of that description."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata or ""
    # OME-XML 2016-06, `BinaryOnly`; tifffile leaves it to its callers to look there.
    elsewhere = ET.fromstring(text).find("{*}BinaryOnly")  # noqa: S314 - our own
    if elsewhere is None:
        return path, text
    other = path.with_name(elsewhere.attrib["MetadataFile"])
    return (path, other.read_text("utf-8")) if other.suffix == ".ome" else _described(other)
