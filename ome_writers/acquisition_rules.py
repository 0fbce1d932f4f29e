"""The rules of formats and of whole acquisitions, and of acquisitions that are ready to be written.

As in `rules.py`, they are tables of rule functions, in the order of their problems, and read attributes, whatever holds
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ome_writers import ragged_rules, rules
from ome_writers.beyond import ask
from ome_writers.casts import is_url, split_suffix
from ome_writers.check import (
    Rule,
    choice,
    file_name_fault,
    flag,
    is_finite,
    is_number,
    listed,
    readable,
    repeated,
    shown,
    text,
    text_fault,
    whole,
)  # fmt: skip
from ome_writers.errors import Problem

_MOST_NAME: Final = 229
"""Bytes that the name of a dataset may have: systems take 255, and its `.journal.replaced-01234567` may stand there."""

# ── formats ─────────────────────────────────────────────────────────────────────────────────────────

BACKENDS: Final[dict[str, tuple[str, ...]]] = {
    "ome-zarr": ("auto", "direct", "tensorstore", "acquire-zarr", "zarrs-python", "zarr-python"),
    "ome-tiff": ("auto", "direct", "tifffile"),
    "scratch": ("auto", "scratch", "memory"),
}
"""Names that `backend` may have, by format; and that of any writer that another package brings (`plugins.py`)."""

COMPRESSIONS: Final[dict[str, tuple[str, ...]]] = {
    "ome-zarr": ("none", "blosc-zstd", "blosc-lz4", "zstd", "gzip"),
    "ome-tiff": ("none", "lzw", "zlib", "deflate", "zstd"),
}
"""Names that `compression` may have, by format; a format that is not listed stores plainly and takes any."""


def _backend(format_name: str) -> Rule:
    def rule(format_: Any) -> Iterator[Problem]:
        allowed = BACKENDS[format_name]
        if format_.backend not in allowed and format_.backend not in (others := ask("plugins", "plugin_names")):
            yield from choice("backend", (*allowed, *others))(format_)

    return rule


def _single_name(name: str) -> Rule:
    def rule(format_: Any) -> Iterator[Problem]:
        value = getattr(format_, name)
        if "/" in value or "\\" in value:
            yield Problem((name,), "invalid_value", f"must be a name, not a path; got {shown(value)}")
        # A suffix is the end of a name.
        elif value and (fault := file_name_fault(value if name != "suffix" else f"a{value}")):
            yield Problem((name,), "invalid_value", f"cannot be in a name: it {fault}; got {shown(value)}")

    return rule


OME_ZARR: Final[tuple[Rule, ...]] = (
    choice("name", ("ome-zarr",)),
    _backend("ome-zarr"),
    text("suffix", empty=True),
    _single_name("suffix"),
    choice("group_names", ("number", "position")),
)
OME_TIFF: Final[tuple[Rule, ...]] = (
    choice("name", ("ome-tiff",)),
    _backend("ome-tiff"),
    text("suffix", empty=True),
    _single_name("suffix"),
    choice("prefer_single_file", ("auto", "always", "never")),
    choice("multi_file_metadata", ("redundant", "master-tiff", "companion-file")),
    text("companion_file"),
    _single_name("companion_file"),
)
SCRATCH: Final[tuple[Rule, ...]] = (
    choice("name", ("scratch",)),
    _backend("scratch"),
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
    for index, dimension in readable(dimensions, "tours", "tours_within"):
        inner = [other.name for number_, other in readable(dimensions[:-2], "name") if number_ > index]
        if dimension.tours_within is not None and dimension.tours_within not in inner:
            message = f"must name a loop that follows; got {dimension.tours_within!r}, they are {inner}"
            yield Problem(("dimensions", index, "tours_within"), "conflict", message)
    if any(dimension.tours for _, dimension in readable(dimensions, "tours")):
        for index, dimension in readable(dimensions, "snake"):
            if dimension.snake:
                yield Problem(("dimensions", index, "snake"), "conflict", "must be False where positions have tours")


def _cameras_have(field: str, dimensions: Any) -> bool:
    """Return whether each of several cameras says this of itself."""
    for _, dimension in readable(dimensions[:-2], "type", "coords"):
        if dimension.type == "camera" and dimension.coords:
            return all(getattr(camera, field) for _, camera in readable(dimension.coords, field))
    return False


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
        if dimension.count is None and not _cameras_have("shape", dimensions):
            yield Problem(("dimensions", first + index, "count"), "missing", "a frame needs a size")
    for index, dimension in readable(dimensions[first:], "snake"):
        if dimension.snake:
            yield Problem(
                ("dimensions", first + index, "snake"), "conflict", "pixels of a frame have no order of arrival"
            )


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


def _buffer(settings: Any) -> Iterator[Problem]:
    if settings.buffer_bytes is None:
        yield Problem(("buffer_bytes",), "invalid_type", "must be a whole number; got None")


def _sync(settings: Any) -> Iterator[Problem]:
    value = settings.sync
    if value in ("close", "never") and isinstance(value, str):
        return
    if not is_number(value) or not is_finite(value) or value <= 0:
        yield Problem(
            ("sync",), "invalid_value", f"must be 'close', 'never' or a number of seconds; got {shown(value)}"
        )


ACQUISITION: Final[tuple[Rule, ...]] = (
    text("root_path", empty=True),
    listed("dimensions", "dimensions"),
    _unique_dimensions,
    _loops,
    _frame,
    rules.dtype,
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
    whole("buffer_bytes", at_least=0, at_most=2**63 - 1),
    _buffer,
    *ragged_rules.ACQUISITION,
    _sync,
)

# ── ready to be written ─────────────────────────────────────────────────────────────────────────────────────────────


def _present(settings: Any) -> Iterator[Problem]:
    if not settings.dimensions:
        yield Problem(("dimensions",), "missing", "is required: what does the acquisition loop over?")
    if not settings.dtype and not _cameras_have("dtype", settings.dimensions):
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
    told: list[tuple[tuple[str | int, ...], str]] = [(("dtype",), settings.dtype)]
    for number_, dimension in readable(settings.dimensions[:-2], "type", "coords"):
        for index, camera in enumerate(dimension.coords or ()) if dimension.type == "camera" else ():
            told.append((("dimensions", number_, "coords", index, "dtype"), camera.dtype))
    for loc, dtype in told:
        if dtype and allowed and dtype not in allowed:
            listing = ", ".join(allowed)
            yield Problem(loc, "unsupported", f"{settings.format.name} can hold {listing}; got {dtype!r}")


def _group_names(settings: Any) -> Iterator[Problem]:
    if getattr(settings.format, "group_names", "number") == "number":
        return
    for index, dimension in readable(settings.dimensions, "type", "coords"):
        if dimension.type != "position":
            continue
        for number_, position in enumerate(dimension.coords):
            if not re.fullmatch(r"(?!__)(?!.*\.$)[A-Za-z0-9_-][A-Za-z0-9._-]*", position.name):
                message = f"as a group name must be letters, digits, '-', '_' and '.'; got {shown(position.name)}"
                yield Problem(("dimensions", index, "coords", number_, "name"), "invalid_value", message)
            elif fault := file_name_fault(position.name) or _document_fault(position.name):
                message = f"cannot name a group: it {fault}; use group_names='number'; got {shown(position.name)}"
                yield Problem(("dimensions", index, "coords", number_, "name"), "invalid_value", message)


def _document_fault(name: str) -> str | None:
    return "is what OME-Zarr calls something else" if name.lower() in ("zarr.json", "labels") else None


def _root_name(settings: Any) -> Iterator[Problem]:
    path = settings.root_path
    stem, _ = split_suffix(path.rstrip("/\\"))
    if path and settings.format.name != "scratch" and re.split(r"[/\\]", stem)[-1] in ("", ".", ".."):
        message = f"must end in the name that the dataset shall have; got {shown(path)}"
        yield Problem(("root_path",), "invalid_value", message)
        return
    name = re.split(r"[/\\]", settings.output_path.rstrip("/\\"))[-1]
    if not is_url(path) and (size := len(name.encode(errors="surrogatepass"))) > _MOST_NAME:
        message = f"the name of the dataset, with its suffix, must have at most {_MOST_NAME} bytes; has {size}"
        yield Problem(("root_path",), "invalid_value", message)


READY: Final[tuple[Rule, ...]] = (_present, _root_name, _storable_dtype, _group_names)
