"""The law of runs.

One that stops, skips or fails anywhere leaves arrays equal to the model, and an outcome that tells the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ome_writers import AcquisitionSettings, Plan, compile, write
from ome_writers.errors import PlanExhausted, WriteError
from ome_writers.layout import ArraySpec, Unit, block_shape
from ome_writers.testing import Failing, check_writer, expected_arrays, frame_pixels, read_tiff, read_zarr, settings
from ome_writers.testing.conformance import ReadArray
from ome_writers.writer import Block, Capabilities, Documents, Selection, Writer
from ome_writers.writers.acquire import AcquireZarrWriter
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.memory import MemoryWriter
from ome_writers.writers.tensorstore import TensorStoreWriter
from ome_writers.writers.tiff import TiffWriter
from ome_writers.writers.zarr_python import ZarrWriter
from ome_writers.writers.zarrs_python import ZarrsWriter


class BlockWriter:
    """A writer of somebody else's: it keeps blocks as they come, and puts them together when it is asked."""

    def __init__(self, unit: Unit) -> None:
        self.capabilities = Capabilities(
            name="blocks", formats=frozenset({"ome-zarr"}), unit=unit, persistent=False, readable=True
        )
        self.blocks: dict[tuple[int, tuple[int, ...]], NDArray[Any]] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        self.arrays = plan.layout.arrays
        for array, spec in enumerate(self.arrays):
            block = block_shape(spec, self.capabilities.unit)
            self.shapes[array] = tuple(size or length for size, length in zip(spec.shape, block, strict=True))

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        self.shapes[array] = shape

    def write(self, blocks: Sequence[Block], /) -> None:
        for block in blocks:
            # Whole blocks only, each once, within the array: what a store of chunks counts on.
            spec = self.arrays[block.array]
            size = block_shape(spec, self.capabilities.unit)
            assert (block.array, block.start) not in self.blocks
            assert all(first % length == 0 for first, length in zip(block.start, size, strict=False))
            start = (*block.start, 0, 0)
            room = [
                length if end is None else end - first
                for first, length, end in zip(start, size, spec.shape, strict=True)
            ]
            assert block.data.shape == tuple(map(min, size, room))
            assert all(first < end for first, end in zip(block.start, self.shapes[block.array], strict=False))
            assert block.data.flags.c_contiguous
            self.blocks[block.array, block.start] = block.data.copy()

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        return self.whole(array)[selection]

    def whole(self, array: int) -> NDArray[Any]:
        spec, shape = self.arrays[array], self.shapes[array]
        out = np.zeros([2 * size + 32 for size in shape], spec.dtype)
        for (home, start), data in self.blocks.items():
            if home == array:
                where = zip((*start, 0, 0), data.shape, strict=True)
                out[tuple(slice(first, first + size) for first, size in where)] = data
        return out[tuple(slice(size) for size in shape)]

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        pass

    def close(self, documents: Documents, /) -> None:
        pass

    def abort(self) -> None:
        pass


def from_memory(writer: MemoryWriter, _root: str, array: ArraySpec) -> NDArray[Any]:
    return writer.arrays[array.image]


def from_blocks(writer: BlockWriter, _root: str, array: ArraySpec) -> NDArray[Any]:
    return writer.whole(array.image)


def read_either(writer: object, root: str, array: ArraySpec) -> NDArray[Any] | None:
    return (read_zarr if Path(root, "zarr.json").exists() else read_tiff)(writer, root, array)


WRITERS: dict[str, tuple[Callable[[], Writer], ReadArray]] = {
    "memory": (MemoryWriter, from_memory),
    "chunks": (lambda: BlockWriter("chunk"), from_blocks),
    "shards": (lambda: BlockWriter("shard"), from_blocks),
    "direct": (DirectWriter, read_either),
    "tensorstore": (TensorStoreWriter, read_zarr),
    "zarrs-python": (ZarrsWriter, read_zarr),
    "zarr-python": (ZarrWriter, read_zarr),
    "acquire-zarr": (AcquireZarrWriter, read_zarr),
    "tifffile": (TiffWriter, read_tiff),
}


class TestStreams:
    """Whatever is done to a stream, the arrays are those of the model and the outcome tells the truth."""

    @pytest.mark.parametrize("name", WRITERS)
    def test_conforms(self, name: str) -> None:
        check_writer(*WRITERS[name])


@st.composite
def runs(draw: st.DrawFn) -> tuple[AcquisitionSettings, list[NDArray[Any] | None]]:
    """Draw an acquisition and what comes: all of it or the beginning, with or without gaps."""
    drawn = draw(settings(formats=["ome-zarr"]))
    number = draw(st.integers(0, 30 if drawn.num_frames is None else drawn.num_frames))
    missing = draw(st.sets(st.integers(0, max(number - 1, 0))))
    height, width = (dim.count or 1 for dim in drawn.frame_dimensions)
    frames = [frame_pixels(frame, (height, width), drawn.dtype) for frame in range(number)]
    return drawn, [None if frame in missing else pixels for frame, pixels in enumerate(frames)]


class TestWrite:
    """`write` with any frames does what nested loops do with them."""

    @given(runs(), st.sampled_from(["memory", "chunks", "shards"]))
    def test_arrays(self, run: tuple[AcquisitionSettings, list[NDArray[Any] | None]], name: str) -> None:
        settings, frames = run
        make_writer, read_array = WRITERS[name]
        writer, plan = make_writer(), compile(settings)
        outcome = write(plan, iter(frames), writer)
        assert (outcome.cursor, outcome.frames) == (len(frames), sum(frame is not None for frame in frames))
        assert outcome.verdict == ("complete" if plan.frames in (None, len(frames)) else "stopped")
        expected = expected_arrays(settings, frames)
        for array in plan.layout.arrays:
            np.testing.assert_array_equal(read_array(writer, "", array), expected[array.image])

    @given(settings(formats=["scratch"], unbounded=False))
    def test_an_array_of_frames_is_its_frames(self, settings: AcquisitionSettings) -> None:
        plan, writer = compile(settings), MemoryWriter()
        shape = tuple(dim.count or 1 for dim in settings.dimensions)
        frames = [frame_pixels(frame, shape[-2:], settings.dtype) for frame in range(plan.frames or 0)]
        assert write(plan, np.array(frames).reshape(shape), writer).verdict == "complete"
        expected = expected_arrays(settings, frames)
        for array, pixels in expected.items():
            np.testing.assert_array_equal(writer.arrays[array], pixels)

    @given(settings(formats=["scratch"], unbounded=False))
    def test_one_frame_too_many_keeps_the_others(self, settings: AcquisitionSettings) -> None:
        plan, writer = compile(settings), MemoryWriter()
        shape = tuple(dim.count or 1 for dim in settings.frame_dimensions)
        frames = [frame_pixels(frame, shape, settings.dtype) for frame in range((plan.frames or 0) + 1)]
        with pytest.raises(PlanExhausted):
            write(plan, iter(frames), writer)
        for array, pixels in expected_arrays(settings, frames[:-1]).items():
            np.testing.assert_array_equal(writer.arrays[array], pixels)

    @given(runs(), st.integers(0, 20), st.sampled_from(["memory", "chunks", "shards"]))
    def test_a_full_disk_is_told(
        self, run: tuple[AcquisitionSettings, list[NDArray[Any] | None]], at: int, name: str
    ) -> None:
        settings, frames = run
        make_writer, read_array = WRITERS[name]
        writer = Failing(make_writer(), at)
        # How many writes there are without a fault says whether one must be told.
        counted = Failing(make_writer())
        write(compile(settings), iter(frames), counted)
        with pytest.raises(WriteError, match="No space left") if counted.writes > at else nullcontext():
            write(compile(settings), iter(frames), writer)
        # Nothing but frames in their places, wherever the disk filled up.
        whole = expected_arrays(settings, frames)
        for array in compile(settings).layout.arrays:
            found = read_array(writer.writer, "", array)
            common = tuple(slice(min(sizes)) for sizes in zip(found.shape, whole[array.image].shape, strict=True))
            found, wanted = found[common], whole[array.image][common]
            blank = found == 0
            np.testing.assert_array_equal(found[~blank], wanted[~blank])


class TestOutputIsWhereItWasPlanned:
    """A run writes below its output path and nowhere else."""

    @given(settings(formats=["ome-zarr", "ome-tiff"], max_frames=8, unbounded=False))
    def test_one_entry(self, tmp_path_factory: pytest.TempPathFactory, settings: AcquisitionSettings) -> None:
        folder = tmp_path_factory.mktemp("run")
        settings = evolve(settings, root_path=str(folder / settings.root_path))
        write(compile(settings), iter([]))
        # Nothing came, so that the journal stays for a run that goes on.
        assert {str(path) for path in folder.iterdir()} <= {settings.output_path, f"{settings.output_path}.journal"}
        assert Path(settings.output_path).exists()
