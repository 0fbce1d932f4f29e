"""A thread that looks after the frames of a run which are not stored yet: those that rest go to its journal."""

from __future__ import annotations

import contextlib
import threading
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ome_writers.saferun import SafeRun

_PAUSE: Final = 0.4
"""Seconds between two looks. What rested from one to the next is kept: so a frame does within a second, and blocks that
are complete sooner cost nothing."""
_SHORT: Final = 0.05
"""Seconds between two looks where nobody else asks what is stored by now."""


class Keeper:
    """Looks after a run until that has ended, or is forgotten."""

    def __init__(self, run: SafeRun, *, often: bool) -> None:
        self._awake = threading.Event()
        args = (weakref.ref(run), self._awake, _SHORT if often else _PAUSE)
        thread = threading.Thread(target=_look, args=args, name="journal", daemon=True)
        # Python 3.12 and newer start no threads while the process ends.
        with contextlib.suppress(RuntimeError):
            thread.start()

    def end(self) -> None:
        """Have it look for the last time."""
        self._awake.set()


def _look(run: weakref.ref[SafeRun], awake: threading.Event, pause: float) -> None:
    looked = monotonic()
    while not awake.wait(pause):
        there = run()
        rested = monotonic() - looked >= _PAUSE
        if there is None or not there.look_after(rested=rested):
            return
        looked = monotonic() if rested else looked
        del there
