"""Given rows of whole numbers and the loops that repeat them, this answers: in which few runs can they be looped?

A *run* is a few rows, how often they come, and a step: row `k` of repeat `j` is `rows[k] + j * step`. Only the first
`free` columns may step (a place, a time); in the others (a channel, a camera) all repeats are alike. So

    z        0 1 2 3 4 0 1 2 3 4 0 1 2 3 4        is  3 × (0 1 2 3 4), or 3 runs of 5 × (0) with a step of 1
    time     0 0 0 0 0 1 1 1 1 1 2 2 2 2 2            with a step of 1

and that list is chosen which is the shortest to write down: a run costs its rows, and two more for its step and its
number. In detail:

1. Within the body, rows that come again after some *lag*, moved by the same amount each time, are a run; of a few
   likely lags the best is taken, and what is left over is looked at in the same way (`flat`).
2. Each loop around it either repeats the whole in one run, if its steps are all alike, cut down to the shortest period
   that divides it; or makes copies of the runs, or of the whole, of which those are joined that follow each other
   evenly; or, if that is not too much, is written out and looked at as a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

Whole = NDArray[np.int64]

_HEAD: Final = 2
"""What a run costs beside its rows, in rows."""
_LAGS: Final = 16
"""Lags that are tried: a plan has hardly more loops than that."""
_MOST: Final = 1 << 16
"""Rows that are written out where it is not certain that it helps."""


@frozen(eq=False)
class Run:
    """Rows, how often they come, and by how much each repeat is moved."""

    rows: Whole
    repeats: int | None
    """`None`: without end, which only the last run may be."""
    step: Whole


@frozen(eq=False)
class Turns:
    """A loop around rows: by how much each turn is moved, turn by turn, or evenly."""

    repeats: int | None
    step: Whole | None
    """How far each turn is from the one before, if all are alike in this and none moves a column that may not step."""
    shifts: Whole = field(factory=lambda: np.zeros((0, 0), np.int64))
    """How far each turn is from the first, if they are not."""

    def each(self) -> Whole:
        """Return how far each turn of a loop with an end is from the first."""
        return self.shifts if self.step is None else np.arange(self.repeats or 0)[:, None] * self.step


def expanded(runs: Sequence[Run]) -> Whole:
    """Return the rows of runs that have an end, written out."""
    parts = [_times(run.rows, np.arange(run.repeats or 0)[:, None] * run.step) for run in runs]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def runs_of(body: Whole, around: Sequence[Turns], free: int) -> list[Run]:
    """Return the rows of a body and the loops around it, the outermost first, as runs.

    Examples
    --------
    >>> stack = np.array([[0, 0], [0, 5], [0, 9], [0, 12]])  # of a time and a place
    >>> [run] = runs_of(stack, [Turns(repeats=1000, step=np.array([1, 0]))], free=2)
    >>> run.rows.tolist(), run.repeats, run.step.tolist()
    ([[0, 0], [0, 5], [0, 9], [0, 12]], 1000, [1, 0])
    """
    runs = flat(body, free)
    for turns in reversed(around):
        runs = _repeated(runs, turns, free) if turns.repeats != 1 else runs
    return runs


def joined(runs: Sequence[Run], free: int) -> list[Run]:
    """Return runs in which those are one that follow each other evenly."""
    out = [runs[0]]
    for run in runs[1:]:
        both = _both(out[-1], run, free)
        out[-1:] = [both] if both else [out[-1], run]
    return out


def flat(rows: Whole, free: int) -> list[Run]:
    """Return rows as runs, by the lags after which they come again."""
    lowest, chosen = len(rows) + _HEAD, None
    for lag in _likely_lags(rows, free):
        found = _stretches(rows, lag, free)
        gaps = np.diff([0, *(edge for start, count in found for edge in (start, start + count * lag)), len(rows)])[::2]
        cost = len(found) * (lag + _HEAD) + sum(int(gap) + _HEAD for gap in gaps if gap)
        if cost < lowest:
            lowest, chosen = cost, (lag, found)
    if chosen is None:
        return [_once(rows)]
    lag, found = chosen
    runs, at = [], 0
    for start, count in found:
        runs += flat(rows[at:start], free) if at < start else []
        runs.append(Run(rows[start : start + lag], count, rows[start + lag] - rows[start]))
        at = start + count * lag
    return runs + (flat(rows[at:], free) if at < len(rows) else [])


def _once(rows: Whole) -> Run:
    return Run(rows, 1, np.zeros_like(rows[0]))


def _times(rows: Whole, shifts: Whole) -> Whole:
    return (rows + shifts[:, None]).reshape(-1, rows.shape[1])


def _cost(runs: Sequence[Run]) -> int:
    return sum(len(run.rows) + _HEAD for run in runs)


def _likely_lags(rows: Whole, free: int) -> list[int]:
    """Return after how many rows a change most often comes again."""
    change = np.column_stack([np.diff(rows[:, :free], axis=0), rows[1:, free:]])
    # Sums of columns times large odd numbers tell changes apart well enough: lags are only tried.
    factors = np.array([2 * pow(6364136223846793005, number + 1, 1 << 61) + 1 for number in range(change.shape[1])])
    keys = (change * factors.astype(np.int64)).sum(axis=1)
    order = np.argsort(keys, kind="stable")
    again = keys[order][1:] == keys[order][:-1]
    lags, counts = np.unique(np.diff(order)[again], return_counts=True)
    return sorted({1, *lags[np.argsort(-counts * lags, kind="stable")][:_LAGS].tolist()})


def _stretches(rows: Whole, lag: int, free: int) -> list[tuple[int, int]]:
    """Return where rows come at least twice, `lag` apart and evenly moved, and how often; none overlap."""
    move = rows[lag:] - rows[:-lag]
    alike = (move[:, free:] == 0).all(axis=1)
    goes_on = alike[1:] & alike[:-1] & (move[1:] == move[:-1]).all(axis=1)
    starts = np.flatnonzero(alike & ~np.r_[False, goes_on][: len(alike)])
    stops = np.flatnonzero(alike & ~np.r_[goes_on, False][: len(alike)]) + 1
    long = stops - starts >= lag
    found, at = [], 0
    for first, stop in zip(starts[long].tolist(), stops[long].tolist(), strict=True):
        start = max(first, at)
        if stop - start >= lag:
            count = (stop - start) // lag + 1
            found.append((start, count))
            at = start + count * lag
    return found


def _repeated(runs: list[Run], turns: Turns, free: int) -> list[Run]:
    length = sum(len(run.rows) * (run.repeats or 0) for run in runs)
    repeats, ways = turns.repeats, []
    if turns.step is not None:
        copied = None if repeats is None else repeats * _cost(runs)
        if copied is None or copied >= length or length <= _MOST:
            ways.append([_shortest(expanded(runs), repeats, turns.step, free)])
        if copied is not None and (not ways or copied < _cost(ways[0])):
            ways.append(joined(_copies(runs, turns), free))
    else:
        ways.append(joined(_copies(runs, turns), free))
        if length * (repeats or 0) <= _MOST:
            block = expanded(runs)
            ways += [joined(_copies([_once(block)], turns), free), flat(_times(block, turns.each()), free)]
    return min(ways, key=_cost)


def _copies(runs: Sequence[Run], turns: Turns) -> list[Run]:
    return [evolve(run, rows=run.rows + shift) for shift in turns.each() for run in runs]


def _shortest(block: Whole, repeats: int | None, step: Whole, free: int) -> Run:
    """Return the turns of a loop as one run of the shortest rows whose length divides the block's."""
    twice = np.concatenate([block, block + step])
    length = len(block)
    lag = next(lag for lag in range(1, length + 1) if length % lag == 0 and _is_even(twice, lag, free))
    return Run(block[:lag], None if repeats is None else length // lag * repeats, twice[lag] - twice[0])


def _is_even(rows: Whole, lag: int, free: int) -> bool:
    """Return whether rows come again after `lag` rows, moved by the same amount throughout."""
    step = rows[lag] - rows[0]
    if step[free:].any() or (rows[lag + 1 : lag + 9] - rows[1:9][: len(rows) - lag - 1] != step).any():
        return False
    return bool((rows[lag:] - rows[:-lag] == step).all())


def _both(first: Run, second: Run, free: int) -> Run | None:
    """Return two runs as one, if the second goes on where the first ends."""
    if len(first.rows) != len(second.rows) or first.repeats is None:
        return None
    step = second.rows[0] - first.rows[0] - (first.repeats - 1) * first.step
    even = (second.rows - first.rows == second.rows[0] - first.rows[0]).all() and not step[free:].any()
    goes_on = first.repeats == 1 or (step == first.step).all()
    if not even or not goes_on or (second.repeats != 1 and (step != second.step).any()):
        return None
    repeats = None if second.repeats is None else first.repeats + second.repeats
    return Run(first.rows, repeats, step)
