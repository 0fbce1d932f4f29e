"""The rules of each settings class, in the order in which its problems are listed: tables of rule functions.

How rules are run, and the rules that are made to measure (`text`, `whole`, …), stand in `check.py`. This module must
not import `settings`: it reads attributes, whatever holds them.
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
)


def _both_or_none(first: str, second: str) -> Rule:
    def rule(position: Any) -> Iterator[Problem]:
        values = {name: getattr(position, name) for name in (first, second)}
        for name, other in ((first, second), (second, first)):
            if values[name] is None and values[other] is not None:
                yield Problem((name,), "missing", f"must be given together with {other}")

    return rule


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

DIMENSION_TYPES: Final = ("space", "time", "channel", "position", "other")
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
    if type_ in ("channel", "position"):
        return "invalid_type", f"must be a name, or the fields of a {type_.capitalize()}; got {shown(value)}"
    if is_number(value):
        return None if is_finite(value) else ("invalid_value", f"must be finite; got {shown(value)}")
    if type_ in ("space", "time"):
        return "invalid_type", f"must be a number in a dimension of type {type_!r}; got {shown(value)}"
    if isinstance(value, Mapping):
        return "invalid_type", f"needs a dimension of type 'channel' or 'position'; got {shown(value)}"
    return text_fault(value)


def _count(dimension: Any) -> Iterator[Problem]:
    count, coords = dimension.count, dimension.coords
    if coords and count is not None and len(coords) != count:
        yield Problem(
            ("coords",), "conflict", f"must have as many entries as count says; got {len(coords)}, count is {count}"
        )
    if dimension.type == "position" and count is not None and count > MOST_POSITIONS:
        yield Problem(("count",), "invalid_value", f"there may be at most {MOST_POSITIONS} positions; got {count}")
    if count is None and dimension.type == "position":
        yield Problem(("count",), "missing", "a position dimension needs a count, or coords")


def _coord_names(dimension: Any) -> Iterator[Problem]:
    if dimension.type == "channel":
        for double in repeated(channel.name for _, channel in readable(dimension.coords, "name")):
            yield Problem(("coords",), "conflict", f"channel names must be unique; got {double!r} more than once")
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
    _coords,
    _count,
    _coord_names,
)

# ── formats and acquisition ─────────────────────────────────────────────────────────────────────────────────────────

BACKENDS: Final[dict[str, tuple[str, ...]]] = {
    "ome-zarr": ("auto", "direct", "tensorstore", "acquire-zarr", "zarrs-python", "zarr-python"),
    "ome-tiff": ("auto", "direct", "tifffile"),
    "scratch": ("auto", "scratch", "memory"),
}
"""Names that `backend` may have, by format."""

COMPRESSIONS: Final[dict[str, tuple[str, ...]]] = {
    "ome-zarr": ("none", "blosc-zstd", "blosc-lz4", "zstd", "gzip"),
    "ome-tiff": ("none", "lzw", "zlib", "deflate", "zstd"),
}
"""Names that `compression` may have, by format; a format that is not listed stores plainly and takes any."""


def _single_name(name: str) -> Rule:
    def rule(format_: Any) -> Iterator[Problem]:
        value = getattr(format_, name)
        if "/" in value or "\\" in value:
            yield Problem((name,), "invalid_value", f"must be a name, not a path; got {shown(value)}")

    return rule


OME_ZARR: Final[tuple[Rule, ...]] = (
    choice("name", ("ome-zarr",)),
    choice("backend", BACKENDS["ome-zarr"]),
    text("suffix", empty=True),
    _single_name("suffix"),
    choice("group_names", ("number", "position")),
)
OME_TIFF: Final[tuple[Rule, ...]] = (
    choice("name", ("ome-tiff",)),
    choice("backend", BACKENDS["ome-tiff"]),
    text("suffix", empty=True),
    _single_name("suffix"),
    choice("prefer_single_file", ("auto", "always", "never")),
    choice("multi_file_metadata", ("redundant", "master-tiff", "companion-file")),
    text("companion_file"),
    _single_name("companion_file"),
)
SCRATCH: Final[tuple[Rule, ...]] = (
    choice("name", ("scratch",)),
    choice("backend", BACKENDS["scratch"]),
    whole("max_memory_bytes", at_least=0, at_most=2**63 - 1),
    text("suffix", empty=True),
    flag("spill_to_disk"),
)


def _unique_dimensions(settings: Any) -> Iterator[Problem]:
    for double in repeated(dimension.name for _, dimension in readable(settings.dimensions, "name")):
        yield Problem(("dimensions",), "conflict", f"names must be unique; got {double!r} more than once")


def _loops(settings: Any) -> Iterator[Problem]:
    dimensions = settings.dimensions
    for index, dimension in readable(dimensions, "count"):
        if dimension.count is None and 0 < index < len(dimensions) - 2:
            yield Problem(("dimensions", index, "count"), "missing", "only the first dimension may go on without end")
    positions = [index for index, dimension in readable(dimensions[:-2], "type") if dimension.type == "position"]
    for index in positions[1:]:
        message = f"there may be one position dimension; dimensions.{positions[0]} is one already"
        yield Problem(("dimensions", index), "conflict", message)


def _frame(settings: Any) -> Iterator[Problem]:
    dimensions = settings.dimensions
    if 0 < len(dimensions) < 2:  # noqa: PLR2004 - y and x
        yield Problem(
            ("dimensions",), "invalid_value", "must end with the two dimensions of a frame, usually y and x; got one"
        )
        return
    first = max(len(dimensions) - 2, 0)
    for index, dimension in readable(dimensions[first:], "type"):
        # A dimension of a frame that has no type gets this one, unless it was refused before.
        if dimension.type not in (None, "space"):
            message = (
                f"one of the last two dimensions, those of a frame, must be of type 'space'; got {dimension.type!r}"
            )
            yield Problem(("dimensions", first + index, "type"), "conflict", message)
    for index, dimension in readable(dimensions[first:], "count"):
        if dimension.count is None:
            yield Problem(("dimensions", first + index, "count"), "missing", "a frame needs a size")
    for index, dimension in readable(dimensions[first:], "snake"):
        if dimension.snake:
            yield Problem(
                ("dimensions", first + index, "snake"), "conflict", "pixels of a frame have no order of arrival"
            )


def _is_dtype(name: str) -> bool:
    try:
        return not name or np.dtype(name).name == name
    except (TypeError, ValueError, SyntaxError):
        return False


def _dtype(settings: Any) -> Iterator[Problem]:
    # The converter has turned what numpy knows into a name; what it does not know came through as it was.
    value = settings.dtype
    if not isinstance(value, str) or not _is_dtype(value):
        yield Problem(
            ("dtype",), "invalid_value", f"must be the name of a numpy dtype, such as 'uint16'; got {shown(value)}"
        )
    elif value and np.dtype(value).kind not in "biufc":
        yield Problem(("dtype",), "invalid_value", f"pixels must be numbers; got {value!r}")


def _compression(settings: Any) -> Iterator[Problem]:
    name, value = settings.format.name, settings.compression
    allowed = COMPRESSIONS.get(name)
    if value is not None and allowed and value not in allowed:
        listing = ", ".join(map(repr, allowed))
        yield Problem(("compression",), "unsupported", f"must be one of {listing} for {name}; got {shown(value)}")


def _compression_level(settings: Any) -> Iterator[Problem]:
    level, codec = settings.compression_level, settings.compression
    if level is not None and codec in (None, "none", "lzw"):
        yield Problem(("compression_level",), "conflict", f"compression {codec!r} has no levels; got {level}")
        return
    highest = {"blosc-zstd": 9, "blosc-lz4": 9, "gzip": 9, "zlib": 9, "deflate": 9, "zstd": 22}.get(codec, 9)
    if level is not None and level > highest:
        yield Problem(("compression_level",), "invalid_value", f"must be at most {highest} for {codec}; got {level}")


def _storage_names(settings: Any) -> Iterator[Problem]:
    order = settings.storage_order
    if isinstance(order, tuple):
        for index, name in enumerate(order):
            if fault := text_fault(name):
                yield Problem(("storage_order", index), *fault)
    elif order not in ("acquisition", "ome"):
        message = f"must be 'ome', 'acquisition' or a list of dimension names; got {shown(order)}"
        yield Problem(("storage_order",), "invalid_value", message)


def _storage_order(settings: Any) -> Iterator[Problem]:
    order, dimensions = settings.storage_order, settings.dimensions
    if not isinstance(order, tuple) or not dimensions or not all(isinstance(name, str) for name in order):
        return
    names = [dimension.name for dimension in dimensions]
    if sorted(order) != sorted(names):
        yield Problem(
            ("storage_order",), "conflict", f"must name every dimension once; got {list(order)}, they are {names}"
        )
    elif list(order[-2:]) != names[-2:]:
        message = f"must end with the two dimensions of a frame, {names[-2:]}; got {list(order[-2:])}"
        yield Problem(("storage_order",), "conflict", message)


def _wells(settings: Any) -> Iterator[Problem]:
    if settings.plate is None or not settings.dimensions:
        return
    places = [(index, dim) for index, dim in readable(settings.dimensions, "type", "coords") if dim.type == "position"]
    if not places:
        yield Problem(("plate",), "conflict", "needs a dimension of type 'position', whose positions say their wells")
    for index, dimension in places:
        for number_, position in readable(dimension.coords, "plate_row", "plate_column"):
            if position.plate_row is None:
                loc = ("dimensions", index, "coords", number_, "plate_row")
                yield Problem(loc, "missing", "must say its well, since there is a plate")


def _on_plate(part: str) -> Rule:
    field = f"plate_{part}"

    def rule(settings: Any) -> Iterator[Problem]:
        if settings.plate is None:
            return
        names = getattr(settings.plate, f"{part}_names")
        for index, dimension in readable(settings.dimensions, "type", "coords"):
            for number_, position in readable(dimension.coords, field) if dimension.type == "position" else ():
                name = getattr(position, field)
                if name is not None and name not in names:
                    loc = ("dimensions", index, "coords", number_, field)
                    yield Problem(loc, "conflict", f"must be a {part} of the plate; got {name!r}")

    return rule


ACQUISITION: Final[tuple[Rule, ...]] = (
    text("root_path", empty=True),
    listed("dimensions", "dimensions"),
    _unique_dimensions,
    _loops,
    _frame,
    _dtype,
    text("compression", optional=True),
    _compression,
    whole("compression_level", at_least=0),
    _compression_level,
    _storage_names,
    _storage_order,
    _wells,
    _on_plate("row"),
    _on_plate("column"),
    flag("overwrite"),
)

# ── ready to be written ─────────────────────────────────────────────────────────────────────────────────────────────


def _present(settings: Any) -> Iterator[Problem]:
    if not settings.dimensions:
        yield Problem(("dimensions",), "missing", "is required: what does the acquisition loop over?")
    if not settings.dtype:
        yield Problem(("dtype",), "missing", "is required: what are the pixels?")
    if not settings.root_path and settings.format.name != "scratch":
        yield Problem(("root_path",), "missing", f"is required for {settings.format.name}: where shall it be written?")


_OME_PIXELS = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "float32",
    "float64",
    "complex64",
    "complex128",
)
"""OME-XML 2016-06, `PixelType`."""
_ZARR_PIXELS = (*_OME_PIXELS, "int64", "uint64", "float16")
"""Zarr v3 core data types."""


def _storable_dtype(settings: Any) -> Iterator[Problem]:
    allowed = {"ome-tiff": _OME_PIXELS, "ome-zarr": _ZARR_PIXELS}.get(settings.format.name)
    if settings.dtype and allowed and settings.dtype not in allowed:
        message = f"{settings.format.name} can hold {', '.join(allowed)}; got {settings.dtype!r}"
        yield Problem(("dtype",), "unsupported", message)


def _group_names(settings: Any) -> Iterator[Problem]:
    if getattr(settings.format, "group_names", "number") == "number":
        return
    for index, dimension in readable(settings.dimensions, "type", "coords"):
        if dimension.type != "position":
            continue
        for number_, position in enumerate(dimension.coords):
            if not re.fullmatch(r"(?!__)(?!.*\.$)[A-Za-z0-9_-][A-Za-z0-9._-]*", position.name):
                message = f"as a group name must be letters, digits, '-', '_' and '.'; got {position.name!r}"
                yield Problem(("dimensions", index, "coords", number_, "name"), "invalid_value", message)


READY: Final[tuple[Rule, ...]] = (_present, _storable_dtype, _group_names)
