"""The kit must be able to fail: it finds what is wrong with writers that break the rules of the Protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given
from hypothesis import settings as how
from hypothesis import strategies as st
from numpy.typing import NDArray

from ome_writers import AcquisitionSettings, acquisition_rules, compile, placement
from ome_writers.check import problems_of
from ome_writers.layout import ArraySpec
from ome_writers.testing import Failing, check_writer, frame_pixels, read_zarr, settings
from ome_writers.writer import Block, Writer
from ome_writers.writers import placed
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.memory import MemoryWriter


class Borrows(MemoryWriter):
    """Stores what it was handed only when it is closed, when the camera has taken its memory back."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[Block] = []

    def write(self, blocks: Sequence[Block], /) -> None:
        self.later += blocks

    def close(self, documents: Any, /) -> None:
        super().write(self.later)
        super().close(documents)


class Forgets(MemoryWriter):
    """Loses one frame."""

    def write(self, blocks: Sequence[Block], /) -> None:
        super().write([block for block in blocks if 1 not in block.frames])


class Turns(MemoryWriter):
    """Writes its last rows first."""

    def write(self, blocks: Sequence[Block], /) -> None:
        super().write([block._replace(data=block.data[..., ::-1, :]) for block in blocks])


class Swallows(MemoryWriter):
    """Keeps a failure to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Failing(MemoryWriter(), at=2)

    def write(self, blocks: Sequence[Block], /) -> None:
        try:
            self.disk.write([])
        except OSError:
            return
        super().write(blocks)


class NeverShrinks(MemoryWriter):
    """Leaves an array as long as it was planned."""

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        super().resize(array, tuple(map(max, shape, self.arrays[array].shape)))


class Invents(MemoryWriter):
    """Fills the places of frames that never came."""

    def close(self, documents: Any, /) -> None:
        super().close(documents)
        for array in self.arrays:
            array[array == 0] = 1


class FailsAtClose(MemoryWriter):
    """Finds at the end that there is no room for the documents."""

    def close(self, documents: Any, /) -> None:
        raise OSError(28, "No space left on device")


def from_memory(writer: MemoryWriter, _root: str, array: ArraySpec) -> NDArray[Any]:
    return writer.arrays[array.image]


class TestTheKitNotices:
    """A writer that breaks a rule does not pass."""

    @pytest.mark.parametrize("make_writer", [Borrows, Forgets, Turns, Swallows, NeverShrinks, Invents, FailsAtClose])
    def test_noticed(self, make_writer: Callable[[], Writer]) -> None:
        with pytest.raises((AssertionError, ExceptionGroup)):
            check_writer(make_writer, from_memory, examples=200, phases=[Phase.generate])


class Misplaces(DirectWriter):
    """Puts a frame where the one before it belongs."""

    def write(self, blocks: Sequence[Block], /) -> None:
        super().write([block._replace(start=(*block.start[:-1], max(block.start[-1] - 1, 0))) for block in blocks])


class TestDirectWriter:
    """The kit is content with frames that are put in their places on disk, and notices others."""

    @pytest.mark.parametrize("way", ["seeking", "long runs"])
    def test_keeps_the_rules(self, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if way == "seeking":
            monkeypatch.setattr(placed, "POSITIONED", False)
        else:
            monkeypatch.setattr(placement, "SHORT_RUN", 1)
        check_writer(DirectWriter, read_zarr, settings=settings(formats=["ome-zarr"], codecs=[]), examples=15)

    def test_noticed(self) -> None:
        drawn = settings(formats=["ome-zarr"], codecs=[])
        # It may also damage a file, so that zarr-python refuses it.
        with pytest.raises((AssertionError, ExceptionGroup, ValueError)):
            check_writer(Misplaces, read_zarr, settings=drawn, examples=100, phases=[Phase.generate])


class TestStrategies:
    """Every drawn acquisition is one that compiles, and frames can be told apart."""

    @given(settings())
    def test_settings_are_valid(self, settings: AcquisitionSettings) -> None:
        assert problems_of(settings, (), acquisition_rules.READY) == []
        assert compile(settings).layout.arrays

    @how(max_examples=20)
    @given(st.sampled_from(["uint8", "int16", "float16", "float32", "complex64"]), st.integers(0, 200))
    def test_frames_differ(self, dtype: str, number: int) -> None:
        frames = [frame_pixels(frame, (2, 2), dtype) for frame in (number, number + 1)]
        assert all(frame.dtype == dtype for frame in frames)
        assert not np.array_equal(*frames)
        assert frames[0].flat[0] != frames[1].flat[0]
