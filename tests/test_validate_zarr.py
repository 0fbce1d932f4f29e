"""`validate` on OME-Zarr: sound datasets of every origin are sound; each way to break one is found, and where."""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import ome_writers as ow
from ome_writers.cli.app import run
from ome_writers.validation import zarrchunks

SIZES = {"t": 3, "p": 2, "c": 2, "y": 16, "x": 16}


def dims(sizes: dict[str, int | None] = SIZES, **of_dims: dict[str, Any]) -> list[ow.Dimension]:
    return [ow.Dimension(name=name, count=count, **of_dims.get(name, {})) for name, count in sizes.items()]


def made(root: Path, frames: int = 12, skip: tuple[int, ...] = (), **changes: Any) -> Path:
    backend = changes.pop("backend", None)
    given = {"dimensions": dims(), "dtype": "uint16"} | changes
    rng = np.random.default_rng(0)
    with ow.create_stream(ow.AcquisitionSettings(root_path=str(root), **given), backend) as stream:
        for number in range(frames):
            if number in skip:
                stream.skip()
            else:
                stream.append(rng.integers(0, 9999, (16, 16), "uint16"))
    return Path(stream.outcome.root)


def faults(path: Path) -> list[tuple[str, str, str]]:
    return [(check.name, check.location, check.message) for check in ow.validate(path).failed]


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    body = json.loads(file.read_text("utf-8"))
    change(body)
    file.write_text(json.dumps(body), "utf-8")


def flip(file: Path, place: int) -> None:
    body = bytearray(file.read_bytes())
    body[place] ^= 0x40
    file.write_bytes(body)


SHARDED = {"dimensions": dims(t={"shard_size_chunks": 3}, y={"chunk_size": 8}, x={"chunk_size": 8})}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"frames": 7},
        {"frames": 9, "skip": (0, 5)},
        {"backend": "tensorstore", "compression": "blosc-zstd"},
        {"backend": "zarr-python", "compression": "gzip"},
        {"compression": "gzip", **SHARDED},
        {**SHARDED, "backend": "tensorstore", "frames": 5},
        {"dimensions": dims({**SIZES, "t": None}), "frames": 6},
    ],
    ids=str,
)
def test_what_the_writers_made_is_sound_however_it_ended(tmp_path: Path, changes: dict[str, Any]):
    report = ow.validate(made(tmp_path / "a.ome.zarr", **changes))
    assert report.failed == ()
    assert {check.name for check in report.checks} >= {"structure", "yaozarrs", "NGFF schemas", "acquisition", "chunks"}
    assert "not run" not in {check.result for check in report.checks}


def test_black_frames_of_no_writer_seem_lost(tmp_path: Path):
    for backend in ("direct", "tensorstore", "zarr-python", "zarrs-python", "acquire-zarr"):
        settings = ow.AcquisitionSettings(
            root_path=str(tmp_path / f"{backend}.ome.zarr"), dtype="uint8", dimensions=dims({"t": 2, "y": 8, "x": 8})
        )
        outcome = ow.write(ow.compile(settings), np.zeros((2, 8, 8), "uint8"), backend)
        assert faults(Path(outcome.root)) == []


BROKEN: dict[str, tuple[dict[str, Any], Callable[[Path], object], str, str, str]] = {
    "a chunk is deleted": (
        {},
        lambda root: (root / "1/0/c/2/0/0/0").unlink(),
        "chunks",
        "1/0/c/2/0/0/0",
        "is missing, though 1 frames came",
    ),
    "a chunk is cut": (
        {},
        lambda root: (root / "0/0/c/1/1/0/0").write_bytes(b"abc"),
        "chunks",
        "0/0/c/1/1/0/0",
        "cannot be decoded",
    ),
    "a bit flips in gzip": (
        {"compression": "gzip"},
        lambda root: flip(root / "0/0/c/1/0/0/0", 100),
        "chunks",
        "0/0/c/1/0/0/0",
        "cannot be decoded",
    ),
    "a shard is cut": (
        SHARDED,
        lambda root: (root / "0/0/c/0/1/0/0").write_bytes((root / "0/0/c/0/1/0/0").read_bytes()[:-70]),
        "chunks",
        "0/0/c/0/1/0/0",
        "index",
    ),
    "a bit flips in a shard's index": (
        {**SHARDED, "backend": "tensorstore"},
        lambda root: flip(root / "0/0/c/0/0/0/0", -20),
        "chunks",
        "0/0/c/0/0/0/0",
        "checksum (crc32c)",
    ),
    "a bit flips in a chunk of a shard": (
        {**SHARDED, "compression": "gzip", "backend": "tensorstore"},
        lambda root: flip(root / "0/0/c/0/0/0/0", 40),
        "chunks",
        "0/0/c/0/0/0/0 chunk [0, 0, 0, 0]",
        "cannot be decoded",
    ),
    "an array's shape is cut": (
        {},
        lambda root: edit(root / "0/0/zarr.json", lambda body: body["shape"].__setitem__(0, 2)),
        "chunks",
        "0/0",
        "lie beyond its shape",
    ),
    "an array's shape is longer": (
        {},
        lambda root: edit(root / "0/0/zarr.json", lambda body: body["shape"].__setitem__(0, 4)),
        "acquisition",
        "0/0",
        "has [4, 2] frames",
    ),
    "an array's axes are renamed": (
        {},
        lambda root: edit(root / "1/0/zarr.json", lambda body: body.update(dimension_names=["t", "c", "x", "y"])),
        "axes and shapes",
        "1/0",
        "calls its axes",
    ),
    "a codec is unknown": (
        {},
        lambda root: edit(root / "1/0/zarr.json", lambda body: body.update(codecs=[{"name": "mine"}])),
        "chunks",
        "1/0",
        "cannot be opened",
    ),
    "a group is deleted": ({}, lambda root: (root / "1/zarr.json").unlink(), "structure", "1", "is missing"),
    "an array is deleted": ({}, lambda root: shutil.rmtree(root / "1/0"), "structure", "1/0", "is missing"),
    "the root is deleted": ({}, lambda root: (root / "zarr.json").unlink(), "structure", "", "is missing"),
    "JSON is cut": (
        {},
        lambda root: (root / "0/zarr.json").write_text((root / "0/zarr.json").read_text("utf-8")[:99], "utf-8"),
        "structure",
        "0",
        "zarr.json: is no JSON",
    ),
    "an axis has a wrong type": (
        {},
        lambda root: edit(
            root / "0/zarr.json",
            lambda body: body["attributes"]["ome"]["multiscales"][0]["axes"][-1].update(type="time"),
        ),
        "NGFF schemas",
        "0/zarr.json",
        "multiscales.0.axes",
    ),
    "a scale is lost": (
        {},
        lambda root: edit(
            root / "0/zarr.json",
            lambda body: body["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0][
                "scale"
            ].pop(),
        ),
        "axes and shapes",
        "0/0",
        "scale has 3 numbers",
    ),
    "a channel is lost": (
        {},
        lambda root: edit(root / "0/zarr.json", lambda body: body["attributes"]["ome"]["omero"]["channels"].pop()),
        "axes and shapes",
        "0",
        "describes 1 channels",
    ),
    "a series leads outside": (
        {},
        lambda root: edit(
            root / "OME/zarr.json", lambda body: body["attributes"]["ome"].update(series=["0", "../b.ome.zarr/0"])
        ),
        "structure",
        "../b.ome.zarr/0",
        "outside the dataset",
    ),
    "OME-XML is broken": (
        {},
        lambda root: (root / "OME/METADATA.ome.xml").write_text("<OME><Image></OME>", "utf-8"),
        "OME-XML schema",
        "OME/METADATA.ome.xml",
        "not well-formed",
    ),
    "the run was killed": (
        {},
        lambda root: edit(root / "zarr.json", lambda body: body["attributes"]["ome_writers"].update(verdict="running")),
        "acquisition",
        "",
        "has not ended",
    ),
    "the run failed": (
        {},
        lambda root: edit(
            root / "zarr.json", lambda body: body["attributes"]["ome_writers"].update(verdict="failed", error="no room")
        ),
        "acquisition",
        "",
        "failed after 12 of 12 frames: no room",
    ),
    "frames are not counted right": (
        {},
        lambda root: edit(root / "zarr.json", lambda body: body["attributes"]["ome_writers"].update(frames=11)),
        "acquisition",
        "",
        "said to be complete, with 11 of 12",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_way_to_break_a_dataset_is_found_and_located(tmp_path: Path, case: str):
    changes, broken, name, where, message = BROKEN[case]
    root = made(tmp_path / "a.ome.zarr", **changes)
    broken(root)
    told = faults(root)
    assert any(found[:2] == (name, where) and message in found[2] for found in told), told


def test_a_chunk_that_is_absent_is_a_fault_only_where_its_frame_came(tmp_path: Path):
    root = made(tmp_path / "a.ome.zarr", frames=12, skip=(4, 5, 7))
    # Frames 4 and 5 are t=1 of the first position, frame 7 is t=1, c=1 of the second.
    for chunk in ("0/0/c/1/0/0/0", "1/0/c/1/1/0/0", "1/0/c/1/0/0/0"):
        (root / chunk).unlink(missing_ok=True)
    assert [where for _, where, _ in faults(root)] == ["1/0/c/1/0/0/0"]
    warned = [check.message for check in ow.validate(root).checks if check.result == "warning"]
    assert "3 frames did not come: 4-5, 7" in warned


def test_nobody_knows_of_absent_chunks_of_others_so_that_is_a_warning(tmp_path: Path):
    array = zarr.create_array(tmp_path / "bare.zarr", shape=(4, 8, 8), chunks=(1, 8, 8), dtype="uint8")
    array[:2] = 1
    report = ow.validate(tmp_path / "bare.zarr")
    assert report.sound
    assert [check.message for check in report.checks if check.name == "chunks"] == [
        "2 chunks are absent and read as the fill value; nothing says whether they came"
    ]


def test_a_shard_whose_chunks_lie_on_one_another_is_found(tmp_path: Path):
    root = made(tmp_path / "a.ome.zarr", **SHARDED, backend="tensorstore")
    file = root / "0/0/c/0/0/0/0"
    grid = zarrchunks.grid_of(zarrchunks.Node("0/0", json.loads((root / "0/0/zarr.json").read_text("utf-8"))))
    count = int(np.prod(grid.inner))
    body = file.read_bytes()
    index = np.frombuffer(body[-16 * count - 4 : -4], "<u8").copy()
    index[2] = index[0]
    google = pytest.importorskip("google_crc32c")
    raw = index.tobytes()
    file.write_bytes(body[: -16 * count - 4] + raw + google.value(raw).to_bytes(4, "little"))
    assert ("chunks", "0/0/c/0/0/0/0", "its index says that chunks lie on one another") in faults(root)


def test_datasets_of_ngff_zarr_are_sound_in_both_versions(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ngff_zarr

        image = ngff_zarr.to_ngff_image(np.ones((2, 32, 32), "uint16"), dims=["z", "y", "x"])
        for version in ("0.4", "0.5"):
            root = tmp_path / f"{version}.ome.zarr"
            ngff_zarr.to_ngff_zarr(str(root), ngff_zarr.to_multiscales(image, scale_factors=[2]), version=version)
    for version in ("0.4", "0.5"):
        report = ow.validate(tmp_path / f"{version}.ome.zarr")
        assert (report.kind, report.failed) == (f"OME-Zarr {version}", ())


def test_the_faults_of_plates_and_groups_of_0_3_are_found(tmp_path: Path):
    positions = [ow.Position(name="f", plate_row="A", plate_column="1")]
    root = made(
        tmp_path / "plate.ome.zarr",
        dimensions=[ow.Dimension(name="p", coords=positions), *dims({"t": 12, "y": 16, "x": 16})],
        plate=ow.Plate(row_names=["A"], column_names=["1"]),
    )
    assert faults(root) == []
    # As 0.3.2 wrote it: fields called `fov_0`, and a plate without a version.
    edit(root / "zarr.json", lambda body: body["attributes"]["ome"]["plate"].pop("version"))
    edit(root / "zarr.json", lambda body: body["attributes"].pop("ome_writers"))
    edit(root / "A/1/zarr.json", lambda body: body["attributes"]["ome"]["well"].update(images=[{"path": "fov_0"}]))
    (root / "A/1/0").rename(root / "A/1/fov_0")
    found = faults(root)
    assert ("layout for readers", "A/1/fov_0", "the path of a field must be alphanumeric; got 'fov_0'") in found
    assert any("has no version" in message for _, _, message in found)
    assert any(name == "NGFF schemas" and where == "A/1/zarr.json" for name, where, _ in found)
    # Several positions in groups named after them, without OME-XML.
    root = made(tmp_path / "several.ome.zarr", format=ow.OmeZarrFormat(group_names="position"))
    (root / "OME/METADATA.ome.xml").unlink()
    warned = [check.message for check in ow.validate(root).checks if check.name == "layout for readers"]
    assert any("METADATA.ome.xml" in message for message in warned)


def test_validators_that_are_not_installed_are_said_to_be_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = made(tmp_path / "a.ome.zarr")
    find = importlib.util.find_spec
    hidden = ("yaozarrs", "ngff_zarr", "jsonschema", "lxml", "tensorstore", "zarr")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in hidden else find(name, *more))
    report = ow.validate(root)
    skipped = {check.name: check.message for check in report.checks if check.result == "not run"}
    assert skipped.keys() == {"yaozarrs", "NGFF schemas", "OME-XML schema", "chunks"}
    assert "pip install 'ome-writers[validate]'" in skipped["yaozarrs"]
    assert "pip install 'ome-writers[tensorstore]'" in skipped["chunks"]


def test_many_faults_are_summed_up(tmp_path: Path):
    root = made(tmp_path / "a.ome.zarr", dimensions=dims({"t": 80, "y": 16, "x": 16}), frames=80)
    shutil.rmtree(root / "0/c")
    found = faults(root)
    assert len(found) == 51
    assert found[-1][2] == "and 30 more"


def test_the_command_prints_a_table_and_tells_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "200")
    root = made(tmp_path / "a.ome.zarr")
    assert run(["validate", str(root)]) == 0
    assert "OME-Zarr 0.5, sound" in capsys.readouterr().out
    (root / "0/0/c/0/0/0/0").unlink()
    assert run(["validate", str(root)]) == 1
    said = capsys.readouterr().out
    assert "0/0/c/0/0/0/0" in said
    assert "not sound, 1 failed" in said
    (tmp_path / "notes.txt").write_text("no image", "utf-8")
    assert run(["validate", str(tmp_path / "notes.txt")]) == 2
    assert run(["validate", str(tmp_path / "absent.ome.zarr")]) == 2
    assert "no such file" in capsys.readouterr().err
