"""Given what a program knows of a frame, this answers: how does it stand in JSON, and can it be stored at all?

Metadata is checked and copied when the frame is handed over, so that a bad value is refused before the frame is taken,
and what the caller does with the mapping later changes nothing. Everything becomes one of JSON's six kinds of values:

====================================  ==========================================================
given                                 stored
====================================  ==========================================================
text, int, float, bool, `None`        as given
NaN, infinities                       `"NaN"`, `"Infinity"`, `"-Infinity"` (as in zarr v3's fill values)
complex numbers                       `[real, imaginary]`
numpy scalars and arrays              the value, and (nested) lists of them
dates, times, `numpy.datetime64`      text in ISO 8601
`timedelta`, `numpy.timedelta64`      seconds
paths                                 text
enumerations                          their value
mappings; lists, tuples, ranges       objects with text for keys (whole numbers become text); lists
====================================  ==========================================================

Anything else (bytes, sets, objects, what holds itself, text that XML cannot store) raises `FrameError`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from enum import Enum
from typing import Any, Final, NoReturn, overload

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.check import text_fault
from ome_writers.errors import FrameError

JSON = dict[str, "JSON"] | list["JSON"] | str | int | float | bool | None
"""A value that JSON can store; numbers are finite."""
Record = dict[str, JSON]
"""Metadata of one frame, or of an acquisition."""

PLANE_KEYS: Final = frozenset({"delta_t", "exposure_time", "position_x", "position_y", "position_z"})
"""Keys with a place of their own in OME-XML: two in seconds, three in micrometers."""

_DEEPEST = 64
"""Levels of nesting that every JSON reader follows."""
_LONGEST_INT = 4096
"""Bits; Python refuses to print integers of more than 4,300 digits."""

Path = tuple[str | int, ...]


def as_record(metadata: Mapping[str, Any]) -> Record:
    """Return per-frame metadata as plain JSON values (the module says how); nothing in it is shared with `metadata`.

    `delta_t`, `exposure_time` (seconds) and `position_x`, `position_y`, `position_z` (micrometers) must be finite
    numbers.

    Raises
    ------
    FrameError
        If something cannot be stored; the message begins with the path to it.

    Examples
    --------
    >>> import numpy as np
    >>> as_record({"delta_t": np.float32(0.5), "laser": {"on": True, "power": float("nan")}})
    {'delta_t': 0.5, 'laser': {'on': True, 'power': 'NaN'}}
    >>> as_record({"laser": {"state": b"on"}})
    Traceback (most recent call last):
    ome_writers.errors.FrameError: metadata.laser.state: cannot store a value of type bytes; got b'on'
    """
    record = as_json_object(metadata)
    if not PLANE_KEYS.isdisjoint(record):
        for key in PLANE_KEYS.intersection(record):
            if type(record[key]) not in (float, int):  # NaN has become text
                _refuse(("metadata", key), f"must be a finite number; got {metadata[key]!r}")
    return record


def as_json_object(metadata: Mapping[str, Any]) -> Record:
    """Return any mapping as plain JSON values: `as_record` without its rules for frames.

    Raises
    ------
    FrameError
        If something cannot be stored; the message begins with the path to it.
    """
    if not isinstance(metadata, Mapping):
        _refuse(("metadata",), f"must be a mapping; got {metadata!r}")
    return _object(metadata, ("metadata",), ())


def _object(mapping: Mapping[Any, Any], path: Path, holders: tuple[object, ...]) -> Record:
    # Called for every frame: plain keys and values, nearly all there are, go past every call that they do not need.
    made: Record = {}
    isfinite = math.isfinite
    for key, value in mapping.items():
        name = key if type(key) is str and key.isprintable() else _name(key, path)
        kind = type(value)
        if (kind is float and isfinite(value)) or (kind is str and value.isprintable()) or kind in _PLAIN:
            made[name] = value
        else:
            made[name] = _value(value, (*path, name), (*holders, mapping))
    if len(made) < len(mapping):
        _refuse(path, f"keys must differ as text; got {list(mapping)!r:.80}")
    return made


def _value(value: Any, path: Path, holders: tuple[object, ...]) -> JSON:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic):
        return _array(value, path, holders)
    for kinds, convert in _SCALARS:
        if isinstance(value, kinds):
            return convert(value, path)
    return _container(value, path, holders)


def _container(value: object, path: Path, holders: tuple[object, ...]) -> JSON:
    if any(value is holder for holder in holders):
        _refuse(path, "cannot store what holds itself")
    if len(holders) >= _DEEPEST:
        _refuse(path, f"cannot store more than {_DEEPEST} levels of nesting")
    if isinstance(value, Mapping):
        return _object(value, path, holders)
    if isinstance(value, np.ndarray):
        return _array(value, path, holders)
    if isinstance(value, (list, tuple, range, PlacedRecords)):
        return _list(value, path, (*holders, value))
    return _refuse(path, f"cannot store a value of type {type(value).__name__}; got {value!r:.80}")


def _list(values: Iterable[object], path: Path, holders: tuple[object, ...]) -> JSON:
    return [_value(item, (*path, index), holders) for index, item in enumerate(values)]


def _array(value: np.generic | np.ndarray[Any, Any], path: Path, holders: tuple[object, ...]) -> JSON:
    kind = value.dtype.kind
    if kind == "M":  # `tolist` would give nanoseconds as plain integers
        items: Any = np.where(np.isnat(value), "NaN", np.datetime_as_string(np.asarray(value))).tolist()
    elif kind == "m":
        try:
            items = (value / np.timedelta64(1, "s")).tolist()  # type: ignore[operator]
        except TypeError:  # no unit, or months and years
            _refuse(path, f"cannot store a time span without a fixed number of seconds; got {value!r:.80}")
    elif kind in "fc":  # Python has no longer ones than these
        items = value.astype(np.complex128 if kind == "c" else np.float64).tolist()
    elif kind in "biuUTO":
        items = value.tolist()
    else:
        _refuse(path, f"cannot store numpy's {value.dtype}; got {value!r:.80}")
    if kind in "biu" or (kind == "f" and np.isfinite(value).all()):
        plain: JSON = items
        return plain
    return _value(items, path, (*holders, value))


def _name(key: object, path: Path) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return str(int(key))
    if not isinstance(key, str):
        _refuse(path, f"keys must be text; got {key!r:.80}")
    return _text(key, path)


def _text(value: Any, path: Path) -> str:
    if fault := text_fault(value):
        _refuse(path, fault[1])
    return str.__str__(value)


def _whole(value: int, path: Path) -> int:
    if value.bit_length() > _LONGEST_INT:
        _refuse(path, f"must be an integer of at most {_LONGEST_INT} bits; got one of {value.bit_length()}")
    return int(value)


def _real(value: float) -> JSON:
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


@frozen(eq=False)
class PlacedRecords(Sequence[Record]):
    """Metadata of frames, each with the index of its frame in its array; made when asked for, as there may be millions.

    Examples
    --------
    >>> told = PlacedRecords({3: {"delta_t": 0.5}}, np.array([3]), np.array([[1, 0]]))
    >>> len(told), list(told)
    (1, [{'storage_index': [1, 0], 'delta_t': 0.5}])
    """

    records: Mapping[int, Record]
    places: NDArray[np.int64]
    """Which of the records, in the order in which they are told."""
    indices: NDArray[np.integer[Any]]
    """Shape (n, axes)."""

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, number: int) -> Record: ...
    @overload
    def __getitem__(self, number: slice) -> PlacedRecords: ...
    def __getitem__(self, number: int | slice) -> Record | PlacedRecords:
        if isinstance(number, slice):
            return PlacedRecords(self.records, self.places[number], self.indices[number])
        return with_place(self.records[int(self.places[number])], {"storage_index": self.indices[number].tolist()})


_PLAIN: Final = frozenset({bool, type(None)})
_SCALARS: Final[tuple[tuple[Any, Callable[[Any, Path], JSON]], ...]] = (
    ((bool, type(None)), lambda value, _: value),  # before int, which bool is
    (str, _text),
    (int, _whole),
    (float, lambda value, _: _real(value)),
    (complex, lambda value, _: [_real(value.real), _real(value.imag)]),
    ((date, time), lambda value, _: value.isoformat()),  # a datetime is a date
    (timedelta, lambda value, _: value.total_seconds()),
    (os.PathLike, lambda value, path: _text(os.fspath(value), path)),
)
"""How values of each type are stored that hold no others."""


def _refuse(path: Path, message: str) -> NoReturn:
    raise FrameError(f"{'.'.join(map(str, path))}: {message}")


def with_place(record: Record, place: Record) -> Record:
    """Return metadata that came with a frame together with where the frame lies.

    What came is kept as it is: where it has a key of the place's, that one gets underscores in front of it.

    Examples
    --------
    >>> with_place({"frame": "bright", "laser": 2}, {"frame": 7, "array": 0})
    {'_frame': 7, 'array': 0, 'frame': 'bright', 'laser': 2}
    """
    found: Record = {}
    for name, value in place.items():
        free = name
        while free in record:
            free = f"_{free}"
        found[free] = value
    return found | record


def placed_at(record: Record, name: str) -> JSON:
    """Return what `with_place` said of the place of a record, under a name or with underscores before it.

    Examples
    --------
    >>> placed_at(with_place({"frame": "bright"}, {"frame": 7}), "frame")
    7
    """
    return next(value for key, value in record.items() if key.lstrip("_") == name)
