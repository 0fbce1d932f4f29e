"""What people write in settings, turned into what the settings hold.

Casts turn what people write into what the settings hold: `"um"` into `"micrometer"`, `np.uint16` into `"uint16"`. A
cast never refuses: what it does not understand passes through unchanged, for the rules of the object to judge.
"""

from __future__ import annotations

import operator
import os
import string
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np

from ome_writers import units

DimensionType = Literal["space", "time", "channel", "position", "camera", "other"]

STANDARD_TYPES: dict[str, DimensionType] = {
    "x": "space", "y": "space", "z": "space", "c": "channel", "t": "time", "p": "position",
}  # fmt: skip
"""Standard name of a dimension -> its type."""

STANDARD_WELLS = {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}
"""Number of wells of a standard plate -> its rows and columns."""


def type_hints(coords: object, unit: object) -> dict[str, str]:
    """Return what the coordinates and the unit of a dimension say about its type.

    Examples
    --------
    >>> type_hints(None, "um"), type_hints(None, None)
    ({'unit': 'space'}, {})
    """
    hints = {}
    kinds = {type(value).__name__ for value in coords} if isinstance(coords, tuple) else set()
    for kind in ("Channel", "Position", "Camera"):
        if kind in kinds:
            hints["coords"] = kind.lower()
    if isinstance(unit, str) and (quantity := units.quantity_of(unit)):
        hints["unit"] = quantity
    return hints


def infer_type(name: object, coords: object, unit: object) -> str | None:
    """Return the type of a dimension by its coordinates, then its unit, then its standard name.

    Examples
    --------
    >>> infer_type("t", None, None), infer_type("depth", None, "um"), infer_type("gate", None, None)
    ('time', 'space', None)
    """
    hints = set(type_hints(coords, unit).values())
    if len(hints) > 1:
        return None
    return next(iter(hints), STANDARD_TYPES.get(name) if isinstance(name, str) else None)


def as_tuple(value: object) -> Any:
    """Cast a list or another iterable (but no text and no mapping) to a tuple."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        return value
    try:
        return tuple(value)
    except TypeError:  # an array of numpy without axes says that it can be iterated, and cannot
        return value


def as_whole(value: object) -> Any:
    """Cast numpy's integers, and floats without a fraction, to `int`."""
    if isinstance(value, (bool, np.bool_)):
        return value
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return value


def as_flag(value: object) -> Any:
    """Cast numpy's truth values, and 0 and 1, to `bool`."""
    return bool(value) if isinstance(value, (np.bool_, Integral)) and value in (0, 1) else value


def as_number(value: object) -> Any:
    """Cast what is a real number, numpy's, decimals and fractions among them, to `int` or `float`."""
    if value.__class__.__name__ == "Decimal" and not isinstance(value, Real):
        return float(value)  # type: ignore[arg-type]
    if not isinstance(value, Real) or isinstance(value, bool) or value.__class__ in {int, float}:
        return value
    try:
        return operator.index(value) if isinstance(value, Integral) else float(value)
    except OverflowError:
        return value


def as_plain(value: object) -> Any:
    """Cast text of another type (a member of a text enumeration, numpy's) to `str`, also within a tuple."""
    if isinstance(value, tuple):
        return tuple(str.__str__(item) if isinstance(item, str) else item for item in value)
    return str.__str__(value) if isinstance(value, str) else value


def as_path(value: object) -> Any:
    """Cast path objects, and `file:` URLs, to the text of a path; drop the slash behind a folder.

    Examples
    --------
    >>> as_path("file:///data/my%20cells.ome.zarr/"), as_path("file:///C:/cells.zarr"), as_path("s3://b/cells.zarr")
    ('/data/my cells.ome.zarr', 'C:/cells.zarr', 's3://b/cells.zarr')
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(text, str) and text.lower().startswith("file:///"):
        text = unquote(text[len("file://") :])
        text = text[1:] if text[2:3] == ":" else text
    if (
        isinstance(text, str)
        and len(text) > 1
        and text.endswith(("/", "\\"))
        and not text.endswith(("://", ":\\", ":/"))
    ):
        return text.rstrip("/\\") or text[:1]
    return text


def as_dtype(value: object) -> Any:
    """Cast what numpy knows as a dtype to its name."""
    if value is None or (isinstance(value, str) and not value):
        return ""
    # Lists and mappings stand for records to numpy, never for a pixel.
    if not isinstance(value, (str, type, np.dtype)):
        return value
    try:
        return np.dtype(value).name
    except (TypeError, ValueError, SyntaxError):
        return value


def row_name(number: int) -> str:
    """Return the name of a plate's row: `A` … `Z`, then `AA`, `AB`, …

    Examples
    --------
    >>> [row_name(i) for i in (0, 25, 26, 27, 31)]
    ['A', 'Z', 'AA', 'AB', 'AF']
    """
    letters = string.ascii_uppercase
    before, last = divmod(number, len(letters))
    return (row_name(before - 1) if before else "") + letters[last]


def split_suffix(path: str) -> tuple[str, str]:
    """Split `.ome.tiff`, `.tif`, `.ome.zarr` and the like from a path; the suffix in lower case.

    Examples
    --------
    >>> split_suffix("data/cells.ome.zarr"), split_suffix("cells.v2.TIF"), split_suffix("cells.v2")
    (('data/cells', '.ome.zarr'), ('cells.v2', '.tif'), ('cells.v2', ''))
    """
    for extension in (".tiff", ".tif", ".zarr"):
        if path.lower().endswith(extension):
            cut = len(path) - len(extension)
            cut -= 4 * path[:cut].lower().endswith(".ome")
            return path[:cut], path[cut:].lower()
    return path, ""


def is_url(root: str) -> bool:
    """Return whether `root` is a URL (`s3://…`), so that not the file system but the writer knows what stands there.

    Examples
    --------
    >>> is_url("s3://bucket/cells.ome.zarr"), is_url("C:/data/cells.ome.zarr")
    (True, False)
    """
    return "://" in root
