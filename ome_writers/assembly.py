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
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from math import gcd, lcm, prod
from typing import Final

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.layout import Unit, block_shape
from ome_writers.order import Loop, Rows, Segment, cut, expand, moved
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

_STRETCH: Final = 65_536
"""Places that are looked at together."""
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

    def open_at(self, place: int) -> dict[int, int]:
        """Return the buffers that hold a block which is open before a place, and the place at which each was opened.

        Costs the places up to there.
        """
        live: dict[int, int] = {}
        for start in range(0, place, _STRETCH):
            steps = self.rows(start, min(start + _STRETCH, place))
            for at in np.flatnonzero((steps["buffer"] >= 0) & (steps["flags"] & (OPENS | CLOSES) != 0)).tolist():
                buffer, _, flags = steps[at].tolist()
                if flags & OPENS:
                    live[buffer] = start + at
                if flags & CLOSES:
                    del live[buffer]
        return live

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
        for part in _merged([*before, *cutter.stretches(main, before, after), *after])
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


def _arrays_of(rows: Rows) -> NDArray[np.int64]:
    """Return the arrays that rows go to: `np.unique` would take 15 ms, the first time, when a run begins."""
    return np.flatnonzero(np.bincount(rows["array"]))


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

    def stretches(
        self, segment: Segment, before: Sequence[Segment] = (), after: Sequence[Segment] = ()
    ) -> list[Segment | Stretch]:
        """Return a segment as columns that repeat, and before and after them rows in cycles that are not whole.

        What repeats shares no block with the segments before and after it.
        """
        if not segment.loops:
            return [segment]
        outer, inner = segment.loops[0], Segment(segment.rows, segment.loops[1:])
        each = inner.frames or 0
        if not self._alike(inner, outer):
            rounds_apart = [moved([inner], outer, number)[0] for number in range(outer.repeats or 0)]
            return [part for one in rounds_apart for part in self.stretches(one, before, after)]
        aligned = self._alignment(outer, segment.rows, before)
        if aligned is None:
            head, turned, tail = self._turned(outer, inner)
            middle = [] if turned is None else self.stretches(turned, [*before, *head], [*tail, *after])
            return [*head, *middle, *tail] or [segment]
        begin, rounds = aligned
        if (begin, rounds) == (0, 1) and not after:
            return [self._every_round(inner, outer.repeats)]
        cycles = self._cycles(segment, begin, rounds, after)
        if cycles is not None and cycles < 2:  # noqa: PLR2004 - a single cycle repeats nothing
            return [segment]
        start = begin * each
        cycle = _all_rows(cut(segment, start, start + rounds * each))
        end = None if cycles is None else start + cycles * rounds * each
        tail = [] if end is None else cut(segment, end, segment.frames)
        return [*cut(segment, 0, start), Stretch(self.columns(cycle), cycles), *tail]

    def _alike(self, inner: Segment, outer: Loop) -> bool:
        """Say whether the arrays that the rounds of a loop go to cut alike into blocks of the same bytes."""
        rounds = outer.repeats or 1 if outer.array else 1  # millions of them may go to the same array
        arrays = _arrays_of(inner.rows) + outer.array * np.arange(rounds)[:, None]
        each = (of[arrays] for of in (self.blocks, self.shapes, self.frame_bytes))
        return all(bool((found == found[:1]).all()) for found in each)

    def _cycles(self, segment: Segment, begin: int, rounds: int, after: Sequence[Segment]) -> int | None:
        """Return how often a segment goes through whole blocks before those begin that come after it."""
        outer = segment.loops[0]
        if outer.repeats is None:
            return None
        cycles = (outer.repeats - begin) // rounds
        if after and any(outer.index):
            axis, block = self._axis(outer)
            step = outer.index[axis] * rounds
            first = min(_span(other, axis)[0] for other in after) // block * block
            high = _span(Segment(segment.rows, segment.loops[1:]), axis)[1] + (begin - rounds) * outer.index[axis]
            cycles = min(cycles, (first - 1 - high) // step)  # the last one ends before `first`
        return cycles

    def _turned(self, outer: Loop, inner: Segment) -> tuple[list[Segment], Segment | None, list[Segment]]:
        """Return the first rows of a loop, the loop begun behind them, at the edge of a block, and its last rows.

        Rounds `1 2 | 3 4 | 5 6` of the blocks `0 1`, `2 3`, … are `1`, then `2 3 | 4 5`, then `6`. There is no loop if
        that changes nothing.
        """
        axis, block = self._axis(outer)
        rows, segment = _all_rows([inner]), Segment(inner.rows, (outer, *inner.loops))
        index, grid = rows["index"][:, axis], gcd(outer.index[axis], block)
        first = int(np.argmax(index >= (int(index[0]) // grid + 1) * grid))
        if not first or (outer.repeats or 2) < 2:  # noqa: PLR2004 - what comes once has no other round to begin with
            return [], None, []
        again = moved([Segment(rows[:first])], outer, 1)
        turned = Segment(
            np.concatenate([rows[first:], again[0].rows]),
            (evolve(outer, repeats=None if outer.repeats is None else outer.repeats - 1),),
        )
        tail = [] if outer.repeats is None else moved([Segment(rows[first:])], outer, outer.repeats - 1)
        return cut(segment, 0, first), turned, tail

    def _axis(self, loop: Loop) -> tuple[int, int]:
        """Return the axis along which a loop moves, and how long blocks are there: as long in all arrays."""
        axis = next(axis for axis, step in enumerate(loop.index) if step)
        return axis, int(self.blocks[0, axis])

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

    def _alignment(self, loop: Loop, rows: Rows, before: Sequence[Segment] = ()) -> tuple[int, int] | None:
        """Return the first round of a loop that shares no block with the one before, and after how many the next is.

        Nor does it with the segments `before`. `None` if all rounds share blocks with their neighbours.
        """
        if loop.array or not any(loop.index):
            return 0, 1
        axis, block = self._axis(loop)
        step = loop.index[axis]
        reached = [
            (int(index.min()), int(index.max()))
            for array in _arrays_of(rows)
            for index in [rows["index"][rows["array"] == array, axis]]
        ]
        rounds = lcm(step, block) // step
        behind = max((_span(other, axis)[1] for other in before), default=-1) // block
        # So many rounds begin in blocks that are behind already.
        past = max(0, -((min(low for low, _ in reached) - (behind + 1) * block) // step))
        apart = (
            k
            for k in range(past, past + rounds)
            if all((high + (k - 1) * step) // block < (low + k * step) // block for low, high in reached)
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


def _span(segment: Segment, axis: int) -> tuple[int, int]:
    """Return the least and the largest index of a segment with an end along an axis."""
    index = segment.rows["index"][:, axis]
    return int(index.min()), int(index.max()) + sum(
        loop.index[axis] * ((loop.repeats or 1) - 1) for loop in segment.loops
    )


def _ravel(index: NDArray[np.int64], shape: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the C-order place of each index in its own shape."""
    out = np.zeros(len(index), np.int64)
    for axis in range(index.shape[1]):
        out = out * shape[:, axis] + index[:, axis]
    return out
