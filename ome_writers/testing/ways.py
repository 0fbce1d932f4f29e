"""Given the table of writers, this answers: in what ways can an acquisition be stored, and who else can read it there?

A test that is run over `ways()` tries each writer of the package, in each layout of its format; one that is added to
the table joins by itself.
"""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.formats import Format, OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.layout import ArraySpec
from ome_writers.settings import AcquisitionSettings
from ome_writers.testing.readers import read_tiff, read_zarr
from ome_writers.writer import WRITERS, Writer, writer_named

_SUFFIXES = {"ome-zarr": ".ome.zarr", "ome-tiff": ".ome.tiff", "scratch": ""}


@frozen
class Way:
    """A writer by name, and one of the layouts of a format of it."""

    name: str
    writer: str
    format: Format

    @property
    def persistent(self) -> bool:
        """Whether it leaves something on a disk."""
        return self.make().capabilities.persistent

    def make(self) -> Writer:
        """Make a new writer."""
        return writer_named(self.writer)

    def settings(self, folder: object, dimensions: Any, **more: Any) -> AcquisitionSettings:
        """Return settings of a dataset in `folder`."""
        root = str(Path(str(folder), f"run{_SUFFIXES[self.format.name]}"))
        return AcquisitionSettings(root_path=root, dimensions=dimensions, format=self.format, **more)

    def read(self, writer: Any, root: str, array: ArraySpec) -> NDArray[Any] | None:
        """Read an array, if it is on a disk, with the libraries of others.

        Axes of length 1 may be left out. `None` stands for an array that is not mentioned, as no frame of it came.

        Raises
        ------
        AssertionError
            If two of them do not agree.
        """
        if not writer.capabilities.persistent:
            return np.asarray(writer.arrays[array.image])
        if self.format.name == "scratch":
            return _read_flat(Path(root), array)
        if self.format.name == "ome-tiff":
            return read_tiff(writer, root, array)
        found = read_zarr(writer, root, array)
        np.testing.assert_array_equal(found, _read_with_tensorstore(root, array), strict=True)
        return found


def ways() -> tuple[Way, ...]:
    """Return every way, the TIFF layouts for several positions among them.

    Examples
    --------
    >>> [way.name for way in ways() if way.writer == "tifffile"]
    ['tifffile-redundant', 'tifffile-master-tiff', 'tifffile-companion-file', 'tifffile-single']
    """
    layouts: dict[str, dict[str, Format]] = {
        "ome-zarr": {"": OmeZarrFormat()},
        "ome-tiff": {
            "redundant": OmeTiffFormat(multi_file_metadata="redundant"),
            "master-tiff": OmeTiffFormat(multi_file_metadata="master-tiff"),
            "companion-file": OmeTiffFormat(multi_file_metadata="companion-file"),
            "single": OmeTiffFormat(prefer_single_file="always"),
        },
        "scratch": {"": ScratchFormat()},
    }
    found = []
    for writer, entry in WRITERS.items():
        for name in entry.formats:
            several = [name.removeprefix("ome-")] if len(entry.formats) > 1 else []
            for layout, format_ in layouts[name].items():
                found.append(Way("-".join([writer, *several, *([layout] if layout else [])]), writer, format_))
    return tuple(found)


def backends(*formats: str) -> list[tuple[str, str]]:
    """Return each writer by name that leaves something on a disk, with the suffix that a dataset of it has there.

    Without any formats, that is for all of them.

    Examples
    --------
    >>> backends("ome-tiff")
    [('direct', '.ome.tiff'), ('tifffile', '.ome.tiff')]
    """
    names = {(way.writer, way.format.name) for way in ways() if way.persistent}
    return sorted((writer, _SUFFIXES[name]) for writer, name in names if name in (formats or _SUFFIXES))


def _read_flat(root: Path, array: ArraySpec) -> NDArray[Any]:
    """Read an array of a scratch dataset as its manifest says, with numpy."""
    said = json.loads((root / "manifest.json").read_bytes())
    shape, axes = said["position_shapes"][array.image], said["file_axes"]
    numbers = np.fromfile(root / said["files"][array.image], np.dtype(said["dtype"]).newbyteorder("<"))
    lying = [shape[axis] for axis in axes]
    # After a failure, what was to come is still there, or is still announced.
    count = int(np.prod(lying))
    numbers = np.concatenate([numbers, np.zeros(max(0, count - len(numbers)), numbers.dtype)])
    return numbers[:count].reshape(lying).transpose(np.argsort(axes)).astype(said["dtype"])


def _read_with_tensorstore(root: str, array: ArraySpec) -> NDArray[Any]:
    import tensorstore

    place = {"driver": "file", "path": f"{posixpath.join(root, array.path)}/"}
    return np.asarray(tensorstore.open({"driver": "zarr3", "kvstore": place}).result().read().result())
