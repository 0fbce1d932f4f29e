"""Frames on their way to a writer: whether one fits its place, what came with it, and which block it is a part of."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from ome_writers.assembly import CLOSES, HOLES, Assembly
from ome_writers.cube import Rectangle
from ome_writers.errors import FrameError
from ome_writers.order import Rows
from ome_writers.plan import Plan
from ome_writers.records import Record, as_record
from ome_writers.writer import Block


def fitted(plan: Plan, place: int, array: int, frame: Any) -> NDArray[Any]:
    """Return a frame as a plain array in the machine's byte order, if that is all that keeps it from fitting its place.

    `array` is the one that the plan names at `place`; whoever walks the plan knows it, and need not have it looked up.

    Raises
    ------
    FrameError
        If its shape or dtype is not the planned one.
    """
    spec = plan.layout.arrays[array]
    shape, dtype, came = spec.shape[-2:], np.dtype(spec.dtype), np.asarray(frame)
    if came.shape == shape and came.dtype.newbyteorder("=") == dtype:
        return np.asarray(came, dtype)
    raise FrameError(f"{plan.locate(place)}: expected {shape} {dtype}; got {came.shape} {came.dtype}")


def recorded(plan: Plan, place: int, metadata: Mapping[str, Any]) -> Record:
    """Return metadata of the frame at a place as it is stored.

    Raises
    ------
    FrameError
        If it cannot be stored.
    """
    try:
        return as_record(metadata)
    except FrameError as error:
        raise FrameError(f"{plan.locate(place)}: {error}") from error


@define
class OpenBlock:
    """A block some of whose frames are still to come."""

    array: int
    start: tuple[int, ...]
    extent: tuple[int, ...]
    pixels: NDArray[Any]
    """Shape (slots, y, x), in a buffer that other blocks use before and after."""
    frames: list[int] = field(factory=list)
    """Numbers of the frames that came."""
    places: list[int] = field(factory=list)
    """Their places in the plan."""
    came: list[int] = field(factory=list)
    """Their slots."""
    seen: int = 0
    """How many there were when somebody looked for those that rest here."""
    kept: int = 0
    """How many are in the journal as well."""
    slots: list[int] = field(factory=list)
    """Slots that hold a frame, or were filled since none will come."""

    def add(self, number: int, place: int, slot: int, frame: NDArray[Any]) -> None:
        """Copy a frame to its slot."""
        self.pixels[slot] = frame
        self.frames.append(number)
        self.places.append(place)
        self.came.append(slot)
        self.slots.append(slot)

    def forget(self, which: int) -> None:
        """Take the `which`th frame that came for one that did not."""
        for of_frames in (self.frames, self.places):
            del of_frames[which]
        self.slots.remove(self.came.pop(which))

    def seen_through(self, selection: Rectangle, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of a selection with those of the frames that have come to here."""
        index = np.array(np.unravel_index(np.array(self.slots, np.int64), self.extent)).T + self.start
        first = [part.start for part in selection]
        places = (index - first[:-2]).tolist()
        pixels = pixels if pixels.flags.writeable else pixels.copy()
        for slot, place in zip(self.slots, places, strict=True):
            if all(0 <= at < size for at, size in zip(place, pixels.shape, strict=False)):
                pixels[tuple(place)] = self.pixels[slot][selection[-2:]]
        return pixels

    def block(self) -> Block:
        """Return it as a writer takes it."""
        return Block(self.frames, self.array, self.start, self.pixels.reshape(*self.extent, *self.pixels.shape[1:]))


class OpenBlocks(dict[int, OpenBlock]):
    """The blocks that are open, by their buffers."""

    def __init__(self, assembly: Assembly) -> None:
        super().__init__()
        self._assembly = assembly
        self._buffers: dict[int, NDArray[np.uint8]] = {}
        self._shapes = [assembly.block_shape(array) for array in range(len(assembly.plan.layout.arrays))]

    def begin(self, array: int, index: Sequence[int], buffer: int, flags: int) -> OpenBlock:
        """Open the block that the frame at `index` lies in."""
        spec, shape = self._assembly.plan.layout.arrays[array], self._shapes[array]
        start = tuple(i // size * size for i, size in zip(index, shape[:-2], strict=True))
        room = [
            size if end is None else min(size, end - i) for size, end, i in zip(shape, spec.shape, start, strict=False)
        ]
        slots, dtype = int(np.prod(room, dtype=np.int64)), np.dtype(spec.dtype)
        if buffer not in self._buffers:
            self._buffers[buffer] = np.empty(self._assembly.buffer_bytes[buffer], np.uint8)
        needed = slots * shape[-2] * shape[-1] * dtype.itemsize
        pixels = self._buffers[buffer][:needed].view(dtype).reshape(slots, *shape[-2:])
        if flags & HOLES:
            pixels[:] = spec.fill_value
        block = self[buffer] = OpenBlock(array, start, tuple(room), pixels)
        return block


def not_passed(steps: Rows, opened: Container[int]) -> list[int]:
    """Return which of the rows that no frame comes for touch a block that was open before, or stays open.

    All other blocks begin and end among these rows, and nothing comes to them.
    """
    rest = np.zeros(len(steps), bool)
    buffers, flags = steps["buffer"], steps["flags"]
    for buffer in np.unique(buffers[buffers >= 0]).tolist():
        mine = np.flatnonzero(buffers == buffer)
        ends = mine[(flags[mine] & CLOSES) > 0]
        rest[mine[mine > (ends[-1] if len(ends) else -1)]] = True
        if buffer in opened:
            rest[mine[mine <= (ends[0] if len(ends) else len(steps))]] = True
    return np.flatnonzero(rest).tolist()


def furthest(rows: Rows, axis: int) -> list[int]:
    """Return which row goes furthest along an axis, for each array."""
    each = (np.flatnonzero(rows["array"] == array) for array in np.unique(rows["array"]))
    return [int(mine[np.argmax(rows["index"][mine, axis])]) for mine in each]
