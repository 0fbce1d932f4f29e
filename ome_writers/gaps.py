"""Given places of a plan whose frames did not come, as stretches, this answers: which are they, and which frames?

Stretches are rows of an array, (n, 2): the first place and that behind the last. However many places one has, it is two
numbers; frames are looked up in pieces, and not at all where the plan numbers them in its own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.order import Rows, Segment, cut, expand
from ome_writers.plan import Plan

Pairs = NDArray[np.int64]
"""Shape (n, 2)."""

_PIECE: Final = 65_536
"""Rows that are looked up at once."""
_SHORT: Final = 64
"""Places of a stretch up to which it is looked up together with others."""
_BEHIND: Final = np.array([0, 1], np.int64)
"""What makes a range, of which the last is a part, a stretch."""


def as_stretches(places: Any) -> Pairs:
    """Return ascending places as stretches; stretches stay as they are.

    Examples
    --------
    >>> as_stretches([3, 4, 9]).tolist()
    [[3, 5], [9, 10]]
    """
    found = np.asarray(places, np.int64)
    return found if found.ndim == 2 else ranges_of(found) + _BEHIND  # noqa: PLR2004 - rows of two numbers


def ranges_of(numbers: NDArray[np.integer[Any]]) -> Pairs:
    """Return ascending numbers as ranges, first and last."""
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    firsts, lasts = np.r_[0, cuts][: len(numbers)], np.r_[cuts, len(numbers)][: len(numbers)] - 1
    return np.column_stack([numbers[firsts], numbers[lasts]]).astype(np.int64, copy=False)


def joined(stretches: Iterable[Any], end: int) -> Pairs:
    """Return stretches that may touch and overlap as ones in order that do not, as far as they lie below `end`.

    Examples
    --------
    >>> joined([(7, 20), (1, 3), (2, 5), (5, 6)], 9).tolist()
    [[1, 6], [7, 9]]
    """
    given = stretches if isinstance(stretches, np.ndarray) else [*stretches]
    pairs = np.asarray(given, np.int64).reshape(-1, 2)
    pairs = np.minimum(pairs[np.argsort(pairs[:, 0], kind="stable")], end)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    furthest = np.maximum.accumulate(pairs[:, 1])
    begins = np.flatnonzero(np.r_[True, pairs[1:, 0] > furthest[:-1]][: len(pairs)])
    return np.column_stack([pairs[begins, 0], furthest[np.r_[begins[1:] - 1, len(pairs) - 1][: len(begins)]]])


def places_in(stretches: Pairs) -> NDArray[np.int64]:
    """Return all places of stretches, one by one.

    Examples
    --------
    >>> places_in(np.array([[3, 5], [9, 10]])).tolist()
    [3, 4, 9]
    """
    lengths = stretches[:, 1] - stretches[:, 0]
    behind = np.cumsum(lengths)
    found: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(stretches[:, 0] - (behind - lengths), lengths)
    return found


def inside(stretches: Pairs, places: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return of each place whether it lies in one of the stretches.

    Examples
    --------
    >>> inside(np.array([[3, 5], [9, 10]]), np.array([2, 3, 4, 5, 9])).tolist()
    [False, True, True, False, True]
    """
    number = np.searchsorted(stretches[:, 0], places, "right")
    found: NDArray[np.bool_] = places < np.r_[0, stretches[:, 1]][number]
    return found


def between(places: NDArray[np.int64], end: int) -> Pairs:
    """Return the stretches below `end` in which none of the ascending places lies.

    Examples
    --------
    >>> between(np.array([0, 1, 5]), 8).tolist()
    [[2, 5], [6, 8]]
    """
    firsts, ends = np.r_[0, places + 1], np.r_[places, end]
    found: Pairs = np.column_stack([firsts, ends])[firsts < ends]
    return found


def frames_in(plan: Plan, stretches: Pairs) -> Pairs:
    """Return the numbers of the frames at all places of stretches as ranges, first and last.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "c": 2, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> frames_in(plan, np.array([[1, 10**7]])).tolist()
    [[1, 9999999]]
    """
    short, long = _by_length(stretches)
    found = [_NONE, *(ranges_of(np.sort(rows["frame"])) for rows in _looked_up(plan, short))]
    for piece in _pieces(plan, long):
        if _in_order(piece):
            first = int(piece.rows["frame"][0])
            found.append(np.array([[first, first + (piece.frames or 0) - 1]]))
        else:
            found += [ranges_of(np.sort(rows["frame"])) for rows in _written_out(piece)]
    return _merged(found)


def frames_by_array(plan: Plan, stretches: Pairs) -> tuple[tuple[Pairs, ...], NDArray[np.int64]]:
    """Return for each array the numbers of the frames at all places of stretches, as `frames_in`; and how many."""
    arrays = len(plan.layout.arrays)
    if arrays == 1:
        return (frames_in(plan, stretches),), np.array([(stretches[:, 1] - stretches[:, 0]).sum()])
    found: list[list[Pairs]] = [[_NONE] for _ in range(arrays)]
    counts = np.zeros(arrays, np.int64)
    short, long = _by_length(stretches)
    pieces = (_written_out(piece) for piece in _pieces(plan, long))
    for rows in chain(_looked_up(plan, short), *pieces):
        ordered = rows[np.lexsort((rows["frame"], rows["array"]))]
        each = np.bincount(ordered["array"], minlength=arrays)
        counts += each
        for array, frames in enumerate(np.split(ordered["frame"], np.cumsum(each)[:-1])):
            if len(frames):
                found[array].append(ranges_of(frames))
    return tuple(map(_merged, found)), counts


_NONE: Final[Pairs] = np.empty((0, 2), np.int64)


def _by_length(stretches: Pairs) -> tuple[Pairs, Pairs]:
    """Return the stretches that are best looked up place by place, many at once, and those that are not."""
    short = stretches[:, 1] - stretches[:, 0] <= _SHORT
    return stretches[short], stretches[~short]


def _looked_up(plan: Plan, short: Pairs) -> Iterator[Rows]:
    """Yield the rows of short stretches."""
    for first in range(0, len(short), _PIECE // _SHORT):
        yield plan.rows_at(places_in(short[first : first + _PIECE // _SHORT]))


def _pieces(plan: Plan, stretches: Pairs) -> Iterator[Segment]:
    """Yield the rows of stretches as segments, without writing them out."""
    for start, stop in stretches.tolist():
        begin = 0
        for segment in plan.segments:
            frames = segment.frames
            first, last = max(start - begin, 0), stop - begin if frames is None else min(stop - begin, frames)
            if first < last:
                yield from cut(segment, first, last)
            begin += frames or 0


def _in_order(piece: Segment) -> bool:
    """Return whether the frames of a segment are numbered as they follow."""
    each = len(piece.rows)
    if (np.diff(piece.rows["frame"]) != 1).any():
        return False
    for loop in reversed(piece.loops):
        if loop.frame != each and loop.repeats != 1:
            return False
        each *= loop.repeats or 1
    return True


def _written_out(piece: Segment) -> Iterator[Rows]:
    frames = piece.frames or 0
    for start in range(0, frames, _PIECE):
        yield expand(piece, start, min(start + _PIECE, frames))


def _merged(found: list[Pairs]) -> Pairs:
    pairs = np.concatenate(found)
    return joined(pairs + _BEHIND, np.iinfo(np.int64).max) - _BEHIND
