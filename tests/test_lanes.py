"""Several cameras, each from a thread of its own: nothing lands in a wrong place, whoever comes first."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import Camera, Dimension

SIZES = {"left": (16, 12), "right": (8, 6)}
DTYPES = {"left": "uint16", "right": "uint8"}
COUNTS = {"left": 18, "right": 6}
"""Frames of each camera: the right one takes every plane of the first two time points only."""


def settings_in(
    folder: Path, kind: str, *, chunk: int = 1, endless: bool = False, **fields: Any
) -> ow.AcquisitionSettings:
    cameras = [
        Camera(name=name, shape=SIZES[name], dtype=DTYPES[name], counts={} if endless or name == "left" else {"t": 2})
        for name in SIZES
    ]
    dims = [
        Dimension(name="t", count=None if endless else 6, chunk_size=chunk),
        Dimension(name="cam", coords=cameras),
        Dimension(name="z", count=3),
        Dimension(name="y"),
        Dimension(name="x"),
    ]
    root = "" if kind == "scratch" else str(folder / f"a.{kind}")
    return ow.AcquisitionSettings(root_path=root, dimensions=dims, **fields)


def pixels(name: str, number: int) -> NDArray[Any]:
    return np.full(SIZES[name], (100 if name == "right" else 1000) + number, DTYPES[name])


def feed(camera: Any, name: str, frames: int, faults: list[BaseException]) -> None:
    buffer = np.empty(SIZES[name], DTYPES[name])
    try:
        for number in range(frames):
            buffer[:] = pixels(name, number)
            camera.append(buffer, frame_metadata={"number": number, "by": name} if number % 2 else None)
            buffer[:] = 0
    except BaseException as error:  # noqa: BLE001 - told by the test
        faults.append(error)


def from_two_threads(stream: ow.Stream, counts: dict[str, int] = COUNTS) -> None:
    faults: list[BaseException] = []
    threads = [
        threading.Thread(target=feed, args=(stream.camera(name), name, count, faults)) for name, count in counts.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def stored(outcome: ow.Outcome, kind: str, name: str) -> NDArray[Any]:
    """Return the first pixel of each frame of a camera, as other libraries read them."""
    number = list(SIZES).index(name)
    if kind == "ome.zarr":
        found = np.asarray(zarr.open_array(str(Path(outcome.root, str(number), "0")), mode="r")[...])
    elif Path(outcome.root).is_file():
        with tifffile.TiffFile(outcome.root) as file:
            found = file.series[number].asarray()
    else:
        with tifffile.TiffFile(sorted(Path(outcome.root).glob("*.tiff"))[number], is_ome=False) as file:
            found = np.array([page.asarray() for page in file.pages])
    assert found.dtype == DTYPES[name]
    assert found.shape[-2:] == SIZES[name]
    return found.reshape(-1, *SIZES[name])[:, -1, -1]


@pytest.mark.parametrize(
    ("kind", "backend", "fields"),
    [
        ("ome.zarr", "direct", {}),
        ("ome.zarr", "direct", {"chunk": 4}),
        ("ome.zarr", "direct", {"compression": "blosc-lz4", "chunk": 2}),
        ("ome.zarr", "direct", {"buffer_bytes": 10_000}),
        ("ome.zarr", "direct", {"endless": True}),
        ("ome.zarr", "tensorstore", {"chunk": 4}),
        ("ome.zarr", "zarr-python", {"chunk": 4}),
        ("ome.zarr", "zarrs-python", {"chunk": 4}),
        ("ome.zarr", "acquire-zarr", {"endless": True}),
        ("ome.tiff", "direct", {"format": ow.OmeTiffFormat(prefer_single_file="never")}),
        ("ome.tiff", "direct", {}),
        ("ome.tiff", "tifffile", {"compression": "zlib", "format": ow.OmeTiffFormat(prefer_single_file="never")}),
    ],
)
def test_two_cameras_of_different_shape_type_and_rate(tmp_path: Path, kind: str, backend: str, fields: Any) -> None:
    endless = fields.get("endless", False)
    counts = {"left": 18, "right": 18} if endless else COUNTS
    stream = ow.create_stream(settings_in(tmp_path, kind, **fields), backend)
    with stream:
        from_two_threads(stream, counts)
    outcome = stream._run.outcome  # noqa: SLF001 - what `write` would return
    assert outcome is not None
    assert (outcome.verdict, outcome.frames) == ("complete" if not endless else outcome.verdict, sum(counts.values()))
    for name, count in counts.items():
        expected = [int(pixels(name, number)[0, 0]) for number in range(count)]
        assert stored(outcome, kind, name)[:count].tolist() == expected
        view = ow.open_view(outcome.root, camera=name)
        assert view[:, :, 0, 0].reshape(-1)[:count].tolist() == expected


def test_metadata_goes_with_the_frames_of_its_camera(tmp_path: Path) -> None:
    with ow.create_stream(settings_in(tmp_path, "ome.zarr"), "direct") as stream:
        from_two_threads(stream)
    for number, name in enumerate(SIZES):
        attributes = zarr.open_group(str(tmp_path / "a.ome.zarr" / str(number)), mode="r").attrs["ome_writers"]
        told = attributes["frame_metadata"]  # type: ignore[index,call-overload]
        places = [(record["number"], *record["storage_index"]) for record in told]
        assert sorted(places) == [(k, k // 3, k % 3) for k in range(1, COUNTS[name], 2)]
        assert {record["by"] for record in told} == {name}


def test_a_view_of_each_camera_while_frames_come(tmp_path: Path) -> None:
    with ow.create_stream(settings_in(tmp_path, "scratch")) as stream:
        left, right = stream.camera("left"), stream.camera("right")
        views = {name: stream.view(camera=name) for name in SIZES}
        for number in range(4):
            left.append(pixels("left", number))
        right.append(pixels("right", 0))
        assert views["left"].shape[:2] == (2, 3)
        assert views["left"][1, 0, 0, 0] == 1003
        assert views["right"][0, 0, 0, 0] == 100
        with pytest.raises(ValueError, match="say which one, camera="):
            stream.view()


def test_frames_that_are_skipped_or_do_not_come_are_missing(tmp_path: Path) -> None:
    stream = ow.create_stream(settings_in(tmp_path, "ome.zarr"), "direct")
    left, right = stream.camera("left"), stream.camera(1)
    left.append(pixels("left", 0))
    left.skip(frames=2)
    left.append(pixels("left", 3))
    right.append(pixels("right", 0))
    assert (left.cursor, right.cursor, stream.safe_frames) == (4, 1, 3)
    assert repr(right) == "<CameraStream 'right': 1 frames gone through>"
    stream.close()
    outcome = stream._run.outcome  # noqa: SLF001 - as above
    assert outcome is not None
    assert (outcome.verdict, outcome.frames) == ("stopped", 3)
    # t=0: left z=0, 1, 2 are frames 0 to 2, right 3 to 5; then t=1 begins with left.
    assert outcome.missing.tolist() == [1, 2, 4, 5]


def test_what_a_camera_expects_and_what_does_not_fit(tmp_path: Path) -> None:
    with ow.create_stream(settings_in(tmp_path, "ome.zarr"), "direct") as stream:
        right = stream.camera("right")
        with pytest.raises(ow.FrameError, match=r"camera 'right', t=0 z=0\): expected \(8, 6\) uint8; got \(16, 12\)"):
            right.append(pixels("left", 0))
        with pytest.raises(ow.FrameError, match="z"):
            right.append(pixels("right", 0), expect={"z": 2})
        right.append(pixels("right", 0), expect={"z": 0, "cam": "right"})
        assert right.cursor == 1
        for _ in range(5):
            right.append(pixels("right", 0))
        with pytest.raises(ow.PlanExhausted):
            right.append(pixels("right", 0))


def test_a_stream_takes_frames_in_one_way(tmp_path: Path) -> None:
    with ow.create_stream(settings_in(tmp_path, "ome.zarr"), "direct") as stream:
        left = stream.camera("left")
        for call in (
            lambda: stream.append(pixels("left", 0)),
            lambda: stream.put(pixels("left", 0), t=0, cam="left", z=0),
            stream.skip,
        ):
            with pytest.raises(ValueError, match="takes its frames with"):
                call()
        left.append(pixels("left", 0))
        with pytest.raises(ow.PlanError, match="must be one of 'left', 'right'"):
            stream.camera("middle")
    with pytest.raises(ValueError, match="closed"):
        left.append(pixels("left", 1))
    with ow.create_stream(settings_in(tmp_path / "b", "ome.zarr"), "direct") as stream:
        stream.append(pixels("left", 0))
        with pytest.raises(ValueError, match="came to the stream as a whole before"):
            stream.camera("left")
    dims = ow.dims_from_standard_axes({"t": 2, "y": 4, "x": 4})
    with (
        ow.create_stream(ow.AcquisitionSettings(dtype="uint8", dimensions=dims)) as stream,
        pytest.raises(ValueError, match="no dimension of type 'camera'"),
    ):
        stream.camera(0)


def test_what_fails_for_one_camera_ends_it_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ow.create_stream(settings_in(tmp_path, "ome.zarr", compression="zstd"), "zarr-python")
    left, right = stream.camera("left"), stream.camera("right")
    left.append(pixels("left", 0))

    def fails(_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stream._run.writer, "write", fails)  # noqa: SLF001 - no disk is as full as this
    with pytest.raises(ow.WriteError, match=r"camera 'right', t=0 z=0\): OSError"):
        right.append(pixels("right", 0))
    with pytest.raises(ow.WriteError, match="no more frames are taken after this"):
        left.append(pixels("left", 1))
    with pytest.raises(ow.WriteError):
        stream.close()
    assert stream._run.outcome is not None  # noqa: SLF001 - as above
    assert stream._run.outcome.verdict == "failed"  # noqa: SLF001 - as above


def test_events_tell_of_all_cameras(tmp_path: Path) -> None:
    heard = []
    with ow.create_stream(settings_in(tmp_path, "scratch")) as stream:
        stream.on("coords_changed", lambda update: heard.append(dict(update.current_indices)))
        stream.camera("right").append(pixels("right", 0))
        stream.camera("left").append(pixels("left", 0))
        stream.camera("left").append(pixels("left", 1))
    assert [(at["cam"], at["t"], at["z"]) for at in heard] == [(1, 0, 0), (0, 0, 0), (0, 0, 1)]


def test_what_fails_elsewhere_is_raised_in_every_lane(tmp_path: Path) -> None:
    cameras = ow.Dimension(name="cam", type="camera", coords=["left", "right"])
    dims = [ow.Dimension(name="t", count=9), cameras, ow.Dimension(name="y", count=4), ow.Dimension(name="x", count=4)]
    stream = ow.create_stream(ow.AcquisitionSettings(root_path=tmp_path / "a.ome.zarr", dtype="uint8", dimensions=dims))
    lanes = [stream.camera(name) for name in ("left", "right")]
    for lane in lanes:
        lane.append(np.ones((4, 4), "uint8"))
    stream._run.fail(OSError("the disk is gone"))  # noqa: SLF001 - as the thread does that synchronises
    for lane in lanes:
        with pytest.raises(ow.WriteError, match="the disk is gone"):
            lane.append(np.ones((4, 4), "uint8"))
    with pytest.raises(ow.WriteError, match="the disk is gone"):
        stream.close()
