"""Given events, or bare indices, one for each frame, this answers: which loops do they index, and what is known of each?

For whatever is no loops: a list of `useq.MDAEvent`, a list of `{"t": 0, "c": "GFP"}`, or a sequence whose events follow
no rule. Events that take no image are passed over. Indices stand as they came, save for two things: a channel is the
same wherever it has the same configuration, and positions are numbered in order of their indices `p` and `g`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.errors import Problem, SettingsError
from ome_writers.items import Camera, Position
from ome_writers.omission import Frames
from ome_writers.useq.dims import NO_CHANNEL, TYPES, Label, UnitTuple, channel_words, loop_words
from ome_writers.useq.loops import GRID, POSITION, Loop
from ome_writers.useq.positions import distinct

MOST_EVENTS: Final = 2**20
"""Events that an iterable without a length may have; useq makes as many in two minutes."""

REPEAT: Final = "repeat"
"""Loop over events of a sequence that have the same index."""


class Event(NamedTuple):
    """What is known of a frame, in the units of useq: seconds (exposure: milliseconds) and micrometers."""

    index: dict[str, int | str]
    channel: tuple[str, str] | None = None
    time: float | None = None
    exposure: float | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None
    place: str | None = None


class Site(NamedTuple):
    """What tells a position from others: indices (or a name) and, in a sequence, where it is."""

    position: int | str | None
    grid: int | None
    x: float | None = None
    y: float | None = None


class Listing(NamedTuple):
    """Loops in the words of `Dimension`, the slowest first, without those of a frame; and the frames."""

    dimensions: list[dict[str, Any]]
    frames: Frames
    sites: tuple[Site, ...]
    """Of each position; empty if there are none."""


Places = Callable[[Sequence[Site]], Sequence[Position]]


def read(events: Iterable[object]) -> list[Event]:
    """Return the events that take an image.

    Raises
    ------
    SettingsError
        If something is no event, if there are none, or if they go on without end.
    """
    found: list[Event] = []
    most = len(events) if isinstance(events, Sized) else MOST_EVENTS
    coming = iter(events)
    for number, one in enumerate(islice(coming, most)):
        event = _event(one, number)
        if event is not None:
            found.append(event)
    if next(coming, None) is not None:
        message = f"go on after {most} events, maybe without end; give them as a list, or say `ow.flat(…)` and arrange"
        raise SettingsError([Problem(("events",), "unsupported", f"{message} the frames when the run is over")])
    if not found:
        raise SettingsError([Problem(("events",), "missing", "none takes an image")])
    return found


def _event(one: object, number: int) -> Event | None:
    if isinstance(one, Mapping):
        fields = one if isinstance(one.get("index"), Mapping) else {"index": one}
    elif hasattr(one, "index") and hasattr(one, "min_start_time"):
        fields = _Attributes(one)
    else:
        message = "must be a useq.MDAEvent, or a mapping of the names of loops to indices"
        raise SettingsError([Problem(("events", number), "invalid_type", f"{message}; got {type(one).__name__}")])
    action = _field(fields.get("action"), "type")
    if action not in (None, "acquire_image"):
        return None
    channel = fields.get("channel")
    name = channel if isinstance(channel, str) else _field(channel, "config")
    return Event(
        {str(axis): _index(value, ("events", number, str(axis))) for axis, value in fields["index"].items()},
        None if name is None else (str(name), str(_field(channel, "group") or "Channel")),
        fields.get("min_start_time"),
        fields.get("exposure"),
        fields.get("x_pos"),
        fields.get("y_pos"),
        fields.get("z_pos"),
        fields.get("pos_name"),
    )


class _Attributes(dict[str, Any]):
    """The attributes of an object, read as if it were a mapping."""

    def __init__(self, of: object) -> None:
        super().__init__()
        self._of = of

    def __getitem__(self, name: str) -> Any:
        return getattr(self._of, name)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self._of, name, default)


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _index(value: object, loc: tuple[str | int, ...]) -> int | str:
    if isinstance(value, str) and loc[-1] in ("c", POSITION):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    named = ", or a name" if loc[-1] in ("c", POSITION) else ""
    raise SettingsError([Problem(loc, "invalid_value", f"must be an index, at least 0{named}; got {value!r:.80}")])


# ── loops
# ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
        Those that take each event, one after the other.

    Raises
    ------
    SettingsError
        If two events have the same index.
    """
    if len(events) > 1 and not any(event.index for event in events):
        events = [event._replace(index={"t": number}) for number, event in enumerate(events)]
    axes = list(dict.fromkeys([*order, *(axis for event in _widest_first(events) for axis in event.index)]))
    axes = [axis for axis in axes if any(axis in event.index for event in events)]
    if "c" not in axes and any(event.channel for event in events):
        axes.append("c")
    columns: dict[str, NDArray[np.int64]] = {}
    sites, numbers = _sites(events, exact=places is not None)
    words: list[dict[str, Any]] = []
    for axis in axes:
        if axis in (POSITION, GRID):
            if POSITION not in columns:
                made = _positions(events, sites, numbers) if places is None else places(sites)
                words.append({"name": POSITION, "type": "position", "coords": made})
                columns[POSITION] = numbers
        elif axis == "c":
            labels, columns[axis] = _channels(events, numbers)
            words.append(channel_words(labels))
        else:
            columns[axis] = np.array([event.index.get(axis, 0) for event in events], np.int64)
            words.append({"name": axis, "count": int(columns[axis].max()) + 1})
            if axis not in TYPES:
                words[-1]["type"] = "other"
    index = np.stack([*columns.values()], axis=1) if columns else np.zeros((len(events), 0), np.int64)
    if POSITION in columns:
        position = next(word for word in words if word["name"] == POSITION)
        position["coords"] = _with_own_lists(position["coords"], events, numbers, words, columns, sequence=bool(places))
    if places is not None:
        index, words = _told_apart(index, words)
    known = {name: _column(events, name) for name in ("time", "exposure", "x", "y", "z")}
    for word in words:
        if word["name"] in ("t", "z"):
            word |= loop_words(word["name"], _spaced(word, index, words, known), units.get(word["name"]))
    if cameras:
        index = np.column_stack([np.repeat(index, len(cameras), axis=0), np.tile(np.arange(len(cameras)), len(events))])
        known = {name: np.repeat(values, len(cameras)) for name, values in known.items()}
        words.append({"name": "cam", "type": "camera", "coords": tuple(cameras)})
    frames = Frames(
        index=index,
        delta_t=_if_any(known["time"]),
        exposure_time=_if_any(known["exposure"] / 1000),
        position_x=_if_any(known["x"]),
        position_y=_if_any(known["y"]),
        position_z=_if_any(known["z"]),
    )
    return Listing(words, frames, sites if POSITION in columns else ())


def _widest_first(events: Sequence[Event]) -> Iterator[Event]:
    """Yield one event of each set of axes, that with the most first."""
    kinds = {tuple(event.index): event for event in reversed(events)}
    yield from sorted(kinds.values(), key=lambda event: len(event.index), reverse=True)


def _column(events: Sequence[Event], name: str) -> NDArray[np.float64]:
    values = [getattr(event, name) for event in events]
    return np.array([np.nan if value is None else float(value) for value in values])


def _if_any(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(values).all() else values


def _sites(events: Sequence[Event], *, exact: bool) -> tuple[tuple[Site, ...], NDArray[np.int64]]:
    """Return the positions in order, and the number of that of each event."""
    sites = [
        Site(
            event.index.get(POSITION),
            event.index.get(GRID),  # type: ignore[arg-type] - names are for positions
            *((event.x, event.y) if exact else ()),
        )
        for event in events
    ]
    # By their indices, then as they come; those that have names only, as they come.
    ordered = sorted(dict.fromkeys(sites), key=lambda site: tuple(i if isinstance(i, int) else -1 for i in site[:2]))
    number = {site: place for place, site in enumerate(ordered)}
    return tuple(ordered), np.array([number[site] for site in sites], np.int64)


def _positions(events: Sequence[Event], sites: Sequence[Site], numbers: NDArray[np.int64]) -> list[Position]:
    """Return what events say of each position."""
    firsts = [events[int(place)] for place in np.unique(numbers, return_index=True)[1]]
    names = [
        (event.place or str(0 if site.position is None else site.position))
        + ("" if site.grid is None else f"_g{site.grid:04d}")
        for event, site in zip(firsts, sites, strict=True)
    ]
    return [
        Position(name=name, x_coord=event.x, y_coord=event.y)
        for name, event in zip(distinct(names), firsts, strict=True)
    ]


def _channels(events: Sequence[Event], numbers: NDArray[np.int64]) -> tuple[list[Label], NDArray[np.int64]]:
    """Return the channels, and the number of that of each event."""
    keys = [(event.index.get("c"), event.channel) for event in events]
    pairs = dict.fromkeys(keys)
    indices = [index for index, _ in pairs]
    if all(isinstance(index, int) for index in indices) and len(set(indices)) == len(indices):
        # Each index is a channel: they stand as they came.
        told = {index: channel for index, channel in pairs if isinstance(index, int)}
        before: Counter[tuple[str, str]] = Counter()
        labels: list[Label] = []
        for index in range(max(told) + 1):
            channel = told.get(index) or (str(index), "")
            labels.append((*channel, before[channel]))
            before[channel] += 1
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
    numbers: NDArray[np.int64],
    words: Sequence[Mapping[str, Any]],
    columns: Mapping[str, NDArray[np.int64]],
    *,
    sequence: bool,
) -> tuple[Position, ...]:
    """Return positions with their own channels, where they are others, and in a sequence with their own counts."""
    made = []
    names = next(([one.name for one in word["coords"]] for word in words if word["name"] == "c"), [])
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
            reach = {axis: int(columns[axis][mine].max()) + 1 for axis in columns if axis not in (POSITION, *lists)}
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


def _contexts(
    events: Sequence[Event], numbers: NDArray[np.int64], keys: Sequence[tuple[object, object]]
) -> Sequence[object]:
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


def _told_apart(
    index: NDArray[np.int64], words: list[dict[str, Any]]
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Return indices with another loop, if some come several times: a sequence within a loop may hide its index."""
    _, which, counts = np.unique(index, axis=0, return_inverse=True, return_counts=True)
    if index.shape[1] == 0 or counts.max() == 1:
        return index, words
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    times = np.empty(len(index), np.int64)
    times[order] = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.column_stack([times, index]), [{"name": REPEAT, "type": "other", "count": int(counts.max())}, *words]


def _spaced(
    word: Mapping[str, Any],
    index: NDArray[np.int64],
    words: Sequence[Mapping[str, Any]],
    known: Mapping[str, NDArray[np.float64]],
) -> Loop:
    """Return a loop over times or depths with what events agree on: its times, or the distance of planes."""
    along = [one["name"] for one in words].index(word["name"])
    digits, count = index[:, along], word["count"]
    blank = Loop((0.0,) * count)
    if word["name"] == "t":
        pairs = np.unique(np.column_stack([digits, known["time"]]), axis=0)
        return Loop(tuple(pairs[:, 1].tolist())) if len(pairs) == count and not np.isnan(pairs).any() else blank
    others = np.delete(index, along, axis=1)
    order = np.lexsort((digits, *others.T))
    same = (np.diff(others[order], axis=0) == 0).all(axis=1) & (np.diff(digits[order]) > 0)
    steps = (np.diff(known["z"][order]) / np.maximum(np.diff(digits[order]), 1))[same]
    if not len(steps) or not np.allclose(steps, steps[0], rtol=1e-6, atol=1e-9) or not steps[0] > 0:
        return blank
    return Loop(tuple((np.arange(count) * steps[0]).tolist()))
