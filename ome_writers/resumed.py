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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
from attrs import evolve

from ome_writers.begin import Backend, begun, standing, writer_for
from ome_writers.casts import is_url
from ome_writers.documents import Outcome, documents
from ome_writers.edits import differences
from ome_writers.errors import Loc, PlanError, Problem
from ome_writers.journal import RUN, Journal, journal_folder, journal_of
from ome_writers.journal_file import CAME, GIVEN, WAITS, reached
from ome_writers.lock import Lock
from ome_writers.ownership import why_not_dataset
from ome_writers.plan import Plan
from ome_writers.plan_file import plan_to_npz
from ome_writers.regular import problems_in
from ome_writers.resumed_run import ResumedRun
from ome_writers.run import Run
from ome_writers.serial import make_converter
from ome_writers.target import absent as absent_dataset
from ome_writers.target import aside
from ome_writers.writer import Writer, unit_for, writer_named
from ome_writers.writers.files import located

_OF_THE_WAY: Final = ("root_path", "overwrite", "buffer_bytes", "sync")
"""Fields of settings that say nothing of what stands in a dataset."""


def recovered(root: str, backend: Backend = None, claimed: Outcome | None = None) -> Outcome | None:
    """Bring a dataset to its best final state, and return what came; `None` if it has no journal.

    What its documents claim that came did so, even if the journal does not know.

    Raises
    ------
    PlanError
        If its writer is not here, or cannot put frames that wait into it.
    NotADataset
        If one of its documents cannot be understood.
    FileNotFoundError
        If the dataset, or part of it, is gone.
    OSError
        If the disk fails. It can be done again.
    """
    if not os.path.lexists(journal_folder(root)):
        return None

    def make() -> ResumedRun | None:
        journal = journal_of(root)
        return None if journal is None else _attached(root, journal, backend, claimed=claimed)

    with located(root):
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
    NotADataset
        If one of its documents cannot be understood.
    OSError
        If it cannot be read or written; says where. It can be done again.
    """
    root = standing(plan.settings.output_path)
    if not root or is_url(root):
        _refuse(("root_path",), f"only a dataset on a disk can be resumed; got {root!r}")

    def make() -> ResumedRun | None:
        journal = _journal_for(plan, root)
        return None if journal is None else _attached(root, journal, backend, resume=True)

    with located(root):
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


def _attached(
    root: str, journal: Journal, backend: Backend, *, resume: bool = False, claimed: Outcome | None = None
) -> ResumedRun:
    """Open the writer of a dataset that stands."""
    try:
        if backend is None:
            with problems_in(journal.folder / RUN):
                backend = writer_named(journal.begun.writer)
        return _opened(root, journal, writer_for(journal.plan, backend), claimed, resume=resume)
    except BaseException:
        journal.close()
        raise


def _opened(root: str, journal: Journal, writer: Writer, claimed: Outcome | None, *, resume: bool) -> ResumedRun:
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
        return ResumedRun(plan, writer, root, journal, claimed)
    except BaseException:
        with suppress(Exception):
            writer.abort()
        raise


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
