"""A dataset that is removed or renamed while it is written: that is told of, and nothing is made in its place."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import presence, syncing
from ome_writers.testing import Way, ways

STORED = [way for way in ways() if way.persistent]
ONE_EACH = list({(way.writer, way.format.name): way for way in reversed(STORED)}.values())
IN_OUR_HANDS = pytest.mark.parametrize(
    "way", [way for way in ONE_EACH if way.make().capabilities.ack != "close"], ids=lambda way: way.name
)
"""The engine of the other one makes folders anew when it ends."""
EACH = pytest.mark.parametrize("way", ONE_EACH, ids=lambda way: way.name)
FRAMES = 12
GONE = r"is gone|No such file"


def started(way: Way, folder: Path, *, frames: int | None = FRAMES, **more: Any) -> ow.Stream:
    dims = ow.dims_from_standard_axes({"t": frames, "y": 16, "x": 16})
    return ow.create_stream(way.settings(folder, dims, dtype="uint16", **more), way.make())


def send(stream: ow.Stream, *values: int) -> None:
    for value in values:
        stream.append(np.full((16, 16), value, "uint16"))


def rename(root: Path) -> None:
    root.rename(root.with_name("moved"))


def remove(root: Path) -> None:
    # Threads of a library may be at it.
    rename(root)
    moved = root.with_name("moved")
    shutil.rmtree(moved, ignore_errors=True) if moved.is_dir() else moved.unlink()


@EACH
@pytest.mark.parametrize("take_away", [remove, rename])
def test_the_next_call_says_so(
    tmp_path: Path, way: Way, take_away: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "_QUIET", 0.01)
    stream = started(way, tmp_path)
    send(stream, *range(1, 6))
    root = Path(stream._run.root)  # noqa: SLF001 - before it has an outcome
    take_away(root)
    while stream._run.failure is None:  # noqa: SLF001 - what the thread finds
        time.sleep(0.001)
    with pytest.raises(ow.WriteError, match=r"is gone|No such file"):
        send(stream, 6)
    with pytest.raises(ow.WriteError, match=r"is gone|No such file"):
        stream.close()
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"


@IN_OUR_HANDS
@pytest.mark.parametrize("sync", ["close", "never"])
def test_a_dataset_that_was_renamed_is_completed_under_its_name(tmp_path: Path, way: Way, sync: str) -> None:
    stream = started(way, tmp_path, sync=sync)
    send(stream, *range(1, FRAMES + 1))
    root = Path(stream._run.root)  # noqa: SLF001 - before it has an outcome
    while stream.safe_frames < FRAMES:
        time.sleep(0.001)
    rename(root)
    with pytest.raises(ow.WriteError, match=r"is gone|No such file"):
        stream.close()
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"
    assert not root.exists()
    root.with_name("moved").rename(root)
    outcome = ow.recover(root)
    assert (outcome.verdict, outcome.frames) == ("complete", FRAMES)
    pixels = way.read(way.make(), str(root), stream.plan.layout.arrays[0])
    assert pixels is not None
    assert pixels.reshape(FRAMES, -1)[:, 0].tolist() == list(range(1, FRAMES + 1))


@IN_OUR_HANDS
def test_what_others_put_there_is_left_alone(tmp_path: Path, way: Way) -> None:
    stream = started(way, tmp_path)
    send(stream, *range(1, 6))
    root = Path(stream._run.root)  # noqa: SLF001 - before it has an outcome
    rename(root)
    root.mkdir()
    (root / "zarr.json").write_text("theirs")
    with pytest.raises(ow.WriteError, match="is gone"):
        stream.close()
    assert (root / "zarr.json").read_text() == "theirs"
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"


@pytest.mark.parametrize("way", [way for way in ONE_EACH if way.writer == "direct"], ids=lambda way: way.name)
def test_where_nothing_can_be_held_open_it_is_missed_all_the_same(
    tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "HOLDS", False)
    stream = started(way, tmp_path)
    send(stream, *range(1, 6))
    rename(Path(stream._run.root))  # noqa: SLF001 - before it has an outcome
    with pytest.raises(ow.WriteError, match="is gone"):
        stream.close()


def test_shards_are_not_made_where_it_was(tmp_path: Path) -> None:
    """Nor chunks, nor shards of chunks that are compressed, nor documents of an array that grows."""
    for number, more in enumerate(({}, {"shards": 2}, {"shards": 2, "compression": "blosc-lz4"})):
        shards, root = more.pop("shards", None), tmp_path / f"{number}.ome.zarr"
        dims = ow.dims_from_standard_axes({"t": None, "y": 16, "x": 16}, shard_shapes=shards and {"t": shards})
        stream = ow.create_stream(ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims, **more))
        send(stream, 1, 2, 3)
        root.rename(tmp_path / "moved")
        with pytest.raises(ow.WriteError, match="is gone"):
            send(stream, *range(4, 10))
        with pytest.raises(ow.WriteError, match="is gone"):
            stream.close()
        assert not root.exists()
        shutil.rmtree(tmp_path / "moved")


def test_what_rested_in_blocks_is_completed_under_its_name_too(tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": FRAMES, "y": 16, "x": 16}, chunk_shapes={"t": 4})
    root = tmp_path / "a.ome.zarr"
    stream = ow.create_stream(
        ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims, compression="zstd", sync="never")
    )
    send(stream, *range(1, 7))
    rename(root)
    with pytest.raises(ow.WriteError, match="is gone") as told:
        stream.close()
    assert told.value.__notes__ == [f"2 more are kept: ome-writers recover {root} stores them"]
    root.with_name("moved").rename(root)
    assert ow.recover(root).frames == 6
