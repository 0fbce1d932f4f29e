"""Given segments and the indices that are wanted along some dimensions, this answers: which rows are those?

A *column* is where a loop's index can be read from a row: an axis of `index`, `position`, or, for other loops that
choose an array, `array`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.errors import PlanError, Problem
from ome_writers.order import Loop, Segment, expand
from ome_writers.reading import Reading
from ome_writers.settings import AcquisitionSettings, Dimension

Index = int | str | slice | Sequence[int | str]
Columns = Mapping[str, tuple[str, int]]
Wanted = Mapping[str, NDArray[np.int64]]


def selected(segments: Sequence[Segment], columns: Columns, wanted: Wanted, reading: Reading) -> tuple[Segment, ...]:
    """Return what is wanted of the segments; `reading` gives the index of a loop in each row."""
    kept = []
    for segment in segments:
        piece = _written_out(_bounded(segment, columns, wanted), columns, wanted, reading)
        keep = np.ones(len(piece.rows), bool)
        for name, allowed in wanted.items():
            keep &= np.isin(reading.indices(piece.rows, name), allowed)
        if keep.any():
            kept.append(evolve(piece, rows=piece.rows[keep]))
    return tuple(kept)


def resolve(settings: AcquisitionSettings, name: str, index: Index) -> NDArray[np.int64]:
    """Return the indices along the dimension `name` that `index` means."""
    dim = next((dim for dim in settings.dimensions[:-2] if dim.name == name), None)
    if dim is None:
        names = ", ".join(repr(dim.name) for dim in settings.dimensions[:-2])
        raise PlanError([Problem((name,), "unknown", f"must be a dimension of the plan: {names or 'it has none'}")])
    if isinstance(index, slice):
        if dim.count is None and (index.stop is None or index.stop < 0 or (index.start or 0) < 0):
            raise PlanError([Problem((name,), "unsupported", f"has no end, so a slice of it needs one; got {index}")])
        return np.arange(*index.indices(index.stop if dim.count is None else dim.count))
    items: list[Any] = list(index) if isinstance(index, (list, tuple, range, np.ndarray)) else [index]
    return np.array([found for item in items for found in _indices(dim, item)], np.int64)


def _indices(dim: Dimension, item: Any) -> list[int]:
    """Return what an index or a name stands for: positions in different wells may share a name."""
    if isinstance(item, str):
        names = [getattr(coord, "name", coord) for coord in dim.coords or ()]
        if item not in names:
            raise PlanError([Problem((dim.name,), "unknown", f"must be one of {names}; got {item!r}")])
        return [number for number, name in enumerate(names) if name == item]
    if not isinstance(item, (int, np.integer)) or isinstance(item, bool):
        message = f"must be an index, a name, a slice, or a list of those; got {item!r}"
        raise PlanError([Problem((dim.name,), "invalid_type", message)])
    if item < -(dim.count or 0) or (dim.count is not None and item >= dim.count):
        allowed = "at least 0" if dim.count is None else f"from {-dim.count} to {dim.count - 1}"
        raise PlanError([Problem((dim.name,), "unknown", f"must be {allowed}; got {item}")])
    return [int(item) + (dim.count or 0) if item < 0 else int(item)]


def _bounded(segment: Segment, columns: Columns, wanted: Wanted) -> Segment:
    """Return the segment with an end, if what is wanted of its endless dimension has one."""
    if segment.frames is not None:
        return segment
    outer = segment.loops[0]
    for name, allowed in wanted.items():
        column, axis = columns[name]
        if column == "index" and outer.index[axis]:
            repeats = int(allowed.max(initial=-1)) // outer.index[axis] + 1
            return evolve(segment, loops=(evolve(outer, repeats=max(repeats, 1)), *segment.loops[1:]))
    return segment


def _written_out(segment: Segment, columns: Columns, wanted: Wanted, reading: Reading) -> Segment:
    """Return the segment with every loop written out that moves a wanted column, so that its rows can be masked."""

    def moves(loop: Loop) -> bool:
        places = [columns[name] for name in wanted]
        if loop.array and not reading.is_plain:  # another array may hold other elements
            return bool(places)
        return any(loop.index[axis] if column == "index" else getattr(loop, column) for column, axis in places)

    depth = max((level + 1 for level, loop in enumerate(segment.loops) if moves(loop)), default=0)
    if not depth:
        return segment
    # An endless loop never moves a wanted column here: `_bounded` has given it an end.
    kept = segment.loops[:1] if segment.frames is None else ()
    inner = evolve(segment, loops=segment.loops[len(kept) :])
    return Segment(expand(inner, 0, inner.frames or 0), kept)
