"""The command line, called as people call it: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from ome_types import from_tiff

from ome_writers import AcquisitionSettings, Dimension, compile, create_stream, dims_from_standard_axes
from ome_writers.cli.app import app, redirected, run
from ome_writers.cli.demo import demo_frames, demo_settings
from ome_writers.serial import dumps

PROGRAM = "import sys; from ome_writers.cli import main; sys.exit(main())"
SMALL = ["--size", "64", "--times", "3"]
SIZES = {"t": 3, "c": 2, "y": 12, "x": 10}


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and return its exit code, what it said, and what it complained of."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def settings_file(name: str = "cells.json", **changes: Any) -> Path:
    values = {
        "root_path": "cells.ome.zarr",
        "dtype": "uint16",
        "dimensions": [{"name": name, "count": count} for name, count in SIZES.items()],
        **changes,
    }
    path = Path(name)
    path.write_text(json.dumps(values), "utf-8")
    return path


def recorded(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int64).reshape(shape).astype(dtype)


# ── demo ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_demo_writes_valid_zarr_of_the_simulated_frames(ask: Any) -> None:
    code, said, _ = ask("demo", *SMALL)
    assert code == 0
    assert "60 frames" in said
    assert re.search(r"\d+ frames/s, [\d.]+ [kMG]?B/s", said)
    assert "array 3 × 2 × 5 × 64 × 64 in 30 files" in said
    yaozarrs.validate_zarr_store("demo.ome.zarr")
    stored = zarr.open_group("demo.ome.zarr", mode="r")
    frames = iter(demo_frames(compile(demo_settings("x.ome.zarr", size=64, times=3))))
    for t in range(3):
        for p in range(2):
            for c in range(2):
                for z in range(5):
                    np.testing.assert_array_equal(stored[f"{p}/0"][t, c, z], next(frames))


def test_demo_writes_tiff_by_its_suffix(ask: Any) -> None:
    assert ask("demo", "d.ome.tiff", *SMALL)[0] == 0
    files = sorted(Path("d").iterdir())
    assert [file.name for file in files] == ["d_p000.ome.tiff", "d_p001.ome.tiff"]
    images = from_tiff(files[0]).images
    assert [image.name for image in images] == ["left", "right"]
    assert images[0].pixels.physical_size_x == 0.325


def test_demo_twice_says_what_stands_in_the_way_and_what_to_do(ask: Any) -> None:
    ask("demo", "d.ome.zarr", *SMALL)
    before = sorted(Path("d.ome.zarr").rglob("*"))
    code, said, complained = ask("demo", "d.ome.zarr", *SMALL)
    assert (code, said) == (1, "")
    assert complained == "d.ome.zarr exists; --overwrite replaces it, or give another path\n"
    assert sorted(Path("d.ome.zarr").rglob("*")) == before
    assert ask("demo", "d.ome.zarr", "--overwrite", "--times", "1", "--size", "32")[0] == 0
    assert zarr.open_group("d.ome.zarr", mode="r")["0/0"].shape == (1, 2, 5, 32, 32)


def test_overwrite_refuses_to_delete_what_is_no_dataset(ask: Any) -> None:
    Path("d.ome.zarr").mkdir()
    Path("d.ome.zarr/thesis.txt").write_text("years of work")
    code, _, complained = ask("demo", "d.ome.zarr", "--overwrite", *SMALL)
    assert code == 1
    assert "thesis.txt" in complained
    assert Path("d.ome.zarr/thesis.txt").read_text() == "years of work"


def test_write_does_not_overwrite_what_it_reads(ask: Any) -> None:
    sizes = {"p": 3, **{name: count for name, count in SIZES.items() if name != "t"}}
    path = settings_file(dimensions=[{"name": name, "count": count} for name, count in sizes.items()])
    np.save("frames.npy", recorded(6, 12, 10) + 1)
    assert ask("write", path, "--frames", "frames.npy", "--out", "a.ome.zarr")[0] == 0
    Path("recorded").mkdir()
    for number, frame in enumerate(recorded(6, 12, 10)):
        tifffile.imwrite(f"recorded/{number}.ome.tif", frame, ome=True)
    # Three positions of an OME-TIFF make a folder, which here is that of the recording.
    for source, target in {"a.ome.zarr": "a.ome.zarr/", "recorded": "recorded.ome.tiff"}.items():
        code, _, complained = ask("write", path, "--frames", source, "--out", target, "--overwrite")
        assert code == 1
        assert "would overwrite them" in complained
    assert zarr.open_group("a.ome.zarr", mode="r")["0/0"][0].max() > 0
    assert len(list(Path("recorded").iterdir())) == 6


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_lists_all_of_nine_mistakes_with_their_paths(ask: Any) -> None:
    dimensions = [
        {"name": "t", "count": 0},
        {"name": "c", "coords": ["DAPI", {"name": "GFP", "color": "greenish"}]},
        {"name": "z", "count": 5, "unit": "furlong", "type": "space"},
        {"name": "y", "count": 64, "chunk_size": -1},
        {"name": "x", "count": "many", "scale": -0.5},
    ]
    path = settings_file(dtype="uint17", dimensions=dimensions, overwrite="perhaps", colour="blue")
    code, said, complained = ask("check", path)
    assert (code, said) == (1, "")
    first, *lines = complained.splitlines()
    assert first == "cells.json: 9 problems"
    assert {line.strip().partition(":")[0] for line in lines} == {
        "colour", "dtype", "overwrite", "dimensions.0.count", "dimensions.1.coords.1.color", "dimensions.2.unit",
        "dimensions.3.chunk_size", "dimensions.4.count", "dimensions.4.scale",
    }  # fmt: skip


def test_check_tells_what_only_the_format_forbids(ask: Any) -> None:
    code, _, complained = ask("check", settings_file(root_path="cells.ome.tiff", dtype="int64"))
    assert code == 1
    assert "dtype: " in complained


def test_check_tells_that_the_writer_cannot(ask: Any) -> None:
    path = settings_file(dtype="float16", format={"name": "ome-zarr", "backend": "acquire-zarr"})
    code, _, complained = ask("check", path)
    assert code == 1
    assert "dtype: acquire-zarr stores" in complained


def test_check_is_content_with_good_settings(ask: Any) -> None:
    assert ask("check", settings_file()) == (
        0, "cells.json: no problems; 6 frames in 1 array, written by direct\n", ""
    )  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.toml", "="), ("a.yaml", "a: ["), ("a.txt", "")])
def test_check_of_what_is_no_settings_file(ask: Any, name: str, text: str) -> None:
    Path(name).write_text(text)
    code, said, complained = ask("check", name)
    assert (code, said) == (1, "")
    assert name in complained
    assert "Traceback" not in complained


# ── plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def cell(said: str, name: str) -> str:
    """Return what stands beside a name."""
    (line,) = [line for line in said.splitlines() if line.startswith(f"{name}  ")]
    return line.removeprefix(name).strip()


def test_plan_shows_numbers_and_rows(ask: Any) -> None:
    dimensions = [
        {"name": "t", "count": 4, "chunk_size": 2, "shard_size_chunks": 2},
        {"name": "p", "coords": ["A1", "B2"]},
        {"name": "c", "count": 3},
        {"name": "y", "count": 20, "chunk_size": 8},
        {"name": "x", "count": 30},
    ]
    code, said, _ = ask("plan", settings_file(dimensions=dimensions), "--rows", "5")
    assert code == 0
    assert cell(said, "frames") == "24"
    assert cell(said, "pixels") == "28.8 kB"  # 24 × 20 × 30 × 2 bytes
    assert cell(said, "writer") == "direct, a chunk at a time"
    lines = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines()]
    # A shard: 4 t × 1 c × 8 y × 30 x.
    assert ["0/0", "A1", "t c y x", "4×3×20×30", "2×1×8×30", "4×1×8×30"] in lines
    rows = [line for line in lines if all(re.fullmatch(r"\d+", word) for word in line) and line != [""]]
    # frame, position, array, t, c
    expected = [(t, p, c) for t in range(4) for p in range(2) for c in range(3)][:5]
    assert rows == [[str(n), str(p), str(p), str(t), str(c)] for n, (t, p, c) in enumerate(expected)]


@pytest.mark.parametrize("shard", [None, 2])
def test_plan_counts_the_files_that_write_makes(ask: Any, shard: int | None) -> None:
    dimensions = [
        {"name": "t", "count": 5, "chunk_size": 2, "shard_size_chunks": shard},
        {"name": "y", "count": 12, "chunk_size": 8},
        {"name": "x", "count": 10},
    ]
    np.save("frames.npy", recorded(5, 12, 10) + 1)
    settings = settings_file(dimensions=dimensions)
    _, said, _ = ask("plan", settings)
    assert ask("write", settings, "--frames", "frames.npy", "--out", "cells.ome.zarr")[0] == 0
    made = sum(1 for path in Path("cells.ome.zarr").rglob("*") if path.is_file())
    assert cell(said, "files").split()[0] == str(made)


def test_plan_without_end(ask: Any) -> None:
    dimensions = [{"name": "t"}, {"name": "y", "count": 12}, {"name": "x", "count": 10}]
    code, said, _ = ask("plan", settings_file(dimensions=dimensions), "--rows", "3")
    assert code == 0
    assert cell(said, "frames") == "without end"
    assert "∞×12×10" in said
    assert "first 3 rows" in said


def test_plan_compares_orders(ask: Any) -> None:
    positions = [{"name": name, "x_coord": x, "y_coord": y} for name, x, y in (("A", 0, 0), ("B", 3, 4))]
    stage = {"name": "p", "coords": positions}
    times = {"name": "t", "count": 5}
    channels, frame = {"name": "c", "count": 2}, [{"name": "y", "count": 12}, {"name": "x", "count": 10}]
    told = {}
    for order, loops in {"by time": [times, stage, channels], "by position": [stage, times, channels]}.items():
        _, said, _ = ask("plan", settings_file(dimensions=[*loops, *frame]))
        assert "moves\n" in said
        told[order] = [re.split(r"\s{2,}", cell(said, name)) for name in ("stage moves", "channel changes")]
    assert told == {"by time": [["9", "45 µm"], ["19"]], "by position": [["1", "5 µm"], ["19"]]}
    _, said, _ = ask("plan", settings_file(dimensions=[{"name": "t"}, stage, *frame]))
    assert "moves in each turn of 2 frames\n" in said
    assert cell(said, "stage moves") == "2  10 µm"


# ── info ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_info_of_our_zarr(ask: Any) -> None:
    ask("demo", *SMALL)
    code, said, _ = ask("info", "demo.ome.zarr")
    assert code == 0
    assert cell(said, "kind") == "OME-Zarr 0.5, 2 images"
    assert cell(said, "run") == "complete, 60 frames came"
    for words in ("left  0", "right  1", "3 × 2 × 5 × 64 × 64 uint16", "z 2 µm, y 0.325 µm", "■ nuclei, ■ membrane"):
        assert words in said


def test_info_of_our_tiff(ask: Any) -> None:
    ask("demo", "d.ome.tiff", *SMALL)
    for path in ("d", "d/d_p001.ome.tiff"):
        code, said, _ = ask("info", path)
        assert code == 0
        assert cell(said, "kind") == "OME-TIFF, 2 images"
        assert cell(said, "run") == "complete, 60 frames came"
        for words in (
            "left  d_p000.ome.tiff",
            "right  d_p001.ome.tiff",
            "3 × 2 × 5 × 64 × 64 uint16",
            "y 0.325 µm",
            "nuclei",
        ):
            assert words in said


def test_info_of_zarr_04_by_others(ask: Any) -> None:
    group = zarr.open_group("other.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=(2, 30, 40), chunks=(1, 30, 40), dtype="uint8")
    group.create_array("1", shape=(2, 15, 20), chunks=(1, 15, 20), dtype="uint8")
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    datasets = [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 0.5, 0.5]}]},
        {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [1, 1.0, 1.0]}]},
    ]
    group.attrs["multiscales"] = [
        {
            "version": "0.4", "name": "embryo", "axes": axes, "datasets": datasets,
            "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 2]}],
        }
    ]  # fmt: skip
    code, said, _ = ask("info", "other.zarr")
    assert code == 0
    assert cell(said, "kind") == "OME-Zarr 0.4, one image"
    # The scale of the dataset times that of all datasets.
    for words in ("embryo", "2 × 30 × 40 uint8", "y 1 µm, x 1 µm"):
        assert words in said
    assert re.search(r"levels\s+2", said)


def test_info_of_a_plate_sums_up_many_images(ask: Any) -> None:
    wells = [(row, column) for row in "ABCD" for column in "123456"]
    positions = [{"name": f"{r}{c}", "plate_row": r, "plate_column": c} for r, c in wells]
    plate = {"row_names": list("ABCD"), "column_names": list("123456")}
    dimensions = [{"name": "p", "coords": positions}, {"name": "y", "count": 12}, {"name": "x", "count": 10}]
    np.save("frames.npy", recorded(24, 12, 10))
    settings = settings_file(dimensions=dimensions, plate=plate)
    assert ask("write", settings, "--frames", "frames.npy", "--out", "plate.ome.zarr")[0] == 0
    _, said, _ = ask("info", "plate.ome.zarr")
    assert cell(said, "kind") == "OME-Zarr 0.5, plate of 4 × 6 wells, 24 images"
    assert "… and 12 more images" in said
    assert "D/6/0" not in said
    assert "D/6/0" in ask("info", "plate.ome.zarr", "--all")[1]


def test_info_of_tiff_by_others(ask: Any) -> None:
    tifffile.imwrite(
        "a.ome.tif", recorded(3, 2, 12, 10), metadata={"axes": "TCYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
    )
    code, said, _ = ask("info", "a.ome.tif")
    assert code == 0
    assert cell(said, "kind") == "OME-TIFF, one image"
    assert "3 × 2 × 12 × 10 uint16" in said
    assert "x 0.25 µm" in said
    tifffile.imwrite("b.tif", recorded(4, 12, 10), imagej=True)
    code, said, _ = ask("info", "b.tif")
    assert (code, cell(said, "kind")) == (0, "TIFF without OME metadata, one image")
    assert "4 × 12 × 10 uint16" in said


def test_info_of_a_bare_zarr_array(ask: Any) -> None:
    zarr.create_array("a.zarr", shape=(8, 12, 10), chunks=(2, 12, 10), shards=(4, 12, 10), dtype="float32")
    code, said, _ = ask("info", "a.zarr")
    assert code == 0
    assert "without OME metadata" in said
    assert "8 × 12 × 10 float32" in said
    assert "2 × 12 × 10 in shards of 4 × 12 × 10" in said


def no_zarr() -> str:
    Path("empty").mkdir()
    return "empty"


def group_without_image() -> str:
    zarr.open_group("g.zarr", mode="w")
    return "g.zarr"


def broken_json() -> str:
    Path("b.zarr").mkdir()
    Path("b.zarr/zarr.json").write_text("{")
    return "b.zarr"


def missing_array() -> str:
    group = zarr.open_group("m.zarr", mode="w")
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": [], "datasets": [{"path": "0"}]}]}
    return "m.zarr"


def malformed_multiscales() -> str:
    group = zarr.open_group("w.zarr", mode="w")
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": "tczyx"}]}
    return "w.zarr"


def no_tiff() -> str:
    Path("n.tif").write_text("not a TIFF")
    return "n.tif"


def text_file() -> str:
    Path("n.txt").write_text("text")
    return "n.txt"


@pytest.mark.parametrize(
    "make",
    [
        no_zarr,
        group_without_image,
        broken_json,
        missing_array,
        malformed_multiscales,
        no_tiff,
        text_file,
        lambda: "nothing",
    ],
)
def test_info_of_what_is_no_dataset_says_so(ask: Any, make: Any) -> None:
    path = make()
    code, said, complained = ask("info", path)
    assert (code, said) == (1, "")
    assert complained.startswith(path)
    assert len(complained.strip().splitlines()) == 1


# ── write ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def as_npy(frames: np.ndarray) -> str:
    np.save("s.npy", frames)
    return "s.npy"


def as_tiff(frames: np.ndarray) -> str:
    tifffile.imwrite("s.tif", frames.reshape(-1, 12, 10), photometric="minisblack")
    return "s.tif"


def as_ome_tiff(frames: np.ndarray) -> str:
    tifffile.imwrite("s.ome.tif", frames, metadata={"axes": "TCYX"}, compression="zlib")
    return "s.ome.tif"


def as_zarr(frames: np.ndarray) -> str:
    array = zarr.create_array("s.zarr", shape=frames.shape, chunks=(2, 1, 5, 5), dtype=frames.dtype)
    array[:] = frames
    return "s.zarr"


def as_zarr_2(frames: np.ndarray) -> str:
    array = zarr.create_array("s2.zarr", shape=frames.shape, chunks=(2, 1, 5, 5), dtype=frames.dtype, zarr_format=2)
    array[:] = frames
    return "s2.zarr"


def as_folder(frames: np.ndarray) -> str:
    Path("s").mkdir()
    for number, frame in enumerate(frames.reshape(-1, 12, 10)):
        tifffile.imwrite(f"s/img_{number + 8}.tif", frame)  # …_9 comes before …_10
    Path("s/notes.txt").write_text("not an image")
    Path("s/.hidden.tif").write_text("nor this")
    return "s"


SOURCES = [as_npy, as_tiff, as_ome_tiff, as_zarr, as_zarr_2, as_folder]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("to", ["out.ome.zarr", "out.ome.tiff"])
def test_write_streams_every_kind_of_source(ask: Any, source: Any, to: str) -> None:
    frames = recorded(3, 2, 12, 10)
    code, said, complained = ask("write", settings_file(), "--frames", source(frames), "--out", to)
    assert (code, complained) == (0, "")
    assert said.startswith(f"{to}: 6 frames, 1.4 kB in ")
    stored = zarr.open_group(to, mode="r")["0"][:] if to.endswith("zarr") else tifffile.imread(to)
    np.testing.assert_array_equal(stored, frames)


def test_write_follows_the_names_of_axes(ask: Any) -> None:
    frames = recorded(2, 3, 4, 12, 10)  # t c z
    tifffile.imwrite("s.ome.tif", frames, metadata={"axes": "TCZYX"})
    dimensions = [{"name": name, "count": count} for name, count in {"t": 2, "z": 4, "c": 3, "y": 12, "x": 10}.items()]
    assert ask("write", settings_file(dimensions=dimensions), "--frames", "s.ome.tif", "--out", "o.ome.zarr")[0] == 0
    np.testing.assert_array_equal(zarr.open_group("o.ome.zarr", mode="r")["0"][:], frames)  # stored as t c z, too


def test_write_copies_a_dataset_with_positions_from_one_format_to_the_other(ask: Any) -> None:
    ask("demo", "d.ome.zarr", *SMALL)
    settings = Path("demo.json")
    settings.write_text(dumps(demo_settings("d.ome.zarr", size=64, times=3)), "utf-8")
    assert ask("write", settings, "--frames", "d.ome.zarr", "--out", "copy.ome.tiff")[0] == 0
    assert ask("write", settings, "--frames", "copy", "--out", "back.ome.zarr")[0] == 0
    for p in range(2):
        there, back = (zarr.open_group(name, mode="r")[f"{p}/0"][:] for name in ("d.ome.zarr", "back.ome.zarr"))
        np.testing.assert_array_equal(back, there)


@pytest.mark.parametrize("order", ["tc", "ct"])
def test_write_splits_colours_into_channels_wherever_they_are_in_the_order(ask: Any, order: str) -> None:
    images = recorded(4, 12, 10, 3, dtype="uint8")
    np.save("s.npy", images)
    sizes = {name: {"t": 4, "c": 3}[name] for name in order} | {"y": 12, "x": 10}
    dimensions = [{"name": name, "count": count} for name, count in sizes.items()]
    settings = settings_file(dimensions=dimensions, dtype="uint8")
    assert ask("write", settings, "--frames", "s.npy", "--out", "o.ome.zarr")[0] == 0
    stored = zarr.open_group("o.ome.zarr", mode="r")["0"][:]
    for t in range(4):
        for c in range(3):
            np.testing.assert_array_equal(stored[t, c], images[t, :, :, c])


@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [
        ((5, 12, 10), "uint16", "holds 5 frames of 12 × 10 uint16, but 6 frames are planned"),
        ((3, 2, 12, 11), "uint16", "its frames are 12 × 11, but the settings say 12 × 10"),
        ((3, 2, 12, 10), "int16", "its dtype is int16, but the settings say uint16"),
        ((3, 12, 10, 3), "uint16", "holds 9 frames (colour=3) of 12 × 10 uint16, but 6 frames are planned"),
        ((10,), "uint16", "at least two axes"),
        ((0, 12, 10), "uint16", "holds no pixels"),
    ],
)
def test_write_compares_source_and_plan_before_it_writes(
    ask: Any, shape: tuple[int, ...], dtype: str, says: str
) -> None:
    np.save("s.npy", recorded(*shape, dtype=dtype))
    code, said, complained = ask("write", settings_file(), "--frames", "s.npy", "--out", "o.ome.zarr")
    assert (code, said) == (1, "")
    assert complained.startswith("s.npy: ")
    assert says in complained
    assert not Path("o.ome.zarr").exists()


def test_write_does_not_take_colours_for_time_points(ask: Any) -> None:
    np.save("s.npy", recorded(12, 10, 3))
    dimensions = [{"name": "t", "count": 3}, {"name": "y", "count": 12}, {"name": "x", "count": 10}]
    code, _, complained = ask("write", settings_file(dimensions=dimensions), "--frames", "s.npy", "--out", "o.ome.zarr")
    assert code == 1
    assert "colours" in complained


def test_write_refuses_a_named_axis_of_another_length(ask: Any) -> None:
    tifffile.imwrite("s.ome.tif", recorded(2, 3, 12, 10), metadata={"axes": "TCYX"})
    code, _, complained = ask("write", settings_file(), "--frames", "s.ome.tif", "--out", "o.ome.zarr")
    assert (code, complained) == (1, "s.ome.tif: its axis t has a length of 2, but 3 are planned\n")


def test_write_names_the_odd_image_of_a_folder(ask: Any) -> None:
    folder = Path(as_folder(recorded(3, 2, 12, 10)))
    tifffile.imwrite(folder / "img_11.tif", recorded(12, 11))
    code, _, complained = ask("write", settings_file(), "--frames", folder, "--out", "o.ome.zarr")
    assert code == 1
    assert "img_11.tif" in complained
    # What had come is kept, and the dataset says so.
    assert zarr.open_group("o.ome.zarr", mode="r").attrs["ome_writers"]["verdict"] == "stopped"


@pytest.mark.parametrize("name", ["nothing.tif", "empty", "bad.tif", "bad.npy", "bad.png", "bad.txt", "bad.zarr"])
def test_write_of_bad_sources(ask: Any, name: str) -> None:
    if name == "empty":
        Path(name).mkdir()
    elif name == "bad.zarr":
        zarr.open_group(name, mode="w")
    elif name.startswith("bad"):
        Path(name).write_text("junk")
    code, said, complained = ask("write", settings_file(), "--frames", name, "--out", "o.ome.zarr")
    assert (code, said) == (1, "")
    assert complained.startswith(name)
    assert not Path("o.ome.zarr").exists()


@pytest.mark.parametrize(
    ("given", "to", "becomes"),
    [
        ({"root_path": "a.ome.zarr"}, "b.ome.tif", "b.ome.tif"),
        ({"root_path": "a.ome.zarr"}, "b.zarr", "b.zarr"),
        ({"root_path": "a.ome.zarr"}, "b", "b.ome.zarr"),
        ({"root_path": "a.ome.tiff"}, "b", "b.ome.tiff"),
        ({}, "b.ome.zarr", "b.ome.zarr"),
        ({"format": "ome-tiff"}, "b", "b.ome.tiff"),
    ],
)
def test_out_chooses_path_and_format(given: dict[str, Any], to: str, becomes: str) -> None:
    assert redirected(AcquisitionSettings(**given), to, overwrite=False).output_path == becomes


def test_write_keeps_what_the_settings_say_of_the_format() -> None:
    settings = AcquisitionSettings(format={"name": "ome-zarr", "backend": "tensorstore", "group_names": "position"})
    format_ = redirected(settings, "b.zarr", overwrite=True).format
    assert (format_.name, format_.backend, format_.group_names) == ("ome-zarr", "tensorstore", "position")


def test_write_by_a_named_backend(ask: Any) -> None:
    np.save("s.npy", recorded(3, 2, 12, 10))
    arguments = ("write", settings_file(), "--frames", "s.npy", "--out", "o.ome.zarr", "--backend")
    assert "(tensorstore)" in ask(*arguments, "tensorstore")[1]
    code, _, complained = ask(*arguments, "tifffile", "--overwrite")
    assert code == 1
    assert "tifffile writes ome-tiff" in complained
    code, _, complained = ask(*arguments, "typewriter", "--overwrite")
    assert (code, "'typewriter'" in complained) == (1, True)
    assert np.array_equal(zarr.open_group("o.ome.zarr", mode="r")["0"][:], recorded(3, 2, 12, 10))


# ── the program as a whole ───────────────────────────────────────────────────────────────────────────────────────────


def program(*arguments: str, code: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_exit_codes_of_the_program() -> None:
    version = program("--version")
    assert (version.returncode, version.stdout.strip(), version.stderr) == (0, "ome-writers 1.0.0", "")
    missing = program("info", "nothing")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "nothing: there is no such file or folder\n"
    assert program("--help").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["write"],
        ["plan", "a.json", "--rows", "many"],
        ["plan", "a.json", "--rows", "-1"],
        ["info", "a", "b"],
    ],
)
def test_wrong_usage_exits_with_2(ask: Any, arguments: list[str]) -> None:
    code, said, complained = ask(*arguments)
    assert (code, said) == (2, "")
    assert complained


@pytest.mark.parametrize("library", ["cyclopts", "rich"])
def test_without_the_extra_the_program_says_what_to_install(library: str) -> None:
    done = program(code=f"import sys; sys.modules[{library!r}] = None; {PROGRAM}")
    assert done.returncode == 1
    assert done.stderr == f"The command line needs {library}: pip install 'ome-writers[cli]'\n"


def test_a_missing_library_of_a_source_is_named() -> None:
    Path("s.png").write_bytes(b"")
    done = program(
        "write", str(settings_file()), "--frames", "s.png", "--out", "o.ome.zarr",
        code=f"import sys; sys.modules['imagecodecs'] = None; {PROGRAM}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'ome-writers[tifffile]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_of_every_command_has_an_example_that_parses(ask: Any) -> None:
    for name in app:
        if name.startswith("-"):
            continue
        code, said, _ = ask(name, "--help")
        assert code == 0
        example = re.search(rf"Example: ome-writers ({name}.*)", said)
        assert example, name
        command, bound, _ = app.parse_args(example[1].split(), exit_on_error=False)
        assert command.__name__ == name
        assert bound.arguments


# ── what is rare ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["redundant", "master-tiff", "companion-file"])
def test_info_finds_the_metadata_of_a_set_of_files_wherever_it_is(ask: Any, where: str) -> None:
    dimensions = [{"name": "p", "coords": ["A", "B"]}, {"name": "y", "count": 12}, {"name": "x", "count": 10}]
    settings = settings_file(dimensions=dimensions, format={"name": "ome-tiff", "multi_file_metadata": where})
    np.save("s.npy", recorded(2, 12, 10))
    assert ask("write", settings, "--frames", "s.npy", "--out", "set.ome.tiff")[0] == 0
    for path in ["set", *sorted(Path("set").glob("*.tiff"))]:
        code, said, _ = ask("info", path)
        assert (code, cell(said, "kind")) == (0, "OME-TIFF, 2 images")
        assert cell(said, "run") == "complete, 2 frames came"


def test_info_misses_a_companion_that_has_gone(ask: Any) -> None:
    dimensions = [{"name": "p", "coords": ["A", "B"]}, {"name": "y", "count": 12}, {"name": "x", "count": 10}]
    settings = settings_file(
        dimensions=dimensions, format={"name": "ome-tiff", "multi_file_metadata": "companion-file"}
    )
    np.save("s.npy", recorded(2, 12, 10))
    ask("write", settings, "--frames", "s.npy", "--out", "set.ome.tiff")
    Path("set/set.companion.ome").unlink()
    code, _, complained = ask("info", "set")
    assert code == 1
    assert "'set.companion.ome', which is missing" in complained


def test_info_of_several_images_that_no_series_lists(ask: Any) -> None:
    root = zarr.open_group("b.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for name in ("0", "1"):
        group = root.create_group(name)
        group.create_array("0", shape=(30, 40), chunks=(30, 40), dtype="float32")
        axes = [{"name": axis, "type": "space"} for axis in "yx"]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    code, said, _ = ask("info", "b.zarr")
    assert (code, cell(said, "kind")) == (0, "OME-Zarr 0.4, 2 images")
    assert said.count("30 × 40 float32") == 2


def test_write_passes_on_the_gaps_of_a_source(ask: Any) -> None:
    frames = recorded(3, 2, 12, 10) + 1
    dimensions = [Dimension(name=name, count=count) for name, count in SIZES.items()]
    with create_stream(AcquisitionSettings(root_path="gap.ome.tiff", dtype="uint16", dimensions=dimensions)) as stream:
        for number, frame in enumerate(frames.reshape(-1, 12, 10)):
            if number == 3:
                stream.skip()
            else:
                stream.append(frame)
    assert ask("write", settings_file(), "--frames", "gap.ome.tiff", "--out", "gap.ome.zarr")[0] == 0
    group = zarr.open_group("gap.ome.zarr", mode="r")
    frames[1, 1] = 0
    np.testing.assert_array_equal(group["0"][:], frames)
    assert group.attrs["ome_writers"]["missing"] == [[3, 3]]


def test_write_reads_a_stack_that_is_one_page(ask: Any) -> None:
    tifffile.imwrite("s.tif", recorded(3, 2, 12, 10), truncate=True)
    with tifffile.TiffFile("s.tif") as tif:
        assert len(tif.pages) == 1
    assert ask("write", settings_file(), "--frames", "s.tif", "--out", "o.ome.zarr")[0] == 0
    np.testing.assert_array_equal(zarr.open_group("o.ome.zarr", mode="r")["0"][:], recorded(3, 2, 12, 10))


def test_write_assigns_every_axis_of_many_loops(ask: Any) -> None:
    # Stored c, z, p, t (and one of them fans out); acquired z, p, t, c.
    frames = recorded(2, 3, 2, 4, 12, 10)
    stored = zarr.create_array("s.zarr", shape=frames.shape, dtype="uint16", dimension_names=list("czptyx"))
    stored[:] = frames
    counts = {"z": 3, "p": 2, "t": 4, "c": 2, "y": 12, "x": 10}
    settings = settings_file(dimensions=[{"name": name, "count": count} for name, count in counts.items()])
    assert ask("write", settings, "--frames", "s.zarr", "--out", "o.ome.zarr")[0] == 0
    for p in range(2):
        written = zarr.open_group("o.ome.zarr", mode="r")[f"{p}/0"][:]  # t c z y x
        for t in range(4):
            for c in range(2):
                for z in range(3):
                    np.testing.assert_array_equal(written[t, c, z], frames[c, z, p, t])


def test_an_interrupted_command_says_so(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    # A key cannot be pressed at the right moment.
    monkeypatch.setattr("ome_writers.cli.app.read_dataset", interrupted)
    assert ask("info", "demo.ome.zarr") == (1, "", "interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal to send to another process")
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_program_that_is_asked_to_end_leaves_a_sound_dataset_and_says_what_it_holds(
    tmp_path: Path, asked: signal.Signals
) -> None:
    dims = dims_from_standard_axes({"t": 400_000, "y": 16, "x": 16}, shard_shapes={"t": 100})
    Path("long.json").write_text(dumps(AcquisitionSettings(dtype="uint8", dimensions=dims)))
    recorded = np.lib.format.open_memmap("long.npy", "w+", "uint8", (400_000, 16, 16))
    recorded[:500] = 7
    code = f"import sys; sys.path[:] = {sys.path!r}; from ome_writers.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "write", "long.json", "--frames", "long.npy", "--out", "long.ome.zarr"]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "long.ome.zarr/0/c/3").exists():
            assert program.poll() is None, program.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        program.send_signal(asked)
        _, complained = program.communicate(timeout=60)
    finally:
        program.kill()
        program.communicate()
    assert program.returncode == 1
    said = re.search(r"holds (\d+) frames \(stopped\)", " ".join(complained.split()))
    assert said, complained
    found = zarr.open_array("long.ome.zarr/0", mode="r")
    assert found.shape[0] == int(said[1]) >= 200
    assert (found[:200] == 7).all()


# ── recover ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_recover_says_what_an_interrupted_dataset_holds(ask: Any) -> None:
    settings = AcquisitionSettings(
        root_path="cells.ome.zarr", dtype="uint16", dimensions=dims_from_standard_axes(SIZES)
    )
    stream = create_stream(settings)
    for number in range(4):
        if number == 2:
            stream.skip()
        else:
            stream.append(np.full((12, 10), number + 1, "uint16"))
    stream._run.abort()  # noqa: SLF001 - as a process that dies
    for _ in range(2):
        code, said, complained = ask("recover", "cells.ome.zarr")
        assert (code, complained) == (0, "")
        *lines, last = said.splitlines()
        assert lines == [
            "cells.ome.zarr: stopped, 3 frames",
            "missing, by their places in the plan: 2",
            "why: the process that wrote it ended before the stream was closed",
        ]
        assert "create_stream(settings, resume=True)" in last
        assert "cells.ome.zarr.journal" in last
    assert zarr.open_array("cells.ome.zarr/0", mode="r")[:, :, 0, 0].tolist() == [[1, 2], [0, 4]]
    code, _, complained = ask("recover", "nothing")
    assert (code, complained.strip()) == (1, "nothing: there is no such file or folder")
