"""Given a run, this tells others how far it has come: off the acquiring thread, in order, one event at a time.

The acquiring thread only says that there is something new. A thread of our own goes after it through the plan, and
computes from the plan's rows what each frame changed. So nothing is queued: however far the listeners are behind, none
of their events is lost, and the memory is that of one stretch of rows.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.cube import Cube, cube_of, loop_indices, reached
from ome_writers.order import Rows
from ome_writers.plan import Plan
from ome_writers.run import Run

EventName = Literal["coords_expanded", "coords_changed"]

_STRETCH: Final = 1024
"""Rows of the plan that are looked at together."""


@frozen
class CoordUpdate:
    """How far a run has come with a frame.

    Examples
    --------
    >>> CoordUpdate(max_coords={"t": range(3)}, current_indices={"t": 2}, frame_number=2, is_high_water_mark=True)
    CoordUpdate(max_coords={'t': range(0, 3)}, current_indices={'t': 2}, frame_number=2, is_high_water_mark=True)
    """

    max_coords: Mapping[str, Sequence[Any]]
    """For each dimension the coordinates that were reached so far: names where there are any, else a range of numbers.
    The dimensions of a frame are there from the start."""
    current_indices: Mapping[str, int]
    """Index of the frame in each dimension; 0 in those of a frame."""
    frame_number: int
    """Number of the frame in order of arrival."""
    is_high_water_mark: bool
    """Whether a dimension got further than before with this frame."""


Callback = Callable[[CoordUpdate], object]


class Events:
    """Calls listeners with what happened in a run.

    A listener hears of what happens after it came, in order, and of one thing at a time. What it raises goes to
    `threading.excepthook`, as in any other thread, and it is called again for the next event.

    Parameters
    ----------
    run
        What is listened to.
    after
        What the acquiring thread calls with the cursor after each step; as long as nobody listens, nothing is added.
    """

    def __init__(self, run: Run, after: list[Callable[[int], object]]) -> None:
        self._run, self._after = run, after
        self._listeners: tuple[tuple[EventName, Callback, int], ...] = ()
        self._thread: threading.Thread | None = None
        self._news = threading.Event()
        self._told = 0
        self._closing = self._stopped = False

    def on(self, event: EventName, callback: Callback) -> None:
        """Call `callback` for every such event from now on. Once the run has ended there are none.

        Raises
        ------
        ValueError
            If there is no such event.
        """
        if event not in get_args(EventName):
            raise ValueError(f"must be one of {', '.join(map(repr, get_args(EventName)))}; got {event!r}")
        with self._run.lock:
            if self._closing or self._run.outcome is not None:
                return
            here = self._run.steps
            self._listeners += ((event, callback, here),)
            if self._thread is None:
                self._told = here
                # It must not keep a program alive that forgot to close its stream.
                self._thread = threading.Thread(
                    target=self._follow, args=(here,), name="ome-writers-events", daemon=True
                )
                self._thread.start()
                self._after.append(self._tell)

    def _tell(self, cursor: int) -> None:
        """Say how far the run has come; all that the acquiring thread ever does for its listeners."""
        self._told = cursor
        if not self._news.is_set():
            self._news.set()

    def close(self) -> None:
        """Return when the listeners have heard of everything; none is called after that.

        Called by a listener, it returns at once, and no listener is called again.
        """
        thread, self._closing = self._thread, True
        if thread is threading.current_thread():
            self._stopped = True
        elif thread is not None:
            self._told = self._run.steps
            self._news.set()
            thread.join()

    # ── in the thread of the listeners
    # ─────────────────────────────────────────────────────────────────────────────────────────────

    def _follow(self, seen: int) -> None:
        plan = self._run.plan
        cube = cube_of(plan)
        before = self._extent(cube, seen)
        number = 0
        closing = False
        while not (closing or self._stopped):
            self._news.wait()
            self._news.clear()
            closing, told = self._closing, self._told
            while seen < told and not self._stopped:
                # The acquiring thread tells of a skip when it is over, and known as such.
                number, skip = _next_skip(self._run.skipped, number, seen)
                puts = self._run.puts
                if puts is None and skip.start <= seen:
                    steps = range(seen, skip.stop)
                    self._call(_of_a_skip(plan, cube, steps, before))
                else:
                    steps = range(seen, min(seen + _STRETCH, told, *([skip.start] if puts is None else [])))
                    rows = (plan if puts is None else puts).rows(steps.start, steps.stop)
                    each = any(event == "coords_changed" for event, _, _ in self._listeners)
                    self._call(_of_frames(cube, rows, steps, before, each=each))
                seen = steps.stop

    def _extent(self, cube: Cube, seen: int) -> NDArray[np.int64]:
        """Return how far each loop had come after so many steps."""
        puts = self._run.puts
        if puts is None or not seen:
            return np.array(reached(self._run.plan, cube, seen)[:-2], np.int64)
        extent: NDArray[np.int64] = loop_indices(cube, puts.rows(0, seen)).max(axis=0) + 1
        return extent

    def _call(self, updates: Iterable[tuple[int, CoordUpdate]]) -> None:
        for step, update in updates:
            for name in ("coords_changed", "coords_expanded"):
                if name == "coords_expanded" and not update.is_high_water_mark:
                    continue
                for event, callback, since in self._listeners:
                    if event == name and step >= since and not self._stopped:
                        _call(callback, update)


def _call(callback: Callback, update: CoordUpdate) -> None:
    try:
        callback(update)
    except Exception:  # noqa: BLE001 - reported as in any thread, and the next event still comes
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _next_skip(skipped: Sequence[range], number: int, seen: int) -> tuple[int, range]:
    """Return the first of the stretches that were skipped from `number` on which has not been seen, and its number."""
    while number < len(skipped):
        if skipped[number].stop > seen:
            return number, skipped[number]
        number += 1
    return number, range(sys.maxsize, sys.maxsize)


def _of_frames(
    cube: Cube, rows: Rows, steps: range, before: NDArray[np.int64], *, each: bool
) -> Iterator[tuple[int, CoordUpdate]]:
    """Yield what frames that came changed; `each` also those that got no dimension further."""
    indices = loop_indices(cube, rows)
    extents = np.maximum.accumulate(np.maximum(indices + 1, before), axis=0)
    grew = np.any(np.diff(extents, axis=0, prepend=before[None]), axis=1).tolist()
    before[:] = extents[-1]
    for number in range(len(rows)) if each else np.flatnonzero(grew).tolist():
        frame = int(rows["frame"][number])
        yield steps[number], _update(cube, extents[number], indices[number], frame, grew=grew[number])


def _of_a_skip(plan: Plan, cube: Cube, places: range, before: NDArray[np.int64]) -> Iterator[tuple[int, CoordUpdate]]:
    """Yield what frames changed that will not come: they are one event, and only if a dimension got further."""
    extent = np.array(reached(plan, cube, places.stop)[:-2], np.int64)
    grew = bool((extent > before).any())
    before[:] = extent
    if grew:
        row = plan.rows(places[-1], places.stop)
        yield places[-1], _update(cube, extent, loop_indices(cube, row)[0], int(row["frame"][0]), grew=True)


def _update(cube: Cube, extent: NDArray[np.int64], index: NDArray[np.int64], frame: int, *, grew: bool) -> CoordUpdate:
    whole = [count or 0 for count in cube.counts[-2:]]
    return CoordUpdate(
        max_coords=cube.coordinates([*extent.tolist(), *whole]),
        current_indices=dict(zip(cube.dims, [*index.tolist(), 0, 0], strict=True)),
        frame_number=frame,
        is_high_water_mark=grew,
    )
