"""Given a plan of uncompressed pixels, this answers: in which file, at which byte, does each frame lie?

OME-Zarr is placed by `placement_zarr.py`, OME-TIFF by `placement_tiff.py`. Both answer the same questions: `rows`,
`at`, `cut`, `file`, `head`. So whoever writes the pixels, in whatever language, need not know the format.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final, Protocol

from ome_writers.cuts import Cut, FileSpec, Head
from ome_writers.errors import PlanError, Problem
from ome_writers.layout import Unit
from ome_writers.order import Rows
from ome_writers.placement_tiff import place_tiff
from ome_writers.placement_zarr import place_zarr
from ome_writers.plan import Plan

SHORT_RUN: Final = 64 << 10
"""Runs of fewer bytes are not worth a system call each, where a whole chunk can be written with one."""


class Placement(Protocol):
    """Where the pixels of a dataset lie, in files that are numbered; made by `place`.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    >>> placement: Placement = place(compile(AcquisitionSettings(root_path="a.zarr", dtype="uint16", dimensions=dims)))
    >>> placement.file_count, placement.at(0, (3, ))
    (2, (1, 128))
    >>> placement.cut(0).run_bytes
    128
    """

    @property
    def plan(self) -> Plan:
        """The plan whose frames these are."""

    @property
    def file_count(self) -> int | None:
        """Number of files, `None` without end."""

    def cut(self, array: int, /) -> Cut:
        """Return how the frames of an array are cut into runs of bytes."""

    def at(self, array: int, index: Sequence[int], /) -> tuple[int, int]:
        """Return the number of the (first) file, and the byte in it, of the frame at an index of an array."""

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Return where the frames at places `start` to `stop` of the plan lie, read-only; costs the stretch asked for.

        Returns
        -------
        A record array with `frame`, `array`, `file`, `offset` (of the first run, in bytes), `files` (that share the
        frame, from `file` on), `runs` (in each of them), `run_bytes` and `run_stride`.

        Raises
        ------
        IndexError
            If the stretch leaves the plan.
        """

    def file(self, number: int, /) -> FileSpec:
        """Return the name and size of a file."""

    def head(self, number: int, /) -> Head:
        """Return what must stand in a file before its first frame comes: pieces, and the byte where each begins."""


def place(plan: Plan) -> Placement:
    """Return where every pixel of an uncompressed OME-Zarr or OME-TIFF dataset lies; pure.

    Raises
    ------
    PlanError
        If pixels are compressed, so that nobody knows before they come how long they are; or if the format has no
        files of its own.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "y": 8, "x": 8}, chunk_shapes={"y": 4}, shard_shapes={"t": 2, "y": 2})
    >>> placement = place(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)))
    >>> placement.rows(0, 3)[["file", "offset"]].tolist()
    [(0, 0), (0, 64), (1, 0)]
    >>> placement.file(1)
    FileSpec(key='0/c/1/0/0', size=196)
    """
    settings = plan.settings
    if settings.format.name not in ("ome-zarr", "ome-tiff"):
        message = f"only OME-Zarr and OME-TIFF have places for pixels; got {settings.format.name!r}"
        raise PlanError([Problem(("format",), "unsupported", message)])
    if settings.compression:
        message = f"compressed pixels have no place before they come; got {settings.compression!r}"
        raise PlanError([Problem(("compression",), "unsupported", message)])
    return place_tiff(plan) if settings.format.name == "ome-tiff" else place_zarr(plan)


def best_unit(plan: Plan) -> Unit:
    """Return what a writer that writes to known places is best handed: frames, or whole chunks.

    Chunks, if they are compressed, or if a frame has many short runs, each in another part of a chunk.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 9, "y": 64, "x": 64}, chunk_shapes={"t": 3, "y": 32, "x": 32})
    >>> best_unit(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)))
    'chunk'
    """
    if plan.settings.format.name != "ome-zarr":
        return "frame"
    if plan.settings.compression:
        return "chunk"
    placement = place_zarr(plan)
    for array, spec in enumerate(plan.layout.arrays):
        cut = placement.cut(array)
        scattered = prod(spec.chunk_shape[:-2]) > 1 and cut.runs * prod(cut.parts) > 1
        if scattered and cut.run_bytes < SHORT_RUN:
            return "chunk"
    return "frame"
