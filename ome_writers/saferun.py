"""A run and what may befall it: what survives its process, what has reached the device, whose it is after a fork."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from attrs import evolve

from ome_writers.documents import Outcome, Stamp
from ome_writers.errors import WriteError
from ome_writers.gaps import joined
from ome_writers.journal import Journal
from ome_writers.journal_file import GIVEN
from ome_writers.keeping import Keeper
from ome_writers.lifetime import disowned_in_forks, keep_forever
from ome_writers.lock import Lock
from ome_writers.plan import Plan
from ome_writers.presence import Presence
from ome_writers.runstate import RunState
from ome_writers.syncing import Syncer, Syncing
from ome_writers.writer import Writer, ack_for

_OFTEN: Final = 0.01
"""Seconds after which a writer is asked again what it has stored, if that is much to ask."""
_FEW: Final = 64
"""Blocks of which it may be asked at any time."""
_MOMENT: Final = 0.001
_MANY: Final = 256
"""Blocks from which on it is asked by whoever hands over the next one, even where a thread does so now and then."""


class SafeRun(RunState):
    """A run, without what takes its frames."""

    def __init__(self, plan: Plan, writer: Writer, root: str, stamp: Stamp, journal: Journal | None = None) -> None:
        super().__init__(plan, writer, root, stamp, journal)
        self._ack = ack_for(plan, writer.capabilities)
        self._pending = getattr(writer, "pending", None)
        self._at_once = self._ack == "append" or (self._ack == "block" and self._pending is None)
        """Whether a block is out of the reach of a dying process when `write` returns."""
        self._handed: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        """Numbers and places of the frames in blocks that the writer has, and may not have stored."""
        self._settling = threading.RLock()
        """Held by whoever notes what is stored: close or a thread of its own, while another one is in the writer."""
        self._closing = False
        self._cut_off = ""
        """What is to be said to whoever closes it again, if it was interrupted while it was being closed."""
        self._asked = 0.0
        """When it was asked for the last time what it has stored."""
        self._buffered = hasattr(writer, "fill")
        """Whether to hand over a frame is to cost one copy, and nothing else: the thread that stores it wants the
        processor then, and whoever goes to the disk, or gives way in another way, may wait for a slice of its time."""
        self._keeper: Keeper | None = None
        self._mark = journal.mark if journal is not None and self._at_once else None
        """What notes at once that a single frame came."""
        self._replays = False
        """Whether the frames that are taken came before."""
        self.syncing: Syncing | None = None
        """What is to be known to bring the dataset to the device, if that is wanted."""
        self.syncer: Syncer | None = None
        self._torn = ""
        """Which frame was interrupted on its way to a writer that cannot be given one twice."""
        self.presence: Presence | None = None
        """What knows the dataset again, if it stands on a disk."""
        self.held: Lock | None = None
        """The right to write the dataset, where others could ask for it."""
        self._begin_forked()

    def _begin_forked(self) -> None:
        disowned_in_forks(self)

    def _interrupted_at(self, place: int) -> None:
        """Take no more frames, if the writer may have one already, and would take it for the next."""
        if self.writer.capabilities.order == "planned":
            self._torn = str(self.plan.locate(place))
            self._forget_ahead()

    def _require_going_on(self) -> None:
        super()._require_going_on()
        if self._torn:
            name = self.writer.capabilities.name
            raise WriteError(
                f"{self._torn} was interrupted, and {name} may have stored it or not: close the stream, which ends "
                "before that frame"
            )

    # ── whose it is ───────────────────────────────────────────────────────────────────────────────────────────────────

    def before_fork(self) -> None:
        """Come to rest, and stay so until `after_fork`."""
        self.lock.acquire()
        if self.outcome is None and (rest := getattr(self.writer, "rest", None)):
            rest()

    def after_fork(self) -> None:
        """Go on."""
        self.lock.release()

    def disown(self) -> None:
        """Take nothing from now on, and change nothing: the process that this one is a fork of goes on with the run."""
        keep_forever(self)
        # Some other thread of that process may hold it, which there is not in this one.
        self.lock = self.inner = threading.RLock()
        self.lanes = []
        self.disowned = True
        self._forget_ahead()

    def let_go(self) -> None:
        """Let others write the dataset, and let the thread go that looked after it."""
        if self._keeper is not None:
            self._keeper.end()
        if self.presence is not None:
            self.presence.forget()
        if self.held is not None:
            self.held.release()

    # ── what reaches the device ─────────────────────────────────────────────────────────────────────────────────────

    def begin_syncing(self) -> None:
        """Have a thread look whether the dataset still stands, and bring it to the device if that is wanted."""
        sync = self.plan.settings.sync
        if self.journal is not None:
            self.presence = Presence(Path(self.root))
            self.syncing = None if sync == "never" else Syncing(self.root, self.journal.folder)
            self.syncer = Syncer(self, self.syncing, None if isinstance(sync, str) else sync)

    def require_there(self) -> None:
        """Raise if somebody took the dataset away."""
        if self.presence is not None and self.presence.is_gone():
            raise WriteError(
                f"{self.root} is gone: it was removed, or renamed, while it was being written. If it still exists, "
                f"give it its name again, and ome-writers recover {self.root} completes it"
            )

    def sync_journal(self) -> bool:
        """Bring the journal to the device; return whether the run goes on."""
        with self.lock:
            if self.outcome is not None or self._failure is not None or self.journal is None:
                return False
            self.settle()
            self.journal.sync()
            return True

    def fail(self, error: Exception) -> None:
        """Have the next call raise what went wrong in another thread."""
        with self.lock:
            if self.outcome is None and self._failure is None:
                self._failed(error, None)

    # ── what is out of the reach of a dying process ─────────────────────────────────────────────────────────────────

    @property
    def safe_frames(self) -> int:
        """How many frames survive the death of this process."""
        with self.lock:
            if not self.writer.capabilities.persistent or not self.root:
                return 0
            if self.outcome is not None:
                return self.outcome.frames
            if self._waiting is not None:
                return len(self._waiting.order) if self.journal is not None else 0
            if self._ack == "close":
                return 0
            if self._failure is None:
                try:
                    self.settle()
                except OSError as error:
                    raise (failure := self._failed(error, None)) from failure.__cause__
            unsafe = [*(places for _, places in self._handed), *(block.places for block in self._every_open())]
            kept = self.journal.waiting if self.journal is not None else ()
            places = {place for places in unsafe for place in places if place not in kept}
            if self.puts is not None:
                return len(self.puts.order) - sum(place in self.puts for place in places)
            # A block that could not be handed over holds a frame that was refused with it.
            return self.cursor - sum(map(len, self.skipped)) - sum(place < self.cursor for place in places)

    def settle(self) -> None:
        """Ask the writer what it has stored by now, and note that these frames came."""
        with self._settling:
            handed = self._handed[:]
            if not handed or (self.journal is not None and self.journal.closed):
                return
            pending = set(self._pending()) if self._pending is not None else set()
            held = []
            for numbers, places in handed:
                if pending and not pending.isdisjoint(numbers):
                    held.append((numbers, places))
                else:
                    self._have(places)
            # What was added meanwhile stays behind.
            self._handed[: len(handed)] = held
            self._asked = monotonic()

    def _taken(self, numbers: Sequence[int], places: Sequence[int]) -> None:
        """Note that the writer has frames, all that there is of each."""
        if self._at_once or (self._ack == "close" and self._pending is None):
            self._have(places)
            return
        self._handed.append((tuple(numbers), tuple(places)))
        self._watch()
        handed = len(self._handed)
        if handed >= (_MANY if self._buffered else 1) and (handed < _FEW or monotonic() - self._asked > _OFTEN):
            self.settle()

    def _have(self, places: Sequence[int]) -> None:
        """Note that frames are in the dataset; or in an engine, which does not say when they are there."""
        if self.journal is None:
            return
        if self._ack != "close":
            self.journal.mark_all(places)
        else:
            # Those that wait in the journal do so until the engine has ended.
            self.journal.mark_all([place for place in places if place not in self.journal.waiting], GIVEN)

    def _watch(self) -> None:
        """Have a thread look after frames that are not stored yet."""
        if self._keeper is None and self.journal is not None and self._ack != "close":
            self._keeper = Keeper(self, often=self._buffered)

    def look_after(self, *, rested: bool) -> bool:
        """Note what is stored by now, and return whether to go on doing so.

        If all that was there at the last such look has `rested` for a while, what of it is in open blocks goes to the
        journal.
        """
        for lane in (self, *self.lanes) if rested else ():
            lane._keep_what_rests()  # noqa: SLF001 - lanes are runs as well
        # Without the lock, which is held while a run is being closed, however long a disk takes for what is on its way.
        try:
            if going := self.outcome is None and self._failure is None:
                self.settle()
        except Exception as error:  # noqa: BLE001 - raised by the next call
            self.fail(error)
        return going

    def _keep_what_rests(self) -> None:
        for buffer in tuple(self._open):
            while self._keep_one(buffer):
                pass

    def _is_closing(self) -> bool:
        return self._closing

    def _keep_one(self, buffer: int) -> bool:
        """Keep one more frame of a block, if there is one that was there when it was looked at before."""
        while not self.lock.acquire(blocking=False):
            if self._is_closing():
                return False
            sleep(_MOMENT)
        try:
            return self._kept_one(buffer)
        finally:
            self.lock.release()

    def _kept_one(self, buffer: int) -> bool:
        with self._settling:
            block = self._open.get(buffer)
            if block is None or self.outcome is not None or self._failure is not None or self.journal is None:
                return False
            if block.kept == block.seen:
                block.seen = len(block.places)
                return False
            try:
                self.journal.keep(block.places[block.kept], block.pixels[block.came[block.kept]])
            except Exception as error:  # noqa: BLE001 - raised by the next call
                self._failed(error, block.places[block.kept])
                return False
            block.kept += 1
            return True

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _close_writer(self, told: int) -> float:
        """Have the writer end, with arrays that end with the last frame that is told of, and the final documents.

        Returns how many seconds the device took. If it cannot, it is asked once more, to say that the run has failed
        with as little as that takes. What stands in the place of the dataset is left alone.
        """
        # Asked before the writer ends: of a file without any page, it takes itself away.
        gone = self.presence is not None and self.presence.is_gone()
        try:
            self.require_there()
            if self._failure is not None:
                self._cut(told)
            self._trim()
            self.writer.close(self.documents())
            return self._sync()
        except Exception as error:  # noqa: BLE001 - the run tells the caller, once all is let go of
            self.writer.abort()
            if self._failure is None:
                self._failed(error, None)
            said = evolve(self._said("failed", self._failure), bare=True)
            if not gone:
                self._say_failed(said)
            self.outcome = said
        return 0.0

    def _say_failed(self, said: Outcome) -> None:
        """Have the documents say it: with what came with the frames, or without it, which the journal keeps."""
        if self.journal is not None:
            self.journal.free_room()
        for self.outcome in (said, evolve(said, records={})) if said.records else (said,):
            try:
                described = self.documents()
                self.writer.open(self.root, self.plan, described, attach=True)
                self._cut(said.told)
                self.writer.close(described)
            except Exception:  # noqa: BLE001 - the first failure is the one to tell of
                self.writer.abort()
            else:
                return

    def _trim(self) -> None:
        """Have a writer that cannot be given a frame twice take away what is not counted."""
        trim, outcome = getattr(self.writer, "trim", None), self.outcome
        if trim is None or outcome is None or outcome.verdict == "complete":
            return
        stop = outcome.cursor
        for first, last in reversed(outcome.gaps.tolist()):
            stop = first if last == stop else stop
        trim(stop)

    def _end_journal(self) -> None:
        """Remove the journal, unless something of it could still be of use: to go on, or to recover."""
        journal, outcome = self.journal, self.outcome
        if journal is None or outcome is None:
            return
        may_go_on = self.may_go_on and (self.puts is None or self.puts.spool is None)
        with self._settling, contextlib.suppress(OSError):
            if outcome.verdict == "complete" or (outcome.verdict == "stopped" and not may_go_on):
                journal.remove()
            else:
                # What was stored last may not be noted yet, or could not be.
                gaps = outcome.gaps.tolist()
                for (_, first), (stop, _) in pairwise([(0, 0), *gaps, (outcome.cursor, 0)]):
                    journal.mark_all(range(first, stop))
                journal.say({"ended": outcome.verdict, "error": outcome.error})
                if self._failure is not None and (frames := len(journal.waiting)):
                    self._failure.add_note(f"{frames} more are kept: ome-writers recover {self.root} stores them")
                journal.close()

    def _interrupted(self, interrupt: BaseException) -> None:
        """Let go of everything, as Ctrl-C came while the run was being closed; the journal stays, for `recover`."""
        self.outcome = None
        # The disk may be why somebody lost patience.
        for step in (self._keep_all, self.writer.abort, self._keep_dropped, self.settle):
            with contextlib.suppress(Exception):
                step()
        unsafe = [*(places for _, places in self._handed), *(block.places for block in self._every_open())]
        kept = () if self.journal is None else self.journal.waiting
        lost = [(place, place + 1) for places in unsafe for place in places if place not in kept]
        said = self._said("stopped", interrupt)
        gaps = joined([*said.gaps.tolist(), *lost], said.cursor)
        self.outcome = evolve(said, missing=gaps)
        safe = "all" if len(gaps) == len(said.gaps) else self.outcome.frames
        some = f"with {safe} of them" if self._ack != "close" else "with those that its engine has stored"
        done = "" if self.journal is None else f"; ome-writers recover {self.root} completes it {some}"
        came = f"{self.steps} frames came to {self.root or 'the stream'}"
        self._cut_off = f"{came}, and it was interrupted while it was being closed{done}"
        interrupt.add_note(self._cut_off)
        if self.journal is not None:
            with self._settling:
                self.journal.close()
            self.journal = None
        self.let_go()

    def _keep_dropped(self) -> None:
        """Bring the frames to the journal that a writer was given one by one, and has let go of."""
        places = {number: place for handed in self._handed for number, place in zip(*handed, strict=True)}
        for block in getattr(self.writer, "dropped", ()) if self.journal is not None else ():
            if self.journal is not None and self._assembly.unit == "frame":
                self.journal.keep(places[block.frames[0]], block.data.reshape(block.data.shape[-2:]))

    def _keep_all(self) -> None:
        """Bring the frames to the journal that rest in open blocks."""
        if self.journal is None:
            return
        for block in self._every_open():
            for place, slot in zip(block.places, block.came, strict=True):
                if place not in self.journal.waiting:
                    self.journal.keep(place, block.pixels[slot])

    def _sync(self) -> float:
        """Bring all that is stored to the device, and return how many seconds that took."""
        begin = monotonic()
        if self.syncing is not None:
            self.syncing.rest()
        return monotonic() - begin
