"""What is left of shards when a disk has failed; whole ones are made by zarr-python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ome_writers.testing.runs import zarr_plan
from ome_writers.writers.shardfiles import is_whole, lost_frames, remove_torn


def stored(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], shards: tuple[int, ...]) -> Any:
    array = zarr.create_array(folder / "0", shape=shape, chunks=chunks, shards=shards, dtype="uint16", compressors=None)
    array[:] = np.arange(np.prod(shape), dtype="uint16").reshape(shape) + 1
    return array


@pytest.mark.parametrize("harm", ["cut", "empty", "longer", "index", "checksum", "gone"])
def test_a_shard_that_was_harmed_is_not_whole(tmp_path: Path, harm: str) -> None:
    stored(tmp_path, (4, 4, 4), (1, 4, 4), (4, 4, 4))
    path = tmp_path / "0" / "c" / "0" / "0" / "0"
    assert is_whole(path, 4)
    data = path.read_bytes()
    harmed = {
        "cut": data[:-1],
        "empty": b"",
        "longer": data + b"\0",
        "index": data[:-20] + b"\1" + data[-19:],
        "checksum": data[:-1] + bytes([data[-1] ^ 1]),
        "gone": None,
    }[harm]
    path.unlink()
    if harmed is not None:
        path.write_bytes(harmed)
    assert not is_whole(path, 4)


def test_a_shard_without_some_of_its_chunks_is_whole(tmp_path: Path) -> None:
    array = stored(tmp_path, (4, 4, 4), (1, 4, 4), (4, 4, 4))
    array[1:3] = 0
    assert is_whole(tmp_path / "0" / "c" / "0" / "0" / "0", 4)


@pytest.mark.parametrize(("torn", "lost"), [("1/0/1/0", [4, 6]), ("0/1/0/0", [1, 3]), ("2/0/0/0", [8])])
def test_the_frames_of_a_torn_shard_are_lost_and_it_goes(tmp_path: Path, torn: str, lost: list[int]) -> None:
    # Two channels; shards of two frames along time, and of half a frame.
    plan = zarr_plan({"t": 6, "c": 2, "y": 4, "x": 4}, chunks={"y": 2}, shards={"t": 2})
    spec = plan.layout.arrays[0]
    assert spec.shard_shape == (2, 1, 2, 4)
    array = stored(tmp_path, (6, 2, 4, 4), spec.chunk_shape, spec.shard_shape)
    last = 8
    assert lost_frames(tmp_path, plan, [spec], last) == []
    path = tmp_path / "0" / "c" / torn
    path.write_bytes(path.read_bytes()[:-7])
    assert lost_frames(tmp_path, plan, [spec], last) == lost
    with pytest.raises(ValueError, match=r"checksum|size|buffer"):
        array[:]
    remove_torn(tmp_path, spec)
    assert not path.exists()
    assert lost_frames(tmp_path, plan, [spec], last) == lost
    whole = np.arange(6 * 2 * 4 * 4).reshape(6, 2, 4, 4) + 1
    t, c, y, _ = map(int, torn.split("/"))
    whole[2 * t : 2 * t + 2, c, 2 * y : 2 * y + 2] = 0
    np.testing.assert_array_equal(array[:], whole)


def test_without_loops_and_without_end() -> None:
    plan = zarr_plan({"y": 4, "x": 4}, shards={"y": 1})
    assert lost_frames(Path("nowhere"), plan, plan.layout.arrays, 0) == [0]
    assert lost_frames(Path("nowhere"), plan, plan.layout.arrays, -1) == []
    endless = zarr_plan({"t": None, "y": 4, "x": 4}, shards={"t": 2})
    assert lost_frames(Path("nowhere"), endless, endless.layout.arrays, 70_000) == list(range(70_001))
