"""Compressed Zarr through the direct writer: chunks encoded by threads; read back with other people's libraries."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from attrs import evolve
from numpy.typing import NDArray
from zarrs import ZarrsCodecPipeline

import ome_writers as ow
from ome_writers.testing import expected_arrays, frame_pixels
from ome_writers.testing.runs import files_below, random_pixels, run_through, zarr_plan, zarr_runs
from ome_writers.writers import encoded, placed
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.encoded import EncodedZarr

GROUP = ow.Document("", "group", {"said": "running"})
FINAL = ow.Document("", "group", {"said": "complete"})
CODECS = ["blosc-zstd", "blosc-lz4", "zstd", "gzip"]
CUTS: dict[str, tuple[Any, Any]] = {
    "frames": ({}, {}),
    "chunks over frames": ({"t": 3, "c": 2, "y": 8, "x": 8}, {}),
    "shards of frames": ({}, {"t": 2, "c": 3}),
    "shards": ({"t": 2, "y": 8, "x": 8}, {"t": 2, "c": 2, "y": 2, "x": 2}),
}


@pytest.fixture(params=["by the caller", "by threads"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by threads":
        monkeypatch.setattr(encoded, "_SMALL", 0)
        monkeypatch.setattr(encoded, "_PORTION", 300)


def chunks_of(plan: ow.Plan, data: NDArray[Any]) -> Iterator[ow.Block]:
    """Yield the blocks of array 0, the last one first, all in one buffer that is overwritten after each."""
    step = plan.layout.arrays[0].chunk_shape[:-2]
    buffer = np.empty((*step, *data.shape[-2:]), data.dtype)
    for start in [*product(*map(range, [0] * len(step), data.shape, step))][::-1]:
        piece = data[tuple(slice(first, first + size) for first, size in zip(start, step, strict=True))]
        block = buffer.reshape(-1)[: piece.size].reshape(piece.shape)
        block[:] = piece
        yield ow.Block((start[0],), 0, start, block)
        buffer[:] = 0


def opened(root: Path, plan: ow.Plan, **how: Any) -> EncodedZarr:
    writer = EncodedZarr(**how)
    writer.open(str(root), plan, [GROUP])
    return writer


def found_by(name: str, root: Path, path: str = "0") -> NDArray[Any]:
    if name == "tensorstore":
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/{path}/"}}
        return np.asarray(ts.open(spec).result().read().result())
    array = zarr.open_array(root / path, mode="r")
    if name == "zarrs":
        pipeline = ZarrsCodecPipeline.from_array_metadata_and_store(array.metadata, array.store)
        object.__setattr__(array.async_array, "codec_pipeline", pipeline)
    return np.asarray(array[...])


@pytest.mark.parametrize("name", zarr_runs())
def test_pixels_are_where_loops_put_them(tmp_path: Path, name: str) -> None:
    plan, number, missing = zarr_runs()[name]
    plan = ow.compile(evolve(plan.settings, compression=CODECS[number % 4]))
    frames = [None if n in missing else frame_pixels(n, (6, 5), "uint16") for n in range(number)]
    outcome = run_through(DirectWriter(), tmp_path / "a", plan, frames)
    assert (outcome.cursor, outcome.missing.tolist()) == (number, sorted(missing))
    for array, wanted in expected_arrays(plan.settings, frames).items():
        path = plan.layout.arrays[array].path
        assert np.array_equal(found_by("tensorstore", tmp_path / "a", path), wanted)
        assert np.array_equal(found_by("zarr", tmp_path / "a", path), wanted)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cut", CUTS)
def test_all_readers_find_each_block_once_it_is_stored(tmp_path: Path, cut: str, codec: str) -> None:
    plan = zarr_plan({"t": 7, "c": 3, "y": 21, "x": 18}, chunks=CUTS[cut][0], shards=CUTS[cut][1], compression=codec)
    writer, data = opened(tmp_path / "a", plan), random_pixels((7, 3, 21, 18))
    wanted = np.zeros_like(data)
    for number, block in enumerate(chunks_of(plan, data)):
        writer.write([block])
        place = tuple(slice(first, first + size) for first, size in zip(block.start, block.data.shape, strict=False))
        wanted[place] = data[place]
        if number % 5 == 0:
            assert np.array_equal(writer.read(0, (slice(None),) * 4), wanted)
            for reader in ("tensorstore", "zarr", "zarrs"):
                assert np.array_equal(found_by(reader, tmp_path / "a"), wanted), reader
    writer.close([FINAL])
    for reader in ("tensorstore", "zarr", "zarrs"):
        assert np.array_equal(found_by(reader, tmp_path / "a"), data), reader
    assert zarr.open_group(tmp_path / "a", mode="r").attrs["said"] == "complete"


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64", "complex64"],
)
@pytest.mark.parametrize("codec", ["blosc-lz4", "zstd"])
def test_every_dtype(tmp_path: Path, dtype: str, codec: str) -> None:
    plan = zarr_plan({"t": 3, "y": 5, "x": 6}, chunks={"t": 2, "x": 4}, shards={"t": 1}, dtype=dtype, compression=codec)
    writer, data = opened(tmp_path / "a", plan), random_pixels((3, 5, 6), dtype)
    writer.write(list(map(copied, chunks_of(plan, data))))
    seen = writer.read(0, (slice(None),) * 3)
    writer.close([])
    for read in (seen, found_by("tensorstore", tmp_path / "a"), found_by("zarr", tmp_path / "a")):
        assert read.dtype == dtype
        assert np.array_equal(read, data)


def copied(block: ow.Block) -> ow.Block:
    return block._replace(data=block.data.copy())


@pytest.mark.parametrize("cut", CUTS)
def test_any_part_can_be_read_while_it_is_written(tmp_path: Path, cut: str) -> None:
    plan = zarr_plan({"t": 7, "c": 3, "y": 21, "x": 18}, chunks=CUTS[cut][0], shards=CUTS[cut][1], compression="zstd")
    writer, data = opened(tmp_path / "a", plan), random_pixels((7, 3, 21, 18))
    blocks = list(map(copied, chunks_of(plan, data)))
    writer.write(blocks[: len(blocks) // 2])
    seen = np.zeros_like(data)
    for block in blocks[: len(blocks) // 2]:
        place = tuple(slice(first, first + size) for first, size in zip(block.start, block.data.shape, strict=False))
        seen[place] = block.data
    for where in [(6, 2, 20, 17), (slice(3, 7), -1, slice(5, 17), slice(0, 9)), (5, slice(None), 8, slice(2, 2))]:
        assert np.array_equal(writer.read(0, where), seen[where])
    with pytest.raises(IndexError):
        writer.read(0, (7, 0, 0, 0))
    writer.abort()


@pytest.mark.parametrize("cut", CUTS)
def test_a_block_that_comes_again_replaces_the_first(tmp_path: Path, cut: str) -> None:
    plan = zarr_plan({"t": 7, "c": 3, "y": 21, "x": 18}, chunks=CUTS[cut][0], shards=CUTS[cut][1], compression="gzip")
    writer, data = opened(tmp_path / "a", plan), random_pixels((7, 3, 21, 18))
    for block in map(copied, chunks_of(plan, data)):
        writer.write([block._replace(data=block.data + round_) for round_ in (5, 3, 1)])
    writer.close([])
    assert np.array_equal(found_by("zarr", tmp_path / "a"), data + 1)


def test_where_no_call_writes_at_a_place_threads_do_not_mix_up_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placed, "POSITIONED", False)
    plan = zarr_plan({"t": 60, "y": 64, "x": 48}, chunks={"y": 16}, shards={"t": 20, "y": 4}, compression="blosc-lz4")
    writer, data = opened(tmp_path / "a", plan, threads=4), random_pixels((60, 64, 48))
    writer.write(list(map(copied, chunks_of(plan, data))))
    assert np.array_equal(writer.read(0, (slice(None),) * 3), data)
    writer.close([])
    assert np.array_equal(found_by("tensorstore", tmp_path / "a"), data)


def test_pixels_may_be_in_another_order_of_bytes_where_the_machine_is(tmp_path: Path) -> None:
    plan = zarr_plan({"t": 1, "y": 8, "x": 8}, compression="blosc-lz4")
    writer, data = opened(tmp_path / "a", plan), random_pixels((1, 8, 8))
    writer.write([ow.Block((0,), 0, (0,), data.astype(">u2"))])
    writer.close([])
    assert np.array_equal(found_by("zarr", tmp_path / "a"), data)


@pytest.mark.parametrize(("start", "frames"), [(1, 3), (0, 2), (3, 2), (0, 6)])
def test_a_block_that_is_no_chunk_is_refused(tmp_path: Path, start: int, frames: int) -> None:
    plan = zarr_plan({"t": 7, "y": 4, "x": 4}, chunks={"t": 3}, shards={"t": 2}, compression="zstd")
    writer = opened(tmp_path / "a", plan)
    with pytest.raises(ValueError, match=r"not whole|one chunk along"):
        writer.write([ow.Block((0,), 0, (start,), np.ones((frames, 4, 4), "uint16"))])
    writer.write([ow.Block((6,), 0, (6,), np.ones((1, 4, 4), "uint16"))])
    writer.close([])
    assert found_by("zarr", tmp_path / "a").sum() == 16


# ── shapes, and going on ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shards", [{}, {"t": 2, "y": 3}])
def test_files_beyond_a_smaller_shape_go_and_may_come_again(tmp_path: Path, shards: Any) -> None:
    plan = zarr_plan({"t": 9, "c": 2, "y": 6, "x": 5}, chunks={"y": 2}, shards=shards, compression="zstd")
    writer, data = opened(tmp_path / "a", plan), random_pixels((9, 2, 6, 5))
    writer.write(list(map(copied, chunks_of(plan, data))))
    writer.flush()
    before = files_below(tmp_path / "a").keys()
    writer.resize(0, (4, 1, 6, 5))
    after = files_below(tmp_path / "a").keys()
    kept = set(range(2 if shards else 4))
    within = {key for key in before if "/c/" not in key or (int(key[4:].split("/")[0]) in kept and key[6:8] == "0/")}
    assert after == within < before
    assert np.array_equal(found_by("tensorstore", tmp_path / "a"), data[:4, :1])
    writer.resize(0, (9, 2, 6, 5))
    for block in chunks_of(plan, data):
        if block.start != (3, 0):
            writer.write([block])
    writer.close([])
    assert np.array_equal(found_by("zarr", tmp_path / "a"), data)


@pytest.mark.parametrize("cut", CUTS)
def test_another_process_may_go_on(tmp_path: Path, cut: str) -> None:
    plan = zarr_plan({"t": 7, "c": 3, "y": 21, "x": 18}, chunks=CUTS[cut][0], shards=CUTS[cut][1], compression="zstd")
    data = random_pixels((7, 3, 21, 18))
    blocks = list(map(copied, chunks_of(plan, data)))
    writer = opened(tmp_path / "a", plan)
    writer.write(blocks[::2])
    writer.abort()
    for block in blocks[1::2]:
        more = EncodedZarr()
        more.open(str(tmp_path / "a"), plan, [GROUP], attach=True)
        more.write([block])
        more.close([FINAL])
    assert np.array_equal(found_by("zarr", tmp_path / "a"), data)


def test_only_what_is_stored_as_planned_is_gone_on_with(tmp_path: Path) -> None:
    plan = zarr_plan({"t": 4, "y": 4, "x": 4}, shards={"t": 2}, compression="zstd")
    with pytest.raises(FileNotFoundError, match="no array '0'"):
        EncodedZarr().open(str(tmp_path / "a"), plan, [], attach=True)
    opened(tmp_path / "a", zarr_plan({"t": 4, "y": 4, "x": 4}, shards={"t": 2}, compression="gzip")).close([])
    with pytest.raises(ValueError, match="another codecs than planned"):
        EncodedZarr().open(str(tmp_path / "a"), plan, [], attach=True)
    with pytest.raises(FileExistsError):
        EncodedZarr().open(str(tmp_path / "a"), plan, [])


def test_a_shard_that_a_dying_machine_left_empty_is_made_anew(tmp_path: Path) -> None:
    plan = zarr_plan({"t": 4, "y": 4, "x": 4}, shards={"t": 2}, compression="zstd")
    opened(tmp_path / "a", plan).close([])
    shard = tmp_path / "a" / "0" / "c" / "1" / "0" / "0"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"\xff" * 16)
    writer = EncodedZarr()
    writer.open(str(tmp_path / "a"), plan, [], attach=True)
    writer.write([ow.Block((3,), 0, (3,), np.ones((1, 4, 4), "uint16"))])
    writer.close([])
    assert found_by("tensorstore", tmp_path / "a").sum(axis=(1, 2)).tolist() == [0, 0, 0, 16]


def test_a_codec_that_is_not_installed_is_said_before_anything_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ow.PlanError, match=r"compression: zstd needs .*'numcodecs'.*ome-writers\[numcodecs\]"):
        opened(tmp_path / "a", zarr_plan({"t": 4, "y": 4, "x": 4}, compression="zstd"))
    assert not (tmp_path / "a").exists()
    opened(tmp_path / "a", zarr_plan({"t": 4, "y": 4, "x": 4}, compression="gzip")).close([])


def test_plain_arrays_are_for_others(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not compressed"):
        opened(tmp_path / "a", zarr_plan({"t": 4, "y": 4, "x": 4}))


def where_the_index_is(root: Path) -> tuple[str, list[str]]:
    said = zarr.open_array(root / "0", mode="r").metadata.to_dict()["codecs"][0]["configuration"]
    return said["index_location"], [codec["name"] for codec in said["index_codecs"]]


def test_an_index_is_at_the_start_while_shards_grow_and_at_the_end_when_they_are_whole(tmp_path: Path) -> None:
    plan = zarr_plan({"t": 6, "y": 16, "x": 16}, shards={"t": 2}, compression="zstd")
    data = random_pixels((6, 16, 16))
    blocks = [ow.Block((t,), 0, (t,), data[t : t + 1]) for t in range(6)]
    writer = opened(tmp_path / "a", plan)
    for some in (blocks[:3], blocks[3:]):
        writer.write(some)
        writer.flush()
        assert where_the_index_is(tmp_path / "a") == ("start", ["bytes"])
        came = some[-1].start[0] + 1
        for reader in ("zarr", "tensorstore", "zarrs"):
            assert np.array_equal(found_by(reader, tmp_path / "a")[:came], data[:came])
        writer.close([FINAL])
        assert where_the_index_is(tmp_path / "a") == ("end", ["bytes", "crc32c"])
        for reader in ("zarr", "tensorstore", "zarrs"):
            assert np.array_equal(found_by(reader, tmp_path / "a")[:came], data[:came])
        writer = EncodedZarr()
        writer.open(str(tmp_path / "a"), plan, [GROUP], attach=True)
        assert where_the_index_is(tmp_path / "a")[0] == "end", "nothing new has come yet"
    writer.close([FINAL])
