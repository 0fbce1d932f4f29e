"""The OME-Zarr documents, judged by the official schemas and by other projects' readers over stores made by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import ome_types
import pytest
import tensorstore
import yaozarrs
import zarr
from attrs import evolve
from ngff_zarr.validate import validate
from ome_zarr_models import v05

from ome_writers import (
    AcquisitionSettings,
    Channel,
    Dimension,
    OmeZarrFormat,
    Plate,
    Position,
    compile,
    dims_from_standard_axes,
)
from ome_writers.documents import Outcome, Stamp, documents
from ome_writers.images import frame_counts, shapes_of
from ome_writers.layout import Codec
from ome_writers.zarrjson import array_json, encode_json, group_json

STAMP = Stamp(datetime(2026, 11, 22, 20, 0, tzinfo=UTC), tuple(f"00000000-0000-4000-8000-{i:012}" for i in range(9)))
FRAME = {"y": 8, "x": 6}
DTYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


def planned(dims, *, dtype="uint16", **settings):
    if isinstance(dims, dict):
        dims = dims_from_standard_axes(dims | FRAME)
    return compile(AcquisitionSettings(root_path="cells.ome.zarr", dtype=dtype, dimensions=dims, **settings))


def frame():
    return [Dimension(name="y", count=8, unit="um", scale=0.5), Dimension(name="x", count=6, unit="um", scale=0.25)]


def attributes(plan, outcome=None):
    return {document.path: document.body for document in documents(plan, STAMP, outcome) if document.kind == "group"}


def write_by_hand(root: Path, plan, outcome=None) -> Path:
    """Write a store without any library for zarr."""
    outcome = outcome or Outcome()
    for document in documents(plan, STAMP, outcome):
        path = root / document.path
        if document.kind == "group":
            path.mkdir(parents=True, exist_ok=True)
            (path / "zarr.json").write_bytes(encode_json(group_json(document.body)))
        else:
            path.write_text(document.body)
    for spec, shape in zip(plan.layout.arrays, shapes_of(plan, outcome), strict=True):
        path = root / spec.path
        path.mkdir()
        (path / "zarr.json").write_bytes(encode_json(array_json(spec, shape)))
    return root


def image_of(attributes, path=""):
    (multiscale,) = attributes[path]["ome"]["multiscales"]
    (dataset,) = multiscale["datasets"]
    return multiscale, {step["type"]: step[step["type"]] for step in dataset["coordinateTransformations"]}


PLATE = Plate.from_standard_wells(1536)
WELLS = [
    Position(name="left", plate_row="A", plate_column="1", x_coord=-1.5, y_coord=2),
    Position(name="right", plate_row="A", plate_column="1", x_coord=1.5),
    Position(name="fov 0", plate_row="AF", plate_column="48"),
]
KINDS = {
    "image": ({"t": 3, "c": ["DAPI", "GFP"], "z": 4}, None, "image"),
    "no loop": ({}, None, "image"),
    "one channel": ({"z": 2, "c": ["GFP"]}, None, "image"),
    "without end": ({"t": None, "c": 2}, None, "image"),
    "positions": ({"t": 2, "p": ["über/alles", "b"], "z": 2}, None, "bf2raw"),
    "plate": ({"p": WELLS, "t": 2, "c": 2}, PLATE, "plate"),
}


@pytest.mark.parametrize(("dims", "plate", "kind"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("outcome", [Outcome(), Outcome(verdict="stopped", cursor=1)], ids=["running", "stopped"])
def test_other_projects_accept_every_kind_of_dataset(tmp_path, dims, plate, kind, outcome):
    plan = planned(dims, plate=plate)
    root = write_by_hand(tmp_path / "cells.ome.zarr", plan, outcome)
    yaozarrs.validate_zarr_store(root)
    model = {"image": v05.Image, "bf2raw": v05.BioFormats2Raw, "plate": v05.HCS}[kind]
    opened = model.from_zarr(zarr.open_group(root, mode="r"))
    if kind == "bf2raw":
        assert list(opened.images) == ["0", "1"]
    for path, body in attributes(plan, outcome).items():
        found = {
            "multiscales": "image",
            "plate": "plate",
            "well": "well",
            "series": "ome",
            "bioformats2raw.layout": "bf2raw",
        }
        for key, model in found.items():
            if key in body.get("ome", {}):
                strict = model in ("image", "plate", "well")
                validate(body, version="0.5", model=model, strict=strict)
                validate(body, version="0.5", model=model)
                break
        else:
            assert path in ("A", "AF"), "only a plate's rows are plain groups"


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_has_a_window(tmp_path, dtype):
    plan = planned({"c": ["DAPI"]}, dtype=dtype)
    yaozarrs.validate_zarr_store(write_by_hand(tmp_path / "cells.ome.zarr", plan))
    (channel,) = attributes(plan)[""]["ome"]["omero"]["channels"]
    low = {"int8": -128, "int16": -32768, "int32": -(2**31), "int64": -(2**63)}.get(dtype, 0)
    high = {"int8": 127, "uint8": 255, "int16": 32767, "uint16": 65535, "int32": 2**31 - 1, "uint32": 2**32 - 1}
    high |= {"int64": 2**63 - 1, "uint64": 2**64 - 1}
    assert channel["window"] == {"min": low, "max": high.get(dtype, 1), "start": low, "end": high.get(dtype, 1)}


def test_the_stage_goes_along_the_axes_of_a_frame_whatever_they_are_called():
    dims = [
        Dimension(name="p", coords=[Position(name="a", x_coord=5.0, y_coord=7.0, z_coord=9.0), "b"]),
        Dimension(name="depth", count=2, unit="um"),
        Dimension(name="row", count=4, unit="um"),
        Dimension(name="col", count=4, unit="um"),
    ]
    assert image_of(attributes(planned(dims)), "0")[1]["translation"] == [9.0, 7.0, 5.0]
    dims[-2:] = [Dimension(name="x", count=4), Dimension(name="y", count=4)]
    assert image_of(attributes(planned(dims)), "0")[1]["translation"] == [9.0, 5.0, 7.0]


def test_axes_scale_and_translation():
    dims = [
        Dimension(name="t", count=3, scale=2, unit="ms"),
        Dimension(name="c", count=2),
        Dimension(name="z", coords=[10, 9.5, 9], unit="um"),
        Dimension(name="y", count=8, unit="um", scale=0.5, translation=3),
        Dimension(name="x", count=6),
    ]
    multiscale, steps = image_of(attributes(planned(dims)))
    assert multiscale["name"] == "cells"
    assert multiscale["axes"] == [
        {"name": "t", "type": "time", "unit": "millisecond"},
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": "micrometer"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space"},
    ]
    assert steps == {"scale": [2.0, 1.0, -0.5, 0.5, 1.0], "translation": [0.0, 0.0, 10.0, 3.0, 0.0]}


def test_nothing_is_translated_by_nothing():
    assert image_of(attributes(planned({"t": 2})))[1] == {"scale": [1.0, 1.0, 1.0]}


def test_the_stage_moves_the_axes_of_its_names():
    place = Position(name="P", x_coord=100, y_coord=-7.5, z_coord=0.5, grid_row=1, grid_column=2)
    dims = [
        Dimension(name="p", coords=[place, Position(name="Q")]),
        Dimension(name="Z", count=2, type="space", translation=1),
    ]
    made = attributes(planned([*dims, *frame()]))
    multiscale, steps = image_of(made, "0")
    assert multiscale["name"] == "P"
    assert steps["translation"] == [1.5, -7.5, 100.0]
    assert image_of(made, "1")[1]["translation"] == [1.0, 0.0, 0.0]
    assert made["0"]["ome_writers"]["position"] == {
        "name": "P", "grid_row": 1, "grid_column": 2, "x_coord": 100.0, "y_coord": -7.5, "z_coord": 0.5
    }  # fmt: skip


def test_uneven_coordinates_are_told_in_full():
    dims = [
        Dimension(name="t", coords=[0, 1, 10], unit="s"),
        Dimension(name="gate", type="other", coords=["open", 2]),
        *frame(),
    ]
    made = attributes(planned(dims))
    multiscale, steps = image_of(made)
    assert multiscale["axes"][1] == {"name": "gate", "type": "other"}
    assert steps["scale"] == [1.0, 1.0, 0.5, 0.25]
    assert made[""]["ome_writers"]["coordinates"] == {"t": [0.0, 1.0, 10.0], "gate": ["open", 2]}


def test_a_given_scale_goes_before_coordinates_which_are_kept_then():
    made = attributes(planned([Dimension(name="z", coords=[0, 2, 4], scale=1), *frame()]))
    assert image_of(made)[1]["scale"][0] == 1.0
    assert made[""]["ome_writers"]["coordinates"] == {"z": [0.0, 2.0, 4.0]}


@pytest.mark.parametrize(
    ("coords", "scale", "told"),
    [
        ([0, 0.1, 0.2, 0.30000000000000004], 0.1, False),
        ([5], 1.0, False),
        ([5, 5], 1.0, True),
        ([0, 1, 3], 1.0, True),
        ([3, 1, -1], -2.0, False),
    ],
)
def test_coordinates_are_kept_unless_scale_and_translation_say_them(coords, scale, told):
    made = attributes(planned([Dimension(name="z", coords=coords), *frame()]))
    assert image_of(made)[1]["scale"][0] == scale
    assert ("coordinates" in made[""]["ome_writers"]) == told


def test_channels_have_colours_and_what_ngff_has_no_words_for():
    channels = [
        Channel(name="DAPI", color="#0000FF80", emission_wavelength_nm=460),
        Channel(name="GFP", z_offset=2),
        "µ",
    ]
    made = attributes(planned([Dimension(name="c", coords=channels), *frame()]))[""]
    shown = [(channel["label"], channel["color"], channel["active"]) for channel in made["ome"]["omero"]["channels"]]
    assert shown == [("DAPI", "0000FF", True), ("GFP", "FF00FF", True), ("µ", "00FFFF", True)]
    assert made["ome_writers"]["channels"] == [
        {"name": "DAPI", "emission_wavelength_nm": 460},
        {"name": "GFP", "z_offset": 2},
        {"name": "µ"},
    ]


@pytest.mark.parametrize("dims", [{}, {"c": 1}, {"t": 2}], ids=["no loop", "one", "time"])
def test_a_channel_alone_is_white(dims):
    made = attributes(planned(dims))[""]["ome"]["omero"]
    assert [(channel["label"], channel["color"]) for channel in made["channels"]] == [("Channel 0", "FFFFFF")]


def test_loops_without_an_axis_choose_images():
    dims = [
        Dimension(name="c", coords=["DAPI", "GFP"]),
        Dimension(name="cam", type="other", coords=["L", "R"]),
        *frame(),
    ]
    made = attributes(planned(dims))
    assert [image_of(made, str(image))[0]["name"] for image in range(2)] == ["cells cam=L", "cells cam=R"]
    assert made["1"]["ome_writers"]["loops"] == {"cam": "R"}
    endless = [Dimension(name="gate", type="other", count=None), *dims[:1], *frame()]
    labels = [attributes(planned(endless))[path]["ome"]["omero"]["channels"] for path in "01"]
    assert [[(one["label"], one["color"]) for one in channels] for channels in labels] == [
        [("DAPI", "00FF00")],
        [("GFP", "FF00FF")],
    ]


def test_several_positions_list_their_images_and_hold_ome_xml(tmp_path):
    plan = planned({"t": 2, "p": ["a", "b"]})
    made = attributes(plan)
    assert made[""]["ome"] == {"version": "0.5", "bioformats2raw.layout": 3}
    assert made["OME"] == {"ome": {"version": "0.5", "series": ["0", "1"]}}
    root = write_by_hand(tmp_path / "cells.ome.zarr", plan)
    xml = ome_types.from_xml((root / "OME" / "METADATA.ome.xml").read_text(), validate=True)
    assert [image.name for image in xml.images] == ["a", "b"]
    assert all(image.pixels.metadata_only is not None and not image.pixels.tiff_data_blocks for image in xml.images)


@pytest.mark.parametrize(("times", "told"), [(3, True), (60_000, False)])
def test_the_xml_of_very_many_frames_has_no_planes(times, told):
    dims = [
        Dimension(name="p", coords=[Position(name="a", x_coord=1), "b"]),
        Dimension(name="t", count=times),
        *frame(),
    ]
    text = documents(planned(dims), STAMP)[-1].body
    assert text.count("<Plane ") == (3 if told else 0)
    assert '<StageLabel Name="a" X="1.0"' in text


def test_a_plate_lists_its_wells_and_each_its_fields():
    made = attributes(planned({"p": WELLS, "t": 1}, plate=evolve(PLATE, name="Plate µ")))
    plate = made[""]["ome"]["plate"]
    assert (plate["name"], plate["version"], plate["field_count"]) == ("Plate µ", "0.5", 2)
    assert (len(plate["rows"]), plate["rows"][31], plate["columns"][47]) == (32, {"name": "AF"}, {"name": "48"})
    assert plate["wells"] == [
        {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
        {"path": "AF/48", "rowIndex": 31, "columnIndex": 47},
    ]
    assert made["A"] == {}
    assert made["A/1"]["ome"]["well"]["images"] == [{"path": "0"}, {"path": "1"}]
    assert image_of(made, "A/1/1")[0]["name"] == "right"
    assert set(made) == {"", "A", "A/1", "A/1/0", "A/1/1", "AF", "AF/48", "AF/48/0"}
    assert all(path.rpartition("/")[0] in list(made)[:place] for place, path in enumerate(made) if path), (
        "parents first"
    )


def test_the_verdict_and_what_is_missing_stand_where_they_belong():
    plan = planned({"t": 4, "p": ["a", "b"], "c": 2})
    outcome = Outcome(verdict="failed", cursor=13, missing=np.array([2, 3, 4, 9]), error="disk full")
    made = {path: body["ome_writers"] for path, body in attributes(plan, outcome).items() if path != "OME"}
    # frames 0 1 4 5 8 9 12 are of a, 2 3 6 7 10 11 of b
    version = made[""].pop("version")
    assert version == made["0"].pop("version") == made["1"].pop("version")
    assert made[""] == {
        "dimensions": [
            {"name": "t", "type": "time", "count": 4, "unit": "second"},
            {"name": "p", "type": "position", "count": 2, "coords": ["a", "b"]},
            {"name": "c", "type": "channel", "count": 2},
            {"name": "y", "type": "space", "count": 8, "unit": "micrometer"},
            {"name": "x", "type": "space", "count": 6, "unit": "micrometer"},
        ],
        "axes": ["t", "c", "y", "x"],
        "arrays": ["0/0", "1/0"],
        "verdict": "failed",
        "frames": 9,
        "planned": 16,
        "missing": [[2, 4], [9, 9]],
        "error": "disk full",
    }
    assert made["0"] == {
        "verdict": "failed", "frames": 5, "planned": 8, "missing": [[4, 4], [9, 9]], "position": {"name": "a"}
    }  # fmt: skip
    assert made["1"]["missing"] == [[2, 3]]
    assert (made["1"]["frames"], made["1"]["planned"]) == (4, 8)


def test_an_acquisition_without_end_plans_no_number():
    made = attributes(planned({"t": None}), Outcome(verdict="complete", cursor=5))[""]["ome_writers"]
    assert made["frames"] == 5
    assert "planned" not in made


def test_metadata_of_frames_stands_with_their_image_and_storage_index():
    dims = dims_from_standard_axes({"p": ["a", "b"], "z": 2, "t": 2} | FRAME)
    plan = planned(dims)
    records = {place: {"n": place, "deep": {"µ": [None, "NaN"]}} for place in (7, 1, 4)}
    made = attributes(plan, Outcome(verdict="complete", cursor=8, records=records))
    # acquired z then t, stored t then z
    assert made["0"]["ome_writers"]["frame_metadata"] == [{**records[1], "storage_index": [1, 0]}]
    assert made["1"]["ome_writers"]["frame_metadata"] == [
        {**records[4], "storage_index": [0, 0]},
        {**records[7], "storage_index": [1, 1]},
    ]


def test_groups_can_be_named_after_positions(tmp_path):
    plan = planned({"p": ["left", "right"], "t": 1}, format=OmeZarrFormat(group_names="position"))
    yaozarrs.validate_zarr_store(write_by_hand(tmp_path / "cells.ome.zarr", plan))
    assert attributes(plan)["OME"]["ome"]["series"] == ["left", "right"]


# ── zarr.json ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CODECS = [
    None,
    *(Codec(name) for name in ("blosc-zstd", "blosc-lz4", "zstd", "gzip")),
    Codec("blosc-lz4", 0),
    Codec("zstd", 22),
]


CASES = [*((dtype, CODECS[1]) for dtype in DTYPES), *(("uint16", codec) for codec in CODECS), ("bool", None)]


@pytest.mark.parametrize("index_location", [None, "start", "end"])
@pytest.mark.parametrize(("dtype", "codec"), CASES, ids=str)
def test_both_libraries_write_what_the_other_reads(tmp_path, dtype, codec, index_location):
    spec = evolve(
        planned({"t": 4}).layout.arrays[0],
        dtype=dtype,
        codec=codec,
        chunk_shape=(1, 4, 6),
        shard_shape=(3, 8, 6) if index_location else None,
        index_location=index_location,
    )
    pixels = (np.arange(4 * 8 * 6).reshape(4, 8, 6) % 7 + 1).astype(dtype)
    pixels[2] = 0
    for writer in ("zarr", "tensorstore"):
        path = tmp_path / writer
        path.mkdir()
        (path / "zarr.json").write_bytes(encode_json(array_json(spec, (4, 8, 6))))
        one = zarr.open_array(path, mode="r+")
        other = tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "recheck_cached_data": True},
            open=True,
        ).result()
        assert not one[:].any()
        assert not other.read().result().any()
        if writer == "zarr":
            one[:] = pixels
            read = other.read().result()
        else:
            other.write(pixels).result()
            read = one[:]
        assert read.dtype == pixels.dtype
        np.testing.assert_array_equal(read, pixels)
    assert one.metadata.dimension_names == ("t", "y", "x")
    assert (one.shards or one.chunks) == ((3, 8, 6) if index_location else (1, 4, 6))


def test_json_is_strict_and_comes_back():
    value = {
        "a": [1, 2.5, None, True], "b": {"ünï": "<&\n"}, "c": [{"d": [{}]}, []], "e": {}, "f": [],
        "g": [{"n": n, "at": [n]} for n in range(200)],
    }  # fmt: skip
    text = encode_json(value)
    assert json.loads(text) == value
    assert len(text.splitlines()) < 230, "a long list takes a line an item"
    with pytest.raises(ValueError, match="Out of range"):
        encode_json({"a": [float("nan")]})


# ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", ["tpcz", "ptcz", "ctzp", "pzct"])
def test_frames_are_counted_as_the_loops_have_them(order):
    dims = {dim.name: dim for dim in dims_from_standard_axes({"t": 3, "p": ["a", "b", "c"], "c": 2, "z": 4} | FRAME)}
    plan = planned([*(dims[name] for name in order), dims["y"], dims["x"]])
    arrays = [row[order.index("p")] for row in np.ndindex(*(dims[name].count for name in order))]
    for cursor in (0, 1, 7, 35, 71, 72):
        assert frame_counts(plan, cursor).tolist() == [arrays[:cursor].count(array) for array in range(3)]
    assert frame_counts(plan, None).tolist() == [24, 24, 24]
    assert frame_counts(plan.rest(50), None).tolist() == [arrays[50:].count(array) for array in range(3)]


def test_rows_far_apart_are_found():
    plan = planned({"t": 200_000, "c": 2})
    places = [0, 1, 65_535, 65_536, 65_537, 399_999]
    rows = plan.rows_at(places)
    assert rows["frame"].tolist() == places
    assert rows["index"].tolist() == [list(divmod(place, 2)) for place in places]
    assert len(plan.rows_at([])) == 0
