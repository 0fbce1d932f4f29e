"""A run that goes on with what another one left: what that stored, what waits in its journal, and where it stood."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.blocks import OpenBlock
from ome_writers.documents import Outcome, Verdict
from ome_writers.errors import WriteError
from ome_writers.gaps import inside, ranges_of
from ome_writers.journal import Journal
from ome_writers.journal_file import CAME, GIVEN, MOST_PLACES, PASSED, WAITS, absent, reached
from ome_writers.lanes import begin_lanes
from ome_writers.plan import Plan
from ome_writers.puts import Puts
from ome_writers.run import Run
from ome_writers.writer import Block, Writer

_STRETCH: Final = 65_536
"""Rows of a plan that are looked at together."""
INTERRUPTED: Final = "the process that wrote it ended before the stream was closed"


class ResumedRun(Run):
    """A run that goes on with what another one left; the writer has been opened."""

    def __init__(self, plan: Plan, writer: Writer, root: str, journal: Journal, claimed: Outcome | None = None) -> None:
        super().__init__(plan, writer, root, journal.begun.stamp, journal)
        self._kept: Journal = journal
        self._claimed = claimed
        """What the documents say of a run that has ended."""
        self._marks = np.array(journal.marks())
        self._claim()
        recount = getattr(writer, "recount", None)
        if recount is not None:
            self._marks = recount(self._marks)
        self._marks[self._marks == GIVEN] = CAME
        waits = np.flatnonzero(self._marks == WAITS)
        self._marks[[place for place in waits.tolist() if place not in journal.waiting]] = 0
        self._end = reached(self._marks)
        self.globals, self.edits = dict(journal.told.globals), journal.told.edits

    @property
    def reach(self) -> int:
        """How many places of the plan this run has gone through, or the one before it."""
        return max(self.cursor, self._end)

    def _claim(self) -> None:
        """Have the journal know what the documents say that came: they are the last that a run writes.

        A disk that was full for the one may have had room for the others.
        """
        stop = self._claimed.cursor if self._claimed is not None else 0
        if self._claimed is None or stop > (self.plan.frames or MOST_PLACES):
            return
        self._marks = np.pad(self._marks, (0, max(stop - len(self._marks), 0)))
        for start in range(0, stop, _STRETCH):
            end = min(start + _STRETCH, stop)
            came = ~inside(self._claimed.gaps, self.plan.rows(start, end)["frame"])
            news = start + np.flatnonzero(came & (self._marks[start:end] != CAME))
            self._marks[news] = CAME
            self._kept.mark_all(news.tolist())

    # ── what waits ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _mend(self) -> None:
        """Put the frames that wait into the dataset."""
        waits = np.flatnonzero(self._marks == WAITS)
        if not len(waits):
            return
        self._make_room()
        if self.writer.capabilities.order == "planned":
            self._append(int(waits[-1]) + 1)
        else:
            self._overlay(waits)
        self.writer.flush()
        self._marks[waits] = CAME
        self._kept.mark_all(waits.tolist())

    def _make_room(self) -> None:
        """Make arrays as long as they are in a run that has come to here; never shorter, which would lose frames."""
        if (axis := self._endless) is not None:
            lengths = [shape[axis] for shape in self.plan.shapes(self._end)]
            if self._in_steps:
                lengths = [self.plan.announced(max(lengths))] * len(lengths)
            for array, (length, shape, block) in enumerate(zip(lengths, self._shapes, self._blocks, strict=True)):
                size = block[axis]
                self._shapes[array] = (*shape[:axis], -(-length // size) * size, *shape[axis + 1 :])
        for array, shape in enumerate(self._shapes):
            self.writer.resize(array, shape)

    def _append(self, stop: int) -> None:
        """Hand over all frames behind those that came, in turn, blank ones where none waits."""
        came = np.flatnonzero(self._marks == CAME)
        first = int(came[-1]) + 1 if len(came) else 0
        for start in range(first, stop, _STRETCH):
            end = min(start + _STRETCH, stop)
            for place, row in zip(range(start, end), self.plan.rows(start, end), strict=True):
                array, waiting = int(row["array"]), self._kept.waiting
                spec = self.plan.layout.arrays[array]
                blank = np.full(self._frame_shapes[array], spec.fill_value, spec.dtype)
                frame = waiting.frame(place) if place in waiting else blank
                self._write((Block((int(row["frame"]),), array, tuple(row["index"].tolist()), frame[self._lead]),))

    def _overlay(self, waits: NDArray[np.int64]) -> None:
        """Write the blocks that frames wait for, over what is stored of them."""
        blocks: dict[tuple[int, tuple[int, ...]], list[tuple[int, int, tuple[int, ...]]]] = {}
        for place, row in zip(waits.tolist(), self.plan.rows_at(waits), strict=True):
            array, index = int(row["array"]), tuple(row["index"].tolist())
            start = tuple(i // size * size for i, size in zip(index, self._blocks[array][:-2], strict=True))
            blocks.setdefault((array, start), []).append((place, int(row["frame"]), index))
        for (array, start), frames in blocks.items():
            pixels = self._as_stored(array, start)
            for place, _, index in frames:
                at = tuple(map(int.__sub__, index, start))
                pixels[at] = self._kept.waiting.frame(place)
            self._write((Block([number for _, number, _ in frames], array, start, pixels),))

    def _as_stored(self, array: int, start: Sequence[int]) -> NDArray[Any]:
        """Return what is stored of a block, in memory of its own."""
        spec, shape = self.plan.layout.arrays[array], self._blocks[array]
        ends = [
            first + size if end is None else min(first + size, end)
            for first, size, end in zip(start, shape, spec.shape, strict=False)
        ]
        lead = tuple(slice(first, end) for first, end in zip(start, ends, strict=True))
        frame = tuple(slice(0, size) for size in self._frame_shapes[array])
        return np.array(self.writer.read(array, (*lead, *frame)), spec.dtype, order="C")

    def _failed(self, error: Exception, place: int | None) -> WriteError:
        """Count a frame no longer that came before, and could not be stored again: it may be gone from its place."""
        if place is not None and place < len(self._marks):
            self._marks[place] = 0
            with suppress(OSError):
                self._kept.mark(place, 0)
        return super()._failed(error, place)

    # ── the end of it ───────────────────────────────────────────────────────────────────────────────────────────────

    def recover(self) -> Outcome:
        """Bring the dataset to its best final state."""
        try:
            return self._recovered()
        except BaseException:
            self.outcome = None  # so that whoever aborts it finds something to let go of
            raise
        finally:
            self.let_go()

    def _recovered(self) -> Outcome:
        with self.lock:
            self._kept.free_room()
            self._mend()
            told, claimed = self._kept.told, self._claimed
            ended, error = (
                (told.ended, told.error) if told.ended or claimed is None else (claimed.verdict, claimed.error)
            )
            missing = absent(self._marks)
            whole = self.plan.frames == self._end and not (self._marks[: self._end] == 0).any()
            verdict: Verdict = "complete" if whole else "failed" if ended == "failed" else "stopped"
            error = None if whole else error if ended else INTERRUPTED
            self.cursor = self._end
            for array, shape in enumerate(self.plan.shapes(self._end)):
                self.writer.resize(array, shape)
                self._shapes[array] = shape
            self.writer.flush()
            said = self._said(verdict, None)
            self.outcome = evolve(said, missing=missing, error=error)
            self.writer.close(self.documents())
            if self.syncer is not None:
                self.syncer.end()
            self._sync()
            self._end_journal()
            return self.outcome

    # ── the next frames ─────────────────────────────────────────────────────────────────────────────────────────────

    def go_on(self) -> None:
        """Make the dataset ready for more frames."""
        with self.lock:
            self._mend()
            self._make_room()
            if self._kept.told.lanes:
                self._go_on_in_lanes()
            elif self._kept.told.put:
                self._go_on_putting()
            else:
                unknown = np.flatnonzero(self._marks == 0)
                self.cursor = int(unknown[0]) if len(unknown) else self._end
                passed = ranges_of(np.flatnonzero(self._marks[: self.cursor] == PASSED))
                for first, last in passed.tolist():
                    self.skipped.append(range(first, last + 1))
                self.reopen()
            self._kept.take_room()
            self._kept.say({"ended": ""})
            self.writer.flush(self.documents())

    def _go_on_putting(self) -> Puts:
        """Go on with frames in any order, and return what came of them."""
        puts = self.puts = Puts(self.plan, None)
        puts.restore(np.flatnonzero(self._marks == CAME))
        self._in_turn, self.cursor = False, self._end
        return puts

    def _go_on_in_lanes(self) -> None:
        """Have each camera go on at the first of its frames of which nobody knows."""
        for lane in begin_lanes(self, self._go_on_putting()):
            cursor, end = 0, lane.plan.frames or self._end
            for start in range(0, end, _STRETCH):
                numbers = lane.plan.rows(start, min(start + _STRETCH, end))["frame"]
                numbers = numbers[numbers < len(self._marks)]
                unknown = np.flatnonzero(self._marks[numbers] == 0)
                cursor = start + int(unknown[0] if len(unknown) else len(numbers))
                if len(unknown) or len(numbers) < _STRETCH:
                    break
            lane.go_on_at(cursor)

    def restore(self, block: OpenBlock) -> None:
        """Fill a block with what is stored of it, if anything is."""
        came = []
        for slot, at in enumerate(np.ndindex(*block.extent)):
            place = self.plan.places.at(block.array, list(map(int.__add__, block.start, at)))
            if place is not None and place < len(self._marks) and self._marks[place]:
                came.append(slot)
        if came:
            block.pixels[...] = self._as_stored(block.array, block.start).reshape(block.pixels.shape)
            block.slots += came

    def _said(self, verdict: Verdict, reason: BaseException | None) -> Outcome:
        outcome = super()._said(verdict, reason)
        if self.puts is not None or self.cursor >= self._end:
            return outcome
        beyond = np.arange(self.cursor, self._end)
        gone = beyond[self._marks[self.cursor : self._end] != CAME]
        return evolve(
            outcome,
            cursor=self._end,
            missing=np.concatenate([outcome.missing, gone]),
            records=self.records.below(self._end),
        )
