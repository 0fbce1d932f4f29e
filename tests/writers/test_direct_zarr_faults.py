"""The direct writer's uncompressed OME-Zarr when things go wrong: a killed process, a full disk, too much of all."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from attrs import evolve
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import placement
from ome_writers.testing import expected_arrays, frame_pixels
from ome_writers.testing.runs import begun
from ome_writers.writers import direct_zarr, placed
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.placed import PlacedFiles

CUTS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "frames": ({}, {}),
    "shards": ({}, {"t": 4, "c": 2}),
    "tiles": ({"y": 4, "x": 3}, {}),
    "tiles in shards": ({"y": 2, "x": 3}, {"t": 3, "y": 3, "x": 2}),
    "tiles in shards of tiles": ({"y": 2, "x": 2}, {"t": 2, "y": 2}),
    "frames together": ({"t": 3}, {}),
    "tiles of frames": ({"t": 2, "c": 2, "y": 4}, {}),
    "tiles of frames in shards": ({"t": 2, "y": 3, "x": 4}, {"t": 2, "y": 2}),
}
EVERY = pytest.mark.parametrize("cut", CUTS)


def settings_of(root: Path, cut: str, sizes: dict[str, Any], **more: Any) -> ow.AcquisitionSettings:
    chunks, shards = CUTS[cut]
    dims = ow.dims_from_standard_axes({"y": 6, "x": 5} | sizes, chunk_shapes=chunks, shard_shapes=shards)
    # y and x come last, in whatever order the sizes were given.
    dims = sorted(dims, key=lambda dim: dim.name in "yx")
    return ow.AcquisitionSettings(root_path=str(root / "a.ome.zarr"), dtype="uint16", dimensions=dims, **more)


def read_by_both(root: Path, path: str) -> NDArray[Any]:
    found = np.asarray(zarr.open_array(f"{root}/{path}", mode="r")[...])
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/{path}/"}}
    np.testing.assert_array_equal(found, np.asarray(ts.open(spec).result().read().result()))
    return found


# ── a killed process ─────────────────────────────────────────────────────────────────────────────────────────────────

KILLED = """
    import sys
    import ome_writers as ow
    from ome_writers import growth, placement
    from ome_writers.testing import frame_pixels

    # Runs of any length are long enough, and arrays grow all the time.
    placement.SHORT_RUN, growth.STEP_BYTES = 1, 500
    streams = [ow.create_stream(ow.loads(line), backend="direct") for line in sys.argv[1:]]
    for number in range(100_000):
        frame = frame_pixels(number, (6, 5), "uint16")
        for stream in streams:
            stream.append(frame)
        print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 18, 77])
def test_a_killed_process_leaves_every_frame_that_was_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    every = {cut: settings_of(tmp_path / cut, cut, {"t": None, "p": 2, "c": 2}) for cut in CUTS}
    for cut in CUTS:
        (tmp_path / cut).mkdir()
    program = [sys.executable, "-c", textwrap.dedent(KILLED), *map(ow.dumps, every.values())]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(acknowledged):
            process.stdout.readline()
        process.kill()
        # What it said before it died.
        came = acknowledged + len(process.stdout.read().splitlines())
    assert process.returncode == -getattr(signal, "SIGKILL", 1)
    for cut, settings in every.items():
        plan = ow.compile(settings)
        frames = [frame_pixels(number, (6, 5), "uint16") for number in range(came)]
        expected = expected_arrays(settings, frames)
        for array in plan.layout.arrays:
            found, wanted = read_by_both(tmp_path / cut / "a.ome.zarr", array.path), expected[array.image]
            inside = found[tuple(map(slice, wanted.shape))]
            # A frame that came after those is there or not.
            there = wanted.any(axis=(-2, -1))
            np.testing.assert_array_equal(inside[there], wanted[there], err_msg=cut)


def test_what_a_killed_process_left_beside_a_document_is_replaced_with_it(tmp_path: Path) -> None:
    settings, root = settings_of(tmp_path, "shards", {"t": 2}, overwrite=True), tmp_path / "a.ome.zarr"
    program = """
        import os, sys
        from pathlib import Path
        import ome_writers as ow

        stream = ow.create_stream(ow.loads(sys.argv[1]), backend="direct")
        Path.replace = lambda path, target: os._exit(9)
        stream.close()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), ow.dumps(settings)], check=False)
    assert done.returncode == 9
    assert [path.name for path in root.rglob(".*")] != []
    assert read_by_both(root, "0").shape == (2, 6, 5)
    ow.create_stream(settings, backend="direct").close()
    assert [path.name for path in root.rglob(".*")] == []


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


class SmallDisk:
    """Takes the place of the system's calls that write pixels: so many bytes of files that were empty, and no more."""

    def __init__(self, patch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self.taken: dict[int, set[int]] = defaultdict(set)
        self.write_at: Callable[[int, Any, int], int] = os.pwrite
        patch.setattr(os, "pwrite", self.pwrite)
        patch.setattr(os, "pwritev", lambda file, parts, at: self.pwrite(file, b"".join(parts), at))
        patch.setattr(os, "write", lambda file, data: self.pwrite(file, data, os.lseek(file, 0, os.SEEK_CUR)))

    def pwrite(self, file: int, data: Any, offset: int) -> int:
        view = memoryview(data).cast("B")
        taken = self.taken[os.fstat(file).st_ino]
        fits = 0
        for at in range(offset, offset + len(view)):
            if at not in taken:
                if not self.room:
                    break
                self.room -= 1
                taken.add(at)
            fits += 1
        if not fits:
            raise OSError(28, "No space left on device")
        return self.write_at(file, view[:fits], offset)


@EVERY
@pytest.mark.parametrize("way", ["one by one", "together", "without calls at a place"])
def test_a_full_disk_tears_no_frame(tmp_path: Path, cut: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "SHORT_RUN", 1)
    monkeypatch.setattr(placed, "POSITIONED", way != "without calls at a place")
    frames = [frame_pixels(number, (6, 5), "uint16") for number in range(24)]
    for room in range(400, 1000, 53):
        root = tmp_path / str(room)
        root.mkdir()
        settings = settings_of(root, cut, {"t": 12, "c": 2})
        plan = ow.compile(settings)
        writer, taken = DirectWriter(), 0
        run = begun(writer, root / "a.ome.zarr", plan)
        with monkeypatch.context() as patch, pytest.raises(ow.WriteError, match="No space left") as told:
            SmallDisk(patch, room)
            if way == "together":
                run.take_all(np.array(frames))
            else:
                for pixels in frames:
                    run.take(pixels)
                    taken += 1
        # Of those that are handed over together, the ones that are stored count as taken.
        taken = told.value.frame if way == "together" else taken
        assert told.value.frame == taken
        with pytest.raises(ow.WriteError):
            run.close()
        assert run.outcome is not None
        assert (run.outcome.verdict, run.outcome.frames) == ("failed", taken)
        found = read_by_both(root / "a.ome.zarr", "0").reshape(-1, 6, 5)
        assert taken <= len(found) <= max(2, taken + 2), "arrays end with the last frame that is stored"
        for number, (pixels, wanted) in enumerate(zip(found, frames, strict=False)):
            if number < taken:
                np.testing.assert_array_equal(pixels, wanted)
            else:
                # What was handed over together, and could not be written once more, may be there.
                assert not pixels.any() or (way == "together" and np.array_equal(pixels, wanted))


def test_a_shard_that_cannot_be_made_longer_stays_as_it_was(tmp_path: Path) -> None:
    plan, root = ow.compile(settings_of(tmp_path, "shards", {"t": 4, "c": 2})), tmp_path / "a.ome.zarr"
    frames = [frame_pixels(number, (6, 5), "uint16") for number in range(3)]
    run = begun(DirectWriter(), root, plan)
    for pixels in frames:
        run.take(pixels)
    run.close()
    before = (root / "0/c/0/0/0/0").read_bytes()
    writer = DirectWriter()
    writer.open(str(root), plan, (), attach=True)
    writer.resize(0, (4, 2, 6, 5))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="No space left"):
        SmallDisk(patch, 50)
        writer.write([ow.Block([3], 0, (1, 1), frames[0][None, None])])
    writer.close(())
    assert (root / "0/c/0/0/0/0").read_bytes() == before
    found = read_by_both(root, "0").reshape(8, 6, 5)
    np.testing.assert_array_equal(found[:3], frames)
    assert not found[3:].any()


@pytest.mark.parametrize("cut", ["shards", "tiles in shards of tiles"])
def test_a_shard_is_whole_while_it_is_made_longer(tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever kills the process between two writes finds what came, and nothing else."""
    plan, root = ow.compile(settings_of(tmp_path, cut, {"t": 4, "c": 2})), tmp_path / "a.ome.zarr"
    frames = [frame_pixels(number, (6, 5), "uint16") for number in range(1, 4)]
    run = begun(DirectWriter(), root, plan)
    for pixels in frames:
        run.take(pixels)
    run.close()
    writer, seen = DirectWriter(), 0
    writer.open(str(root), plan, (), attach=True)
    writer.resize(0, (4, 2, 6, 5))

    def watched(call: Callable[..., None]) -> Callable[..., None]:
        def watch(*given: Any) -> None:
            nonlocal seen
            call(*given)
            seen += 1
            found = read_by_both(root, "0").reshape(8, 6, 5)
            np.testing.assert_array_equal(found[:3], frames)
            assert not found[3:7].any()
            assert ((found[7] == 0) | (found[7] == frames[0])).all()

        return watch

    for name in ("put", "blank"):
        monkeypatch.setattr(direct_zarr, name, watched(getattr(direct_zarr, name)))
    writer.write([ow.Block([7], 0, (3, 1), frames[0][None, None])])
    writer.close(())
    assert seen >= 4
    np.testing.assert_array_equal(read_by_both(root, "0")[3, 1], frames[0])


def test_more_than_the_disk_has_room_for_is_refused(tmp_path: Path) -> None:
    sizes = {"t": 10_000_000, "c": 1000, "y": 20_000, "x": 20_000}
    with pytest.raises(ow.PlanError, match=r"the arrays take 8000000000000000000 bytes; the disk of .* has"):
        ow.create_stream(settings_of(tmp_path, "frames", sizes), backend="direct")
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(UserWarning, match="enough only if they can be compressed that much"):
        ow.create_stream(
            settings_of(tmp_path, "frames", {**sizes, "t": 1_000_000}, compression="gzip"), backend="direct"
        ).close()


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = PlacedFiles(tmp_path)
    monkeypatch.setattr(placed, "put", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for key in ("c/0", "c/1"):
        with pytest.raises(OSError, match="No space"):
            files.create(key, 100, [(90, b"index")])
    assert not files.exists("c/0")
    assert list((tmp_path / "c").iterdir()) == []


def test_nothing_is_open_yet() -> None:
    writer = DirectWriter()
    writer.abort()
    with pytest.raises(ValueError, match="nothing is open"):
        writer.write([])


# ── too much of all ──────────────────────────────────────────────────────────────────────────────────────────────────


def open_below(root: Path) -> int:
    links = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    return sum(link.is_relative_to(root) for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists the open files of a process")
@pytest.mark.parametrize("cut", ["shards", "tiles in shards of tiles", "frames together"])
def test_few_files_are_open(tmp_path: Path, cut: str) -> None:
    settings = settings_of(tmp_path, cut, {"t": 5, "p": 90, "c": 2})
    with ow.create_stream(settings, backend="direct") as stream:
        view, most = stream.view(), 0
        for number in range(900):
            stream.append(frame_pixels(number, (6, 5), "uint16"))
            if number % 90 == 89:
                np.testing.assert_array_equal(view[0, 0, 1], frame_pixels(1, (6, 5), "uint16"))
                most = max(most, open_below(tmp_path / "a.ome.zarr"))
    assert 0 < most <= 64
    assert open_below(tmp_path / "a.ome.zarr") == 0
    np.testing.assert_array_equal(view[4, 89, 1], frame_pixels(899, (6, 5), "uint16"))
    assert open_below(tmp_path / "a.ome.zarr") == 0


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("cut", ["frames", "shards", "tiles in shards of tiles", "tiles of frames"])
@pytest.mark.usefixtures("_traced")
def test_memory_does_not_grow_with_the_run(tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ome_writers.inturn._AHEAD", 64)
    monkeypatch.setattr("ome_writers.writers.direct_zarr._MOST_KEYS", 64)
    pixels, held = np.ones((6, 5), "uint16"), []
    # The thread that brings files to the device holds their names for a moment.
    settings = evolve(settings_of(tmp_path, cut, {"t": None, "p": 2}), sync="never")
    with ow.create_stream(settings, backend="direct") as stream:
        for number in range(900):
            stream.append(pixels)
            if number % 300 == 299:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    # A table of Python's own may grow once; an object for each frame would be 15,000 bytes and more.
    assert min(np.diff(held)) < 12_000


def test_memory_stays_small_beside_large_frames(tmp_path: Path) -> None:
    """Less than two frames, which one copy of a tiled frame is."""
    pixels = np.ones((1024, 1024), "uint16")
    dims = ow.dims_from_standard_axes({"t": 60, "y": 1024, "x": 1024}, chunk_shapes={"y": 256, "x": 256})
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / "a.zarr"), dtype="uint16", dimensions=dims)
    with ow.create_stream(settings, backend=DirectWriter()) as stream:
        stream.append(pixels)
        tracemalloc.start()
        for _ in range(59):
            stream.append(pixels)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 2 * pixels.nbytes
