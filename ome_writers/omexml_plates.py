"""Given a plan, this answers: which wells do its images lie in, as OME-XML says it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from ome_writers.axes import Axis, stage_of
from ome_writers.casts import row_name
from ome_writers.images import Image
from ome_writers.markup import element
from ome_writers.omexml_planes import stage_units
from ome_writers.plan import Plan


def plate_of(plan: Plan, images: Sequence[Image], axes: Sequence[Axis]) -> str:
    """Return the `Plate` that the positions lie on, nothing if they lie on none."""
    rows, columns = _rows_and_columns(plan)
    wells: dict[tuple[int, int], list[str]] = {}
    units = stage_units(axes)
    for image in images:
        position, stage = image.position, stage_of(image.position)
        if position.plate_row not in rows or position.plate_column not in columns:
            continue
        values: dict[str, object] = {"ID": f"WellSample:{image.spec.image}", "Index": image.spec.image}
        for axis in ("x", "y"):
            if axis in stage:
                values |= {f"Position{axis.upper()}": stage[axis], f"Position{axis.upper()}Unit": units[axis]}
        sample = element("WellSample", values, element("ImageRef", {"ID": f"Image:{image.spec.image}"}))
        wells.setdefault((rows[position.plate_row], columns[position.plate_column]), []).append(sample)
    if not wells:
        return ""
    return element(
        "Plate",
        {
            "ID": "Plate:0",
            "Name": plan.settings.plate.name if plan.settings.plate else None,
            "RowNamingConvention": _convention(rows),
            "ColumnNamingConvention": _convention(columns),
            "Rows": max(rows.values()) + 1,
            "Columns": max(columns.values()) + 1,
        },
        *(
            element("Well", {"ID": f"Well:{row}:{column}", "Row": row, "Column": column}, *samples)
            for (row, column), samples in wells.items()
        ),
    )


@lru_cache(maxsize=1)
def _rows_and_columns(plan: Plan) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of a plate's rows and columns by name.

    Positions without a plate may still say their wells; if they count rows in letters and columns in numbers, as plates
    do, it is known which they are.
    """
    plate = plan.settings.plate
    if plate is not None:
        return _numbered(plate.row_names), _numbered(plate.column_names)
    wells = {(position.plate_row, position.plate_column) for position in plan.settings.positions} - {(None, None)}
    if not wells:
        return {}, {}
    rows = _numbered([row_name(row) for row in range(_MOST)])
    columns = _numbered([str(column + 1) for column in range(_MOST)])
    places = [(rows[row], columns[column]) for row, column in wells if row in rows and column in columns]
    if len(places) < len(wells):
        return {}, {}
    last_row, last_column = np.max(places, axis=0).tolist()
    return _numbered(list(rows)[: last_row + 1]), _numbered(list(columns)[: last_column + 1])


_MOST: Final = 999
"""More rows or columns than any plate has."""


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _convention(names: Mapping[str, int]) -> str | None:
    """Return `NamingConvention`, if readers who go by it would find the names that there are."""
    if all(name == row_name(number) for name, number in names.items()):
        return "letter"
    return "number" if all(name == str(number + 1) for name, number in names.items()) else None
