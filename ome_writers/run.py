"""One pass of a plan through a writer: the only place where frames move and where anything changes.

All that a run knows beside its plan is a cursor, the places whose frames did not come, and the blocks that are open.
Where a frame goes, when a block opens and closes and in which buffer it lies, is read off the plan and its assembly.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NoReturn

import numpy as np
from attrs import define, evolve, field
from numpy.typing import NDArray

from ome_writers.assembly import CLOSES, GROWS, HOLES, OPENS, assemble
from ome_writers.cube import Rectangle
from ome_writers.documents import Document, Outcome, Stamp, Verdict, documents
from ome_writers.edits import Edits, edited
from ome_writers.errors import FrameError, PlanExhausted, WriteError
from ome_writers.layout import block_shape
from ome_writers.plan import Plan
from ome_writers.records import Record, as_record
from ome_writers.writer import Block, Writer, grows_in_steps, unit_for

_AHEAD: Final = 4096
"""Rows of the plan that are looked up at once."""

_Step = tuple[int, int, tuple[int, ...], np.dtype[Any], tuple[int, ...], int, int, int]
"""frame, array, shape and dtype of its frames, index, buffer, slot, flags"""

_block = partial(tuple.__new__, Block)  # Half the time of `Block(…)`, which counts where it is done for each frame.


@define
class _OpenBlock:
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
    slots: list[int] = field(factory=list)
    """Slots that hold a frame, or were filled since none will come."""

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
        return Block(self.frames, self.array, self.start, self.pixels.reshape(*self.extent, *self.pixels.shape[1:]))


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


class Run:
    """A cursor that goes through a plan, frame by frame, and hands blocks to a writer that has been opened.

    Safe to be called from several threads: each call is one step.
    """

    def __init__(self, plan: Plan, writer: Writer, root: str, stamp: Stamp) -> None:
        arrays = plan.layout.arrays
        self.plan, self.writer, self.root, self.stamp = plan, writer, root, stamp
        self._write = writer.write
        self._note = getattr(writer, "note", None)
        self.cursor = 0
        """How many places of the plan the run has gone through; other threads may read it at any time."""
        self.records: dict[int, Record] = {}
        self.globals: dict[str, Record] = {}
        """Metadata of the whole acquisition, by namespace."""
        self.edits = Edits()
        self.outcome: Outcome | None = None
        self.skipped: list[range] = []
        """Places that were gone past, a stretch for each call."""
        self._assembly = assemble(plan, unit_for(plan, writer.capabilities))
        self._buffers: dict[int, NDArray[np.uint8]] = {}
        self._open: dict[int, _OpenBlock] = {}
        self._blocks = [block_shape(spec, self._assembly.unit) for spec in arrays]
        self._in_steps = grows_in_steps(plan, writer.capabilities)
        """Whether all arrays are made longer together, by more than is needed yet."""
        self._shapes = [
            tuple(
                size or (first if self._in_steps else block)
                for size, first, block in zip(spec.shape, firsts, blocks, strict=True)
            )
            for spec, firsts, blocks in zip(arrays, plan.first_shapes, self._blocks, strict=True)
        ]
        self._endless = next((axis for axis, size in enumerate(arrays[0].shape) if size is None), None)
        self._frame_shapes = [shape[-2:] for shape in self._shapes]
        self._dtypes = [np.dtype(spec.dtype) for spec in arrays]
        self._lead = (None,) * (len(arrays[0].shape) - 2)
        self._failure: WriteError | None = None
        self.lock = threading.RLock()
        self._ahead: list[_Step] = []
        self._next = 0
        """Which of the steps ahead comes next."""

    def take(self, frame: NDArray[Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Store the next frame. Whatever is refused takes no place: the cursor moves last."""
        with self.lock:
            try:
                number, array, shape, dtype, index, buffer, slot, flags = self._ahead[self._next]
            except IndexError:
                number, array, shape, dtype, index, buffer, slot, flags = self._look_ahead()
            if type(frame) is not np.ndarray or frame.dtype != dtype or frame.shape != shape:
                frame = fitted(self.plan, self.cursor, array, frame)
            record = self._record(metadata) if metadata else None
            try:
                if flags & GROWS:
                    self._grow(array, index)
                if buffer < 0:
                    if not frame.flags.c_contiguous:
                        frame = np.ascontiguousarray(frame)
                    self._write((_block(((number,), array, index, frame[self._lead])),))
                else:
                    block = self._opened(array, index, buffer, flags) if flags & OPENS else self._open[buffer]
                    block.pixels[slot] = frame
                    block.frames.append(number)
                    block.places.append(self.cursor)
                    block.slots.append(slot)
                    if flags & CLOSES:
                        self._hand_over(buffer)
                if record is not None and self._note is not None:
                    self._note(number, array, index, record)
            except Exception as error:
                self._fail(error, self.cursor)
            if record is not None:
                self.records[self.cursor] = record
            self._next += 1
            self.cursor += 1

    def take_all(self, frames: NDArray[Any]) -> None:
        """Store the next frames, an array (frame, y, x) in C order; those that need no block go to the writer together.

        If the writer fails, none of those that it was handed together counts as taken.
        """
        with self.lock:
            taken = 0
            while taken < len(frames):
                if self._next >= len(self._ahead):
                    self._look_ahead()
                blocks: list[Block] = []
                for step in self._ahead[self._next : self._next + len(frames) - taken]:
                    number, array, shape, dtype, index, buffer, _, flags = step
                    if buffer >= 0 or frames.shape[1:] != shape or frames.dtype != dtype:
                        break
                    if flags & GROWS:
                        self._grown(array, index)
                    blocks.append(_block(((number,), array, index, frames[taken + len(blocks)][self._lead])))
                if not blocks:
                    self.take(frames[taken])
                    taken += 1
                    continue
                try:
                    self._write(blocks)
                except Exception as error:
                    self._fail(error, self.cursor)
                taken += len(blocks)
                self._next += len(blocks)
                self.cursor += len(blocks)

    def skip(self, frames: int = 1) -> None:
        """Go past frames that will not come."""
        if frames < 1:
            raise ValueError(f"frames must be at least 1; got {frames}")
        with self.lock:
            end = self.cursor + frames
            if self.outcome is None and self.plan.frames is not None and end > self.plan.frames:
                raise self._exhausted(f"skip {frames} frames")
            first = self.cursor
            try:
                while self.cursor < end:
                    step = self._ahead[self._next] if self._next < len(self._ahead) else self._look_ahead()
                    try:
                        self._pass(step)
                    except Exception as error:
                        self._fail(error, self.cursor)
                    self._next += 1
                    self.cursor += 1
            finally:
                self.skipped.append(range(first, self.cursor))

    def close(self, error: BaseException | None = None) -> Outcome:
        """Drain, shrink the arrays to what came, and write the final documents; `error` is what ended the run early."""
        with self.lock:
            if self.outcome is not None:
                return self.outcome
            self._forget_ahead()
            if self._failure is None:
                try:
                    self._drain()
                except Exception as failure:  # noqa: BLE001 - told to the caller below, once all is let go of
                    self._failed(failure, None)
            verdict: Verdict = "complete" if self.plan.frames in (None, self.cursor) and error is None else "stopped"
            reason = self._failure or error
            self.outcome = self._said("failed" if self._failure else verdict, reason)
            try:
                self.writer.close(self.documents())
            except Exception as failure:  # noqa: BLE001 - told to the caller below, once all is let go of
                self.writer.abort()
                if self._failure is None:
                    self._failed(failure, None)
                    self.outcome = self._said("failed", self._failure)
            if self._failure is not None:
                raise self._failure
            return self.outcome

    def abort(self) -> None:
        """Let go of everything; what stands on disk says that the run did not end."""
        with self.lock:
            if self.outcome is None:
                self._forget_ahead()
                self.outcome = self._said("stopped", None)
                self.writer.abort()

    # ── what others ask while frames come, and after that ───────────────────────────────────────────────────────────

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape that an array has by now."""
        return self._shapes[array]

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        """Return pixels that were taken, whether stored or in a block that is still open."""
        with self.lock:
            if self._failure is not None:
                raise WriteError(f"nothing can be read after this: {self._failure}", self._failure.frame)
            pixels = self.writer.read(array, selection)
            for block in self._open.values():
                if block.array == array:
                    pixels = block.seen_through(selection, pixels)
            return pixels

    def generated(self) -> Sequence[Document]:
        """Return the documents as they are by now, but for what users changed."""
        return documents(self.plan, self.stamp, self.outcome or evolve(self.so_far(), records={}))

    def documents(self) -> Sequence[Document]:
        """Return the documents as they are by now."""
        return edited(self.generated(), self.edits)

    def so_far(self) -> Outcome:
        """Return what came of the run, or has by now."""
        with self.lock:
            return self.outcome or self._said("running", None)

    def annotate(self, edits: Edits, more: Mapping[str, Record]) -> None:
        """Replace the documents where they stand by ones with these edits, and with more metadata.

        Metadata of single frames is only written when the run ends.
        """
        with self.lock:
            self.edits, self.globals = edits, {**self.globals, **more}
            if self.outcome is not None:
                self.outcome = evolve(self.outcome, globals=self.globals)
            described = self.documents()
            if self.outcome is not None:
                self.writer.open(self.root, self.plan, described, attach=True)
                self.writer.close(described)
            elif self._failure is None:
                try:
                    self.writer.flush(described)
                except Exception as error:
                    self._fail(error, None)

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_ahead(self) -> _Step:
        """Look up the rows from the cursor on, and return the first."""
        if self.outcome is not None:
            raise ValueError("the stream is closed; nothing can be written to it")
        if self._failure is not None:
            raise WriteError(
                f"no more frames are taken after this: {self._failure}", self._failure.frame
            ) from self._failure
        start, frames = self.cursor, self.plan.frames
        stop = start + _AHEAD if frames is None else min(start + _AHEAD, frames)
        if start == stop:
            raise self._exhausted("take a frame")
        rows, steps = self.plan.rows(start, stop), self._assembly.rows(start, stop)
        arrays, index = rows["array"].tolist(), map(tuple, rows["index"].tolist())
        shapes, dtypes = map(self._frame_shapes.__getitem__, arrays), map(self._dtypes.__getitem__, arrays)
        where = (steps[name].tolist() for name in ("buffer", "slot", "flags"))
        self._ahead = list(zip(rows["frame"].tolist(), arrays, shapes, dtypes, index, *where, strict=True))
        self._next = 0
        return self._ahead[0]

    def _forget_ahead(self) -> None:
        """Make the next step look whether it may be taken at all."""
        self._ahead, self._next = [], 0

    def _pass(self, step: _Step) -> None:
        _, array, _, _, index, buffer, slot, flags = step
        if flags & GROWS:
            self._grow(array, index)
        if buffer >= 0:
            block = self._opened(array, index, buffer, flags) if flags & OPENS else self._open[buffer]
            block.pixels[slot] = self.plan.layout.arrays[array].fill_value
            block.slots.append(slot)
            if flags & CLOSES:
                self._hand_over(buffer)

    def _opened(self, array: int, index: tuple[int, ...], buffer: int, flags: int) -> _OpenBlock:
        """Open the block that the frame at `index` lies in."""
        spec, shape = self.plan.layout.arrays[array], self._blocks[array]
        start = tuple(i // size * size for i, size in zip(index, shape[:-2], strict=True))
        room = [
            size if end is None else min(size, end - i) for size, end, i in zip(shape, spec.shape, start, strict=False)
        ]
        slots, dtype = int(np.prod(room, dtype=np.int64)), self._dtypes[array]
        if buffer not in self._buffers:
            self._buffers[buffer] = np.empty(self._assembly.buffer_bytes[buffer], np.uint8)
        needed = slots * shape[-2] * shape[-1] * dtype.itemsize
        pixels = self._buffers[buffer][:needed].view(dtype).reshape(slots, *shape[-2:])
        if flags & HOLES:
            pixels[:] = spec.fill_value
        block = self._open[buffer] = _OpenBlock(array, start, tuple(room), pixels)
        return block

    def _hand_over(self, buffer: int) -> None:
        block = self._open[buffer]
        if block.frames:
            self._write((block.block(),))
        del self._open[buffer]

    def _grown(self, array: int, index: tuple[int, ...]) -> None:
        try:
            self._grow(array, index)
        except Exception as error:
            self._fail(error, self.cursor)

    def _grow(self, array: int, index: tuple[int, ...]) -> None:
        """Make the axis without end long enough for the block at `index`."""
        axis, shape = self._endless, self._shapes[array]
        if axis is None or index[axis] < shape[axis]:
            return
        if not self._in_steps:
            step = self._blocks[array][axis]
            self._resize(array, (*shape[:axis], (index[axis] // step + 1) * step, *shape[axis + 1 :]))
            return
        length = self.plan.announced(index[axis] + 1)
        for number, old in enumerate(self._shapes):
            self._resize(number, (*old[:axis], length, *old[axis + 1 :]))
        # Groups do not say how long their arrays are; OME-XML does.
        self.writer.flush([document for document in self.documents() if document.kind != "group"])

    def _resize(self, array: int, shape: tuple[int, ...]) -> None:
        self.writer.resize(array, shape)
        self._shapes[array] = shape

    def _drain(self) -> None:
        """Hand over the blocks whose frames did not all come, and cut the arrays to what came."""
        for buffer, block in list(self._open.items()):
            absent = np.setdiff1d(np.arange(len(block.pixels)), block.slots)
            block.pixels[absent] = self.plan.layout.arrays[block.array].fill_value
            self._hand_over(buffer)
        for array, shape in enumerate(self.plan.shapes(self.cursor)):
            if shape != self._shapes[array]:
                self._resize(array, shape)
        # What fails on its way to the disk must fail before the documents are made that say how it ended.
        self.writer.flush()

    # ── what does not fit ───────────────────────────────────────────────────────────────────────────────────────────

    def _record(self, metadata: Mapping[str, Any]) -> Record:
        try:
            return as_record(metadata)
        except FrameError as error:
            raise FrameError(f"{self.plan.locate(self.cursor)}: {error}") from error

    def _exhausted(self, wish: str) -> PlanExhausted:
        return PlanExhausted(
            f"cannot {wish}: all {self.plan.frames} planned frames would be exceeded, {self.cursor} came before; "
            "count=None in the first dimension plans frames without end"
        )

    def _failed(self, error: Exception, place: int | None) -> WriteError:
        """Return the failure, after which no more frames are taken."""
        self._forget_ahead()
        if isinstance(error, WriteError):
            self._failure = error
        else:
            where = f"{self.plan.locate(place)}" if place is not None else f"after {self.cursor} frames"
            frame = None if place is None else int(self.plan.rows(place, place + 1)["frame"][0])
            self._failure = WriteError(f"{where}: {type(error).__name__}: {error}", frame)
            self._failure.__cause__ = error
        return self._failure

    def _fail(self, error: Exception, place: int | None) -> NoReturn:
        failure = self._failed(error, place)
        raise failure from failure.__cause__

    def _said(self, verdict: Verdict, reason: BaseException | None) -> Outcome:
        # After a failure, what lies in open blocks is lost, though it was taken; so is what the writer could not store.
        lost = [place for block in self._open.values() for place in block.places] if self._failure else []
        if self._failure and len(gone := getattr(self.writer, "lost", ())):
            lost += np.flatnonzero(np.isin(self.plan.rows(0, self.cursor)["frame"], gone)).tolist()
        missing = np.unique(np.fromiter(chain(lost, *self.skipped), np.int64))
        error = f"{type(reason).__name__}: {reason}" if reason is not None else None
        return Outcome(
            verdict=verdict,
            cursor=self.cursor,
            missing=missing[missing < self.cursor],
            records=self.records,
            globals=self.globals,
            error=error,
            writer=self.writer.capabilities.name,
            placed=self.writer.capabilities.positioned,
            root=self.root,
        )
