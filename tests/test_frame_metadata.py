"""What comes with frames is kept as it came, whatever its keys are called; what nobody knows of a plane is not said."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import ngff, zarrjson
from ome_writers.manifest import noted, read_notes
from ome_writers.readers import frame_metadata as all_frame_metadata
from ome_writers.readers.scratch import frame_metadata
from ome_writers.records import placed_at

TAKEN: Any = {"frame": "bright", "array": [1], "storage_index": "7", "_frame": 2.5, "_pos": None, "_idx": "here"}
"""Metadata that has all the names which a place has in some document."""


def acquired(root: Path, format_name: str) -> None:
    dims = ow.dims_from_standard_axes({"p": 2, "t": 2, "y": 4, "x": 4})
    settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint8", dimensions=dims, format=format_name)
    with ow.create_stream(settings) as stream:
        for _ in range(3):
            stream.append(np.ones((4, 4), "uint8"), frame_metadata=TAKEN)


def test_scratch_keeps_every_key(tmp_path: Path) -> None:
    acquired(tmp_path / "run", "scratch")
    said = frame_metadata(tmp_path / "run")
    assert [{key: one[key] for key in TAKEN} for one in said] == [TAKEN] * 3
    assert [(one["__frame"], one["_array"], one["_storage_index"]) for one in said] == [
        (0, 0, [0]),
        (1, 0, [1]),
        (2, 1, [0]),
    ]
    lines = (tmp_path / "run" / "frame_metadata.jsonl").read_bytes()
    assert read_notes(lines) == said
    assert [{key: json.loads(line)[key] for key in TAKEN} for line in lines.splitlines()] == [TAKEN] * 3


@pytest.mark.parametrize("format_name", ["ome-zarr", "ome-tiff", "scratch"])
def test_each_format_tells_both_what_came_and_where_it_lies(tmp_path: Path, format_name: str) -> None:
    suffix = {"ome-zarr": ".ome.zarr", "ome-tiff": ".ome.tiff"}.get(format_name, "")
    acquired(tmp_path / f"run{suffix}", format_name)
    root = next(path for path in tmp_path.iterdir() if not path.name.endswith(".journal"))
    said = all_frame_metadata(str(root))
    assert [{key: one[key] for key in TAKEN} for one in said] == [TAKEN] * 3
    assert [(placed_at(one, "array"), placed_at(one, "storage_index")) for one in said] == [
        (0, [0]),
        (0, [1]),
        (1, [0]),
    ]


def test_a_place_without_a_number_is_read_as_ome_writers_0_3_wrote_it() -> None:
    assert read_notes(b'{"_pos":1,"_idx":[2],"a":"x","_idx_":3}\n') == [
        {"array": 1, "storage_index": [2], "a": "x", "_idx_": 3}
    ]
    assert read_notes(noted(5, 1, (2,), {})) == [{"frame": 5, "array": 1, "storage_index": [2]}]
    assert read_notes(noted(5, 1, (2,), {"_pos": 9})) == [{"frame": 5, "array": 1, "storage_index": [2], "_pos": 9}]


def test_zarr_keeps_every_key(tmp_path: Path) -> None:
    acquired(tmp_path / "run.ome.zarr", "direct")
    for group, indices in (("0", [[0], [1]]), ("1", [[0]])):
        attributes = json.loads((tmp_path / "run.ome.zarr" / group / "zarr.json").read_bytes())["attributes"]
        said = attributes["ome_writers"]["frame_metadata"]
        assert [{key: one[key] for key in TAKEN} for one in said] == [TAKEN] * len(indices)
        assert [one["_storage_index"] for one in said] == indices


# ── planes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("z", "depths"),
    [
        # Planes of unknown distance: only the first is known to be where the stage is.
        ({}, [50.0, None, None]),
        ({"translation": 3.0}, [53.0, None, None]),
        ({"scale": 0.5}, [50.0, 50.5, 51.0]),
        ({"coords": [0, 1, 5], "unit": "um"}, [50.0, 51.0, 55.0]),
    ],
)
def test_no_plane_is_said_to_lie_where_nobody_knows(tmp_path: Path, z: Any, depths: list[float | None]) -> None:
    root = tmp_path / "run.ome.tiff"
    dims = [
        ow.Dimension(name="p", coords=[ow.Position(name="a", z_coord=50.0)]),
        ow.Dimension(name="z", **({"count": 3, "type": "space"} | z)),
        *ow.dims_from_standard_axes({"y": 4, "x": 4}),
    ]
    settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint8", dimensions=dims)
    ow.write(ow.compile(settings), np.ones((1, 3, 4, 4), "uint8"))
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(root) as file:
        planes = list(ET.fromstring(file.ome_metadata).iterfind(".//{*}Plane"))  # noqa: S314 - our own
    found = [plane.get("PositionZ") for plane in planes]
    assert [None if value is None else float(value) for value in found] == depths


@pytest.mark.parametrize(("t", "times"), [({"translation": 2.0}, [2.0, None]), ({"scale": 0.5}, [0.0, 0.5])])
def test_no_plane_is_said_to_be_taken_when_nobody_knows(tmp_path: Path, t: Any, times: list[float | None]) -> None:
    root = tmp_path / "run.ome.tiff"
    dims = [ow.Dimension(name="t", count=2, unit="s", **t), *ow.dims_from_standard_axes({"y": 4, "x": 4})]
    settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint8", dimensions=dims)
    ow.write(ow.compile(settings), np.ones((2, 4, 4), "uint8"))
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(root) as file:
        planes = list(ET.fromstring(file.ome_metadata).iterfind(".//{*}Plane"))  # noqa: S314 - our own
    assert [None if (time := plane.get("DeltaT")) is None else float(time) for plane in planes] == times


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_what_is_told_of_many_frames_is_the_same_and_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    dims = ow.dims_from_standard_axes({"p": 2, "t": 4000, "y": 2, "x": 2}, shard_shapes={"t": 4000})
    found = {}
    for name, many in (("at once", 10**9), ("one by one", 10)):
        monkeypatch.setattr(ngff, "_MANY", many)
        monkeypatch.setattr(zarrjson, "_PIECE", 1 << 14)
        root = tmp_path / f"{name}.ome.zarr"
        settings = ow.AcquisitionSettings(
            root_path=str(root), dtype="uint8", dimensions=dims, compression=compression, sync="never"
        )
        stream = ow.create_stream(settings, "direct")
        for number in range(8000):
            stream.append(np.ones((2, 2), "uint8"), frame_metadata={"laser": "on", "power": number / 8})
        tracemalloc.start()
        stream.close()
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        written = (root / "1" / "zarr.json").read_bytes()
        found[name] = (written, taken, stream.get_metadata()["1"]["ome_writers"]["frame_metadata"])
    assert found["at once"][0] == found["one by one"][0]
    told = json.loads(found["one by one"][0])["attributes"]["ome_writers"]["frame_metadata"]
    assert [(one["power"], one["storage_index"]) for one in told] == [((4000 + t) / 8, [t]) for t in range(4000)]
    assert found["one by one"][2] == told
    assert found["one by one"][1] < found["at once"][1] / 2
