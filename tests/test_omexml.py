"""OME-XML, judged by the schema, by ome-types and by tifffile over files made by hand."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import lxml.etree
import numpy as np
import ome_types
import pytest
import tifffile
import xmlschema
from attrs import evolve

from ome_writers import (
    AcquisitionSettings,
    Channel,
    Dimension,
    OmeTiffFormat,
    Plate,
    Position,
    compile,
    dims_from_standard_axes,
)
from ome_writers.documents import Outcome, Stamp, documents
from ome_writers.images import shapes_of
from ome_writers.omexml import companion_name, tiff_documents
from ome_writers.omexml_planes import map_text

UUIDS = tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(9))
NOW = datetime(2026, 11, 22, 21, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
FRAME = {"y": 8, "x": 6}
XSD = Path(ome_types.__file__).parent / "ome-2016-06.xsd"


@cache
def schemas():
    return lxml.etree.XMLSchema(lxml.etree.parse(XSD)), xmlschema.XMLSchema(XSD)


def planned(dims, *, root="data/cells.ome.tiff", dtype="uint16", single="auto", files="redundant", **settings):
    if isinstance(dims, dict):
        dims = dims_from_standard_axes(dims | FRAME)
    suffix = {"suffix": ".ome.tiff"} if root.endswith("tiff") else {}
    format_ = OmeTiffFormat(prefer_single_file=single, multi_file_metadata=files, **suffix)
    return compile(AcquisitionSettings(root_path=root, dtype=dtype, dimensions=dims, format=format_, **settings))


def frame(unit="um"):
    return [Dimension(name="y", count=8, unit=unit, scale=0.5), Dimension(name="x", count=6, unit=unit, scale=0.25)]


def documents_of(plan, outcome=None):
    return documents(plan, Stamp(NOW, UUIDS[: len(plan.layout.files) + 1]), outcome)


def read(plan, outcome=None, *, number=0):
    """Return what ome-types reads from a document that both validators have passed."""
    text = documents_of(plan, outcome)[number].body
    assert not re.search("&#(?!9;|10;|13;)", text), "Bio-Formats would not read it"
    fast, strict = schemas()
    fast.assertValid(lxml.etree.fromstring(text.encode()))
    strict.validate(text)
    return ome_types.from_xml(text, validate=True)


def complete(plan, **outcome):
    return Outcome(verdict="complete", cursor=plan.frames, **outcome)


def blocks(image):
    return [(b.ifd, b.first_t, b.first_c, b.first_z, b.plane_count) for b in image.pixels.tiff_data_blocks]


def annotations(ome, namespace):
    values = {a.id: dict(a.value) for a in ome.structured_annotations.map_annotations if a.namespace == namespace}
    return values if namespace != "ome-writers/run" else next(iter(values.values()))


# ── pixels ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sizes_units_and_order():
    dims = [
        Dimension(name="t", count=2, scale=1.5, unit="ms"),
        Dimension(name="c", count=3),
        Dimension(name="z", coords=[5, 4, 3, 2], unit="nm"),
        *frame(),
    ]
    (image,) = read(planned(dims)).images
    pixels = image.pixels
    assert (image.id, image.name) == ("Image:0", "cells")
    assert image.acquisition_date == datetime(2026, 11, 22, 20, 0, 0, 123000, tzinfo=UTC)
    sizes = [getattr(pixels, f"size_{axis}") for axis in "tczyx"]
    assert sizes == [2, 3, 4, 8, 6]
    assert pixels.dimension_order.value == "XYZCT"
    assert pixels.big_endian is False
    assert (pixels.physical_size_x, pixels.physical_size_x_unit.value) == (0.25, "µm")
    assert (pixels.physical_size_y, pixels.physical_size_y_unit.value) == (0.5, "µm")
    assert (pixels.physical_size_z, pixels.physical_size_z_unit.value) == (1.0, "nm")
    assert (pixels.time_increment, pixels.time_increment_unit.value) == (1.5, "ms")


@pytest.mark.parametrize(
    ("order", "expected"), [("tcz", "XYZCT"), ("zct", "XYTCZ"), ("ctz", "XYZTC"), ("zt", "XYTZC"), ("c", "XYCZT")]
)
def test_the_order_is_that_of_storage(order, expected):
    sizes = {"t": 2, "c": 3, "z": 4}
    plan = planned({name: sizes[name] for name in order}, storage_order="acquisition")
    (image,) = read(plan).images
    assert image.pixels.dimension_order.value == expected
    indices = [dict(zip(order, index, strict=True)) for index in np.ndindex(*(sizes[name] for name in order))]
    expected_blocks = [(ifd, at.get("t", 0), at.get("c", 0), at.get("z", 0), 1) for ifd, at in enumerate(indices)]
    assert blocks(image) == expected_blocks


def test_pages_come_in_the_order_of_acquisition():
    plan = planned({"z": 2, "t": 2, "c": 2}, storage_order=["t", "c", "z", "y", "x"])
    (image,) = read(plan).images
    assert image.pixels.dimension_order.value == "XYZCT"
    assert blocks(image) == [(4 * z + 2 * t + c, t, c, z, 1) for z in range(2) for t in range(2) for c in range(2)]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bool", "bit"), ("int8", "int8"), ("uint32", "uint32"), ("float32", "float"), ("float64", "double"),
     ("complex64", "complex"), ("complex128", "double-complex")],
)  # fmt: skip
def test_pixel_types(dtype, expected):
    assert read(planned({"t": 2}, dtype=dtype)).images[0].pixels.type.value == expected


def test_channels():
    channels = [
        Channel(name="µ & <GFP>", color="#00FF0080", excitation_wavelength_nm=488, emission_wavelength_nm=510.5),
        Channel(name="TRITC", fluorophore='"TRITC"\t\r\n'),
    ]
    first, second = read(planned([Dimension(name="c", coords=channels), *frame()])).images[0].pixels.channels
    assert (first.id, first.name, first.samples_per_pixel) == ("Channel:0:0", "µ & <GFP>", 1)
    assert first.color.as_rgb_tuple(alpha=True) == (0, 255, 0, 128 / 255)
    assert (first.excitation_wavelength, first.excitation_wavelength_unit.value) == (488.0, "nm")
    assert (first.emission_wavelength, first.emission_wavelength_unit.value) == (510.5, "nm")
    assert (second.name, second.fluor, second.emission_wavelength) == ("TRITC", '"TRITC"\t\r\n', None)
    assert second.color.as_rgb_tuple() == (255, 0, 255)


def test_a_custom_axis_stands_in_the_channels_place():
    dims = [Dimension(name="angle", type="other", coords=[0, "45°"]), Dimension(name="t", count=2), *frame()]
    pixels = read(planned(dims)).images[0].pixels
    assert [channel.name for channel in pixels.channels] == ["0", "45°"]
    endless = [
        Dimension(name="angle", count=None),
        Dimension(name="c", coords=[Channel(name="GFP", fluorophore="F")]),
        *frame(),
    ]
    images = read(planned(endless), Outcome(verdict="complete", cursor=3)).images
    assert [image.name for image in images] == ["cells c=GFP"]
    assert [(channel.name, channel.fluor) for channel in images[0].pixels.channels] == [
        (f"angle {n}", "F") for n in range(3)
    ]


def test_names_are_those_of_positions_and_further_loops():
    dims = [
        Dimension(name="p", coords=["über/alles ' \\ ", "b"]),
        Dimension(name="c", count=1),
        Dimension(name="cam", type="other", coords=["L", "R"]),
        *frame(),
    ]
    ome = read(planned(dims, single="always"))
    assert [image.name for image in ome.images] == [f"{p} cam={cam}" for p in ("über/alles ' \\ ", "b") for cam in "LR"]
    told = annotations(ome, "ome-writers/position")
    assert [told[image.annotation_refs[1].id] for image in ome.images] == [{"cam": "L"}, {"cam": "R"}] * 2


# ── planes ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PLANE_FIELDS = (
    *("the_t", "the_c", "the_z", "delta_t", "delta_t_unit", "exposure_time", "exposure_time_unit"),
    *("position_x", "position_x_unit", "position_y", "position_y_unit", "position_z", "position_z_unit"),
)


def planes(image):
    rows = [[getattr(plane, name) for name in PLANE_FIELDS] for plane in image.pixels.planes]
    return [[getattr(value, "value", value) for value in row] for row in rows]


def test_planes_without_anything_to_say_are_not_there():
    assert planes(read(planned({"t": 2, "z": 2})).images[0]) == []


def test_planes_say_when_and_where():
    place = Position(name="P", x_coord=100, y_coord=-7.5, z_coord=0.5)
    dims = [
        Dimension(name="t", coords=[0, 1, 10], unit="min"),
        Dimension(name="p", coords=[place, "Q"]),
        Dimension(name="z", count=2, scale=0.1, translation=3, unit="um"),
        *frame("nm"),
    ]
    first, second = read(planned(dims, single="always")).images
    assert planes(first) == [
        [t, 0, z, time, "min", None, "s", 100.0, "nm", -7.5, "nm", 3.5 + 0.1 * z, "µm"]
        for t, time in enumerate([0.0, 1.0, 10.0])
        for z in range(2)
    ]
    assert planes(second)[3] == [
        1, 0, 1, 1.0, "min", None, "s", None, "reference frame", None, "reference frame", 3.1, "µm"
    ]  # fmt: skip
    assert first.stage_label.name == "P"
    assert (first.stage_label.x, first.stage_label.x_unit.value, first.stage_label.z) == (100.0, "nm", 0.5)
    assert second.stage_label is None


def test_the_stage_has_a_height_without_an_axis_z():
    dims = [Dimension(name="p", coords=[Position(name="P", z_coord=7)]), *frame("nm")]
    (image,) = read(planned(dims)).images
    assert planes(image)[0][-2:] == [7.0, "nm"]


def test_channels_are_exposed_and_focused_apart():
    channels = [Channel(name="A", exposure_time=0.25, z_offset=500), Channel(name="B", z_offset=-1), "C"]
    low = Position(name="P", z_coord=7)
    dims = [Dimension(name="p", coords=[low, "Q"]), Dimension(name="c", coords=channels)]
    depth = Dimension(name="z", count=2, scale=10, unit="nm")
    told = [[place[:3], place[5:7], place[-2:]] for place in planes(read(planned([*dims, depth, *frame()])).images[0])]
    assert told == [
        [[0, c, z], [exposure, "s"], [7.0 + 10 * z + offset, "nm"]]
        for c, (exposure, offset) in enumerate([(0.25, 500), (None, -1), (None, 0)])
        for z in range(2)
    ]
    first, second = read(planned([*dims, *frame("nm")])).images
    assert [(plane.exposure_time, plane.position_z) for plane in first.pixels.planes] == [
        (0.25, 507),
        (None, 6),
        (None, 7),
    ]
    # Nobody says from where the offsets count.
    assert [(plane.exposure_time, plane.position_z) for plane in second.pixels.planes] == [
        (0.25, None), (None, None), (None, None)
    ]  # fmt: skip


def test_of_a_custom_axis_all_planes_are_of_the_channel_that_chose_the_image():
    channels = Dimension(name="c", coords=[Channel(name="A", exposure_time=0.25), Channel(name="B", exposure_time=0.5)])
    angles = Dimension(name="angle", count=3, type="other")
    plan = planned([angles, channels, *frame()])
    exposures = [[plane.exposure_time for plane in image.pixels.planes] for image in read(plan).images]
    assert exposures == [[0.25, 0.5]] * 3
    endless = [Dimension(name="angle", type="other"), channels, *frame()]
    exposures = [
        [plane.exposure_time for plane in image.pixels.planes]
        for image in read(planned(endless), Outcome(verdict="stopped", cursor=4)).images
    ]
    assert exposures == [[0.25, 0.25], [0.5, 0.5]]


def test_what_came_with_a_frame_goes_before_what_was_planned():
    dims = [Dimension(name="t", count=2, scale=10, unit="ms"), *frame()]
    told = {"delta_t": 0.5, "exposure_time": 1, "position_x": 1.5, "position_y": -2, "position_z": 1e-7}
    plan = planned(dims)
    (image,) = read(plan, complete(plan, records={1: told})).images
    assert planes(image) == [
        [0, 0, 0, 0.0, "ms", None, "s", None, "reference frame", None, "reference frame", None, "reference frame"],
        [1, 0, 0, 0.5, "s", 1.0, "s", 1.5, "µm", -2.0, "µm", 1e-7, "µm"],
    ]


def test_everything_else_that_came_with_a_frame_is_kept():
    plan = planned({"t": 2, "p": ["a", "b"]})
    told = {
        "laser <&>": "on",
        "power": 0.1,
        "n": "5",
        "deep": {"µ": [None, True, "x\r\n"]},
        "none": None,
        "nan": "NaN",
        "": "",
    }
    records = {0: told, 1: {"delta_t": 0.25, **told}, 2: {"power": 1}, 3: {"delta_t": 0.5}}
    ome = read(plan, complete(plan, records=records))
    kept = annotations(ome, "ome-writers/frame")
    found = {}
    for number, image in enumerate(ome.images):
        for plane in image.pixels.planes:
            for ref in plane.annotation_refs:
                found[2 * plane.the_t + number] = kept[ref.id]
    assert {place: {key: back(text) for key, text in pairs.items()} for place, pairs in found.items()} == {
        0: told,
        1: told,
        2: {"power": 1},
    }
    assert len(kept) == 2, "equal annotations are one"


def back(text):
    """Return the value that stands as `text`, as a reader would that knows the rule."""

    def refuse(constant):
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return text


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "a",
            "true",
            "truer",
            "5",
            " 5",
            "\t5",
            "-",
            "-1",
            "NaN",
            "-Infinity",
            "null",
            '"',
            '"a"',
            "[",
            "[]",
            "{a}",
        ),
        *(5, 0.1, None, True, [1, "a"], {"a": "5"}),
    ],
    ids=repr,
)
def test_values_of_maps_can_be_had_back(value):
    assert back(map_text(value)) == value
    assert type(back(map_text(value))) is type(value)


# ── what came ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_frames_that_did_not_come_have_a_blank_page():
    plan = planned({"t": 3, "p": ["a", "b"], "c": 2})
    outcome = Outcome(verdict="stopped", cursor=10, missing=np.array([0, 1, 7]), error="stop µ")
    ome = read(plan, outcome)
    # t0: a0 a1 b0 b1 (0-3), t1: a0 a1 b0 b1 (4-7), t2: a0 a1 (8, 9)
    assert [(image.pixels.size_t, blocks(image)) for image in ome.images] == [
        (3, [(2, 1, 0, 0, 1), (3, 1, 1, 0, 1), (4, 2, 0, 0, 1), (5, 2, 1, 0, 1), (0, 0, 0, 0, 1), (1, 0, 1, 0, 1)]),
        (2, [(0, 0, 0, 0, 1), (1, 0, 1, 0, 1), (2, 1, 0, 0, 1), (3, 1, 1, 0, 1)]),
    ]
    assert [document.blank_pages for document in documents_of(plan, outcome)] == [(), ()]
    assert blank_pages(ome) == ["0-1", "3"]
    run = annotations(ome, "ome-writers/run")
    version = run.pop("version")
    assert version
    assert run.pop("axes") == '["t", "c", "y", "x"]'
    assert [(dim["name"], dim["count"]) for dim in json.loads(run.pop("dimensions"))][:3] == [
        ("t", 3),
        ("p", 2),
        ("c", 2),
    ]
    assert run == {"verdict": "stopped", "frames": "7", "planned": "12", "missing": "0-1 7", "error": "stop µ"}
    assert {image.annotation_refs[0].id for image in ome.images} == {"Annotation:0"}


def blank_pages(ome):
    told = annotations(ome, "ome-writers/blank")
    refs = [[told[ref.id]["pages"] for ref in image.annotation_refs if ref.id in told] for image in ome.images]
    return [pages for found in refs for pages in found or [""]]


def test_planes_after_the_last_frame_share_a_blank_page_at_the_end():
    plan = planned({"t": 3, "p": ["a", "b"], "z": 3})
    outcome = Outcome(verdict="stopped", cursor=10, missing=np.array([8, 9]))
    ome = read(plan, outcome)
    # t0: a0 a1 a2 b0 b1 b2 (0-5), t1: a0 a1 (6, 7)
    assert [block[:4] for block in blocks(ome.images[0])] == [
        (0, 0, 0, 0), (1, 0, 0, 1), (2, 0, 0, 2), (3, 1, 0, 0), (4, 1, 0, 1), (5, 1, 0, 2)
    ]  # fmt: skip
    assert [block[:4] for block in blocks(ome.images[1])] == [
        (0, 0, 0, 0), (1, 0, 0, 1), (2, 0, 0, 2), (3, 1, 0, 0), (3, 1, 0, 1), (3, 1, 0, 2)
    ]  # fmt: skip
    assert blank_pages(ome) == ["5", "3"]
    assert [document.blank_pages for document in documents_of(plan, outcome)] == [(0,), (1,)]


def test_in_one_file_pages_run_on_through_all_images():
    plan = planned({"t": 2, "p": ["a", "b"], "c": 2}, single="always")
    outcome = complete(plan, missing=np.array([2]))
    first, second = read(plan, outcome).images
    assert [block[0] for block in blocks(first)] == [0, 1, 4, 5]
    assert [block[0] for block in blocks(second)] == [3, 6, 7, 2]
    assert all(block.uuid is None for image in (first, second) for block in image.pixels.tiff_data_blocks)


def test_while_it_runs_everything_planned_is_there_and_of_no_end_as_much_as_is_announced():
    plan = planned({"t": None, "p": ["a", "b"], "c": 2})
    ome = read(plan)
    assert annotations(ome, "ome-writers/run")["verdict"] == "running"
    assert [(image.pixels.size_t, blocks(image)) for image in ome.images] == [(4096, [(0, 0, 0, 0, 8192)])] * 2
    later = read(plan, Outcome(verdict="complete", cursor=6))
    assert [image.pixels.size_t for image in later.images] == [2, 1]
    assert "planned" not in annotations(later, "ome-writers/run")


def test_an_image_without_frames_has_the_blank_page_of_its_file():
    plan = planned({"p": ["a", "b"], "t": 2, "c": 2})
    outcome = Outcome(verdict="stopped", cursor=2)
    first, second = read(plan, outcome).images
    assert len(blocks(first)) == 2
    assert blocks(second) == [(0, 0, 0, 0, 1), (0, 0, 1, 0, 1)]
    assert second.pixels.tiff_data_blocks[0].uuid.file_name == "cells_p001.ome.tiff"


def test_in_a_file_of_others_an_image_without_frames_is_left_out_and_referred_to_by_none():
    wells = [Position(name=name, plate_row="A", plate_column=column) for name, column in (("a", "1"), ("b", "2"))]
    plan = planned({"p": wells, "t": 2}, single="always", plate=Plate.from_standard_wells(6))
    ome = read(plan, Outcome(verdict="stopped", cursor=1))
    assert [image.name for image in ome.images] == ["a"]
    assert [(well.column, len(well.well_samples)) for well in ome.plates[0].wells] == [(0, 1)]
    nothing = read(plan, Outcome(verdict="stopped", cursor=0))
    assert [(image.name, blocks(image)) for image in nothing.images] == [("a", [(0, 0, 0, 0, 1)])]


# ── several files ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_file_of_a_redundant_set_has_it_all_under_its_own_uuid():
    plan = planned({"p": ["a", "b"], "t": 2})
    made = documents_of(plan)
    assert [(document.path, document.kind) for document in made] == [
        ("cells_p000.ome.tiff", "comment"),
        ("cells_p001.ome.tiff", "comment"),
    ]
    for number, document in enumerate(made):
        ome = read(plan, number=number)
        assert ome.uuid == f"urn:uuid:{UUIDS[number]}"
        assert document.body.replace(f' UUID="urn:uuid:{UUIDS[number]}"', "", 1) == made[0].body.replace(
            f' UUID="urn:uuid:{UUIDS[0]}"', "", 1
        )
        blocks_of = [{(b.uuid.file_name, b.uuid.value) for b in image.pixels.tiff_data_blocks} for image in ome.images]
        assert blocks_of == [{(f"cells_p00{n}.ome.tiff", f"urn:uuid:{UUIDS[n]}")} for n in range(2)]
    assert list(made[1:]) == [made[1]]
    assert made == documents_of(plan)


@pytest.mark.parametrize("root", ["data/cells.ome.tiff", "/abs/data/cells", "C:\\data\\cells"])
@pytest.mark.parametrize("files", ["master-tiff", "companion-file"])
def test_other_files_refer_to_the_one_that_has_it_all(files, root):
    plan = planned({"p": ["a", "b"], "t": 2}, files=files, root=root)
    first, *others = documents_of(plan)
    main, uuid = ("cells_p000.ome.tiff", UUIDS[0]) if files == "master-tiff" else ("cells.companion.ome", UUIDS[2])
    assert (first.path, first.kind) == (main, "comment" if files == "master-tiff" else "xml")
    tiffs = ["cells_p000.ome.tiff", "cells_p001.ome.tiff"]
    assert [(document.path, document.kind) for document in others] == [
        (path, "comment") for path in tiffs if path != main
    ]
    ome = read(plan)
    assert ome.uuid == f"urn:uuid:{uuid}"
    assert len(ome.images) == 2
    for number, document in enumerate(others, start=1):
        reference = read(plan, number=number)
        assert (reference.binary_only.metadata_file, reference.binary_only.uuid) == (main, f"urn:uuid:{uuid}")
        assert reference.uuid == f"urn:uuid:{UUIDS[plan.layout.files.index(document.path)]}"
        assert not reference.images


def test_other_formats_have_no_documents_of_ome_tiff():
    plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="u1", dimensions=frame()))
    with pytest.raises(TypeError, match="must be a plan for OME-TIFF; got one for ome-zarr"):
        tiff_documents(plan, Stamp(NOW, UUIDS), Outcome())


def test_a_companion_of_another_name_keeps_it():
    plan = planned({"p": ["a", "b"]}, files="companion-file")
    settings = evolve(plan.settings, format=evolve(plan.settings.format, companion_file="all.companion.ome"))
    assert companion_name(compile(settings)) == "all.companion.ome"


@pytest.mark.parametrize("files", ["redundant", "master-tiff", "companion-file"])
def test_tifffile_finds_the_frames_of_a_set_made_by_hand(tmp_path, files):
    plan = planned({"t": 3, "p": ["ä", "b"], "c": 2}, files=files)
    outcome = complete(plan, missing=np.array([4]))
    pages = {path: [] for path in plan.layout.files}
    for row in plan.table:
        value = 0 if row["frame"] == 4 else row["frame"] + 1
        pages[plan.layout.arrays[row["array"]].path].append(np.full((8, 6), value, np.uint16))
    for document in documents_of(plan, outcome):
        if document.kind == "xml":
            (tmp_path / document.path).write_text(document.body)
        else:
            with tifffile.TiffWriter(tmp_path / document.path, bigtiff=True) as writer:
                for number, page in enumerate(pages[document.path]):
                    comment = document.body.encode() if number == 0 else None
                    # Compressed: tifffile takes contiguous pages of another file of the set for those of the open one.
                    writer.write(page, description=comment, metadata=None, compression="zlib", contiguous=False)
    path = tmp_path / plan.layout.files[0]
    with tifffile.TiffFile(path) as tif:
        if files != "companion-file":  # tifffile reads no companion files
            assert [series.name for series in tif.series] == ["ä", "b"]
            shapes = shapes_of(plan, outcome)
            for array, series in enumerate(tif.series):
                expected = np.zeros(shapes[array], np.uint16)
                for row in plan.table:
                    if row["array"] == array and row["frame"] != 4:
                        expected[tuple(row["index"])] = row["frame"] + 1
                np.testing.assert_array_equal(series.asarray(), expected)
        else:
            assert ome_types.from_xml(tif.ome_metadata).binary_only.metadata_file == "cells.companion.ome"


# ── plates ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_plates_have_wells_and_samples():
    wells = [
        Position(name="left", plate_row="B", plate_column="2", x_coord=1.5, y_coord=-2),
        Position(name="right", plate_row="B", plate_column="2"),
        Position(name="other", plate_row="A", plate_column="3"),
    ]
    dims = [Dimension(name="p", coords=wells), *frame()]
    ome = read(planned(dims, plate=evolve(Plate.from_standard_wells(6), name="Plate µ")))
    (plate,) = ome.plates
    assert (plate.name, plate.rows, plate.columns) == ("Plate µ", 2, 3)
    assert (plate.row_naming_convention.value, plate.column_naming_convention.value) == ("letter", "number")
    found = [
        (well.row, well.column, [(s.index, s.image_ref.id, s.position_x, s.position_y) for s in well.well_samples])
        for well in plate.wells
    ]
    assert found == [
        (1, 1, [(0, "Image:0", 1.5, -2.0), (1, "Image:1", None, None)]),
        (0, 2, [(2, "Image:2", None, None)]),
    ]
    assert plate.wells[0].well_samples[0].position_x_unit.value == "µm"


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (["A", "B"], ["01", "02"], ("letter", None)),
        (["B", "C"], ["A", "B"], (None, "letter")),
        (["1", "2"], ["2", "3"], ("number", None)),
    ],
)
def test_conventions_are_said_only_where_they_hold(rows, columns, expected):
    place = Position(name="a", plate_row=rows[1], plate_column=columns[1])
    (plate,) = read(planned({"p": [place]}, plate=Plate(row_names=rows, column_names=columns))).plates
    conventions = (plate.row_naming_convention, plate.column_naming_convention)
    assert tuple(convention and convention.value for convention in conventions) == expected
    assert (plate.wells[0].row, plate.wells[0].column, plate.rows, plate.columns) == (1, 1, 2, 2)


def test_positions_without_a_plate_may_say_their_wells():
    known = [Position(name="a", plate_row="C", plate_column="12", grid_row=0, grid_column=5), Position(name="b")]
    ome = read(planned({"p": known}))
    (plate,) = ome.plates
    assert (plate.rows, plate.columns, plate.wells[0].row, plate.wells[0].column) == (3, 12, 2, 11)
    told = annotations(ome, "ome-writers/position")
    assert list(told.values()) == [{"grid_row": "0", "grid_column": "5", "plate_row": "C", "plate_column": "12"}]
    strange = [Position(name="a", plate_row="left", plate_column="12")]
    ome = read(planned({"p": strange}))
    assert not ome.plates
    assert list(annotations(ome, "ome-writers/position").values()) == [{"plate_row": "left", "plate_column": "12"}]
