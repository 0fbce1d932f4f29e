"""What reaches the device, and when: every call that brings something there is listened to."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import syncing
from ome_writers.testing import Way, ways
from ome_writers.writers import files

LOCAL = [way for way in ways() if way.writer in ("direct", "zarr-python", "tifffile")]


class Device:
    """What stands on the device: the bytes that files had when they were synchronised."""

    def __init__(self) -> None:
        self.files: dict[int, int] = {}
        """Size by number of the file."""
        self.folders: set[int] = set()
        self.happened = threading.Event()
        self.fault: OSError | None = None

    def fsync(self, file: int) -> None:
        if self.fault is not None:
            raise self.fault
        found = os.fstat(file)
        if found.st_mode & 0o040000:
            self.folders.add(found.st_ino)
        else:
            self.files[found.st_ino] = found.st_size
        self.happened.set()

    def holds(self, root: Path) -> bool:
        paths = [path for path in (root, *root.rglob("*")) if path.is_file()]
        return all(self.files.get(path.stat().st_ino) == path.stat().st_size for path in paths)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    found = Device()
    monkeypatch.setattr(os, "fsync", found.fsync)
    return found


def stream_of(way: Way, folder: Path, **more: Any) -> ow.Stream:
    dims = ow.dims_from_standard_axes({"t": 4, "c": 2, "y": 6, "x": 7})
    return ow.create_stream(way.settings(folder, dims, dtype="uint16", **more), way.make())


def send(stream: ow.Stream, frames: int) -> None:
    for number in range(frames):
        stream.append(np.full((6, 7), number + 1, "uint16"))


@pytest.mark.parametrize("way", LOCAL, ids=lambda way: way.name)
@pytest.mark.parametrize("frames", [8, 3])
def test_all_of_it_is_there_when_close_returns(tmp_path: Path, way: Way, frames: int, device: Device) -> None:
    stream = stream_of(way, tmp_path)
    send(stream, frames)
    stream.close()
    assert stream.outcome is not None
    assert device.holds(Path(stream.outcome.root))
    assert tmp_path.stat().st_ino in device.folders
    assert stream.outcome.sync_seconds > 0


def test_never(tmp_path: Path, device: Device) -> None:
    stream = stream_of(LOCAL[0], tmp_path, sync="never")
    send(stream, 8)
    stream.close()
    assert not device.files
    assert stream.outcome is not None
    assert stream.outcome.sync_seconds < 0.1


def test_every_so_often(tmp_path: Path, device: Device) -> None:
    stream = stream_of(LOCAL[0], tmp_path, sync=0.02)
    send(stream, 5)
    journal = tmp_path / "run.ome.zarr.journal" / "came"
    while journal.stat().st_ino not in device.files:
        assert device.happened.wait(60)
        device.happened.clear()
    assert device.holds(tmp_path / "run.ome.zarr")
    stream.close()


def test_files_that_are_complete_do_not_wait_for_the_end(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "_QUIET", 0.02)
    stream = stream_of(LOCAL[0], tmp_path)
    send(stream, 5)
    while not device.holds(tmp_path / "run.ome.zarr"):
        assert device.happened.wait(60)
        device.happened.clear()
    pixels = [path for path in (tmp_path / "run.ome.zarr" / "0" / "c").rglob("*") if path.is_file()]
    for path in pixels:
        os.utime(path, (0, path.stat().st_mtime - 60))
    device.files.clear()
    stream.close()
    assert device.files
    assert not device.files.keys() & {path.stat().st_ino for path in pixels}


def test_a_clock_that_was_set_costs_a_look_at_every_file(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(LOCAL[0], tmp_path)
    send(stream, 5)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    stream.close()
    assert device.holds(tmp_path / "run.ome.zarr")


def test_a_device_that_fails_is_no_complete_dataset(tmp_path: Path, device: Device) -> None:
    stream = stream_of(LOCAL[0], tmp_path)
    send(stream, 8)
    device.fault = OSError(5, "Input/output error")
    with pytest.raises(ow.WriteError, match="Input/output error"):
        stream.close()
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"


def test_what_fails_in_the_thread_is_raised_by_the_next_call(tmp_path: Path, device: Device) -> None:
    stream = stream_of(LOCAL[0], tmp_path, sync=0.02)
    device.fault = OSError(5, "Input/output error")
    with pytest.raises(ow.WriteError, match="Input/output error"):
        for _ in range(6000):
            time.sleep(0.01)
            stream.skip(frames=1) if stream.cursor < 7 else stream.append(np.zeros((6, 7), "uint16"))
    with pytest.raises(ow.WriteError):
        stream.close()


@pytest.mark.parametrize("value", ["sometimes", 0, -1.0, float("nan"), True, None])
def test_what_makes_no_sense(value: Any) -> None:
    with pytest.raises(ow.SettingsError, match="sync: must be 'close', 'never' or a number of seconds"):
        ow.AcquisitionSettings(sync=value)


def test_a_folder_that_does_not_reach_the_device_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fails(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(file)

    dims = ow.dims_from_standard_axes({"t": 2, "y": 4, "x": 4})
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / "a.ome.zarr"), dtype="uint8", dimensions=dims)
    stream = ow.create_stream(settings)
    for _ in range(2):
        stream.append(np.ones((4, 4), "uint8"))
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(ow.WriteError, match="Input/output error"):
        stream.close()
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"


def fields(folder: Path, count: int) -> ow.Stream:
    """Return a stream to a dataset of more than `count` folders, to which all came."""
    dims = ow.dims_from_standard_axes({"p": count, "y": 4, "x": 4})
    stream = ow.create_stream(ow.AcquisitionSettings(root_path=f"{folder}/a.ome.zarr", dtype="uint8", dimensions=dims))
    for _ in range(count):
        stream.append(np.ones((4, 4), "uint8"))
    return stream


@pytest.mark.skipif(sys.platform != "linux", reason="folders are synchronised one by one there")
def test_many_folders_reach_the_device_at_once_or_that_is_told_of(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks: list[Path] = []

    def answer(code: int, file: int) -> int:
        disks.append(Path(f"/proc/self/fd/{file}").readlink())
        ctypes.set_errno(code)
        return -1 if code else 0

    def close(name: str, code: int) -> int:
        """Return how many folders were synchronised one by one."""
        monkeypatch.setattr(files, "syncfs", lambda: partial(answer, code))
        stream = fields(tmp_path / name, 40)
        device.folders.clear()
        stream.close()
        return len(device.folders)

    assert close("works", 0) == 0
    assert {*disks} == {tmp_path / "works" / "a.ome.zarr"}
    assert close("not there", errno.ENOSYS) > 40
    with pytest.raises(ow.WriteError, match="Input/output error"):
        close("fails", errno.EIO)
    monkeypatch.undo()
    assert files.sync_disk(tmp_path)
