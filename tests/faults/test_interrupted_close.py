"""Ctrl-C while a frame is stored, or a stream is being closed: nothing that came is lost, and the message says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.journal import marks_beside
from ome_writers.run import Run
from ome_writers.testing.ways import backends
from ome_writers.writer import writer_named
from ome_writers.writers.buffered import BufferedWriter
from ome_writers.writers.direct import DirectWriter

FRAMES = np.arange(4 * 8 * 8, dtype="uint16").reshape(4, 8, 8) + 1


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["close", "flush"])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
@pytest.mark.parametrize("how", ["write", "stream"])
def test_what_came_is_there_and_recover_completes_it(
    tmp_path: Path, suffix: str, where: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / f"cells{suffix}")
    dims = ow.dims_from_standard_axes({"t": 4, "y": 8, "x": 8}, chunk_shapes={"t": 3} if "zarr" in suffix else None)
    settings = ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims)
    with pytest.raises(KeyboardInterrupt) as caught, monkeypatch.context() as patch:
        acquired(settings, how, patch, where)
    (note,) = caught.value.__notes__
    assert note.startswith(f"4 frames came to {root}")
    assert note.endswith(f"ome-writers recover {root} completes it with all of them")
    outcome = ow.recover(root)
    assert outcome.frames == 4
    assert np.array_equal(ow.open_view(root)[:], FRAMES)
    assert not ow.validate(root).failed


@pytest.mark.parametrize(("backend", "suffix"), [("direct", ".ome.zarr"), ("tifffile", ".ome.tiff")])
def test_ctrl_c_before_the_writer_ends_leaves_the_journal(
    tmp_path: Path, backend: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / f"cells{suffix}")
    settings = ow.AcquisitionSettings(
        root_path=root, dtype="uint16", dimensions=ow.dims_from_standard_axes({"t": 4, "y": 8, "x": 8})
    )
    stream = ow.create_stream(settings, backend)
    for number, frame in enumerate(FRAMES):
        stream.append(frame, frame_metadata={"number": number})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "_close_writer", interrupted)
        stream.close()
    outcome = ow.recover(root)
    assert (outcome.verdict, outcome.frames, outcome.records[3]) == ("complete", 4, {"number": 3})


def test_frames_in_unfinished_chunks_are_counted_as_they_are_kept(tmp_path: Path) -> None:
    root = str(tmp_path / "cells.ome.zarr")
    dims = ow.dims_from_standard_axes({"t": 8, "y": 8, "x": 8}, chunk_shapes={"t": 3})
    stream = ow.create_stream(ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims), "tensorstore")
    for frame in FRAMES:
        stream.append(frame)
    while stream.safe_frames < 3:  # the first chunk is on its way
        sleep(0.01)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught:
        patch.setattr(Run, "_complete", interrupted)
        stream.close()
    assert caught.value.__notes__[0].endswith("completes it with all of them")
    assert ow.recover(root).frames == 4
    assert np.array_equal(ow.open_view(root)[:4], FRAMES)


class Interrupted:
    """A writer that Ctrl-C interrupts once it has stored frame 2, so that the frame does not count."""

    def __init__(self, inner: ow.Writer) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, blocks: Sequence[ow.Block], /) -> None:
        self.inner.write(blocks)
        if 2 in blocks[0].frames:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("backend", "suffix"), backends("ome-tiff", "ome-zarr"))
@pytest.mark.parametrize("count", [4, None])
def test_a_frame_that_was_being_stored_makes_no_dataset_unsound(
    tmp_path: Path, backend: str, suffix: str, count: int | None
) -> None:
    root = str(tmp_path / f"cells{suffix}")
    dims = ow.dims_from_standard_axes({"t": count, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims)
    stream = ow.create_stream(settings, Interrupted(writer_named(backend)))
    with pytest.raises(KeyboardInterrupt) as caught, stream:
        for frame in FRAMES:
            stream.append(frame)
    assert stream.outcome is not None
    assert stream.outcome.frames in (2, 3)
    assert caught.value.__notes__ == [f"{root} holds {stream.outcome.frames} frames (stopped)"]
    assert [check for check in ow.validate(root).checks if check.result == "failed"] == []
    assert np.array_equal(ow.open_view(root)[:], FRAMES[: stream.outcome.frames])


def acquired(settings: ow.AcquisitionSettings, how: str, patch: pytest.MonkeyPatch, where: str) -> Any:
    if how == "write":

        def frames() -> Any:
            yield from FRAMES
            patch.setattr(DirectWriter, where, interrupted)

        return ow.write(ow.compile(settings), frames(), "direct")
    with ow.create_stream(settings, "direct") as stream:
        for frame in FRAMES:
            stream.append(frame)
        patch.setattr(DirectWriter, where, interrupted)
    return stream


class Slow(DirectWriter):
    """A disk that takes its time for each frame behind the first."""

    def write(self, blocks: Sequence[ow.Block], /) -> None:
        if 0 not in blocks[0].frames:
            sleep(0.3)
        super().write(blocks)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_frames_that_wait_in_a_ring_go_to_the_journal(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / f"cells{suffix}")
    dims = ow.dims_from_standard_axes({"t": 4, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims, buffer_bytes=2**16)
    stream = ow.create_stream(settings, Slow())
    for frame in FRAMES:
        stream.append(frame)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught:
        patch.setattr(BufferedWriter, "flush", interrupted)
        stream.close()
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("stopped", 4)
    with pytest.raises(ow.WriteError) as again:
        stream.close()
    assert str(again.value) == caught.value.__notes__[0]
    assert str(again.value).endswith("completes it with all of them")
    assert ow.recover(root).verdict == "complete"
    assert np.array_equal(ow.open_view(root)[:], FRAMES)


def test_what_arrives_while_a_run_is_closed_is_noted_at_once(tmp_path: Path) -> None:
    root = tmp_path / "cells.ome.zarr"
    dims = ow.dims_from_standard_axes({"t": 4, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(root_path=str(root), dtype="uint16", dimensions=dims, buffer_bytes=2**16)
    stream = ow.create_stream(settings, Slow())
    for frame in FRAMES:
        stream.append(frame)
    closing = Thread(target=stream.close)
    closing.start()
    seen = set()
    while closing.is_alive():
        marks = marks_beside(root, 4)
        seen.add(0 if marks is None else int(marks.sum()))
        sleep(0.01)
    closing.join()
    assert seen & {1, 2, 3}
