"""The writers over zarr-python, driven directly and by runs; what they wrote is read with tensorstore."""

from __future__ import annotations

import shutil
import sys
import threading
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
import zarrs
from attrs import evolve
from numpy.typing import NDArray
from zarr.core.codec_pipeline import BatchedCodecPipeline

import ome_writers as ow
from ome_writers.testing import expected_arrays, frame_pixels
from ome_writers.testing.runs import files_below as files
from ome_writers.testing.runs import random_pixels as pixels
from ome_writers.testing.runs import run_through, zarr_runs
from ome_writers.testing.runs import whole_blocks as blocks
from ome_writers.testing.runs import zarr_plan as plan_of
from ome_writers.writer import choose_writer, unmet
from ome_writers.writers.tensorstore import TensorStoreWriter
from ome_writers.writers.zarr_python import ZarrWriter
from ome_writers.writers.zarrs_python import ZarrsWriter

GROUP = ow.Document("", "group", {"said": "running"})
FINAL = ow.Document("", "group", {"said": "complete"})
WRITERS = [ZarrWriter, ZarrsWriter]
EACH = pytest.mark.parametrize("make", WRITERS)


def opened(make: Any, root: object, plan: ow.Plan) -> Any:
    writer = make()
    writer.open(str(root), plan, [GROUP])
    return writer


def stored(root: Path, path: str = "0") -> NDArray[Any]:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/{path}/"}}
    return np.asarray(ts.open(spec).result().read().result())


def chunk_files(folder: Path) -> set[str]:
    return files(folder).keys() - {"zarr.json"}


@EACH
def test_it_is_a_writer(make: Any) -> None:
    assert isinstance(make(), ow.Writer)


@EACH
@pytest.mark.parametrize("name", zarr_runs())
def test_pixels_are_where_loops_put_them_and_documents_are_those_of_tensorstore(
    tmp_path: Path, name: str, make: Any
) -> None:
    plan, number, missing = zarr_runs()[name]
    frames = [None if n in missing else frame_pixels(n, (6, 5), "uint16") for n in range(number)]
    outcome = run_through(make(), tmp_path / "a", plan, frames)
    assert (outcome.cursor, outcome.missing.tolist()) == (number, sorted(missing))
    for array, wanted in expected_arrays(plan.settings, frames).items():
        assert np.array_equal(stored(tmp_path / "a", plan.layout.arrays[array].path), wanted)
    run_through(TensorStoreWriter(), tmp_path / "b", plan, frames)
    ours, theirs = files(tmp_path / "a"), files(tmp_path / "b")
    assert ours.keys() == theirs.keys()
    for key in ours.keys() & {key for key in ours if key.endswith((".json", ".xml"))}:
        assert ours[key].replace(make.capabilities.name.encode(), b"tensorstore") == theirs[key], key


@EACH
@pytest.mark.parametrize("codec", [None, "blosc-zstd", "blosc-lz4", "zstd", "gzip"])
@pytest.mark.parametrize(
    ("chunks", "shards"),
    [({}, {}), ({"t": 3, "c": 2, "y": 8, "x": 8}, {}), ({"y": 8, "x": 8}, {"t": 3, "y": 3, "x": 3})],
)
def test_blocks_are_read_back_as_they_were(tmp_path: Path, chunks: Any, shards: Any, codec: Any, make: Any) -> None:
    plan = plan_of({"t": 7, "c": 3, "y": 21, "x": 18}, chunks=chunks, shards=shards, compression=codec)
    writer, data = opened(make, tmp_path / "a", plan), pixels((7, 3, 21, 18))
    for block in blocks(plan, 0, data):
        writer.write([block])
    assert np.array_equal(stored(tmp_path / "a"), data)
    writer.close([FINAL])
    assert np.array_equal(zarr.open_array(tmp_path / "a" / "0", mode="r")[:], data)


@EACH
@pytest.mark.parametrize("shards", [{}, {"t": 2}], ids=["chunks", "shards"])
def test_nobody_ever_sees_half_a_file(tmp_path: Path, shards: Any, make: Any) -> None:
    plan = plan_of({"t": 16, "y": 1024, "x": 1024}, shards=shards)
    writer, data = opened(make, tmp_path / "a", plan), pixels((16, 1024, 1024))
    sizes, done = set[int](), threading.Event()

    def look() -> None:
        last = False
        while not last:
            last = done.is_set()
            sizes.update(path.stat().st_size for path in (tmp_path / "a" / "0" / "c").glob("*/0/0"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for block in blocks(plan, 0, data):
            writer.write([block])
    finally:
        done.set()
        thread.join()
    writer.close([])
    assert sizes == {path.stat().st_size for path in (tmp_path / "a" / "0" / "c").glob("*/0/0")}
    assert len(sizes) == 1
    assert not [name for name in chunk_files(tmp_path / "a" / "0") if "/." in name]


@EACH
@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64", "complex64"],
)
def test_every_dtype(tmp_path: Path, dtype: str, make: Any) -> None:
    plan = plan_of({"t": 3, "y": 5, "x": 6}, chunks={"t": 2}, dtype=dtype, compression="blosc-zstd")
    writer, data = opened(make, tmp_path / "a", plan), pixels((3, 5, 6), dtype)
    for block in blocks(plan, 0, data):
        writer.write([block])
    seen = writer.read(0, (slice(None),) * 3)
    assert np.array_equal(seen, data)
    writer.close([])
    read = stored(tmp_path / "a")
    assert read.dtype == seen.dtype == dtype
    assert np.array_equal(read, data)


@EACH
@pytest.mark.parametrize("shards", [{}, {"t": 2, "y": 2}])
def test_nothing_is_read_to_be_written_again(tmp_path: Path, shards: Any, make: Any) -> None:
    plan = plan_of({"t": 5, "y": 8, "x": 8}, chunks={"t": 2, "y": 4}, shards=shards)
    writer, data = opened(make, tmp_path / "a", plan), pixels((5, 8, 8))
    for block in blocks(plan, 0, data):
        writer.write([block])
    before = chunk_files(tmp_path / "a" / "0")
    # Whoever looks into these before they are replaced does not get far.
    for key in before:
        (tmp_path / "a" / "0" / key).write_bytes(b"no chunk")
    with pytest.raises(ValueError, match="Error"):
        stored(tmp_path / "a")
    for block in blocks(plan, 0, data + 1):
        writer.write([block])
    assert chunk_files(tmp_path / "a" / "0") == before
    assert np.array_equal(stored(tmp_path / "a"), data + 1)


@EACH
def test_a_block_that_is_not_whole_is_refused(tmp_path: Path, make: Any) -> None:
    plan = plan_of({"t": 7, "y": 4, "x": 4}, chunks={"t": 3})
    writer = opened(make, tmp_path / "a", plan)
    for start, extent in [(1, 3), (0, 2), (3, 2)]:
        with pytest.raises(ValueError, match="not whole"):
            writer.write([ow.Block((0,), 0, (start,), np.ones((extent, 4, 4), "uint16"))])
    writer.write([ow.Block((6,), 0, (6,), np.ones((1, 4, 4), "uint16"))])
    writer.close([])
    assert chunk_files(tmp_path / "a" / "0") == {"c/2/0/0"}


# ── the configuration of others ──────────────────────────────────────────────────────────────────────────────────────


@EACH
def test_the_configuration_of_zarr_is_never_set(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("zarr.config is for users")

    before = deepcopy(zarr.config.config)
    plan, data = plan_of({"t": None, "y": 8, "x": 8}, shards={"t": 2}), pixels((4, 8, 8))
    with monkeypatch.context() as patch:
        patch.setattr(type(zarr.config), "set", refuse)
        with pytest.raises(AssertionError, match="for users"):
            zarr.config.set({"array.order": "F"})
        writer = opened(make, tmp_path / "a", plan)
        writer.write([ow.Block((0,), 0, (0,), data[:2].copy())])
        writer.resize(0, (4, 8, 8))
        writer.write([ow.Block((2,), 0, (2,), data[2:].copy())])
        writer.read(0, (0, 0, slice(None)))
        writer.flush([GROUP])
        writer.resize(0, (3, 8, 8))
        writer.close([FINAL])
    assert zarr.config.config == before
    assert np.array_equal(stored(tmp_path / "a"), data[:3])


@EACH
@pytest.mark.parametrize(
    ("path", "pipeline"),
    [
        ("zarr.core.codec_pipeline.BatchedCodecPipeline", BatchedCodecPipeline),
        ("zarrs.ZarrsCodecPipeline", zarrs.ZarrsCodecPipeline),
    ],
)
def test_arrays_of_others_follow_their_own_configuration(tmp_path: Path, path: str, pipeline: type, make: Any) -> None:
    plan, data = plan_of({"t": 2, "y": 8, "x": 8}), pixels((2, 8, 8))
    empty = np.zeros((1, 8, 8), "uint16")
    with zarr.config.set({"codec_pipeline.path": path, "array.write_empty_chunks": False}):
        writer = opened(make, tmp_path / "a", plan)
        writer.write([ow.Block((0,), 0, (0,), data[:1].copy())])
        # Between two calls, somebody else makes and fills an array in the same process.
        theirs = zarr.create_array(tmp_path / "theirs", shape=(2, 8, 8), chunks=(1, 8, 8), dtype="uint16")
        assert type(theirs.async_array.codec_pipeline) is pipeline
        assert not theirs.async_array.config.write_empty_chunks
        theirs[:] = data
        writer.write([ow.Block((1,), 0, (1,), empty)])
        assert type(zarr.open_array(tmp_path / "a" / "0").async_array.codec_pipeline) is pipeline
        writer.close([])
    assert np.array_equal(stored(tmp_path, "theirs"), data)
    # zarrs stores no chunk that is black throughout, whatever it is told.
    black = set() if make is ZarrsWriter else {"c/1/0/0"}
    assert chunk_files(tmp_path / "a" / "0") == {"c/0/0/0"} | black
    assert np.array_equal(stored(tmp_path / "a"), np.concatenate([data[:1], empty]))


# ── growing, shrinking, reading ──────────────────────────────────────────────────────────────────────────────────────


@EACH
def test_growing_is_seen_by_others(tmp_path: Path, make: Any) -> None:
    plan = plan_of({"t": None, "c": 2, "y": 4, "x": 5}, chunks={"t": 3})
    writer, data = opened(make, tmp_path / "a", plan), pixels((8, 2, 4, 5))
    assert stored(tmp_path / "a").shape == (8193, 2, 4, 5), "16,384 small frames, in whole chunks"
    for t in (0, 3, 6):
        writer.resize(0, (t + 3, 2, 4, 5))
        block = np.zeros((3, 2, 4, 5), "uint16")
        block[: len(data[t : t + 3])] = data[t : t + 3]
        writer.write([ow.Block((t,), 0, (t, c), block[:, c : c + 1].copy()) for c in range(2)])
        assert stored(tmp_path / "a").shape == (t + 3, 2, 4, 5)
    writer.resize(0, (8, 2, 4, 5))
    writer.close([])
    assert np.array_equal(stored(tmp_path / "a"), data)
    assert len(chunk_files(tmp_path / "a" / "0")) == 6


@EACH
@pytest.mark.parametrize("attach", [False, True])
def test_shrinking_deletes_what_lies_beyond(tmp_path: Path, make: Any, *, attach: bool) -> None:
    plan = plan_of({"t": 5, "c": 4, "y": 4, "x": 5}, chunks={"t": 2, "y": 2})
    writer, data = opened(make, tmp_path / "a", plan), pixels((5, 4, 4, 5))
    for block in blocks(plan, 0, data):
        writer.write([block])
    if attach:
        writer.close([])
        (tmp_path / "a" / "0" / "c" / "2" / "0" / "0" / "0.7f.partial").write_bytes(b"left by a process that died")
        writer = make()
        writer.open(str(tmp_path / "a"), plan, [], attach=True)
    writer.resize(0, (3, 3, 4, 5))
    assert chunk_files(tmp_path / "a" / "0") == {f"c/{t}/{c}/{y}/0" for t in range(2) for c in range(3) for y in (0, 1)}
    writer.resize(0, (8, 4, 4, 5))
    seen = writer.read(0, (slice(None), slice(None), 0, 0))
    # Of the chunk that the edge cut (t = 2, 3) what lay beyond is only hidden; chunks beyond it are gone.
    assert np.array_equal(seen[:3, :3], data[:3, :3, 0, 0])
    assert not seen[:, 3].any()
    assert not seen[4:].any()
    writer.close([])
    assert stored(tmp_path / "a").shape == (8, 4, 4, 5)


@EACH
def test_reading_sees_what_was_written_just_now(tmp_path: Path, make: Any) -> None:
    plan = plan_of({"t": 4, "p": 2, "y": 6, "x": 5}, chunks={"y": 4}, shards={"t": 2})
    writer, data = opened(make, tmp_path / "a", plan), pixels((2, 4, 6, 5))
    assert not writer.read(1, (slice(None),) * 3).any()
    for array in (0, 1):
        for block in blocks(plan, array, data[array]):
            writer.write([block])
            t = block.start[0]
            assert np.array_equal(writer.read(array, (t, slice(1, None), slice(-2, None))), data[array, t, 1:, -2:])
    assert writer.read(1, (-1, -1, -1)) == data[1, -1, -1, -1]
    with pytest.raises(IndexError):
        writer.read(0, (4, 0, 0))
    writer.close([])


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


@EACH
def test_an_error_is_raised_at_once_and_told_in_the_documents(tmp_path: Path, make: Any) -> None:
    plan = plan_of({"t": 4, "y": 8, "x": 8})
    root = str(tmp_path / "a.zarr")
    stream = ow.create_stream(evolve(plan.settings, root_path=root, dtype="uint8"), make())
    stream.append(np.ones((8, 8), "uint8"))
    (tmp_path / "a.zarr" / "0" / "c" / "1").write_text("in the way")
    with pytest.raises(ow.WriteError, match=r"^frame 1 \(t=1\)") as caught:
        stream.append(np.ones((8, 8), "uint8"))
    assert caught.value.frame == 1
    assert caught.value.__cause__ is not None
    with pytest.raises(ow.WriteError):
        stream.close()
    assert '"verdict": "failed"' in (tmp_path / "a.zarr" / "zarr.json").read_text("utf-8")
    assert stored(tmp_path / "a.zarr")[0].tolist() == [[1] * 8] * 8


@EACH
def test_aborting_never_raises(tmp_path: Path, make: Any) -> None:
    make().abort()
    writer = opened(make, tmp_path / "a", plan_of({"t": 9, "y": 8, "x": 8}))
    writer.write([ow.Block((0,), 0, (0,), np.ones((1, 8, 8), "uint16"))])
    shutil.rmtree(tmp_path / "a")
    writer.abort()
    writer.abort()


@EACH
def test_what_stands_at_the_root_is_left_alone(tmp_path: Path, make: Any) -> None:
    plan = plan_of({"t": 2, "y": 8, "x": 8})
    (tmp_path / "a").mkdir()
    opened(make, tmp_path / "a", plan).close([])
    stood = files(tmp_path)
    with pytest.raises(FileExistsError, match="a exists"):
        opened(make, tmp_path / "a", plan)
    (tmp_path / "file").write_text("mine")
    for root in ("file", "file/below"):
        with pytest.raises((FileExistsError, NotADirectoryError)):
            opened(make, tmp_path / root, plan)
    assert files(tmp_path) == stood | {"file": b"mine"}


@EACH
def test_attaching_creates_nothing_and_goes_on(tmp_path: Path, make: Any) -> None:
    plan = plan_of({"t": None, "y": 8, "x": 8}, chunks={"t": 2})
    first, data = opened(make, tmp_path / "a", plan), pixels((4, 8, 8))
    first.write([ow.Block((0,), 0, (0,), data[:2].copy())])
    first.abort()
    stood = files(tmp_path)
    second = make()
    second.open(str(tmp_path / "a"), plan, [FINAL], attach=True)
    assert files(tmp_path) == stood
    second.resize(0, (4, 8, 8))
    second.write([ow.Block((2,), 0, (2,), data[2:].copy())])
    second.flush([FINAL], durable=True)
    assert dict(zarr.open_group(tmp_path / "a", mode="r").attrs) == {"said": "complete"}
    second.close([FINAL])
    assert np.array_equal(stored(tmp_path / "a"), data)
    with pytest.raises(FileNotFoundError, match="no array '0'"):
        make().open(str(tmp_path / "b"), plan, [], attach=True)


# ── roots that are URLs ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_url_is_a_root_too() -> None:
    plan = plan_of({"t": 3, "p": 2, "y": 8, "x": 8}, shards={"t": 2})
    writer, data = opened(ZarrWriter, "memory://bucket/a.zarr", plan), pixels((2, 3, 8, 8))
    for array in (0, 1):
        for block in blocks(plan, array, data[array]):
            writer.write([block])
    writer.resize(1, (2, 8, 8))
    writer.flush(durable=True)
    writer.close([FINAL])
    assert dict(zarr.open_group("memory://bucket/a.zarr", mode="r").attrs) == {"said": "complete"}
    assert np.array_equal(zarr.open_array("memory://bucket/a.zarr/0/0", mode="r")[:], data[0])
    shrunk = zarr.open_array("memory://bucket/a.zarr/1/0", mode="r")
    assert (shrunk.shape, shrunk.nchunks_initialized) == ((2, 8, 8), 2)
    with pytest.raises(FileExistsError, match=r"memory://bucket/a\.zarr exists"):
        opened(ZarrWriter, "memory://bucket/a.zarr", plan)


def test_a_url_needs_the_library_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ow.PlanError, match="fsspec"):
        opened(ZarrWriter, "memory://bucket/b.zarr", plan_of({"t": 2, "y": 8, "x": 8}))


def test_zarrs_says_that_it_cannot_write_to_a_url() -> None:
    plan = plan_of({"t": 2, "y": 8, "x": 8})
    far = ow.compile(evolve(plan.settings, root_path="s3://b/a.zarr"))
    assert [str(problem) for problem in unmet(far, ZarrsWriter.capabilities)] == [
        "root_path: zarrs-python writes to a local path; got 's3://b/a.zarr'"
    ]
    assert unmet(far, ZarrWriter.capabilities) == unmet(plan, ZarrsWriter.capabilities) == ()


@pytest.mark.parametrize(("backend", "make"), [("zarr-python", ZarrWriter), ("zarrs-python", ZarrsWriter)])
def test_it_can_be_had_by_name(backend: str, make: Any) -> None:
    assert type(choose_writer(plan_of({"t": 2, "y": 8, "x": 8}, format=backend))) is make
