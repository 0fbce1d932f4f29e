"""`convert` between the two formats: the round trip changes nothing, and a source that broke off stays one."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from attrs import evolve
from ome_types import from_xml

import ome_writers as ow
from ome_writers import conversion
from ome_writers.cli import trust
from ome_writers.cli.app import run
from ome_writers.cli.trust import setting

YX = [
    ow.Dimension(name="y", count=16, unit="um", scale=0.325, chunk_size=8),
    ow.Dimension(name="x", count=12, unit="um", scale=0.325, translation=5),
]
T = ow.Dimension(name="t", count=3, unit="second", scale=10)
Z = ow.Dimension(name="z", count=2, unit="um", scale=2.0, translation=-3, snake=True)
C = ow.Dimension(
    name="c",
    coords=[
        "DAPI",
        ow.Channel(
            name="GFP",
            color="lime",
            emission_wavelength_nm=510.5,
            excitation_wavelength_nm=488,
            fluorophore="EGFP",
        ),
    ],
)
P = ow.Dimension(
    name="p",
    coords=[
        ow.Position(name="left", x_coord=1.5, y_coord=2.0, z_coord=7),
        ow.Position(name="right", grid_row=1, grid_column=2),
    ],
)
WELLS = ow.Dimension(
    name="p",
    coords=[
        ow.Position(name="f0", plate_row="A", plate_column="1", x_coord=1.5),
        ow.Position(name="f1", plate_row="A", plate_column="1"),
        ow.Position(name="f0", plate_row="B", plate_column="mock"),
    ],
)
PLATE = ow.Plate(row_names=["A", "B"], column_names=["1", "2", "mock"], name="screen")
ANGLE = ow.Dimension(name="angle", count=2, type="other")
UNEVEN = ow.Dimension(name="z", coords=[0, 1, 5], unit="um")

CASES: dict[str, dict[str, Any]] = {
    "one image": {"dimensions": [T, C, Z, *YX]},
    "positions, stopped, with gaps": {"dimensions": [T, P, C, Z, *YX], "frames": 13, "skip": (3, 4, 9)},
    "a plate": {"dimensions": [WELLS, T, C, *YX], "plate": PLATE},
    "wells without a plate": {"dimensions": [WELLS, T, *YX], "frames": 2},
    "without end": {"dimensions": [evolve(T, count=None), P, C, *YX], "frames": 9},
    "a loop that fans out": {"dimensions": [T, ANGLE, P, C, *YX], "frames": 15},
    "a custom axis": {"dimensions": [T, ANGLE, *YX]},
    "a single frame": {"dimensions": YX},
    "uneven planes": {"dimensions": [T, UNEVEN, *YX]},
    "channels go slowest": {"dimensions": [C, T, *YX], "frames": 4},
}


def made(root: Path, frames: int | None = None, skip: tuple[int, ...] = (), **given: Any) -> Path:
    settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint16", **given)
    rng = np.random.default_rng(0)
    told = {"delta_t": 0.0, "exposure_time": 1, "laser": {"on": True}, "label": "2"}
    with ow.create_stream(settings) as stream:
        for number in range(settings.num_frames if frames is None else frames):
            if number in skip:
                stream.skip()
                continue
            record = told if number % 2 == 0 else {"position_z": -3.0} if number % 3 == 0 else None
            stream.append(rng.integers(1, 99, (16, 12), "uint16"), frame_metadata=record)
        stream.set_global_metadata("example.org/lab", {"operator": "Ada", "bath": [37, "5 % CO2"]})
    return Path(stream.outcome.root)


def documents(root: Path) -> dict[str, Any]:
    """Return every zarr.json, and the OME-XML without what is new in each dataset."""
    found: dict[str, Any] = {
        file.relative_to(root).as_posix(): json.loads(file.read_text("utf-8")) for file in root.rglob("zarr.json")
    }
    for file in root.rglob("*.xml"):
        found[file.name] = timeless(file.read_text("utf-8"))
    return found


def timeless(xml: str) -> str:
    xml = re.sub(r"<AcquisitionDate>[^<]*</AcquisitionDate>", "", xml)
    return re.sub(r"urn:uuid:[0-9a-f-]{36}", "urn:uuid:00000000-0000-4000-8000-000000000000", xml)


def arrays(root: Path) -> dict[str, np.ndarray]:
    nodes = [file.parent for file in root.rglob("zarr.json") if '"array"' in file.read_text("utf-8")]
    return {node.relative_to(root).as_posix(): np.asarray(zarr.open_array(node, mode="r")[...]) for node in nodes}


@pytest.mark.parametrize("case", CASES)
def test_zarr_to_tiff_to_zarr_changes_neither_a_pixel_nor_a_word(tmp_path: Path, case: str):
    source = made(tmp_path / "a/cells.ome.zarr", **CASES[case])
    there = ow.convert(source, tmp_path / "b/cells.ome.tiff")
    # Chunks are all that a TIFF does not know.
    back = ow.convert(there.root, tmp_path / "c/cells.ome.zarr", **{"dimensions.y.chunk_size": 8})
    assert documents(Path(back.root)) == documents(source)
    stored, expected = arrays(Path(back.root)), arrays(source)
    assert stored.keys() == expected.keys()
    assert all(np.array_equal(stored[key], expected[key]) for key in stored)
    assert ow.validate(there.root).failed == ow.validate(back.root).failed == ()


@pytest.mark.parametrize("mode", ["redundant", "master-tiff", "companion-file"])
def test_tiff_to_zarr_to_tiff_changes_nothing_that_ome_types_reads(tmp_path: Path, mode: str):
    format_ = ow.OmeTiffFormat(multi_file_metadata=mode)
    source = made(tmp_path / "a/cells.ome.tiff", **CASES["a plate"], format=format_)
    there = ow.convert(source, tmp_path / "b/cells.ome.zarr")
    back = ow.convert(
        there.root, tmp_path / "c/cells.ome.tiff", format={"name": "ome-tiff", "multi_file_metadata": mode}
    )
    files = sorted(file.name for file in source.iterdir())
    assert sorted(file.name for file in Path(back.root).iterdir()) == files

    def described(folder: Path) -> Any:
        for name in files:
            if name.endswith(".ome"):
                return from_xml(timeless((folder / name).read_text("utf-8")))
        with tifffile.TiffFile(folder / files[0]) as tif:
            return from_xml(timeless(tif.ome_metadata))

    assert described(Path(back.root)) == described(source)
    for name in files:
        if name.endswith(".tiff"):
            with (
                tifffile.TiffFile(source / name, is_ome=False) as one,
                tifffile.TiffFile(Path(back.root, name), is_ome=False) as other,
            ):
                pages = list(zip(one.pages, other.pages, strict=True))
                assert all(np.array_equal(mine.asarray(), theirs.asarray()) for mine, theirs in pages)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_the_verdict_of_a_run_that_failed_or_was_killed_is_kept_in_mind(tmp_path: Path, suffix: str):
    source = made(tmp_path / "a.ome.zarr", dimensions=[T, C, *YX])
    file = source / "zarr.json"
    body = json.loads(file.read_text("utf-8"))
    facts = body["attributes"]["ome_writers"]
    for verdict, error, reason in (
        ("failed", "no room", "the source failed: no room"),
        ("running", None, "the source was still being written"),
    ):
        facts |= {"verdict": verdict, "error": error}
        file.write_text(json.dumps(body), "utf-8")
        outcome = ow.convert(source, tmp_path / f"b{suffix}", overwrite=True)
        assert (outcome.verdict, outcome.frames) == ("stopped", 6)
        assert reason in str(outcome.error)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_ctrl_c_leaves_a_valid_dataset_and_says_how_many_frames_it_holds(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    source = made(tmp_path / "a.ome.zarr", dimensions=[T, C, *YX])
    read = conversion.Recording.frame
    came = 0

    def frame(self: Any, indices: Any) -> Any:
        nonlocal came
        if came == 4:
            raise KeyboardInterrupt
        came += 1
        return read(self, indices)

    monkeypatch.setattr(conversion.Recording, "frame", frame)
    assert run(["convert", str(source), str(tmp_path / f"b{suffix}")]) == 1
    said = capsys.readouterr().err.replace("\n", "")
    assert "holds 4 frames (stopped)" in said
    report = ow.validate(tmp_path / f"b{suffix}")
    assert report.failed == ()
    assert any("4 of 6 frames came" in check.message for check in report.checks)
    expected = np.asarray(ow.open_view(source)[...]).reshape(-1, 16, 12)
    found = np.asarray(ow.open_view(tmp_path / f"b{suffix}")[...]).reshape(-1, 16, 12)
    assert np.array_equal(found[:4], expected[:4])


def test_memory_does_not_grow_with_the_recording(tmp_path: Path):
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.zarr"),
        dtype="uint16",
        dimensions=ow.dims_from_standard_axes({"t": 64, "y": 512, "x": 512}),
    )
    frame = np.ones((512, 512), "uint16")
    ow.write(ow.compile(settings), (frame for _ in range(64)))
    tracemalloc.start()
    try:
        outcome = ow.convert(tmp_path / "a.ome.zarr", tmp_path / "b.ome.tiff")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert outcome.frames == 64
    assert most < 16 * frame.nbytes < 64 * frame.nbytes


def test_settings_are_changed_by_their_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = made(tmp_path / "a.ome.zarr", dimensions=[T, Z, *YX])
    target = tmp_path / "b.ome.zarr"
    flags = ["--set", "dimensions.t.chunk_size=3", "--set", "dimensions.2.chunk_size=4", "--compression", "zstd"]
    assert run(["convert", str(source), str(target), *flags]) == 0
    assert "complete, 6 frames" in capsys.readouterr().out.replace("\n", " ")
    array = zarr.open_array(target / "0", mode="r")
    assert array.chunks == (3, 1, 4, 12)
    assert np.array_equal(array[...], zarr.open_array(source / "0", mode="r")[...])
    # What stands there is not replaced, and what is no setting is refused before anything is written.
    assert run(["convert", str(source), str(target)]) == 1
    assert "exists" in capsys.readouterr().err
    for wrong in ("dimensions.q.chunk_size=3", "dimensions=", "colour=red", "dimensions.t.chunk_size=none", "=3", "t"):
        assert run(["convert", str(source), str(tmp_path / "c.ome.zarr"), "--set", wrong]) == 1
    assert not (tmp_path / "c.ome.zarr").exists()
    assert run(["convert", str(source), str(source), "--overwrite"]) == 1
    assert "choose another" in capsys.readouterr().err.replace("\n", " ")
    assert setting("axes=[1]") == ("axes", [1])


def test_every_help_has_an_example_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    made(Path("demo.ome.zarr"), dimensions=[T, C, *YX])
    tifffile.imwrite("stack.tif", np.ones((2, 5, 8, 6), "uint16"), photometric="minisblack")
    examples = []
    for command in ("convert", "validate"):
        assert run([command, "--help"]) == 0
        assert "Example: ome-writers" in capsys.readouterr().out.replace("`", "")
        # As it is written, not as it is broken into the lines of a terminal.
        examples += re.findall(r"Example: `ome-writers ([^`]*)`", getattr(trust, command).__doc__ or "")
    assert len(examples) == 3
    for example in examples:
        assert run(example.split()) == 0, capsys.readouterr().err
