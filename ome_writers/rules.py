"""The rules of channels, positions, plates and dimensions: tables of rule functions, in the order of their problems.

How rules are run, and the rules that are made to measure (`text`, `whole`, …), stand in `check.py`; the rules of
formats and of whole acquisitions in `acquisition_rules.py`. This module must not import `settings`: it reads
attributes, whatever holds them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from ome_writers import units
from ome_writers.casts import type_hints
from ome_writers.check import (
    Checked,
    Draft,
    Rule,
    choice,
    file_name_fault,
    flag,
    is_finite,
    is_number,
    listed,
    number,
    readable,
    repeated,
    shown,
    text,
    text_fault,
    whole,
)  # fmt: skip
from ome_writers.errors import Problem

# ── channel, position, plate ────────────────────────────────────────────────────────────────────────────────────────


def _color(channel: Any) -> Iterator[Problem]:
    # The converter has turned what it knows into '#RRGGBB'; what it does not know came through as it was.
    value = channel.color
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"#[0-9A-F]{6}([0-9A-F]{2})?", value)):
        yield Problem(
            ("color",),
            "invalid_value",
            f"must be a CSS colour name, a hexadecimal string such as '#00ff00', or 3 or 4 numbers; got {shown(value)}",
        )


CHANNEL: Final[tuple[Rule, ...]] = (
    text("name"),
    number("excitation_wavelength_nm", positive=True),
    number("emission_wavelength_nm", positive=True),
    text("fluorophore", optional=True, empty=True),
    _color,
    number("exposure_time", positive=True),
    number("z_offset"),
)


def _both_or_none(first: str, second: str) -> Rule:
    def rule(position: Any) -> Iterator[Problem]:
        values = {name: getattr(position, name) for name in (first, second)}
        for name, other in ((first, second), (second, first)):
            if values[name] is None and values[other] is not None:
                yield Problem((name,), "missing", f"must be given together with {other}")

    return rule


def _counts(item: Any) -> Iterator[Problem]:
    if not isinstance(item.counts, Mapping):
        message = f"must be a mapping of dimensions to their counts; got {shown(item.counts)}"
        yield Problem(("counts",), "invalid_type", message)
        return
    for name, count in item.counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            yield Problem(
                ("counts", str(name)), "invalid_value", f"must be a whole number, at least 1; got {shown(count)}"
            )


def _lists(position: Any) -> Iterator[Problem]:
    if not isinstance(position.coords, Mapping):
        message = f"must be a mapping of dimensions to lists of their elements; got {shown(position.coords)}"
        yield Problem(("coords",), "invalid_type", message)
        return
    for name, items in position.coords.items():
        if not isinstance(items, tuple):
            yield Problem(("coords", str(name)), "invalid_type", f"must be a list; got {shown(items)}")
            continue
        if not items:
            yield Problem(
                ("coords", str(name)), "invalid_value", "must name at least one; leave it out for all of them"
            )
        for index, item in enumerate(items):
            if not isinstance(item, str) and not (is_number(item) and is_finite(item)):
                message = f"must be a name or a finite number; got {shown(item)}"
                yield Problem(("coords", str(name), index), "invalid_type", message)


POSITION: Final[tuple[Rule, ...]] = (
    text("name"),
    text("plate_row", optional=True),
    text("plate_column", optional=True),
    whole("grid_row", at_least=0),
    whole("grid_column", at_least=0),
    number("x_coord"),
    number("y_coord"),
    number("z_coord"),
    _both_or_none("plate_row", "plate_column"),
    _both_or_none("grid_row", "grid_column"),
    _counts,
    _lists,
)


def _pair(name: str, what: str) -> Rule:
    def rule(camera: Any) -> Iterator[Problem]:
        value = getattr(camera, name)
        if value is None:
            return
        if not isinstance(value, tuple) or len(value) != 2:  # noqa: PLR2004 - y and x
            yield Problem((name,), "invalid_type", f"must be {what} along y and x; got {shown(value)}")
            return
        for index, part in enumerate(value):
            if what == "pixels" and (not isinstance(part, int) or isinstance(part, bool)):
                yield Problem((name, index), "invalid_type", f"must be a whole number; got {shown(part)}")
            elif not is_number(part) or not is_finite(part) or part <= 0:
                yield Problem((name, index), "invalid_value", f"must be a number greater than 0; got {shown(part)}")

    return rule


def dtype(subject: Any) -> Iterator[Problem]:
    """Check that `dtype` is empty or the name of a dtype that pixels may have."""
    # The converter has turned what numpy knows into a name; what it does not know came through as it was.
    value = subject.dtype
    if not isinstance(value, str) or not _is_dtype(value):
        message = f"must be the name of a numpy dtype, such as 'uint16'; got {shown(value)}"
        yield Problem(("dtype",), "invalid_value", message)
    elif value and np.dtype(value).kind not in "biufc":
        yield Problem(("dtype",), "invalid_value", f"pixels must be numbers; got {value!r}")


def _is_dtype(name: str) -> bool:
    try:
        return not name or np.dtype(name).name == name
    except (TypeError, ValueError, SyntaxError):
        return False


CAMERA: Final[tuple[Rule, ...]] = (
    text("name"),
    _pair("shape", "pixels"),
    dtype,
    _pair("pixel_size", "numbers"),
    _pair("chunk_shape", "pixels"),
    _counts,
    text("model", optional=True),
    text("serial_number", optional=True),
)


def _plate_names(name: str) -> Rule:
    def rule(plate: Any) -> Iterator[Problem]:
        names = getattr(plate, name)
        if not names:
            yield Problem((name,), "invalid_value", "must name at least one; got an empty list")
        for number_, value in enumerate(names):
            if fault := text_fault(value):
                yield Problem((name, number_), *fault)
            elif not re.fullmatch(r"[A-Za-z0-9]+", value):
                # NGFF 0.5, "plate" metadata: names are alphanumeric and the well's path is made of them.
                yield Problem((name, number_), "invalid_value", f"must be letters and digits only; got {shown(value)}")
            elif unfit := file_name_fault(value):
                yield Problem((name, number_), "invalid_value", f"names a folder, but it {unfit}; got {shown(value)}")
            elif value.lower() == "ome":
                yield Problem((name, number_), "invalid_value", f"is what OME-Zarr calls something else: {value!r}")
        # Wells become folders, and many file systems do not tell 'a' from 'A'.
        for double in repeated(value.lower() for value in names if isinstance(value, str)):
            yield Problem((name,), "conflict", f"must differ in more than case; got {double!r} more than once")

    return rule


PLATE: Final[tuple[Rule, ...]] = (
    listed("row_names", "names"),
    listed("column_names", "names"),
    text("name", optional=True, empty=True),
    _plate_names("row_names"),
    _plate_names("column_names"),
)

# ── dimension ───────────────────────────────────────────────────────────────────────────────────────────────────────

DIMENSION_TYPES: Final = ("space", "time", "channel", "position", "camera", "other")
MOST_POSITIONS: Final = 100_000
"""Each position is an object of its own, made before anything else is known; without an end a few bytes could ask for
any memory."""


def _unit(dimension: Any) -> Iterator[Problem]:
    quantity = dimension.type
    if dimension.unit is not None and quantity in ("space", "time") and not units.ngff_name(dimension.unit, quantity):
        example = {"space": "'micrometer' or 'um'", "time": "'second' or 'ms'"}[quantity]
        yield Problem(
            ("unit",), "invalid_value", f"must be a unit of {quantity}, such as {example}; got {shown(dimension.unit)}"
        )


def _coords(dimension: Any) -> Iterator[Problem]:
    coords, type_ = dimension.coords, dimension.type
    if coords is None:
        return
    if not coords:
        yield Problem(("coords",), "invalid_value", "must name at least one; leave it out to count instead")
    for index, value in enumerate(coords):
        if not isinstance(value, Draft) and (fault := _coord_fault(value, type_)):
            yield Problem(("coords", index), *fault)


def _coord_fault(value: object, type_: str | None) -> tuple[str, str] | None:
    """Return the kind and the message of what is wrong with a coordinate, if anything is."""
    if isinstance(value, Checked):
        kind = type(value).__name__
        message = f"a {kind} needs a dimension of type {kind.lower()!r}; got {type_!r}"
        return None if kind.lower() == type_ else ("conflict", message)
    if type_ in ("channel", "position", "camera"):
        return "invalid_type", f"must be a name, or the fields of a {type_.capitalize()}; got {shown(value)}"
    if is_number(value):
        return None if is_finite(value) else ("invalid_value", f"must be finite; got {shown(value)}")
    if type_ in ("space", "time"):
        return "invalid_type", f"must be a number in a dimension of type {type_!r}; got {shown(value)}"
    if isinstance(value, Mapping):
        return "invalid_type", f"needs a dimension of type 'channel', 'position' or 'camera'; got {shown(value)}"
    return text_fault(value)


def _count(dimension: Any) -> Iterator[Problem]:
    count, coords = dimension.count, dimension.coords
    if coords and count is not None and len(coords) != count:
        yield Problem(
            ("coords",), "conflict", f"must have as many entries as count says; got {len(coords)}, count is {count}"
        )
    if dimension.type == "position" and count is not None and count > MOST_POSITIONS:
        yield Problem(("count",), "invalid_value", f"there may be at most {MOST_POSITIONS} positions; got {count}")
    if count is None and dimension.type in ("position", "camera"):
        yield Problem(("count",), "missing", f"a {dimension.type} dimension needs a count, or coords")


def _coord_names(dimension: Any) -> Iterator[Problem]:
    if dimension.type in ("channel", "camera"):
        for double in repeated(item.name for _, item in readable(dimension.coords, "name")):
            message = f"{dimension.type} names must be unique; got {double!r} more than once"
            yield Problem(("coords",), "conflict", message)
    if dimension.type == "position":
        group = ("plate_row", "plate_column", "grid_row", "grid_column")
        keys = [
            (position.name, *(getattr(position, name) for name in group))
            for _, position in readable(dimension.coords, "name", *group)
        ]
        for (name, row, column, *grid), count in Counter(keys).items():
            if count > 1:
                places = [f"well {row}{column}"] if row is not None else []
                places += [f"grid cell {tuple(grid)}"] if grid[0] is not None else []
                where = f" in {', '.join(places)}" if places else ""
                yield Problem(
                    ("coords",), "conflict", f"position names must be unique{where}; got {name!r} {count} times"
                )


def _tours(dimension: Any) -> Iterator[Problem]:
    tours = dimension.tours
    if tours is None:
        if dimension.tours_within is not None:
            yield Problem(("tours",), "missing", "must be given together with tours_within")
        return
    faulty = [
        number_ for number_, size in enumerate(tours) if not isinstance(size, int) or isinstance(size, bool) or size < 1
    ]
    for number_ in faulty:
        yield Problem(("tours", number_), "invalid_value", f"must be at least 1; got {shown(tours[number_])}")
    if dimension.type != "position":
        yield Problem(("tours",), "conflict", f"only positions have tours; got a dimension of type {dimension.type!r}")
    elif not faulty and sum(tours) != dimension.count:
        yield Problem(
            ("tours",),
            "conflict",
            f"must hold every position once; got {shown(sum(tours))}, count is {dimension.count}",
        )


def _inferred_type(dimension: Any) -> Iterator[Problem]:
    # A dimension whose hints agree has its type by now.
    hints = type_hints(dimension.coords, dimension.unit)
    if dimension.type is None and len(set(hints.values())) > 1:
        said = " but ".join(f"{source} says {type_!r}" for source, type_ in hints.items())
        yield Problem(("type",), "conflict", f"cannot be inferred: {said}; give the type, or mend one of them")


DIMENSION: Final[tuple[Rule, ...]] = (
    text("name"),
    whole("count", at_least=1),
    choice("type", DIMENSION_TYPES, optional=True),
    _inferred_type,
    listed("coords", "coordinates", optional=True),
    whole("chunk_size", at_least=1),
    whole("shard_size_chunks", at_least=1),
    text("unit", optional=True),
    _unit,
    number("scale", positive=True),
    number("translation"),
    flag("snake"),
    flag("fold"),
    listed("tours", "sizes", optional=True),
    text("tours_within", optional=True),
    _coords,
    _count,
    _tours,
    _coord_names,
)
