"""Flat stacks of frames that say where they belong, and the datasets that are arranged of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import useq
import zarr

import ome_writers as ow
from ome_writers import arranging

SHAPE = (4, 6)
EVENTS = [
    {"t": 0, "p": "left", "c": "GFP", "z": 1},
    {"t": 0, "p": "right", "c": "DAPI", "z": 0},
    {"t": 1, "p": "left", "c": "DAPI", "z": 0},
    {"t": 0, "p": "left", "c": "DAPI", "z": 0},
    {"t": 1, "p": "right", "c": "GFP", "z": 1},
]
STACKS = ("events.ome.zarr", "events.ome.tiff", "events")


def stored(root: Path, frames: Iterator[Any] | list[Any], **fields: Any) -> Path:
    """Store frames, numbered from 1, as they come; `None` did not come."""
    fields = {"pixel_size": 0.5, "root_path": str(root), **fields}
    format_ = {} if root.suffix else {"format": "scratch"}
    with ow.create_stream(ow.flat(SHAPE, "uint16", **fields, **format_)) as stream:
        for number, told in enumerate(frames):
            if told is None:
                stream.skip()
            else:
                stream.append(np.full(SHAPE, number + 1, "uint16"), frame_metadata=told)
    return root


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    told: list[Any] = [{"index": index, "delta_t": 0.25, "laser": {"power": 3}, "note": "7"} for index in EVENTS]
    return stored(tmp_path / request.param, [*told[:2], None, *told[2:]])


def images(root: Path) -> list[Any]:
    if root.suffix == ".zarr":
        return [np.asarray(zarr.open_array(root / str(number) / "0", mode="r"))[..., 0, 0] for number in range(2)]
    files = sorted(root.with_name("cells").iterdir())
    with tifffile.TiffFile(files[0]) as file:
        return [series.asarray()[..., 0, 0] for series in file.series]


@pytest.mark.parametrize("name", ["cells.ome.zarr", "cells.ome.tiff"])
def test_every_frame_goes_where_it_says(stack: Path, name: str, tmp_path: Path) -> None:
    before = ow.open_view(stack)[...].copy()
    outcome = ow.arrange(stack, tmp_path / name)
    assert (outcome.verdict, outcome.frames) == ("complete", 5)
    expected = np.zeros((2, 2, 2, 2), int)
    for index, number in zip(EVENTS, [1, 2, 4, 5, 6], strict=True):
        # Names stand in the order in which they came first.
        channel, place = ["GFP", "DAPI"].index(index["c"]), ["left", "right"].index(index["p"])
        expected[place, index["t"], channel, index["z"]] = number
    for image, wanted in zip(images(tmp_path / name), expected, strict=True):
        np.testing.assert_array_equal(image, wanted)
    np.testing.assert_array_equal(ow.open_view(stack)[...], before)


def test_what_came_with_a_frame_goes_with_it(stack: Path, tmp_path: Path) -> None:
    ow.arrange(stack, tmp_path / "cells.ome.zarr")
    found = json.loads((tmp_path / "cells.ome.zarr" / "0" / "zarr.json").read_text())["attributes"]
    records = {tuple(record["storage_index"]): record for record in found["ome_writers"]["frame_metadata"]}
    told = {"delta_t": 0.25, "laser": {"power": 3}, "note": "7"}
    assert records == {index: {**told, "storage_index": list(index)} for index in [(0, 0, 1), (0, 1, 0), (1, 1, 0)]}
    scale = found["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale[-2:] == [0.5, 0.5]


@pytest.mark.parametrize("name", ["cells.ome.zarr", "cells.ome.tiff"])
def test_when_and_where_a_frame_was_taken_is_a_column(name: str, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = [
        {
            "index": {"t": 1},
            "delta_t": 5.25,
            "exposure_time": 0.0331,
            "position_x": 7,
            "position_y": 1,
            "position_z": 3,
        },
        {"index": {"t": 0}, "delta_t": 0.5, "mda_event": {"exposure": 20, "min_start_time": 0, "x_pos": 4}},
    ]
    root = stored(tmp_path / "events.ome.zarr", told)
    records = arranging._records(str(root), 2)  # noqa: SLF001
    frame = [{"name": axis, "count": 4, "unit": "um"} for axis in "yx"]
    plan = ow.compile(ow.AcquisitionSettings(dtype="uint16", **arranging.arrangement(records, frame, {}, {})[0]))
    names = ("time", "exposure", "x", "y", "z")
    expected = [(0.5, 0.02, 4, np.nan, np.nan), (5.25, 0.0331, 7, 1, 3)]
    np.testing.assert_array_equal(list(zip(*(plan.triggers()[column] for column in names), strict=True)), expected)
    ow.arrange(root, tmp_path / name)
    if name.endswith("tiff"):
        with tifffile.TiffFile(tmp_path / name) as file:
            planes = re.findall(r'<Plane .*?ExposureTime="([0-9.]+)"', file.ome_metadata)
        assert planes == ["0.02", "0.0331"]


def test_without_a_path_it_goes_beside_the_stack(stack: Path) -> None:
    outcome = ow.arrange(stack, compression=None, chunk_shapes={"z": 2})
    assert outcome.root.replace("\\", "/").rpartition("/")[2].startswith("events_arranged")


@pytest.mark.parametrize(
    "said",
    [
        lambda event: {"mda_event": event.model_dump(mode="json")},
        lambda event: {"index": event.index, "channel": event.channel.config},
        lambda event: {"event": {"index": event.index}, "channel": {"config": event.channel.config}},
    ],
)
def test_events_of_a_program(said: Any, tmp_path: Path) -> None:
    seq = useq.MDASequence(channels=["DAPI", "GFP"], z_plan={"range": 4, "step": 2}, stage_positions=[(1, 2, 3)])
    told = [{**said(event), "position_x": event.x_pos, "position_z": event.z_pos} for event in seq]
    root = stored(tmp_path / "events.ome.zarr", told[::-1])
    ow.arrange(root, tmp_path / "cells.ome.zarr")
    view = ow.open_view(tmp_path / "cells.ome.zarr")
    assert view[0, :, :, 0, 0].tolist() == [[6, 5, 4], [3, 2, 1]]
    assert view.coords["c"] == ["DAPI", "GFP"]
    image = json.loads((tmp_path / "cells.ome.zarr" / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    # The distance of planes is what their frames say.
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1, 2, 0.5, 0.5]


FAULTS: list[tuple[list[Any], str]] = [
    ([{"index": {"t": 0}}, {"index": {"t": 1}}, {"index": {"t": 0}}], "frames.2: says that it belongs where frame 0"),
    ([{"index": {"t": 0}}, {"delta_t": 1}], "frames: do not say where they belong (1); append each with frame_met"),
    ([{"delta_t": 0}] * 5, "frames: do not say where they belong (0, 1, 2, and 2 others); append each"),
    ([{"index": {"t": -1}}], "frames.0.t: must be an index, at least 0; got -1"),
    ([{"index": [3]}], "frames.0.index: must be"),
    ([{"mda_event": {"index": {"t": 0}, "z_pos": "up"}}], "frames.0.z_pos: must be a finite number; got 'up'"),
]


@pytest.mark.parametrize(("told", "message"), FAULTS)
def test_frames_that_say_nothing_of_use(told: list[Any], message: str, tmp_path: Path) -> None:
    root = stored(tmp_path / "events.ome.zarr", told)
    with pytest.raises(ow.SettingsError) as caught:
        ow.arrange(root, tmp_path / "cells.ome.zarr")
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "cells.ome.zarr").exists()


def test_what_is_no_stack(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ow.arrange(tmp_path / "nothing.ome.zarr")
    dims = ow.dims_from_standard_axes({"t": 1, "c": 2, "y": 4, "x": 6})
    plan = ow.compile(ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.zarr"), dtype="uint8", dimensions=dims))
    ow.write(plan, np.zeros((1, 2, 4, 6), "uint8"))
    with pytest.raises(ValueError, match=r"is no flat stack of frames, but has loops already \(t, c\)"):
        ow.arrange(tmp_path / "a.ome.zarr")


def test_a_stack_is_not_written_over(tmp_path: Path) -> None:
    root = stored(tmp_path / "events.ome.zarr", [{"index": {"t": 0}}])
    with pytest.raises(FileExistsError, match="is the stack itself"):
        ow.arrange(root, root, overwrite=True)
    assert ow.open_view(root)[0, 0, 0] == 1


def test_an_interruption_keeps_what_was_arranged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = stored(tmp_path / "events.ome.zarr", [{"index": {"t": number}} for number in range(5)])
    opened = arranging.open_view

    class Interrupted:
        def __init__(self, path: Any) -> None:
            self.view = opened(path)
            self.dims, self.shape, self.dtype = self.view.dims, self.view.shape, self.view.dtype

        def __len__(self) -> int:
            return len(self.view)

        def __getitem__(self, number: int) -> Any:
            if number == 3:
                raise KeyboardInterrupt
            return self.view[number]

    monkeypatch.setattr(arranging, "open_view", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        ow.arrange(root, tmp_path / "cells.ome.zarr")
    assert ow.open_view(tmp_path / "cells.ome.zarr")[:, 0, 0].tolist() == [1, 2, 3]
    run = json.loads((tmp_path / "cells.ome.zarr" / "zarr.json").read_text())["attributes"]["ome_writers"]
    assert (run["verdict"], run["frames"]) == ("stopped", 3)


def test_the_command_line(tmp_path: Path) -> None:
    root = stored(tmp_path / "events.ome.zarr", [{"index": {"t": 1}}, {"index": {"t": 0}}])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from ome_writers.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, "arrange", *arguments], capture_output=True, text=True, check=False
        )

    done = run(str(root), "-o", str(tmp_path / "cells.ome.tiff"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 frames" in done.stdout
    assert tifffile.imread(tmp_path / "cells.ome.tiff")[:, 0, 0].tolist() == [2, 1]
    again = run(str(root), "-o", str(tmp_path / "cells.ome.tiff"))
    assert again.returncode == 1
    assert "--overwrite replaces it" in " ".join(again.stderr.split())
    wrong = run(str(tmp_path / "cells.ome.tiff"))
    assert wrong.returncode == 1
    assert "do not say where they belong" in " ".join(wrong.stderr.split())
