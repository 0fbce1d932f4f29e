"""Every rule of the settings: where it points, of what kind it is, and what it says."""

from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ome_writers.check import Draft, build, shown
from ome_writers.errors import FrameError, PlanError, PlanExhausted, Problem, SettingsError, WriteError
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.items import Camera, Channel, Position
from ome_writers.settings import AcquisitionSettings, Dimension, Plate

Y, X = Dimension(name="y", count=4), Dimension(name="x", count=4)
COLOR = "must be a CSS colour name, a hexadecimal string such as '#00ff00', or 3 or 4 numbers; got"
DTYPE = "must be the name of a numpy dtype, such as 'uint16'; got"
ZARR_BACKENDS = "must be one of 'auto', 'direct', 'tensorstore', 'acquire-zarr', 'zarrs-python', 'zarr-python'; got"
OME_PIXELS = "bool, int8, uint8, int16, uint16, int32, uint32, float32, float64, complex64, complex128"
FORMATS = (
    "must be one of 'auto', 'zarr', 'tiff', 'ome-zarr', 'ome-tiff', 'scratch', 'direct', 'tensorstore', "
    "'acquire-zarr', 'zarrs-python', 'zarr-python', 'tifffile', 'memory'; got"
)


def found(cls: type, fields: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as caught:
        cls(**fields)
    return [(problem.kind, str(problem)) for problem in caught.value.problems]


def acquisition(*dimensions: Any, **fields: Any) -> dict[str, Any]:
    return {"dimensions": [*dimensions, Y, X], "root_path": "a.ome.zarr", "dtype": "uint8", **fields}


CHANNEL = [
    ({"name": 5}, "invalid_type", "name: must be text; got 5"),
    ({"name": ""}, "invalid_value", "name: must not be empty"),
    (
        {"name": "a\0"},
        "invalid_value",
        r"name: must not hold the character '\x00', which XML cannot store; got 'a\x00'",
    ),
    (
        {"name": "a\ud800"},
        "invalid_value",
        r"name: must not hold the character '\ud800', which XML cannot store; got 'a\ud800'",
    ),
    (
        {"name": "a", "excitation_wavelength_nm": 0},
        "invalid_value",
        "excitation_wavelength_nm: must be greater than 0; got 0",
    ),
    (
        {"name": "a", "emission_wavelength_nm": "510"},
        "invalid_type",
        "emission_wavelength_nm: must be a number; got '510'",
    ),
    (
        {"name": "a", "emission_wavelength_nm": True},
        "invalid_type",
        "emission_wavelength_nm: must be a number; got True",
    ),
    (
        {"name": "a", "emission_wavelength_nm": float("inf")},
        "invalid_value",
        "emission_wavelength_nm: must be finite; got inf",
    ),
    ({"name": "a", "exposure_time": 0}, "invalid_value", "exposure_time: must be greater than 0; got 0"),
    ({"name": "a", "z_offset": "low"}, "invalid_type", "z_offset: must be a number; got 'low'"),
    ({"name": "a", "fluorophore": 1}, "invalid_type", "fluorophore: must be text; got 1"),
    ({"name": "a", "color": "greenish"}, "invalid_value", f"color: {COLOR} 'greenish'"),
    ({"name": "a", "color": [1, 2]}, "invalid_value", f"color: {COLOR} [1, 2]"),
    ({"name": "a", "color": (1, 2, 3, 255)}, "invalid_value", f"color: {COLOR} (1, 2, 3, 255)"),
]
POSITION = [
    ({"name": None}, "invalid_type", "name: must be text; got None"),
    ({"name": "a", "plate_row": "A"}, "missing", "plate_column: must be given together with plate_row"),
    ({"name": "a", "plate_column": "1"}, "missing", "plate_row: must be given together with plate_column"),
    ({"name": "a", "plate_row": "", "plate_column": "1"}, "invalid_value", "plate_row: must not be empty"),
    ({"name": "a", "plate_row": "A", "plate_column": 1}, "invalid_type", "plate_column: must be text; got 1"),
    ({"name": "a", "grid_row": 1}, "missing", "grid_column: must be given together with grid_row"),
    ({"name": "a", "grid_column": 1}, "missing", "grid_row: must be given together with grid_column"),
    ({"name": "a", "grid_row": -1, "grid_column": 0}, "invalid_value", "grid_row: must be at least 0; got -1"),
    ({"name": "a", "grid_row": 0, "grid_column": 0.5}, "invalid_type", "grid_column: must be a whole number; got 0.5"),
    ({"name": "a", "x_coord": "1"}, "invalid_type", "x_coord: must be a number; got '1'"),
    ({"name": "a", "y_coord": float("nan")}, "invalid_value", "y_coord: must be finite; got nan"),
    (
        {"name": "a", "z_coord": Fraction(10**400)},
        "invalid_value",
        f"z_coord: must be finite; got {shown(Fraction(10**400))}",
    ),
    ({"name": "a", "counts": 5}, "invalid_type", "counts: must be a mapping of dimensions to their counts; got 5"),
    ({"name": "a", "counts": {"z": 0}}, "invalid_value", "counts.z: must be a whole number, at least 1; got 0"),
    (
        {"name": "a", "coords": 5},
        "invalid_type",
        "coords: must be a mapping of dimensions to lists of their elements; got 5",
    ),
    ({"name": "a", "coords": {"z": 5}}, "invalid_type", "coords.z: must be a list; got 5"),
    (
        {"name": "a", "coords": {"z": []}},
        "invalid_value",
        "coords.z: must name at least one; leave it out for all of them",
    ),
    (
        {"name": "a", "coords": {"z": [1, None]}},
        "invalid_type",
        "coords.z.1: must be a name or a finite number; got None",
    ),
]
CAMERA = [
    ({"name": "a", "shape": 5}, "invalid_type", "shape: must be pixels along y and x; got 5"),
    ({"name": "a", "shape": [4, 2.5]}, "invalid_type", "shape.1: must be a whole number; got 2.5"),
    ({"name": "a", "shape": [4, 0]}, "invalid_value", "shape.1: must be a number greater than 0; got 0"),
]
PLATE = [
    ({"row_names": "AB", "column_names": ["1"]}, "invalid_type", "row_names: must be a list of names; got 'AB'"),
    ({"row_names": ["A"], "column_names": 3}, "invalid_type", "column_names: must be a list of names; got 3"),
    ({"row_names": [], "column_names": ["1"]}, "invalid_value", "row_names: must name at least one; got an empty list"),
    ({"row_names": ["A", 1], "column_names": ["1"]}, "invalid_type", "row_names.1: must be text; got 1"),
    (
        {"row_names": ["A", "B 1"], "column_names": ["1"]},
        "invalid_value",
        "row_names.1: must be letters and digits only; got 'B 1'",
    ),
    (
        {"row_names": ["A", "b", "B"], "column_names": ["1"]},
        "conflict",
        "row_names: must differ in more than case; got 'b' more than once",
    ),
    ({"row_names": ["A"], "column_names": ["1"], "name": 5}, "invalid_type", "name: must be text; got 5"),
]
DIMENSION = [
    ({"name": ""}, "invalid_value", "name: must not be empty"),
    ({"name": "t", "count": 0}, "invalid_value", "count: must be at least 1; got 0"),
    ({"name": "t", "count": 2**31}, "invalid_value", "count: must be at most 2147483647; got 2147483648"),
    ({"name": "t", "count": 1.5}, "invalid_type", "count: must be a whole number; got 1.5"),
    ({"name": "t", "count": True}, "invalid_type", "count: must be a whole number; got True"),
    (
        {"name": "t", "count": 10**5000},
        "invalid_value",
        "count: must be at most 2147483647; got a number of 16610 bits",
    ),
    (
        {"name": "t", "type": "tyme"},
        "invalid_value",
        "type: must be one of 'space', 'time', 'channel', 'position', 'camera', 'other'; got 'tyme'",
    ),
    (
        {"name": "q", "unit": "um", "coords": [Channel(name="a")]},
        "conflict",
        "type: cannot be inferred: coords says 'channel' but unit says 'space'; give the type, or mend one of them",
    ),
    (
        {"name": "q", "coords": [Channel(name="a"), Position(name="b")], "type": "channel"},
        "conflict",
        "coords.1: a Position needs a dimension of type 'position'; got 'channel'",
    ),
    ({"name": "c", "coords": "DAPI"}, "invalid_type", "coords: must be a list of coordinates; got 'DAPI'"),
    ({"name": "c", "coords": []}, "invalid_value", "coords: must name at least one; leave it out to count instead"),
    ({"name": "c", "coords": ["a", 1]}, "invalid_type", "coords.1: must be a name, or the fields of a Channel; got 1"),
    (
        {"name": "p", "coords": [["a"]]},
        "invalid_type",
        "coords.0: must be a name, or the fields of a Position; got ['a']",
    ),
    (
        {"name": "c", "coords": [{"name": "a", "colour": "red"}]},
        "unknown_field",
        "coords.0.colour: is no field of Channel",
    ),
    ({"name": "c", "coords": [{}]}, "missing", "coords.0.name: is required"),
    (
        {"name": "z", "coords": [1, "two"]},
        "invalid_type",
        "coords.1: must be a number in a dimension of type 'space'; got 'two'",
    ),
    ({"name": "z", "coords": [1, float("nan")]}, "invalid_value", "coords.1: must be finite; got nan"),
    (
        {"name": "g", "coords": [{"name": "a"}]},
        "invalid_type",
        "coords.0: needs a dimension of type 'channel', 'position' or 'camera'; got {'name': 'a'}",
    ),
    ({"name": "g", "type": "other", "coords": [True]}, "invalid_type", "coords.0: must be text; got True"),
    (
        {"name": "c", "count": 3, "coords": ["a", "b"]},
        "conflict",
        "coords: must have as many entries as count says; got 2, count is 3",
    ),
    ({"name": "p"}, "missing", "count: a position dimension needs a count, or coords"),
    ({"name": "p", "count": 100_001}, "invalid_value", "count: there may be at most 100000 positions; got 100001"),
    (
        {"name": "c", "coords": ["a", "b", "a"]},
        "conflict",
        "coords: channel names must be unique; got 'a' more than once",
    ),
    ({"name": "p", "coords": ["a", "a"]}, "conflict", "coords: position names must be unique; got 'a' 2 times"),
    (
        {
            "name": "p",
            "coords": [{"name": "a", "plate_row": "B", "plate_column": "2", "grid_row": 1, "grid_column": 0}] * 3,
        },
        "conflict",
        "coords: position names must be unique in well B2, grid cell (1, 0); got 'a' 3 times",
    ),
    ({"name": "z", "chunk_size": 0}, "invalid_value", "chunk_size: must be at least 1; got 0"),
    ({"name": "z", "shard_size_chunks": "2"}, "invalid_type", "shard_size_chunks: must be a whole number; got '2'"),
    ({"name": "z", "unit": 1}, "invalid_type", "unit: must be text; got 1"),
    (
        {"name": "z", "type": "space", "unit": "ms"},
        "invalid_value",
        "unit: must be a unit of space, such as 'micrometer' or 'um'; got 'ms'",
    ),
    (
        {"name": "t", "type": "time", "unit": "parsec"},
        "invalid_value",
        "unit: must be a unit of time, such as 'second' or 'ms'; got 'parsec'",
    ),
    ({"name": "z", "scale": -1}, "invalid_value", "scale: must be greater than 0; got -1"),
    ({"name": "z", "scale": 10**400}, "invalid_value", "scale: must be finite; got a number of 1329 bits"),
    ({"name": "z", "translation": "here"}, "invalid_type", "translation: must be a number; got 'here'"),
    ({"name": "z", "snake": 2}, "invalid_value", "snake: must be one of True, False; got 2"),
    ({"name": "p", "count": 3, "tours": 3}, "invalid_type", "tours: must be a list of sizes; got 3"),
    ({"name": "p", "count": 3, "tours": [3, 0]}, "invalid_value", "tours.1: must be at least 1; got 0"),
    ({"name": "p", "count": 3, "tours": [2, 2]}, "conflict", "tours: must hold every position once; got 4, count is 3"),
    (
        {"name": "z", "count": 3, "tours": [3]},
        "conflict",
        "tours: only positions have tours; got a dimension of type 'space'",
    ),
]
FORMAT = [
    (OmeZarrFormat, {"name": "ome-tiff"}, "invalid_value", "name: must be one of 'ome-zarr'; got 'ome-tiff'"),
    (OmeZarrFormat, {"backend": "tifffile"}, "invalid_value", f"backend: {ZARR_BACKENDS} 'tifffile'"),
    (OmeZarrFormat, {"suffix": None}, "invalid_type", "suffix: must be text; got None"),
    (OmeZarrFormat, {"suffix": "/x.zarr"}, "invalid_value", "suffix: must be a name, not a path; got '/x.zarr'"),
    (
        OmeZarrFormat,
        {"group_names": "well"},
        "invalid_value",
        "group_names: must be one of 'number', 'position'; got 'well'",
    ),
    (
        OmeTiffFormat,
        {"backend": "tensorstore"},
        "invalid_value",
        "backend: must be one of 'auto', 'direct', 'tifffile'; got 'tensorstore'",
    ),
    (
        OmeTiffFormat,
        {"prefer_single_file": "yes"},
        "invalid_value",
        "prefer_single_file: must be one of 'auto', 'always', 'never'; got 'yes'",
    ),
    (
        OmeTiffFormat,
        {"multi_file_metadata": "none"},
        "invalid_value",
        "multi_file_metadata: must be one of 'redundant', 'master-tiff', 'companion-file'; got 'none'",
    ),
    (OmeTiffFormat, {"companion_file": ""}, "invalid_value", "companion_file: must not be empty"),
    (
        OmeTiffFormat,
        {"companion_file": "a\\b"},
        "invalid_value",
        r"companion_file: must be a name, not a path; got 'a\\b'",
    ),
    (
        ScratchFormat,
        {"backend": "disk"},
        "invalid_value",
        "backend: must be one of 'auto', 'scratch', 'memory'; got 'disk'",
    ),
    (ScratchFormat, {"max_memory_bytes": -1}, "invalid_value", "max_memory_bytes: must be at least 0; got -1"),
    (
        ScratchFormat,
        {"max_memory_bytes": 2**63},
        "invalid_value",
        "max_memory_bytes: must be at most 9223372036854775807; got 9223372036854775808",
    ),
    (ScratchFormat, {"spill_to_disk": "no"}, "invalid_value", "spill_to_disk: must be one of True, False; got 'no'"),
]
WELLS = Plate(row_names=["A", "B"], column_names=["1", "2"])
ACQUISITION = [
    ({"root_path": 5}, "invalid_type", "root_path: must be text; got 5"),
    ({"dimensions": "tyx"}, "invalid_type", "dimensions: must be a list of dimensions; got 'tyx'"),
    ({"dimensions": [Y, 7]}, "invalid_type", "dimensions.1: must be a mapping of Dimension's fields; got 7"),
    (
        {"dimensions": [X]},
        "invalid_value",
        "dimensions: must end with the two dimensions of a frame, usually y and x; got one",
    ),
    (acquisition(Dimension(name="x", count=2)), "conflict", "dimensions: names must be unique; got 'x' more than once"),
    (
        acquisition(Dimension(name="t", count=2), Dimension(name="z")),
        "missing",
        "dimensions.1.count: only the first dimension may go on without end",
    ),
    (
        acquisition(Dimension(name="p", count=2), Dimension(name="q", count=2, type="position")),
        "conflict",
        "dimensions.1: there may be one position dimension; dimensions.0 is one already",
    ),
    (
        {"dimensions": [Y, Dimension(name="c", count=2)]},
        "conflict",
        "dimensions.1.type: one of the last two dimensions, those of a frame, must be of type 'space'; got 'channel'",
    ),
    ({"dimensions": [Dimension(name="y"), X]}, "missing", "dimensions.0.count: a frame needs a size"),
    (
        acquisition(Dimension(name="z", count=2, snake=True), Dimension(name="p", count=3, tours=[2, 1])),
        "conflict",
        "dimensions.0.snake: must be False where positions have tours",
    ),
    (
        {"dimensions": [Dimension(name="y", count=2, snake=True), X]},
        "conflict",
        "dimensions.0.snake: pixels of a frame have no order of arrival",
    ),
    (
        {"dimensions": [Dimension(name="row", count=1, coords=["a"]), X]},
        "invalid_type",
        "dimensions.0.coords.0: must be a number in a dimension of type 'space'; got 'a'",
    ),
    ({"dtype": "uint17"}, "invalid_value", f"dtype: {DTYPE} 'uint17'"),
    ({"dtype": ["u1"]}, "invalid_value", f"dtype: {DTYPE} ['u1']"),
    ({"dtype": "f8,,"}, "invalid_value", f"dtype: {DTYPE} 'f8,,'"),
    ({"dtype": "datetime64"}, "invalid_value", "dtype: pixels must be numbers; got 'datetime64'"),
    ({"dtype": object}, "invalid_value", "dtype: pixels must be numbers; got 'object'"),
    ({"format": "hdf5"}, "invalid_value", f"format: {FORMATS} 'hdf5'"),
    ({"format": {"name": 5}}, "invalid_value", f"format: {FORMATS} 5"),
    ({"format": 5}, "invalid_type", "format: must be a format, or the name of one; got 5"),
    ({"format": {"name": "zarr", "chunks": 1}}, "unknown_field", "format.chunks: is no field of OmeZarrFormat"),
    ({"format": {"name": "tifffile", "suffix": 1}}, "invalid_type", "format.suffix: must be text; got 1"),
    ({"compression": 9}, "invalid_type", "compression: must be text; got 9"),
    (
        {"root_path": "a.zarr", "compression": "lzw"},
        "unsupported",
        "compression: must be one of 'none', 'blosc-zstd', 'blosc-lz4', 'zstd', 'gzip' for ome-zarr; got 'lzw'",
    ),
    (
        {"root_path": "a.tif", "compression": "gzip"},
        "unsupported",
        "compression: must be one of 'none', 'lzw', 'zlib', 'deflate', 'zstd' for ome-tiff; got 'gzip'",
    ),
    (
        {"root_path": "a.zarr", "compression": "zstd", "compression_level": "3"},
        "invalid_type",
        "compression_level: must be a whole number; got '3'",
    ),
    (
        {"root_path": "a.zarr", "compression": "zstd", "compression_level": 23},
        "invalid_value",
        "compression_level: must be at most 22 for zstd; got 23",
    ),
    (
        {"root_path": "a.zarr", "compression": "gzip", "compression_level": 10},
        "invalid_value",
        "compression_level: must be at most 9 for gzip; got 10",
    ),
    (
        {"root_path": "a.zarr", "compression_level": 3},
        "conflict",
        "compression_level: compression None has no levels; got 3",
    ),
    (
        {"root_path": "a.tif", "compression": "lzw", "compression_level": 3},
        "conflict",
        "compression_level: compression 'lzw' has no levels; got 3",
    ),
    (
        {"storage_order": "alphabetic"},
        "invalid_value",
        "storage_order: must be 'ome', 'acquisition' or a list of dimension names; got 'alphabetic'",
    ),
    ({"storage_order": ["y", 5]}, "invalid_type", "storage_order.1: must be text; got 5"),
    (
        acquisition(Dimension(name="t", count=2), storage_order=["y", "x"]),
        "conflict",
        "storage_order: must name every dimension once; got ['y', 'x'], they are ['t', 'y', 'x']",
    ),
    (
        acquisition(Dimension(name="t", count=2), storage_order=["t", "x", "y"]),
        "conflict",
        "storage_order: must end with the two dimensions of a frame, ['y', 'x']; got ['x', 'y']",
    ),
    (
        acquisition(plate=WELLS),
        "conflict",
        "plate: needs a dimension of type 'position', whose positions say their wells",
    ),
    (
        acquisition(Dimension(name="p", count=1), plate=WELLS),
        "missing",
        "dimensions.0.coords.0.plate_row: must say its well, since there is a plate",
    ),
    (
        acquisition(Dimension(name="p", coords=[Position(name="a", plate_row="C", plate_column="1")]), plate=WELLS),
        "conflict",
        "dimensions.0.coords.0.plate_row: must be a row of the plate; got 'C'",
    ),
    (
        acquisition(Dimension(name="p", coords=[Position(name="a", plate_row="A", plate_column="3")]), plate=WELLS),
        "conflict",
        "dimensions.0.coords.0.plate_column: must be a column of the plate; got '3'",
    ),
    ({"plate": "96"}, "invalid_type", "plate: must be a mapping of Plate's fields; got '96'"),
    ({"plate": {"row_names": ["A"]}}, "missing", "plate.column_names: is required"),
    ({"overwrite": "yes"}, "invalid_value", "overwrite: must be one of True, False; got 'yes'"),
    ({"buffer_bytes": -1}, "invalid_value", "buffer_bytes: must be at least 0; got -1"),
    (
        {"buffer_bytes": 2**63},
        "invalid_value",
        "buffer_bytes: must be at most 9223372036854775807; got 9223372036854775808",
    ),
    ({"buffer_bytes": "64 MB"}, "invalid_type", "buffer_bytes: must be a whole number; got '64 MB'"),
    ({"buffer_bytes": 0.5}, "invalid_type", "buffer_bytes: must be a whole number; got 0.5"),
    ({"buffer_bytes": None}, "invalid_type", "buffer_bytes: must be a whole number; got None"),
]
RULES = [
    *((Channel, *case) for case in CHANNEL),
    *((Position, *case) for case in POSITION),
    *((Camera, *case) for case in CAMERA),
    *((Plate, *case) for case in PLATE),
    *((Dimension, *case) for case in DIMENSION),
    *FORMAT,
    *((AcquisitionSettings, *case) for case in ACQUISITION),
]


@pytest.mark.parametrize(("cls", "fields", "kind", "text"), RULES, ids=[str(number) for number in range(len(RULES))])
def test_each_rule_says_where_and_what(cls, fields, kind, text):
    assert found(cls, fields) == [(kind, text)]


READY = [
    (
        {},
        ["missing", "missing"],
        ["dimensions: is required: what does the acquisition loop over?", "dtype: is required: what are the pixels?"],
    ),
    (
        {"format": "zarr", "dtype": "uint8", "dimensions": [Y, X]},
        ["missing"],
        ["root_path: is required for ome-zarr: where shall it be written?"],
    ),
    (
        acquisition(root_path=f"data/{'µ' * 111}.ome.zarr"),
        ["invalid_value"],
        ["root_path: the name of the dataset, with its suffix, must have at most 229 bytes; has 231"],
    ),
    (acquisition(root_path=f"data/{'a' * 220}.ome.zarr"), [], []),
    (acquisition(root_path=f"s3://bucket/{'a' * 240}.ome.zarr"), [], []),
    (acquisition(dtype="complex64", root_path="a.tif"), [], []),
    (
        acquisition(dtype="float16", root_path="a.tif"),
        ["unsupported"],
        [f"dtype: ome-tiff can hold {OME_PIXELS}; got 'float16'"],
    ),
    (
        acquisition(dtype="uint64", root_path="a.tif"),
        ["unsupported"],
        [f"dtype: ome-tiff can hold {OME_PIXELS}; got 'uint64'"],
    ),
    (acquisition(dtype="float16"), [], []),
    (acquisition(dtype="uint64"), [], []),
    (
        acquisition(dtype="float128"),
        ["unsupported"],
        [f"dtype: ome-zarr can hold {OME_PIXELS}, int64, uint64, float16; got 'float128'"],
    ),
    (acquisition(dtype="float128", root_path=""), [], []),
    (
        acquisition(
            Dimension(name="p", coords=["well 1", "ok", "__x", "a."]),
            format={"name": "zarr", "group_names": "position"},
        ),
        ["invalid_value"] * 3,
        [
            f"dimensions.0.coords.{index}.name: as a group name must be letters, digits, '-', '_' and '.'; got {name!r}"
            for index, name in ((0, "well 1"), (2, "__x"), (3, "a."))
        ],
    ),
    (
        acquisition(
            Dimension(name="p", coords=["con", "Com1.a", "concert"]), format={"name": "zarr", "group_names": "position"}
        ),
        ["invalid_value"] * 2,
        [
            f"dimensions.0.coords.{index}.name: cannot name a group: it stands for a device on Windows; "
            f"use group_names='number'; got {name!r}"
            for index, name in ((0, "con"), (1, "Com1.a"))
        ],
    ),
    (acquisition(Dimension(name="p", coords=["well 1"])), [], []),
]


@pytest.mark.parametrize(("fields", "kinds", "texts"), READY)
def test_rules_of_what_is_ready_to_be_written(fields, kinds, texts):
    described = AcquisitionSettings(**fields)
    if not texts:
        assert described.validate_stream_ready() is True
        return
    with pytest.raises(SettingsError) as caught:
        described.validate_stream_ready()
    assert [problem.kind for problem in caught.value.problems] == kinds
    assert [str(problem) for problem in caught.value.problems] == texts


def test_a_missing_name_is_said_of_the_object_that_lacks_it():
    assert [str(problem) for problem in build(Position, {}).problems] == ["name: is required"]
    assert [str(problem) for problem in build(Plate, {}).problems] == [
        "row_names: is required",
        "column_names: is required",
    ]
    with pytest.raises(SettingsError, match=r"^name: is required$"):
        Position()


def test_no_problem_hides_another():
    with pytest.raises(SettingsError) as caught:
        AcquisitionSettings(
            root_path="a.tif",
            dtype="uint17",
            compression="gzip",
            compression_level=-1,
            storage_order="z",
            overwrite=2,
            buffer_bytes=-1,
            plate={"row_names": ["A", "a"], "column_names": ["1", "?"]},
            format={"name": "tiff", "suffix": 1, "extra": 2},
            dimensions=[
                {"name": "p", "coords": [{"name": "a", "plate_row": "Z", "plate_column": "9"}, {"name": 1}]},
                {"name": "z", "count": 0, "scale": -1, "typ": "space"},
                {"name": "y", "snake": True},
                {"name": "x", "count": 8, "unit": "ms"},
            ],
        )
    assert sorted(".".join(map(str, problem.loc)) for problem in caught.value.problems) == [
        "buffer_bytes",
        "compression",
        "compression_level",
        # Whether there is a row 'Z' cannot be told while the rows are in doubt.
        "dimensions.0.coords.0.plate_column",
        "dimensions.0.coords.1.name",
        "dimensions.0.coords.1.plate_row",
        "dimensions.1.count",
        "dimensions.1.scale",
        "dimensions.1.typ",
        "dimensions.2.count",
        "dimensions.2.snake",
        "dimensions.3.type",
        "dtype",
        "format.extra",
        "format.suffix",
        "overwrite",
        "plate.column_names.1",
        "plate.row_names",
        "storage_order",
    ]


def test_messages_stay_short_whatever_came():
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    bomb: list[Any] = ["ha"]
    for _ in range(50):
        bomb = [bomb] * 10
    for value in (
        nested,
        bomb,
        "a" * 10**6,
        list(range(10**6)),
        np.zeros(10**5),
        10**5000,
        {str(i): i for i in range(9999)},
    ):
        with pytest.raises(SettingsError) as caught:
            Channel(name="a", color=value)
        assert len(str(caught.value)) < 600


WORDS = st.sampled_from(
    [
        "",
        "x",
        "y",
        "t",
        "z",
        "c",
        "p",
        "uint8",
        "um",
        "ms",
        "space",
        "time",
        "channel",
        "position",
        "other",
        "ome",
        "none",
        "zstd",
        "auto",
        "ome-zarr",
        "tiff",
        "tensorstore",
        "scratch",
        "red",
        "#fff",
        "A",
        "1",
        "a.zarr",
        "a.ome.tiff",
        "/",
        "\0",
        "\ud800",
        "f8,,",
    ]
)
STRANGE = [
    np.array(5),
    np.array([1, 2]),
    np.array(["a", "b"]),
    np.float32(1),
    np.int64(3),
    np.bool_(1),
    np.longdouble(1),
    np.complex64(1),
    Fraction(1, 3),
    10**400,
    2**31,
    1e300,
    b"abc",
    {1, 2},
    range(3),
    object(),
    int,
    Channel(name="q"),
    Position(name="q"),
    Y,
    OmeZarrFormat(),
    {1: 2},
    {None: 1},
]
LEAVES = st.none() | st.booleans() | st.integers(-1, 5) | st.integers() | st.floats() | WORDS | st.text(max_size=3)
CLASSES = (Channel, Position, Dimension, Plate, OmeZarrFormat, OmeTiffFormat, ScratchFormat, AcquisitionSettings)
FIELDS = {cls: [attribute.name for attribute in cls.__attrs_attrs__] for cls in CLASSES}
NAMES = st.sampled_from(sorted({name for names in FIELDS.values() for name in names} | {"strange"}))
# Indices stand for strange values: hypothesis would draw up a text of each of them.
ANYTHING = st.recursive(
    LEAVES | st.integers(0, len(STRANGE) - 1).map(STRANGE.__getitem__),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)
PLAUSIBLE = st.fixed_dictionaries(
    {"name": WORDS, "count": st.integers(1, 4)}, optional={"type": WORDS, "coords": ANYTHING}
)


def fields_of(cls: type) -> st.SearchStrategy[dict[str, Any]]:
    likely = {"dimensions": st.lists(PLAUSIBLE, max_size=4)} if cls is AcquisitionSettings else {}
    return st.fixed_dictionaries({}, optional={name: ANYTHING | likely.get(name, LEAVES) for name in FIELDS[cls]})


@pytest.mark.parametrize("cls", CLASSES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_comes_is_accepted_or_refused_with_its_problems(cls, data):
    built = build(cls, data.draw(fields_of(cls)))
    if isinstance(built, Draft):
        error = SettingsError(built.problems)
        assert error.problems
        assert len(set(error.problems)) == len(error.problems)
        assert all(len(problem.message) < 700 for problem in error.problems)
    else:
        assert hash(built) == hash(cls(**{name: getattr(built, name) for name in FIELDS[cls]}))


@pytest.mark.parametrize(
    "error",
    [
        SettingsError([Problem(("dtype",), "missing", "is required")]),
        PlanError([Problem((), "unsupported", "no")]),
        WriteError("no space left", 17),
        FrameError("too large"),
        PlanExhausted("no more"),
    ],
)
def test_errors_survive_the_way_to_another_process(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "problems", None) == getattr(error, "problems", None)
    assert getattr(again, "frame", None) == getattr(error, "frame", None)


def test_a_problem_seen_from_further_out():
    problem = Problem(("name",), "missing", "is required")
    assert str(problem.under("dimensions", 2)) == "dimensions.2.name: is required"
    assert str(Problem((), "syntax", "is no JSON")) == "is no JSON"


def test_an_array_without_axes_is_no_list():
    assert found(Plate, {"row_names": np.array("A"), "column_names": ["1"]}) == [
        ("invalid_type", "row_names: must be a list of names; got array('A', dtype='<U1')")
    ]


def test_a_draft_shows_what_came():
    assert repr(build(Channel, 5)) == "5"
