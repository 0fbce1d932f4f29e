"""Acquisitions that writers of OME-Zarr are tried on, and what puts them through a writer: runs, or bare blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.documents import Outcome, Stamp, documents
from ome_writers.items import Position
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.run import Run
from ome_writers.settings import AcquisitionSettings, Plate
from ome_writers.shorthand import dims_from_standard_axes
from ome_writers.writer import Block, Writer

STAMP: Final = Stamp(
    datetime(2026, 11, 22, tzinfo=UTC), tuple(f"0b6c1d1e-3f0a-4c2e-9a3e-{number:012}" for number in range(9))
)
"""A known time, and known names, so that equal runs leave equal documents."""
_WELLS = [
    Position(name="a", plate_row="A", plate_column="1"),
    Position(name="b", plate_row="A", plate_column="1"),
    Position(name="c", plate_row="B", plate_column="2"),
]
_PLATE = Plate(row_names=["A", "B"], column_names=["1", "2"])
_YX = {"y": 6, "x": 5}


def zarr_plan(sizes: Mapping[str, Any], *, chunks: Any = None, shards: Any = None, **settings: Any) -> Plan:
    """Return a plan of uint16 frames for OME-Zarr.

    Examples
    --------
    >>> zarr_plan({"t": 4, "y": 8, "x": 8}, chunks={"t": 2}).layout.arrays[0].chunk_shape
    (2, 8, 8)
    """
    dims = dims_from_standard_axes(dict(sizes), chunk_shapes=chunks, shard_shapes=shards)
    return compile(AcquisitionSettings(root_path="a.zarr", dimensions=dims, **({"dtype": "uint16"} | settings)))


@cache
def zarr_runs() -> Mapping[str, tuple[Plan, int, frozenset[int]]]:
    """Return acquisitions of frames of (6, 5): a plan, how many frames come to it, and which of them do not."""
    shards = {"t": 2, "z": 4, "y": 2}
    few: dict[str, tuple[Plan, int, set[int]]] = {
        "single": (zarr_plan({"t": 3, "c": 2, **_YX}), 6, set()),
        "no axes": (zarr_plan(_YX), 1, set()),
        "positions": (zarr_plan({"t": 3, "p": 2, "c": ["DAPI", "GFP"], **_YX}), 12, set()),
        "plate": (zarr_plan({"t": 2, "p": _WELLS, **_YX}, plate=_PLATE), 6, set()),
        "chunk over frames": (zarr_plan({"t": 5, "c": 3, **_YX}, chunks={"t": 2, "c": 2, "y": 4}), 15, set()),
        "shards": (zarr_plan({"t": 5, "z": 4, **_YX}, chunks={"y": 3}, shards=shards), 20, set()),
        "unbounded": (zarr_plan({"t": None, "p": 2, "c": 2, **_YX}, chunks={"t": 3}), 17, set()),
        "skipped": (zarr_plan({"t": 6, "c": 2, **_YX}, chunks={"t": 3}), 12, {0, 3, 4, 11}),
        "skipped at the end": (zarr_plan({"t": None, "c": 2, **_YX}, chunks={"t": 3}), 20, {*range(7, 20)}),
        "stopped": (zarr_plan({"t": 9, "p": 2, "z": 2, **_YX}, chunks={"t": 2}, shards={"t": 2}), 14, {2}),
        "one position only": (zarr_plan({"p": 3, "t": 4, **_YX}), 5, set()),
        "nothing came": (zarr_plan({"t": None, "c": 2, **_YX}, shards={"t": 4}), 0, set()),
        "reordered": (zarr_plan({"t": 3, "z": 3, "c": 2, **_YX}, shards={"z": 2, "c": 2}), 18, {5}),
    }
    return {name: (plan, number, frozenset(missing)) for name, (plan, number, missing) in few.items()}


def begun(writer: Writer, root: Path, plan: Plan) -> Run:
    """Open a writer and return the run that takes its frames."""
    run = Run(plan, writer, str(root), STAMP)
    writer.open(str(root), plan, documents(plan, STAMP, Outcome(writer=writer.capabilities.name, root=str(root))))
    return run


def run_through(writer: Writer, root: Path, plan: Plan, frames: Sequence[NDArray[Any] | None]) -> Outcome:
    """Run frames through a writer at a known time; all of them lie in one buffer when they are handed over."""
    run = begun(writer, root, plan)
    buffer = np.empty([dim.count or 1 for dim in plan.settings.frame_dimensions], plan.settings.dtype)
    for frame in frames:
        if frame is None:
            run.skip()
        else:
            buffer[:] = frame
            run.take(buffer)
            buffer[:] = 0
    return run.close()


def whole_blocks(plan: Plan, array: int, data: NDArray[Any]) -> Iterator[Block]:
    """Yield the whole blocks of an array, all in one buffer that is overwritten after each."""
    spec = plan.layout.arrays[array]
    grid = (spec.shard_shape or spec.chunk_shape)[:-2]
    buffer = np.empty((*grid, *data.shape[-2:]), data.dtype)
    for start in product(*(range(0, size, step) for size, step in zip(data.shape, grid, strict=False))):
        piece = data[tuple(slice(first, first + step) for first, step in zip(start, grid, strict=True))]
        block = buffer.reshape(-1)[: piece.size].reshape(piece.shape)
        block[:] = piece
        yield Block((start[0],), array, start, block)
        buffer[:] = 0


def random_pixels(shape: tuple[int, ...], dtype: str = "uint16") -> NDArray[Any]:
    """Return pixels that are never 0 (but for `bool`), the same each time.

    Examples
    --------
    >>> int(random_pixels((3, 4, 5)).min()) > 0
    True
    """
    numbers = np.random.default_rng(0).integers(1, 200, shape)
    return (numbers % 2 == 0) if dtype == "bool" else numbers.astype(dtype)


def files_below(root: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its path there."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
