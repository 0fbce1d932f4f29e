"""What brings a dataset to its best state may be interrupted, as often as one likes, and is done again."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

import ome_writers as ow
from ome_writers import resumed
from ome_writers.journal import Journal, journal_folder
from ome_writers.lock import is_locked
from ome_writers.writers.buffered import BufferedWriter
from ome_writers.writers.memory import MemoryWriter

COUNT = 10
PUT = """
import os, sys
import numpy as np
import ome_writers as ow
root, backend = sys.argv[1:3]
dims = ow.dims_from_standard_axes({"t": 10, "y": 8, "x": 8})
stream = ow.create_stream(ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims), backend)
for t in (0, 3, 4, 8):
    stream.put(np.full((8, 8), t + 1, "uint16"), t=t)
os._exit(0)
"""
RECOVER = """
import os, sys
import ome_writers as ow
from ome_writers.resumed_run import ResumedRun
begin = ResumedRun.__init__
def init(self, *given):
    begin(self, *given)
    left, write = [int(sys.argv[2])], self._write
    def dies(blocks):
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        write(blocks)
    self._write = dies
ResumedRun.__init__ = init
ow.recover(sys.argv[1])
"""


def settings(root: str, **sizes: int | None) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": COUNT, "y": 8, "x": 8} | sizes)
    return ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims)


def frame(number: int) -> np.ndarray[Any, Any]:
    return np.full((8, 8), number + 1, "uint16")


@pytest.mark.parametrize("writes", [1, 3])
@pytest.mark.parametrize(
    ("backend", "suffix"), [("tifffile", ".ome.tiff"), ("acquire-zarr", ".ome.zarr"), ("tensorstore", ".ome.zarr")]
)
def test_a_recovery_that_is_killed(tmp_path: Path, backend: str, suffix: str, writes: int) -> None:
    root = str(tmp_path / f"cells{suffix}")
    subprocess.run([sys.executable, "-c", PUT, root, backend], check=True)
    assert subprocess.run([sys.executable, "-c", RECOVER, root, str(writes)], check=False).returncode == 9
    outcome = ow.recover(root)
    assert (outcome.frames, outcome.missing.tolist()) == (4, [1, 2, 5, 6, 7])
    assert ow.open_view(root)[:9, 0, 0].tolist() == [1, 0, 0, 4, 5, 0, 0, 0, 9]
    assert not ow.validate(root).failed
    assert {path.name for path in tmp_path.iterdir()} <= {f"cells{suffix}", f"cells{suffix}.journal"}


@pytest.mark.parametrize("count", [COUNT, None])
def test_a_full_disk_while_frames_that_waited_are_stored(tmp_path: Path, count: int | None) -> None:
    root = str(tmp_path / "cells.ome.tiff")
    stream = ow.create_stream(settings(root, t=count), "tifffile")
    for number in (2, 7):
        stream.put(frame(number), t=number)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        with pytest.raises(ow.WriteError, match="too large"):
            stream.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    for _ in range(2):
        outcome = ow.recover(root)
        assert (outcome.frames, outcome.missing.tolist()) == (2, [0, 1, 3, 4, 5, 6])
        assert ow.open_view(root)[:8, 0, 0].tolist() == [0, 0, 3, 0, 0, 0, 0, 8]
        assert [check.name for check in ow.validate(root).failed] == ["acquisition"]


@pytest.mark.parametrize(("backend", "suffix"), [("tifffile", ".ome.tiff"), ("tensorstore", ".ome.zarr")])
def test_frames_that_waited_need_no_dataset(tmp_path: Path, backend: str, suffix: str) -> None:
    root = tmp_path / f"cells{suffix}"
    stream = ow.create_stream(settings(str(root)), backend)
    for number in (0, 2):
        stream.put(frame(number), t=number)
    stream._run.abort()  # noqa: SLF001 - as a process that ends
    if root.exists():
        root.rename(tmp_path / "gone")
    assert ow.recover(root).missing.tolist() == [1]
    assert ow.open_view(root)[:3, 0, 0].tolist() == [1, 0, 3]


def test_frames_that_are_gone_with_their_dataset_are_told_of(tmp_path: Path) -> None:
    root = tmp_path / "cells.ome.zarr"
    stream = ow.create_stream(settings(str(root)), "direct")
    stream.append(frame(0))
    stream._run.abort()  # noqa: SLF001 - as above
    root.rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        ow.recover(root)
    (tmp_path / "gone").rename(root)
    assert ow.recover(root).frames == 1


def test_the_journal_is_read_by_who_has_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "cells.ome.zarr"
    asked = []

    def journal_of(path: str) -> Any:
        asked.append(is_locked(Path(path)))
        return read(path)

    read = resumed.journal_of
    monkeypatch.setattr(resumed, "journal_of", journal_of)
    with ow.create_stream(settings(str(root)), "direct") as stream:
        stream.append(frame(0))
        with pytest.raises(FileExistsError, match="another stream is writing"):
            ow.recover(root)
    assert asked == []
    with ow.create_stream(settings(str(root)), resume=True) as stream:
        stream.append(frame(1))
    assert ow.recover(root).frames == 2
    assert asked == [True, True]
    assert journal_folder(root).exists()
    assert not is_locked(root)


class Refusing(MemoryWriter):
    """A writer that cannot store blocks, and survives the process, or so it says."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = evolve(self.capabilities, unit="chunk", persistent=True)

    def write(self, blocks: Any, /) -> None:
        raise OSError("no")


def test_no_fewer_than_none_are_safe(tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": 8, "y": 8, "x": 8}, chunk_shapes={"t": 4})
    acquisition = ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.zarr"), dtype="uint16", dimensions=dims)
    stream = ow.create_stream(acquisition, Refusing())
    for number in range(3):
        stream.append(frame(number))
    with pytest.raises(ow.WriteError, match="frame 3"):
        stream.append(frame(3))
    assert stream.safe_frames == 0
    with pytest.raises(ow.WriteError):
        stream.close()


def test_behind_a_ring_too_a_writer_says_what_came() -> None:
    class Counts(MemoryWriter):
        def recount(self, marks: Any) -> Any:
            return marks + 1

    assert BufferedWriter(Counts(), 100).recount(1) == 2
    assert not hasattr(BufferedWriter(MemoryWriter(), 100), "recount")


@pytest.mark.parametrize("rounds", range(3))
def test_an_engine_behind_a_ring_has_what_left_the_ring(tmp_path: Path, rounds: int) -> None:
    root, count = str(tmp_path / "cells.ome.zarr"), 400 + rounds
    dims = ow.dims_from_standard_axes({"t": 1000, "y": 64, "x": 64}, chunk_shapes={"t": 4})
    acquisition = ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims, buffer_bytes=2**20)
    stream = ow.create_stream(acquisition, "acquire-zarr")
    for number in range(count):
        stream.append(np.full((64, 64), number + 1, "uint16"))
    assert stream.safe_frames == 0
    stream._run.abort()  # noqa: SLF001 - as above
    outcome = ow.recover(root)
    assert 0 < outcome.frames < count
    missing = set(outcome.missing.tolist())
    came = [number for number in range(outcome.cursor) if number not in missing]
    assert ow.open_view(root)[:, 0, 0][came].tolist() == [number + 1 for number in came]


@pytest.mark.parametrize("backend", ["direct", "tensorstore", "zarr-python"])
def test_recover_takes_nothing_back_of_what_documents_say(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has no room for the journal any more, but for the documents."""
    root = tmp_path / "a.ome.zarr"
    dims = ow.dims_from_standard_axes({"t": 8, "y": 4, "x": 4})
    stream = ow.create_stream(ow.AcquisitionSettings(root_path=str(root), dtype="uint8", dimensions=dims), backend)
    for number in range(5):
        stream.append(np.full((4, 4), number + 1, "uint8"))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        for name in ("mark", "mark_all", "say"):
            patch.setattr(Journal, name, full)
        if stream._run._mark is not None:  # noqa: SLF001 - the journal is asked for it but once
            patch.setattr(stream._run, "_mark", full)  # noqa: SLF001 - as above
        with pytest.raises(ow.WriteError, match="No space left"):
            for _ in range(3):
                stream.append(np.full((4, 4), 9, "uint8"))
                assert stream.safe_frames < 8
        with pytest.raises(ow.WriteError, match="No space left"):
            stream.close()
    assert stream.outcome is not None
    assert (said := stream.outcome.frames) >= 5
    outcome = ow.recover(root)
    assert (outcome.verdict, outcome.frames, outcome.error) == ("failed", said, stream.outcome.error)
    assert np.asarray(ow.open_view(root))[:5, 0, 0].tolist() == [1, 2, 3, 4, 5]
