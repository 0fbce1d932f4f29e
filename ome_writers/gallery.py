"""Given the path of a dataset, this answers: which images are there to be looked at, and where are their pixels?

How far they have come, how they are called and how they are coloured; for both formats, also while they are written.
"""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.datasets import Axis, Dataset, Image, NotADataset, read_dataset
from ome_writers.readers import noted, reopened
from ome_writers.regular import understood

_BAND: Final = 8 << 20
"""Bytes of a plane that are read at once, if its chunks allow."""


@frozen
class Picture:
    """An image, and how it is shown."""

    name: str
    path: str
    """Key of its zarr group below the root."""
    array: str
    """Key of its full-resolution array."""
    axes: tuple[Axis, ...]
    """In storage order, ending with y and x."""
    shape: tuple[int, ...]
    dtype: str
    channels: tuple[tuple[str, str], ...]
    """Name and `#RRGGBB` of each channel; an image without any has one."""

    @property
    def channel_axis(self) -> int | None:
        """Which of the axes is that of the channels."""
        return next((number for number, axis in enumerate(self.axes[:-2]) if axis.type == "channel"), None)


@frozen(eq=False)
class Gallery:
    """The images of a dataset."""

    kind: str
    """`zarr` or `tiff`."""
    pictures: tuple[Picture, ...]
    arrays: Any
    """What reads them: `read(picture, rectangle)`."""


def gallery_of(path: str | os.PathLike[str]) -> Gallery:
    """Return the images of a dataset, as far as they have come.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    NotADataset
        If what is there is no OME-Zarr, and no OME-TIFF that this library wrote.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, write
    >>> dims = dims_from_standard_axes({"p": 2, "c": ["DAPI", "GFP"], "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> outcome = write(plan, np.ones((2, 2, 8, 8), "uint8"))
    >>> [(picture.name, picture.channels) for picture in gallery_of("a.ome.zarr").pictures][:1]
    [('0', (('DAPI', '#00FF00'), ('GFP', '#FF00FF')))]
    """
    root = Path(path)
    found = read_dataset(root)
    if not found.images:
        raise NotADataset(f"{path}: {found.kind}")
    if found.kind.startswith("OME-TIFF"):
        return _tiff(root, found)
    if not found.images[0].axes or found.images[0].files:
        raise NotADataset(f"{path}: {found.kind}; only OME-Zarr and OME-TIFF can be shown")
    from ome_writers.readers.zarr import ZarrArrays

    with understood(root):
        pictures = tuple(_picture(image, number) for number, image in enumerate(found.images))
    return Gallery("zarr", pictures, ZarrArrays(str(root), [image.array for image in found.images]))


def _picture(image: Image, number: int) -> Picture:
    depth = next((n for axis, n in zip(image.axes, image.shape, strict=True) if axis.type == "channel"), 1)
    known = [(name, f"#{color.lstrip('#')[:6]}" if color else "") for name, color in image.channels][:depth]
    known += [("", "")] * (depth - len(known))
    shown = tuple(
        (name or f"channel {place}", color or ("#FFFFFF" if depth == 1 else _PALETTE[place % len(_PALETTE)]))
        for place, (name, color) in enumerate(known)
    )
    np.dtype(image.dtype)  # or else nobody can read it
    return Picture(
        image.name or f"image {number}", image.path, image.array, image.axes, image.shape, image.dtype, shown
    )


_PALETTE: Final = ("#00FF00", "#FF00FF", "#00FFFF", "#FFFF00", "#FF0000", "#0000FF")
_AXES: Final = {"c": Axis("c", "channel"), "t": Axis("t", "time")} | {axis: Axis(axis, "space") for axis in "zyx"}


def _tiff(root: Path, found: Dataset) -> Gallery:
    """Return the images of an OME-TIFF; while it is written, each file may tell of itself only."""
    try:
        cube, arrays = reopened(str(root))
    except ValueError as error:
        raise NotADataset(str(error)) from error
    first = found.images[0]
    # OME-XML 2016-06 knows the loops of an image as T, C and Z; here they have the names of the acquisition.
    types = {str(dim["name"]): dim["type"] for dim in noted(str(root))["dimensions"]}
    letters = {"time": "t", "space": "z", "y": "y", "x": "x"}
    known = {axis.name: axis for axis in first.axes}
    names = [cube.dims[dim] for dim in cube.axes]
    roles = [letters.get(types[name] or "", "c") for name in names[:-2]] + ["y", "x"]
    named = tuple(evolve(known.get(role, _AXES[role]), name=name) for name, role in zip(names, roles, strict=True))
    labels = [cube.labels[fan] or [str(number) for number in range(cube.counts[fan] or 1)] for fan in cube.fans]
    titles = [" ".join(map(str, chosen)) for chosen in product(*labels)] if labels else [first.name]
    pictures = tuple(
        _picture(evolve(first, name=title, axes=named, shape=arrays.shape(number)), number)
        for number, title in enumerate(titles)
    )
    return Gallery("tiff", pictures, arrays)


def plane(gallery: Gallery, number: int, index: tuple[int, ...], side: int) -> NDArray[Any]:
    """Return a plane, made smaller so that neither of its sides is longer than `side`; each pixel is a mean.

    Reads a band of rows at a time, so it takes little memory, however large the plane is.
    """
    height, width = gallery.pictures[number].shape[-2:]
    step = -(-max(height, width) // side)
    across = max(1, width // step)
    rows = max(1, _BAND // max(1, width * np.dtype(gallery.pictures[number].dtype).itemsize) // step) * step
    lead = tuple(slice(at, at + 1) for at in index)
    made = []
    for first in range(0, max(1, height // step) * step, rows):
        last = min(first + rows, max(1, height // step) * step, height)
        band = gallery.arrays.read(number, (*lead, slice(first, last), slice(0, min(width, across * step))))
        band = band.reshape(band.shape[-2:])
        tall = min(step, band.shape[0])
        made.append(band.reshape(-1, tall, across, band.shape[1] // across).mean(axis=(1, 3), dtype=np.float32))
    return np.concatenate(made)
