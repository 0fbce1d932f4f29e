"""Frames in another order than planned: `put`, or sent to their places by `at`."""

from __future__ import annotations

import json
import threading
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from attrs import evolve
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.testing import Failing
from ome_writers.testing.ways import Way, ways
from ome_writers.writers.memory import MemoryWriter
from ome_writers.writers.tiff import TiffWriter

SIZES = {"t": 3, "p": ["A1", "B2"], "c": ["DAPI", "GFP"], "z": 2, "y": 8, "x": 6}
ORDER = np.random.default_rng(1).permutation(24).tolist()


def dims(**sizes: Any) -> list[ow.Dimension]:
    return ow.dims_from_standard_axes(sizes or SIZES, {"t": 2})


def pixels(value: int, dtype: str = "uint16") -> NDArray[Any]:
    return np.full((8, 6), value + 1, dtype)


def indices() -> list[dict[str, int | str]]:
    """Return what each frame of `SIZES` is called, in the order of the loops."""
    return [
        {"t": t, "p": p, "c": c, "z": z} for t, p, c, z in product(range(3), ("A1", "B2"), ("DAPI", "GFP"), range(2))
    ]


def expected(places: list[int], length: int = 3) -> list[NDArray[Any]]:
    """Return the two arrays (t, c, z, y, x) once the frames of these places came."""
    arrays = [np.zeros((length, 2, 2, 8, 6), "uint16") for _ in range(2)]
    for place, (t, p, c, z) in enumerate(product(range(3), range(2), range(2), range(2))):
        if place in places:
            arrays[p][t, c, z] = place + 1
    return arrays


class InTurn(MemoryWriter):
    """A writer that wants whole chunks, in the order of the plan."""

    capabilities = evolve(MemoryWriter.capabilities, name="in turn", order="planned", unit="chunk")

    def open(self, root: str, plan: Any, documents: Any, /, *, attach: bool = False) -> None:
        super().open(root, plan, documents, attach=attach)
        for array, spec in enumerate(plan.layout.arrays):
            # An axis without end begins with the extent of one block.
            self.resize(array, tuple(size or step for size, step in zip(spec.shape, spec.chunk_shape, strict=True)))


def stream_of(writer: Any = None, **sizes: Any) -> ow.Stream:
    settings = ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims(**sizes))
    return ow.create_stream(settings, writer or MemoryWriter())


MEMORY = pytest.mark.parametrize("make", [MemoryWriter, InTurn])


# ── over all writers ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", [way for way in ways() if way.name != "memory-ome-tiff"], ids=lambda way: way.name)
@pytest.mark.parametrize("how", ["put", "at"])
@pytest.mark.parametrize("came", [24, 15])
def test_every_writer(way: Way, how: str, came: int, tmp_path: Path) -> None:
    settings, names = way.settings(tmp_path, dims(), dtype="uint16"), indices()
    writer, places = way.make(), ORDER[:came]
    if how == "put":
        with ow.create_stream(settings, writer) as stream:
            for place in places:
                stream.put(pixels(place), frame_metadata={"delta_t": float(place)}, **names[place])
            seen = stream.view(dynamic_shape=False)[..., 0, 0].reshape(-1).tolist()
        assert seen == [place + 1 if place in places else 0 for place in range(24)]
        outcome = stream.outcome
    elif writer.capabilities.append_only:
        with pytest.raises(ow.PlanError, match="no loop may go backwards"):
            ow.write(ow.compile(settings), [pixels(place) for place in places], writer, at=places)
        assert list(tmp_path.iterdir()) == []
        return
    else:
        outcome = ow.write(ow.compile(settings), [pixels(place) for place in places], writer, at=places)
    assert outcome is not None
    end = max(places) + 1
    assert (outcome.cursor, outcome.verdict) == (end, "complete" if came == 24 else "stopped")
    assert outcome.missing.tolist() == sorted(set(range(end)) - set(places))
    for array, wanted in zip(ow.compile(settings).layout.arrays, expected(places), strict=True):
        found = way.read(writer, settings.output_path, array)
        assert found is not None
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
    left = {Path(settings.output_path).name} if writer.capabilities.persistent else set()
    if how == "put" and came < 24 and way.writer in ("direct", "scratch"):
        left.add(f"{Path(settings.output_path).name}.journal")  # more of them may come
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.parametrize("backend", ["direct", "tensorstore"])
def test_documents_tell_what_did_not_come(backend: str, tmp_path: Path) -> None:
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.zarr"), dtype="uint16", dimensions=dims())
    names = indices()
    with ow.create_stream(settings, backend) as stream:
        for place in (9, 2, 6):
            stream.put(pixels(place), frame_metadata={"exposure_time": place / 100}, **names[place])
    said = json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())["attributes"]["ome_writers"]
    assert (said["verdict"], said["frames"], said["missing"]) == ("stopped", 3, [[0, 1], [3, 5], [7, 8]])
    image = json.loads((tmp_path / "a.ome.zarr" / "0" / "zarr.json").read_text())["attributes"]["ome_writers"]
    assert [(one["storage_index"], one["exposure_time"]) for one in image["frame_metadata"]] == [
        ([0, 1, 0], 0.02),
        ([1, 0, 1], 0.09),
    ]


def test_documents_after_at_tell_frames_by_their_number_in_the_plan(tmp_path: Path) -> None:
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.zarr"), dtype="uint16", dimensions=dims())
    frames = [pixels(9), None, pixels(2)]
    outcome = ow.write(ow.compile(settings), frames, at=[9, 6, 2])
    assert (outcome.verdict, outcome.missing.tolist()) == ("stopped", [0, 1, 3, 4, 5, 6, 7, 8])
    said = json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())["attributes"]["ome_writers"]
    assert (said["verdict"], said["frames"], said["missing"]) == ("stopped", 2, [[0, 1], [3, 8]])


@pytest.mark.parametrize("backend", ["direct", "tensorstore"])
def test_through_a_buffer(backend: str, tmp_path: Path) -> None:
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.zarr"), dtype="uint16", dimensions=dims(), buffer_bytes=1000
    )
    names, frame = indices(), pixels(0)
    with ow.create_stream(settings, backend) as stream:
        for place in ORDER:
            frame[:] = place + 1
            stream.put(frame, **names[place])
    for number, wanted in enumerate(expected(ORDER)):
        np.testing.assert_array_equal(zarr.open_array(f"{settings.output_path}/{number}/0", mode="r")[...], wanted)


# ── put ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@MEMORY
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"t": 0, "p": 0, "c": "Cy5", "z": 0}, r"c: must be one of 'DAPI', 'GFP'; got 'Cy5'"),
        ({"t": 3, "p": 0, "c": 0, "z": 0}, r"t: must be from 0 to 2; got 3"),
        ({"t": -1, "p": 0, "c": 0, "z": 0}, r"t: must be from 0 to 2; got -1"),
        ({"t": 0, "p": 0, "c": 0}, r"z: must be given"),
        ({"t": 0, "p": 0, "c": 0, "z": 0, "q": 1}, r"q: must be a dimension of the plan: 't', 'p', 'c', 'z'"),
        ({"t": 0, "p": 0, "c": 0, "z": "top"}, r"z: has no names, so it takes an index; got 'top'"),
        ({"t": 0, "p": 0, "c": 0, "z": 1.0}, r"z: must be an index, for it has no names; got 1.0"),
        ({"t": 0, "p": 0, "c": True, "z": 0}, r"c: must be an index or a name; got True"),
        ({"t": 1, "p": "A1", "c": "GFP", "z": 1}, r"frame 11 \(position 'A1', t=1 c=1 z=1\): its frame came before"),
    ],
)
def test_refused_before_anything_moves(make: type[MemoryWriter], given: dict[str, Any], message: str) -> None:
    writer = make()
    with stream_of(writer) as stream:
        stream.put(pixels(11), t=1, p="A1", c="GFP", z=1)
        with pytest.raises(ow.FrameError, match=message):
            stream.put(pixels(99), **given)
        assert stream.view().shape[:4] == (2, 1, 2, 2)
    assert stream.outcome is not None
    assert stream.outcome.frames == 1
    for found, wanted in zip(writer.arrays, expected([11], 2), strict=True):
        np.testing.assert_array_equal(found, wanted[: len(found)])


@MEMORY
def test_a_frame_that_does_not_fit_takes_no_place(make: type[MemoryWriter]) -> None:
    with stream_of(make(), t=2, y=8, x=6) as stream:
        with pytest.raises(ow.FrameError, match=r"frame 1 \(t=1\): expected \(8, 6\) uint16; got \(8, 7\) uint16"):
            stream.put(np.zeros((8, 7), "uint16"), t=1)
        with pytest.raises(ow.FrameError, match=r"frame 1 \(t=1\): metadata\.a: cannot store"):
            stream.put(pixels(1), t=1, frame_metadata={"a": object()})
        stream.append(pixels(0))  # nothing was put yet
        stream.append(pixels(1))
    assert stream.outcome is not None
    assert stream.outcome.verdict == "complete"


@MEMORY
def test_a_stream_is_used_in_one_way(make: type[MemoryWriter]) -> None:
    with stream_of(make(), t=4, y=8, x=6) as stream:
        stream.put(pixels(2), t=2)
        with pytest.raises(ValueError, match="this one takes them with `put`"):
            stream.append(pixels(0))
        with pytest.raises(ValueError, match="this one takes them with `put`"):
            stream.skip()
        stream.put(pixels(0), t=0)
    with pytest.raises(ValueError, match="the stream is closed"):
        stream.put(pixels(1), t=1)
    with stream_of(make(), t=4, y=8, x=6) as stream:
        stream.append(pixels(0))
        with pytest.raises(ValueError, match="this one takes them with `append`"):
            stream.put(pixels(1), t=1)
        stream.append(pixels(1))
    assert stream.outcome is not None
    assert stream.outcome.missing.tolist() == []


def test_positions_of_one_name_are_told_apart_by_index() -> None:
    wells = [ow.Position(name="f0", plate_row=row, plate_column="1") for row in "AB"]
    with stream_of(t=2, p=wells, y=8, x=6) as stream:
        with pytest.raises(ow.FrameError, match=r"p: 'f0' is the name of several; say which by its index: 0, 1"):
            stream.put(pixels(0), t=0, p="f0")
        stream.put(pixels(3), t=1, p=1)
        assert stream.view()[1, 1, 0, 0] == 4


def test_a_loop_that_goes_round_once_may_be_left_out() -> None:
    with stream_of(t=1, c=["DAPI"], z=3, y=8, x=6) as stream:
        for z in (2, 0, 1):
            stream.put(pixels(z), z=z)
    assert stream.outcome is not None
    assert stream.outcome.verdict == "complete"


@pytest.mark.parametrize("way", [way for way in ways() if way.name != "memory-ome-tiff"], ids=lambda way: way.name)
def test_what_has_no_end_grows(way: Way, tmp_path: Path) -> None:
    settings = way.settings(tmp_path, dims(t=None, c=2, y=8, x=6), dtype="uint16")
    writer = way.make()
    if not writer.capabilities.resizable:
        with pytest.raises(ow.PlanError, match="needs to know where the acquisition ends"):
            ow.create_stream(settings, writer)
        return
    with ow.create_stream(settings, writer) as stream:
        for t, c in [(6, 1), (0, 0), (3, 1), (6, 0)]:
            stream.put(pixels(10 * t + c), t=t, c=c)
    found = way.read(writer, settings.output_path, ow.compile(settings).layout.arrays[0])
    assert found is not None
    wanted = np.zeros((7, 2))
    for t, c in [(6, 1), (0, 0), (3, 1), (6, 0)]:
        wanted[t, c] = 10 * t + c + 1
    np.testing.assert_array_equal(found[..., 0, 0].reshape(7, 2), wanted)
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames, stream.outcome.cursor) == ("stopped", 4, 14)


@MEMORY
def test_the_view_shows_what_came(make: type[MemoryWriter]) -> None:
    with stream_of(make(), t=None, c=["DAPI", "GFP", "Cy5"], y=8, x=6) as stream:
        view = stream.view()
        assert view.shape == (0, 0, 8, 6)
        stream.put(pixels(0), t=2, c="GFP")
        assert view.shape == (3, 2, 8, 6)
        assert view.coords["c"] == ["DAPI", "GFP"]
        assert view[:, 1, 0, 0].tolist() == [0, 0, 1]
        stream.put(pixels(4), t=0, c="Cy5")
        assert view[:, :, 3, 3].tolist() == [[0, 0, 5], [0, 0, 0], [0, 1, 0]]
    assert view[:, :, 3, 3].tolist() == [[0, 0, 5], [0, 0, 0], [0, 1, 0]]


@MEMORY
def test_events_follow_the_order_of_arrival(make: type[MemoryWriter]) -> None:
    heard: list[ow.CoordUpdate] = []
    grew: list[ow.CoordUpdate] = []
    places = [(1, 0), (0, 1), (0, 0), (2, 1)]
    with stream_of(make(), t=3, c=2, y=8, x=6) as stream:
        stream.put(pixels(0), t=1, c=0)
        stream.on("coords_changed", heard.append)
        stream.on("coords_expanded", grew.append)
        for t, c in places[1:]:
            stream.put(pixels(0), t=t, c=c)
    assert [(one.current_indices["t"], one.current_indices["c"], one.frame_number) for one in heard] == [
        (t, c, 2 * t + c) for t, c in places[1:]
    ]
    assert [(one.max_coords["t"], one.max_coords["c"]) for one in grew] == [
        (range(2), range(2)),
        (range(3), range(2)),
    ]


def test_from_several_threads() -> None:
    writer = InTurn()
    names = indices()
    with stream_of(writer) as stream:

        def put(places: list[int]) -> None:
            for place in places:
                stream.put(pixels(place), **names[place])

        threads = [threading.Thread(target=put, args=(ORDER[first::4],)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for found, wanted in zip(writer.arrays, expected(ORDER), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_no_room_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = InTurn()
    with pytest.raises(ow.WriteError, match="frame 0"), stream_of(writer, t=3, y=8, x=6) as stream:
        stream.put(pixels(2), t=2)
        spool = stream._run.puts.spool  # noqa: SLF001 - to fill the disk
        keep = spool.keep
        with monkeypatch.context() as patch:

            def full(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(spool, "keep", full)
            with pytest.raises(ow.WriteError, match=r"frame 0 \(t=0\).*No space left on device") as caught:
                stream.put(pixels(0), t=0)
        assert spool.keep == keep
        assert caught.value.frame == 0
        stream.put(pixels(1), t=1)
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.missing.tolist()) == ("failed", [0, 1])
    assert writer.arrays[0][:, 0, 0].tolist() == [0, 0, 3]


@MEMORY
def test_a_writer_is_told_what_came_with_frames(make: type[MemoryWriter]) -> None:
    noted: dict[int, Any] = {}

    class Noting(make):  # type: ignore[misc, valid-type]
        def note(self, frame: int, array: int, index: tuple[int, ...], record: Any) -> None:
            noted[frame] = (array, index, record["own"])

    with stream_of(Noting(), t=3, c=2, y=8, x=6) as stream:
        for t, c in [(2, 0), (0, 1)]:
            stream.put(pixels(0), frame_metadata={"own": 10 * t + c}, t=t, c=c)
    assert noted == {4: (0, (2, 0), 20), 1: (0, (0, 1), 1)}


@MEMORY
def test_a_writer_that_fails(make: type[MemoryWriter]) -> None:
    writer = Failing(make(), 1)
    stream = stream_of(writer, t=5, y=8, x=6)
    with pytest.raises(ow.WriteError, match="No space left"), stream:
        for t in (4, 0, 1, 2, 3):
            stream.put(pixels(t), t=t, frame_metadata={"own": t})
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"
    # Of the chunks of two frames the second failed; of single frames that of t=0, so that 1 to 3 never came.
    assert stream.outcome.frames == (2 if make is InTurn else 1)
    assert list(stream.outcome.records) == ([0, 1, 2] if make is InTurn else [4])


# ── at ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ([0, 1, 0], r"^at\.2: must come once; 0 is number 0 as well"),
        ([0, 24], r"^at\.1: must be from 0 to 23; got 24"),
        ([-1], r"^at\.0: must be from 0 to 23; got -1"),
        ([0.5], r"^at: must be a sequence of places, which are integers"),
        (np.zeros((2, 2), int), r"^at: must be a sequence of places, which are integers"),
        ([{"t": 0, "p": 0, "c": 0, "z": 0}, {"t": 0, "p": 0, "c": "Cy5", "z": 0}], r"^at\.1\.c: must be one of"),
        ([{"t": 0, "p": 0, "c": 0, "z": 0}, 0], r"^at\.1: must come once"),
        ([{"t": 0, "p": 0, "c": 0}], r"^at\.0\.z: must be given"),
    ],
)
def test_places_that_cannot_be(at: Any, message: str, tmp_path: Path) -> None:
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.zarr"), dtype="uint16", dimensions=dims())
    with pytest.raises(ow.PlanError, match=message):
        ow.write(ow.compile(settings), [pixels(0)], at=at)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stacked", [True, False])
def test_more_frames_than_places(stacked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    frames = [pixels(value) for value in range(3)]
    writer, plan = MemoryWriter(), ow.compile(ow.AcquisitionSettings(dtype="uint16", dimensions=dims()))
    with pytest.raises(ow.PlanExhausted, match="`at` names 2 places"):
        ow.write(plan, np.array(frames) if stacked else iter(frames), writer, at=[5, 1])
    if not stacked:
        assert [int(array.max()) for array in writer.arrays] == [2, 1]


def test_an_array_of_frames_and_one_of_places() -> None:
    writer, plan = MemoryWriter(), ow.compile(ow.AcquisitionSettings(dtype="uint16", dimensions=dims()))
    outcome = ow.write(plan, np.array([pixels(place) for place in ORDER]), writer, at=np.array(ORDER, "uint8"))
    assert outcome.verdict == "complete"
    for found, wanted in zip(writer.arrays, expected(ORDER), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_refused_frame_is_told_by_its_place_in_the_plan() -> None:
    plan = ow.compile(ow.AcquisitionSettings(dtype="uint16", dimensions=dims()))
    with pytest.raises(ow.FrameError, match=r"frame 2 \(position 'A1', t=0 c=1 z=0\)"):
        ow.write(plan, iter([pixels(0), np.zeros((3, 3), "uint16")]), MemoryWriter(), at=[9, 2])


def test_a_run_that_failed_with_frames_that_wait_is_not_complete_once_they_are_recovered(tmp_path: Path) -> None:
    """Nobody said of the other frames that they will not come."""
    dims = ow.dims_from_standard_axes({"t": 6, "y": 4, "x": 4})
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.tiff"), dtype="uint16", dimensions=dims)
    writer = Failing(TiffWriter(), at=0)
    stream = ow.create_stream(settings, writer)
    for t in (1, 5):
        stream.put(np.full((4, 4), t + 1, "uint16"), t=t)
    with pytest.raises(ow.WriteError) as told:
        stream.close()
    assert told.value.__notes__ == [f"2 more are kept: ome-writers recover {tmp_path / 'a.ome.tiff'} stores them"]
    outcome = ow.recover(tmp_path / "a.ome.tiff")
    assert (outcome.verdict, outcome.frames, outcome.missing.tolist()) == ("failed", 2, [0, 2, 3, 4])
    assert tifffile.imread(tmp_path / "a.ome.tiff")[:, 0, 0].tolist() == [0, 2, 0, 0, 0, 6]


IN_TURN = [way for way in ways() if way.persistent and way.make().capabilities.unit != "frame"]


@pytest.mark.parametrize(
    "way", [*IN_TURN, *(way for way in ways() if way.writer == "tifffile")], ids=lambda way: way.name
)
def test_frames_that_wait_when_something_fails_are_stored_if_they_can_be(tmp_path: Path, way: Way) -> None:
    dims = ow.dims_from_standard_axes({"t": 6, "y": 4, "x": 4}, chunk_shapes={"t": 2})
    settings = way.settings(tmp_path, dims, dtype="uint16")
    stream = ow.create_stream(settings, way.make())
    for t in (1, 4, 5):
        stream.put(np.full((4, 4), t + 1, "uint16"), t=t, frame_metadata={"t": t})
    stream._run.fail(OSError("the disk is gone for a while"))  # noqa: SLF001 - as the thread does that synchronises
    with pytest.raises(ow.WriteError, match="gone for a while"):
        stream.close()
    assert stream.outcome is not None
    for outcome in (stream.outcome, ow.recover(settings.output_path, way.make())):
        assert (outcome.verdict, outcome.missing.tolist()) == ("failed", [0, 2, 3])
        assert {place: record["t"] for place, record in outcome.records.items()} == {1: 1, 4: 4, 5: 5}
        pixels = way.read(way.make(), settings.output_path, stream.plan.layout.arrays[0])
        assert pixels is not None
        assert pixels.reshape(6, -1)[:, 0].tolist() == [0, 2, 0, 0, 5, 6]


def test_a_frame_that_cannot_be_kept_is_the_last(tmp_path: Path) -> None:
    """Without an end, the run would be complete without it."""
    resource = pytest.importorskip("resource")
    dims = ow.dims_from_standard_axes({"t": None, "y": 64, "x": 64})
    settings = ow.AcquisitionSettings(
        root_path=tmp_path / "a.ome.zarr", dtype="uint8", dimensions=dims, compression="zstd"
    )
    stream = ow.create_stream(settings)
    stream.put(np.full((64, 64), 1, "uint8"), t=0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(ow.WriteError, match=r"frame 3 \(t=3\): OSError.*File too large"):
            stream.put(np.full((64, 64), 4, "uint8"), t=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for step in (lambda: stream.put(np.full((64, 64), 2, "uint8"), t=1), stream.close):
        with pytest.raises(ow.WriteError, match="frame 3"):
            step()
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"
    outcome = ow.recover(tmp_path / "a.ome.zarr")
    assert (outcome.verdict, outcome.frames, outcome.cursor) == ("failed", 1, 1)
