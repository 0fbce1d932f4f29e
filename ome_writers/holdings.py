"""Given which frames are planned, this answers: which arrays hold them, and which elements do their axes have?

Each combination of the indices of loops that fan out has an array, with all elements of the loops that are its axes:
that is all, where nothing is jagged. Where something is, it depends on `holes`:

1. `"dense"`: as many elements as its position and camera count; what a rule omits is a hole.
2. `"compact"`: without elements that no frame of the array has, if what is left of an axis of space or time is even.
3. `"split"`: a group of frames that fills all places of its array. The places of all frames are a box with pieces
   missing; it is cut along an axis (that of channels first) into groups of elements whose pieces are the same, and
   these in turn, until nothing is missing.

Elements of an axis are numbered as in its dimension; two loops that share an axis (cameras that are channels, really)
number them together, as digits do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.errors import Problem, SettingsError
from ome_writers.order import Loop, Rows, Segment, Weights, expand, row_dtype
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.sieve import Digits, Part

ENDLESS = range(np.iinfo(np.int32).max)
"""The elements of an axis without end: as many as an index can tell."""

Elements = range | tuple[int, ...]
"""Numbers of elements; `range` where they are even."""


@frozen
class Holding:
    """What one array holds."""

    fan: tuple[int, ...]
    """Index in each loop that fans out."""
    elements: tuple[Elements, ...]
    """Of each axis, in storage order and in the order in which they lie."""


def every(fans: Sequence[Dimension], axes: Sequence[Dimension]) -> tuple[Holding, ...]:
    """Return the arrays of an acquisition in which nothing is jagged."""
    elements = tuple(_all_of(dim) for dim in axes)
    return tuple(Holding(fan, elements) for fan in product(*(range(dim.count or 1) for dim in fans)))


def _all_of(dim: Dimension) -> range:
    return ENDLESS if dim.count is None else range(dim.count)


def held(
    settings: AcquisitionSettings,
    parts: Sequence[Part],
    fans: Sequence[Dimension],
    axes: Sequence[Dimension],
    weights: Weights,
) -> tuple[Holding, ...]:
    """Return the arrays of an acquisition that is jagged."""
    members = {
        axis.name: [
            (dim, weights[dim.name][1])
            for dim in settings.dimensions[:-2]
            if dim.name in weights and weights[dim.name][0] == axis.name
        ]
        for axis in axes
    }
    dense = []
    for fan in product(*(range(dim.count or 1) for dim in fans)):
        items = [(dim.coords or ())[k] for dim, k in zip(fans, fan, strict=True) if dim.type in ("position", "camera")]
        dense.append(Holding(fan, tuple(_together(members[axis.name], items) for axis in axes)))
    if settings.holes == "dense":
        if settings.format.name != "ome-tiff":
            return tuple(dense)
        # An image has a page at least, and of what nobody acquires there is none.
        came = np.zeros(len(dense), bool)
        for part in parts:
            came[numbers_of_fans(_written_out(part), settings.dimensions[:-2], fans)] = True
        return tuple(holding for holding, here in zip(dense, came.tolist(), strict=True) if here)
    if (
        settings.holes == "split"
        and axes
        and any(dim.count is None for dim in axes)
        and (len(parts), parts[0].step) != (1, 1)
    ):
        message = f"{settings.dimensions[0].name!r} goes on without end, and its rounds are not alike"
        raise SettingsError(
            [Problem(("holes",), "unsupported", f"{message}, so that they cannot be split; use 'dense'")]
        )
    out = []
    for holding, codes in zip(dense, _codes_by_fan(settings, parts, fans, axes, weights), strict=True):
        if not len(codes):
            continue  # nobody acquires anything there
        if settings.holes == "compact":
            out.append(Holding(holding.fan, _compact(codes, holding.elements, axes)))
        else:
            out += [Holding(holding.fan, elements) for elements in _boxes(codes, holding.elements, axes)]
    return tuple(out)


def _together(members: Sequence[tuple[Dimension, int]], items: Sequence[object]) -> Elements:
    """Return the elements of an axis that is made of some loops, each with its weight, in one array."""
    if len(members) == 1:
        return _own(members[0][0], items)
    (outer, far), (inner, near) = sorted(members, key=lambda member: -member[1])
    return _shortened(tuple(a * far + b * near for a in _own(outer, items) for b in _own(inner, items)))


def _own(loop: Dimension, items: Sequence[object]) -> Elements:
    """Return the elements of a loop that the position and the camera of an array have."""
    found: Elements = _all_of(loop)
    for item in items:
        count = getattr(item, "counts", {}).get(loop.name)
        names = getattr(item, "coords", {}).get(loop.name)
        if names and loop.type not in ("space", "time"):
            known = {getattr(coord, "name", coord): index for index, coord in enumerate(loop.coords or ())}
            found = tuple(index for index in (known[name] for name in names) if index in found)
        elif names or count:
            found = found[: len(names) if names else count]
    return found


def _codes_by_fan(
    settings: AcquisitionSettings,
    parts: Sequence[Part],
    fans: Sequence[Dimension],
    axes: Sequence[Dimension],
    weights: Weights,
) -> list[Digits]:
    """Return the elements that the frames of each combination have, each once. Shape of each (places, axes).

    Along an axis without end all of them count as 0.
    """
    loops = settings.dimensions[:-2]
    found: list[list[Digits]] = [[] for _ in product(*(range(dim.count or 1) for dim in fans))]
    for part in parts:
        digits = _written_out(part)
        fan = numbers_of_fans(digits, loops, fans)
        codes = codes_of(digits, loops, axes, weights)
        codes[:, np.array([dim.count is None for dim in axes], bool)] = 0
        order = np.argsort(fan, kind="stable")
        ends = np.cumsum(np.bincount(fan, minlength=len(found)))[:-1]
        for mine, rows in zip(found, np.split(codes[order], ends), strict=True):
            if len(rows):
                mine.append(rows)
    nothing = np.zeros((0, len(axes)), np.int64)
    return [np.unique(np.concatenate(mine), axis=0) if mine else nothing for mine in found]


def numbers_of_fans(digits: Digits, loops: Sequence[Dimension], fans: Sequence[Dimension]) -> Digits:
    """Return the number of each frame's combination of indices in the loops that fan out."""
    out = np.zeros(len(digits), np.int64)
    for dim in fans:
        out = out * (dim.count or 1) + digits[:, loops.index(dim)]
    return out


def codes_of(digits: Digits, loops: Sequence[Dimension], axes: Sequence[Dimension], weights: Weights) -> Digits:
    """Return the element of each axis that each frame has."""
    names = [axis.name for axis in axes]
    out = np.zeros((len(digits), len(axes)), np.int64)
    for column, dim in enumerate(loops):
        if dim.name in weights:
            axis, weight = weights[dim.name]
            out[:, names.index(axis)] += digits[:, column] * weight
    return out


# ── compact, split ──────────────────────────────────────────────────────────────────────────────────────────────────


def _compact(codes: Digits, whole: Sequence[Elements], axes: Sequence[Dimension]) -> tuple[Elements, ...]:
    out: list[Elements] = []
    for column, (elements, dim) in enumerate(zip(whole, axes, strict=True)):
        if elements is ENDLESS:
            out.append(elements)
            continue
        used = set(codes[:, column].tolist())
        left = _shortened(tuple(element for element in elements if element in used))
        is_even = isinstance(left, range) or dim.type not in ("space", "time")
        out.append(left if is_even else elements)
    return tuple(out)


def _shortened(elements: tuple[int, ...]) -> Elements:
    """Return elements as a range, if they are even."""
    step = elements[1] - elements[0] if len(elements) > 1 else 1
    even = range(elements[0], elements[0] + step * len(elements), step) if step > 0 else ()
    return even if tuple(even) == elements else elements


def _boxes(codes: Digits, whole: Sequence[Elements], axes: Sequence[Dimension]) -> Iterator[tuple[Elements, ...]]:
    """Yield the elements of boxes without holes that hold all codes."""
    had = [set(column) for column in codes.T.tolist()]
    used = [
        [0] if elements is ENDLESS else [element for element in elements if element in here]
        for elements, here in zip(whole, had, strict=True)
    ]
    mask = np.zeros([len(elements) for elements in used], bool)
    ranks = [{element: rank for rank, element in enumerate(elements)} for elements in used]
    mask[tuple([rank[code] for code in codes[:, k].tolist()] for k, rank in enumerate(ranks))] = True
    # Channels are the likeliest to differ, and the least to be missed from an image.
    order = sorted(range(len(axes)), key=lambda k: (axes[k].type in ("space", "time"), axes[k].type == "time"))
    for box in boxes(mask, order):
        yield tuple(
            ENDLESS if whole[k] is ENDLESS else _shortened(tuple(used[k][rank] for rank in ranks_.tolist()))
            for k, ranks_ in enumerate(box)
        )


def boxes(mask: NDArray[np.bool_], order: Sequence[int] | None = None) -> Iterator[list[NDArray[np.intp]]]:
    """Yield boxes without holes that together hold all that a mask does, if anything: indices along each axis.

    It is cut along the axes in `order`, by default the first ones first.
    """
    if mask.any():
        yield from _cut(mask, [np.arange(size) for size in mask.shape], range(mask.ndim) if order is None else order)


def _cut(
    mask: NDArray[np.bool_], box: list[NDArray[np.intp]], order: Sequence[int]
) -> Iterator[list[NDArray[np.intp]]]:
    kept = [np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis))) for axis in range(mask.ndim)]
    mask = mask[np.ix_(*kept)] if mask.ndim else mask
    box = [ranks[some] for ranks, some in zip(box, kept, strict=True)]
    if mask.all():
        yield box
        return
    # It is not the same everywhere, and so it is not along some axis.
    by_axis = ((axis, *_groups(mask, axis)) for axis in order)
    axis, first, group = next(found for found in by_axis if len(found[1]) > 1)
    for number in np.argsort(first).tolist():
        members = np.flatnonzero(group == number)
        inner = [ranks if k != axis else ranks[members] for k, ranks in enumerate(box)]
        yield from _cut(np.take(mask, members, axis), inner, order)


def _groups(mask: NDArray[np.bool_], axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where along an axis each of its slices comes first, and which of them stands at each place."""
    slices = np.moveaxis(mask, axis, 0).reshape(mask.shape[axis], -1)
    _, first, group = np.unique(slices, axis=0, return_index=True, return_inverse=True)
    return first, group.reshape(-1)


# ── frames to arrays ────────────────────────────────────────────────────────────────────────────────────────────────


class Finder:
    """Finds the array and the storage index of frames from their digits."""

    def __init__(
        self,
        loops: Sequence[Dimension],
        fans: Sequence[Dimension],
        axes: Sequence[Dimension],
        weights: Weights,
        holdings: Sequence[Holding],
    ) -> None:
        self._loops, self._fans, self._axes, self._weights = loops, fans, axes, weights
        self._holdings = holdings

    @cached_property
    def _candidates(self) -> list[NDArray[np.int64]]:
        """For each combination of the loops that fan out its first array, then its second, …; -1 if there is none."""
        sizes = [dim.count or 1 for dim in self._fans]
        out: list[NDArray[np.int64]] = []
        for array, holding in enumerate(self._holdings):
            number = int(np.ravel_multi_index(holding.fan, sizes)) if sizes else 0
            level = next((k for k, known in enumerate(out) if known[number] < 0), len(out))
            if level == len(out):
                out.append(np.full(int(np.prod(sizes, dtype=np.int64)), -1, np.int64))
            out[level][number] = array
        return out

    @cached_property
    def _ranks(self) -> list[NDArray[np.int64] | tuple[NDArray[np.int64], ...]]:
        """For each axis the rank of an element in each array (-1: not there), as a table, or as start, step, length."""
        out: list[NDArray[np.int64] | tuple[NDArray[np.int64], ...]] = []
        for k, dim in enumerate(self._axes):
            every_ = [holding.elements[k] for holding in self._holdings]
            if all(isinstance(elements, range) for elements in every_):
                columns = [(one.start, one.step, len(one)) for one in every_ if isinstance(one, range)]
                out.append(tuple(np.array(column, np.int64) for column in zip(*columns, strict=True)))
                continue
            table = np.full((len(every_), dim.count or 0), -1, np.int64)
            for array, elements in enumerate(every_):
                table[array, list(elements)] = np.arange(len(elements))
            out.append(table)
        return out

    def find(self, digits: Digits) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the array of each frame (-1: none holds it), and its storage index there."""
        fan = numbers_of_fans(digits, self._loops, self._fans)
        codes = codes_of(digits, self._loops, self._axes, self._weights)
        array = np.full(len(digits), -1, np.int64)
        index = np.zeros(codes.shape, np.int64)
        for candidates in self._candidates:
            mine = candidates[fan]
            ranks = np.empty(codes.shape, np.int64)
            for k, known in enumerate(self._ranks):
                if isinstance(known, tuple):
                    start, step, length = (column[mine] for column in known)
                    rank, rest = np.divmod(codes[:, k] - start, step)
                    ranks[:, k] = np.where((rest == 0) & (rank < length), rank, -1)
                else:
                    ranks[:, k] = known[mine, codes[:, k]]
            fits = (mine >= 0) & (array < 0) & (ranks >= 0).all(axis=1)
            array[fits], index[fits] = mine[fits], ranks[fits]
        return array, index


def tabled(settings: AcquisitionSettings, parts: Sequence[Part], finder: Finder) -> tuple[Segment, ...]:
    """Return the frame table of an acquisition that is jagged, as segments."""
    loops = settings.dimensions[:-2]
    place = next((k for k, dim in enumerate(loops) if dim.type == "position"), None)
    frames = 0
    segments = []
    for part in parts:
        rows = _rows(part.digits, place, finder, frames)
        if part.repeats == 1:
            segments.append(Segment(rows))
        elif (loop := _loop(part, rows, place, finder)) is not None:
            segments.append(Segment(rows, (loop,)))
        else:  # other arrays are not moved by as much: each round is written out
            segments.append(Segment(_rows(_written_out(part), place, finder, frames)))
        frames += len(part.digits) * (part.repeats or 1)
    return tuple(segments)


def _written_out(part: Part) -> Digits:
    """Return the digits of all rounds; of a part without end, of one."""
    if part.repeats is None or part.repeats == 1:
        return part.digits
    digits = np.repeat(part.digits[None], part.repeats, axis=0)
    digits[:, :, 0] += (np.arange(part.repeats) * part.step)[:, None]
    return digits.reshape(-1, digits.shape[2])


def _rows(digits: Digits, place: int | None, finder: Finder, first: int) -> Rows:
    array, index = finder.find(digits)
    rows = np.empty(len(digits), row_dtype(index.shape[1]))
    rows["frame"] = np.arange(first, first + len(digits))
    rows["position"] = 0 if place is None else digits[:, place]
    rows["array"], rows["index"] = array, index
    return rows


def _loop(part: Part, rows: Rows, place: int | None, finder: Finder) -> Loop | None:
    """Return the loop that a part is, if each round moves all its rows alike."""
    repeats = part.repeats

    def moved(times: int) -> Rows:
        digits = part.digits.copy()
        digits[:, 0] += times * part.step
        return _rows(digits, place, finder, int(rows["frame"][0]) + times * len(rows))

    after = moved(1)
    position, array = (int(after[name][0]) - int(rows[name][0]) for name in ("position", "array"))
    index = (after["index"][0].astype(np.int64) - rows["index"][0]).tolist()
    loop = Loop(repeats, len(rows), position, array, tuple(index))
    last = 1 if repeats is None else repeats - 1
    segment = Segment(rows, (loop,))
    known = [(1, after), (last, moved(last))] if last > 1 else [(1, after)]
    same = all(np.array_equal(expand(segment, k * len(rows), (k + 1) * len(rows)), some) for k, some in known)
    return loop if same else None
