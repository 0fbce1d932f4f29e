"""Given a plan, this answers: do its frames come in the order of nested loops, as those want who append?"""

from __future__ import annotations

from math import prod
from typing import Final

import numpy as np

from ome_writers.order import Segment
from ome_writers.plan import Plan

_STRETCH: Final = 65_536
"""Rows of a plan that are looked at together."""


def nesting(plan: Plan) -> tuple[int, ...]:
    """Return the axes of the arrays (but y and x), the first axis and then the others as their loops nest.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "z": 5, "c": 2, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> plan.layout.arrays[0].dimension_names, nesting(plan)
    (('t', 'c', 'z', 'y', 'x'), (0, 2, 1))
    """
    names = plan.layout.arrays[0].dimension_names[:-2]
    loops = [names.index(dim.name) for dim in plan.settings.dimensions if dim.name in names]
    return tuple(sorted(loops, key=bool))


def layer_bytes(plan: Plan) -> int:
    """Return the bytes of the frames that share a chunk along the first axis, or a shard if they are compressed.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "z": 5, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    >>> layer_bytes(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)))
    640
    """
    found = 0
    for spec in plan.layout.arrays:
        along = (spec.codec and spec.shard_shape) or spec.chunk_shape
        first = min(along[0], spec.shape[0] or along[0])
        found += first * prod(size or 1 for size in spec.shape[1:]) * np.dtype(spec.dtype).itemsize
    return found


def comes_in_turn(plan: Plan) -> bool:
    """Return whether the frames of each array come in the order of nested loops over its axes; costs all rows."""
    sizes = plan.layout.arrays[0].shape[:-2]
    if None in sizes[1:]:
        return False
    stop = plan.frames
    if stop is None:
        # The endless loop does the same each time round; from one round to the next is all there is to see.
        *before, endless = plan.segments
        stop = sum(part.frames or 0 for part in before) + 3 * (Segment(endless.rows, endless.loops[1:]).frames or 0)
    last = np.full(len(plan.layout.arrays), -1, np.int64)
    for begin in range(0, stop, _STRETCH):
        rows = plan.rows(begin, min(begin + _STRETCH, stop))
        turn = np.zeros(len(rows), np.int64)
        for axis in nesting(plan):
            turn = turn * (sizes[axis] or 1) + rows["index"][:, axis]
        by_array = np.argsort(rows["array"], kind="stable")
        array, turn = rows["array"][by_array], turn[by_array]
        new = np.diff(array, prepend=-1) != 0
        before_it = np.where(new, last[array], np.roll(turn, 1))
        if (turn <= before_it).any():
            return False
        last[array] = turn  # of several values for one place, the last one stays
    return True
