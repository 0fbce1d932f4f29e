"""Given a dataset whose run has ended, by whatever, and its journal, this makes it whole, or goes on with it.

1. Frames that wait in the journal are put into the dataset: over what is stored of their blocks, for some of it may be.
2. To recover is to say in the documents what came, and to cut the arrays to that.
3. To resume is to go on at the first frame of which nobody knows. Frames behind it that came are there already; they
   may come again, and if they do not, they stay. What is stored of blocks is read back when more of them comes.

Each of these can be interrupted, and done again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.begin import Backend, begun, writer_for
from ome_writers.blocks import OpenBlock
from ome_writers.casts import is_url
from ome_writers.datasets.facts import Facts, facts_from
from ome_writers.documents import Outcome, Verdict, documents
from ome_writers.edits import differences
from ome_writers.errors import Loc, PlanError, Problem
from ome_writers.gaps import inside, ranges_of
from ome_writers.journal import Journal, journal_folder, journal_of
from ome_writers.journal_file import CAME, GIVEN, MOST_PLACES, PASSED, WAITS, absent, reached
from ome_writers.lanes import begin_lanes
from ome_writers.lock import Lock
from ome_writers.ownership import why_not_dataset
from ome_writers.plan import Plan
from ome_writers.plan_file import plan_to_npz
from ome_writers.puts import Puts
from ome_writers.readers import noted
from ome_writers.run import Run
from ome_writers.serial import make_converter
from ome_writers.target import absent as absent_dataset
from ome_writers.target import aside
from ome_writers.writer import Block, Writer, unit_for, writer_named

_STRETCH: Final = 65_536
"""Rows of a plan that are looked at together."""
_OF_THE_WAY: Final = ("root_path", "overwrite", "buffer_bytes", "sync")
"""Fields of settings that say nothing of what stands in a dataset."""
INTERRUPTED: Final = "the process that wrote it ended before the stream was closed"


class ResumedRun(Run):
    """A run that goes on with what another one left; the writer has been opened."""

    def __init__(self, plan: Plan, writer: Writer, root: str, journal: Journal) -> None:
        super().__init__(plan, writer, root, journal.begun.stamp, journal)
        self._kept: Journal = journal
        self._claimed = _ended_before(root)
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
            came = ~inside(self._claimed.missing, self.plan.rows(start, end)["frame"])
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
        """Make arrays as long as they are in a run that has come to here."""
        for array, shape in enumerate(self._shapes):
            self.writer.resize(array, shape)
        if self._endless is not None and self._end:
            row = self.plan.rows(self._end - 1, self._end)[0]
            index = tuple(row["index"].tolist())
            for array in range(len(self._shapes)) if not self._in_steps else (int(row["array"]),):
                self._grow(array, index)

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

    # ── the end of it ───────────────────────────────────────────────────────────────────────────────────────────────

    def recover(self) -> Outcome:
        """Bring the dataset to its best final state."""
        try:
            return self._recovered()
        finally:
            self.let_go()

    def _recovered(self) -> Outcome:
        with self.lock:
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


# ── datasets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def recovered(root: str, backend: Backend = None) -> Outcome | None:
    """Bring a dataset to its best final state, and return what came; `None` if it has no journal.

    Raises
    ------
    PlanError
        If its writer is not here, or cannot put frames that wait into it.
    FileNotFoundError
        If the dataset, or part of it, is gone.
    OSError
        If the disk fails. It can be done again.
    """
    if not os.path.lexists(journal_folder(root)):
        return None

    def make() -> ResumedRun | None:
        journal = journal_of(root)
        return None if journal is None else _attached(root, journal, backend)

    run = _locked(root, make)
    if run is None:
        return None
    try:
        run.begin_syncing()
        return run.recover()
    except BaseException:
        run.abort()
        raise


def resumed(plan: Plan, backend: Backend) -> Run:
    """Return a run that goes on with the dataset of a plan; begins one if there is none.

    Raises
    ------
    PlanError
        If the dataset is of another plan, cannot be gone on with, or has no journal.
    OSError
        If it cannot be read or written. It can be done again.
    """
    root = os.path.expanduser(plan.settings.output_path)  # noqa: PTH111 - may be a URL
    if not root or is_url(root):
        _refuse(("root_path",), f"only a dataset on a disk can be resumed; got {root!r}")

    def make() -> ResumedRun | None:
        journal = _journal_for(plan, root)
        return None if journal is None else _attached(root, journal, backend, resume=True)

    run = _locked(root, make)
    if run is None:
        return begun(plan, backend)
    try:
        run.go_on()
        run.begin_syncing()
    except BaseException:
        run.abort()
        raise
    return run


def _locked(root: str, make: Callable[[], ResumedRun | None]) -> ResumedRun | None:
    """Return a run with the lock on its dataset, which comes before all else: who has it may be writing the journal."""
    lock = Lock(Path(root))
    try:
        run = make()
    except BaseException:
        lock.release()
        raise
    if run is None:
        lock.release()
    else:
        run.held = lock
    return run


def _journal_for(plan: Plan, root: str) -> Journal | None:
    """Return the journal of the dataset to go on with, `None` if one is to be begun."""
    journal = journal_of(root)
    if journal is None:
        if os.path.lexists(root):
            why = "there is no journal beside it. Either it is complete, or it was made by other means"
            _refuse(("root_path",), f"{root} cannot be resumed: {why}")
        return None
    try:
        _require_same(plan, journal.plan)
        if not os.path.lexists(root):
            if journal.told.ended or reached(journal.marks()):
                _refuse(("root_path",), f"{root} is gone; its journal, {journal.folder}, is of no use without it")
            journal.close()
            return None
    except BaseException:
        journal.close()
        raise
    # What says how to go on, not what stands there, is what is given now.
    settings = evolve(journal.plan.settings, buffer_bytes=plan.settings.buffer_bytes, sync=plan.settings.sync)
    journal.plan = evolve(journal.plan, settings=settings)
    return journal


def _attached(root: str, journal: Journal, backend: Backend, *, resume: bool = False) -> ResumedRun:
    """Open the writer of a dataset that stands."""
    try:
        writer = writer_for(journal.plan, writer_named(journal.begun.writer) if backend is None else backend)
        return _opened(root, journal, writer, resume=resume)
    except BaseException:
        journal.close()
        raise


def _opened(root: str, journal: Journal, writer: Writer, *, resume: bool) -> ResumedRun:
    plan, name, able = journal.plan, journal.begun.writer, writer.capabilities
    if able.name != name:
        _refuse(("backend",), f"must be {name!r}, which the dataset was begun with; got {able.name!r}")
    in_turn_only = unit_for(plan, able) != "frame" or able.order != "any"
    if resume and not able.attaches:
        _refuse(("backend",), f"{name} cannot go on with a dataset that stands; recover({root!r}) says what it holds")
    if resume and journal.told.put and in_turn_only:
        _refuse(("backend",), f"{name} cannot go on with frames in any order; recover({root!r}) stores those that came")
    said = Outcome(writer=able.name, root=root, placed=able.positioned)
    marks, gone = journal.marks(), not os.path.lexists(root)
    if gone and not (marks == WAITS).any():
        raise absent_dataset(root)
    if gone and np.isin(marks, (CAME, GIVEN)).any():
        raise FileNotFoundError(f"{root} is gone, and with it frames that its journal, {journal.folder}, does not hold")
    if able.append_only and not gone and (marks == WAITS).any():
        # An engine that only appends begins anew: all that came waits in the journal until it has ended.
        Path(root).rename(f"{root}.unfinished-{os.urandom(4).hex()}")
        gone = True
    writer.open(root, plan, documents(plan, journal.begun.stamp, said), attach=not gone)
    for left in aside(Path(root), "unfinished"):
        if why_not_dataset(left) is None:
            shutil.rmtree(left)
    try:
        return ResumedRun(plan, writer, root, journal)
    except BaseException:
        with suppress(Exception):
            writer.abort()
        raise


def _ended_before(root: str) -> Facts | None:
    """Return what the documents of a dataset say came of its run, if that has ended."""
    with suppress(OSError, ValueError):
        facts = facts_from(noted(root))
        return facts if facts is not None and facts.ended else None
    return None


def _require_same(plan: Plan, stored: Plan) -> None:
    """Refuse settings that are not those of the dataset."""
    given, there = (make_converter().unstructure(one.settings) for one in (plan, stored))
    for name in _OF_THE_WAY:
        given.pop(name, None)
        there.pop(name, None)
    problems = [
        Problem(change.where, "conflict", f"is not what the dataset was begun with; got {change.value!r:.80}")
        for change in differences(there, given)
    ]
    if problems:
        raise PlanError(problems)
    if plan_to_npz(evolve(plan, settings=stored.settings)) != plan_to_npz(stored):
        _refuse((), "the dataset was begun with a part of this plan, or with its frames in another order")


def _refuse(loc: Loc, message: str) -> NoReturn:
    raise PlanError([Problem(loc, "unsupported", message)])
