"""Given the visits of a useq sequence, this answers: where is each, in which well and grid cell, and what is it called?

useq says where a frame is taken by adding up: a stage position, and a point of a grid that is relative to it (one that
is not stands for itself). A position's z counts where the planes are relative to it, and where there are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ome_writers.casts import row_name
from ome_writers.items import Position
from ome_writers.settings import Plate
from ome_writers.units import METERS, SECONDS, ngff_name
from ome_writers.useq.loops import GRID, Nest, Visit, by_chance

if TYPE_CHECKING:
    import useq

Pair = tuple[int, int]
"""A row and a column, counted from 0."""


class _Field(NamedTuple):
    """A field of view of a well."""

    number: int
    """In order of the visits to the well."""
    cell: Pair | None
    """Row and column in a grid."""


def factor(unit: str | None) -> float:
    """Return by what a value of useq's (in micrometers, or seconds) is multiplied to be one in `unit`.

    Examples
    --------
    >>> factor("nm"), factor("minute") * 120, factor(None)
    (1000.0, 2.0, 1.0)
    """
    length = METERS.get(ngff_name(unit or "", "space") or "")
    time = SECONDS.get(ngff_name(unit or "", "time") or "")
    return float(f"{METERS['micrometer'] / length:.12g}") if length else 1 / time if time else 1.0


def positions_of(visits: Sequence[Visit], seq: useq.MDASequence, factors: Mapping[str, float]) -> tuple[Position, ...]:
    """Return the position of each visit.

    Parameters
    ----------
    factors
        By the name of an axis: by what a length in micrometers is multiplied to be one in its unit.
    """
    fields = _fields(seq)
    wells = [_well(nest.position) for nest, _ in visits]
    cells = [_cell(nest, number, fields) for nest, number in visits]
    names = [_name(nest, number, fields, several=len(seq.stage_positions) > 1) for nest, number in visits]
    made = []
    labels = zip(distinct(names, [*zip(wells, cells, strict=True)]), wells, cells, strict=True)
    for (nest, number), (name, well, cell) in zip(visits, labels, strict=True):
        stage = _stage(nest, nest.points[number], seq)
        made.append(
            Position(
                name=name,
                plate_row=well and row_name(well[0]),
                plate_column=well and str(well[1] + 1),
                grid_row=cell and cell[0],
                grid_column=cell and cell[1],
                **{f"{axis}_coord": float(um) * factors.get(axis, 1.0) for axis, um in stage.items() if um is not None},
            )
        )
    return tuple(made)


def plate_of(seq: useq.MDASequence, visits: Sequence[Visit]) -> Plate | None:
    """Return the plate that the positions lie on: the sequence's, or one just large enough for their wells."""
    wells = [_well(nest.position) for nest, _ in visits]
    rows, columns = [well[0] for well in wells if well], [well[1] for well in wells if well]
    if not wells or len(rows) < len(wells):
        return None
    plate = getattr(seq.stage_positions, "plate", None)
    return Plate(
        row_names=tuple(row_name(row) for row in range(plate.rows if plate else max(rows) + 1)),
        column_names=tuple(str(column + 1) for column in range(plate.columns if plate else max(columns) + 1)),
        name=(plate and plate.name) or None,
    )


def distinct(names: Sequence[str], groups: Sequence[Hashable] | None = None) -> list[str]:
    """Return the names, with a number behind those that came before in their group.

    Examples
    --------
    >>> distinct(["A", "B", "A", "A_1"]), distinct(["A", "A"], groups=["well 1", "well 2"])
    (['A', 'B', 'A_2', 'A_1'], ['A', 'A'])
    """
    keys = list(zip(names, groups or [None] * len(names), strict=True))
    taken, times = set(keys), Counter[tuple[str, Hashable]]()
    made = []
    for name, group in keys:
        candidate = name
        while times[name, group] and (candidate, group) in taken:
            candidate = f"{name}_{times[name, group]}"
            times[name, group] += 1
        times[name, group] += not times[name, group]
        taken.add((candidate, group))
        made.append(candidate)
    return made


def _fields(seq: useq.MDASequence) -> list[_Field]:
    """Return the fields of view of a plate's wells, nothing if there is no plate."""
    points = getattr(seq.stage_positions, "well_points_plan", None)
    if points is None:
        return []
    cells = [None] if by_chance(points) else [_row_and_column(point) for point in points]
    numbers = Counter[tuple[int, int] | None]()
    fields = []
    for position in seq.stage_positions:
        well = _well(position)
        fields.append(_Field(numbers[well], cells[numbers[well] % len(cells)]))
        numbers[well] += 1
    return fields


def _row_and_column(point: Any) -> Pair | None:
    row, column = point.grid_row, point.grid_col
    return None if row is None or column is None else (int(row), int(column))


def _well(position: useq.Position | None) -> Pair | None:
    row, column = (position.plate_row, position.plate_col) if position is not None else (None, None)
    return None if row is None or column is None else (row, column)


def _cell(nest: Nest, number: int, fields: Sequence[_Field]) -> Pair | None:
    point = nest.points[number]
    if point is not None and (cell := _row_and_column(point)):
        return cell
    if fields:
        return fields[nest.number].cell
    return _row_and_column(nest.position) if nest.position is not None else None


def _name(nest: Nest, number: int, fields: Sequence[_Field], *, several: bool) -> str:
    """Return what a visit is called; several may be called the same."""
    position, point = nest.position, nest.points[number]
    if position is None:
        return f"{number:04d}"
    name = f"fov{fields[nest.number].number}" if fields else position.name or str(nest.number)
    if point is None or _row_and_column(point):
        return name
    # Points without rows and columns have numbers instead.
    return f"{name}_p{nest.number:04d}_g{number:04d}" if several else f"{name}_g{number:04d}"


def _stage(nest: Nest, point: Any, seq: useq.MDASequence) -> dict[str, float | None]:
    """Return where the stage is at a visit, in micrometers, as far as the sequence says."""
    position = nest.position
    x, y, z = (position.x, position.y, position.z) if position is not None else (None, None, None)
    sub = position.sequence if position is not None else None
    grid = sub.grid_plan if sub is not None and GRID in nest.own else seq.grid_plan
    if point is not None and by_chance(grid):
        x = y = None
    elif point is not None:
        x, y = (point.x + (x or 0), point.y + (y or 0)) if point.is_relative else (point.x, point.y)
    planes = sub.z_plan if sub is not None and "z" in nest.own else seq.z_plan
    if "z" in nest.loops and planes is not None and not planes.is_relative:
        z = None
    if sub is not None and nest.own:
        # A plan of a sub-sequence that has no items takes the stage's place from its events all the same.
        x, y = (None, None) if sub.grid_plan and GRID not in nest.own else (x, y)
        z = None if sub.z_plan and "z" not in nest.own else z
    return {"x": x, "y": y, "z": z}
