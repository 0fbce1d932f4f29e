"""Several threads at one stream, and readers that look at it the whole time: nothing is lost, doubled or misplaced."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import ome_writers as ow
from ome_writers import writer
from ome_writers.testing import Way, ways

STORED = [way for way in ways() if way.persistent]
ONE_EACH = pytest.mark.parametrize(
    "way", {(way.writer, way.format.name): way for way in reversed(STORED)}.values(), ids=lambda way: way.name
)
FRAMES = 60
DIMS = ow.dims_from_standard_axes({"t": FRAMES, "y": 16, "x": 16})


def started(way: Way, folder: Path, **more: Any) -> ow.Stream:
    dims = ow.dims_from_standard_axes({"t": FRAMES, "y": 16, "x": 16}, **more)
    return ow.create_stream(way.settings(folder, dims, dtype="uint16"), way.make())


def read(way: Way, stream: ow.Stream) -> list[int]:
    """Return what others find, a number a frame."""
    assert stream.outcome is not None
    pixels = way.read(stream._run.writer, stream.outcome.root, stream.plan.layout.arrays[0])  # noqa: SLF001
    assert pixels is not None
    pixels = pixels.reshape(-1, 16 * 16)
    assert (pixels == pixels[:, :1]).all(), "a frame is torn"
    return [int(value) for value in pixels[:, 0]]


@ONE_EACH
@pytest.mark.parametrize("chunks", [None, {"t": 4}], ids=["frames", "chunks"])
def test_two_threads_append_and_a_third_is_refused(tmp_path: Path, way: Way, chunks: dict[str, int] | None) -> None:
    stream = started(way, tmp_path, chunk_shapes=chunks)
    refused, begin = [], threading.Barrier(3)

    def append(values: range) -> None:
        begin.wait()
        for value in values:
            stream.append(np.full((16, 16), value, "uint16"))

    def bother() -> None:
        begin.wait()
        for _ in range(40):
            try:
                stream.append(np.ones((3, 3), "uint16"), frame_metadata={"a": 1})
            except (ow.FrameError, ow.PlanExhausted) as error:
                refused.append(error)

    threads = [
        threading.Thread(target=append, args=(range(1, 31),)),
        threading.Thread(target=append, args=(range(101, 131),)),
        threading.Thread(target=bother),
    ]
    with stream:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames, len(refused)) == ("complete", FRAMES, 40)
    values = read(way, stream)
    # Each thread's frames lie in its own order, and all of them are there once.
    assert [value for value in values if value < 100] == list(range(1, 31))
    assert [value for value in values if value > 100] == list(range(101, 131))


@ONE_EACH
def test_append_races_close(tmp_path: Path, way: Way) -> None:
    stream = started(way, tmp_path, chunk_shapes={"t": 4})
    taken, ended = [], []

    def append() -> None:
        for value in range(1, FRAMES + 1):
            try:
                stream.append(np.full((16, 16), value, "uint16"))
            except ValueError as error:
                ended.append(error)
                return
            taken.append(value)

    thread = threading.Thread(target=append)
    thread.start()
    while len(taken) < 5:
        pass
    stream.close()
    thread.join()
    assert stream.outcome is not None
    assert stream.outcome.frames == len(taken)
    assert [value for value in read(way, stream) if value] == taken
    assert ended == [] if len(taken) == FRAMES else "closed" in str(ended[0])


@ONE_EACH
@pytest.mark.parametrize("shards", [None, {"t": 6}], ids=["", "shards"])
def test_readers_look_on_during_the_whole_run(  # noqa: C901 - two threads
    tmp_path: Path, way: Way, shards: dict[str, int] | None
) -> None:
    """They never see an exception, or a pixel that was not sent; a writer whose library forbids that says so."""
    able = way.make().capabilities
    if not able.live:
        with pytest.raises(ow.PlanError, match=f"{way.writer} .* must be asked for by name"):
            choose_among(way.writer, ow.compile(way.settings(tmp_path, DIMS, dtype="uint16")))
        return
    stream = started(way, tmp_path, shard_shapes=None if way.format.name == "ome-tiff" else shards)
    root, done, faults, looks = Path(stream._run.root), threading.Event(), [], []  # noqa: SLF001 - before it has an outcome

    def frames_of(pixels: Any) -> None:
        pixels = np.asarray(pixels).reshape(-1, 16, 16)
        for number, frame in enumerate(pixels):
            # Of a frame that is on its way, some may be there already.
            if not np.isin(frame, (0, number + 1)).all():
                faults.append(f"frame {number} shows {np.unique(frame)}")
        looks.append(len(pixels))

    def look() -> None:
        while True:
            last = done.is_set()
            try:
                for reader in readers(way, root):
                    frames_of(reader())
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                faults.append(repr(error))
            if last or faults:
                return

    stream.append(np.full((16, 16), 1, "uint16"))
    thread = threading.Thread(target=look)
    thread.start()
    with stream:
        for value in range(2, FRAMES + 1):
            stream.append(np.full((16, 16), value, "uint16"))
            if value % 10 == 0:
                count = len(looks)
                while len(looks) == count and not faults:
                    pass
    done.set()
    thread.join()
    assert faults == []
    assert looks[-1] == FRAMES


def choose_among(name: str, plan: ow.Plan) -> None:
    """Choose a writer where there is no other one."""
    only = {name: writer.WRITERS[name]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "WRITERS", only)
        writer.choose_writer(plan)


def readers(way: Way, root: Path) -> list[Any]:
    import tensorstore

    if way.format.name == "ome-tiff":
        return [lambda: tifffile.imread(root), lambda: ow.open_view(str(root))[...]]
    if way.format.name == "scratch":
        return [lambda: ow.open_view(str(root))[...]]
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root / '0'}/"}}
    return [
        lambda: zarr.open_array(root / "0", mode="r")[...],
        lambda: tensorstore.open(spec).result().read().result(),
        lambda: ow.open_view(str(root))[...],
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
@ONE_EACH
def test_few_open_files_are_enough_or_the_error_says_so(tmp_path: Path, way: Way) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    dims = ow.dims_from_standard_axes({"t": 2, "p": 60, "y": 16, "x": 16})
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 64
    stream = ow.create_stream(way.settings(tmp_path, dims, dtype="uint16"), way.make())
    taken = 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 24, before[1]))
    try:
        for value in range(120):
            stream.append(np.full((16, 16), value + 1, "uint16"))
            taken += 1
        stream.close()
    except ow.WriteError:
        pass  # what the outcome says of it is compared with what others find
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        if not stream.closed:
            with pytest.raises(ow.WriteError):
                stream.close()
    assert stream.outcome is not None
    assert stream.outcome.verdict == ("complete" if taken == 120 and not stream.outcome.error else "failed")
    missing = set(stream.outcome.missing.tolist())
    for array, spec in enumerate(stream.plan.layout.arrays):
        pixels = way.read(way.make(), stream.outcome.root, spec)
        for t in range(2):
            number = t * 60 + array
            if number < stream.outcome.cursor and number not in missing:
                assert pixels is not None
                assert (pixels.reshape(-1, 16, 16)[t] == number + 1).all()
