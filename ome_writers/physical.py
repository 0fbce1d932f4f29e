"""Given a plan, this answers: where is the stage at each frame, and what time is it, in numbers that can be added up?

Every loop of an acquisition adds its part to the columns of a frame: a position its place, a plane its depth, a time
point its time. Parts are whole nanoseconds and picometers, so a million of them add up exactly, in a table as in the
counter of a controller: element `i` of an even loop lies `i` rounded steps from the first. What the settings do not
say, or what is too large to count (1,000 km, 36 years), is counted apart and is NaN in the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.axes import Axis, axis_of, stage_axes
from ome_writers.cycles import Turns, Whole
from ome_writers.items import Channel
from ome_writers.omission import Frames
from ome_writers.order import Rows, Segment, expand
from ome_writers.plan import Plan
from ome_writers.reading import Reading
from ome_writers.settings import Dimension
from ome_writers.units import METERS, SECONDS

# Columns of whole numbers. Those before `CHANNEL` may step from one repeat of a run to the next. `EXPOSURE` is 0 where
# nobody says it, else 1 more than it is. Those called `UNSAID` count what is not known of a value; `TICK`
# and `PLANE` number what has a time and a depth, known or not.
FRAME, POSITION, TIME, X, Y, Z, CHANNEL, CAMERA, EXPOSURE = range(9)
TIME_UNSAID, X_UNSAID, Y_UNSAID, Z_UNSAID, TICK, PLANE = range(9, 15)
WIDTH: Final = 15
"""How many columns there are."""
FREE: Final = CHANNEL
"""How many columns may step."""
PUBLISHED: Final = TICK
"""How many columns, from the first, make the triggers."""

NANO: Final = 1e9
"""Nanoseconds in a second."""
PICO: Final = 1e6
"""Picometers in a micrometer."""
_MOST: Final = 2**60
"""Where a number of nanoseconds or picometers that is given ends to be known."""


def parts(plan: Plan) -> list[tuple[Whole, list[Turns]]]:
    """Return the segments of a plan in numbers: a body, and the loops around it, the outermost first."""
    world = world_of(plan)
    return [world.part(segment) for segment in plan.segments if segment.frames != 0]


def channels_of(dims: Sequence[Dimension]) -> Dimension | None:
    """Return the loop that chooses the channel: no loop without end does, since no hardware has so many."""
    return next((dim for dim in dims if dim.type == "channel" and dim.count is not None), None)


@frozen(eq=False)
class Part:
    """What a loop adds to the columns: by a table, or `first` and so many `step`s."""

    name: str
    table: Whole | None
    first: Whole
    step: Whole
    within: str | None = None
    """Name of the loop that chooses which stretch of the table counts, if one does."""
    stretch: int = 0

    def of(self, digits: Whole) -> Whole:
        """Return what it adds at the given indices."""
        if self.table is not None:
            return self.table[digits]
        if int(digits.max(initial=0)) * int(np.abs(self.step).max()) >= 4 * _MOST:
            raise IndexError(f"times and places are counted for 146 years and 4,600 km, which {self.name!r} leaves")
        return self.first + digits[:, None] * self.step


@frozen(eq=False)
class World:
    """What all loops of a plan add to the columns, and where in its rows their indices stand."""

    parts: tuple[Part, ...]
    base: Whole
    reading: Reading
    listed: tuple[tuple[int, int, Whole, NDArray[np.bool_]], ...] = ()
    """What a list of frames says of each, by number: column, column of what is not known, values, which are known."""
    exposures: Whole | None = None
    """And their exposures, as the column has them."""

    def digits(self, rows: Rows, part: Part) -> Whole:
        """Return the index in the loop of a part for each row."""
        found = self.reading.indices(rows, part.name)
        return found if part.within is None else found + part.stretch * self.reading.indices(rows, part.within)

    def numbers(self, rows: Rows) -> Whole:
        """Return the columns of rows."""
        out = np.tile(self.base, (len(rows), 1))
        for part in self.parts:
            out += part.of(self.digits(rows, part))
        out[:, FRAME] = rows["frame"]
        for column, unsaid, values, known in self.listed:
            here = known[rows["frame"]]
            out[here, column], out[here, unsaid] = values[rows["frame"]][here], 0
        if self.exposures is not None:
            told = self.exposures[rows["frame"]]
            out[:, EXPOSURE] = np.where(told > 0, told, out[:, EXPOSURE])
        return out

    def part(self, segment: Segment) -> tuple[Whole, list[Turns]]:
        """Return the body of a segment and the loops around it, in numbers."""
        around: list[Turns] = []
        varied = self._varied(segment.rows)
        for level in range(len(segment.loops))[::-1]:
            loop = segment.loops[level]
            if loop.repeats == 1:
                continue
            two = self._turns(segment, level, 2)
            moved = self._varied(two)
            if loop.repeats is not None and moved & varied:
                # What a turn adds depends on the row, so that turns are no copies of each other.
                inner = evolve(segment, loops=segment.loops[level:])
                return self.part(Segment(expand(inner, 0, inner.frames or 0), segment.loops[:level]))
            varied |= moved
            first, second = self.numbers(two)
            if not moved and not (second - first)[FREE:PUBLISHED].any():
                around.append(Turns(loop.repeats, second - first))
                continue
            every = self.numbers(self._turns(segment, level, loop.repeats or 0))
            around.append(Turns(loop.repeats, None, every - every[0]))
        return self.numbers(segment.rows), around[::-1]

    def _turns(self, segment: Segment, level: int, count: int) -> Rows:
        """Return the first row of a segment as it is in the first turns of a loop."""
        loop = segment.loops[level]
        rows = np.repeat(segment.rows[:1], count if loop.repeats is None else min(count, loop.repeats))
        for name in rows.dtype.names or ():
            step = np.asarray(getattr(loop, name), np.int64)
            rows[name] += (np.arange(len(rows)).reshape(-1, *[1] * step.ndim) * step).astype(rows.dtype[name].base)
        return rows

    def _varied(self, rows: Rows) -> set[str]:
        """Return the loops with a table whose index is not the same in all rows."""
        found = set()
        for part in self.parts:
            digits = self.digits(rows, part) if part.table is not None else np.zeros(1, np.int64)
            found |= {part.name} if (digits != digits[0]).any() else set()
        return found


def world_of(plan: Plan) -> World:
    """Return what the loops of a plan add to the columns of its rows."""
    dims = plan.settings.dimensions[:-2]
    base = np.zeros(WIDTH, np.int64)
    times = [dim for dim in dims if dim.type == "time"]
    depths = [dim for dim in dims if dim.type == "space"]
    base[TIME_UNSAID] = not any(_is_placed(dim) for dim in times)
    placed = any(_is_placed(dim) for dim in depths)
    made = [
        *[_part(plan, dim, times[number + 1 :], TIME, TICK) for number, dim in enumerate(times)],
        *[_part(plan, dim, depths[number + 1 :], Z, PLANE) for number, dim in enumerate(depths)],
    ]
    made += [_even(dim.name, {}, {CAMERA: 1}) for dim in dims if dim.type == "camera"]
    stage = _stage(plan, placed=placed)
    where = plan.settings.position_dimension_index
    if where is None:
        base += stage[0]
    else:
        made.append(Part(plan.settings.dimensions[where].name, stage, base, base))
    for value, unsaid in ((TIME, TIME_UNSAID), (X, X_UNSAID), (Y, Y_UNSAID), (Z, Z_UNSAID)):
        if any(part.table is None and part.first[unsaid] for part in made):
            # Nobody will see what other loops add to it, so that it shall not tell rows apart.
            made = [_without(part, value) for part in made]
    if channels := channels_of(dims):  # which move the stage as far wherever it is
        made.append(_channels(plan, channels))
    frames = plan.settings.frames
    exposures = None
    if frames is not None and frames.exposure_time is not None:
        numbers, missing = _rounded(frames.exposure_time, NANO)
        exposures = np.where(missing, 0, numbers + 1)
    return World(tuple(made), base, plan.places.reading, tuple(_listed(frames)), exposures)


def _listed(frames: Frames | None) -> Iterator[tuple[int, int, Whole, NDArray[np.bool_]]]:
    for name, column, unsaid, size in (
        ("delta_t", TIME, TIME_UNSAID, NANO),
        ("position_x", X, X_UNSAID, PICO),
        ("position_y", Y, Y_UNSAID, PICO),
        ("position_z", Z, Z_UNSAID, PICO),
    ):
        values = getattr(frames, name, None)
        if values is not None:
            numbers, missing = _rounded(values, size)
            yield column, unsaid, numbers, ~missing


def _without(part: Part, column: int) -> Part:
    first, step = part.first.copy(), part.step.copy()
    table = None if part.table is None else part.table.copy()
    for numbers in (first, step) if table is None else (first, step, table.T):
        numbers[column] = 0
    return evolve(part, table=table, first=first, step=step)


def _even(name: str, first: Mapping[int, int], step: Mapping[int, int]) -> Part:
    columns = np.zeros((2, WIDTH), np.int64)
    for row, values in zip(columns, (first, step), strict=True):
        row[list(values)] = list(values.values())
    return Part(name, None, *columns)


def _is_placed(dim: Dimension) -> bool:
    axis = axis_of(dim)
    return axis.scale is not None or axis.coords is not None or (dim.translation is not None and dim.count == 1)


def _part(plan: Plan, dim: Dimension, within: Sequence[Dimension], column: int, number: int) -> Part:
    """Return what a loop of times, or of planes, adds: its places, and the number of each."""
    if any(dim.name in position.coords for position in plan.settings.positions):
        return _own_part(plan, dim, within, column, number)
    return _part_of(dim, within, column, number)


def _part_of(dim: Dimension, within: Sequence[Dimension], column: int, number: int) -> Part:
    radix = int(np.prod([inner.count or 1 for inner in within], dtype=np.int64))
    unsaid = column - TIME + TIME_UNSAID
    axis = axis_of(dim)
    size = _size(dim.unit, column)
    if not _is_placed(dim):
        return _even(dim.name, {unsaid: dim.count != 1}, {number: radix})
    values = [axis.origin, axis.scale or 0.0] if axis.is_even else list(axis.coords or ())
    numbers, missing = _rounded(values, size)
    if axis.is_even:
        first, step = numbers.tolist()
        return _even(dim.name, {column: first, unsaid: bool(missing.any())}, {column: step, number: radix})
    if not missing.any() and not (numbers != numbers[0]).any():  # as fast as can be: turns that a controller can loop
        return _even(dim.name, {column: int(numbers[0])}, {number: radix})
    table = np.zeros((len(values), WIDTH), np.int64)
    table[:, column], table[:, unsaid], table[:, number] = numbers, missing, np.arange(len(values)) * radix
    return Part(dim.name, table, table[0], table[0])


def _own_part(plan: Plan, dim: Dimension, within: Sequence[Dimension], column: int, number: int) -> Part:
    """Return what a loop adds whose places are not the same at all positions."""
    where = plan.settings.position_dimension_index or 0
    count, unsaid = dim.count or 1, column - TIME + TIME_UNSAID
    tables = []
    for position in plan.settings.positions:
        own = dim
        if values := position.coords.get(dim.name):
            own = evolve(dim, coords=values, count=len(values), scale=None, translation=None)
        part = _part_of(own, within, column, number)
        table = np.tile(part.table if part.table is not None else part.of(np.arange(own.count or 1)), (1, 1))
        tables.append(np.pad(table, ((0, count - len(table)), (0, 0))))
    table = np.concatenate(tables)
    table[:, unsaid] = np.minimum(table[:, unsaid], 1)
    return Part(dim.name, table, table[0], table[0], plan.settings.dimensions[where].name, count)


def _channels(plan: Plan, dim: Dimension) -> Part:
    """Return what the loop over channels adds: their numbers, how long they are exposed, how far they are moved."""
    coords = [coord for coord in dim.coords or () if isinstance(coord, Channel)]
    if all(coord.exposure_time is None and not coord.z_offset for coord in coords):
        return _even(dim.name, {}, {CHANNEL: 1})
    table = np.zeros((len(coords), WIDTH), np.int64)
    table[:, CHANNEL] = np.arange(len(coords))
    exposures, missing = _rounded([np.nan if c.exposure_time is None else c.exposure_time for c in coords], NANO)
    table[:, EXPOSURE] = np.where(missing, 0, exposures + 1)
    unit = _stage_axes(plan)["z"].dimension.unit
    table[:, Z], table[:, Z_UNSAID] = _rounded([coord.z_offset or 0.0 for coord in coords], _size(unit, Z))
    return Part(dim.name, table, table[0], table[0])


def _stage_axes(plan: Plan) -> dict[str, Axis]:
    """Return along which axes the coordinates of the stage go: without an axis z, that of x."""
    dims = {dim.name: dim for dim in plan.settings.dimensions}
    along = stage_axes([axis_of(dims[name]) for name in plan.layout.arrays[0].dimension_names])
    return {"z": along["x"], **along}


def _stage(plan: Plan, *, placed: bool) -> Whole:
    """Return what each position adds; its depth adds to that of the planes, if they have any."""
    settings = plan.settings
    along = _stage_axes(plan)
    positions = settings.positions
    out = np.zeros((len(positions), WIDTH), np.int64)
    out[:, POSITION] = np.arange(len(positions))
    for name, column in (("x", X), ("y", Y), ("z", Z)):
        given = [getattr(position, f"{name}_coord") for position in positions]
        unit = along[name].dimension.unit
        values = [np.nan if value is None else float(value) for value in given]
        out[:, column], missing = _rounded(values, _size(unit, column))
        implied = np.array([value is None for value in given]) & (placed and name == "z")
        out[:, column - TIME + TIME_UNSAID] = missing & ~implied
    return out


def _size(unit: str | None, column: int) -> float:
    """Return how many nanoseconds, or picometers, a unit has; without one it is the second, or the micrometer."""
    if column == TIME:
        return float(f"{SECONDS.get(unit or 'second', np.nan) * NANO:.12g}")
    return float(f"{METERS.get(unit or 'micrometer', np.nan) / METERS['micrometer'] * PICO:.12g}")


def _rounded(values: Sequence[float] | NDArray[np.float64], size: float) -> tuple[Whole, NDArray[np.bool_]]:
    """Return values in whole numbers, and which of them are not known, or too large."""
    with np.errstate(over="ignore"):
        exact = np.rint(np.array(values, float) * size)
    missing = ~(np.abs(exact) < _MOST)
    return np.where(missing, 0, exact).astype(np.int64), missing
