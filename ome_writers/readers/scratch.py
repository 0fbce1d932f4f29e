"""Given the folder of a scratch dataset, this reads its arrays from flat files, by what the manifest says of them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from ome_writers.check import shown
from ome_writers.cube import Cube, Rectangle
from ome_writers.cube_facts import cube_from
from ome_writers.errors import Malformed, NotADataset
from ome_writers.manifest import MANIFEST, NOTES, as_now, read_notes
from ome_writers.records import Record
from ome_writers.regular import MOST_DOCUMENT, read_json, read_regular, understood
from ome_writers.run import Run
from ome_writers.writers.framestore import FiledFrames, read_frames

_MISSING: Final = 64 << 20
"""Bytes by which a file may be shorter than its manifest says: of one that was cut, the rest can be read."""


class ScratchArrays:
    """The arrays of a scratch dataset."""

    def __init__(self, store: FiledFrames, shapes: Sequence[tuple[int, ...]], axes: Sequence[int]) -> None:
        self._store, self.shapes, self._axes = store, shapes, axes
        self._end = weakref.finalize(self, store.release)

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self.shapes[array]

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        """Return the pixels in a rectangle."""
        return read_frames(self._store, array, self.shapes[array], self._axes, selection)


class _OfWriter:
    """The arrays of a run whose writer holds them, in memory or in files that go with it."""

    def __init__(self, run: Run) -> None:
        self.shape, self.read = run.shape, run.writer.read


def of_run(run: Run) -> ScratchArrays | _OfWriter:
    """Return the arrays that a run has stored."""
    return reopened(Path(run.root))[1] if run.root else _OfWriter(run)


def reopened(folder: Path, camera: str | int | None = None) -> tuple[Cube, ScratchArrays]:
    """Return the cube and the arrays of the dataset in a folder.

    Where the run has not ended, or its process died, an array without end is as long as its file is by now.

    Raises
    ------
    NotADataset
        If its manifest cannot be understood.
    ValueError
        If it has no such camera.
    """
    with understood(folder / MANIFEST):
        said = as_now(read_json(folder / MANIFEST))
        axes, running = tuple(map(int, said["file_axes"])), said["verdict"] == "running"
        shapes = [tuple(map(int, shape)) for shape in said["position_shapes"]]
        # Whatever the manifest says, nothing outside the folder is read.
        paths = [folder / Path(str(name)).name for name in said["files"]]
        dtypes = [str(dtype) for dtype in said.get("dtypes") or [said["dtype"]] * len(shapes)]
        cube = cube_from(said, shapes, dtypes)
        store = FiledFrames(paths, [shape[-2:] for shape in shapes], dtypes, writes=False)
        fits = (
            all(dtype.kind in "biufc" for dtype in store.dtypes)
            and min(map(min, shapes)) >= 0
            and all(len(shape) == len(axes) for shape in shapes)
            and sorted(axes) == list(range(len(shapes[0])))
            and len(paths) == len(shapes)
        )
        if not fits:
            raise Malformed("is not the manifest of a scratch dataset: its parts do not fit")
    if running:
        shapes = [
            tuple(
                store.length(array) // max(1, prod(shape[:-2]) // size) if axis == axes[0] < len(shape) - 2 else size
                for axis, size in enumerate(shape)
            )
            for array, shape in enumerate(shapes)
        ]
        cube = cube_from(said, shapes, dtypes)
    for path, shape, dtype in zip(paths, shapes, store.dtypes, strict=True):
        # What a manifest claims takes no memory before it is known to be there.
        if prod(shape) * dtype.itemsize > (there := path.stat().st_size) + _MISSING:
            raise NotADataset(f"{path}: is shorter than {MANIFEST} says: {there} bytes for {shape} {dtype}")
    cube = cube if camera is None else cube_from(said, shapes, dtypes, camera)
    return cube, ScratchArrays(store, shapes, axes)


def noted(folder: Path) -> dict[str, Any]:
    """Return what the manifest says of the run."""
    with understood(folder / MANIFEST):
        return dict(as_now(read_json(folder / MANIFEST)))


def frame_metadata(folder: Path) -> list[Record]:
    """Return the metadata that came with frames, each with its `array` and `storage_index`, and its `frame` if known.

    Where the run has not ended, or its process died, that is what had been taken by now.

    Raises
    ------
    NotADataset
        If the files cannot be understood.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
    >>> settings = AcquisitionSettings(root_path="cells", format="scratch", dtype="uint8", dimensions=dims)
    >>> with create_stream(settings) as stream:
    ...     stream.append(np.ones((8, 8), "uint8"), frame_metadata={"exposure_time": 0.01})
    >>> frame_metadata(Path("cells"))
    [{'frame': 0, 'array': 0, 'storage_index': [0], 'exposure_time': 0.01}]
    """
    said, notes = read_json(folder / MANIFEST), folder / NOTES
    # Until the run has ended the manifest has none; that of 0.3 never has any.
    if said.get("verdict", "running") == "running":
        with understood(notes):
            return read_notes(read_regular(notes, MOST_DOCUMENT)) if notes.exists() else []
    with understood(folder / MANIFEST):
        return [_record(one) for one in said["frame_metadata"]]


def _record(said: Any) -> Record:
    if not isinstance(said, dict):
        raise Malformed(f"frame_metadata: must hold objects only; got {shown(said)}")
    return said
