"""A disk that fails while a dataset is created, recovered or gone on with: the error says where, and what.

Systems say the name of a file that cannot be opened, and none of one that cannot be written.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.testing import Way, ways
from ome_writers.writers.files import located, replace_file, sync_file, sync_folder

FRAME = np.ones((64, 64), "uint16")
STORED = [way for way in ways() if way.persistent]
LOCAL = pytest.mark.parametrize("way", STORED, ids=lambda way: way.name)
CALLS = {
    "pwrite": errno.ENOSPC,
    "pwritev": errno.EDQUOT,
    "ftruncate": errno.EROFS,
    "fsync": errno.EIO,
}
"""Calls to the system that take no name, and how each fails."""


@contextmanager
def failing(call: str) -> Iterator[list[int]]:
    """Have all calls of one kind fail; yields a list that is not empty once one did."""
    failed: list[int] = []

    def fails(*_: Any) -> Any:
        failed.append(1)
        raise OSError(CALLS[call], os.strerror(CALLS[call]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fails)
        yield failed


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """Have no file that is written become larger."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def settings_in(folder: Path, way: Way, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": 4, "p": 2, "y": 64, "x": 64})
    return way.settings(folder, dims, dtype="uint16", **more)


def created(settings: ow.AcquisitionSettings, way: Way) -> None:
    ow.create_stream(settings, way.make()).close()


def resumed(settings: ow.AcquisitionSettings, way: Way) -> None:
    ow.create_stream(settings, way.make(), resume=True).close()


def recovered(settings: ow.AcquisitionSettings, way: Way) -> None:
    ow.recover(settings.output_path, way.make())


WAYS_ON = [
    (way, go) for way in STORED for go in (recovered, resumed) if go is recovered or way.make().capabilities.attaches
]
"""How a dataset that stands is made whole, or gone on with."""


def begun_in(folder: Path, way: Way) -> tuple[ow.AcquisitionSettings, int]:
    """Leave a dataset as its process does when it is killed after three frames, of which so many are safe."""
    folder.mkdir()
    there = folder.with_name("runs")
    there.mkdir()
    with ow.create_stream(settings_in(there, way), way.make()) as stream:
        for _ in range(3):
            stream.append(FRAME, frame_metadata={"power": 1})
        safe = stream.safe_frames
        for path in there.iterdir():
            if path.suffix != ".lock":
                (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
    return settings_in(folder, way), safe


def must_say_where(error: OSError, folder: Path) -> None:
    assert error.errno is not None
    assert error.filename is not None
    assert Path(str(error.filename)).is_relative_to(folder)
    assert os.strerror(error.errno) in str(error)
    assert str(error.filename) in str(error)


def tried(do: Callable[[], None], folder: Path) -> bool:
    """Return whether something failed; if so, it said where."""
    try:
        do()
    except OSError as error:
        if error.errno is None:  # it is that of a run, or of a library
            assert "frame" in str(error) or str(folder) in str(error)  # noqa: PT017 - as above
        else:
            must_say_where(error, folder)
    else:
        return False
    return True


@LOCAL
@pytest.mark.parametrize("size", [0, 64, 512, 3000])
def test_no_room_for_a_new_dataset(tmp_path: Path, way: Way, size: int) -> None:
    settings = settings_in(tmp_path, way)
    with no_room(size):
        failed = tried(lambda: created(settings, way), tmp_path)
    assert failed or size == 3000  # which is enough for some, until they are closed
    if size < 3000:
        assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
        created(settings, way)
        assert ow.recover(settings.output_path).frames == 0


@pytest.mark.parametrize("size", [0, 64, 512, 3000])
@pytest.mark.parametrize(("way", "go"), WAYS_ON)
def test_no_room_to_recover_or_go_on(
    tmp_path: Path, way: Way, go: Callable[[ow.AcquisitionSettings, Way], None], size: int
) -> None:
    settings, safe = begun_in(tmp_path / "here", way)
    with no_room(size):
        failed = tried(lambda: go(settings, way), tmp_path)
    assert failed or size == 3000
    assert ow.recover(settings.output_path, way.make()).frames >= safe


@pytest.mark.parametrize("call", [call for call in CALLS if hasattr(os, call)])
@pytest.mark.parametrize(("way", "go"), [*((way, created) for way in STORED), *WAYS_ON])
def test_a_call_to_the_system_fails(
    tmp_path: Path, way: Way, go: Callable[[ow.AcquisitionSettings, Way], None], call: str
) -> None:
    settings, safe = (settings_in(tmp_path, way), 0) if go is created else begun_in(tmp_path / "here", way)
    with failing(call) as calls:
        failed = tried(lambda: go(settings, way), tmp_path)
    assert calls or not failed
    if go is not created:
        assert ow.recover(settings.output_path, way.make()).frames >= safe


# ── in one place ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_without_a_name_is_given_one() -> None:
    raised = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match=r"\[Errno 5\] Input/output error: 'a\.ome\.zarr'") as told, located("a.ome.zarr"):
        raise raised
    assert told.value is raised


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "b"),
        FileExistsError("a.ome.zarr exists"),
        ow.WriteError("no space left on device", frame=17),
        ValueError("x"),
    ],
    ids=repr,
)
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    before = str(error)
    with pytest.raises(type(error)) as told, located("a.ome.zarr"):
        raise error
    assert told.value is error
    assert str(error) == before


def test_where_there_is_no_place_none_is_named() -> None:
    with pytest.raises(OSError, match=r"error$"), located(""):
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("put", [replace_file, sync_file, sync_folder])
def test_the_file_is_named_that_is_written(tmp_path: Path, put: Callable[..., None]) -> None:
    path = tmp_path / "zarr.json"
    path.write_bytes(b"1")
    given = (tmp_path if put is sync_folder else path,)
    with failing("fsync"), no_room(0), pytest.raises(OSError, match=r"\[Errno") as told:
        put(*given, *([b"22"] if put is replace_file else []))
    assert told.value.filename == str(given[0])
    assert path.read_bytes() == b"1"
