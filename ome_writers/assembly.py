"""Given a plan and a unit of writing, this answers: how do frames make up chunks or shards, in how much memory?

1. A *block* is a chunk (or shard) with all its pixels in y and x, cut off at the array's edge. It opens at its first
   planned row and closes at its last one, so frames that are never planned, and edges, need no case of their own.
2. An open block has a buffer. Buffers are given out like registers: the lowest free number when a block opens, back
   when it closes. So the most memory that a run can need is known before it starts.
3. The columns repeat as the plan does, once the outermost loop has gone through a whole number of blocks. No block
   spans two such cycles, and nothing moves from one to the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate
from math import lcm, prod
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.layout import Unit, block_shape
from ome_writers.order import Loop, Rows, Segment, cut, expand
from ome_writers.plan import Plan

OPENS: Final = 1
"""The row is the first of its block."""
CLOSES: Final = 2
"""The row is the last planned one of its block."""
GROWS: Final = 4
"""The row may be the first in its array to need this much of the axis without end; never in a plan with an end."""
HOLES: Final = 8
"""The row opens a block of which some places are never planned, so that they must be filled."""

STEP_DTYPE: Final = np.dtype([("buffer", "<i4"), ("slot", "<i4"), ("flags", "u1")])

_NO_END: Final = np.iinfo(np.int64).max


@frozen(eq=False)
class Stretch:
    """Columns of some rows, and how often they come (`None`: without end)."""

    columns: Rows
    repeats: int | None


@frozen(eq=False, slots=False)
class Assembly:
    """For each row of a plan: the buffer and slot that its frame goes to, and whether it opens or closes a block.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "c": 2, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> assembly = assemble(plan, "chunk")
    >>> [tuple(row) for row in assembly.rows(0, 4).tolist()]
    [(0, 0, 1), (1, 0, 1), (0, 1, 2), (1, 1, 2)]
    >>> assembly.peak_bytes
    256
    """

    plan: Plan
    unit: Unit
    stretches: tuple[Stretch, ...]
    buffer_bytes: tuple[int, ...]
    """Size of each buffer."""

    @property
    def peak_bytes(self) -> int:
        """The most bytes that buffers take in a run, whatever its length."""
        return sum(self.buffer_bytes)

    def block_shape(self, array: int) -> tuple[int, ...]:
        """Return the shape of a block of that array that no edge cuts off."""
        return block_shape(self.plan.layout.arrays[array], self.unit)

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Return the columns of places `start` to `stop`, read-only; costs the stretch asked for.

        Returns
        -------
        A record array with `buffer` (-1 for a row that is a block by itself, and needs none), `slot` (C-order place
        of the frame in the block, as the array's edge cuts it) and `flags` (`OPENS`, `CLOSES`, `GROWS`, `HOLES`).

        Raises
        ------
        IndexError
            If the stretch leaves the plan.
        """
        stop = self.plan.stretch(start, stop)
        parts = []
        for stretch, begin in zip(self.stretches, self._starts, strict=True):
            length = len(stretch.columns)
            end = None if stretch.repeats is None else begin + length * stretch.repeats
            a, b = max(start, begin) - begin, (stop if end is None else min(stop, end)) - begin
            if a < b:
                first = a // length
                parts.append(np.tile(stretch.columns, -(-b // length) - first)[a - first * length : b - first * length])
        out = np.concatenate(parts) if parts else np.empty(0, STEP_DTYPE)
        out.flags.writeable = False
        return out

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(part.columns) * (part.repeats or 0) for part in self.stretches)][
            : len(self.stretches)
        ]


def assemble(plan: Plan, unit: Unit) -> Assembly:
    """Return how the frames of a plan make up blocks of a unit; pure, and costs one cycle of the plan.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 5, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> assemble(plan, "chunk").rows(0, 5)["slot"].tolist()
    [0, 1, 0, 1, 0]
    """
    cutter = _Cutter(plan, unit)
    if not plan.segments:
        return Assembly(plan, unit, (), ())
    # All but the longest segment are the odd rows before and after it.
    longest = max(range(len(plan.segments)), key=lambda k: _NO_END if (n := plan.segments[k].frames) is None else n)
    before, main, after = plan.segments[:longest], plan.segments[longest], plan.segments[longest + 1 :]
    parts = [
        Stretch(cutter.columns(_all_rows(part)), 1) if isinstance(part, list) else part
        for part in _merged([*before, *cutter.stretches(main), *after])
    ]
    return Assembly(plan, unit, tuple(parts), cutter.buffer_bytes())


def peak_bytes(plan: Plan, unit: Unit) -> int:
    """Return the most bytes that buffers take in a run whose writer wants blocks of a unit.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 5, "c": 3, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> peak_bytes(plan, "chunk")  # three chunks of two frames are open at a time
    384
    """
    return assemble(plan, unit).peak_bytes


def _all_rows(segments: Iterable[Segment]) -> Rows:
    return np.concatenate([expand(segment, 0, segment.frames or 0) for segment in segments])


def _merged(parts: Iterable[Segment | Stretch]) -> list[list[Segment] | Stretch]:
    """Return the parts with neighbouring segments in one list, since blocks may span them."""
    out: list[list[Segment] | Stretch] = []
    for part in parts:
        if isinstance(part, Stretch):
            out.append(part)
        elif out and isinstance(out[-1], list):
            out[-1].append(part)
        else:
            out.append([part])
    return out


class _Cutter:
    """Cuts rows into blocks; collects how large the buffers must be."""

    def __init__(self, plan: Plan, unit: Unit) -> None:
        arrays = plan.layout.arrays
        self.blocks = np.array([block_shape(spec, unit)[:-2] for spec in arrays], np.int64).reshape(len(arrays), -1)
        self.shapes = np.array([[size or _NO_END for size in spec.shape[:-2]] for spec in arrays], np.int64).reshape(
            self.blocks.shape
        )
        self.frame_bytes = np.array(
            [prod(block_shape(spec, "frame")) * np.dtype(spec.dtype).itemsize for spec in arrays], np.int64
        )
        self.endless = next((axis for axis, size in enumerate(arrays[0].shape) if size is None), None)
        self.sizes: list[int] = []

    def buffer_bytes(self) -> tuple[int, ...]:
        return tuple(self.sizes)

    # ── the cycle ───────────────────────────────────────────────────────────────────────────────────────────────────

    def stretches(self, segment: Segment) -> list[Segment | Stretch]:
        """Return a segment as columns that repeat, and before and after them rows in cycles that are not whole."""
        if not segment.loops:
            return [segment]
        outer, inner = segment.loops[0], Segment(segment.rows, segment.loops[1:])
        each = inner.frames or 0
        aligned = self._alignment(outer, segment.rows)
        if aligned is None:
            return [segment]
        begin, rounds = aligned
        if rounds == 1:
            return [self._every_round(inner, outer.repeats)]
        cycles = None if outer.repeats is None else (outer.repeats - begin) // rounds
        if cycles is not None and cycles < 2:  # noqa: PLR2004 - a single cycle repeats nothing
            return [segment]
        start = begin * each
        cycle = _all_rows(cut(segment, start, start + rounds * each))
        end = None if cycles is None else start + cycles * rounds * each
        tail = [] if end is None else cut(segment, end, segment.frames)
        return [*cut(segment, 0, start), Stretch(self.columns(cycle), cycles), *tail]

    def _every_round(self, inner: Segment, repeats: int | None) -> Stretch:
        """Return the columns of a loop each round of which opens and closes its own blocks."""
        parts = _merged(self.stretches(inner))
        if len(parts) == 1 and isinstance(parts[0], Stretch):
            again = None if repeats is None else repeats * (parts[0].repeats or 1)
            return Stretch(parts[0].columns, again)
        written = [
            self.columns(_all_rows(part)) if isinstance(part, list) else np.tile(part.columns, part.repeats or 1)
            for part in parts
        ]
        return Stretch(np.concatenate(written), repeats)

    def _alignment(self, loop: Loop, rows: Rows) -> tuple[int, int] | None:
        """Return the first round of a loop that shares no block with the one before, and after how many the next is.

        `None` if all rounds share blocks with their neighbours.
        """
        if loop.array or not any(loop.index):
            return 0, 1
        axis = next(axis for axis, step in enumerate(loop.index) if step)
        step = loop.index[axis]
        reached = [
            (int(self.blocks[array, axis]), int(index.min()), int(index.max()))
            for array in np.unique(rows["array"])
            for index in [rows["index"][rows["array"] == array, axis]]
        ]
        rounds = lcm(*(lcm(step, block) // step for block, _, _ in reached))
        apart = (
            k
            for k in range(rounds)
            if all((high + (k - 1) * step) // block < (low + k * step) // block for block, low, high in reached)
        )
        begin = next(apart, None)
        return None if begin is None else (begin, rounds)

    # ── rows written out ────────────────────────────────────────────────────────────────────────────────────────────

    def columns(self, rows: Rows) -> Rows:
        """Return buffer, slot and flags of rows that share no block with others."""
        array, index = rows["array"], rows["index"].astype(np.int64)
        start = index // self.blocks[array] * self.blocks[array]
        extent = np.minimum(self.blocks[array], self.shapes[array] - start)
        keys = np.column_stack([array, start])
        _, first, block, planned = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
        last = np.zeros(len(first), np.int64)
        np.maximum.at(last, block := block.reshape(-1), np.arange(len(rows)))
        room = extent[first].prod(axis=1)
        out = np.zeros(len(rows), STEP_DTYPE)
        out["slot"] = _ravel(index - start, extent)
        out["flags"][first] |= OPENS
        out["flags"][last] |= CLOSES
        out["flags"][first[planned < room]] |= HOLES
        if self.endless is not None:
            grown = np.unique(np.column_stack([array, start[:, self.endless]]), axis=0, return_index=True)[1]
            out["flags"][grown] |= GROWS
        out["buffer"] = self._buffers(first, last, room, room * self.frame_bytes[array[first]])[block]
        return out

    def _buffers(
        self, first: NDArray[np.int64], last: NDArray[np.int64], room: NDArray[np.int64], size: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Return the buffer of each block: the lowest that is free when it opens, -1 for a block of one frame."""
        buffers = np.full(len(first), -1, np.int32)
        large = np.flatnonzero(room > 1)
        free: list[int] = []
        open_blocks: list[tuple[int, int]] = []
        given = 0
        for block in large[np.argsort(first[large])].tolist():
            while open_blocks and open_blocks[0][0] < first[block]:
                heapq.heappush(free, heapq.heappop(open_blocks)[1])
            if free:
                number = heapq.heappop(free)
            else:
                number, given = given, given + 1
            heapq.heappush(open_blocks, (int(last[block]), number))
            buffers[block] = number
            self.sizes += [0] * (number + 1 - len(self.sizes))
            self.sizes[number] = max(self.sizes[number], int(size[block]))
        return buffers


def _ravel(index: NDArray[np.int64], shape: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the C-order place of each index in its own shape."""
    out = np.zeros(len(index), np.int64)
    for axis in range(index.shape[1]):
        out = out * shape[:, axis] + index[:, axis]
    return out
