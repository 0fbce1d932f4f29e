"""Given segments of a frame table, this answers: which row comes to these indices, and what stands in these rows?

The way back from an index to a row, without writing out the rows. A loop that alone moves some column (its *own*) can
be read off there:

1. From each row of the body as many rounds of each loop are taken away as its own column shows. Rows that are equal
   after that are the same row, a few rounds apart; the rest is their *key*.
2. The same is done with what is looked for. Rows of the body with its key are found by bisection; how many rounds lie
   between says which digit each loop has, and so which row it is.
3. A loop without a column of its own (a further one that chooses an array, say) is written out into the body first.

With a loop `t` of 1000 rounds around a body of c and z, (t, c, z) = (417, 1, 3) has the key (0, 1, 3), 417 rounds on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.errors import PlanError, Problem
from ome_writers.layout import Layout
from ome_writers.order import Loop, Rows, Segment
from ome_writers.reading import reading_of
from ome_writers.settings import AcquisitionSettings, Dimension

_SHOWN: Final = 12
"""Names that a message lists at most."""


def picked(
    segments: Sequence[Segment], starts: Sequence[int], places: NDArray[np.int64], dtype: np.dtype[np.void]
) -> Rows:
    """Return the rows at any places of segments that begin at `starts`, in the order in which they are given."""
    out = np.empty(len(places), dtype)
    owners = np.array(starts, np.int64).searchsorted(places, side="right") - 1
    for number in np.unique(owners).tolist():
        mine = owners == number
        out[mine] = _picked(segments[number], places[mine] - starts[number])
    return out


def _picked(segment: Segment, places: NDArray[np.int64]) -> Rows:
    cycle, row = np.divmod(places, len(segment.rows))
    out = segment.rows[row]
    for loop in reversed(segment.loops):
        cycle, digit = (np.zeros_like(cycle), cycle) if loop.repeats is None else np.divmod(cycle, loop.repeats)
        for name in out.dtype.names or ():
            step = np.asarray(getattr(loop, name))
            if step.any():
                out[name] += (digit[(slice(None), *[None] * step.ndim)] * step).astype(out[name].dtype)
    return out


def checked(places: Any, frames: int | None) -> NDArray[np.int64]:
    """Return places of a plan of so many frames as an array, once each is known to be there, and to come once.

    Raises
    ------
    PlanError
        With the first of those that are not.
    """
    try:
        given = np.asarray(places)
    except ValueError:
        given = np.empty((), object)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        message = f"must be a sequence of places, which are integers; got {places!r:.80}"
        raise PlanError([Problem(("at",), "invalid_type", message)])
    wrong = np.flatnonzero((given < 0) | (False if frames is None else given >= frames))
    if len(wrong):
        allowed = "at least 0" if frames is None else f"from 0 to {frames - 1}"
        message = f"must be {allowed}; got {given[wrong[0]]}"
        raise PlanError([Problem(("at", int(wrong[0])), "unknown", message)])
    order = np.argsort(given, kind="stable")
    again = order[1:][given[order][1:] == given[order][:-1]]
    if len(again):
        number = int(again.min())
        before = int(np.flatnonzero(given == given[number])[0])
        message = f"must come once; {given[number]} is number {before} as well"
        raise PlanError([Problem(("at", number), "repeated", message)])
    return given.astype(np.int64)


@frozen(eq=False)
class _Round:
    """A loop that can be read off a column: how often it repeats, and what one round of it moves."""

    repeats: int | None
    column: int
    step: tuple[int, ...]
    rows: int
    lowest: int
    """The least that its own column has in the body."""


@frozen(eq=False)
class _Search:
    """Rows of a body by their keys, and the loops around it."""

    loops: tuple[_Round, ...]
    first: tuple[int, ...]
    sizes: tuple[int, ...]
    """Range of the keys along each column."""
    keys: NDArray[np.int64]
    """Ascending."""
    rounds: NDArray[np.int64]
    """For each row, how many rounds of each loop were taken away."""
    places: NDArray[np.int64]
    """For each row its place, once the loops are at their beginning."""

    def find(self, where: Sequence[int]) -> int | None:
        """Return the place of the row with this array and index; `where` names both, the array first."""
        rounds = [(where[loop.column] - loop.lowest) // loop.step[loop.column] for loop in self.loops]
        rest = list(where)
        for loop, turns in zip(self.loops, rounds, strict=True):
            rest = [value - turns * step for value, step in zip(rest, loop.step, strict=True)]
        key = 0
        for value, first, size in zip(rest, self.first, self.sizes, strict=True):
            if not 0 <= value - first < size:
                return None
            key = key * size + value - first
        begin, end = np.searchsorted(self.keys, [key, key + 1]).tolist()
        for row in range(begin, end):
            digits = [turns - taken for turns, taken in zip(rounds, self.rounds[row].tolist(), strict=True)]
            turned = list(zip(self.loops, digits, strict=True))
            if all(digit >= 0 and (loop.repeats is None or digit < loop.repeats) for loop, digit in turned):
                return int(self.places[row] + sum(digit * loop.rows for loop, digit in turned))
        return None


def _searches(segments: Sequence[Segment]) -> list[_Search]:
    """Return what finds the rows of segments; those without loops are searched together."""
    starts = [0, *accumulate(segment.frames or 0 for segment in segments)]
    plain = [(part, start) for part, start in zip(segments, starts, strict=False) if not part.loops]
    found = [_search(part, start) for part, start in zip(segments, starts, strict=False) if part.loops]
    if plain:
        places = np.concatenate([start + np.arange(len(part.rows)) for part, start in plain])
        found.append(_searched(_columns(np.concatenate([part.rows for part, _ in plain])), places, ()))
    return found


def _columns(rows: Rows) -> NDArray[np.int64]:
    return np.column_stack([rows["array"], rows["index"]]).astype(np.int64)


def _search(segment: Segment, start: int) -> _Search:
    loops = [
        (loop, (loop.array, *loop.index), Segment(segment.rows, segment.loops[k + 1 :]).frames or 0)
        for k, loop in enumerate(segment.loops)
    ]
    body, places = _columns(segment.rows), start + np.arange(len(segment.rows))
    kept = _readable(segment.loops)
    for loop, step, rows in loops:
        if loop not in kept:
            turns = np.arange(loop.repeats or 1)
            body = (turns[:, None, None] * np.array(step) + body).reshape(-1, body.shape[1])
            places = (turns[:, None] * rows + places).reshape(-1)
    lowest = body.min(axis=0).tolist()
    return _searched(
        body,
        places,
        tuple(
            _Round(loop.repeats, kept[loop], step, rows, lowest[kept[loop]])
            for loop, step, rows in loops
            if loop in kept
        ),
    )


def _readable(loops: Sequence[Loop]) -> dict[Loop, int]:
    """Return the loops that have a column which no other of them moves, and that column; the longest come first."""
    kept: dict[Loop, int] = {}
    moved: set[int] = set()
    for loop in sorted(loops, key=lambda loop: (loop.repeats is not None, -(loop.repeats or 0))):
        moves = {column for column, step in enumerate((loop.array, *loop.index)) if step}
        own = moves - moved
        if own and not moves & set(kept.values()):
            kept[loop] = min(own)
            moved |= moves
    return kept


def _searched(body: NDArray[np.int64], places: NDArray[np.int64], loops: tuple[_Round, ...]) -> _Search:
    rounds = np.empty((len(body), len(loops)), np.int64)
    for number, loop in enumerate(loops):
        rounds[:, number] = (body[:, loop.column] - loop.lowest) // loop.step[loop.column]
    rest = body.copy()
    for number, loop in enumerate(loops):
        rest -= rounds[:, number, None] * np.array(loop.step)
    first = rest.min(axis=0)
    sizes = rest.max(axis=0) - first + 1
    keys = np.zeros(len(body), np.int64)
    for column, size in enumerate(sizes):
        keys = keys * size + rest[:, column] - first[column]
    order = np.argsort(keys, kind="stable")
    return _Search(loops, tuple(first.tolist()), tuple(sizes.tolist()), keys[order], rounds[order], places[order])


class Places:
    """Finds the place of a frame from its index or name in every loop, and back.

    Made once for a plan; what it finds in is made when it is first asked.
    """

    def __init__(self, settings: AcquisitionSettings, layout: Layout, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self.reading = reading_of(settings, layout)
        self._loops = {dim.name: dim for dim in settings.dimensions[:-2]}
        self._by_name: dict[str, dict[str, tuple[int, ...]]] = {}

    @cached_property
    def columns(self) -> dict[str, tuple[str, int]]:
        """Name of each loop -> the column of the frame table that its index can be read from, and where in it."""
        fans = {
            name: ("position" if self._loops[name].type == "position" else "array", 0) for name in self.reading.fans
        }
        return {name: ("index", axis) for name, axis in self.reading.axes.items()} | fans

    @cached_property
    def _searches(self) -> list[_Search]:
        return _searches(self._segments)

    def indices(self, name: str, item: Any) -> tuple[int, ...]:
        """Return which elements of a dimension an index or a name means: of those in different wells, one name may.

        Raises
        ------
        PlanError
            If there is no such dimension, index or name.
        """
        dim = self._loops.get(name)
        if dim is None:
            known = ", ".join(map(repr, self._loops)) or "it has none"
            raise _problem(name, "unknown", f"must be a dimension of the plan: {known}")
        if isinstance(item, str):
            names = self._names(dim)
            if not names:
                raise _problem(name, "invalid_type", f"has no names, so it takes an index; got {item!r}")
            if item not in names:
                known = ", ".join([*map(repr, list(names)[:_SHOWN]), *["…"][: len(names) > _SHOWN]])
                raise _problem(name, "unknown", f"must be one of {known}; got {item!r}")
            return names[item]
        if not isinstance(item, (int, np.integer)) or isinstance(item, bool):
            which = "an index or a name" if self._names(dim) else "an index, for it has no names"
            raise _problem(name, "invalid_type", f"must be {which}; got {item!r:.80}")
        if item < 0 or (dim.count is not None and item >= dim.count):
            allowed = "at least 0" if dim.count is None else f"from 0 to {dim.count - 1}"
            raise _problem(name, "unknown", f"must be {allowed}; got {item}")
        return (int(item),)

    def label(self, name: str, index: int) -> str:
        """Return what an element of a dimension is called."""
        coords = self._loops[name].coords or ()
        return str(getattr(coords[index], "name", coords[index])) if coords else str(index)

    def _names(self, dim: Dimension) -> dict[str, tuple[int, ...]]:
        """Return the indices of a dimension by name; what is numbers to a dimension is no name."""
        if dim.name not in self._by_name:
            found: dict[str, tuple[int, ...]] = {}
            for index, coord in enumerate(dim.coords or ()):
                label = getattr(coord, "name", coord)
                if isinstance(label, str):
                    found[label] = (*found.get(label, ()), index)
            self._by_name[dim.name] = found
        return self._by_name[dim.name]

    def find(self, wanted: Mapping[str, Any]) -> int:
        """Return the place of the frame with these indices; loops that go round once may be left out.

        Raises
        ------
        PlanError
            With all that is missing, unknown or means several, or if no such frame is planned.
        """
        problems: list[Problem] = []
        at: dict[str, int] = {}
        for name, item in wanted.items():
            try:
                found = self.indices(name, item)
            except PlanError as error:
                problems += error.problems
                continue
            if len(found) > 1:
                several = ", ".join(map(str, found[:_SHOWN]))
                message = f"{item!r} is the name of several; say which by its index: {several}"
                problems.append(Problem((name,), "ambiguous", message))
            at[name] = found[0]
        for name, dim in self._loops.items():
            if name not in wanted and dim.count != 1:
                problems.append(Problem((name,), "missing", "must be given, as an index or a name"))
        if problems:
            raise PlanError(problems)
        where = self.reading.places(at)
        place = next((place for array, index in where if (place := self.at(array, index)) is not None), None)
        if place is None:
            said = " ".join(f"{name}={at.get(name, 0)}" for name in self._loops)
            raise PlanError([Problem((), "unknown", f"no frame is planned at {said}")])
        return place

    def at(self, array: int, index: Sequence[int]) -> int | None:
        """Return the place of the frame that goes to an index of an array, `None` if none does."""
        where = (array, *index)
        for search in self._searches:
            if (place := search.find(where)) is not None:
                return place
        return None


def _problem(name: str, kind: str, message: str) -> PlanError:
    return PlanError([Problem((name,), kind, message)])
