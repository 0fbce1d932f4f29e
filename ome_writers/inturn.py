"""Frames in the order of a plan: the only place where they move.

Where a frame goes, when a block opens and closes and in which buffer it lies, is read off the plan and its assembly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.assembly import CLOSES, GROWS, OPENS
from ome_writers.blocks import OpenBlock, fitted, furthest, not_passed, recorded
from ome_writers.journal_file import PASSED
from ome_writers.puts import ONE_WAY, require_expected
from ome_writers.records import Record
from ome_writers.runstate import Step
from ome_writers.saferun import SafeRun
from ome_writers.writer import Block

_AHEAD: Final = 4096
"""Rows of the plan that are looked up at once."""
_FAR: Final = 65_536
"""Rows that are gone past at once."""

_block = partial(tuple.__new__, Block)  # Half the time of `Block(…)`, which counts where it is done for each frame.


class InTurn(SafeRun):
    """A cursor that goes through a plan, frame by frame, and hands blocks to a writer that has been opened.

    Safe to be called from several threads: each call is one step.
    """

    def take(self, frame: NDArray[Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Store the next frame. Whatever is refused takes no place: the cursor moves last."""
        with self.lock:
            try:
                number, array, shape, dtype, index, buffer, slot, flags = self._ahead[self._next]
            except IndexError:
                number, array, shape, dtype, index, buffer, slot, flags = self._look_ahead()
            if type(frame) is not np.ndarray or frame.dtype != dtype or frame.shape != shape:
                frame = fitted(self.plan, self.cursor, array, frame)
            record = recorded(self.plan, self.cursor, metadata) if metadata else None
            try:
                if flags & GROWS:
                    self._grow(array, index)
                if buffer < 0:
                    if not frame.flags.c_contiguous:
                        frame = np.ascontiguousarray(frame)
                    self._write((_block(((number,), array, index, frame[self._lead])),))
                else:
                    block = self._begin(array, index, buffer, flags) if flags & OPENS else self._open[buffer]
                    block.add(number, self.cursor, slot, frame)
                if record is not None:
                    self._keep_record(number, self.cursor, array, index, record)
                self._stored(buffer, flags, number)
            except Exception as error:  # noqa: BLE001 - what is raised says more
                raise (failure := self._failed(error, self.cursor)) from failure.__cause__
            except BaseException:
                self._interrupted_at(self.cursor)
                raise
            self._next += 1
            self.cursor += 1

    def take_all(self, frames: NDArray[Any]) -> None:
        """Store the next frames, an array (frame, y, x) in C order.

        Those that need no block go to the writer together, if it may be handed them again: when that fails, they are
        taken one by one, so that what is stored counts as taken.
        """
        with self.lock:
            taken = len(frames) if not self._together else 0
            for frame in frames[:taken]:
                self.take(frame)
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
                    numbers = [block.frames[0] for block in blocks]
                    self._taken(numbers, range(self.cursor, self.cursor + len(blocks)))
                except Exception:  # noqa: BLE001 - it comes again, or all is well
                    for frame in frames[taken : taken + len(blocks)]:
                        self.take(frame)
                    taken += len(blocks)
                    continue
                taken += len(blocks)
                self._next += len(blocks)
                self.cursor += len(blocks)

    def require_expected(self, expected: Mapping[str, Any]) -> None:
        """Refuse the next frame unless the plan says of it what the caller expects."""
        with self.lock:
            step = self._ahead[self._next] if self._next < len(self._ahead) else self._look_ahead()
            require_expected(self.plan, self.cursor, step[1], step[4], expected)

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
                        if end - self.cursor > _AHEAD:
                            self._pass_all(self.cursor, min(self.cursor + _FAR, end))
                            continue
                        self._pass(step)
                    except Exception as error:  # noqa: BLE001 - what is raised says more
                        raise (failure := self._failed(error, self.cursor)) from failure.__cause__
                    self._next += 1
                    self.cursor += 1
            finally:
                self.skipped.append(range(first, self.cursor))
            # Of frames that were put nobody has said that the others will not come.
            if self.journal is not None and not self._replays:
                try:
                    self.journal.mark_all(self.skipped[-1], PASSED)
                except OSError as error:
                    raise (failure := self._failed(error, first)) from failure.__cause__

    def _look_ahead(self) -> Step:
        """Look up the rows from the cursor on, and return the first."""
        self._require_going_on()
        if not self._in_turn:
            raise ValueError(ONE_WAY.format("camera(…).append" if self.lanes else "put"))
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

    def _begin(self, array: int, index: tuple[int, ...], buffer: int, flags: int) -> OpenBlock:
        """Open a block."""
        self._watch()
        block = self._open.begin(array, index, buffer, flags)
        self.restore(block)
        return block

    def reopen(self) -> None:
        """Open the blocks that are open where the cursor stands."""
        for buffer, place in self._assembly.open_at(self.cursor).items():
            row, step = self.plan.rows(place, place + 1)[0], self._assembly.rows(place, place + 1)[0]
            self._begin(int(row["array"]), tuple(row["index"].tolist()), buffer, int(step["flags"]))

    def restore(self, block: OpenBlock) -> None:
        """Fill a block with what is stored of it: nothing, where nobody wrote before."""

    def _keep_record(self, number: int, place: int, array: int, index: tuple[int, ...], record: Record) -> None:
        """Keep what came with a frame."""
        if not self._replays:
            self.records.add(place, record)
        if self._note is not None:
            self._note(number, array, index, record)

    def _pass(self, step: Step) -> None:
        _, array, _, _, index, buffer, slot, flags = step
        if flags & GROWS:
            self._grow(array, index)
        if buffer >= 0:
            block = self._begin(array, index, buffer, flags) if flags & OPENS else self._open[buffer]
            block.pixels[slot] = self.plan.layout.arrays[array].fill_value
            block.slots.append(slot)
            if flags & CLOSES:
                self._hand_over(buffer)

    def _pass_all(self, start: int, stop: int) -> None:
        """Go past many places; a block is looked at only if it was open before, or stays open."""
        self._forget_ahead()
        rows, steps = self.plan.rows(start, stop), self._assembly.rows(start, stop)
        for at in not_passed(steps, self._open):
            self.cursor, array = start + at, int(rows["array"][at])
            index, (buffer, slot, flags) = tuple(rows["index"][at].tolist()), steps[at].tolist()
            self._pass((0, array, (), self._dtypes[array], index, buffer, slot, flags))
        for at in [] if self._endless is None else furthest(rows, self._endless):
            self.cursor = start + at
            self._grow(int(rows["array"][at]), tuple(rows["index"][at].tolist()))
        self.cursor = stop

    def _stored(self, buffer: int, flags: int, number: int) -> None:
        """Note that all is there of the next frame; a block that is complete with it is handed over."""
        if buffer < 0:
            if self._mark is not None:
                self._mark(self.cursor)
            else:
                self._taken((number,), (self.cursor,))
        elif flags & CLOSES:
            self._hand_over(buffer)

    def _hand_over(self, buffer: int) -> None:
        block = self._open[buffer]
        if block.frames:
            self._write((block.block(),))
            self._taken(block.frames, block.places)
        del self._open[buffer]

    def _drain(self) -> None:
        """Hand over the blocks whose frames did not all come, and cut the arrays to what came."""
        self._hand_over_all()
        self._cut(self.reach)
        # What fails on its way to the disk must fail before the documents are made that say how it ended.
        self.writer.flush()
        self.settle()

    def forget_uncounted(self) -> None:
        """Take the frame out of its open block that was refused with the error that ended the run."""
        for block in self._open.values():
            for which in reversed(range(len(block.places))):
                if not self._counts(block.places[which]):
                    block.forget(which)

    def rescue(self) -> None:
        """Hand over what rests in open blocks, after something went wrong that may be over; what fails stays there."""
        for buffer in list(self._open):
            # The first time a writer may tell of what it was given before.
            for _ in range(2):
                with contextlib.suppress(Exception):
                    self._hand_over_one(buffer)
                    break

    def _counts(self, place: int) -> bool:
        """Return whether the frame at a place counts as taken."""
        return place < self.cursor if self.puts is None or self._in_turn else place in self.puts

    def _hand_over_all(self) -> None:
        for buffer in list(self._open):
            self._hand_over_one(buffer)

    def _hand_over_one(self, buffer: int) -> None:
        """Hand over a block whose frames did not all come."""
        block = self._open[buffer]
        absent = np.setdiff1d(np.arange(len(block.pixels)), block.slots)
        block.pixels[absent] = self.plan.layout.arrays[block.array].fill_value
        self._hand_over(buffer)
