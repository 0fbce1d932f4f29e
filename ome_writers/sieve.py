"""Given the settings of a jagged acquisition, this answers: which frames are planned, in which order?

The loops run as if nothing were jagged (`order.ordered`, so that snakes and tours are as ever), and frames that nobody
plans fall through a sieve: those beyond the count of their position or camera, then those that a rule omits. What is
left is written as *digits*, one column a loop, and short:

    t        0 0 0 1 1 1 2 2 2 3 3 3 …
    omitted    x x             x x     (c = 1, 2 at every time point but each third)

The rules of the outermost loop are alike again after some rounds, once its last boundary (the end of a slice, an index,
the count of a position) is behind. So one period is looked at, and repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import lcm, prod
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.errors import Problem, SettingsError
from ome_writers.omission import Omit
from ome_writers.order import Segment, cut, expand, ordered
from ome_writers.ragged_rules import names_of
from ome_writers.selectors import Elements, elements
from ome_writers.settings import AcquisitionSettings, Dimension

Digits = NDArray[np.int64]

_MOST_ROUNDS: Final = 10_000
"""Rounds of an endless loop after which its rules must be alike again; what is written out must fit the memory."""


@frozen(eq=False)
class Part:
    """Digits of a stretch of frames, and how often it comes; each time, the outermost loop is `step` further."""

    digits: Digits
    """Shape (frames, loops), the outermost loop first."""
    repeats: int | None
    step: int


def planned(settings: AcquisitionSettings) -> tuple[Part, ...]:
    """Return the frames of an acquisition that is jagged.

    Raises
    ------
    SettingsError
        If a rule omits nothing, or all of them leave nothing.

    Examples
    --------
    >>> from ome_writers import dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 100, "c": ["DAPI", "GFP"], "y": 8, "x": 8})
    >>> settings = AcquisitionSettings(dtype="uint8", dimensions=dims, omit={"c": "GFP", "t": "1::2"})
    >>> [(part.digits.tolist(), part.repeats, part.step) for part in planned(settings)]
    [([[0, 0], [0, 1], [1, 0]], 50, 2)]
    """
    loops = settings.dimensions[:-2]
    if settings.frames is not None:
        return (Part(_within_counts(settings), 1, 0),)
    rules = [_Rule(rule, loops) for rule in settings.omit]
    parts = []
    for digits, repeats, step in _stretches(loops, _boundaries(loops, rules), _period(loops, rules)):
        kept = _kept(digits, loops)
        for rule in rules:
            kept = kept[~rule.hits(kept)]
        if len(kept):
            parts.append(Part(kept, repeats, step))
    problems = [problem for number, rule in enumerate(rules) for problem in rule.problems(number)]
    if not parts and not problems:
        problems.append(Problem(("omit",), "conflict", "the rules leave no frame to be acquired"))
    if parts and not problems and loops[0].count is None and parts[-1].repeats is not None:
        message = (
            f"the rules leave nothing of {loops[0].name!r} from some element on, though it has no end; give a count"
        )
        problems.append(Problem(("omit",), "conflict", message))
    if problems:
        raise SettingsError(problems)
    return tuple(parts)


def _within_counts(settings: AcquisitionSettings) -> Digits:
    """Return the frames that are listed one by one, once each is known to be within the count of its position."""
    frames, loops = settings.frames, settings.dimensions[:-2]
    index: Digits = np.zeros((0, len(loops)), np.int64) if frames is None else np.asarray(frames.index, np.int64)
    for owner, axis, limits, table in _limits(loops):
        mine = index[:, owner]
        known = index[:, axis] < limits[mine] if table is None else (table[mine] == index[:, axis, None]).any(axis=1)
        if not known.all():
            frame = int(np.flatnonzero(~known)[0])
            what = getattr((loops[owner].coords or ())[mine[frame]], "name", mine[frame])
            message = f"{what!r} has no element {index[frame, axis]} of {loops[axis].name!r}"
            raise SettingsError([Problem(("frames", "index", frame), "unknown", message)])
    return index


# ── the loops, written out as far as they differ ────────────────────────────────────────────────────────────────────


def _stretches(
    loops: Sequence[Dimension], boundaries: list[int | None], period: int
) -> Iterator[tuple[Digits, int | None, int]]:
    """Yield the digits of rounds of the outermost loop, how often they repeat, and by how much."""
    segments = ordered(loops, (), {dim.name: (dim.name, 1) for dim in loops}, loops)
    if loops[0].tours:  # its rounds are not of equal length
        yield _written(segments, 0, None), 1, 0
        return
    each = prod(dim.count or 1 for dim in loops[1:])
    for begin, end in pairwise(boundaries):
        first = begin or 0
        cycles = None if end is None else (end - first) // period
        left = first
        if cycles is None or cycles > 1:
            yield _written(segments, first * each, (first + period) * each), cycles, period
            left = first + (cycles or 0) * period
        if end is not None and left < end:
            yield _written(segments, left * each, end * each), 1, 0


def _written(segments: Sequence[Segment], start: int, stop: int | None) -> Digits:
    """Return the digits of frames `start` to `stop`."""
    parts, begin = [], 0
    for segment in segments:
        frames = segment.frames
        end = stop if frames is None else begin + frames
        low, high = max(start, begin), end if stop is None else min(stop, end or stop)
        if high is not None and low < high:
            parts += [expand(piece, 0, piece.frames or 0) for piece in cut(segment, low - begin, high - begin)]
        begin = end or 0
    return np.concatenate(parts)["index"].astype(np.int64)


def _period(loops: Sequence[Dimension], rules: Sequence[_Rule]) -> int:
    """Return after how many rounds of the outermost loop all is as it was, between two boundaries."""
    snakes = 2 if any(dim.snake for dim in loops[1:]) else 1
    period = lcm(snakes, *(one.step for rule in rules for one in rule.outermost))
    if period > _MOST_ROUNDS:
        message = f"the rules are alike again only after {period} rounds of {loops[0].name!r}; {_MOST_ROUNDS} at most"
        raise SettingsError([Problem(("omit",), "unsupported", message)])
    return period


def _boundaries(loops: Sequence[Dimension], rules: Sequence[_Rule]) -> list[int | None]:
    """Return the rounds of the outermost loop at which something begins or ends, ascending, and the last one's end."""
    count = loops[0].count
    found = {0}
    for rule in rules:
        for one in rule.outermost:
            # Before its first element, a slice is as it is later for one step, less that element.
            begin = max(0, one.start - one.step + 1)
            found |= {begin} if one.stop is None else {begin, one.stop}
    for owner, axis, limits, table in _limits(loops):
        if owner == 0 or (axis == 0 and table is not None):  # each round may be another
            found |= set(range(count or 0))
        elif axis == 0:
            found |= set(limits.tolist())
    inside = sorted(one for one in found if count is None or one < count)
    if count is None and inside[-1] > _MOST_ROUNDS:
        message = f"must come within the first {_MOST_ROUNDS} rounds of {loops[0].name!r}, which has no end"
        raise SettingsError([Problem(("omit",), "unsupported", f"what a rule names {message}; got {inside[-1]}")])
    return [*inside, count]


# ── the sieve ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _limits(loops: Sequence[Dimension]) -> Iterator[tuple[int, int, Digits, Digits | None]]:
    """Yield which loop (of positions or cameras) limits which other, to how many elements each of its own.

    And, for positions with lists of names, which elements these are: one row a position, -1 beyond the end.
    """
    for owner, dim in enumerate(loops):
        if dim.type not in ("position", "camera"):
            continue
        for axis, other in enumerate(loops):
            lists = [getattr(item, "coords", {}).get(other.name) for item in dim.coords or ()]
            counts = [getattr(item, "counts", {}).get(other.name) for item in dim.coords or ()]
            if not any(lists) and not any(counts):
                continue
            full = other.count or 0
            limits = [len(own) if own else count or full for own, count in zip(lists, counts, strict=True)]
            table = None
            if any(lists) and other.type not in ("space", "time"):
                names = {getattr(coord, "name", coord): index for index, coord in enumerate(other.coords or ())}
                table = np.full((len(lists), full), -1, np.int64)
                for number, (own, limit) in enumerate(zip(lists, limits, strict=True)):
                    table[number, :limit] = [names[name] for name in own] if own else np.arange(limit)
            yield owner, axis, np.array(limits, np.int64), table


def _kept(digits: Digits, loops: Sequence[Dimension]) -> Digits:
    """Return the digits that are within the counts of their position and camera, as elements of the dimensions."""
    limits = list(_limits(loops))
    keep = np.ones(len(digits), bool)
    for owner, axis, most, _ in limits:
        keep &= digits[:, axis] < most[digits[:, owner]]
    digits = digits[keep]
    for owner, axis, _, table in limits:
        if table is not None:
            digits[:, axis] = table[digits[:, owner], digits[:, axis]]
    return digits


class _Rule:
    """A rule, resolved to the columns of digits; and what came of it."""

    def __init__(self, rule: Omit, loops: Sequence[Dimension]) -> None:
        names = [dim.name for dim in loops]
        where, unless = (
            {
                names.index(name): elements(selector, dims[name].count, names_of(dims[name]))
                for name, selector in part.items()
            }
            for dims in [{dim.name: dim for dim in loops}]
            for part in (rule.where, rule.unless)
        )
        self.where: dict[int, tuple[Elements, ...]] = where
        self.unless: dict[int, tuple[Elements, ...]] = unless
        self.named = self.spared = self.omitted = False

    @property
    def outermost(self) -> tuple[Elements, ...]:
        """What it says of the outermost loop."""
        return (*self.where.get(0, ()), *self.unless.get(0, ()))

    def hits(self, digits: Digits) -> NDArray[np.bool_]:
        """Return which frames are omitted."""
        named = _all(self.where, digits)
        spared = named & _all(self.unless, digits) if self.unless else np.zeros(len(digits), bool)
        self.named |= bool(named.any())
        self.spared |= bool(spared.any())
        self.omitted |= bool((named & ~spared).any())
        return named & ~spared

    def problems(self, number: int) -> Iterator[Problem]:
        """Yield what contradicts itself, once all frames were looked at."""
        if not self.named:
            message = "no frame that is planned without it has these indices"
            yield Problem(("omit", number, "where"), "conflict", message)
        elif self.unless and not self.spared:
            message = "none of the frames that 'where' names has these indices"
            yield Problem(("omit", number, "unless"), "conflict", message)
        elif not self.omitted:
            message = "spares every frame that 'where' names, so that the rule omits nothing"
            yield Problem(("omit", number, "unless"), "conflict", message)


def _all(selected: dict[int, tuple[Elements, ...]], digits: Digits) -> NDArray[np.bool_]:
    found = np.ones(len(digits), bool)
    for axis, several in selected.items():
        found &= np.any([one.among(digits[:, axis]) for one in several], axis=0)
    return found
