"""What scratch leaves in a folder: metadata of frames as they come; room on the disk; the folders of version 0.3."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.documents import documents
from ome_writers.manifest import as_now, read_notes
from ome_writers.readers.scratch import frame_metadata
from ome_writers.view import open_view
from ome_writers.writers.scratch import ScratchWriter

STAMP = ow.Stamp(datetime(2026, 11, 22, tzinfo=UTC), ("0b6c1d1e-3f0a-4c2e-9a3e-000000000000",))


def plan_of(sizes: dict[str, Any], root: object = "", **given: Any) -> ow.Plan:
    dims = ow.dims_from_standard_axes(sizes)
    limits = {key: given.pop(key) for key in ("max_memory_bytes", "spill_to_disk") if key in given}
    settings = {"root_path": str(root), "dtype": "uint16", "dimensions": dims, "format": ow.ScratchFormat(**limits)}
    return ow.compile(ow.AcquisitionSettings(**settings | given))


def opened(root: Path | str, plan: ow.Plan) -> ScratchWriter:
    writer = ScratchWriter()
    writer.open(str(root), plan, documents(plan, STAMP, ow.Outcome(writer="scratch", root=str(root))))
    return writer


class TestFrameMetadata:
    PLAN = plan_of({"t": 3, "p": 2, "y": 4, "x": 5})

    def test_it_is_there_at_once(self, tmp_path: Path) -> None:
        root = tmp_path / "cells"
        writer = opened(root, self.PLAN)
        assert frame_metadata(root) == []
        for frame, (array, index) in enumerate([(0, (0,)), (1, (0,)), (0, (1,))]):
            writer.note(frame, array, index, {"delta_t": frame / 2, "who": "Ähm\n", "frame": "theirs"})
            # As another process sees it.
            line = (root / "frame_metadata.jsonl").read_text("utf-8").splitlines()[-1]
            said = {"_frame": frame, "_pos": array, "_idx": list(index)}
            assert json.loads(line) == said | {"delta_t": frame / 2, "who": "Ähm\n", "frame": "theirs"}
            assert len(frame_metadata(root)) == frame + 1
        writer.abort()
        assert [(one["_frame"], one["array"], one["storage_index"]) for one in frame_metadata(root)] == [
            (0, 0, [0]),
            (1, 1, [0]),
            (2, 0, [1]),
        ]

    def test_a_stream_has_it_on_disk_when_append_returns(self, tmp_path: Path) -> None:
        plan = plan_of({"t": 3, "p": 2, "y": 4, "x": 5}, tmp_path / "a")
        with ow.create_stream(plan.settings) as stream:
            for number in range(4):
                stream.append(np.ones((4, 5), "uint16"), frame_metadata={"delta_t": np.float32(number)})
                assert frame_metadata(tmp_path / "a")[-1] == {
                    "delta_t": number,
                    "frame": number,
                    "array": number % 2,
                    "storage_index": [number // 2],
                }
            stream.append(np.ones((4, 5), "uint16"))
            running = frame_metadata(tmp_path / "a")
        assert len(running) == 4
        assert frame_metadata(tmp_path / "a") == running
        assert read_notes((tmp_path / "a" / "frame_metadata.jsonl").read_bytes()) == running

    def test_where_there_is_no_folder_nothing_is_noted(self) -> None:
        writer = opened("", plan_of({"t": 9, "y": 4, "x": 5}, max_memory_bytes=10))
        writer.note(0, 0, (0,), {"a": 1})
        assert writer.folder is not None, "it spilled"
        assert [path.name for path in writer.folder.iterdir()] == ["pos_0.dat"]

    def test_a_killed_process_loses_none_that_was_taken(self, tmp_path: Path) -> None:
        code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_scratch_files import opened, plan_of
writer = opened(Path(sys.argv[1]), plan_of({{"t": None, "y": 4, "x": 5}}))
for t in range(100_000):
    writer.note(t, 0, (t,), {{"delta_t": t / 2}})
    print(t, flush=True)
"""
        command = [sys.executable, "-c", code, str(tmp_path / "a")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            taken = -1
            while taken < 150:
                taken = int(child.stdout.readline())
            child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            taken = max([taken, *map(int, child.stdout.read().split())])
        found = frame_metadata(tmp_path / "a")
        assert len(found) in (taken + 1, taken + 2)
        assert [one["delta_t"] for one in found] == [t / 2 for t in range(len(found))]

    def test_a_line_that_does_not_end_is_none(self) -> None:
        assert read_notes(b'{"_pos":0,"_idx":[1],"a":1}\n{"_pos":0,"_id') == [
            {"a": 1, "array": 0, "storage_index": [1]}
        ]
        assert read_notes(b"") == []
        with pytest.raises(ValueError, match="must be a JSON object"):
            read_notes(b"[1]\n")

    def test_a_full_disk_is_an_error(self, tmp_path: Path) -> None:
        resource = pytest.importorskip("resource")
        writer = opened(tmp_path / "a", self.PLAN)
        writer.note(0, 0, (0,), {"text": "x" * 50})
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, limit[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                writer.note(1, 1, (0,), {"text": "x" * 100})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        writer.abort()
        assert [one["frame"] for one in frame_metadata(tmp_path / "a")] == [0]


class TestRoomOnTheDisk:
    FRAMES = np.arange(3 * 4 * 5, dtype="uint16").reshape(3, 4, 5)

    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    @pytest.fixture
    def free(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
        """Have a disk with as many free bytes as this says."""
        room, asked = [0], list[Path]()

        def usage(path: str | Path) -> Any:
            assert Path(path).exists(), "a disk is asked for by what is on it"
            asked.append(Path(path))
            return self.Usage(10**9, 0, room[0])

        monkeypatch.setattr(shutil, "disk_usage", usage)
        yield room
        assert asked

    def test_what_does_not_fit_is_refused_before_anything_exists(self, tmp_path: Path, free: list[int]) -> None:
        plan = plan_of({"t": 3, "y": 4, "x": 5}, tmp_path / "new" / "a")
        free[0] = 119
        with pytest.raises(ow.PlanError, match=r"root_path: the arrays take 120 bytes; the disk of .*a has 119 left"):
            ow.write(plan, self.FRAMES)
        assert not list(tmp_path.rglob("pos*"))
        free[0] = 120
        assert ow.write(plan, self.FRAMES).verdict == "complete"

    def test_without_end_the_first_round_must_fit(self, tmp_path: Path, free: list[int]) -> None:
        plan = plan_of({"t": None, "p": 2, "c": 2, "y": 4, "x": 5}, tmp_path / "a")
        free[0] = 159
        with pytest.raises(ow.PlanError, match="take 160 bytes"):
            ow.create_stream(plan.settings)
        free[0] = 160
        with ow.create_stream(plan.settings) as stream:
            for _ in range(9):
                stream.append(self.FRAMES[0])
        assert open_view(tmp_path / "a").shape == (3, 2, 2, 4, 5)

    def test_the_room_of_what_is_replaced_counts(self, tmp_path: Path, free: list[int]) -> None:
        plan = plan_of({"t": 3, "y": 64, "x": 64}, tmp_path / "a", overwrite=True)
        frames = np.ones((3, 64, 64), "uint16")
        free[0] = frames.nbytes
        ow.write(plan, frames)
        free[0] = 100
        ow.write(plan, frames + 1)
        assert (open_view(tmp_path / "a")[...] == 2).all()
        larger = plan_of({"t": 9, "y": 64, "x": 64}, tmp_path / "a", overwrite=True)
        with pytest.raises(ow.PlanError, match="take 73728 bytes"):
            ow.write(larger, np.ones((9, 64, 64), "uint16"))
        assert (open_view(tmp_path / "a")[...] == 2).all()

    def test_what_is_too_large_for_memory_and_for_the_disk_is_refused(
        self, tmp_path: Path, free: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        plan = plan_of({"t": 3, "y": 4, "x": 5}, max_memory_bytes=80)
        free[0] = 100
        with pytest.raises(OSError, match="more than max_memory_bytes=80, and the disk of temporary files has 100"):
            ow.create_stream(plan.settings)
        assert not list(tmp_path.iterdir())
        # Without end it is seen when memory is full; what came before stays.
        writer = ScratchWriter()
        stream = ow.Stream(plan_of({"t": None, "y": 4, "x": 5}, max_memory_bytes=80), writer)
        stream.append(self.FRAMES[0])
        stream.append(self.FRAMES[1])
        with pytest.raises(ow.WriteError, match=r"frame 2 \(t=2\): OSError"):
            stream.append(self.FRAMES[2])
        with pytest.raises(ow.WriteError):
            stream.close()
        assert writer.read(0, (slice(0, 2), slice(0, 4), slice(0, 5))).tolist() == self.FRAMES[:2].tolist()
        assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_while_memory_goes_over_to_files_leaves_both_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    writer = ScratchWriter()
    stream = ow.Stream(plan_of({"t": None, "y": 64, "x": 64}, max_memory_bytes=20_000), writer)
    frames = np.arange(3 * 64 * 64, dtype="uint16").reshape(3, 64, 64)
    stream.append(frames[0])
    stream.append(frames[1])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, limit[1]))
    try:
        with pytest.raises(ow.WriteError, match=r"frame 2 \(t=2\): OSError"):
            stream.append(frames[2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    with pytest.raises(ow.WriteError):
        stream.close()
    assert not list(tmp_path.iterdir())
    assert writer.read(0, (slice(0, 2), slice(0, 64), slice(0, 64))).tolist() == frames[:2].tolist()
    del writer, stream
    gc.collect()


# ── folders of version 0.3 ───────────────────────────────────────────────────────────────────────────────────────────

FRAME = [{"name": "y", "count": 4, "type": "space"}, {"name": "x", "count": 5, "type": "space"}]
TWO = {"name": "p", "count": 2, "type": "position", "coords": [{"name": "A"}, {"name": "B"}]}
WELLS = [
    {"name": "A1", "plate_row": "A", "plate_column": "1"},
    {"name": "B", "plate_row": "B", "plate_column": "1"},
]


def manifest_of_0_3(dimensions: list[Any], shapes: list[list[int]], **more: Any) -> dict[str, Any]:
    said = {"version": "0.3.2", "root_path": "/gone", "dimensions": [*dimensions, *FRAME], "dtype": "uint16"}
    after = {"format": {}, "overwrite": True, "position_shapes": shapes, "global_metadata": {}}
    return said | after | more


OLD: dict[str, tuple[dict[str, Any], list[list[int]], Any]] = {
    "finished": (
        manifest_of_0_3(
            [
                {"name": "t", "count": 3, "type": "time"},
                TWO,
                {"name": "c", "count": 2, "type": "channel", "coords": [{"name": "DAPI"}, {"name": "GFP"}]},
            ],
            [[3, 2, 4, 5], [3, 2, 4, 5]],
        ),
        [[1, 2, 5, 6, 9, 10], [3, 4, 7, 8, 11, 12]],
        [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]],
    ),
    "died": (
        manifest_of_0_3(
            [{"name": "t", "count": None, "type": "time"}, {"name": "c", "count": 2, "type": "channel"}], [[1, 2, 4, 5]]
        ),
        [[1, 2, 3, 4, 5, 0]],
        [[1, 2], [3, 4], [5, 0]],
    ),
    "positions of different lengths": (
        manifest_of_0_3(
            [{"name": "t", "count": None, "type": "time"}, TWO],
            [[4, 4, 5], [3, 4, 5]],
            global_metadata={"mine": {"a": 1}},
        ),
        [[1, 3, 0, 10], [2, 0, 9]],
        [[1, 2], [3, 0], [0, 9], [10, 0]],
    ),
    "stored in another order": (
        manifest_of_0_3(
            [
                {"name": "p", "count": 2, "type": "position", "coords": WELLS},
                {"name": "z", "count": 2, "type": "space", "unit": "micrometer", "scale": 2.0},
                {"name": "t", "count": 3, "type": "time"},
            ],
            [[3, 2, 4, 5], [3, 2, 4, 5]],
            dtype="float32",
            storage_order=["p", "t", "z", "y", "x"],
            plate={"row_names": ["A", "B"], "column_names": ["1"]},
        ),
        [[1, 4, 2, 5, 3, 6], [7, 10, 8, 11, 9, 12]],
        [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]],
    ),
}
"""What ome-writers 0.3.2 wrote: its manifest, the first pixel of each frame in its files, and in the loops' order."""


@pytest.mark.parametrize("name", OLD)
def test_folders_of_version_0_3_can_be_opened(tmp_path: Path, name: str) -> None:
    said, in_files, in_loops = OLD[name]
    (tmp_path / "manifest.json").write_text(json.dumps(said), "utf-8")
    (tmp_path / "frame_metadata.jsonl").write_text('{"_pos": 0, "_idx": [0], "a": "x"}\n', "utf-8")
    dtype = said["dtype"]
    for number, frames in enumerate(in_files):
        np.repeat(np.array(frames, dtype), 20).tofile(tmp_path / f"pos_{number}.dat")
    view = open_view(tmp_path)
    assert view.dims == tuple(dim["name"] for dim in said["dimensions"])
    assert view.dtype == dtype
    assert view[..., 0, 0].tolist() == view[..., 3, 4].tolist() == in_loops
    if name == "finished":
        assert view.coords["c"] == ["DAPI", "GFP"]
        assert view.coords["p"] == ["A", "B"]
    assert frame_metadata(tmp_path) == [{"a": "x", "array": 0, "storage_index": [0]}]


def test_a_folder_of_version_0_3_may_be_replaced(tmp_path: Path) -> None:
    root = tmp_path / "a"
    root.mkdir()
    for name in ("manifest.json", "frame_metadata.jsonl", "pos_0.dat", "pos_1.dat"):
        (root / name).write_text(json.dumps(OLD["finished"][0]))
    plan = plan_of({"t": 2, "y": 4, "x": 5}, root, overwrite=True)
    (root / "pos_2.dat").write_text("not one of its two positions")
    with pytest.raises(FileExistsError, match=r"pos_2\.dat|other things"):
        ow.write(plan, np.ones((2, 4, 5), "uint16"))
    (root / "pos_2.dat").unlink()
    assert ow.write(plan, np.ones((2, 4, 5), "uint16")).verdict == "complete"
    assert (open_view(root)[...] == 1).all()


def test_a_manifest_of_today_is_left_as_it_is() -> None:
    said = {"file_axes": [0, 1], "version": "1.0.0"}
    assert as_now(said) is said
