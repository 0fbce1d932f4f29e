"""Given the folder of a dataset that is being written, or whose disk has failed: which shards are whole, what is lost?

A shard is whole if its index (at its end, with a checksum, zarr v3's `sharding_indexed`) can be read and what it names
lies within the file. What is not whole goes: with it readers would fail on the whole array, without it they find the
fill value there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.checksum import crc32c
from ome_writers.errors import NotADataset
from ome_writers.layout import ArraySpec
from ome_writers.plan import Plan
from ome_writers.readers.zarr import opened_as
from ome_writers.writer import Selection
from ome_writers.writers.zarrtree import Shape, array_key, cells, grid, ranges, stored_shape

_STRETCH: Final = 65_536
"""Rows of a plan that are looked at together."""
_ABSENT: Final = 2**64 - 1


def is_whole(path: Path, chunks: int) -> bool:
    """Return whether a file is a whole shard of so many chunks."""
    return _places(path, chunks) is not None


def _places(path: Path, chunks: int) -> list[tuple[int, int]] | None:
    """Return offset and size of the chunks in a shard, `None` if it is not whole."""
    length = 16 * chunks + 4
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(-length, os.SEEK_END)
            tail = file.read(length)
    except OSError:  # also: there are not so many bytes
        return None
    entries, checksum = tail[:-4], int.from_bytes(tail[-4:], "little")
    places = np.frombuffer(entries, "<u8").reshape(-1, 2)
    there = places[(places != _ABSENT).any(axis=1)]
    fits = (there <= size).all() and (there.sum(axis=1) <= size).all()
    return [(offset, count) for offset, count in there.tolist()] if fits and crc32c(entries) == checksum else None


def holds_all(path: Path, chunks: int) -> bool:
    """Return whether a shard is whole, and all that its index names was written.

    An engine may write an index although chunks before it failed: they are absent, or where they should be are zeros. A
    blank chunk that came counts as lost then, which on a disk that has failed is the lesser fault.
    """
    places = _places(path, chunks)
    if places is None or len(places) < chunks:
        return False
    try:
        with path.open("rb") as file:
            for offset, count in places:
                file.seek(offset)
                if not any(file.read(count)):
                    return False
    except OSError:
        return False
    return True


def remove_torn(folder: Path, spec: ArraySpec) -> None:
    """Remove the files of an array that are no whole shards."""
    chunks = _chunks(spec)
    for above, _, names in os.walk(folder / spec.path / "c"):
        for name in names:
            if not is_whole(Path(above, name), chunks):
                with contextlib.suppress(OSError):
                    Path(above, name).unlink()


def lost_frames(folder: Path, plan: Plan, specs: Sequence[ArraySpec], last: int) -> list[int]:
    """Return the frames, up to number `last`, that do not lie in whole shards. Costs all rows up to there."""
    lost: list[int] = []
    whole = cache(holds_all)
    start, came = 0, True
    while came and start != plan.frames:
        stop = start + _STRETCH if plan.frames is None else min(start + _STRETCH, plan.frames)
        rows = plan.rows(start, stop)
        rows, came, start = rows[rows["frame"] <= last], bool((rows["frame"] <= last).any()), stop
        for array in np.unique(rows["array"]).tolist():
            spec, mine = specs[array], rows[rows["array"] == array]
            at = mine["index"] // np.array(grid(spec)[:-2], np.int64)
            places = list(map(tuple, at.tolist()))
            gone = {
                place
                for place in set(places)
                if not all(whole(path, _chunks(spec)) for path in _files(folder, spec, place))
            }
            beyond = (mine["index"] >= np.array(_said_shape(folder, spec)[:-2], np.int64)).any(axis=1).tolist()
            lost += [
                frame
                for frame, place, unseen in zip(mine["frame"].tolist(), places, beyond, strict=True)
                if unseen or place in gone
            ]
    return lost


def read_whole(folder: Path, spec: ArraySpec, body: Mapping[str, Any], selection: Selection) -> NDArray[Any]:
    """Return those frames of an array that lie in whole shards, and the fill value for all others.

    `body` is the `zarr.json` of the array, whatever stands on the disk by now.
    """
    where = ranges(selection, tuple(body["shape"]))
    spans = [(part.start, part.stop) if isinstance(part, slice) else (part, part + 1) for part in where]
    out = np.full([stop - start for start, stop in spans], spec.fill_value, spec.dtype)
    array = opened_as(folder, spec.path, body)
    steps, chunks = grid(spec)[:-2], _chunks(spec)
    for place in product(*(range(a // step, -(-b // step)) for (a, b), step in zip(spans, steps, strict=False))):
        if all(is_whole(path, chunks) for path in _files(folder, spec, place)):
            edges = zip(place, steps, spans, strict=False)
            part = [*((max(at * step, a), min((at + 1) * step, b)) for at, step, (a, b) in edges), *spans[-2:]]
            target = tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(part, spans, strict=True))
            out[target] = array[tuple(slice(a, b) for a, b in part)]
    return out[tuple(slice(None) if isinstance(one, slice) else 0 for one in where)]


def _said_shape(folder: Path, spec: ArraySpec) -> Shape:
    """Return the shape that the document of an array says: what lies beyond it no reader finds."""
    try:
        return stored_shape(spec, (folder / array_key(spec)).read_bytes(), str(folder))
    except (OSError, NotADataset):
        return (0,) * len(spec.shape)


def _chunks(spec: ArraySpec) -> int:
    return prod(map(int.__floordiv__, grid(spec), spec.chunk_shape))


def _files(folder: Path, spec: ArraySpec, place: Shape) -> list[Path]:
    """Return the files that hold the frames at a place in the grid of shards."""
    frame = cells(tuple(size or 1 for size in spec.shape), spec)[-2:]
    return [folder.joinpath(spec.path, "c", *map(str, (*place, *yx))) for yx in product(*map(range, frame))]
