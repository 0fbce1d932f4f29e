"""Settings: shorthands, inference, standard axes and plates, formats and paths, as `ome-writers` 0.3 has them."""

from __future__ import annotations

import pydoc
from pathlib import Path

import attrs
import numpy as np
import pytest

import ome_writers as ow
from ome_writers.errors import SettingsError
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.items import Channel, Position
from ome_writers.settings import AcquisitionSettings, Dimension, Plate
from ome_writers.shorthand import StandardAxis, dims_from_standard_axes

Y, X = Dimension(name="y", count=4), Dimension(name="x", count=4)

# What `ome-writers` 0.3.2 gave: format, root path, output path for one position and for three, name of the format.
OUTPUT_PATHS = [
    ("auto", "", "", "", "scratch"),
    ("auto", "a", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("auto", "a.zarr", "a.zarr", "a.zarr", "ome-zarr"),
    ("auto", "a.ome.zarr", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("auto", "a.tif", "a.tif", "a", "ome-tiff"),
    ("auto", "a.tiff", "a.tiff", "a", "ome-tiff"),
    ("auto", "a.ome.tif", "a.ome.tif", "a", "ome-tiff"),
    ("auto", "a.ome.tiff", "a.ome.tiff", "a", "ome-tiff"),
    ("auto", "A.OME.TIFF", "A.ome.tiff", "A", "ome-tiff"),
    ("auto", "a.OME.Zarr", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("auto", "d/a.b.ome.zarr", "d/a.b.ome.zarr", "d/a.b.ome.zarr", "ome-zarr"),
    ("auto", "a.ome.test", "a.ome.test.ome.zarr", "a.ome.test.ome.zarr", "ome-zarr"),
    ("auto", "a.ome", "a.ome.ome.zarr", "a.ome.ome.zarr", "ome-zarr"),
    ("tensorstore", "a", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("tensorstore", "a.zarr", "a.zarr", "a.zarr", "ome-zarr"),
    ("tensorstore", "a.tif", "a.tif", "a.tif", "ome-zarr"),
    ("acquire-zarr", "a", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("zarrs-python", "a.ome.zarr", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("zarr-python", "a", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("zarr", "a.ome.tiff", "a.ome.tiff", "a.ome.tiff", "ome-zarr"),
    ("OME-Zarr", "a", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    ("ome-tiff", "a", "a.ome.tiff", "a", "ome-tiff"),
    ("tiff", "a.ome.tif", "a.ome.tif", "a", "ome-tiff"),
    ("tifffile", "a", "a.ome.tiff", "a", "ome-tiff"),
    ("tifffile", "a.ome.zarr", "a.ome.zarr", "a", "ome-tiff"),
    ("tifffile", "d/a.b.tif", "d/a.b.tif", "d/a.b", "ome-tiff"),
    ("tifffile", "a.ome.test", "a.ome.test.ome.tiff", "a.ome.test", "ome-tiff"),
    ("scratch", "", "", "", "scratch"),
    ("scratch", "a.ome.zarr", "a.ome.zarr", "a.ome.zarr", "scratch"),
    ("memory", "a", "a", "a", "scratch"),
    ({"name": "scratch"}, "a.tif", "a.tif", "a.tif", "scratch"),
    ({"name": "ome-zarr"}, "a.zarr", "a.zarr", "a.zarr", "ome-zarr"),
    ({"name": "ome-tiff", "suffix": ".tif"}, "a.ome.tiff", "a.tif", "a", "ome-tiff"),
    (OmeZarrFormat(), "a.zarr", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    (OmeZarrFormat(), "a.tif", "a.ome.zarr", "a.ome.zarr", "ome-zarr"),
    (OmeZarrFormat(suffix=""), "a.ome.zarr", "a", "a", "ome-zarr"),
    (OmeTiffFormat(), "a.tif", "a.ome.tiff", "a", "ome-tiff"),
    (OmeTiffFormat(suffix=".tif", prefer_single_file=False), "a.tif", "a", "a", "ome-tiff"),
    (OmeTiffFormat(prefer_single_file="always"), "a", "a.ome.tiff", "a.ome.tiff", "ome-tiff"),
    (OmeTiffFormat(prefer_single_file=True), "a.ome.zarr", "a.ome.tiff", "a.ome.tiff", "ome-tiff"),
    (ScratchFormat(), "a.zarr", "a.zarr", "a.zarr", "scratch"),
]


@pytest.mark.parametrize(("format_", "root", "alone", "several", "name"), OUTPUT_PATHS)
def test_output_path_is_that_of_0_3(format_, root, alone, several, name):
    def settings(*dims):
        return AcquisitionSettings(root_path=root, format=format_, dimensions=[*dims, Y, X], dtype="uint8")

    assert settings().output_path == alone
    assert settings(Dimension(name="p", count=1)).output_path == alone
    assert settings(Dimension(name="p", count=3)).output_path == several
    assert settings().format.name == name


@pytest.mark.parametrize(
    ("word", "made"),
    [
        ("tensorstore", OmeZarrFormat(backend="tensorstore")),
        ("acquire-zarr", OmeZarrFormat(backend="acquire-zarr")),
        ("zarrs-python", OmeZarrFormat(backend="zarrs-python")),
        ("zarr-python", OmeZarrFormat(backend="zarr-python")),
        ("tifffile", OmeTiffFormat(backend="tifffile")),
        ("TIFF", OmeTiffFormat()),
        ("zarr", OmeZarrFormat()),
        ("auto", OmeZarrFormat()),
        ("direct", OmeZarrFormat(backend="direct")),
        ("scratch", ScratchFormat()),
        ("memory", ScratchFormat(backend="memory")),
        ({"backend": "tifffile"}, OmeTiffFormat(backend="tifffile")),
        ({"name": "auto", "group_names": "position"}, OmeZarrFormat(group_names="position")),
    ],
)
def test_words_for_formats(word, made):
    assert AcquisitionSettings(root_path="a", format=word).format == made


def test_without_a_path_the_format_is_scratch_as_it_comes():
    assert AcquisitionSettings().format == ScratchFormat()


@pytest.mark.parametrize(
    ("fields", "inferred"),
    [
        ({"name": "t"}, "time"),
        ({"name": "z"}, "space"),
        ({"name": "c"}, "channel"),
        ({"name": "p", "count": 2}, "position"),
        ({"name": "x"}, "space"),
        ({"name": "gate"}, None),
        ({"name": "T"}, None),
        ({"name": "depth", "unit": "um"}, "space"),
        ({"name": "z", "unit": "ms"}, "time"),
        ({"name": "lag", "unit": "furlong"}, None),
        ({"name": "z", "coords": [Channel(name="a")]}, "channel"),
        ({"name": "t", "coords": [Position(name="a"), "b"]}, "position"),
        ({"name": "t", "type": "other"}, "other"),
    ],
)
def test_type_is_inferred_from_coords_then_unit_then_name(fields, inferred):
    assert Dimension(**fields).type == inferred


def test_the_two_dimensions_of_a_frame_are_space():
    settings = AcquisitionSettings(dimensions=[Dimension(name="row", count=4), Dimension(name="column", count=5)])
    assert [dim.type for dim in settings.dimensions] == ["space", "space"]


def test_shorthands_of_dimensions():
    assert Dimension(name="c", coords=["a", {"name": "b", "color": "red"}]).coords == (
        Channel(name="a"),
        Channel(name="b", color="#FF0000"),
    )
    assert Dimension(name="p", count=2).coords == (Position(name="0"), Position(name="1"))
    assert Dimension(name="p", coords=["a", {"name": "b", "x_coord": 1}]).coords == (
        Position(name="a"),
        Position(name="b", x_coord=1),
    )
    assert Dimension(name="c", coords=("a", "b", "c")).count == 3
    assert Dimension(name="z", coords=np.arange(3) / 2).coords == (0.0, 0.5, 1.0)
    assert Dimension(name="g", type="other", coords=[1, "a", 2.5]).coords == (1, "a", 2.5)
    assert (
        Dimension(name="z", unit="um")
        == Dimension(name="z", unit="micrometer")
        == Dimension(name="z", unit="Micrometer")
    )
    assert Dimension(name="t", unit="ms").unit == "millisecond"
    assert Dimension(name="g", unit="furlong").unit == "furlong"
    assert AcquisitionSettings(dimensions=[{"name": "y", "count": 4}, X]).dimensions == (
        attrs.evolve(Y, type="space"),
        X,
    )


def test_what_numpy_and_enumerations_give_becomes_plain():
    dim = Dimension(
        name=StandardAxis.Z, count=np.uint8(3), scale=np.float32(0.5), translation=np.int16(-2), type=np.str_("space")
    )
    assert [type(value) for value in (dim.name, dim.count, dim.scale, dim.translation, dim.type)] == [
        str,
        int,
        float,
        int,
        str,
    ]
    assert f"{dim.name}" == "z"
    plate = Plate(row_names=np.array(["A", "B"]), column_names=["1"])
    assert [type(name) for name in plate.row_names] == [str, str]
    assert AcquisitionSettings(root_path=Path("a.zarr")).root_path == "a.zarr"
    assert Dimension(name="t", count=3.0).count == 3


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("u2", "uint16"),
        ("<u2", "uint16"),
        (">i4", "int32"),
        (float, "float64"),
        (bool, "bool"),
        ("bool", "bool"),
        ("half", "float16"),
        ("float16", "float16"),
        ("c8", "complex64"),
        (np.uint8, "uint8"),
        (np.dtype("f4"), "float32"),
        (None, ""),
        ("", ""),
    ],
)
def test_dtype_is_the_name_of_what_numpy_knows(given, name):
    assert AcquisitionSettings(dtype=given).dtype == name


def test_compression_of_none_is_none():
    assert AcquisitionSettings(root_path="a.tif", compression="none").compression is None


@pytest.mark.parametrize(
    ("wells", "rows", "columns", "last_row"),
    [
        (6, 2, 3, "B"),
        (12, 3, 4, "C"),
        (24, 4, 6, "D"),
        (48, 6, 8, "F"),
        (96, 8, 12, "H"),
        (384, 16, 24, "P"),
        (1536, 32, 48, "AF"),
        ((2, 5), 2, 5, "B"),
        ([3, 1], 3, 1, "C"),
    ],
)
def test_standard_plates(wells, rows, columns, last_row):
    plate = Plate.from_standard_wells(wells)
    assert (len(plate.row_names), len(plate.column_names)) == (rows, columns)
    assert (plate.row_names[0], plate.row_names[-1]) == ("A", last_row)
    assert (plate.column_names[0], plate.column_names[-1]) == ("1", str(columns))


def test_rows_go_on_after_z():
    assert Plate.from_standard_wells(1536).row_names[24:28] == ("Y", "Z", "AA", "AB")
    assert Plate.from_standard_wells((703, 1)).row_names[700:] == ("ZY", "ZZ", "AAA")


@pytest.mark.parametrize("wells", [7, "96", None, True, (0, 3), (2,), (2, 3, 4), (2, "3"), (1.5, 2)])
def test_no_such_plate(wells):
    with pytest.raises(SettingsError, match="plate"):
        Plate.from_standard_wells(wells)


def test_dims_from_standard_axes_is_that_of_0_3():
    dims = dims_from_standard_axes(
        {"t": None, "p": ["A", "B"], "c": ["x", "y"], "z": 3, "y": 4, "x": 5},
        chunk_shapes={"x": 2, StandardAxis.TIME: 1},
        shard_shapes={"x": 2, "t": 3},
    )
    assert dims == [
        Dimension(name="t", type="time", chunk_size=1, shard_size_chunks=3, unit="second"),
        Dimension(name="p", count=2, type="position", coords=[Position(name="A"), Position(name="B")]),
        Dimension(name="c", count=2, type="channel", coords=[Channel(name="x"), Channel(name="y")], chunk_size=1),
        Dimension(name="z", count=3, type="space", chunk_size=1, unit="micrometer"),
        Dimension(name="y", count=4, type="space", chunk_size=4, unit="micrometer"),
        Dimension(name="x", count=5, type="space", chunk_size=2, shard_size_chunks=2, unit="micrometer"),
    ]


def test_standard_axes_are_those_of_0_3():
    assert [(axis.value, axis.dimension_type(), axis.unit()) for axis in StandardAxis] == [
        ("x", "space", "micrometer"),
        ("y", "space", "micrometer"),
        ("z", "space", "micrometer"),
        ("c", "channel", None),
        ("t", "time", "second"),
        ("p", "position", None),
    ]
    assert StandardAxis.Z.to_dimension(count=3, scale=0.5) == Dimension(
        name="z", count=3, type="space", unit="micrometer", scale=0.5
    )


def test_strange_axes_are_all_named():
    with pytest.raises(SettingsError) as caught:
        dims_from_standard_axes({"q": 3, "y": 4, "x": 4}, chunk_shapes={"w": 1})
    assert [str(problem) for problem in caught.value.problems] == [
        "q: is no standard axis; they are x, y, z, c, t, p",
        "w: is no standard axis; they are x, y, z, c, t, p",
    ]


def test_settings_are_frozen_and_hashable():
    settings = AcquisitionSettings(
        root_path="a.zarr", dimensions=dims_from_standard_axes({"p": 2, "c": ["a"], "y": 4, "x": 4})
    )
    same = AcquisitionSettings(
        root_path="a.zarr", dimensions=dims_from_standard_axes({"p": 2, "c": ["a"], "y": 4, "x": 4})
    )
    assert {settings: 1}[same] == 1
    for value, name in ((settings, "dtype"), (settings.format, "suffix"), (Y, "count"), (Channel(name="a"), "name")):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, name, "uint8")


def test_settings_may_be_completed_later():
    settings = AcquisitionSettings(compression="zstd")
    settings = attrs.evolve(settings, dimensions=[Y, X], dtype="u1")
    assert (settings.dtype, settings.shape, settings.compression) == ("uint8", (4, 4), "zstd")
    with pytest.raises(SettingsError, match="overwrite: must be one of True, False; got 'now'"):
        attrs.evolve(settings, overwrite="now")


def test_what_settings_say_of_their_dimensions():
    dims = dims_from_standard_axes({"t": None, "z": 2, "p": ["A", "B"], "c": 3, "y": 4, "x": 5})
    settings = AcquisitionSettings(root_path="a.ome.zarr", dtype="u1", dimensions=dims)
    assert settings.shape == (None, 2, 2, 3, 4, 5)
    assert settings.is_unbounded
    assert settings.num_frames is None
    assert [position.name for position in settings.positions] == ["A", "B"]
    assert settings.position_dimension_index == 2

    def names(dimensions):
        return "".join(dim.name for dim in dimensions)

    assert names(settings.frame_dimensions) == "yx"
    assert names(settings.index_dimensions) == "tzc"
    assert names(settings.array_dimensions) == "tzcyx"
    assert names(settings.storage_index_dimensions) == "tcz"
    assert settings.storage_index_permutation == (0, 2, 1)
    assert names(settings.array_storage_dimensions) == "tczyx"
    acquired = attrs.evolve(settings, storage_order="acquisition")
    assert names(acquired.storage_index_dimensions) == "tzc"
    assert acquired.storage_index_permutation is None
    listed = attrs.evolve(settings, storage_order=["c", "z", "p", "t", "y", "x"])
    assert names(listed.array_storage_dimensions) == "cztyx"
    assert listed.storage_index_permutation == (2, 1, 0)


def test_settings_without_positions_have_one():
    settings = AcquisitionSettings(dimensions=[Dimension(name="t", count=3), Dimension(name="z", count=2), Y, X])
    assert settings.num_frames == 6
    assert settings.positions == (Position(name="0"),)
    assert settings.position_dimension_index is None
    assert not settings.is_unbounded
    assert not AcquisitionSettings().is_unbounded


@pytest.mark.parametrize("scale", [0, 0.0, np.float32(0), None])
def test_a_scale_of_nothing_is_not_known(scale):
    assert Dimension(name="y", count=4, scale=scale).scale is None


@pytest.mark.parametrize("name", ["AcquisitionSettings", "Dimension", "Channel", "Position", "Plate", "OmeZarrFormat"])
def test_help_is_given(name: str) -> None:
    said = pydoc.render_doc(getattr(ow, name), renderer=pydoc.plaintext)
    assert f"class {name}" in said
