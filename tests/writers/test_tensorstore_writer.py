"""The tensorstore writer, driven directly; what it wrote is read with zarr-python and with plain tensorstore."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr

import ome_writers as ow
from ome_writers.testing.runs import random_pixels as pixels
from ome_writers.testing.runs import whole_blocks as blocks
from ome_writers.testing.runs import zarr_plan as plan_of
from ome_writers.writers.tensorstore import TensorStoreWriter

GROUP = ow.Document("", "group", {"said": "running"})
FINAL = ow.Document("", "group", {"said": "complete"})


def opened(root: object, plan: ow.Plan, **options: Any) -> TensorStoreWriter:
    writer = TensorStoreWriter(**options)
    writer.open(str(root), plan, [GROUP])
    return writer


def chunk_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"zarr.json"}


def file_metric(name: str) -> int:
    found = ts.experimental_collect_matching_metrics(f"/tensorstore/kvstore/file/{name}")
    return sum(value["value"] for metric in found if metric["name"].endswith(f"/{name}") for value in metric["values"])


def test_it_is_a_writer() -> None:
    assert isinstance(TensorStoreWriter(), ow.Writer)


def test_every_group_and_array_stands_once_it_is_open(tmp_path: Path) -> None:
    plan = plan_of({"t": 3, "p": 40, "y": 4, "x": 5})
    writer = opened(tmp_path / "new" / "a.zarr", plan)
    for spec in plan.layout.arrays:
        assert zarr.open_array(tmp_path / "new" / "a.zarr" / spec.path, mode="r").shape == (3, 4, 5)
    assert dict(zarr.open_group(tmp_path / "new" / "a.zarr", mode="r").attrs) == {"said": "running"}
    writer.close([FINAL, ow.Document("OME/METADATA.ome.xml", "xml", "<µ/>")])
    assert dict(zarr.open_group(tmp_path / "new" / "a.zarr", mode="r").attrs) == {"said": "complete"}
    assert (tmp_path / "new" / "a.zarr" / "OME" / "METADATA.ome.xml").read_text("utf-8") == "<µ/>"


@pytest.mark.parametrize("codec", [None, "blosc-zstd", "blosc-lz4", "zstd", "gzip"])
@pytest.mark.parametrize(
    ("chunks", "shards"),
    [
        ({}, {}),
        ({"t": 3, "c": 2, "y": 8, "x": 8}, {}),
        ({"t": 2, "y": 16}, {"t": 2, "c": 3}),
        ({"y": 8, "x": 8}, {"t": 3, "y": 3, "x": 3}),
    ],
)
def test_blocks_are_read_back_as_they_were(tmp_path: Path, chunks: Any, shards: Any, codec: str | None) -> None:
    plan = plan_of({"t": 7, "c": 3, "y": 21, "x": 18}, chunks=chunks, shards=shards, compression=codec)
    writer, data = opened(tmp_path / "a", plan), pixels((7, 3, 21, 18))
    before = {name: file_metric(name) for name in ("read", "write")}
    for block in blocks(plan, 0, data):
        writer.write([block])
    writer.flush()
    stored = len(chunk_files(tmp_path / "a" / "0"))
    assert file_metric("write") - before["write"] == stored, "each chunk (or shard) is written once"
    assert file_metric("read") == before["read"], "nothing is read to be written again"
    writer.close([FINAL])
    assert np.array_equal(zarr.open_array(tmp_path / "a" / "0", mode="r")[:], data)
    other = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/a/0/"}}).result()
    assert np.array_equal(other.read().result(), data)


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64", "complex64"],
)
def test_every_dtype(tmp_path: Path, dtype: str) -> None:
    plan = plan_of({"t": 3, "y": 5, "x": 6}, chunks={"t": 2}, dtype=dtype, compression="blosc-zstd")
    writer, data = opened(tmp_path / "a", plan), pixels((3, 5, 6), dtype)
    for block in blocks(plan, 0, data):
        writer.write([block])
    writer.close([])
    read = zarr.open_array(tmp_path / "a" / "0", mode="r")[:]
    assert read.dtype == dtype
    assert np.array_equal(read, data)


def test_a_block_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    plan = plan_of({"t": 7, "y": 4, "x": 4}, chunks={"t": 3})
    writer = opened(tmp_path / "a", plan)
    for start, extent in [(1, 3), (0, 2), (3, 2)]:
        with pytest.raises(ValueError, match="not whole"):
            writer.write([ow.Block((0,), 0, (start,), np.ones((extent, 4, 4), "uint16"))])
    writer.write([ow.Block((6,), 0, (6,), np.ones((1, 4, 4), "uint16"))])
    writer.close([])
    assert chunk_files(tmp_path / "a" / "0") == {"c/2/0/0"}


def test_bytes_on_their_way_stay_within_the_limit(tmp_path: Path) -> None:
    plan = plan_of({"t": 50, "y": 64, "x": 64}, chunks={"y": 16, "x": 16})
    frame = 64 * 64 * 2
    writer, data = opened(tmp_path / "a", plan, in_flight_bytes=3 * frame), pixels((50, 64, 64))
    assert writer.capabilities.in_flight_bytes == 3 * frame
    for block in blocks(plan, 0, data):
        writer.write([block])
        assert frame <= writer.in_flight.held_bytes <= 3 * frame
    writer.flush()
    assert writer.in_flight.held_bytes == 0
    writer.close([])
    assert np.array_equal(zarr.open_array(tmp_path / "a" / "0", mode="r")[:], data)


def test_a_block_beyond_the_limit_goes_alone(tmp_path: Path) -> None:
    plan = plan_of({"t": 3, "y": 8, "x": 8})
    writer, data = opened(tmp_path / "a", plan, in_flight_bytes=1), pixels((3, 8, 8))
    for block in blocks(plan, 0, data):
        writer.write([block])
        assert writer.in_flight.held_bytes == 128
    writer.close([])
    assert np.array_equal(zarr.open_array(tmp_path / "a" / "0", mode="r")[:], data)


def test_growing_is_seen_by_others(tmp_path: Path) -> None:
    plan = plan_of({"t": None, "c": 2, "y": 4, "x": 5}, chunks={"t": 3})
    writer, data = opened(tmp_path / "a", plan), pixels((8, 2, 4, 5))
    assert zarr.open_array(tmp_path / "a" / "0", mode="r").shape == (8193, 2, 4, 5), (
        "16,384 small frames, in whole chunks"
    )
    for t in (0, 3, 6):
        writer.resize(0, (t + 2, 2, 4, 5))
        writer.resize(0, (t + 3, 2, 4, 5))
        whole = np.zeros((3, 2, 4, 5), "uint16")
        whole[: len(data[t : t + 3])] = data[t : t + 3]
        writer.write([ow.Block((t,), 0, (t, c), whole[:, c : c + 1].copy()) for c in range(2)])
        writer.flush()
        assert zarr.open_array(tmp_path / "a" / "0", mode="r").shape == (t + 3, 2, 4, 5)
    writer.resize(0, (8, 2, 4, 5))
    writer.close([])
    read = zarr.open_array(tmp_path / "a" / "0", mode="r")
    assert read.shape == (8, 2, 4, 5)
    assert read.metadata.dimension_names == ("t", "c", "y", "x")
    assert np.array_equal(read[:], data)
    assert len(chunk_files(tmp_path / "a" / "0")) == 6


@pytest.mark.parametrize("attach", [False, True])
def test_shrinking_deletes_what_lies_beyond(tmp_path: Path, *, attach: bool) -> None:
    plan = plan_of({"t": 5, "c": 4, "y": 4, "x": 5}, chunks={"t": 2, "y": 2})
    writer, data = opened(tmp_path / "a", plan), pixels((5, 4, 4, 5))
    for block in blocks(plan, 0, data):
        writer.write([block])
    if attach:
        writer.close([])
        writer = TensorStoreWriter()
        writer.open(str(tmp_path / "a"), plan, [], attach=True)
    writer.resize(0, (3, 3, 4, 5))
    writer.flush()
    expected = {f"c/{t}/{c}/{y}/0" for t in range(2) for c in range(3) for y in range(2)}
    assert chunk_files(tmp_path / "a" / "0") == expected
    writer.resize(0, (8, 4, 4, 5))
    seen = writer.read(0, (slice(None), slice(None), 0, 0))
    # Of the chunk that the edge cut (t = 2, 3) what lay beyond is only hidden; chunks beyond it are gone.
    assert np.array_equal(seen[:3, :3], data[:3, :3, 0, 0])
    assert not seen[:, 3].any()
    assert not seen[4:].any()
    writer.close([])
    assert zarr.open_array(tmp_path / "a" / "0", mode="r").shape == (8, 4, 4, 5)


def test_shrinking_an_array_that_nothing_reached_costs_no_search(tmp_path: Path) -> None:
    plan = plan_of({"t": 10**6, "y": 4, "x": 4})
    writer = opened(tmp_path / "a", plan)
    before = file_metric("list")
    writer.write([ow.Block((0,), 0, (0,), np.ones((1, 4, 4), "uint16"))])
    writer.resize(0, (1, 4, 4))
    writer.close([])
    assert file_metric("list") == before
    assert zarr.open_array(tmp_path / "a" / "0", mode="r")[:].tolist() == [[[1] * 4] * 4]


def test_reading_sees_what_was_written_just_now(tmp_path: Path) -> None:
    plan = plan_of({"t": 4, "p": 2, "y": 6, "x": 5}, chunks={"y": 4}, shards={"t": 2})
    writer, data = opened(tmp_path / "a", plan), pixels((2, 4, 6, 5))
    assert not writer.read(1, (slice(None),) * 3).any()
    for array in (0, 1):
        for block in blocks(plan, array, data[array]):
            writer.write([block])
            t = block.start[0]
            assert np.array_equal(writer.read(array, (t, slice(1, None), slice(-2, None))), data[array, t, 1:, -2:])
    writer.write([ow.Block((0,), 1, (0,), data[0, :2].copy())])
    assert np.array_equal(
        writer.read(1, (slice(0, 3), 0, slice(None))), np.concatenate([data[0, :2, 0], data[1, 2:3, 0]])
    )
    assert writer.read(1, (-1, -1, -1)) == data[1, -1, -1, -1]
    with pytest.raises(IndexError):
        writer.read(0, (4, 0, 0))
    writer.close([])


def test_an_error_is_raised_at_the_next_call_and_names_the_frame(tmp_path: Path) -> None:
    plan = plan_of({"t": 9, "p": 2, "y": 8, "x": 8})
    writer = opened(tmp_path / "a", plan, in_flight_bytes=1)
    (tmp_path / "a" / "1" / "0" / "c").write_text("in the way")
    frame = np.ones((1, 8, 8), "uint16")
    writer.write([ow.Block((0,), 0, (0,), frame)])
    writer.write([ow.Block((5,), 1, (2,), frame)])
    with pytest.raises(ow.WriteError, match=r"^frame 5 \(array '1/0' t=2\): .") as caught:
        writer.write([ow.Block((6,), 0, (3,), frame)])
    assert caught.value.frame == 5
    assert caught.value.__cause__ is not None
    # It has been told; the documents that tell of it are still written, although another block fails after it.
    another: Future[None] = Future()
    another.set_exception(OSError("disk full"))
    writer.in_flight.add(another, 1, ow.Block((7,), 0, (4,), frame), plan.layout.arrays[0])
    writer.close([FINAL])
    assert dict(zarr.open_group(tmp_path / "a", mode="r").attrs) == {"said": "complete"}
    assert zarr.open_array(tmp_path / "a" / "0" / "0", mode="r")[0].tolist() == [[1] * 8] * 8


def test_closing_raises_what_failed_last_and_does_not_say_complete(tmp_path: Path) -> None:
    plan = plan_of({"t": 9, "y": 8, "x": 8})
    writer = opened(tmp_path / "a", plan)
    (tmp_path / "a" / "0" / "c").write_text("in the way")
    writer.write([ow.Block((3,), 0, (3,), np.ones((1, 8, 8), "uint16"))])
    with pytest.raises(ow.WriteError, match="frame 3"):
        writer.close([FINAL])
    assert dict(zarr.open_group(tmp_path / "a", mode="r").attrs) == {"said": "running"}
    writer.abort()


def test_aborting_never_raises(tmp_path: Path) -> None:
    TensorStoreWriter().abort()
    plan = plan_of({"t": 9, "y": 8, "x": 8})
    writer = opened(tmp_path / "a", plan)
    writer.write([ow.Block((0,), 0, (0,), np.ones((1, 8, 8), "uint16"))])
    writer.flush()
    (tmp_path / "a" / "0" / "c" / "1").write_text("in the way")
    writer.resize(0, (12, 8, 8))
    writer.write([ow.Block((1,), 0, (1,), np.ones((1, 8, 8), "uint16"))])
    writer.abort()
    writer.abort()
    assert writer.in_flight.held_bytes == 0
    assert zarr.open_array(tmp_path / "a" / "0", mode="r")[0].tolist() == [[1] * 8] * 8


def test_what_stands_at_the_root_is_left_alone(tmp_path: Path) -> None:
    plan = plan_of({"t": 2, "y": 8, "x": 8})
    (tmp_path / "a").mkdir()
    opened(tmp_path / "a", plan).close([])
    stood = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="a exists"):
        opened(tmp_path / "a", plan)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        opened(tmp_path / "file", plan)
    with pytest.raises(NotADirectoryError):
        opened(tmp_path / "file" / "below", plan)
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == stood
    assert (tmp_path / "file").read_text() == "mine"


def test_a_url_is_a_root_too(tmp_path: Path) -> None:
    context = ts.Context()
    plan = plan_of({"t": 3, "p": 2, "y": 8, "x": 8}, shards={"t": 2})
    writer, data = opened("memory://bucket/a.zarr", plan, context=context), pixels((2, 3, 8, 8))
    for array in (0, 1):
        for block in blocks(plan, array, data[array]):
            writer.write([block])
    writer.resize(1, (2, 8, 8))
    writer.flush(durable=True)
    writer.close([FINAL])
    store = ts.KvStore.open("memory://bucket/a.zarr/", context=context).result()
    assert json.loads(store["zarr.json"])["attributes"] == {"said": "complete"}
    assert sorted(key for key in store.list().result() if key.startswith(b"1/")) == [b"1/0/c/0/0/0", b"1/0/zarr.json"]
    spec = {"driver": "zarr3", "kvstore": "memory://bucket/a.zarr/0/0/"}
    assert np.array_equal(ts.open(spec, context=context).result().read().result(), data[0])
    with pytest.raises(FileExistsError, match=r"memory://bucket/a\.zarr exists"):
        opened("memory://bucket/a.zarr", plan, context=context)
    opened((tmp_path / "b").as_uri(), plan).close([])
    assert zarr.open_array(tmp_path / "b" / "1" / "0", mode="r").shape == (3, 8, 8)


def test_attaching_creates_nothing_and_goes_on(tmp_path: Path) -> None:
    plan = plan_of({"t": None, "y": 8, "x": 8}, chunks={"t": 2})
    first, data = opened(tmp_path / "a", plan), pixels((4, 8, 8))
    first.write([ow.Block((0,), 0, (0,), data[:2].copy())])
    first.abort()
    stood = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    second = TensorStoreWriter()
    second.open(str(tmp_path / "a"), plan, [FINAL], attach=True)
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == stood
    assert np.array_equal(second.read(0, (slice(2), slice(None), slice(None))), data[:2])
    second.resize(0, (4, 8, 8))
    second.write([ow.Block((2,), 0, (2,), data[2:].copy())])
    second.close([FINAL])
    assert np.array_equal(zarr.open_array(tmp_path / "a" / "0", mode="r")[:], data)


def test_attaching_to_nothing_says_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no array '0'"):
        TensorStoreWriter().open(str(tmp_path / "a"), plan_of({"t": 2, "y": 8, "x": 8}), [], attach=True)


def test_more_arrays_than_handles(tmp_path: Path) -> None:
    context = ts.Context()
    plan = plan_of({"t": 2, "p": 600, "y": 2, "x": 2})
    writer = opened("memory://many/", plan, context=context)
    for t in range(2):
        for array in range(600):
            writer.write([ow.Block((0,), array, (t,), np.full((1, 2, 2), array + t, "uint16"))])
    assert [int(writer.read(array, (1, 0, 1))) for array in (0, 300, 599)] == [1, 301, 600]
    writer.close([])
    assert not list(tmp_path.iterdir())


def test_a_durable_flush_leaves_everything_readable(tmp_path: Path) -> None:
    plan = plan_of({"t": 2, "y": 8, "x": 8})
    writer = opened(tmp_path / "a", plan)
    writer.write([ow.Block((0,), 0, (0,), np.full((1, 8, 8), 3, "uint16"))])
    writer.flush([FINAL], durable=True)
    assert zarr.open_array(tmp_path / "a" / "0", mode="r")[:, 0, 0].tolist() == [3, 0]
    assert dict(zarr.open_group(tmp_path / "a", mode="r").attrs) == {"said": "complete"}
    writer.abort()
