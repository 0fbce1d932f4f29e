"""Given the loops of an acquisition, this answers: which frame comes when, and where does it go?

The answer is a *frame table*, one row a frame in order of arrival, written short: as segments, each a body of rows
and the loops that repeat it. With `c` counting 3 and `z` counting 3 in a snake, the digits of the loops are

    frame 0 1 2 3 4 5 6 7 8
    c     0 0 0 1 1 1 2 2 2      q = frame // stride;  c = q % 3
    z     0 1 2 2 1 0 0 1 2      q = frame // stride;  every second pass (q // 3 odd) goes backwards

and every column of the table is a sum of digits, each times a constant: that of `position`, `array` or one `index`
axis. So a loop that moves all columns by the same amount each time it comes round need not be written out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from ome_writers.settings import Dimension

Rows = NDArray[np.void]
Weights = Mapping[str, tuple[str, int]]
"""Name of each loop that is (part of) an axis -> the name of the axis, and how far one element is from the next."""

_BODY = 16_384
"""Rows that a body has at most, where the loops allow it: more would be a waste, far fewer would make expansion
slow."""


def row_dtype(axes: int) -> np.dtype[np.void]:
    """Return the dtype of a row: its frame, position, array, and the storage index along `axes` axes."""
    return np.dtype([("frame", "<i8"), ("position", "<i4"), ("array", "<i4"), ("index", "<i4", (axes,))])


@frozen
class Loop:
    """A repetition: how often, and how far each time round moves the columns of the body."""

    repeats: int | None
    """`None`: without end; only the outermost loop of a plan's last segment may be."""
    frame: int
    position: int
    array: int
    index: tuple[int, ...]


@frozen(eq=False)
class Segment:
    """A stretch of the frame table: `rows`, repeated by `loops`, the outermost first."""

    rows: Rows
    loops: tuple[Loop, ...] = field(default=())

    @property
    def frames(self) -> int | None:
        """Number of rows when expanded, `None` if there is no end."""
        counts = [loop.repeats for loop in self.loops]
        return None if None in counts else len(self.rows) * prod(count for count in counts if count is not None)


def expand(segment: Segment, start: int, stop: int) -> Rows:
    """Return rows `start` to `stop` of a segment, written out."""
    body = len(segment.rows)
    first = start // body
    cycle = np.arange(first, -(-stop // body))
    out = np.empty((len(cycle), body), segment.rows.dtype)
    shifts = {
        name: np.zeros((len(cycle), *out.dtype[name].shape), out.dtype[name].base) for name in out.dtype.names or ()
    }
    for loop in reversed(segment.loops):
        cycle, digit = (np.zeros_like(cycle), cycle) if loop.repeats is None else np.divmod(cycle, loop.repeats)
        for name, shift in shifts.items():
            step = np.asarray(getattr(loop, name), shift.dtype)
            if step.any():
                shift[:] += digit[(slice(None), *[None] * step.ndim)].astype(shift.dtype) * step
    for name, shift in shifts.items():
        np.add(segment.rows[name][None], shift[:, None], out=out[name])
    return out.reshape(-1)[start - first * body : stop - first * body]


def cut(segment: Segment, start: int, stop: int | None) -> list[Segment]:
    """Return rows `start` to `stop` (`None`: without end) of a segment as segments, without writing them out."""
    if not segment.loops:
        rows = segment.rows[start:stop]
        return [Segment(rows)] if len(rows) else []
    outer, *rest = segment.loops
    inner = Segment(segment.rows, tuple(rest))
    each = inner.frames or 0
    (first, head), (last, tail) = divmod(start, each), (None, 0) if stop is None else divmod(stop, each)
    if first == last:
        return moved(cut(inner, head, tail), outer, first)
    pieces = moved(cut(inner, head, each), outer, first) if head else []
    whole = first + bool(head)
    if last is None or last > whole:
        again = evolve(outer, repeats=None if last is None else last - whole)
        pieces += [evolve(piece, loops=(again, *rest)) for piece in moved([inner], outer, whole)]
    return pieces + (moved(cut(inner, 0, tail), outer, last) if tail and last is not None else [])


def countable(segment: Segment) -> int:
    """Return how many rows of a segment without end have indices that fit their columns."""
    outer, *inner = segment.loops
    axis = int(np.argmax(outer.index))
    rounds = (np.iinfo(np.int32).max - int(segment.rows["index"][:, axis].max())) // outer.index[axis] + 1
    return rounds * len(segment.rows) * prod(loop.repeats or 1 for loop in inner)


def moved(segments: Sequence[Segment], loop: Loop, times: int) -> list[Segment]:
    """Return the segments as they are when `loop` has come round `times` times."""
    out = []
    for segment in segments:
        rows = segment.rows.copy()
        for name in rows.dtype.names or ():
            rows[name] += np.asarray(getattr(loop, name), rows.dtype[name].base) * times
        out.append(evolve(segment, rows=rows))
    return out


def ordered(
    loops: Sequence[Dimension], fans: Sequence[Dimension], weights: Weights, axes: Sequence[Dimension]
) -> tuple[Segment, ...]:
    """Return the frame table of nested loops, the slowest first, as segments.

    `fans` are those of the loops that choose an array, `axes` are its axes, in storage order; the `weights` say which
    loop moves which of them, and how far.
    """
    movers = _Movers(fans, weights, axes)
    return _nested(loops, movers)


@frozen
class _Movers:
    """What loops move in the table."""

    fans: Sequence[Dimension]
    weights: Weights
    axes: Sequence[Dimension]

    def step(self, dim: Dimension) -> tuple[int, ...]:
        """Return by how much the next digit of a loop moves position, array and each index."""
        names = [fan.name for fan in self.fans]
        is_fan = dim.name in names
        array = prod(fan.count or 1 for fan in self.fans[names.index(dim.name) + 1 :]) if is_fan else 0
        axis, weight = self.weights.get(dim.name, (None, 0))
        index = (weight if axis == other.name else 0 for other in self.axes)
        return (int(is_fan and dim.type == "position"), array, *index)


def _nested(loops: Sequence[Dimension], movers: _Movers) -> tuple[Segment, ...]:
    if not loops:
        return (Segment(_rows(np.zeros((1, 0), np.int64), (), len(movers.axes))),)
    if (level := next((level for level, dim in enumerate(loops) if dim.tours), None)) is not None:
        return _in_tours(loops, level, movers)
    counts = [1 if dim.count is None else dim.count for dim in loops]
    endless = loops[0].count is None
    steps = [movers.step(dim) for dim in loops]
    split = _split(loops, counts)
    if split is not None:
        body = _rows(_digits(loops, counts, split + 1, prod(counts[split + 1 :])), steps, len(movers.axes))
        repeats = [None if endless and level == 0 else counts[level] for level in range(split + 1)]
        return (Segment(body, tuple(_loop(steps[k], repeats[k], prod(counts[k + 1 :])) for k in range(split + 1))),)
    # Only two rounds of the outermost loop together are like the next two: a snake goes backwards in every second one.
    each = prod(counts[1:])
    pair = _rows(_digits(loops, [2, *counts[1:]], 0, 2 * each), steps, len(movers.axes))
    twice = tuple(2 * part for part in steps[0])
    whole = Segment(pair, (_loop(twice, None if endless else counts[0] // 2, 2 * each),))
    return (whole,) if endless else tuple(cut(whole, 0, counts[0] // 2 * 2 * each)) + _odd(whole, counts[0], each)


def _in_tours(loops: Sequence[Dimension], level: int, movers: _Movers) -> tuple[Segment, ...]:
    """Return the frame table of loops of which the one at `level` goes from tour to tour."""
    outer, places, inner = loops[:level], loops[level], loops[level + 1 :]
    turn = next((k + 1 for k, dim in enumerate(inner) if dim.name == places.tours_within), len(inner))
    step = np.array(movers.step(places))
    segments: list[Segment] = []
    frames = before = 0
    for size in places.tours or ():
        tour = Dimension(name=places.name, type="position", count=size)
        members = _nested((*inner[:turn], tour, *inner[turn:]), movers)
        segments += moved(members, _loop(tuple((before * step).tolist()), None, frames), 1)
        frames += sum(segment.frames or 0 for segment in members)
        before += size
    if all(dim.count == 1 for dim in outer):
        return tuple(segments)
    body = np.concatenate([expand(segment, 0, segment.frames or 0) for segment in segments])
    counts = [dim.count for dim in outer]
    around = [frames * prod(count or 1 for count in counts[k + 1 :]) for k in range(level)]
    steps = [movers.step(dim) for dim in outer]
    return (Segment(body, tuple(map(_loop, steps, counts, around))),)


def _odd(pairs: Segment, count: int, each: int) -> tuple[Segment, ...]:
    return tuple(moved([Segment(pairs.rows[:each])], pairs.loops[0], count // 2)) if count % 2 else ()


def _loop(step: tuple[int, ...], repeats: int | None, frames: int) -> Loop:
    position, array, *index = step
    return Loop(repeats, frames, position, array, tuple(index))


def _split(loops: Sequence[Dimension], counts: Sequence[int]) -> int | None:
    """Return the innermost loop that is not written out in the body, `None` if even the outermost must be.

    A loop qualifies if neither it nor any around it goes in a snake (the outermost cannot: it is started once), and
    if every snake within it is started an even number of times each round, so that all rounds are alike.
    """
    good: list[int] = []
    for level in range(len(loops)):
        if level and loops[level].snake:
            break
        inside = range(level + 1, len(loops))
        if all(prod(counts[level + 1 : inner]) % 2 == 0 for inner in inside if loops[inner].snake):
            good.append(level)
    short = [level for level in good if prod(counts[level + 1 :]) <= _BODY]
    return short[0] if short else good[-1] if good else None


def _digits(loops: Sequence[Dimension], counts: Sequence[int], first: int, frames: int) -> NDArray[np.int64]:
    """Return the digit of every loop for the first `frames` frames; those of the loops before `first` are 0."""
    digits = np.zeros((frames, len(loops)), np.int64)
    number = np.arange(frames)
    for level in range(first, len(loops)):
        passes, digit = np.divmod(number // prod(counts[level + 1 :]), counts[level])
        backwards = (passes % 2 == 1) & loops[level].snake
        digits[:, level] = np.where(backwards, counts[level] - 1 - digit, digit)
    return digits


def _rows(digits: NDArray[np.int64], steps: Sequence[tuple[int, ...]], axes: int) -> Rows:
    columns = digits @ np.array(steps, np.int64).reshape(len(steps), 2 + axes)
    rows = np.empty(len(digits), row_dtype(axes))
    rows["frame"] = np.arange(len(digits))
    rows["position"], rows["array"], rows["index"] = columns[:, 0], columns[:, 1], columns[:, 2:]
    return rows


def reach(segment: Segment, out: NDArray[np.int64]) -> None:
    """Raise `out` (arrays, axes) to 1 + the largest index that a segment with an end has in each array."""
    arrays, place = np.unique(segment.rows["array"], return_inverse=True)
    largest = np.full((len(arrays), out.shape[1]), -1, np.int64)
    np.maximum.at(largest, place, segment.rows["index"])
    for loop in reversed(segment.loops):
        repeats, step = loop.repeats or 1, np.array(loop.index, np.int64)
        if loop.array:
            times = np.arange(repeats)[:, None]
            arrays = (arrays + times * loop.array).reshape(-1)
            largest = (largest + (times * step)[:, None]).reshape(len(arrays), out.shape[1])
        else:
            largest += step * (repeats - 1)
    np.maximum.at(out, arrays, largest + 1)
