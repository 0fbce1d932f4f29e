"""The scratch writer, driven by runs: in memory, spilled, and at a root, where plain numpy reads what it left."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.serial import loads
from ome_writers.testing import check_writer
from ome_writers.view import open_view
from ome_writers.writers.scratch import ScratchWriter

SIZES = {"t": 3, "p": 2, "c": 2, "y": 4, "x": 5}
FRAMES = np.arange(3 * 2 * 2 * 4 * 5, dtype="uint16").reshape(3, 2, 2, 4, 5) + 1
ALL_BYTES = FRAMES.nbytes


def plan_of(sizes: dict[str, Any], root: object = "", **settings: Any) -> ow.Plan:
    limits: dict[str, Any] = {
        key: settings.pop(key) for key in ("max_memory_bytes", "spill_to_disk") if key in settings
    }
    return ow.compile(
        ow.AcquisitionSettings(
            root_path=str(root),
            dtype="uint16",
            dimensions=ow.dims_from_standard_axes(sizes),
            format=ow.ScratchFormat(**limits),
            **settings,
        )
    )


def manifest(root: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((root / "manifest.json").read_text("utf-8"))
    return said


def in_file(root: Path, array: int, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.fromfile(root / f"pos_{array}.dat", "<u2").reshape(shape)


def read_stored(writer: ScratchWriter, root: str, array: Any) -> NDArray[Any]:  # noqa: ARG001 - as every `ReadArray`
    """Read an array; the file, if there is one, with numpy."""
    if writer.folder is None:
        size = writer._shapes[array.image]  # noqa: SLF001 - what is in memory is nowhere else
        return writer.read(array.image, tuple(slice(0, one) for one in size))
    shape, axes = writer._shapes[array.image], writer._axes  # noqa: SLF001 - as above
    dtype = np.dtype(array.dtype).newbyteorder("<")
    flat = np.fromfile(writer.folder / f"pos_{array.image}.dat", dtype).astype(array.dtype)
    return flat.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))


def spilling() -> Any:
    from attrs import evolve
    from hypothesis import strategies as st

    from ome_writers.testing.conformance import within

    held = within(ScratchWriter.capabilities)
    small = held.map(lambda one: evolve(one, format=ow.ScratchFormat(max_memory_bytes=200)))
    return st.one_of(held, small, small.map(lambda one: evolve(one, root_path="kept")))


def test_it_keeps_the_rules_of_a_writer() -> None:
    check_writer(ScratchWriter, read_stored, settings=spilling(), examples=40)


@pytest.mark.parametrize("name", ["scratch", "memory", "auto"])
def test_every_word_for_scratch_reaches_it(name: str, tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": 2, "y": 4, "x": 5})
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a"),
        dtype="uint16",
        dimensions=dims,
        format=ow.ScratchFormat(backend=name),  # type: ignore[arg-type, unused-ignore]
    )
    assert ow.write(ow.compile(settings), FRAMES[:2, 0, 0]).writer == "scratch"
    assert in_file(tmp_path / "a", 0, (2, 4, 5)).tolist() == FRAMES[:2, 0, 0].tolist()


class TestInMemory:
    def test_nothing_is_made_on_disk(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        writer = ScratchWriter()
        ow.write(plan_of(SIZES, max_memory_bytes=ALL_BYTES, spill_to_disk=False), FRAMES, writer)
        assert writer.folder is None
        assert not list(tmp_path.iterdir())
        assert writer.read(1, (slice(0, 3), 1, slice(0, 4), slice(1, 3))).tolist() == FRAMES[:, 1, 1, :, 1:3].tolist()

    def test_the_view_reads_while_it_runs_and_after(self) -> None:
        with ow.create_stream(plan_of(SIZES).settings) as stream:
            view = stream.view()
            stream.append(FRAMES[0, 0, 0])
            stream.append(FRAMES[0, 0, 1])
            assert view[0, 0].tolist() == FRAMES[0, 0].tolist()
        assert view[0, 0, 1].tolist() == FRAMES[0, 0, 1].tolist()


class TestTooLarge:
    def test_it_is_refused_before_anything_exists(self) -> None:
        with pytest.raises(MemoryError, match=rf"take {ALL_BYTES} bytes, more than max_memory_bytes={ALL_BYTES - 1}"):
            ow.create_stream(plan_of(SIZES, max_memory_bytes=ALL_BYTES - 1, spill_to_disk=False).settings)

    def test_without_end_it_is_refused_at_the_frame_that_exceeds(self) -> None:
        plan = plan_of({"t": None, "y": 4, "x": 5}, max_memory_bytes=2 * 40, spill_to_disk=False)
        stream = ow.create_stream(plan.settings)
        stream.append(FRAMES[0, 0, 0])
        stream.append(FRAMES[0, 0, 1])
        with pytest.raises(ow.WriteError, match="take 120 bytes") as caught:
            stream.append(FRAMES[0, 1, 0])
        assert isinstance(caught.value.__cause__, MemoryError)
        with pytest.raises(ow.WriteError):
            stream.close()
        assert stream.outcome is not None
        assert stream.outcome.frames == 2

    @pytest.mark.parametrize("first", [3, None])
    def test_it_spills_and_the_folder_goes_with_the_writer(
        self, first: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        writer = ScratchWriter()
        plan = plan_of({**SIZES, "t": first}, max_memory_bytes=ALL_BYTES - 1)
        stream = ow.Stream(plan, writer)
        view = stream.view()
        for number, frame in enumerate(FRAMES.reshape(-1, 4, 5)):
            if first is None and number == 8:
                assert writer.folder is None, "two rounds fit"
            stream.append(frame)
        assert view[...].tolist() == FRAMES.tolist()
        stream.close()
        (folder,) = tmp_path.iterdir()
        assert in_file(folder, 1, (3, 2, 4, 5)).tolist() == FRAMES[:, 1].tolist()
        assert view[...].tolist() == FRAMES.tolist()
        del writer, stream, view
        gc.collect()
        assert not list(tmp_path.iterdir())


class TestAtARoot:
    def test_it_can_be_opened_again(self, tmp_path: Path) -> None:
        root = tmp_path / "cells"
        ow.write(plan_of(SIZES, root), FRAMES)
        assert sorted(path.name for path in root.iterdir()) == ["manifest.json", "pos_0.dat", "pos_1.dat"]
        assert in_file(root, 1, (3, 2, 4, 5)).tolist() == FRAMES[:, 1].tolist()
        moved = root.rename(tmp_path / "elsewhere")
        view = open_view(moved)
        assert view.dims == ("t", "p", "c", "y", "x")
        assert view[...].tolist() == FRAMES.tolist()
        assert view[2, 1, :, 1:3, 4].tolist() == FRAMES[2, 1, :, 1:3, 4].tolist()

    def test_the_manifest_says_what_came(self, tmp_path: Path) -> None:
        root = tmp_path / "cells"
        plan = plan_of(SIZES, root)
        with ow.create_stream(plan.settings) as stream:
            said = manifest(root)
            assert (said["verdict"], said["frames"], said["position_shapes"]) == ("running", 0, [[3, 2, 4, 5]] * 2)
            stream.append(FRAMES[0, 0, 0], frame_metadata={"delta_t": 0.5})
            stream.skip()
            stream.append(FRAMES[0, 1, 0])
        stream.set_global_metadata("mine", {"a": 1})
        said = manifest(root)
        assert (said["verdict"], said["frames"], said["planned"], said["missing"]) == ("stopped", 2, 12, [[1, 1]])
        assert said["position_shapes"] == [[1, 2, 4, 5]] * 2
        assert (said["dtype"], said["axes"], said["file_axes"]) == ("uint16", ["t", "c", "y", "x"], [0, 1, 2, 3])
        assert said["frame_metadata"] == [{"delta_t": 0.5, "frame": 0, "array": 0, "storage_index": [0, 0]}]
        assert said["global_metadata"] == {"mine": {"a": 1}}
        assert loads(json.dumps(said["settings"])) == plan.settings
        assert (root / "pos_1.dat").stat().st_size == 2 * 40
        blank = [[0] * 5] * 4
        here = [[FRAMES[0, 0, 0].tolist(), blank], [FRAMES[0, 1, 0].tolist(), blank]]
        assert open_view(root)[0].tolist() == here

    def test_a_loop_that_is_outermost_but_stored_further_in_may_end_early(self, tmp_path: Path) -> None:
        root = tmp_path / "cells"
        plan = plan_of({"z": 9, "t": 2, "y": 4, "x": 5}, root, storage_order=("t", "z", "y", "x"))
        assert plan.layout.arrays[0].dimension_names == ("t", "z", "y", "x")
        frames = FRAMES.reshape(6, 2, 4, 5)
        ow.write(plan, frames.reshape(-1, 4, 5))
        assert manifest(root)["position_shapes"] == [[2, 6, 4, 5]]
        assert in_file(root, 0, (6, 2, 4, 5)).tolist() == frames.tolist()
        assert open_view(root)[...].tolist() == frames.tolist()

    def test_what_a_dead_process_left_can_be_read(self, tmp_path: Path) -> None:
        root = tmp_path / "cells"
        stream = ow.create_stream(plan_of({"t": None, "c": 2, "y": 4, "x": 5}, root).settings)
        for frame in FRAMES[:, 0].reshape(-1, 4, 5):
            stream.append(frame)
        assert manifest(root)["verdict"] == "running"
        assert open_view(root)[...].tolist() == FRAMES[:, 0].tolist()
        stream.close()

    def test_many_positions_need_few_open_files(self, tmp_path: Path) -> None:
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        try:
            frames = np.arange(200 * 4, dtype="uint16").reshape(200, 2, 2)
            ow.write(plan_of({"p": 200, "y": 2, "x": 2}, tmp_path / "a"), frames)
            assert open_view(tmp_path / "a")[...].tolist() == frames.tolist()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_only_a_scratch_dataset_is_replaced(self, tmp_path: Path) -> None:
        root = tmp_path / "cells"
        ow.write(plan_of(SIZES, root), FRAMES)
        with pytest.raises(FileExistsError, match="exists"):
            ow.write(plan_of(SIZES, root), FRAMES)
        ow.write(plan_of(SIZES, root, overwrite=True), FRAMES[::-1])
        assert open_view(root)[...].tolist() == FRAMES[::-1].tolist()
        (root / "thesis.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="other things"):
            ow.write(plan_of(SIZES, root, overwrite=True), FRAMES)
        assert (root / "thesis.txt").read_text() == "mine"

    @pytest.mark.parametrize(
        ("text", "why"),
        [("[]", "got a list"), ("{", "is no JSON"), ('{"dtype": "uint16"}', "'dimensions'"), ("null", "got null")],
    )
    def test_a_strange_manifest_is_an_error(self, text: str, why: str, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=rf"manifest\.json: .*{why}"):
            open_view(tmp_path)

    def test_a_file_that_was_cut_is_an_error(self, tmp_path: Path) -> None:
        root = tmp_path / "cells"
        ow.write(plan_of(SIZES, root), FRAMES)
        with (root / "pos_1.dat").open("rb+") as file:
            file.truncate(100)
        with pytest.raises(OSError, match=r"pos_1\.dat: ends before frame 2"):
            open_view(root)[:, 1]
