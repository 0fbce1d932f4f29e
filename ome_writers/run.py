"""One pass of a plan through a writer, from its first frame to its last document.

What a run knows beside its plan stands in `runstate.py`, what survives its process in `saferun.py`, and how frames move
in the order of the plan in `inturn.py`. Here they come in any other way, and the run to its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from ome_writers.documents import Outcome, Verdict
from ome_writers.errors import WriteError
from ome_writers.inturn import InTurn
from ome_writers.journal_file import WAITS
from ome_writers.puts import ONE_WAY, Came, Puts, puts_for
from ome_writers.writer import Block


class Run(InTurn):
    """One pass of a plan through a writer, in whatever way its frames come, to its end."""

    # ── lanes ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def require_unused(self) -> None:
        """Refuse to have frames come in another way than they did."""
        self._require_going_on()
        if self.cursor or self.puts is not None:
            raise ValueError("frames came to the stream as a whole before, so that no camera can have its own")

    def begin_lanes(self, lanes: list[Any], puts: Puts, lock: Any) -> None:
        """Take frames through lanes from now on."""
        self._say({"lanes": True})
        self.lanes, self.puts, self._in_turn, self.lock = lanes, puts, False, lock

    def arrived(self, came: Came) -> None:
        """Note that a frame came through a lane."""
        # After a fault they may come a second time.
        if self.puts is not None and came.place not in self.puts:
            self.puts.add(came)
        self.cursor = max(self.cursor, came.place + 1)

    @property
    def failure(self) -> WriteError | None:
        """What went wrong, if anything did."""
        return self._failure

    def _failed(self, error: Exception, place: int | None) -> WriteError:
        failure = super()._failed(error, place)
        self.fail_all(failure)
        return failure

    def fail_all(self, failure: WriteError) -> None:
        """Take no more frames, through whatever lane."""
        self._failure = self._failure or failure
        for lane in (self, *self.lanes):
            lane._forget_ahead()  # noqa: SLF001 - lanes are runs as well

    # ── frames by name ──────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, frame: Any, indices: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Store a frame at the place that `indices` name. Whatever is refused takes no place."""
        with self.lock:
            self._require_going_on()
            if self.lanes or (self._in_turn and self.cursor):
                raise ValueError(ONE_WAY.format("camera(…).append" if self.lanes else "append"))
            puts = self.puts or self.puts_for_all()
            came = puts.admitted(frame, indices, metadata)
            if self.puts is None:
                self._say({"put": True})
            self.puts, self._in_turn = puts, False
            self.accept(came, puts)

    def puts_for_all(self) -> Puts:
        """Return what keeps frames that come in any order, if the writer does not take them so."""
        waiting = None if self.journal is None else self.journal.waiting
        return puts_for(self.plan, self.writer.capabilities, self.root, waiting)

    def accept(self, came: Came, puts: Puts) -> None:
        """Store a frame that fits at its place, or have it wait for its turn."""
        if puts.spool is None:
            self._store(came)
        else:
            try:
                puts.keep(came)
                self._note_waiting(came)
            except OSError as error:
                raise (failure := self._failed(error, came.place)) from failure.__cause__
        puts.add(came)
        self.cursor = max(self.cursor, came.place + 1)

    def close(self, error: BaseException | None = None) -> Outcome:
        """Drain, shrink the arrays to what came, and write the final documents; `error` is what ended the run early."""
        with self.lock:
            if self._cut_off:
                raise WriteError(self._cut_off)
            if self.outcome is not None:
                return self.outcome
            if self.disowned:
                return self.so_far()
            self._take_no_more()
            whole = self.plan.frames in (None, self.cursor) and self.due <= self.cursor and error is None
            if self.puts is not None:
                whole = whole and len(self.puts.order) == self.cursor
            try:
                self.outcome = self._ended(error, whole=whole)
                self._end_journal()
            finally:
                self.let_go()
            if self._failure is not None:
                raise self._failure
            return self.outcome

    def abort(self) -> None:
        """Let go of everything; what stands on disk says that the run did not end."""
        with self.lock:
            if self.outcome is None and not self.disowned:
                self._take_no_more()
                if self.puts is not None:
                    self.puts.close()
                    self.cursor = 0 if self.puts.spool is not None else self.cursor
                self.outcome = self._said("stopped", None)
                for lane in self.lanes:
                    lane.writer.abort()
                self.writer.abort()
                if self.journal is not None:
                    with self._settling, contextlib.suppress(OSError):  # What was not noted counts as not come.
                        self.settle()
                        self.journal.close()
                self.let_go()

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take_no_more(self) -> None:
        self._forget_ahead()
        self._closing = True
        if self.syncer is not None:
            self.syncer.end()

    def _ended(self, error: BaseException | None, *, whole: bool) -> Outcome:
        """Bring all that came into the dataset, with what becomes of the run; until then, the journal stays."""
        try:
            waited = self._complete()
            verdict: Verdict = "failed" if self._failure else "complete" if whole else "stopped"
            self.outcome = self._said(verdict, self._failure or error)
            waited += self._close_writer(self.outcome.told)
        except BaseException as interrupt:
            self._interrupted(interrupt)
            raise
        return evolve(self.outcome, sync_seconds=waited)

    def _complete(self) -> float:
        """Store what is still on its way, and return how many seconds the device took for it."""
        waited = 0.0
        if self._failure is None:
            try:
                self.require_there()
                self._replay()
                for lane in self.lanes:
                    lane.end()
                if self.due > self.cursor:
                    self.skip(self.due - self.cursor)
                self._drain()
                waited = self._sync()
            except Exception as failure:  # noqa: BLE001 - `close` tells it, once all is let go of
                self._failed(failure, None)
        if self._failure is not None:
            with contextlib.suppress(Exception):  # What went wrong first is what is told.
                self._rescue()
                waited = self._sync()
        if self.puts is not None:
            self.puts.close()
        return waited

    def _rescue(self) -> None:
        """Store what waits or rests in open blocks, after a failure; what still cannot be goes to the journal."""
        if self.puts is not None and self.puts.spool is not None and not self._in_turn:
            self._replay_all_the_same()
        if not self._every_open():
            return
        for lane in (self, *self.lanes):
            lane.forget_uncounted()
        try:
            self.require_there()
            for lane in (self, *self.lanes):
                lane.rescue()
            self.writer.flush()
        finally:
            self._keep_all()

    def _replay_all_the_same(self) -> None:
        failure, self._failure = self._failure, None
        try:
            self.require_there()
            self._replay()
            self._drain()
        finally:
            self._failure = failure
            # Of what waits, nothing is in the dataset before it has had its turn.
            self.cursor = self.cursor if self._in_turn else 0

    def _store(self, came: Came) -> None:
        """Hand over a frame by itself, out of turn."""
        # The documents of arrays that grow are those of a run that has come to here.
        self.cursor = max(self.cursor, came.place)
        try:
            self._grow(came.array, came.index)
            self._write((Block((came.number,), came.array, came.index, came.frame[self._lead]),))
            if came.record is not None:
                self._keep_record(came.number, came.place, came.array, came.index, came.record)
            self._taken((came.number,), (came.place,))
        except Exception as error:  # noqa: BLE001 - what is raised says more
            raise (failure := self._failed(error, came.place)) from failure.__cause__

    def _replay(self) -> None:
        """Take the frames that were spooled, in the order of the plan, and go past those that did not come."""
        if self.puts is None or self.puts.spool is None:
            return
        stretches = self.puts.waiting(self.cursor)
        self.cursor, self._in_turn, self._replays = 0, True, True
        for places, came in stretches:
            if not came:
                self.skip(len(places))
                continue
            for place in places:
                self.take(self.puts.spool.frame(place), self.records.get(place))

    def _say(self, value: Mapping[str, Any]) -> None:
        """Have the journal know in which way frames come."""
        try:
            if self.journal is not None:
                self.journal.say(value)
        except OSError as error:
            raise (failure := self._failed(error, None)) from failure.__cause__

    def _note_waiting(self, came: Came) -> None:
        """Keep what came with a frame that waits, and have the journal know of it."""
        if came.record is not None:
            self.records.add(came.place, came.record)
        if self.journal is not None:
            self.journal.mark(came.place, WAITS)
