"""Given a plan, and what its writer and the machine are like, this answers: what will there be, and what may go wrong?

All that a display needs is a value here, be it shown in a terminal or in a notebook.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Final

import numpy as np
from attrs import evolve, frozen

from ome_writers.advice import SMALL_CHUNK, Advice, advise
from ome_writers.assembly import peak_bytes
from ome_writers.images import frame_counts
from ome_writers.layout import ArraySpec, Unit
from ome_writers.plan import Plan
from ome_writers.sights import size

MANY_FILES: Final = 1_000_000
"""So many take hours to copy, to list and to delete."""


def sizes(shape: Sequence[int | None]) -> str:
    """Return a shape for people.

    Examples
    --------
    >>> sizes((None, 2, 512, 512))
    '∞ × 2 × 512 × 512'
    """
    return " × ".join("∞" if length is None else str(length) for length in shape)


def frame_kinds(plan: Plan) -> dict[str, int]:
    """Return shape and dtype of the frames, in words, with their size in memory: one for each kind of camera."""
    kinds = {}
    for spec in plan.layout.arrays:
        nbytes = prod(length or 1 for length in spec.shape[-2:]) * np.dtype(spec.dtype).itemsize
        kinds[f"{sizes(spec.shape[-2:])} {spec.dtype}"] = nbytes
    return kinds


def all_bytes(plan: Plan, frames: int) -> int:
    """Return the size of the first so many frames in memory."""
    kinds = frame_kinds(plan)
    if len(kinds) == 1:
        return frames * next(iter(kinds.values()))
    each = [kinds[f"{sizes(spec.shape[-2:])} {spec.dtype}"] for spec in plan.layout.arrays]
    return sum(map(int.__mul__, frame_counts(plan, frames).tolist(), each))


def chunk_bytes(spec: ArraySpec) -> int:
    """Return the size of a chunk before compression."""
    return prod(spec.chunk_shape) * np.dtype(spec.dtype).itemsize


def blocks(spec: ArraySpec) -> int:
    """Return the number of shards, or else chunks, in an array, in one round of its endless axis: each is a file."""
    shape = spec.shard_shape or spec.chunk_shape
    return prod(-(-(length or 1) // block) for length, block in zip(spec.shape, shape, strict=True))


@frozen
class Concern:
    """Something that will not stop a run, but that people should know of, and why."""

    about: str
    """`"chunks"`, `"files"`, `"memory"` or `"writer"`."""
    reason: str


@frozen(kw_only=True)
class Overview:
    """What a plan comes to, in numbers, and what to think of before it is run."""

    plan: Plan
    writer: str | None
    """Name of the writer; `None` if none can do the plan."""
    unit: Unit
    peak_bytes: int
    """The most bytes of pixels that are in memory at a time."""
    buffer_bytes: int
    """Those of them that are there to put blocks together."""
    frames: Mapping[str, int]
    """Each kind of frame, in words, and its size in memory."""
    pixel_bytes: int | None
    """Bytes of all frames before compression; `None` without end."""
    files: int | None
    """Files with pixels; `None` without end."""
    documents: int
    """Files with metadata alone."""
    concerns: tuple[Concern, ...]


def overview(  # noqa: PLR0913 - what is like what is named
    plan: Plan, *, writer: str | None, unit: Unit, peak: int, memory: int | None = None, faults: Sequence[str] = ()
) -> Overview:
    """Return what a plan comes to.

    Parameters
    ----------
    writer, unit, peak
        The name of the writer, what blocks it is handed, and the most memory that pixels take with it.
    memory
        Bytes of memory that the machine has, if that is known.
    faults
        Why no writer can do it.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 10, "y": 512, "x": 512})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))
    >>> found = overview(plan, writer="direct", unit="frame", peak=0)
    >>> found.files, found.documents, found.concerns[0].about
    (10, 2, 'chunks')
    """
    layout = plan.layout
    files: int | None = len(layout.files) if plan.settings.format.name == "ome-tiff" else 0
    documents = 0
    if layout.zarr_format is not None:
        files = None if plan.settings.is_unbounded else sum(map(blocks, layout.arrays))
        # Each group and array has one; that of the series also lists them in OME-XML.
        documents = len(layout.groups) + len(layout.arrays) + ("OME" in layout.groups)
    found = Overview(
        plan=plan,
        writer=writer,
        unit=unit,
        peak_bytes=peak,
        buffer_bytes=peak_bytes(plan, unit),
        frames=frame_kinds(plan),
        pixel_bytes=None if plan.frames is None else all_bytes(plan, plan.frames),
        files=files,
        documents=documents,
        concerns=tuple(Concern("writer", fault) for fault in faults),
    )
    return evolve(found, concerns=(*found.concerns, *_concerns(found, memory)))


def _concerns(found: Overview, memory: int | None) -> Iterator[Concern]:
    spec = found.plan.layout.arrays[0]
    small = chunk_bytes(spec)
    zarr = found.plan.layout.zarr_format is not None
    many = found.pixel_bytes is None or found.pixel_bytes > small * len(found.plan.layout.arrays)
    advice = advise(found.plan.settings) if zarr else Advice()
    if zarr and small < SMALL_CHUNK and many:
        better = _better(spec, advice)
        yield Concern(
            "chunks",
            f"A chunk has {size(small)}: under 1 MB, who reads spends more time on the way to chunks than on their "
            f"bytes.{better and f' Better: {better}.'}",
        )
    if zarr and (found.files or 0) + found.documents >= MANY_FILES:
        shards = ", ".join(f"{name} {count}" for name, count in advice.shards.items())
        more = f"shard_size_chunks of {shards} makes larger ones" if shards else "make chunks larger"
        yield Concern(
            "files",
            f"{found.files:,} files take hours to copy, list and delete, and some disks have no room for so many: "
            f"{more}.",
        )
    if memory is not None and found.peak_bytes > memory:
        yield Concern(
            "memory",
            f"Up to {size(found.peak_bytes)} of pixels will be in memory, and this machine has {size(memory)}: make "
            "chunks or shards smaller, or put the loops in an order in which fewer of them are open at a time.",
        )


def _better(spec: ArraySpec, advice: Advice) -> str:
    now = dict(zip(spec.dimension_names, spec.chunk_shape, strict=True))
    wanted = {name: count for name, count in advice.chunks.items() if count > now.get(name, count)}
    return ", ".join(f"chunk_size {count} of {name}" for name, count in wanted.items())
