"""Disks that fill up in the middle, and disks that are slow at the end: real ones, below every writer that uses one.

A small disk is a tmpfs of its own, or a limit on the size of files where nobody may mount one. A slow disk is one whose
every write takes its time: a library that is loaded before all others stands in for that of the system.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.readers import noted
from ome_writers.testing import Way, ways

STORED = [way for way in ways() if way.persistent]
RESERVED = {way.name for way in STORED if (way.writer, way.format.name) == ("direct", "ome-tiff")}
"""These take room for many pages at the start, and for their documents."""
EVERY = pytest.mark.parametrize("way", STORED, ids=lambda way: way.name)
Y = X = 128
FRAME = Y * X * 2
FRAMES: NDArray[Any] = np.random.default_rng(0).integers(1, 2**16, (60, Y, X)).astype("uint16")

Disk = tuple[Path, Callable[[], None], Callable[[], None]]
"""A folder on a disk, what fills it, and what makes room for small things again."""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Disk]:
    """Have a disk with room for a MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1280k", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and only on Linux; the limit on files is tried everywhere else")
    other = folder / "other"
    other.write_bytes(bytes(256 * 2**10))
    try:
        yield folder, lambda: None, other.unlink
    finally:
        # Whatever still holds a file open there lets go of it in its own time.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Disk]:
    """Have a disk on which, from some moment on, no file may be larger than half a frame."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = FRAME // 2, before[1]
    # It also forbids to write again what lies behind it in a file, and that is where an OME-TIFF has its OME-XML.
    yield (
        tmp_path,
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, full),
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def rest(stream: ow.Stream) -> None:
    """Wait a while for what is on its way: on a busy machine that may be much."""
    patience = monotonic() + 10
    while stream.safe_frames < 8 and stream._run.writer.capabilities.ack != "close" and monotonic() < patience:  # noqa: SLF001 - nobody else knows
        sleep(0.01)


@EVERY
@pytest.mark.parametrize("shards", [{}, {"t": 4}], ids=["frames", "shards"])
@pytest.mark.parametrize("disk", ["mounted", "limited"])
def test_a_disk_fills_up_in_the_middle(
    request: pytest.FixtureRequest, disk: str, way: Way, shards: dict[str, int]
) -> None:
    folder, fill, ease = request.getfixturevalue(disk)
    dims = ow.dims_from_standard_axes({"t": None, "p": 2, "y": Y, "x": X}, shard_shapes=shards)
    plan, writer = ow.compile(way.settings(folder, dims, dtype="uint16")), way.make()
    stream, taken, raised = ow.Stream(plan, writer), 0, None
    for number, frame in enumerate(FRAMES):
        try:
            stream.append(frame, frame_metadata={"number": number})
        except ow.WriteError as error:
            raised = error
            break
        taken += 1
        if taken == 20:
            rest(stream)
            fill()
    if raised is not None:
        with pytest.raises(ow.WriteError):
            stream.append(FRAMES[0])
        ease()
    with pytest.raises(ow.WriteError) as told:
        stream.close()
    assert (raised or told.value).__cause__ is not None
    outcome = stream.outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.cursor) == ("failed", taken)
    assert outcome.error is not None
    missing = set(outcome.missing.tolist())
    # What the outcome says is there is there, for others to read; nothing else is but whole frames in their places.
    found = [way.read(writer, outcome.root, array) for array in plan.layout.arrays]
    for number, frame in enumerate(FRAMES):
        image, place = found[number % 2], number // 2
        seen = None if image is None or place >= len(image.reshape(-1, Y, X)) else image.reshape(-1, Y, X)[place]
        if number < taken and number not in missing:
            assert seen is not None, f"frame {number} is said to be there"
            np.testing.assert_array_equal(seen, frame, err_msg=f"frame {number}")
        elif seen is not None:
            assert not seen.any() or np.array_equal(seen, frame), f"frame {number} is there in part"
    assert outcome.frames == taken - len(missing)
    # Much came before the disk was full, and a writer that loses it all tells no lie, but that would not do. Only what
    # is stored at the end cannot be told to have been stored before the limit came.
    if disk == "mounted" or writer.capabilities.ack != "close":
        assert outcome.frames >= 8
    # There is room again before the end: a block that could not be stored is not given up, if its pixels are here.
    if raised is not None and writer.capabilities.unit != "frame" and not hasattr(writer, "pending"):
        assert not missing


@pytest.mark.parametrize("way", [way for way in STORED if way.name not in RESERVED], ids=lambda way: way.name)
def test_the_verdict_is_on_a_disk_that_is_full_of_small_frames(mounted: Disk, way: Way) -> None:
    """What makes room for it is no frame that is given up: these take less than a document does."""
    folder, _, ease = mounted
    dims = ow.dims_from_standard_axes({"t": None, "y": 48, "x": 32})
    settings = way.settings(folder, dims, dtype="uint16")
    stream = ow.create_stream(settings, way.make())
    with pytest.raises(ow.WriteError), stream:
        for number in range(1000):
            stream.append(FRAMES[0, :48, :32], frame_metadata={"number": number})
    assert stream.outcome is not None
    said = noted(settings.output_path)
    assert (said["verdict"], said["frames"]) == ("failed", stream.outcome.frames)
    ease()
    outcome = ow.recover(settings.output_path, way.make())
    assert (outcome.verdict, outcome.frames) == ("failed", stream.outcome.frames)
    assert len(outcome.records) >= outcome.frames


# ── a slow disk ──────────────────────────────────────────────────────────────────────────────────────────────────────

SLOW = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void wait_for(int file) {
    const char *said = getenv("SLOW_MILLISECONDS");
    struct stat found;
    if (said && fstat(file, &found) == 0 && S_ISREG(found.st_mode)) {
        struct timespec pause = {0, atol(said) * 1000000L};
        nanosleep(&pause, NULL);
    }
}
#define TRUE_ONE(name) __typeof__(&name) next = (__typeof__(&name)) dlsym(RTLD_NEXT, #name); wait_for(file)
ssize_t write(int file, const void *data, size_t size) { TRUE_ONE(write); return next(file, data, size); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    TRUE_ONE(pwrite); return next(file, data, size, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    TRUE_ONE(pwrite64); return next(file, data, size, at);
}
ssize_t writev(int file, const struct iovec *data, int count) { TRUE_ONE(writev); return next(file, data, count); }
ssize_t pwritev(int file, const struct iovec *data, int count, off_t at) {
    TRUE_ONE(pwritev); return next(file, data, count, at);
}
"""

CHILD = """
import json, sys, time
import numpy as np
import ome_writers as ow
from ome_writers.testing import ways

frames = np.random.default_rng(0).integers(1, 2**16, (60, 128, 128)).astype("uint16")[:24]
for way in ways():
    if not way.persistent:
        continue
    dims = ow.dims_from_standard_axes({"t": 12, "p": 2, "y": 128, "x": 128}, chunk_shapes={"t": 2})
    stream = ow.Stream(ow.compile(way.settings(f"{sys.argv[1]}/{way.name}", dims, dtype="uint16")), way.make())
    begin = time.monotonic()
    for number, frame in enumerate(frames):
        stream.append(frame, frame_metadata={"number": number})
    stream.close()
    said = {"name": way.name, "seconds": time.monotonic() - begin, "verdict": stream.outcome.verdict,
            "frames": stream.outcome.frames}
    print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Have every writer store something on a slow disk; return where, and what each said of it."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("a slow disk is made with LD_PRELOAD and a C compiler")
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.c").write_text(SLOW)
    library = str(folder / "slow.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(folder / "slow.c"), "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": library, "SLOW_MILLISECONDS": "10", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(folder)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    said = map(json.loads, done.stdout.splitlines())
    return folder, {one["name"]: one for one in said}


@EVERY
def test_a_slow_disk_costs_time_and_nothing_else(slow: tuple[Path, dict[str, Any]], way: Way) -> None:
    folder, said = slow
    one = said[way.name]
    assert (one["verdict"], one["frames"]) == ("complete", 24)
    # There are at least 12 blocks, and 4 threads at most: else it was no slow disk.
    assert one["seconds"] > 12 / 4 * 0.01
    dims = ow.dims_from_standard_axes({"t": 12, "p": 2, "y": Y, "x": X}, chunk_shapes={"t": 2})
    settings = way.settings(folder / way.name, dims, dtype="uint16")
    expected = np.zeros((2, 12, Y, X), "uint16")
    for number in range(24):
        expected[number % 2, number // 2] = FRAMES[number]
    for array, wanted in zip(ow.compile(settings).layout.arrays, expected, strict=True):
        np.testing.assert_array_equal(way.read(way.make(), settings.output_path, array), wanted)
