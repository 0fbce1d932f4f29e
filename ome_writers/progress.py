"""Shows how a run is going, to those who sit before a terminal or a notebook.

A thread looks at the run a few times a second: how far it has come stands in its cursor, and whether the writer is
pressed in its buffer, or in how often the run is found waiting for the writer. So the loop that writes does nothing for
it, and nothing is tracked.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ome_writers.errors import PlanError, Problem
from ome_writers.images import frame_counts
from ome_writers.runstate import RunState
from ome_writers.sights import WINDOW, Sight, columns, share
from ome_writers.writer import THREADS

if TYPE_CHECKING:
    from rich.console import Console

_LOOKS: Final = 20
"""How often a second the thread looks whether the run waits."""
_EVERY: Final = 5
"""Looks between two pictures."""
_CELLS: Final = 20
"""Characters of a bar."""


def display(*, enabled: bool) -> Callable[[RunState], AbstractContextManager[object]]:
    """Return what shows a run while a `with` statement lasts, or does nothing.

    Raises
    ------
    PlanError
        If it shall be shown and `rich` is not installed.
    """
    if not enabled:
        return nullcontext
    _require_rich()
    return _Display


def _require_rich() -> None:
    if importlib.util.find_spec("rich") is None:
        message = "a progress bar needs the library 'rich', which is not installed: pip install 'ome-writers[cli]'"
        raise PlanError([Problem(("progress",), "missing_library", message)])


@contextmanager
def counted(what: str, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show how many things (`what`) are done of a task whose end is not known; yields the function to tell it.

    Raises
    ------
    PlanError
        If it shall be shown and `rich` is not installed.
    """
    if not shown:
        yield lambda _: None
        return
    _require_rich()
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(SpinnerColumn(), TextColumn(f"{{task.completed}} {what}"), TimeElapsedColumn()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done: progress.update(task, completed=done)


def sight_of(run: RunState, at: float, pressure: float | None = None) -> Sight:
    """Return how far a run is; asked from any thread, and without holding it up."""
    outcome, cursor, puts = run.outcome, run.cursor, run.puts
    if outcome is not None:
        came, missing = outcome.frames, outcome.cursor - outcome.frames
    elif puts is None:
        missing = sum(len(stretch) for stretch in tuple(run.skipped))
        came = cursor - missing
    else:
        # What was not put may still come.
        came, missing = len(puts.order), 0
    return Sight(
        at=at,
        frames=came,
        planned=run.plan.frames,
        nbytes=_bytes(run, came, cursor),
        missing=missing,
        pressure=pressure,
        verdict="running" if outcome is None else outcome.verdict,
    )


def _bytes(run: RunState, came: int, cursor: int) -> int:
    arrays = run.plan.layout.arrays
    each = [prod(size or 1 for size in spec.shape[-2:]) * np.dtype(spec.dtype).itemsize for spec in arrays]
    if min(each) == max(each):
        return came * each[0]
    # Those that did not come are taken to be like the others.
    return int(frame_counts(run.plan, cursor) @ np.array(each)) * came // max(1, cursor)


class _Picture(Protocol):
    """Something that shows sights."""

    def show(self, sights: Sequence[Sight]) -> None:
        """Show the last of them."""

    def end(self) -> None:
        """Leave the last picture where it is."""


class _Display:
    """Shows a run while a `with` statement lasts."""

    def __init__(self, run: RunState) -> None:
        self._run, self._ended = run, threading.Event()
        self._sights: deque[Sight] = deque(maxlen=2 * _LOOKS * int(WINDOW) // _EVERY)
        self._waits = deque[bool](maxlen=3 * _LOOKS)
        self._thread = threading.Thread(target=self._watch, name=f"{THREADS}-progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        # All of it in this thread: where nothing can be shown, frames are written all the same.
        picture: _Picture = _Notebook() if _in_notebook() else Terminal()
        self._look(picture)
        looks = 0
        # A stream that nobody holds any more is closed without this `with` statement coming to its end.
        while not self._ended.wait(1 / _LOOKS) and self._run.outcome is None:
            looks += 1
            self._waits.append(self._waiting())
            if looks % _EVERY == 0:
                self._look(picture)
        self._look(picture)
        picture.end()

    def _waiting(self) -> bool:
        """Return whether the run is at work on a frame: with it waits whoever brought that."""
        free = self._run.lock.acquire(blocking=False)
        if free:
            self._run.lock.release()
        return not free

    def _look(self, picture: _Picture) -> None:
        pressure = getattr(self._run.writer, "fill", None)
        if pressure is None and self._waits:
            pressure = sum(self._waits) / len(self._waits)
        self._sights.append(sight_of(self._run, time.monotonic(), pressure))
        picture.show(self._sights)


class Terminal:
    """A bar and the columns, in one line of a terminal; elsewhere a line at the end."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def show(self, sights: Sequence[Sight]) -> None:
        """Show the last of them."""
        from rich.text import Text

        text = Text("  ".join(columns(sights)), overflow="ellipsis", no_wrap=True)
        if self._live.console.width >= len(text) + _CELLS + 2:
            text = Text(f"{_bar(sights[-1])}  ") + text
        self._live.update(text, refresh=True)

    def end(self) -> None:
        """Leave the last picture where it is."""
        self._live.stop()


class _Notebook:
    """The same below a cell of a notebook."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, sights: Sequence[Sight]) -> None:
        """Show the last of them."""
        from IPython.display import display as show

        data = {"text/plain": "  ".join((_bar(sights[-1]), *columns(sights)))}
        if self._handle is None:
            self._handle = show(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)

    def end(self) -> None:
        """Leave it where it is."""


def _bar(sight: Sight) -> str:
    done = share(sight)
    full = 0 if done is None else min(_CELLS, int(done * _CELLS))
    return "━" * full + "─" * (_CELLS - full)


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"
