"""Frames in any order: given a plan and what came, this answers how far it has come, and which places are missing.

Where a writer takes single frames in any order, they go to it as they come. For all other writers they wait in a
`Spool` until the end, and are then taken in the order of the plan.
"""

from __future__ import annotations

from array import array as array_of
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.blocks import fitted, recorded
from ome_writers.casts import is_url
from ome_writers.cube import Rectangle
from ome_writers.errors import FrameError, PlanError
from ome_writers.gaps import Pairs, between
from ome_writers.order import Rows
from ome_writers.plan import Plan
from ome_writers.records import Record
from ome_writers.spool import Spool, spool_folder
from ome_writers.writer import Capabilities, unit_for

MOST_AHEAD: Final = 2**20
"""Places of a plan without end that a frame by name may go past at once: more are most likely a slip."""
_PART: Final = 4096
ONE_WAY: Final = "a stream takes its frames with `append` (and `skip`) or with `put`; this one takes them with `{}`"


@frozen(eq=False)
class Came:
    """A frame that fits, and the place that it is for."""

    place: int
    number: int
    array: int
    index: tuple[int, ...]
    frame: NDArray[Any]
    record: Record | None


class Puts:
    """What came of a plan whose frames come in any order: eight bytes for each frame, and a bit more for its place.

    Other threads may read it at any time.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 3, "c": 2, "y": 8, "x": 8})
    >>> puts = Puts(compile(AcquisitionSettings(dtype="uint8", dimensions=dims)), None)
    >>> for indices in ({"t": 1, "c": 1}, {"t": 0, "c": 0}):
    ...     puts.add(puts.admitted(np.zeros((8, 8), "uint8"), indices))
    >>> puts.order.tolist(), puts.reached, puts.gaps(4).tolist()
    ([3, 0], (2, 2), [[1, 3]])
    """

    def __init__(self, plan: Plan, spool: Spool | None) -> None:
        self.plan, self.spool = plan, spool
        self.order = array_of("q")
        """Places, as they came."""
        self.reached = (0,) * (len(plan.settings.dimensions) - 2)
        """1 + the largest index that came, in each loop."""
        self._came: dict[int, bytearray] = {}
        """A byte for each place, by parts of the plan in which a frame came."""
        self._end = 0

    def __contains__(self, place: int) -> bool:
        part = self._came.get(place // _PART)
        return part is not None and bool(part[place % _PART])

    def admitted(self, frame: Any, indices: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> Came:
        """Return a frame with all that is to be known of it, if it can be taken.

        Raises
        ------
        FrameError
            If no such place is planned or, in a plan without end, it is too far; if its frame came before, or the
            frame or its metadata does not fit.
        """
        plan = self.plan
        place = place_of(plan, indices)
        if place in self:
            raise FrameError(f"{plan.locate(place)}: its frame came before")
        if plan.frames is None and place - self._end > MOST_AHEAD:
            raise FrameError(
                f"{plan.locate(place)}: {place - self._end} frames before it have not come, and none after them; in a "
                f"plan without end there may be at most {MOST_AHEAD}"
            )
        row = plan.rows_at([place])[0]
        array = int(row["array"])
        fits = fitted(plan, place, array, frame)
        if not fits.flags.c_contiguous:
            fits = np.ascontiguousarray(fits)
        record = recorded(plan, place, metadata) if metadata else None
        return Came(place, int(row["frame"]), array, tuple(row["index"].tolist()), fits, record)

    def keep(self, came: Came) -> None:
        """Keep a frame until it is its turn.

        Raises
        ------
        OSError
            If there is no room; then it has not come, and all others have.
        """
        if self.spool is None:
            raise ValueError("frames do not wait for this writer")
        self.spool.keep(came.place, came.frame)

    def add(self, came: Came) -> None:
        """Note that a frame came."""
        indices = self.plan.places.reading.at(came.array, came.index).values()
        self._came.setdefault(came.place // _PART, bytearray(_PART))[came.place % _PART] = 1
        self._end = max(self._end, came.place + 1)
        self.reached = tuple(map(max, self.reached, (index + 1 for index in indices)))
        self.order.append(came.place)

    def restore(self, places: NDArray[np.int64]) -> None:
        """Note that the frames of these places came, in a run before."""
        for place, row in zip(places.tolist(), self.plan.rows_at(places), strict=True):
            index = tuple(row["index"].tolist())
            self.add(Came(place, int(row["frame"]), int(row["array"]), index, np.empty((0, 0)), None))

    def close(self) -> None:
        """Let go of what waits."""
        if self.spool is not None:
            self.spool.close()

    # ── what came ───────────────────────────────────────────────────────────────────────────────────────────────────

    def gaps(self, cursor: int) -> Pairs:
        """Return the places below `cursor` whose frames did not come, as stretches."""
        return between(np.sort(np.array(self.order[:], np.int64)), cursor)

    def rows(self, start: int, stop: int) -> Rows:
        """Return the rows of the frames that came as number `start` to `stop`."""
        return self.plan.rows_at(self.order[start:stop])

    def waiting(self, cursor: int) -> Iterator[tuple[range, bool]]:
        """Yield the places below `cursor` in stretches, and whether the frames of each wait or did not come."""
        at = 0
        for first, stop in [*self.gaps(cursor).tolist(), (cursor, cursor)]:
            for places, came in ((range(at, first), True), (range(first, stop), False)):
                if places:
                    yield places, came
            at = stop

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape that an array will have at least, once the frames that wait are stored."""
        spec = self.plan.layout.arrays[array]
        loops = dict(zip([dim.name for dim in self.plan.settings.dimensions], self.reached, strict=False))
        named = zip(spec.dimension_names, spec.shape, strict=True)
        return tuple(loops[name] if size is None else size for name, size in named)

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        """Return pixels of the frames that wait, the fill value where none does."""
        spec = self.plan.layout.arrays[array]
        lead = [range(part.start, part.stop) for part in selection[:-2]]
        sizes = [part.stop - part.start for part in selection]
        out = np.full(sizes, spec.fill_value, spec.dtype)
        for at in np.ndindex(*map(len, lead)):
            place = self.plan.places.at(array, [part[i] for part, i in zip(lead, at, strict=True)])
            if self.spool is not None and place is not None and place in self:
                out[at] = self.spool.frame(place)[selection[-2:]]
        return out


def puts_for(plan: Plan, capabilities: Capabilities, root: str, waiting: Spool | None = None) -> Puts:
    """Return the beginning of a run whose frames come in any order, to a writer of these capabilities.

    Those that must wait do so in `waiting`, if that is given.
    """
    if capabilities.order == "any" and unit_for(plan, capabilities) == "frame":
        return Puts(plan, None)
    if waiting is not None:
        return Puts(plan, waiting)
    local = capabilities.persistent and bool(root) and not is_url(root)
    return Puts(plan, Spool(spool_folder(root, local=local)))


def place_of(plan: Plan, indices: Mapping[str, Any]) -> int:
    """Return the place of the frame that a caller names.

    Raises
    ------
    FrameError
        If there is none, or if several could be meant.
    """
    try:
        return plan.place(**indices)
    except PlanError as error:
        problems = "; ".join(map(str, error.problems))
        raise FrameError(f"no place for a frame at ({_said(indices)}): {problems}") from error


def require_expected(plan: Plan, place: int, array: int, index: tuple[int, ...], expected: Mapping[str, Any]) -> None:
    """Do nothing if the frame at `place` is what a caller believes it to be: an index or a name, by dimension.

    It goes to `index` in `array`; whoever walks the plan knows that.

    Raises
    ------
    FrameError
        If it is not, or if there is no such dimension, index or name.
    """
    places = plan.places
    planned = places.reading.at(array, index)
    try:
        if all(planned.get(name) in places.indices(name, item) for name, item in expected.items()):
            return
    except PlanError as error:
        problems = "; ".join(map(str, error.problems))
        raise FrameError(f"{plan.locate(place)}: the caller expected ({_said(expected)}): {problems}") from error
    raise FrameError(f"{plan.locate(place)} is what the plan says; the caller expected ({_said(expected)})")


def _said(indices: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={index!r:.80}" for name, index in indices.items())
