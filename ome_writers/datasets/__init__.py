"""Given a path, this answers: which images are there, of what shape, with what names, scales and channels?

Reads datasets of any origin: OME-Zarr 0.4 and 0.5 (an image, several, a plate), bare zarr arrays, OME-TIFF (one file, a
folder) and other TIFF. Of zarr only the JSON is read; TIFF is read with tifffile and ome-types. No pixels are touched.
"""

from __future__ import annotations

from pathlib import Path

from ome_writers.datasets.tiff import read_tiff, tiff_of_folder
from ome_writers.datasets.words import Axis, Dataset, Image
from ome_writers.datasets.zarr import read_node, read_zarr
from ome_writers.errors import NotADataset
from ome_writers.target import absent

__all__ = ["Axis", "Dataset", "Image", "NotADataset", "read_dataset"]


def read_dataset(path: str | Path) -> Dataset:
    """Return what lies at `path`.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    NotADataset
        If what is there is no image; the message says why.
    """
    path = Path(path)
    if not path.exists():
        raise absent(path)
    if path.is_dir() and (attributes := read_node(path)) is not None:
        return read_zarr(path, attributes)
    if path.is_dir():
        return read_tiff(path, tiff_of_folder(path))
    if path.suffix.lower() in (".tif", ".tiff"):
        return read_tiff(path, path)
    raise NotADataset(f"{path}: is neither a zarr folder nor a TIFF file")
