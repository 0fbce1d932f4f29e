"""Compressed Zarr when something goes wrong: a process that is killed, a disk that is full, a disk that is slow."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from attrs import evolve
from hypothesis import strategies as st
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.testing import check_writer, read_zarr
from ome_writers.testing.runs import random_pixels, zarr_plan
from ome_writers.testing.strategies import settings
from ome_writers.writers import shardlog
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.encoded import EncodedZarr
from ome_writers.writers.shardlog import ShardLog

FRAMES = """
import sys
import numpy as np
import ome_writers as ow
from ome_writers.testing.runs import zarr_plan
from ome_writers.writers.encoded import EncodedZarr

def frame(number):
    return np.random.default_rng(number).integers(1, 4000, (256, 320), "uint16")[None]

def started(root, shards):
    plan = zarr_plan({"t": 400, "y": 256, "x": 320}, chunks={"y": 128}, shards=shards, compression="blosc-lz4")
    writer = EncodedZarr()
    writer.open(root, plan, [])
    return writer
"""


def frame(number: int) -> NDArray[Any]:
    return np.random.default_rng(number).integers(1, 4000, (256, 320), "uint16")


def script(text: str) -> list[str]:
    return [sys.executable, "-c", FRAMES + textwrap.dedent(text)]


def read_by_both(root: Path) -> NDArray[Any]:
    one = np.asarray(zarr.open_array(root / "0", mode="r")[...])
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/0/"}}
    assert np.array_equal(one, np.asarray(ts.open(spec).result().read().result()))
    return one


@pytest.mark.parametrize("shards", [{"t": 10, "y": 2}, None])
@pytest.mark.parametrize("flushed", [7, 23])
def test_a_killed_process_leaves_all_that_was_stored_and_nothing_torn(
    tmp_path: Path, shards: Any, flushed: int
) -> None:
    program = script(f"""
        writer = started({str(tmp_path / "a")!r}, {shards!r})
        for number in range(400):
            writer.write([ow.Block((number,), 0, (number,), frame(number))])
            if number + 1 == {flushed}:
                writer.flush()
                print("flushed", flush=True)
        writer.flush()
        print("too late", flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flushed\n"
        process.kill()
        assert process.stdout.read() == ""
    found = read_by_both(tmp_path / "a")
    for number in range(flushed):
        assert np.array_equal(found[number], frame(number))
    for number in range(flushed, 400):
        for chunk, wanted in zip(np.split(found[number], 2), np.split(frame(number), 2), strict=True):
            assert np.array_equal(chunk, wanted) or not chunk.any()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
@pytest.mark.parametrize("in_flight_bytes", [0, 2**28])
def test_a_full_disk_is_said_and_leaves_what_was_stored(tmp_path: Path, in_flight_bytes: int) -> None:
    program = script(f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        sizes = {{"t": 30, "y": 256, "x": 320}}
        plan = zarr_plan(sizes, chunks={{"y": 128}}, shards={{"t": 15, "y": 2}}, compression="zstd")
        writer = EncodedZarr(in_flight_bytes={in_flight_bytes})
        writer.open({str(tmp_path / "a")!r}, plan, [])
        told = None
        try:
            for number in range(30):
                writer.write([ow.Block((number,), 0, (number,), frame(number))])
            writer.flush()
        except OSError as error:
            told = error
        print(number, type(told).__name__, getattr(told, "frame", None), writer.lost, told)
        writer.close([ow.Document("", "group", {{"said": "failed"}})])
    """)
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    found = read_by_both(tmp_path / "a")
    there = {number for number in range(30) if np.array_equal(found[number], frame(number))}
    torn = {number for number in range(30) if found[number].any()} - there
    assert len(there) >= 3
    assert len(there) < 30
    assert "File too large" in done.stdout
    last, kind, first, lost = re.match(r"(\d+) (\w+) (\w+) \[(.*?)\]", done.stdout).groups()  # type: ignore[union-attr]
    if in_flight_bytes:
        assert kind == "WriteError"
        lost_frames = {int(number) for number in lost.split(",")}
        assert int(first) in lost_frames
        # The caller may have been told before it handed over all.
        assert lost_frames >= set(range(int(last))) - there
        assert not lost_frames & there
    else:
        assert (kind, there) == ("OSError", set(range(int(last))))
    assert torn <= set(range(int(last) + 1)) - there
    assert zarr.open_group(tmp_path / "a", mode="r").attrs["said"] == "failed"


def test_an_entry_that_cannot_be_written_leaves_the_chunk_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, path, put = ShardLog(tmp_path), str(tmp_path / "c" / "0"), shardlog.put

    def full(file: int, data: bytes, offset: int) -> None:
        if offset < 64:
            raise OSError(28, "No space left on device")
        put(file, data, offset)

    shards.append(path, 4, [1], [b"before"])
    monkeypatch.setattr(shardlog, "put", full)
    with pytest.raises(OSError, match="No space"):
        shards.append(path, 4, [1, 2], [b"after", b"it"])
    monkeypatch.setattr(shardlog, "put", put)
    assert [shards.read(path, 4, place) for place in range(4)] == [None, b"before", None, None]
    shards.append(path, 4, [0, 2, 3], [b"a", b"bb", b"ccc"])
    assert [shards.read(path, 4, place) for place in range(4)] == [b"a", b"before", b"bb", b"ccc"]
    shards.close()


def test_an_error_of_a_thread_names_its_frame_at_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = zarr_plan({"t": 9, "y": 256, "x": 320}, shards={"t": 9}, compression="blosc-lz4")
    failed = threading.Event()

    def full(*_: Any) -> None:
        failed.set()
        raise OSError(28, "No space left on device")

    writer, block = EncodedZarr(), np.ones((1, 256, 320), "uint16")
    writer.open(str(tmp_path / "a"), plan, [])
    monkeypatch.setattr(ShardLog, "append", full)
    writer.write([ow.Block((4,), 0, (4,), block)])
    assert failed.wait(30)
    with pytest.raises(ow.WriteError, match=r"frame 4 \(array '0' t=4\): .*No space left") as raised:
        writer.flush()
    assert (raised.value.frame, writer.lost) == (4, [4])
    writer.close([ow.Document("", "group", {"said": "failed"})])
    assert zarr.open_group(tmp_path / "a", mode="r").attrs["said"] == "failed"


def test_while_threads_are_behind_the_caller_stores_and_no_more_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = zarr_plan({"t": 40, "y": 256, "x": 320}, shards={"t": 10}, compression="blosc-lz4")
    data, nbytes = random_pixels((40, 256, 320)), 2 * 256 * 320
    writer = EncodedZarr(in_flight_bytes=4 * nbytes + 1, threads=2)
    writer.open(str(tmp_path / "a"), plan, [])
    may_go_on, append, by_caller = threading.Event(), ShardLog.append, []

    def slow(shards: ShardLog, path: str, *what: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            by_caller.append(path)
        else:
            assert may_go_on.wait(60)
        append(shards, path, *what)

    monkeypatch.setattr(ShardLog, "append", slow)
    for number in range(20):
        writer.write([ow.Block((number,), 0, (number,), data[number : number + 1])])
        assert writer.in_flight.held_bytes == min(number + 1, 4) * nbytes
    assert len(by_caller) == 16
    may_go_on.set()
    for number in range(20, 40):
        writer.write([ow.Block((number,), 0, (number,), data[number : number + 1])])
        assert writer.in_flight.held_bytes <= 4 * nbytes
    assert np.array_equal(writer.read(0, (slice(None),) * 3), data)
    writer.close([])
    assert np.array_equal(read_by_both(tmp_path / "a"), data)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists the open files of a process")
def test_few_files_are_open_at_once(tmp_path: Path) -> None:
    plan = zarr_plan({"t": 200, "c": 2, "y": 8, "x": 8}, chunks={"y": 4}, shards={"c": 2}, compression="zstd")
    writer, data = EncodedZarr(), random_pixels((200, 2, 8, 8))
    writer.open(str(tmp_path / "a"), plan, [])
    for channel in range(2):
        for time in range(200):
            block = data[time : time + 1, channel : channel + 1]
            writer.write([ow.Block((2 * time + channel,), 0, (time, channel), block)])
    links = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    assert 0 < sum(link.is_relative_to(tmp_path) for link in links) <= 64
    writer.close([])
    assert np.array_equal(read_by_both(tmp_path / "a"), data)


def compressed() -> st.SearchStrategy[ow.AcquisitionSettings]:
    return st.builds(
        lambda drawn, codec: evolve(drawn, compression=drawn.compression or codec),
        settings(formats=["ome-zarr"]),
        st.sampled_from(["blosc-zstd", "blosc-lz4", "zstd", "gzip"]),
    )


def test_it_keeps_the_rules_of_the_protocol() -> None:
    check_writer(DirectWriter, read_zarr, settings=compressed(), examples=10)
