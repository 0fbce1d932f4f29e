"""What `overwrite=True` deletes: what an OME writer made and nobody writes, once the new dataset stands; no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import lock as lock_module
from ome_writers.lock import Lock
from ome_writers.ownership import why_not_dataset
from ome_writers.testing import Way, ways

STORED = [way for way in ways() if way.persistent]
EVERY = pytest.mark.parametrize("way", STORED, ids=lambda way: way.name)
ONE_EACH = pytest.mark.parametrize(
    "way", {(way.writer, way.format.name): way for way in reversed(STORED)}.values(), ids=lambda way: way.name
)
DIMS = ow.dims_from_standard_axes({"t": 3, "p": 2, "y": 8, "x": 8})


def acquire(settings: ow.AcquisitionSettings, first: int, backend: Any = None, *, skip: bool = False) -> ow.Stream:
    with ow.create_stream(settings, backend) as stream:
        for number in range(stream.plan.frames or 7):
            if skip and number < 2:
                stream.skip()
            else:
                stream.append(np.full((8, 8), first + number, "uint16"))
    return stream


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@EVERY
@pytest.mark.parametrize("more", [{}, {"buffer_bytes": 4096}], ids=["", "buffered"])
def test_a_new_dataset_takes_the_place_of_an_old_one(tmp_path: Path, way: Way, more: dict[str, Any]) -> None:
    for dims, first, skip in ((DIMS, 1, False), (ow.dims_from_standard_axes({"t": None, "y": 8, "x": 8}), 50, True)):
        settings = way.settings(tmp_path, dims, dtype="uint16", overwrite=True, **more)
        acquire(settings, 100, way.make())
        stream = acquire(settings, first, way.make(), skip=skip)
        assert stream.outcome is not None
        found: set[int] = set()
        for array in stream.plan.layout.arrays:
            pixels = way.read(way.make(), stream.outcome.root, array)
            assert pixels is not None
            found |= set(np.unique(pixels).tolist())
        assert found - {0} == set(range(first + 2 * skip, first + stream.outcome.cursor))
        assert [path.name for path in tmp_path.iterdir()] == [Path(stream.outcome.root).name]
        # The next acquisition has another shape, and so may stand elsewhere.
        (tmp_path / Path(stream.outcome.root).name).rename(tmp_path.parent / f"{tmp_path.name}-{first}")


@ONE_EACH
def test_the_old_dataset_stays_whole_if_the_new_one_cannot_be_made(tmp_path: Path, way: Way) -> None:
    settings = way.settings(tmp_path, DIMS, dtype="uint16", overwrite=True)
    acquire(settings, 1, way.make())
    before, writer = everything(tmp_path), way.make()
    opened = writer.open

    def failing(root: str, *args: Any, attach: bool = False) -> None:
        if attach == last:
            opened(root, *args, attach=attach)
            raise OSError(28, "No space left on device")
        # The old one stands while the new one is made.
        assert everything(tmp_path).items() >= before.items()
        opened(root, *args, attach=attach)

    for last in (False, True):  # noqa: B007 - `failing` looks at it
        writer.open = failing  # type: ignore[method-assign]
        with pytest.raises(OSError, match="No space left"):
            ow.create_stream(settings, writer)
        writer.abort()
        assert everything(tmp_path) == before


@ONE_EACH
def test_of_two_streams_on_one_path_the_second_is_refused(tmp_path: Path, way: Way) -> None:
    settings = way.settings(tmp_path, DIMS, dtype="uint16", overwrite=True)
    with ow.create_stream(settings, way.make()) as stream:
        stream.append(np.ones((8, 8), "uint16"))
        for number in range(2):
            with pytest.raises(FileExistsError, match="root_path: another stream is writing"):
                ow.create_stream(settings, way.make())
            stream.append(np.full((8, 8), number + 2, "uint16"))
    assert stream.outcome is not None
    assert stream.outcome.frames == 3
    acquire(settings, 1, way.make())
    assert len(list(tmp_path.iterdir())) == 1, "the lock has gone with the stream"


def test_a_stream_of_another_process_is_seen_and_one_that_was_killed_is_not_in_the_way(tmp_path: Path) -> None:
    code = f"""
        import sys, ome_writers as ow
        dims = ow.dims_from_standard_axes({{"t": 3, "p": 2, "y": 8, "x": 8}})
        root = {str(tmp_path / "a.ome.zarr")!r}
        stream = ow.create_stream(ow.AcquisitionSettings(root_path=root, dimensions=dims, dtype="uint16"))
        print("open", flush=True)
        sys.stdin.read()
    """
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.zarr"), dimensions=DIMS, dtype="uint16", overwrite=True
    )
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(FileExistsError, match="another stream is writing"):
            ow.create_stream(settings)
        other.kill()
        other.wait()
    stream = acquire(settings, 1)
    assert stream.outcome is not None
    assert stream.outcome.verdict == "complete"
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_a_lock_where_open_files_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    held, tries = Lock(tmp_path / "a"), []
    true_unlink = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        tries.append(path)
        if len(tries) == 1:
            raise PermissionError(13, "is open")
        true_unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(lock_module.Path, "unlink", unlink)
    held.release()
    held.release()
    assert len(tries) == 2
    assert list(tmp_path.iterdir()) == []
    Lock(tmp_path / "a").release()


# ── what is not the dataset's own ───────────────────────────────────────────────────────────────────────────────────


def _file(name: str) -> Callable[[Path], None]:
    def put(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")

    return put


def _another(name: str) -> Callable[[Path], None]:
    def put(root: Path) -> None:
        dims = ow.dims_from_standard_axes({"t": 1, "y": 8, "x": 8})
        acquire(ow.AcquisitionSettings(root_path=str(root / name), dimensions=dims, dtype="uint16"), 1)

    return put


def _link(root: Path) -> None:
    target = root.parent / "elsewhere"
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    (root / "link").symlink_to(target, target_is_directory=True)


FOREIGN = {
    "a file": _file("notes.txt"),
    "a file in a folder": _file("results/table.csv"),
    "a file in an image": _file("0/notes.txt"),
    "a file in an array": _file("0/0/notes.txt"),
    "a file among chunks": _file("0/0/c/0/notes.txt"),
    "another dataset": _another("other.ome.zarr"),
    "a segmentation": _another("0/labels"),
    "a link": _link,
}


@pytest.mark.skipif(sys.platform == "win32", reason="only administrators make symbolic links there")
@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_what_others_put_into_a_dataset_is_not_deleted_with_it(tmp_path: Path, foreign: Callable[[Path], None]) -> None:
    root = tmp_path / "a.ome.zarr"
    settings = ow.AcquisitionSettings(root_path=str(root), dimensions=DIMS, dtype="uint16", overwrite=True)
    acquire(settings, 1)
    foreign(root)
    before = everything(tmp_path)
    with pytest.raises(FileExistsError, match="remove it yourself"):
        ow.create_stream(settings)
    assert everything(tmp_path) == before


def test_a_dataset_of_a_project_goes_alone_and_the_project_not_at_all(tmp_path: Path) -> None:
    project = tmp_path / "project.zarr"
    project.mkdir()
    (project / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {}}}')
    settings = [
        ow.AcquisitionSettings(root_path=str(project / name), dimensions=DIMS, dtype="uint16", overwrite=True)
        for name in ("one.ome.zarr", "two.ome.zarr")
    ]
    for one in settings:
        acquire(one, 1)
    other = everything(project / "two.ome.zarr")
    acquire(settings[0], 40)
    assert everything(project / "two.ome.zarr") == other
    before = everything(tmp_path)
    with pytest.raises(FileExistsError, match=r"'one\.ome\.zarr'"):
        ow.create_stream(
            ow.AcquisitionSettings(root_path=str(project), dimensions=DIMS, dtype="uint16", overwrite=True)
        )
    assert everything(tmp_path) == before


def test_files_of_two_datasets_in_a_folder_are_no_set(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("one.ome.tiff", "two.ome.tiff"):
        dims = ow.dims_from_standard_axes({"t": 2, "y": 8, "x": 8})
        acquire(ow.AcquisitionSettings(root_path=str(folder / name), dimensions=dims, dtype="uint16"), 1)
    before = everything(tmp_path)
    with pytest.raises(FileExistsError, match="no parts of one dataset"):
        acquire(
            ow.AcquisitionSettings(
                root_path=str(folder), dimensions=DIMS, dtype="uint16", format="ome-tiff", overwrite=True
            ),
            1,
        )
    assert everything(tmp_path) == before


def test_what_other_ome_writers_made_may_be_replaced(tmp_path: Path) -> None:
    """Layouts of ome-writers 0.3.2 and of NGFF 0.4, by the documents that they have."""

    def group(path: str, attributes: dict[str, Any]) -> None:
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        body = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **attributes}}}
        (tmp_path / path / "zarr.json").write_text(json.dumps(body))

    def image(path: str) -> None:
        group(path, {"multiscales": [{"datasets": [{"path": "0"}]}]})
        (tmp_path / path / "0" / "c" / "0").mkdir(parents=True)
        (tmp_path / path / "0" / "zarr.json").write_text('{"node_type": "array"}')
        (tmp_path / path / "0" / "c" / "0" / "1").write_bytes(b"1")

    image("single")
    group("several", {"bioformats2raw.layout": 3})
    group("several/OME", {"series": ["A", "B"]})
    for name in "AB":
        image(f"several/{name}")
    group("plate", {"plate": {"wells": [{"path": "A/1"}]}})
    group("plate/A", {})
    group("plate/A/1", {"well": {"images": [{"path": "f0"}]}})
    image("plate/A/1/f0")
    (tmp_path / "old" / "0" / "1").mkdir(parents=True)
    (tmp_path / "old" / ".zattrs").write_text('{"multiscales": [{"datasets": [{"path": "0"}]}]}')
    (tmp_path / "old" / ".zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / "old" / "0" / ".zarray").write_text("{}")
    (tmp_path / "old" / "0" / "1" / "0").write_bytes(b"1")
    (tmp_path / "old" / "0" / "1.0").write_bytes(b"1")
    for path in tmp_path.iterdir():
        assert why_not_dataset(path) is None, path
    image("several/C")
    assert "'C'" in (why_not_dataset(tmp_path / "several") or "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_parent(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(PermissionError):
        ow.create_stream(ow.AcquisitionSettings(root_path=str(folder / "a.ome.zarr"), dimensions=DIMS, dtype="uint16"))
    folder.chmod(0o700)
    assert list(folder.iterdir()) == []
