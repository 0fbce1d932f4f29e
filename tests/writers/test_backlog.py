"""How much an engine holds that tells nothing by itself, and who waits for it: real runs, and one that is stuck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import ome_writers as ow
from ome_writers.testing import expected_arrays, frame_pixels
from ome_writers.testing.runs import run_through, zarr_runs
from ome_writers.writer import peak_bytes_for
from ome_writers.writers import backlog
from ome_writers.writers.acquire import AcquireZarrWriter
from ome_writers.writers.backlog import Backlog

FRAME = np.ones((64, 64), "uint16")


def settings(
    root: Path | str = "a.ome.zarr", compression: str | None = None, t: int | None = 40, chunk: int = 1
) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes(
        {"t": t, "c": 2, "y": 64, "x": 64}, chunk_shapes={"t": chunk}, shard_shapes={"t": 5}
    )
    return ow.AcquisitionSettings(root_path=str(root), dtype="uint16", compression=compression, dimensions=dims)


def backlog_of(root: Path) -> Backlog:
    return Backlog(root, ow.compile(settings()).layout.arrays[0], 2, 0)


@pytest.mark.parametrize("name", zarr_runs())
def test_a_writer_that_may_hold_next_to_nothing_stores_all_the_same(tmp_path: Path, name: str) -> None:
    plan, number, missing = zarr_runs()[name]
    frames = [None if n in missing else frame_pixels(n, (6, 5), "uint16") for n in range(number)]
    run_through(AcquireZarrWriter(in_flight_bytes=0, patience=20), tmp_path / "a", plan, frames)
    for array, wanted in expected_arrays(plan.settings, frames).items():
        found = zarr.open_array(tmp_path / "a" / plan.layout.arrays[array].path, mode="r")[...]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("compression", [None, "blosc-lz4"])
@pytest.mark.parametrize("t", [40, None])
@pytest.mark.parametrize("chunk", [1, 2])
def test_never_more_is_held_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None, t: int | None, chunk: int
) -> None:
    held = []

    class Watched(Backlog):
        def room(self, taken: int, patience: float) -> int:
            found = super().room(taken, patience)
            held.append((self.held(taken), self._most))
            return found

    monkeypatch.setattr("ome_writers.writers.acquire.Backlog", Watched)
    given = settings(tmp_path / "a.ome.zarr", compression, t, chunk)
    with ow.create_stream(given, AcquireZarrWriter(in_flight_bytes=0)) as stream:
        for _ in range(80):
            stream.append(FRAME)
    # What is being compressed is a whole layer of shards: 10 chunks of 2 channels; else one of chunks.
    most = 1 + 2 * 2 * (5 * chunk if compression else chunk)
    assert {one for _, one in held} == {most}
    assert max(count for count, _ in held) < most
    assert len(held) > 80 // most


def put(folder: Path, layer: int, channel: int, frames: float) -> None:
    path = folder / "0" / "c" / str(layer) / str(channel) / "0" / "0"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(int(frames * FRAME.nbytes)))


def test_files_tell_what_is_held(tmp_path: Path) -> None:
    found = backlog_of(tmp_path)
    assert found.held(7) == 7
    put(tmp_path, 0, 0, 2)
    assert found.held(7) == 5
    put(tmp_path, 0, 1, 2.9)
    assert found.held(7) == 3
    put(tmp_path, 1, 0, 1)
    assert found.held(12) == 7


def test_an_engine_that_stores_nothing_is_asked_now_and_then_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_PROBE", 0.01)
    found = backlog_of(tmp_path)
    assert found.room(4, 60) == 1
    assert [found.room(taken, 60) for taken in (5, 6)] == [1, 1]
    with pytest.raises(TimeoutError, match="holds 7 frames, and has stored none of them for"):
        found.room(7, 0.02)
    put(tmp_path, 0, 0, 4)
    put(tmp_path, 0, 1, 3)
    assert found.room(8, 0.02) > 0


def test_the_caller_is_told_and_no_frame_more_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        def append(self, *_: Any) -> None:
            """Store nothing."""

        def close(self) -> None:
            """End."""

    monkeypatch.setattr("acquire_zarr.ZarrStream", lambda _: Stuck())
    monkeypatch.setattr(backlog, "_PROBE", 0.01)
    writer = AcquireZarrWriter(in_flight_bytes=0, patience=0.2)
    stream = ow.create_stream(settings(tmp_path / "a.ome.zarr"), writer)
    with pytest.raises(ow.WriteError, match=r"frame \d+, or one before it: acquire-zarr holds \d+ frames"):
        for _ in range(1000):
            stream.append(FRAME)
    with pytest.raises(ow.WriteError, match="no more frames are taken"):
        stream.append(FRAME)
    with pytest.raises(ow.WriteError):
        stream.close()
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("failed", 0)


def test_what_the_engine_holds_is_known_before() -> None:
    able = AcquireZarrWriter.capabilities
    layer = 2 * 2 * FRAME.nbytes
    plain, small = ow.compile(settings()), ow.compile(settings(compression="blosc-lz4"))
    assert peak_bytes_for(plain, able) == able.in_flight_bytes + layer
    assert peak_bytes_for(small, able) == able.in_flight_bytes + 5 * layer
