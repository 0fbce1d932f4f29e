"""pymmcore-plus, unmodified, acquires into this library: its own loop, with a camera and stages written in Python."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import useq
import yaozarrs
import zarr
from numpy.typing import NDArray
from ome_types import from_tiff

import ome_writers as ow

os.environ.setdefault("PYTEST_RUNNING", "1")  # pymmcore-plus: no log file in the user's folder

from pymmcore_plus.experimental.unicore import (
    SimpleCameraDevice,
    StageDevice,
    StateDevice,
    UniMMCore,
    XYStageDevice,
)
from pymmcore_plus.mda import MDAEngine, SkipEvent

HEIGHT, WIDTH = 4, 6

SEQUENCE = useq.MDASequence(
    axis_order="tpcz",
    time_plan={"interval": 0, "loops": 2},
    stage_positions=[{"name": "left", "x": 1, "y": 2, "z": 3}, {"name": "right", "x": 10, "y": 20, "z": 30}],
    channels=["DAPI", "GFP"],
    z_plan={"range": 2, "step": 1},
)
PLATE = useq.MDASequence(
    stage_positions=useq.WellPlatePlan(
        plate="96-well",
        a1_center_xy=(100, 200),
        selected_wells=([0, 1], [1, 2]),
        well_points_plan=useq.GridRowsColumns(rows=1, columns=2, fov_width=6, fov_height=4),
    ),
    channels=["DAPI", "GFP"],
)
BURST = useq.MDASequence(time_plan={"interval": 0, "loops": 20})


class Camera(SimpleCameraDevice):
    """Numbers its frames, and remembers them; no two pixels of a run are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[NDArray[Any]] = []
        self._exposure = 10.0

    def get_exposure(self) -> float:
        return self._exposure

    def set_exposure(self, exposure: float) -> None:
        self._exposure = exposure

    def sensor_shape(self) -> tuple[int, int]:
        return HEIGHT, WIDTH

    def dtype(self) -> type[np.uint16]:
        return np.uint16

    def snap(self, buffer: NDArray[Any]) -> Mapping[str, Any]:
        number = len(self.sent) + 1
        buffer[:] = 100 * number + np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
        self.sent.append(buffer.copy())
        return {}


class Stage(XYStageDevice):
    at = (0.0, 0.0)

    def set_position_um(self, x: float, y: float) -> None:
        self.at = (x, y)

    def get_position_um(self) -> tuple[float, float]:
        return self.at

    def home(self) -> None: ...
    def stop(self) -> None: ...
    def set_origin(self) -> None: ...
    def set_origin_x(self) -> None: ...
    def set_origin_y(self) -> None: ...


class Focus(StageDevice):
    at = 0.0

    def set_position_um(self, val: float) -> None:
        self.at = val

    def get_position_um(self) -> float:
        return self.at

    def home(self) -> None: ...
    def stop(self) -> None: ...
    def set_origin(self) -> None: ...


class Wheel(StateDevice):
    at = 0

    def get_state(self) -> int:
        return self.at

    def set_state(self, position: int) -> None:
        self.at = position


class Microscope:
    """A core, its camera, and for each frame the indices at which pymmcore-plus says that it took it."""

    def __init__(self, core: UniMMCore) -> None:
        self.core, self.camera = core, Camera()
        self.indices: list[dict[str, int]] = []
        for label, device in {"Camera": self.camera, "XY": Stage(), "Z": Focus()}.items():
            core.loadPyDevice(label, device)
        core.loadPyDevice("Wheel", Wheel({0: "DAPI", 1: "GFP"}))
        core.initializeAllDevices()
        core.setAutoShutter(False)  # there is no shutter
        core.setCameraDevice("Camera")
        core.setXYStageDevice("XY")
        core.setFocusDevice("Z")
        for name in ("DAPI", "GFP"):
            core.defineConfig("Channel", name, "Wheel", "Label", name)
        core.definePixelSizeConfig("objective")
        core.setPixelSizeUm("objective", 0.5)
        core.setPixelSizeConfig("objective")
        core.mda.events.frameReady.connect(self._note)

    def _note(self, _: NDArray[Any], event: useq.MDAEvent) -> None:
        self.indices.append({str(axis): index for axis, index in event.index.items()})

    def run(self, events: Any, **options: Any) -> None:
        self.camera.sent.clear()
        self.indices.clear()
        self.core.mda.run(events, **options)

    def taken(self, axes: str) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
        """Yield each frame that the camera sent, after its index along these axes."""
        for index, frame in zip(self.indices, self.camera.sent, strict=True):
            yield tuple(index[axis] for axis in axes), frame


class Splitter(UniMMCore):
    """Sees each frame with two cameras; what the second one sees is brighter by 50."""

    def getNumberOfCameraChannels(self) -> int:  # noqa: N802 - the name that it has there
        return 2

    def getImage(self, numChannel: int = 0, *, fix: bool = True) -> NDArray[Any]:  # noqa: N802, N803 - as there
        return super().getImage(fix=fix) + np.uint16(50 * numChannel)

    def getPhysicalCameraDevice(self, channel_index: int = 0) -> str:  # noqa: N802 - as there
        return f"Camera {channel_index + 1}"


@pytest.fixture
def scope(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Microscope]:
    scope = Microscope(getattr(request, "param", UniMMCore)())
    yield scope
    scope.core.unloadAllDevices()
    # What fails at the end of an acquisition, or in a listener, pymmcore-plus logs and does not raise.
    assert warned(caplog.get_records("call")) == []


def warned(records: list[logging.LogRecord]) -> list[str]:
    """Return what of a log is no mere information; the log is empty after that."""
    found = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
    records.clear()
    return found


def zarr_images(*groups: Path) -> list[NDArray[Any]]:
    return [np.asarray(zarr.open_array(group / "0", mode="r")[...]) for group in groups]


def tiff_images(path: Path, axes: str) -> list[NDArray[Any]]:
    with tifffile.TiffFile(path) as file:
        assert {series.axes for series in file.series} == {axes}
        return [series.asarray() for series in file.series]


def require_frames(scope: Microscope, axes: str, images: list[NDArray[Any]]) -> None:
    """Every frame lies where its event says, in the image of its position, and there is nothing else."""
    assert sum(image[..., 0, 0].size for image in images) == len(scope.camera.sent)
    for (position, *index), frame in scope.taken("p" + axes):
        np.testing.assert_array_equal(images[position][tuple(index)], frame)


def attributes(group: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((group / "zarr.json").read_text())["attributes"]
    return found


class TestZarr:
    def test_every_frame_lies_where_its_event_says(self, scope: Microscope, tmp_path: Path) -> None:
        root = tmp_path / "run.ome.zarr"
        scope.run(SEQUENCE, output=root)
        assert len(scope.camera.sent) == 24
        require_frames(scope, "tcz", zarr_images(root / "0", root / "1"))
        yaozarrs.validate_zarr_store(str(root))

    def test_metadata(self, scope: Microscope, tmp_path: Path) -> None:
        root = tmp_path / "run.ome.zarr"
        scope.run(SEQUENCE, output=str(root))
        found = attributes(root / "1")
        (image,) = found["ome"]["multiscales"]
        assert image["name"] == "right"
        assert [axis["name"] for axis in image["axes"]] == list("tczyx")
        assert image["datasets"][0]["coordinateTransformations"] == [
            {"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]},
            {"type": "translation", "translation": [0, 0, 29, 20, 10]},
        ]
        assert [channel["label"] for channel in found["ome"]["omero"]["channels"]] == ["DAPI", "GFP"]
        records = {tuple(record["storage_index"]): record for record in found["ome_writers"]["frame_metadata"]}
        assert len(records) == 12
        last = records[1, 1, 2]
        assert [last[f"position_{axis}"] for axis in "xyz"] == [10, 20, 31]
        assert last["exposure_time"] == 0.01
        assert last["delta_t"] > records[0, 0, 0]["delta_t"]

    def test_its_summary_stands_in_every_image(self, scope: Microscope, tmp_path: Path) -> None:
        root = tmp_path / "run.ome.zarr"
        scope.run(SEQUENCE, output=root)
        for group in (root / "0", root / "1"):
            summary = attributes(group)["pymmcore_plus"]["summary_metadata"]
            assert useq.MDASequence(**summary["mda_sequence"]).sizes == SEQUENCE.sizes
            assert {device["label"] for device in summary["devices"]} >= {"Camera", "XY", "Z", "Wheel"}

    def test_one_position_is_one_image(self, scope: Microscope, tmp_path: Path) -> None:
        root = tmp_path / "run.ome.zarr"
        scope.run(BURST, output=root)
        (image,) = zarr_images(root)
        np.testing.assert_array_equal(image, scope.camera.sent)
        assert "summary_metadata" in attributes(root)["pymmcore_plus"]

    def test_a_plate(self, scope: Microscope, tmp_path: Path) -> None:
        root = tmp_path / "run.ome.zarr"
        scope.run(PLATE, output=root)
        require_frames(scope, "c", zarr_images(*(root / path for path in ("A/2/0", "A/2/1", "B/3/0", "B/3/1"))))
        yaozarrs.validate_zarr_store(str(root))
        plate = attributes(root)["ome"]["plate"]
        assert plate["name"] == "96-well"
        assert [well["path"] for well in plate["wells"]] == ["A/2", "B/3"]
        # Wells are 9 mm apart, the fields of one are 6 µm apart.
        found = attributes(root / "B/3/1")
        (image,) = found["ome"]["multiscales"]
        assert image["datasets"][0]["coordinateTransformations"][1]["translation"][-2:] == [-8800, 18103]
        assert "summary_metadata" in found["pymmcore_plus"]

    def test_chunks_that_its_user_wants(self, scope: Microscope, tmp_path: Path) -> None:
        root = tmp_path / "run.ome.zarr"
        overrides = {"z": {"chunk_size": 3}, "x": {"chunk_size": 3, "shard_size_chunks": 2}}
        scope.run(SEQUENCE, output=root, dimension_overrides=overrides)
        array = zarr.open_array(root / "1" / "0", mode="r")
        assert (array.chunks, array.shards) == ((1, 1, 3, HEIGHT, 3), (1, 1, 3, HEIGHT, 6))
        require_frames(scope, "tcz", zarr_images(root / "0", root / "1"))

    def test_settings(self, scope: Microscope, tmp_path: Path) -> None:
        root = tmp_path / "run.ome.zarr"
        settings = ow.AcquisitionSettings(
            root_path=str(root),
            format={"name": "ome-zarr", "backend": "zarr-python"},
            compression="zstd",
            overwrite=True,
        )
        for _ in range(2):
            scope.run(SEQUENCE, output=settings)
            require_frames(scope, "tcz", zarr_images(root / "0", root / "1"))
        codecs = json.loads((root / "0" / "0" / "zarr.json").read_text())["codecs"]
        assert codecs[-1]["name"] == "zstd"


class TestTiff:
    def test_every_frame_lies_where_its_event_says(self, scope: Microscope, tmp_path: Path) -> None:
        scope.run(SEQUENCE, output=tmp_path / "run.ome.tiff")
        for name in ("run_p000.ome.tiff", "run_p001.ome.tiff"):
            require_frames(scope, "tcz", tiff_images(tmp_path / "run" / name, "TCZYX"))

    def test_metadata(self, scope: Microscope, tmp_path: Path) -> None:
        scope.run(SEQUENCE, output=str(tmp_path / "run.ome.tiff"))
        image = from_tiff(tmp_path / "run" / "run_p001.ome.tiff").images[1]
        pixels = image.pixels
        assert image.name == "right"
        assert [channel.name for channel in pixels.channels] == ["DAPI", "GFP"]
        assert (pixels.physical_size_x, pixels.physical_size_z, pixels.time_increment) == (0.5, 1, None)
        assert len(pixels.planes) == 12
        places = {(plane.position_x, plane.position_y, plane.the_z, plane.position_z) for plane in pixels.planes}
        assert places == {(10, 20, 0, 29), (10, 20, 1, 30), (10, 20, 2, 31)}
        assert {plane.exposure_time for plane in pixels.planes} == {0.01}
        first = min(pixels.planes, key=lambda plane: plane.delta_t or 0)
        assert (first.the_t, first.the_c, first.the_z) == (0, 0, 0)

    def test_its_summary_stands_in_every_file(self, scope: Microscope, tmp_path: Path) -> None:
        scope.run(SEQUENCE, output=tmp_path / "run.ome.tiff")
        for name in ("run_p000.ome.tiff", "run_p001.ome.tiff"):
            annotations = from_tiff(tmp_path / "run" / name).structured_annotations
            assert annotations is not None
            (found,) = [one for one in annotations.map_annotations if one.namespace == "pymmcore_plus"]
            assert found.value is not None
            summary = json.loads(found.value["summary_metadata_json"])
            assert useq.MDASequence(**summary["mda_sequence"]).sizes == SEQUENCE.sizes

    def test_a_plate(self, scope: Microscope, tmp_path: Path) -> None:
        scope.run(PLATE, output=tmp_path / "run.ome.tiff")
        first = tmp_path / "run" / "run_p000.ome.tiff"
        require_frames(scope, "c", tiff_images(first, "CYX"))
        (plate,) = from_tiff(first).plates
        assert (plate.name, plate.rows, plate.columns) == ("96-well", 8, 12)
        samples = [
            (well.row, well.column, sample.position_x, sample.position_y)
            for well in plate.wells
            for sample in well.well_samples
        ]
        assert samples == [(0, 1, 9097, 200), (0, 1, 9103, 200), (1, 2, 18097, -8800), (1, 2, 18103, -8800)]

    def test_one_position_is_one_file(self, scope: Microscope, tmp_path: Path) -> None:
        scope.run(BURST, output=ow.AcquisitionSettings(root_path=str(tmp_path / "run.ome.tiff"), compression="lzw"))
        (image,) = tiff_images(tmp_path / "run.ome.tiff", "TYX")
        np.testing.assert_array_equal(image, scope.camera.sent)


RAGGED = {
    "every second time": SEQUENCE.replace(channels=["DAPI", useq.Channel(config="GFP", acquire_every=2)], z_plan=None),
    "one plane": SEQUENCE.replace(channels=["DAPI", useq.Channel(config="GFP", do_stack=False)]),
    "other planes": SEQUENCE.replace(
        stage_positions=[
            useq.Position(x=1, y=2, z=3),
            useq.Position(x=10, y=20, z=30, sequence={"z_plan": {"range": 4, "step": 1}}),
        ]
    ),
    "in another order": SEQUENCE.replace(
        axis_order="tpzc",
        stage_positions=[
            useq.Position(x=1, y=2, z=3),
            useq.Position(x=10, y=20, z=30, sequence={"z_plan": {"range": 4, "step": 1}}),
        ],
    ),
}
"""Sequences that were flat stacks in 0.3."""
OUTPUTS = ("run.ome.zarr", "run.ome.tiff", "scratch")
"""What `output` may be; in a folder of its own."""


@pytest.fixture(params=OUTPUTS)
def output(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(request.param)


class TestAnyOutput:
    def test_the_view_shows_every_frame_as_soon_as_it_is_there(self, scope: Microscope, output: str) -> None:
        seen: list[bool] = []

        def look(frame: NDArray[Any], event: useq.MDAEvent) -> None:
            view = scope.core.mda.get_view()
            assert view is not None
            place = tuple(event.index[axis] for axis in view.dims[:-2])
            seen.append(np.array_equal(view[place], frame) and view.shape[0] == place[0] + 1)

        scope.core.mda.events.frameReady.connect(look)
        scope.run(SEQUENCE, output=output)
        assert seen == [True] * 24

    def test_the_view_stays_after_the_end(self, scope: Microscope, output: str) -> None:
        scope.run(SEQUENCE, output=output)
        view: Any = scope.core.mda.get_view()
        assert (view.dims, view.shape) == (tuple("tpczyx"), (2, 2, 2, 3, HEIGHT, WIDTH))
        assert (view.coords["p"], view.coords["c"]) == (["left", "right"], ["DAPI", "GFP"])
        for place, frame in scope.taken("tpcz"):
            np.testing.assert_array_equal(view[place], frame)

    def test_a_burst_of_the_camera(self, scope: Microscope, output: str) -> None:
        scope.run(BURST, output=output)
        np.testing.assert_array_equal(np.asarray(scope.core.mda.get_view()), scope.camera.sent)

    def test_a_run_in_a_thread_of_its_own(self, scope: Microscope, output: str) -> None:
        thread = scope.core.run_mda(SEQUENCE, output=output)
        thread.join(timeout=30)
        assert not thread.is_alive()
        view: Any = scope.core.mda.get_view()
        for place, frame in scope.taken("tpcz"):
            np.testing.assert_array_equal(view[place], frame)

    @pytest.mark.parametrize("make", [list, iter])
    def test_events_that_are_no_sequence_are_a_stack_without_end(
        self, scope: Microscope, output: str, make: Any
    ) -> None:
        scope.run(make(list(SEQUENCE)), output=output)
        view: Any = scope.core.mda.get_view()
        assert view.shape == (24, HEIGHT, WIDTH)
        np.testing.assert_array_equal(np.asarray(view), scope.camera.sent)

    @pytest.mark.parametrize("which", RAGGED)
    def test_a_sequence_that_is_no_regular_loops(self, scope: Microscope, output: str, which: str) -> None:
        seq = RAGGED[which]
        scope.run(copy.deepcopy(seq), output=output)
        view: Any = scope.core.mda.get_view()
        assert len(scope.camera.sent) == sum(1 for event in copy.deepcopy(seq) if event.action.type == "acquire_image")
        frames = {tuple(index.items()): frame for index, frame in zip(scope.indices, scope.camera.sent, strict=True)}
        assert len(frames) == len(scope.camera.sent)
        seen = 0
        for index, frame in frames.items():
            place = tuple(dict(index).get(axis, 0) for axis in view.dims[:-2])
            np.testing.assert_array_equal(view[place], frame)
            seen += 1
        # What is not planned reads as the fill value.
        whole = np.asarray(view)[..., 0, 0]
        assert np.count_nonzero(whole) == seen

    def test_frames_that_the_engine_skips_read_as_fill_value(self, scope: Microscope, output: str) -> None:
        class Engine(MDAEngine):
            def setup_event(self, event: useq.MDAEvent) -> None:
                if event.index["t"] == 0 and event.index["c"] == 1:
                    raise SkipEvent
                super().setup_event(event)

        scope.core.mda.set_engine(Engine(scope.core, use_hardware_sequencing=False))
        scope.run(SEQUENCE, output=output)
        view: Any = scope.core.mda.get_view()
        assert len(scope.camera.sent) == 18
        assert not view[0, :, 1].any()
        for place, frame in scope.taken("tpcz"):
            np.testing.assert_array_equal(view[place], frame)

    def test_a_run_that_is_cancelled_keeps_what_came(
        self, scope: Microscope, output: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def cancel(_: NDArray[Any], event: useq.MDAEvent) -> None:
            if event.index == {"t": 1, "p": 0, "c": 1, "z": 0}:
                scope.core.mda.cancel()

        scope.core.mda.events.frameReady.connect(cancel)
        scope.run(SEQUENCE, output=output)
        (warning,) = warned(caplog.records)
        assert warning.startswith("MDA Canceled")
        assert len(scope.camera.sent) == 16
        view: Any = scope.core.mda.get_view()
        for place, frame in scope.taken("tpcz"):
            np.testing.assert_array_equal(view[place], frame)

    def test_a_frame_of_another_shape_ends_the_run_and_spoils_nothing(self, scope: Microscope, output: str) -> None:
        def crop(_: NDArray[Any], event: useq.MDAEvent) -> None:
            if event.index["t"] == 1:
                scope.camera.set_roi(0, 0, WIDTH, HEIGHT - 1)

        scope.core.mda.events.frameReady.connect(crop)
        with pytest.raises(ow.FrameError, match=r"^frame 13 .*got \(3, 6\)"):
            scope.run(SEQUENCE, output=output)
        view: Any = scope.core.mda.get_view()
        assert len(scope.indices) == 13
        for index, number in zip(scope.indices, range(1, 14), strict=True):
            assert view[*(index[axis] for axis in "tpcz"), 0, 0] == 100 * number

    @pytest.mark.filterwarnings("ignore:Multi-camera acquisition:UserWarning")  # of pymmcore-plus
    @pytest.mark.parametrize("which", ["one plane", "in another order"])
    @pytest.mark.parametrize("scope", [Splitter], indirect=True)
    def test_several_cameras_and_no_regular_loops(self, scope: Microscope, output: str, which: str) -> None:
        seq = RAGGED[which]
        scope.run(seq, output=output)
        view: Any = scope.core.mda.get_view()
        events = list(seq)
        assert view.dims[-3] == "cam"
        for number, event in enumerate(events):
            place = tuple(event.index[axis] for axis in view.dims[:-3])
            assert view[place][:, 0, 0].tolist() == [100 * (number + 1), 100 * (number + 1) + 50]

    @pytest.mark.parametrize("scope", [Splitter], indirect=True)
    def test_several_cameras_are_a_dimension(self, scope: Microscope, output: str) -> None:
        scope.run(SEQUENCE.replace(channels=(), time_plan=None), output=output)
        view: Any = scope.core.mda.get_view()
        assert (view.dims, view.shape[:-2]) == (("p", "z", "cam", "y", "x"), (2, 3, 2))
        numbers = [[[100 * (3 * p + z + 1) + 50 * cam for cam in range(2)] for z in range(3)] for p in range(2)]
        assert view[..., 0, 0].tolist() == numbers


@pytest.mark.parametrize("name", ["run.ome.zarr", "run.ome.tiff"])
def test_what_is_there_is_overwritten_only_if_asked_to(scope: Microscope, tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    scope.run(BURST, output=root)
    with pytest.raises(FileExistsError):
        scope.run(BURST, output=root)
    scope.run(BURST.replace(time_plan={"interval": 0, "loops": 3}), output=root, overwrite=True)
    assert ow.open_view(root).shape == (3, HEIGHT, WIDTH)
