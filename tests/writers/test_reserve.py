"""Room on the disk, and the length of files: told by the file system, not by the code that asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ome_writers as ow
from ome_writers.testing import frame_pixels
from ome_writers.writers import reserve as module
from ome_writers.writers.reserve import lengthen, release, reserve

SIZE = 8 << 20


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
    yield opened
    os.close(opened)


@pytest.fixture
def _anywhere(monkeypatch: pytest.MonkeyPatch, file: int) -> None:
    """Whatever file system the tests run on, as long as it can set blocks aside."""
    monkeypatch.setattr(module, "kind_of", lambda _: "ext4")
    call = module.fallocate()
    if call is None or call(file, 1, 0, 4096):
        pytest.skip("this file system cannot set blocks aside")
    os.ftruncate(file, 0)


def room(file: int) -> int:
    return os.fstat(file).st_blocks * 512


@pytest.mark.usefixtures("_anywhere")
def test_room_is_taken_and_nothing_else_changes(file: int) -> None:
    os.write(file, b"what stands there")
    os.ftruncate(file, SIZE)
    before = room(file)
    reserve(file, SIZE // 2, SIZE)
    assert before + SIZE // 2 - 4096 <= room(file) <= before + SIZE // 2 + (64 << 10), "from its beginning on"
    reserve(file, 0, SIZE)
    assert SIZE <= room(file) <= SIZE + (64 << 10)
    assert os.fstat(file).st_size == SIZE
    os.lseek(file, 0, os.SEEK_SET)
    assert os.read(file, 2 * SIZE) == b"what stands there".ljust(SIZE, b"\0")
    os.ftruncate(file, 4096)
    assert room(file) <= 4096, "what is cut off takes no room"


@pytest.mark.usefixtures("_anywhere")
def test_room_is_given_back(file: int) -> None:
    os.write(file, b"x" * SIZE)
    release(file, 4096, SIZE // 2)
    assert room(file) <= SIZE // 2 + (64 << 10)
    os.lseek(file, 0, os.SEEK_SET)
    found = os.read(file, SIZE)
    assert found == (b"x" * 4096).ljust(SIZE // 2, b"\0") + b"x" * (SIZE // 2)


@pytest.mark.usefixtures("_anywhere")
def test_little_is_not_worth_it(file: int) -> None:
    os.write(file, b"x" * 4096)
    before = room(file)
    reserve(file, 0, 64 << 10)
    release(file, 0, 4096)
    assert room(file) == before


def test_nothing_is_reserved_where_it_would_cost_time(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "kind_of", lambda _: "tmpfs")
    reserve(file, 0, SIZE)
    monkeypatch.undo()
    monkeypatch.setattr(module, "fallocate", lambda: None)
    reserve(file, 0, SIZE)
    release(file, 0, SIZE)
    assert room(file) == 0
    assert os.fstat(file).st_size == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells so")
def test_the_kind_of_a_file_system_is_known() -> None:
    kinds = {module.kind_of(Path(place).stat().st_dev) for place in ("/proc", "/sys")}
    assert kinds == {"proc", "sysfs"}
    assert module.kind_of(os.makedev(4095, 1)) == ""


@pytest.mark.parametrize("lengthens", [True, False])
def test_a_file_is_made_longer(file: int, monkeypatch: pytest.MonkeyPatch, *, lengthens: bool) -> None:
    monkeypatch.setattr(module, "LENGTHENS", lengthens)
    os.write(file, b"words")
    lengthen(file, SIZE)
    os.lseek(file, 0, os.SEEK_SET)
    assert os.read(file, 2 * SIZE) == b"words".ljust(SIZE, b"\0")
    assert room(file) < SIZE // 2, "the zeros were not written"


@pytest.mark.parametrize("lengthens", [True, False])
def test_a_file_that_cannot_be_made_longer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lengthens: bool
) -> None:
    monkeypatch.setattr(module, "LENGTHENS", lengthens)
    (tmp_path / "b").touch()
    closed = os.open(tmp_path / "b", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=r"Bad file|Invalid arg"):
            lengthen(closed, 10)
    finally:
        os.close(closed)


@pytest.mark.parametrize("root", ["a.ome.zarr", "a.ome.tiff"])
def test_datasets_are_the_same_without_setting_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setattr(module, "LENGTHENS", False)
    dims = ow.dims_from_standard_axes({"t": None, "c": 2, "y": 64, "x": 64}, shard_shapes={"t": 4})
    settings = ow.AcquisitionSettings(root_path=str(tmp_path / root), dtype="uint16", dimensions=dims)
    frames = [frame_pixels(number, (64, 64), "uint16") for number in range(21)]
    with ow.create_stream(settings, backend="direct") as stream:
        for frame in frames:
            stream.append(frame)
    view = ow.open_view(settings.output_path)
    for number, frame in enumerate(frames):
        assert (view[divmod(number, 2)] == frame).all()
    assert not view[10, 1].any()


@pytest.mark.usefixtures("_anywhere")
@pytest.mark.parametrize("single", [True, False])
def test_a_tiff_that_stops_early_takes_little_more_than_its_pixels(tmp_path: Path, *, single: bool) -> None:
    """Neither room for pixels, nor directories, nor OME-XML of the many frames that never came."""
    dims = ow.dims_from_standard_axes({"t": 40_000, "p": ["a", "b"] if single else ["a"], "y": 16, "x": 16})
    format_ = ow.OmeTiffFormat(prefer_single_file="always")
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.tiff"), dtype="uint16", dimensions=dims, format=format_
    )
    with ow.create_stream(settings, backend="direct") as stream:
        for value in range(400):
            stream.append(frame_pixels(value, (16, 16), "uint16"))
    taken = (tmp_path / "a.ome.tiff").stat().st_blocks * 512
    # The directories of one block, 280 bytes each, and what is not worth giving back.
    assert taken < 400 * 512 + 8192 * 280 + (2 << 20)
