"""Metadata of frames: what is stored, in which form, and what is refused."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from types import MappingProxyType

import numpy as np
import pytest

from ome_writers.errors import FrameError
from ome_writers.records import PlacedRecords, as_json_object, as_record


class Shutter(Enum):
    OPEN = "open"


class Gain(IntEnum):
    HIGH = 3


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return "LOUD"


STORED = {
    "text": ("µ 😀\t\n", "µ 😀\t\n"),
    "int": (2**70, 2**70),
    "float": (0.1, 0.1),
    "bool": (True, True),
    "none": (None, None),
    "nan": (float("nan"), "NaN"),
    "infinity": (float("inf"), "Infinity"),
    "minus infinity": (-np.float32(np.inf), "-Infinity"),
    "complex": (1 + 2j, [1.0, 2.0]),
    "complex with nan": (complex(0, float("nan")), [0.0, "NaN"]),
    "numpy integer": (np.uint64(2**64 - 1), 2**64 - 1),
    "numpy float": (np.float16(0.5), 0.5),
    "numpy double": (np.float64(0.1), 0.1),
    "numpy long double": (np.longdouble(0.5), 0.5),
    "numpy long complex": (np.clongdouble(1j), [0.0, 1.0]),
    "numpy bool": (np.bool_(True), True),  # noqa: FBT003 - that is its constructor
    "numpy text": (np.str_("a"), "a"),
    "array": (np.arange(6, dtype=">u2").reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    "array of floats": (np.array([0.5, 1]), [0.5, 1.0]),
    "array with nan": (np.array([[0.5], [np.nan]]), [[0.5], ["NaN"]]),
    "array without axes": (np.array(5), 5),
    "array of complex": (np.array([1j]), [[0.0, 1.0]]),
    "array of text": (np.array(["a", "µ"]), ["a", "µ"]),
    "array of objects": (np.array([1, "a", None, Shutter.OPEN], object), [1, "a", None, "open"]),
    "empty array": (np.empty((0, 3)), []),
    "datetime": (datetime(2026, 11, 22, 20, 1, 2, 500, tzinfo=UTC), "2026-11-22T20:01:02.000500+00:00"),
    "date": (date(2026, 11, 22), "2026-11-22"),
    "time": (time(20, 1), "20:01:00"),
    "time span": (timedelta(minutes=1, milliseconds=5), 60.005),
    "numpy time": (np.datetime64("2026-11-22T20:01:02.123456789"), "2026-11-22T20:01:02.123456789"),
    "numpy times": (np.array(["2026-11-22", "NaT"], "M8[D]"), ["2026-11-22", "NaN"]),
    "numpy time span": (np.timedelta64(1500, "ms"), 1.5),
    "no time span": (np.timedelta64("NaT", "s"), "NaN"),
    "path": (PurePosixPath("a/b"), "a/b"),
    "enumeration": (Shutter.OPEN, "open"),
    "whole enumeration": (Gain.HIGH, 3),
    "subclass of text": (Loud("quiet"), "quiet"),
    "list": ([1, (2.5, {"a": range(2)})], [1, [2.5, {"a": [0, 1]}]]),
    "mapping": (MappingProxyType({"a": OrderedDict(b=np.int8(1))}), {"a": {"b": 1}}),
    "keys": (
        {1: "a", np.int64(2): "b", Shutter.OPEN: "c", np.str_("d"): "e"},
        {"1": "a", "2": "b", "open": "c", "d": "e"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "stored"), STORED.values(), ids=STORED)
def test_values_become_plain_json(given, stored):
    record = as_record({"value": given})
    assert record == {"value": stored}
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert type(record["value"]) is type(stored)


HOLDS_ITSELF: list = []
HOLDS_ITSELF.append({"again": HOLDS_ITSELF})
DEEP: list = []
for _ in range(100):
    DEEP = [DEEP]
REFUSED = {
    "bytes": ({"a": {"b": [0, {"c": b"x"}]}}, "metadata.a.b.1.c: cannot store a value of type bytes; got b'x'"),
    "set": ({"a": {1}}, "metadata.a: cannot store a value of type set; got {1}"),
    "object": ({"a": [object]}, "metadata.a.0: cannot store a value of type type; got <class 'object'>"),
    "array of bytes": ({"a": np.array([b"x"])}, "metadata.a: cannot store numpy's |S1"),
    "months": ({"a": np.timedelta64(1, "M")}, "metadata.a: cannot store a time span without a fixed number of seconds"),
    "what XML forbids": ({"a": ["\x00"]}, r"metadata.a.0: must not hold the character '\x00'"),
    "half a character": ({"a": "\ud800"}, r"metadata.a: must not hold the character '\ud800'"),
    "such a key": ({"\x01": 1}, r"metadata: must not hold the character '\x01'"),
    "key": ({"a": {None: 1}}, "metadata.a: keys must be text; got None"),
    "key that is true": ({True: 1}, "metadata: keys must be text; got True"),
    "keys that meet": ({1: "a", "1": "b"}, "metadata: keys must differ as text; got [1, '1']"),
    "a long integer": ({"a": 1 << 5000}, "metadata.a: must be an integer of at most 4096 bits; got one of 5001"),
    "what holds itself": ({"a": HOLDS_ITSELF}, "metadata.a.0.again: cannot store what holds itself"),
    "too deep": ({"a": DEEP}, "cannot store more than 64 levels of nesting"),
    "no mapping": ([1], "metadata: must be a mapping; got [1]"),
    "delta_t": ({"delta_t": "1 s"}, "metadata.delta_t: must be a finite number; got '1 s'"),
    "exposure_time": ({"exposure_time": float("nan")}, "metadata.exposure_time: must be a finite number; got nan"),
    "position_x": ({"position_x": None}, "metadata.position_x: must be a finite number; got None"),
    "position_y": ({"position_y": True}, "metadata.position_y: must be a finite number; got True"),
    "position_z": ({"position_z": np.array([1.0])}, "metadata.position_z: must be a finite number; got array([1.])"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_stored_is_named_with_its_path(given, message):
    with pytest.raises(FrameError) as caught:
        as_record(given)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_numbers_of_a_plane_may_come_from_numpy():
    given = {"delta_t": np.float32(0.5), "exposure_time": 1, "position_x": np.int16(-3)}
    assert as_record(given) == {"delta_t": 0.5, "exposure_time": 1, "position_x": -3}


def test_a_record_shares_nothing_with_what_came():
    given = {"a": [1], "b": {"c": 1}, "d": np.zeros(1)}
    record = as_record(given)
    given["a"].append(2)
    given["b"]["c"] = 2
    given["d"][0] = 2
    assert record == {"a": [1], "b": {"c": 1}, "d": [0.0]}


def test_one_list_may_come_twice():
    shared = [1]
    assert as_record({"a": shared, "b": [shared, shared]}) == {"a": [1], "b": [[1], [1]]}


def test_global_metadata_has_no_keys_of_its_own():
    assert as_json_object({"exposure_time": "10 ms"}) == {"exposure_time": "10 ms"}


def test_records_with_their_places_are_made_when_asked_for() -> None:
    told = PlacedRecords({3: {"a": 1}, 5: {"a": 2}}, np.array([3, 5]), np.array([[0, 1], [1, 0]]))
    assert told[1] == {"storage_index": [1, 0], "a": 2}
    assert list(told[1:]) == [told[1]]
    assert as_json_object({"frames": told}) == {"frames": list(told)}
