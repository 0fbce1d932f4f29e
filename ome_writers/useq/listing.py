"""Given events, this answers: which loops do they index, and which frames are they, one by one?

For whatever is no loops: a list of events or indices, or a sequence whose events follow no rule. Indices stand as they
came, save for two things: a channel is the same wherever it has the same configuration (then positions have lists of
channels of their own, which its indices count), and positions are numbered in order of their indices `p` and `g`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.errors import Problem, SettingsError
from ome_writers.items import Camera, Position
from ome_writers.omission import Frames
from ome_writers.useq.dims import NO_CHANNEL, TYPES, Label, UnitTuple, channel_words, loop_words
from ome_writers.useq.events import Event
from ome_writers.useq.loops import GRID, POSITION, Loop
from ome_writers.useq.positions import distinct

Column = NDArray[np.int64]

CAMERA: Final = "cam"
"""Loop over cameras, innermost: what takes each event in turn, or what its index says."""
REPEAT: Final = "repeat"
"""Loop over events of a sequence that have the same index."""


@frozen
class Site:
    """What tells a position from others: indices (or a name) and, in a sequence, where it is."""

    position: int | str | None
    grid: int | str | None
    x: float | None = None
    y: float | None = None

    @property
    def order(self) -> tuple[int, ...]:
        """What positions are sorted by: their indices; those that have only names stand as they come."""
        return tuple(index if isinstance(index, int) else -1 for index in (self.position, self.grid))

    @property
    def grid_suffix(self) -> str:
        """What the name of a position ends with, if it is a point of a grid."""
        return "" if self.grid is None else f"_g{self.grid:04d}"


@frozen(eq=False)
class Listing:
    """Loops in the words of `Dimension`, the slowest first, without those of a frame; and the frames."""

    dimensions: list[dict[str, Any]]
    frames: Frames
    sites: tuple[Site, ...]
    """Of each position; empty if there are none."""


Places = Callable[[Sequence[Site]], Sequence[Position]]


def listing(
    events: Sequence[Event],
    *,
    order: Sequence[str] = (),
    units: Mapping[str, UnitTuple],
    places: Places | None = None,
    cameras: Sequence[Camera] = (),
) -> Listing:
    """Return the loops that events run through, and the frames that they take.

    Parameters
    ----------
    order
        Loops, the slowest first, as far as it is known.
    units
        By the name of an axis: size of an element and its unit.
    places
        Makes the positions of a sequence; without it the events are no sequence, and none may come twice.
    cameras
        Those that take each event, one after the other; an event whose index has a `cam` is taken by that one only.

    Raises
    ------
    SettingsError
        If the index of an event has a camera that there is not.
    """
    if len(events) > 1 and not any(event.index for event in events):
        events = [evolve(event, index={"t": number}) for number, event in enumerate(events)]
    if cameras:
        events = _by_camera(events, len(cameras))
    sites, numbers = _sites(events, exact=places is not None)
    words: list[dict[str, Any]] = []
    columns: dict[str, Column] = {}
    for axis in _axes(events, order):
        if axis in (POSITION, GRID):
            made = _positions(events, sites, numbers) if places is None else places(sites)
            words.append({"name": POSITION, "type": "position", "coords": made})
            columns[POSITION] = numbers
        elif axis == "c":
            labels, columns[axis] = _channels(events, numbers)
            words.append(channel_words(labels))
        else:
            columns[axis] = np.array([event.index.get(axis, 0) for event in events], np.int64)
            words.append(_words(axis, columns[axis], cameras))
    if POSITION in columns:
        position = next(word for word in words if word["name"] == POSITION)
        position["coords"] = _with_own_lists(position["coords"], events, words, columns, sequence=places is not None)
    index = np.stack([*columns.values()], axis=1) if columns else np.zeros((len(events), 0), np.int64)
    if places is not None:
        index, words = _told_apart(index, words)
    known = {name: _values(events, name) for name in ("time", "exposure", "x", "y", "z")}
    for along, word in enumerate(words):
        if word["name"] in ("t", "z"):
            items = _spaced(index, along, word["count"], known["time" if word["name"] == "t" else "z"], word["name"])
            # As many as events tell of, not as there are: one index may be a billion.
            word.update(loop_words(word["name"], Loop(items), units.get(word["name"])) | {"count": word["count"]})
    frames = Frames(
        index=index,
        delta_t=_if_any(known["time"]),
        exposure_time=_if_any(known["exposure"]),
        position_x=_if_any(known["x"]),
        position_y=_if_any(known["y"]),
        position_z=_if_any(known["z"]),
    )
    return Listing(words, frames, sites if POSITION in columns else ())


def _by_camera(events: Sequence[Event], cameras: int) -> list[Event]:
    """Return an event for each camera that takes one, with the number of the camera as the last of its index."""
    problems = [
        Problem(("events", event.number, CAMERA), "unknown", f"must be one of {cameras} cameras, from 0; got {number}")
        for event in events
        if (number := int(event.index.get(CAMERA, 0))) >= cameras
    ]
    if problems:
        raise SettingsError(problems)
    found = []
    for event in events:
        others = {axis: index for axis, index in event.index.items() if axis != CAMERA}
        numbers = [event.index[CAMERA]] if CAMERA in event.index else range(cameras)
        found += [evolve(event, index={**others, CAMERA: number}) for number in numbers]
    return found


def _words(axis: str, column: Column, cameras: Sequence[Camera]) -> dict[str, Any]:
    """Return what a loop is of which only indices are known."""
    if cameras and axis == CAMERA:
        return {"name": axis, "type": "camera", "coords": tuple(cameras)}
    kind = {} if axis in TYPES else {"type": "other"}
    return {"name": axis, "count": int(column.max()) + 1, **kind}


def _axes(events: Sequence[Event], order: Sequence[str]) -> Iterator[str]:
    """Yield the loops that events index, that over positions and points of grids once."""
    axes = list(dict.fromkeys([*order, *(axis for event in _widest_first(events) for axis in event.index)]))
    axes = [axis for axis in axes if any(axis in event.index for event in events)]
    if "c" not in axes and any(event.channel for event in events):
        axes.append("c")
    together = [axis for axis in axes if axis in (POSITION, GRID)]
    yield from (axis for axis in axes if axis not in together[1:])


def _widest_first(events: Sequence[Event]) -> Iterator[Event]:
    """Yield one event of each set of axes, that with the most first."""
    kinds = {tuple(event.index): event for event in reversed(events)}
    yield from sorted(kinds.values(), key=lambda event: len(event.index), reverse=True)


def _values(events: Sequence[Event], name: str) -> NDArray[np.float64]:
    values = [getattr(event, name) for event in events]
    return np.array([np.nan if value is None else float(value) for value in values])


def _if_any(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(values).all() else values


def _sites(events: Sequence[Event], *, exact: bool) -> tuple[tuple[Site, ...], Column]:
    """Return the positions in order, and the number of that of each event."""
    sites = [
        Site(event.index.get(POSITION), event.index.get(GRID), *((event.x, event.y) if exact else ()))
        for event in events
    ]
    ordered = sorted(dict.fromkeys(sites), key=lambda site: site.order)
    number = {site: place for place, site in enumerate(ordered)}
    return tuple(ordered), np.array([number[site] for site in sites], np.int64)


def _positions(events: Sequence[Event], sites: Sequence[Site], numbers: Column) -> list[Position]:
    """Return what events say of each position."""
    firsts = [events[int(place)] for place in np.unique(numbers, return_index=True)[1]]
    names = [
        (event.place or str(site.position or 0)) + site.grid_suffix for event, site in zip(firsts, sites, strict=True)
    ]
    return [
        Position(name=name, x_coord=event.x, y_coord=event.y)
        for name, event in zip(distinct(names), firsts, strict=True)
    ]


def _channels(events: Sequence[Event], numbers: Column) -> tuple[list[Label], Column]:
    """Return the channels, and the number of that of each event."""
    keys = [(event.index.get("c"), event.channel) for event in events]
    pairs = dict.fromkeys(keys)
    indices = [index for index, _ in pairs]
    if all(isinstance(index, int) for index in indices) and len(set(indices)) == len(indices):
        # Each index is a channel: they stand as they came.
        told = {index: channel for index, channel in pairs if isinstance(index, int)}
        before: Counter[tuple[str, str]] = Counter()
        labels: list[Label] = []
        for number in range(max(told) + 1):
            name = told.get(number) or (str(number), "")
            labels.append((*name, before[name]))
            before[name] += 1
        return labels, np.array([index for index, _ in keys], np.int64)
    within = _contexts(events, numbers, keys)
    # Of one configuration there may be several at one position: the first of them is the same everywhere.
    seen: dict[object, dict[tuple[str, str], list[int | str]]] = {}
    for context, (index, channel) in zip(within, keys, strict=True):
        name = _configuration(index, channel)
        found = seen.setdefault(context, {}).setdefault(name, [])
        if index is not None and index not in found:
            found.append(index)
    for names in seen.values():
        for found in names.values():
            found.sort(key=lambda index: (isinstance(index, str), index))
    every: dict[Label, int] = {}
    column = np.empty(len(events), np.int64)
    for place, (context, (index, channel)) in enumerate(zip(within, keys, strict=True)):
        name = _configuration(index, channel)
        found = seen[context][name]
        label = (*name, found.index(index) if index is not None else 0)
        column[place] = every.setdefault(label, len(every))
    return list(every), column


def _with_own_lists(
    positions: Sequence[Position],
    events: Sequence[Event],
    words: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Column],
    *,
    sequence: bool,
) -> tuple[Position, ...]:
    """Return positions with their own channels, where they are others, and in a sequence with their own counts."""
    made = []
    names = next(([one.name for one in word["coords"]] for word in words if word["name"] == "c"), [])
    numbers = columns[POSITION]
    groups = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    for position, mine in zip(positions, groups, strict=True):
        lists: dict[str, list[str]] = {}
        counts: dict[str, int] = {}
        if names:
            pairs = sorted(
                {(events[k].index.get("c", 0), int(columns["c"][k])) for k in mine.tolist()}, key=_numbers_first
            )
            own = [place for _, place in pairs]
            if own != list(range(len(own))) and [index for index, _ in pairs] == list(range(len(own))):
                lists["c"] = [names[place] for place in own]
        if sequence:
            fans = (POSITION, CAMERA, *lists)
            reach = {axis: int(columns[axis][mine].max()) + 1 for axis in columns if axis not in fans}
            every = {axis: int(columns[axis].max()) + 1 for axis in reach}
            counts = {axis: count for axis, count in reach.items() if count < every[axis]}
        made.append(evolve(position, counts=counts, coords=lists) if counts or lists else position)
    return tuple(made)


def _numbers_first(pair: tuple[int | str, int]) -> tuple[bool, int | str, int]:
    return isinstance(pair[0], str), *pair


def _configuration(index: int | str | None, channel: tuple[str, str] | None) -> tuple[str, str]:
    if channel is not None:
        return channel
    return NO_CHANNEL[:2] if index is None else (str(index), "")


def _contexts(events: Sequence[Event], numbers: Column, keys: Sequence[tuple[object, object]]) -> Sequence[object]:
    """Return for each event within what an index of a channel means one channel: a position, or less."""
    tries: list[Callable[[int], object]] = [
        lambda place: int(numbers[place]),
        lambda place: (int(numbers[place]), events[place].index.get("t")),
        lambda place: tuple((axis, i) for axis, i in events[place].index.items() if axis != "c"),
    ]
    for of in tries:
        contexts = [of(place) for place in range(len(events))]
        meant: dict[tuple[object, object], object] = {}
        if all(
            meant.setdefault((context, index), channel) == channel
            for context, (index, channel) in zip(contexts, keys, strict=True)
        ):
            break
    return contexts


def _told_apart(index: Column, words: list[dict[str, Any]]) -> tuple[Column, list[dict[str, Any]]]:
    """Return indices with another loop, if some come several times: a sequence within a loop may hide its index."""
    _, which, counts = np.unique(index, axis=0, return_inverse=True, return_counts=True)
    if index.shape[1] == 0 or counts.max() == 1:
        return index, words
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    times = np.empty(len(index), np.int64)
    times[order] = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.column_stack([times, index]), [{"name": REPEAT, "type": "other", "count": int(counts.max())}, *words]


def _spaced(index: Column, along: int, count: int, known: NDArray[np.float64], axis: str) -> tuple[float, ...]:
    """Return what events agree on: all times, the first two of even planes, or nothing."""
    digits = index[:, along]
    if axis == "t":
        pairs = np.unique(np.column_stack([digits, known]), axis=0)
        return tuple(pairs[:, 1].tolist()) if len(pairs) == count and not np.isnan(pairs).any() else ()
    others = np.delete(index, along, axis=1)
    order = np.lexsort((digits, *others.T))
    same = (np.diff(others[order], axis=0) == 0).all(axis=1) & (np.diff(digits[order]) > 0)
    steps = (np.diff(known[order]) / np.maximum(np.diff(digits[order]), 1))[same]
    if not len(steps) or not np.allclose(steps, steps[0], rtol=1e-6, atol=1e-9) or not steps[0] > 0:
        return ()
    return 0.0, float(steps[0])
