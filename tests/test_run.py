"""The rules that the shell keeps for every writer, seen with the memory writer and with writers that fail."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.layout import Unit


class Recorder:
    """A writer that keeps what it is told; `fail_at` names the write that raises, or those that do."""

    def __init__(self, unit: Unit = "frame", fail_at: int | range | None = None, **capabilities: Any) -> None:
        given = {
            "name": "recorder",
            "formats": frozenset({"ome-zarr"}),
            "unit": unit,
            "persistent": False,
        } | capabilities
        self.capabilities = ow.Capabilities(**given)
        self.fail_at = fail_at if isinstance(fail_at, range) else (fail_at,)
        self.writes = 0
        self.blocks: list[ow.Block] = []
        self.calls: list[str] = []
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.documents: Sequence[ow.Document] = ()

    def open(self, root: str, plan: ow.Plan, documents: Sequence[ow.Document], /, *, attach: bool = False) -> None:
        self.calls.append("open")
        self.documents = documents

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        self.shapes[array] = shape

    def write(self, blocks: Sequence[ow.Block], /) -> None:
        self.writes += 1
        if self.writes - 1 in self.fail_at:
            raise OSError(28, "No space left on device")
        self.blocks += [block._replace(frames=tuple(block.frames), data=block.data.copy()) for block in blocks]

    def read(self, array: int, selection: Any, /) -> NDArray[Any]:
        raise ValueError("a recorder cannot be read")

    def flush(self, documents: Sequence[ow.Document] | None = None, /, *, durable: bool = False) -> None:
        self.calls.append("flush")

    def close(self, documents: Sequence[ow.Document], /) -> None:
        self.calls.append("close")
        self.documents = documents

    def abort(self) -> None:
        self.calls.append("abort")

    @property
    def said(self) -> dict[str, Any]:
        """What the documents say of the run."""
        return dict(self.documents[0].body["ome_writers"])


SIZES = {"t": 3, "c": 2, "y": 4, "x": 6}


def plan_of(sizes: dict[str, Any] = SIZES, chunks: dict[str, int] | None = None, **kwargs: Any) -> ow.Plan:
    dimensions = ow.dims_from_standard_axes(sizes, chunks)
    return ow.compile(
        ow.AcquisitionSettings(**{"root_path": "a.ome.zarr", "dtype": "uint16", "dimensions": dimensions, **kwargs})
    )


def frame(value: int, shape: tuple[int, int] = (4, 6), dtype: str = "uint16") -> NDArray[Any]:
    return np.full(shape, value, dtype)


class TestFramesThatDoNotFit:
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            (frame(0, (6, 4)), r"got \(6, 4\) uint16"),
            (frame(0, (1, 6)), r"got \(1, 6\) uint16"),
            (frame(0, dtype="uint8"), r"got \(4, 6\) uint8"),
            (frame(0, dtype="float32"), r"got \(4, 6\) float32"),
            (np.zeros((1, 4, 6), "uint16"), r"got \(1, 4, 6\) uint16"),
            (np.uint16(3), r"got \(\) uint16"),
            ("pixels", r"got \(\) <U6"),
        ],
    )
    def test_a_refused_frame_takes_no_place(self, bad: Any, words: str) -> None:
        writer = Recorder()
        with ow.Stream(plan_of(), writer) as stream:
            stream.append(frame(10))
            with pytest.raises(ow.FrameError, match=r"frame 1 \(t=0 c=1\): expected \(4, 6\) uint16; " + words):
                stream.append(bad)
            stream.append(frame(11))
        assert [block.start for block in writer.blocks] == [(0, 0), (0, 1)]
        assert [block.data.max() for block in writer.blocks] == [10, 11]

    def test_refused_metadata_takes_the_frame_with_it(self) -> None:
        writer = Recorder()
        with ow.Stream(plan_of(), writer) as stream:
            with pytest.raises(ow.FrameError, match=r"frame 0 \(t=0 c=0\): .*camera"):
                stream.append(frame(10), frame_metadata={"camera": object()})
            stream.append(frame(11), frame_metadata={"gain": np.float32(1.5)})
        assert [block.data.max() for block in writer.blocks] == [11]
        assert writer.said["frame_metadata"] == [{"gain": 1.5, "storage_index": [0, 0]}]

    def test_byte_order_and_memory_layout_may_be_any(self) -> None:
        writer = Recorder()
        pixels = np.arange(24, dtype="uint16").reshape(4, 6)
        came = [
            pixels.astype(">u2"),
            np.asfortranarray(pixels),
            np.repeat(pixels, 2, axis=1)[:, ::2],
            pixels.view(np.matrix),
        ]
        with ow.Stream(plan_of(), writer) as stream:
            for one in came:
                stream.append(one)
        for block in writer.blocks:
            np.testing.assert_array_equal(block.data[0, 0], np.arange(24).reshape(4, 6))
            assert block.data.flags.c_contiguous
            assert block.data.dtype == np.dtype("uint16")
            assert block.data.dtype.isnative

    def test_one_frame_too_many(self) -> None:
        writer = Recorder()
        with ow.Stream(plan_of(), writer) as stream:
            for number in range(6):
                stream.append(frame(number))
            with pytest.raises(ow.PlanExhausted, match="all 6 planned frames"):
                stream.append(frame(6))
        assert stream.outcome is not None
        assert stream.outcome.verdict == "complete"
        assert len(writer.blocks) == 6

    def test_after_close(self) -> None:
        stream = ow.Stream(plan_of(), Recorder())
        stream.close()
        stream.close()
        with pytest.raises(ValueError, match="the stream is closed"):
            stream.append(frame(0))
        with pytest.raises(ValueError, match="the stream is closed"):
            stream.skip()
        assert stream.closed


class TestSkipping:
    def test_a_skip_that_goes_too_far_skips_nothing(self) -> None:
        writer = Recorder()
        with ow.Stream(plan_of(), writer) as stream:
            stream.append(frame(1))
            with pytest.raises(ow.PlanExhausted, match="cannot skip 6 frames"):
                stream.skip(frames=6)
            with pytest.raises(ValueError, match="at least 1; got 0"):
                stream.skip(frames=0)
            stream.append(frame(2))
        assert [block.start for block in writer.blocks] == [(0, 0), (0, 1)]

    def test_a_hole_in_a_block_is_filled(self) -> None:
        writer = Recorder("chunk")
        with ow.Stream(plan_of({"t": 4, "y": 4, "x": 6}, {"t": 2}), writer) as stream:
            for number in range(2):  # the first block leaves its pixels in the buffer that the second one uses
                stream.append(frame(number + 1))
            stream.skip()
            stream.append(frame(4))
        assert [block.data[:, 0, 0].tolist() for block in writer.blocks] == [[1, 2], [0, 4]]
        assert [list(block.frames) for block in writer.blocks] == [[0, 1], [3]]
        assert stream.outcome is not None
        assert stream.outcome.missing.tolist() == [2]
        assert writer.said["missing"] == [[2, 2]]

    def test_a_block_without_frames_is_not_written(self) -> None:
        writer = Recorder("chunk")
        with ow.Stream(plan_of({"t": 4, "y": 4, "x": 6}, {"t": 2}), writer) as stream:
            stream.skip(frames=2)
            stream.append(frame(3))
            stream.append(frame(4))
        assert [block.start for block in writer.blocks] == [(2,)]

    def test_an_axis_without_end_grows_over_skipped_frames(self) -> None:
        writer = Recorder()
        with ow.Stream(plan_of({"t": None, "y": 4, "x": 6}), writer) as stream:
            stream.append(frame(1))
            stream.skip(frames=4)
            stream.append(frame(6))
            stream.skip()
        assert writer.shapes == {0: (7, 4, 6)}


class TestBlocks:
    def test_an_unfinished_block_is_stored_at_close(self) -> None:
        writer = Recorder("chunk")
        with ow.Stream(plan_of({"t": 9, "y": 4, "x": 6}, {"t": 4}), writer) as stream:
            for number in range(6):
                stream.append(frame(number + 1))
        assert [block.data[:, 0, 0].tolist() for block in writer.blocks] == [[1, 2, 3, 4], [5, 6, 0, 0]]
        assert writer.shapes == {0: (6, 4, 6)}

    def test_the_edge_cuts_a_block_off(self) -> None:
        writer = Recorder("chunk")
        with ow.Stream(plan_of({"t": 3, "c": 3, "y": 4, "x": 6}, {"t": 2, "c": 2}), writer) as stream:
            for number in range(9):
                stream.append(frame(number))
        assert {block.start: block.data[..., 0, 0].tolist() for block in writer.blocks} == {
            (0, 0): [[0, 1], [3, 4]],
            (0, 2): [[2], [5]],
            (2, 0): [[6, 7]],
            (2, 2): [[8]],
        }

    def test_an_axis_without_end_grows_by_blocks_and_ends_with_the_frames(self) -> None:
        writer = Recorder("chunk")
        stream = ow.Stream(plan_of({"t": None, "y": 4, "x": 6}, {"t": 3}), writer)
        seen = []
        for number in range(5):
            stream.append(frame(number))
            seen.append(writer.shapes.get(0))
        stream.close()
        assert seen == [None, None, None, (6, 4, 6), (6, 4, 6)]
        assert writer.shapes[0] == (5, 4, 6)

    def test_the_buffer_of_the_caller_may_be_reused(self) -> None:
        writer = Recorder("shard")
        buffer = np.empty((4, 6), "uint16")
        with ow.Stream(plan_of({"t": 6, "y": 4, "x": 6}, {"t": 3}), writer) as stream:
            for number in range(6):
                buffer[:] = number
                stream.append(buffer)
                buffer[:] = 999
        assert [block.data[:, 0, 0].tolist() for block in writer.blocks] == [[0, 1, 2], [3, 4, 5]]


class TestFailures:
    def test_the_error_names_the_frame_and_no_more_are_taken(self) -> None:
        writer = Recorder(fail_at=3)
        stream = ow.Stream(plan_of(), writer)
        for number in range(3):
            stream.append(frame(number))
        with pytest.raises(ow.WriteError, match=r"frame 3 \(t=1 c=1\): OSError: .*No space left on device") as failure:
            stream.append(frame(3))
        assert failure.value.frame == 3
        assert isinstance(failure.value.__cause__, OSError)
        with pytest.raises(ow.WriteError, match="no more frames are taken after this"):
            stream.append(frame(3))
        with pytest.raises(ow.WriteError, match="frame 3"):
            stream.close()
        assert stream.outcome is not None
        assert (stream.outcome.verdict, stream.outcome.frames) == ("failed", 3)
        assert writer.said["verdict"] == "failed"
        assert len(writer.blocks) == 3

    @pytest.mark.parametrize(("fail_at", "missing"), [(range(1, 9), [3, 4]), (range(1, 3), []), (1, [])])
    def test_frames_of_a_block_that_was_not_stored_are_missing_unless_it_can_be_in_the_end(
        self, fail_at: int | range, missing: list[int]
    ) -> None:
        writer = Recorder("chunk", fail_at=fail_at)
        stream = ow.Stream(plan_of({"t": 9, "y": 4, "x": 6}, {"t": 3}), writer)
        for number in range(5):
            stream.append(frame(number + 1))
        with pytest.raises(ow.WriteError):
            stream.append(frame(6))
        with pytest.raises(ow.WriteError):
            stream.close()
        assert stream.outcome is not None
        assert (stream.outcome.cursor, stream.outcome.missing.tolist()) == (5, missing)
        # The frame that was refused with the error is not in it.
        last, there = writer.blocks[-1], ((0, 1, 2), [1, 2, 3]) if missing else ((3, 4), [4, 5, 0])
        assert (last.frames, last.data[:, 0, 0].tolist()) == there

    def test_an_interrupted_block_is_stored_at_close(self) -> None:
        class Interrupted(Recorder):
            def write(self, blocks: Sequence[ow.Block], /) -> None:
                if not self.writes:
                    self.writes += 1
                    raise KeyboardInterrupt
                super().write(blocks)

        writer = Interrupted("chunk")
        with (
            pytest.raises(KeyboardInterrupt),
            ow.Stream(plan_of({"t": 8, "y": 4, "x": 6}, {"t": 4}), writer) as stream,
        ):
            for number in range(4):
                stream.append(frame(number + 1))
        assert stream.outcome is not None
        assert (stream.outcome.verdict, stream.outcome.frames, stream.outcome.missing.tolist()) == ("stopped", 3, [])
        assert writer.blocks[0].data[:3, 0, 0].tolist() == [1, 2, 3]
        assert writer.shapes == {0: (3, 4, 6)}

    def test_in_a_with_statement_it_comes_once(self) -> None:
        with pytest.raises(ow.WriteError) as failure, ow.Stream(plan_of(), Recorder(fail_at=0)) as stream:
            stream.append(frame(0))
        assert failure.value.__notes__ == [] if hasattr(failure.value, "__notes__") else True

    def test_an_error_at_the_last_block_comes_from_close(self) -> None:
        writer = Recorder("chunk", fail_at=0)
        stream = ow.Stream(plan_of({"t": 4, "y": 4, "x": 6}, {"t": 3}), writer)
        stream.append(frame(0))
        with pytest.raises(ow.WriteError, match="after 1 frames: OSError"):
            stream.close()
        assert writer.said["verdict"] == "failed"
        assert stream.closed

    def test_an_error_of_the_caller_stops_the_run(self) -> None:
        writer = Recorder()
        with pytest.raises(KeyError, match="laser"), ow.Stream(plan_of(), writer) as stream:
            stream.append(frame(0))
            raise KeyError("laser")
        assert stream.outcome is not None
        assert (stream.outcome.verdict, stream.outcome.error) == ("stopped", "KeyError: 'laser'")
        assert writer.said["verdict"] == "stopped"
        assert writer.shapes == {0: (1, 2, 4, 6)}

    def test_a_writer_that_cannot_close_is_let_go(self) -> None:
        class Unclosable(Recorder):
            def close(self, documents: Sequence[ow.Document], /) -> None:
                raise OSError("disk gone")

        writer = Unclosable()
        stream = ow.Stream(plan_of(), writer)
        with pytest.raises(ow.WriteError, match="disk gone"):
            stream.close()
        assert writer.calls == ["open", "flush", "abort", "open", "abort"]
        assert stream.outcome is not None
        assert stream.outcome.verdict == "failed"


class TestBeforeAnythingExists:
    def test_what_the_writer_cannot_do_is_said_all_at_once(self, tmp_path: Path) -> None:
        writer = Recorder(
            formats=frozenset({"ome-tiff"}), resizable=False, dtypes=frozenset({"uint8"}), codecs=frozenset()
        )
        plan = plan_of({"t": None, "y": 4, "x": 6}, root_path=tmp_path / "a.ome.zarr", compression="zstd")
        with pytest.raises(ow.PlanError) as refused:
            ow.Stream(plan, writer)
        assert [problem.loc for problem in refused.value.problems] == [
            ("format",),
            ("dimensions", 0, "count"),
            ("dtype",),
            ("compression",),
        ]
        assert writer.calls == []
        assert not list(tmp_path.iterdir())

    def test_an_object_that_is_no_writer(self) -> None:
        with pytest.raises(ow.PlanError, match="must be a name or satisfy the Protocol Writer; got 3"):
            ow.write(plan_of(), [], 3)  # type: ignore[arg-type]

    def test_an_unknown_name(self) -> None:
        with pytest.raises(ow.PlanError, match=r"must be one of 'direct'.*; got 'tensorflow'"):
            ow.write(plan_of(), [], "tensorflow")

    def test_a_library_that_is_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorstore", None)
        plan = plan_of(root_path=tmp_path / "a.ome.zarr")
        with pytest.raises(ow.PlanError, match=r"pip install 'ome-writers\[tensorstore\]'") as refused:
            ow.write(plan, [], "tensorstore")
        assert [problem.kind for problem in refused.value.problems] == ["missing_library"]
        assert not list(tmp_path.iterdir())
        assert ow.write(plan, [frame(0)]).writer != "tensorstore"

    def test_a_writer_of_the_other_format(self, tmp_path: Path) -> None:
        with pytest.raises(ow.PlanError, match="tifffile writes ome-tiff; got 'ome-zarr'"):
            ow.write(plan_of(root_path=tmp_path / "a.ome.zarr"), [], "tifffile")
        assert not list(tmp_path.iterdir())

    def test_more_frames_than_planned_in_an_array(self) -> None:
        writer = Recorder()
        with pytest.raises(ow.PlanExhausted, match="6 frames are planned; the array holds 7"):
            ow.write(plan_of(), np.zeros((7, 4, 6), "uint16"), writer)
        assert writer.calls == []

    def test_frames_that_do_not_fit_are_seen_before_anything_is_replaced(self, tmp_path: Path) -> None:
        plan = plan_of(root_path=tmp_path / "a.ome.zarr", overwrite=True)
        ow.write(plan, np.ones((6, 4, 6), "uint16"), "tensorstore")
        before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
        wrong: list[Any] = [
            np.ones((6, 4, 6), "float32"),
            np.ones((6, 4, 5), "uint16"),
            [frame(0, dtype="uint8")],
            (one for one in [frame(0, (6, 4))]),
        ]
        for frames in wrong:
            with pytest.raises(ow.FrameError, match=r"frame 0 \(t=0 c=0\): expected \(4, 6\) uint16"):
                ow.write(plan, frames, "tensorstore")
        with pytest.raises(TypeError):
            ow.write(plan, 5, "tensorstore")  # type: ignore[arg-type]
        assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before

    def test_an_array_in_another_order_than_the_plan(self) -> None:
        for shape in ((2, 3, 4, 6), (4, 2, 4, 6)):
            with pytest.raises((ow.FrameError, ow.PlanExhausted)):
                ow.write(plan_of(), np.zeros(shape, "uint16"), Recorder())
        with pytest.raises(ow.FrameError, match=r"loops over \(t, c\) = \(3, 2\); the array over \(2, 3\)"):
            ow.write(plan_of(), np.zeros((2, 3, 4, 6), "uint16"), Recorder())
        assert ow.write(plan_of(), np.zeros((2, 2, 4, 6), "uint16"), Recorder()).verdict == "stopped"

    def test_an_array_without_frames(self) -> None:
        with pytest.raises(ow.FrameError, match=r"ends in y, x; got the shape \(4,\)"):
            ow.write(plan_of(), np.zeros(4, "uint16"), Recorder())


class TestWrite:
    def test_frames_may_be_any_iterable_with_gaps(self) -> None:
        writer = Recorder()
        outcome = ow.write(plan_of(), (frame(n) if n != 2 else None for n in range(6)), writer)
        assert (outcome.verdict, outcome.frames, outcome.missing.tolist(), outcome.writer) == (
            "complete",
            5,
            [2],
            "recorder",
        )
        assert [block.data.max() for block in writer.blocks] == [0, 1, 3, 4, 5]

    def test_a_generator_may_reuse_its_buffer(self) -> None:
        def frames() -> Any:
            buffer = np.empty((4, 6), "uint16")
            for number in range(6):
                buffer[:] = number
                yield buffer

        writer = Recorder()
        ow.write(plan_of(), frames(), writer)
        assert [block.data.max() for block in writer.blocks] == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize("shape", [(3, 2, 4, 6), (6, 4, 6)])
    def test_an_array_of_any_shape_that_ends_in_y_x(self, shape: tuple[int, ...]) -> None:
        pixels = np.arange(3 * 2 * 4 * 6, dtype="uint16").reshape(shape)
        writer = Recorder()
        assert ow.write(plan_of(), pixels, writer).verdict == "complete"
        np.testing.assert_array_equal([block.data[0, 0] for block in writer.blocks], pixels.reshape(6, 4, 6))

    def test_a_single_frame(self) -> None:
        writer = Recorder()
        assert ow.write(plan_of({"y": 4, "x": 6}), frame(7), writer).frames == 1
        assert [block.start for block in writer.blocks] == [()]

    def test_too_few_frames_stop_the_run(self) -> None:
        outcome = ow.write(plan_of(), [frame(0)], Recorder())
        assert (outcome.verdict, outcome.cursor) == ("stopped", 1)

    def test_too_many_frames_of_an_iterable_store_what_was_planned(self) -> None:
        writer = Recorder()
        with pytest.raises(ow.PlanExhausted):
            ow.write(plan_of(), (frame(n) for n in range(7)), writer)
        assert len(writer.blocks) == 6
        assert writer.calls == ["open", "flush", "close"]

    def test_progress_is_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        ow.write(plan_of(), np.zeros((6, 4, 6), "uint16"), Recorder(), progress=True)
        said = capsys.readouterr().out
        assert "6/6 frames" in said
        assert "0 missing  complete" in said

    def test_a_stream_shows_progress_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        with ow.Stream(plan_of(), Recorder(), progress=True) as stream:
            stream.append(frame(0))
            stream.skip(frames=4)
        said = capsys.readouterr().out
        assert "1/6 frames" in said
        assert "4 missing  stopped" in said


def test_a_forgotten_stream_is_closed_with_a_warning() -> None:
    writer = Recorder()
    stream = ow.Stream(plan_of(), writer)
    stream.append(frame(0))
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031 - the last reference goes, then the cycle
        del stream
        gc.collect()
    assert writer.calls == ["open", "flush", "close"]
