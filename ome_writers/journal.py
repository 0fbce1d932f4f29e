"""The journal of a run, a folder beside its dataset, which outlives the process: see `journal_file.py` for its files.

1. It is there before the dataset, and goes when the dataset says all that it could say: when the verdict is `complete`,
   or when nobody could go on with the run.
2. A byte of `came` is written behind all else that there is of a frame: whoever finds it finds the frame.
3. All goes to the operating system at once, and to the device when `sync` is called.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from ome_writers.errors import PlanError, Problem
from ome_writers.files import load_plan
from ome_writers.journal_file import (
    CAME,
    MOST_PLACES,
    MOST_UNKNOWN,
    WAITS,
    Begun,
    Told,
    begun_from_json,
    begun_to_json,
    said,
    told_by,
)
from ome_writers.leftovers import why_not_journal
from ome_writers.plan import Plan
from ome_writers.plan_file import plan_to_npz
from ome_writers.recordfile import Lines, Records
from ome_writers.regular import MOST_DOCUMENT, IrregularFileError, open_regular, own_regular, problems_in, read_regular
from ome_writers.spool import Spool, kept_in
from ome_writers.writers import placed
from ome_writers.writers.files import located, sync_file, sync_folder

RUN: Final = "run.json"
_PLAN: Final = "plan.npz"
_CAME: Final = "came"
_METADATA: Final = "metadata"
_WAITING: Final = "waiting"
_ROOM: Final = "room"
_LAST: Final = 1 << 16
"""Bytes of the room that is taken for the end."""
_PIECE: Final = 1 << 20
_BYTES: Final = tuple(bytes([value]) for value in range(256))


def journal_folder(root: str | os.PathLike[str]) -> Path:
    """Return where the journal of a dataset is.

    Examples
    --------
    >>> journal_folder("data/cells.ome.tiff").name
    'cells.ome.tiff.journal'
    """
    path = Path(os.path.abspath(os.path.expanduser(root)))  # noqa: PTH100, PTH111 - what may be a link stays one
    return path.with_name(f"{path.name}.journal")


class Journal:
    """An open journal; calls come one at a time."""

    def __init__(self, folder: Path, plan: Plan, begun: Begun) -> None:
        self.folder, self.plan, self.begun = folder, plan, begun
        self._came = own_regular(folder / _CAME)
        self.records = Records(Lines(folder / _METADATA))
        self.waiting = Spool(None, folder / _WAITING)
        self.told = Told()
        """What had been said of the whole acquisition when it was opened."""

    # ── what comes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def mark(self, place: int, value: int = CAME) -> None:
        """Say what became of the frame at a place.

        Raises
        ------
        OSError
            If the disk fails or is full.
        """
        if placed.POSITIONED and os.pwrite(self._came, _BYTES[value], place) == 1:
            return
        placed.put(self._came, _BYTES[value], place)

    def reserve(self) -> None:
        """Take the room for what will be said first: on a disk that is full, it can be said what there was room for."""
        most = _PIECE >> 4
        with located(self.folder / _CAME):
            placed.put(self._came, bytes(min(self.plan.frames or most, most)), 0)
        self.take_room()

    def take_room(self) -> None:
        """Take some for the documents that say how it ended: the verdict is to be on a disk that is full, too."""
        with contextlib.suppress(OSError):  # with less of it there is still a chance
            self.free_room()  # what stands there by now may be a link to anything
            with (self.folder / _ROOM).open("xb") as file:
                file.write(bytes(_LAST))

    def free_room(self) -> None:
        """Leave it to those documents."""
        with contextlib.suppress(OSError):
            (self.folder / _ROOM).unlink(missing_ok=True)

    def mark_all(self, places: Sequence[int], value: int = CAME) -> None:
        """Say the same of several frames; those of which it was not known, or that waited, wait no longer."""
        if isinstance(places, range) and places.step == 1:
            if places:
                placed.put(self._came, _BYTES[value] * len(places), places.start)
        else:
            for place in places:
                self.mark(place, value)
        if value != WAITS:
            self.waiting.release(places)

    def keep(self, place: int, frame: NDArray[Any]) -> None:
        """Keep the raw frame of a place, until it is marked as anything else."""
        self.waiting.keep(place, frame)
        self.mark(place, WAITS)

    def say(self, value: Mapping[str, Any]) -> None:
        """Note what is said of the acquisition as a whole."""
        self.records.lines.append(said(-1, value))

    def sync(self) -> None:
        """Return when all that was said has reached the device: frames that wait before what says so."""
        self.waiting.sync()
        self.records.lines.sync()
        os.fsync(self._came)

    # ── what came before ────────────────────────────────────────────────────────────────────────────────────────────

    def marks(self) -> NDArray[np.uint8]:
        """Return what became of each place, as far as it is known.

        Raises
        ------
        PlanError
            If there are more than the plan has.
        """
        size = os.fstat(self._came).st_size
        most = MOST_PLACES if self.plan.frames is None else self.plan.frames
        if size > most:
            message = f"must have at most {most} bytes, one for each place of the plan; has {size}"
            self._refuse(message)
        if self.plan.frames is None:
            gaps = sum(placed.get(self._came, _PIECE, at).count(0) for at in range(0, size, _PIECE))
            if gaps > MOST_UNKNOWN:
                self._refuse(f"may leave at most {MOST_UNKNOWN} places open; leaves {gaps}")
        return np.frombuffer(placed.get(self._came, size, 0), np.uint8)

    def _refuse(self, message: str) -> NoReturn:
        raise PlanError([Problem((str(self.folder / _CAME),), "invalid_file", message)])

    def load(self) -> None:
        """Learn what an earlier process left."""
        self.told = told_by(self.records.load())
        marks = self.marks()
        for place, offset, size in kept_in(self.folder / _WAITING):
            if 0 <= place < len(marks) and marks[place] == WAITS:
                spec = self.plan.layout.arrays[int(self.plan.rows_at([place])["array"][0])]
                shape, dtype = tuple(length or 1 for length in spec.shape[-2:]), np.dtype(spec.dtype)
                if size == shape[0] * shape[1] * dtype.itemsize:
                    self.waiting.attach(place, offset, shape, dtype)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def closed(self) -> bool:
        """Whether nothing can be said any more."""
        return self._came < 0

    def close(self) -> None:
        """Let go of the files; what was said of frames can still be read."""
        self.records.lines.settle()
        self.waiting.close()
        if self._came >= 0:
            os.close(self._came)
            self._came = -1

    def remove(self) -> None:
        """Let go of the files, and remove them; what was said of frames can still be read."""
        self.close()
        _remove(self.folder)


@contextlib.contextmanager
def new_journal(root: str, plan: Plan, begun: Begun) -> Iterator[Journal]:
    """Make the journal of a dataset that is made within; what stood there of an older one goes when that stands.

    Raises
    ------
    FileExistsError
        If something else has its name.
    OSError
        If the disk fails or is full.
    """
    folder = journal_folder(root)
    aside = None
    if os.path.lexists(folder):
        if why := why_not_journal(folder):
            raise FileExistsError(
                f"{folder} is in the way, and is no journal: {why}; move it away, or give another path"
            )
        aside = folder.with_name(f"{folder.name}.replaced-{os.urandom(4).hex()}")
        folder.rename(aside)
    journal = None
    try:
        folder.mkdir(parents=True)
        # First what says that this is a journal.
        for name, data in ((RUN, begun_to_json(begun)), (_PLAN, plan_to_npz(plan))):
            with located(folder / name):
                (folder / name).write_bytes(data)
        journal = Journal(folder, plan, begun)
        journal.reserve()
        yield journal
    except BaseException:
        with contextlib.suppress(OSError):
            if journal is not None:
                journal.close()
            _remove(folder)
        if aside is not None:
            aside.rename(folder)
        raise
    if aside is not None:
        _remove(aside)


def journal_of(root: str | os.PathLike[str]) -> Journal | None:
    """Return the journal of a dataset as an earlier process left it, if there is one.

    Raises
    ------
    PlanError
        If it cannot be understood.
    OSError
        If it cannot be read.
    """
    folder = journal_folder(root)
    if not (folder / RUN).exists() or not (folder / _PLAN).exists():
        return None
    try:
        return _loaded(folder)
    except IrregularFileError as error:
        name = str(error.filename or folder)
        raise PlanError([Problem((name,), "invalid_file", error.strerror or str(error))]) from error


def _loaded(folder: Path) -> Journal:
    with problems_in(folder / RUN):
        begun = begun_from_json(read_regular(folder / RUN, MOST_DOCUMENT, links=False))
    plan = load_plan(folder / _PLAN)
    if len(begun.stamp.uuids) <= len(plan.layout.files):
        where = str(folder / RUN), "stamp", "uuids"
        raise PlanError([Problem(where, "invalid_file", "must be one for each file, and one more")])
    journal = Journal(folder, plan, begun)
    try:
        journal.load()
    except BaseException:
        journal.close()
        raise
    return journal


def marks_beside(root: str | os.PathLike[str], most: int | None) -> NDArray[np.uint8] | None:
    """Return what the journal of a dataset says of each place by now, `None` if there is none; it is only looked at.

    `most` is how many places there are, `None` without end.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    folder = journal_folder(root)
    if not (folder / RUN).exists():
        return None
    try:
        with open_regular(folder / _CAME, links=False) as file:
            places = MOST_PLACES if most is None else most
            return np.frombuffer(file.read(max(0, min(places, os.fstat(file.fileno()).st_size))), np.uint8)
    except FileNotFoundError:  # it is being made, or has just gone
        return None


def sync_journal(journal: Journal) -> None:
    """Return when a journal that has just been made has reached the device."""
    for name in (RUN, _PLAN):
        sync_file(journal.folder / name)
    sync_folder(journal.folder)
    sync_folder(journal.folder.parent)


def _remove(folder: Path) -> None:
    # It goes as a whole: half of one would be in the way, and nobody could say what it is.
    doomed = folder.with_name(f"{folder.name}.removed-{os.urandom(4).hex()}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
