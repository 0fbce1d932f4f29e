"""The journal: what stands in it, what is left of it after a fault, and what is refused."""

from __future__ import annotations

import gc
import os
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import recordfile
from ome_writers.journal import journal_folder, journal_of
from ome_writers.journal_file import begun_from_json, place_in, said, told_by, value_in
from ome_writers.recordfile import Lines, Records
from ome_writers.spool import Spool, kept_in
from ome_writers.testing import Failing
from ome_writers.writer import writer_named


def settings_in(folder: Path, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": 4, "c": 2, "y": 6, "x": 7}, chunk_shapes=more.pop("chunks", None))
    return ow.AcquisitionSettings(
        **{"root_path": str(folder / "a.ome.zarr"), "dtype": "uint16", "dimensions": dims} | more
    )


def pixels(number: int) -> NDArray[Any]:
    return np.full((6, 7), number + 1, "uint16")


def send(stream: ow.Stream, frames: range) -> None:
    for number in frames:
        stream.append(pixels(number), frame_metadata={"exposure_time": 0.5, "number": number})


def abandoned(folder: Path, frames: int = 5, **more: Any) -> Path:
    """Return a dataset whose run did not end, and its journal."""
    stream = ow.create_stream(settings_in(folder, **more))
    send(stream, range(frames))
    stream._run.abort()  # noqa: SLF001 - as a process that dies
    return Path(stream.plan.settings.output_path)


def test_a_byte_a_frame_and_a_line_for_its_metadata(tmp_path: Path) -> None:
    journal = journal_folder(tmp_path / "a.ome.zarr")
    with ow.create_stream(settings_in(tmp_path)) as stream:
        send(stream, range(2))
        stream.skip()
        stream.append(pixels(3))
        assert (journal / "came").read_bytes().rstrip(b"\0") == bytes([1, 1, 3, 1])
        lines = (journal / "metadata").read_bytes().splitlines()
        assert [line.split(b" ", 2)[1:] for line in lines] == [
            [b"0", b'{"exposure_time":0.5,"number":0}'],
            [b"1", b'{"exposure_time":0.5,"number":1}'],
        ]
        assert all(int(line[:8], 16) == zlib.crc32(line[9:]) for line in lines)
        assert ow.load_plan(journal / "plan.npz").frames == 8
        stream.skip(frames=4)
    assert stream.outcome is not None
    assert stream.outcome.verdict == "complete"
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]
    assert dict(stream.outcome.records) == {n: {"exposure_time": 0.5, "number": n} for n in range(2)}


def test_no_journal_where_nothing_persists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ow.create_stream(settings_in(tmp_path), "memory") as stream:
        send(stream, range(2))
        assert stream.safe_frames == 0
    assert not list(tmp_path.iterdir())


def test_metadata_take_no_memory(tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": 6000, "y": 1, "x": 1}, chunk_shapes={"t": 1}, shard_shapes={"t": 6000})
    with ow.create_stream(settings_in(tmp_path, dimensions=dims, dtype="uint8")) as stream:
        frame = np.zeros((1, 1), "uint8")
        held = []
        tracemalloc.start()
        for number in range(6000):
            stream.append(frame, frame_metadata={"exposure_time": 0.5, "number": number, "laser": {"on": True}})
            if number in (1000, 5000):
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert (held[1] - held[0]) / 4000 < 50
        stream.close()
    assert stream.outcome is not None
    assert stream.outcome.records[5999] == {"exposure_time": 0.5, "number": 5999, "laser": {"on": True}}


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_records_outlive_their_file(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordfile, "_IN_MEMORY", limit or 64)
    records = Records(Lines(tmp_path / "metadata"))
    for place in (3, 1, 2, 1):
        records.add(place, {"place": place})
    records.lines.settle()
    records.lines.settle()
    (tmp_path / "metadata").unlink()
    records.add(4, {"place": 4})
    assert dict(records) == {place: {"place": place} for place in (1, 2, 3, 4)}
    assert list(records.below(3)) == [1, 2]
    assert 3 not in records.below(3)
    assert len(records.below(3)) == 2
    with pytest.raises(KeyError):
        records[7]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"nonsense\n",
        said(3, {"a": 1})[:-1],
        b"0" + said(3, {"a": 1}),
        said(3, {"a": 1}).replace(b"3", b"4", 1),
    ],
)
def test_a_line_that_was_torn_or_changed_is_none(line: bytes) -> None:
    if line[9:10] != b"3":
        assert place_in(line) is None


def test_what_follows_a_torn_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "metadata"
    path.write_bytes(said(0, {"n": 0}) + said(1, {"n": 1})[:12])
    records = Records(Lines(path))
    assert list(records.load()) == []
    records.add(2, {"n": 2})
    again = Records(Lines(path))
    assert list(again.load()) == []
    assert dict(again) == {0: {"n": 0}, 2: {"n": 2}}


def test_what_makes_no_sense_is_left_out() -> None:
    good = {"groups": {"": [{"where": ["a", 0], "value": 1, "gone": False}, {"where": [1.5]}, 3]}, "texts": {"x": 1}}
    told = told_by(
        [{"globals": {"lab": 3, "room": {"a": 1}}, "put": 1}, {"edits": good}, {"ended": "stopped", "error": 4}]
    )
    assert dict(told.globals) == {"room": {"a": 1}}
    assert [change.where for change in told.edits.groups[""]] == [("a", 0)]
    assert (dict(told.edits.texts), told.put, told.ended, told.error) == ({}, False, "stopped", None)
    assert told_by([{"edits": {"groups": 1, "texts": 2}}]).edits.groups == {}
    deep = b'{"a":' * 100_000
    data = b"1 " + deep
    assert value_in(b"%08x %s\n" % (zlib.crc32(data), data)) == {}


@pytest.mark.parametrize("data", [b"", b"[]", b'{"ome_writers_journal":2}', b'{"ome_writers_journal":1}', b"[" * 10**5])
def test_a_journal_of_something_else(data: bytes) -> None:
    with pytest.raises(ow.PlanError, match=r"^(is no journal|must name|ome_writers_journal: must be 1)"):
        begun_from_json(data)


def test_what_is_said_under_a_name_that_readers_know_is_left_out() -> None:
    assert dict(told_by([{"globals": {"ome": {"a": 1}, "ome-writers/run": {}, "": {}, "lab": {"b": 2}}}]).globals) == {
        "lab": {"b": 2}
    }


@pytest.mark.parametrize("kind", ["link", "second name", "pipe", "folder"])
@pytest.mark.parametrize("name", ["came", "metadata", "waiting", "run.json"])
def test_what_is_no_file_of_its_own_is_neither_read_nor_written(tmp_path: Path, name: str, kind: str) -> None:
    root = abandoned(tmp_path, chunks={"t": 3})
    mine = tmp_path / "thesis"
    mine.write_bytes(b"thesis" * 10)
    planted = journal_folder(root) / name
    planted.unlink(missing_ok=True)
    if kind == "link":
        planted.symlink_to(mine)
    elif kind == "second name":
        planted.hardlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(planted)
    else:
        planted.mkdir()
    if (name, kind) == ("waiting", "second name"):
        ow.recover(root)  # what is there is read, and is no frame
    else:
        with pytest.raises(ow.PlanError, match=rf"{name}: (is|must)" if name != "run.json" else "run.json"):
            ow.recover(root)
    assert mine.read_bytes() == b"thesis" * 10


def test_a_file_of_holes_stands_for_no_frames(tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": None, "y": 6, "x": 7})
    root = abandoned(tmp_path, dimensions=dims)
    with (journal_folder(root) / "came").open("r+b") as file:
        file.truncate(2**27)
    with pytest.raises(ow.PlanError, match="may leave at most 67108864 places open; leaves 134217723"):
        ow.recover(root)


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    root = abandoned(tmp_path)
    with (journal_folder(root) / "metadata").open("r+b") as file:
        file.truncate(2**32)
    assert len(ow.recover(root).records) == 5
    assert (journal_folder(root) / "metadata").stat().st_size < 2**12


def test_more_came_than_there_are_places(tmp_path: Path) -> None:
    root = abandoned(tmp_path)
    with (journal_folder(root) / "came").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(
        ow.PlanError, match="must have at most 8 bytes, one for each place of the plan; has 1099511627776"
    ):
        ow.recover(root)


def test_frames_that_wait_and_are_gone_are_missing(tmp_path: Path) -> None:
    root = abandoned(tmp_path, chunks={"t": 4})
    journal = journal_of(root)
    assert journal is not None
    journal.keep(0, pixels(0))
    journal.mark(1, 2)
    journal.mark(2, 1)
    journal.close()
    with (journal_folder(root) / "waiting").open("ab") as file:
        file.write(b"OMEw" + bytes(40))
    outcome = ow.recover(root)
    assert outcome.missing.tolist() == [1]
    assert np.asarray(ow.open_view(root))[0, 0, 0, 0] == 1


def test_the_room_of_frames_that_are_let_go_of_is_used_again(tmp_path: Path) -> None:
    spool = Spool(None, tmp_path / "waiting")
    for number in range(3):
        spool.keep(number, pixels(number))
    size = (tmp_path / "waiting").stat().st_size
    spool.release([1, 9])
    spool.keep(7, pixels(7))
    assert (tmp_path / "waiting").stat().st_size == size
    assert [number for number, _, _ in kept_in(tmp_path / "waiting")] == [0, 7, 2]
    np.testing.assert_array_equal(spool.frame(7), pixels(7))
    spool.release([0, 2, 7])
    assert (tmp_path / "waiting").stat().st_size == 0
    spool.close()
    assert list(kept_in(tmp_path / "nothing")) == []


def test_what_is_in_the_way_of_a_journal_stays(tmp_path: Path) -> None:
    folder = journal_folder(tmp_path / "a.ome.zarr")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"a\.ome\.zarr\.journal is in the way, and is no journal"):
        ow.create_stream(settings_in(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr.journal"]
    assert (folder / "thesis.txt").exists()


def test_the_journal_of_a_dataset_that_is_replaced_goes_when_the_new_one_stands(tmp_path: Path) -> None:
    root = abandoned(tmp_path)
    before = (journal_folder(root) / "run.json").read_bytes()

    class Refusing(Failing):
        def open(self, *_: Any, **__: Any) -> None:
            raise OSError("no room")

    replacing = settings_in(tmp_path, overwrite=True)
    with pytest.raises(OSError, match="no room"):
        ow.create_stream(replacing, Refusing(writer_named("direct")))
    assert (journal_folder(root) / "run.json").read_bytes() == before
    assert ow.recover(root).frames == 5
    with ow.create_stream(replacing) as stream:
        assert (journal_folder(root) / "run.json").read_bytes() != before
        send(stream, range(8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_a_disk_that_is_full_for_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ow.create_stream(settings_in(tmp_path))
    send(stream, range(3))
    journal = stream._run.journal  # noqa: SLF001 - no disk is full for so little
    assert journal is not None

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.records.lines, "append", full)
    with pytest.raises(ow.WriteError, match=r"frame 3 \(t=1 c=1\): OSError: .*No space left on device"):
        send(stream, range(3, 4))
    with pytest.raises(ow.WriteError, match="No space left"):
        stream.close()
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("failed", 3)
    assert ow.recover(tmp_path / "a.ome.zarr").frames == 3
