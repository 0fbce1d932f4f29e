"""Files of others that lie in a dataset or beside it, under whatever name, outlive `overwrite=True`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import tifffile

import ome_writers as ow
from ome_writers import lock, target
from ome_writers.lock import Lock, is_locked
from ome_writers.owned_chunks import grid_of, strange_chunks
from ome_writers.ownership import why_not_dataset
from ome_writers.testing.ways import backends

MINE = b"precious"
POSIX = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no links for everybody, and no pipes")


def acquire(root: Path, backend: str, positions: int = 0, frames: int | None = None) -> Path:
    """Write a dataset, replacing what is there, and return where it is."""
    loops = {"p": positions, "t": 3} if positions else {"t": 3}
    dims = ow.dims_from_standard_axes({**loops, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(
        root_path=str(root),
        dtype="uint16",
        dimensions=dims,
        overwrite=True,
        **({"format": "scratch"} if backend == "scratch" else {}),
    )
    with ow.create_stream(settings, backend) as stream:
        for _ in range(frames or stream.plan.frames or 0):
            stream.append(np.ones((8, 8), np.uint16))
    assert stream.outcome is not None
    return Path(stream.outcome.root)


def snapshot(folder: Path) -> dict[str, bytes | str]:
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def put(path: Path, data: bytes = MINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def refused(folder: Path, root: Path, backend: str, positions: int = 0, match: str | None = None) -> None:
    """Assert that nothing is replaced, and everything in the folder is as it was."""
    before = snapshot(folder)
    with pytest.raises(FileExistsError, match=match):
        acquire(root, backend, positions)
    # The lock of a process that was killed is nobody's.
    assert snapshot(folder) == {name: data for name, data in before.items() if data or not name.endswith(".lock")}


# ── in an OME-Zarr ──────────────────────────────────────────────────────────────────────────────────────────────────

IN_ZARR = [
    "0/0",
    "0/5",
    "0/123456",
    "0/c/9",
    "0/c/7/7/7",
    "0/c/3/0/0",
    "0/c/0/0/1",
    "0/c/0/0/00",
    "0/c/0/0/٣",
    "0/c/1.2.3",
    "0/c/0/0/0/0",
    "0/c/0/0/.1.notes",
    "0/c/0/.12.0",
    "0/C/0/0/0",
    "0/.1.0",
    "0/.zarray",
    "0/.zattrs",
    "0/ZARR.JSON",
    ".zattrs",
    ".zgroup",
    ".zmetadata",
    ".1.zarr.json",
    "zarr.json.__lock",
    "zarr.0123456789abcdef0123456789abcdef.partial",
    "OME/mine.xml",
    "OME/METADATA.ome.xml",
    "1/0",
    ".DS_Store",
]


@pytest.mark.parametrize("backend", ["direct", "tensorstore", "zarr-python"])
@pytest.mark.parametrize("name", IN_ZARR)
def test_a_file_in_an_ome_zarr(tmp_path: Path, backend: str, name: str) -> None:
    root = acquire(tmp_path / "a.ome.zarr", backend)
    taken = {entry.casefold() for entry in snapshot(root)}
    if name.casefold() in taken and name not in snapshot(root) and sys.platform != "linux":
        pytest.skip("another case is the same name here")
    if any(name.startswith(f"{entry}/") and (root / entry).is_file() for entry in snapshot(root)):
        (root / name).parent.unlink()  # a folder where a chunk should be
    put(root / name)
    # What has the name of a document is read as one.
    why = r"\.zattrs: is no JSON" if name == ".zattrs" else "do not speak of"
    refused(tmp_path, root, backend, match=why)


@pytest.mark.parametrize(
    "name", ["0/0/5", "0/0/c/1.2.3", "0/0/c/9/9/9", "0/0/.zarray", "0/.zattrs", "2/zarr.json", "OME/mine.xml", "7/c/0"]
)
def test_a_file_in_an_ome_zarr_of_positions(tmp_path: Path, name: str) -> None:
    root = acquire(tmp_path / "a.ome.zarr", "direct", 2)
    put(root / name)
    refused(tmp_path, root, "direct", 2)


@POSIX
@pytest.mark.parametrize("kind", ["link", "folder link", "pipe"])
@pytest.mark.parametrize("name", ["0/c/0/0/0", "0/c/0", "0/zarr.json", "zarr.json"])
def test_a_link_or_a_pipe_in_the_place_of_a_file(tmp_path: Path, kind: str, name: str) -> None:
    root = acquire(tmp_path / "a.ome.zarr", "tensorstore")
    elsewhere = tmp_path / "elsewhere"
    (root / name).rename(elsewhere)
    if kind == "pipe":
        os.mkfifo(root / name)
    else:
        (root / name).symlink_to(elsewhere if kind == "link" else tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError):
        acquire(root, "tensorstore")
    assert set(tmp_path.rglob("*")) == before


def test_another_dataset_in_the_place_of_a_numbered_image(tmp_path: Path) -> None:
    """As other programs number them, without a list of which there are."""
    root = acquire(tmp_path / "a.ome.zarr", "direct", 2)
    document = root / "OME" / "zarr.json"
    document.write_text('{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5"}}}')
    assert why_not_dataset(root) is None
    acquire(tmp_path / "b.ome.zarr", "direct").rename(root / "7")
    assert "'7'" in str(why_not_dataset(root))


# ── keys of chunks ──────────────────────────────────────────────────────────────────────────────────────────────────


def v3(name: str, separator: str | None = None) -> dict[str, object]:
    configuration = {} if separator is None else {"configuration": {"separator": separator}}
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, 8, 4]}}
    return {"shape": [3, 8, 8], "chunk_grid": grid, "chunk_key_encoding": {"name": name, **configuration}}


KEYS = [
    (v3("default"), 3, "c/2/0/1", ["c", "c/2", "c/2/0/2", "c/2/1/0", "2/0/1", "c.2.0.1", "c/2/0/01"]),
    (v3("default", "."), 3, "c.2.0.1", ["c/2/0/1", "2.0.1", "c.2.0", "c.2.0.2"]),
    (v3("v2"), 3, "2.0.1", ["2/0/1", "c/2/0/1"]),
    (v3("v2", "/"), 3, "2/0/1", ["2.0.1"]),
    ({"shape": [3, 8, 8], "chunks": [1, 8, 4]}, 2, "2.0.1", ["2/0/1", "2.0", "c.2.0.1", "2.0.2"]),
    ({"shape": [3, 8, 8], "chunks": [1, 8, 4], "dimension_separator": "/"}, 2, "2/0/1", ["2.0.1", "2/0"]),
    ({"shape": [], "chunks": []}, 2, "0", ["1", "0.0"]),
    ({"shape": [], "chunk_grid": {"configuration": {"chunk_shape": []}}}, 3, "c", ["c/0", "0"]),
]


@pytest.mark.parametrize(("document", "version", "right", "wrong"), KEYS)
def test_which_files_are_chunks(
    tmp_path: Path, document: dict[str, object], version: int, right: str, wrong: list[str]
) -> None:
    grid = grid_of(document, version)
    folder, _, name = right.rpartition("/")
    stem = name.rpartition(".")[0] or name
    own = [
        right,
        *(f"{folder}/{made}".lstrip("/") for made in (f".77.{name}", f"{name}.__lock", f"{stem}.{'0f' * 16}.partial")),
    ]
    for key in own:
        put(tmp_path / key)
    assert list(strange_chunks(tmp_path, PurePosixPath(), grid, ended=True)) == []
    for number, key in enumerate(wrong):
        assert not grid.holds(key, ended=True), key
        if key not in {"c", "c/2", "2/0"}:  # folders, of chunks that are there
            array = tmp_path / f"array {number}"
            put(array / key)
            assert list(strange_chunks(array, PurePosixPath(), grid, ended=True)), key


def test_chunks_beyond_the_last_are_of_a_run_that_did_not_end() -> None:
    grid = grid_of(v3("default"), 3)
    assert grid.holds("c/7/0/1", ended=False)
    assert not grid.holds("c/7/0/1", ended=True)
    assert not grid.holds("c/7/1/1", ended=False)


@pytest.mark.parametrize("document", [{}, {"shape": 3}, {"shape": [3], "chunks": [0]}, {"chunk_grid": []}])
def test_an_array_that_does_not_say_where_its_chunks_are(document: dict[str, object]) -> None:
    assert grid_of(document, 3).holds("c/0/1", ended=True)
    assert grid_of(document, 3).leads_on("c/0")
    assert not grid_of(document, 3).leads_on("results")
    assert grid_of({}, 2).holds("0/1", ended=True) == grid_of({}, 2).holds("0.1", ended=True) is True


# ── in a set of OME-TIFF ────────────────────────────────────────────────────────────────────────────────────────────


def _tiff(path: Path) -> Path:
    tifffile.imwrite(path, np.ones((8, 8), "u1"), ome=True)
    return path


def _of_another_run(path: Path) -> Path:
    made = acquire(path.parent.parent / "other" / "a.ome.tiff", "direct", 4)
    (made / "a_p003.ome.tiff").rename(path)
    return path


IN_SET: dict[str, Callable[[Path], object]] = {
    "a text": lambda root: put(root / "mine.xml", b"<?xml?><OME>mine</OME>"),
    "a companion": lambda root: put(root / "mine.companion.ome", b"<OME><UUID FileName='b.ome.tiff'/></OME>"),
    "a number of the set": lambda root: _tiff(root / "a_p099.ome.tiff"),
    "a file of another run": lambda root: _of_another_run(root / "a_p003.ome.tiff"),
    "another file in the place of one": lambda root: (
        _tiff(root / "a_p001.ome.tiff") and (root / "a_p001.ome.tiff").rename(root / "a_p002.ome.tiff")
    ),
    "a segmentation": lambda root: _tiff(root / "seg.ome.tiff"),
    "a hidden file": lambda root: put(root / ".DS_Store"),
    "a name of one being made": lambda root: put(root / ".7.a_p001.ome.tiff"),
    "a folder": lambda root: put(root / "a_p003.ome.tiff" / "notes.txt"),
}


@pytest.mark.parametrize("backend", ["direct", "tifffile"])
@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
@pytest.mark.parametrize("foreign", IN_SET.values(), ids=IN_SET)
def test_a_file_in_a_set_of_ome_tiff(
    tmp_path: Path, backend: str, foreign: Callable[[Path], object], *, killed: bool
) -> None:
    root = die(tmp_path / "a.ome.tiff", backend) if killed else acquire(tmp_path / "a.ome.tiff", backend, 2)
    assert why_not_dataset(root) is None
    foreign(root)
    refused(tmp_path, tmp_path / "a.ome.tiff", backend, 2)


@POSIX
def test_a_link_in_a_set_of_ome_tiff(tmp_path: Path) -> None:
    root = acquire(tmp_path / "a.ome.tiff", "direct", 2)
    (root / "a_p001.ome.tiff").rename(tmp_path / "kept.ome.tiff")
    (root / "a_p001.ome.tiff").symlink_to(tmp_path / "kept.ome.tiff")
    refused(tmp_path, tmp_path / "a.ome.tiff", "direct", 2)


# ── in a scratch folder ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("notes.txt", MINE),
        ("pos_7.dat", MINE),
        ("frame_metadata.jsonl", MINE),
        (".1.manifest.json", MINE),
        (".1.pos_0.dat", MINE),
        ("sub/pos_0.dat", MINE),
    ],
)
def test_a_file_in_a_scratch_folder(tmp_path: Path, name: str, data: bytes) -> None:
    root = acquire(tmp_path / "a", "scratch")
    put(root / name, data)
    refused(tmp_path, root, "scratch")


@pytest.mark.parametrize("text", ['{"files": []}', '{"files": ["pos_0.dat"], "name": "app"}', "[]"])
def test_a_manifest_of_something_else(tmp_path: Path, text: str) -> None:
    put(tmp_path / "a" / "manifest.json", text.encode())
    put(tmp_path / "a" / "pos_0.dat")
    refused(tmp_path, tmp_path / "a", "scratch")


# ── beside it ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_what_has_the_name_of_the_lock_is_in_the_way(tmp_path: Path, suffix: str, kind: str, *, there: bool) -> None:
    root = tmp_path / f"a{suffix}"
    if there:
        acquire(root, "direct")
    beside, elsewhere = tmp_path / f"a{suffix}.lock", tmp_path / "elsewhere"
    if kind == "file":
        put(beside)
    elif kind == "folder":
        put(beside / "notes.txt")
    elif not hasattr(os, "mkfifo"):
        pytest.skip("no links for everybody, and no pipes")
    elif kind == "pipe":
        os.mkfifo(beside)
    else:
        put(elsewhere, b"")
        beside.symlink_to(elsewhere)
    assert is_locked(root) is False
    if kind == "pipe":
        with pytest.raises(FileExistsError, match="in the way"):
            acquire(root, "direct")
        assert beside.is_fifo()
        return
    refused(tmp_path, root, "direct", match=r"root_path: .*a\.ome\.\w+\.lock is in the way")


def test_an_empty_lock_of_a_killed_process_is_taken(tmp_path: Path) -> None:
    put(tmp_path / "a.ome.zarr.lock", b"")
    acquire(tmp_path / "a.ome.zarr", "direct")
    put(tmp_path / "a.ome.zarr.lock", b"4242\nhost\n")  # where a file system knows no locks
    acquire(tmp_path / "a.ome.zarr", "direct")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.ome.zarr"]


def test_what_takes_the_name_of_the_lock_meanwhile_stays(tmp_path: Path) -> None:
    held = Lock(tmp_path / "a")
    put(tmp_path / "mine").replace(tmp_path / "a.lock")
    held.release()
    assert (tmp_path / "a.lock").read_bytes() == MINE


def test_a_lock_that_only_its_maker_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(lock, "read_regular", denied)
    put(tmp_path / "a.lock", b"")
    Lock(tmp_path / "a").release()
    assert not (tmp_path / "a.lock").exists()
    put(tmp_path / "a.lock")
    with pytest.raises(FileExistsError, match="in the way"):
        Lock(tmp_path / "a")


@pytest.mark.parametrize("word", ["new", "replaced"])
@pytest.mark.parametrize("there", [False, True])
def test_what_is_called_like_one_that_was_being_made(tmp_path: Path, word: str, *, there: bool) -> None:
    root = tmp_path / "a.ome.zarr"
    if there:
        acquire(root, "direct")
    mine = put(tmp_path / f"a.ome.zarr.{word}-01234567" / "precious")
    dataset = acquire(tmp_path / "b.ome.zarr", "direct").rename(tmp_path / "a.ome.zarr.new-89abcdef")
    acquire(root, "direct")
    assert mine.read_bytes() == MINE
    assert why_not_dataset(dataset) is None


@pytest.mark.parametrize(("suffix", "positions"), [(".ome.zarr", 0), (".ome.zarr", 2), (".ome.tiff", 2)])
def test_what_was_put_into_one_that_was_being_made(tmp_path: Path, suffix: str, positions: int) -> None:
    root = acquire(tmp_path / f"a{suffix}", "direct", positions)
    begun = die(tmp_path / f"a{suffix}", "direct", positions, before_replacing=True)
    assert begun.name.startswith(f"{root.name}.new-")
    mine = put(begun / "notes.txt")
    with pytest.warns(UserWarning, match=r"new-\w+ stays, .*: it holds notes\.txt"):
        acquire(tmp_path / f"a{suffix}", "direct", positions)
    assert mine.read_bytes() == MINE
    mine.unlink()
    acquire(tmp_path / f"a{suffix}", "direct", positions)
    assert [entry.name for entry in tmp_path.iterdir()] == [root.name]


@pytest.mark.parametrize("name", ["notes.txt", "plan.npz", "came", "metadata", "waiting", "run.json", "came/notes.txt"])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_what_is_called_like_its_journal(tmp_path: Path, name: str, *, there: bool, more: bool) -> None:
    root = tmp_path / "a.ome.zarr"
    if there:
        acquire(root, "direct", frames=2)  # so that its journal stays
    journal = tmp_path / "a.ome.zarr.journal"
    if "/" in name and (journal / "came").is_file():
        (journal / "came").unlink()
    if more:
        put(journal / "run.json", b'{\n "ome_writers_journal": 1}')
        put(journal / "plan.npz", b"PK\3\4")
    put(journal / name)
    refused(tmp_path, root, "direct", match="journal")


# ── what is ours goes ───────────────────────────────────────────────────────────────────────────────────────────────

CODE = """
    import os, sys
    from pathlib import Path
    import numpy as np
    import ome_writers as ow
    root, backend, positions, before = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    if before:
        Path.rename = lambda path, target: os._exit(9)
    loops = {"p": positions, "t": 3} if positions else {"t": None}
    more = {"format": "scratch"} if backend == "scratch" else {}
    settings = ow.AcquisitionSettings(root_path=root, dtype="uint16", overwrite=True, **more,
        dimensions=ow.dims_from_standard_axes({**loops, "y": 8, "x": 8}))
    stream = ow.create_stream(settings, backend)
    for _ in range(2):
        stream.append(np.ones((8, 8), np.uint16), frame_metadata={"exposure_time": 1.0})
    os._exit(9)
"""


def die(root: Path, backend: str, positions: int = 2, *, before_replacing: bool = False) -> Path:
    """Let a process begin to write a dataset and die; return what it made."""
    there = set(root.parent.iterdir())
    code = "import textwrap; exec(textwrap.dedent('''" + CODE + "'''))"
    words = [str(root), backend, str(positions), "x" if before_replacing else ""]
    assert subprocess.run([sys.executable, "-c", code, *words], check=False).returncode == 9
    made = {path for path in root.parent.iterdir() if not path.name.endswith((".journal", ".lock"))} - there
    return min(made, default=root)


@pytest.mark.parametrize("positions", [0, 2])
@pytest.mark.parametrize(("backend", "suffix"), backends())
def test_what_a_killed_process_left_is_replaced(tmp_path: Path, backend: str, suffix: str, positions: int) -> None:
    if backend == "acquire-zarr" and not positions:
        pytest.skip("writes nothing that goes on without end")
    root = tmp_path / f"a{suffix}"
    die(root, backend, positions)
    made = acquire(root, backend, positions)
    assert [entry.name for entry in tmp_path.iterdir()] == [made.name]


@pytest.mark.parametrize("positions", [0, 2])
@pytest.mark.parametrize(("backend", "suffix"), backends())
def test_what_a_run_left_that_was_stopped_is_replaced(
    tmp_path: Path, backend: str, suffix: str, positions: int
) -> None:
    for frames in (1, 2, None):
        made = acquire(tmp_path / f"a{suffix}", backend, positions, frames)
        assert why_not_dataset(made) is None


def test_the_mark_of_one_that_is_being_made_follows_from_its_name(tmp_path: Path) -> None:
    put(tmp_path / "a.ome.zarr" / "zarr.json", b'{"zarr_format": 3, "attributes": {"ome": {}}}')
    with target.room_at(str(tmp_path / "a.ome.zarr"), overwrite=True) as room:
        assert target.aside(tmp_path / "a.ome.zarr", "new") == []
        room.at.mkdir()
        assert target.aside(tmp_path / "a.ome.zarr", "new") == [room.at]
        room.at.rename(tmp_path / room.at.name.replace("a.ome", "b.ome"))
        assert target.aside(tmp_path / "b.ome.zarr", "new") == []
        (tmp_path / room.at.name.replace("a.ome", "b.ome")).rename(room.at)


def test_what_keeps_a_scratch_folder_is_named(tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": 2, "y": 4, "x": 4})
    settings = ow.AcquisitionSettings(root_path=tmp_path / "a", dtype="uint8", dimensions=dims, format="scratch")
    with ow.create_stream(settings) as stream:
        stream.append(np.ones((4, 4), "uint8"), frame_metadata={"number": 0})
    put(tmp_path / "a" / "zzz.txt")
    with pytest.raises(FileExistsError, match=r"a scratch folder that holds other things, such as 'zzz\.txt'"):
        ow.create_stream(settings.model_copy(update={"overwrite": True}))
