"""Given events, or bare indices, one for each frame, this answers: what is known of each?

Events are `useq.MDAEvent`, their fields as a mapping, or only an index: `{"t": 0, "c": "GFP"}`. Those that take no
image are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from itertools import islice
from math import isnan
from typing import Any, Final

import numpy as np
from attrs import frozen

from ome_writers.check import is_finite, is_number, shown
from ome_writers.errors import Loc, Problem, SettingsError
from ome_writers.useq.loops import POSITION

MOST_EVENTS: Final = 2**20
"""Events that an iterable without a length may have; useq makes as many in two minutes."""

MOST_CHANNELS: Final = 2**16
"""Each channel up to the last that is used is an object of its own."""
MOST_INDEX: Final = np.iinfo(np.int32).max
"""What an index of the frame table may be, and a count is one more."""


@frozen
class Event:
    """What is known of a frame, in seconds and micrometers."""

    index: Mapping[str, int | str]
    channel: tuple[str, str] | None = None
    """Configuration and group."""
    time: float | None = None
    exposure: float | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None
    place: str | None = None
    """Name of the position."""
    number: int = 0
    """Which it is, of all that were given."""


def read(events: Iterable[object]) -> list[Event]:
    """Return the events that take an image.

    Raises
    ------
    SettingsError
        If something is no event, if there are none, or if they go on without end.
    """
    found: list[Event] = []
    problems: list[Problem] = []
    most = len(events) if isinstance(events, Sized) else MOST_EVENTS
    coming = iter(events)
    for number, one in enumerate(islice(coming, most)):
        event = _event(one, number, problems)
        if event is not None:
            found.append(event)
    if problems:
        raise SettingsError(problems)
    if next(coming, None) is not None:
        message = f"go on after {most} events, maybe without end; give them as a list, or say `ow.flat(…)` and arrange"
        raise SettingsError([Problem(("events",), "unsupported", f"{message} the frames when the run is over")])
    if not found:
        raise SettingsError([Problem(("events",), "missing", "none takes an image")])
    return found


_FIELDS: Final = ["index", "action", "channel", "min_start_time", "exposure", "x_pos", "y_pos", "z_pos", "pos_name"]


def _event(one: object, number: int, problems: list[Problem]) -> Event | None:
    """Return what is known of an event, `None` if it takes no image; what is wrong with it is added to the problems."""
    if isinstance(one, Mapping):
        fields: Mapping[str, Any] = one if isinstance(one.get("index"), Mapping) else {"index": one}
    elif hasattr(one, "index") and hasattr(one, "min_start_time"):
        fields = {name: getattr(one, name, None) for name in _FIELDS}
    else:
        message = "must be a useq.MDAEvent, or a mapping of the names of loops to indices"
        problems.append(Problem(("events", number), "invalid_type", f"{message}; got {type(one).__name__}"))
        return None
    action = _field(fields.get("action"), "type")
    if action not in (None, "acquire_image"):
        return None
    channel = fields.get("channel")
    name = channel if isinstance(channel, str) else _field(channel, "config")
    index = {
        str(axis): _index(value, ("events", number, str(axis)), problems) for axis, value in fields["index"].items()
    }
    time, exposure, x, y, z = (
        measure(fields.get(name), ("events", number, name), problems)
        for name in ("min_start_time", "exposure", "x_pos", "y_pos", "z_pos")
    )
    place = fields.get("pos_name")
    return Event(
        index,
        None if name is None else (str(name), str(_field(channel, "group") or "Channel")),
        time,
        exposure and float(f"{exposure / 1000:.12g}"),  # useq counts milliseconds
        x,
        y,
        z,
        None if place is None else str(place),
        number,
    )


def measure(value: object, loc: Loc, problems: list[Problem]) -> float | None:
    """Return a number, `None` where it is not known (NaN, also as text); what is none is added to the problems."""
    if value is None or (isinstance(value, str) and value == "NaN") or (isinstance(value, float) and isnan(value)):
        return None
    if is_number(value) and is_finite(value):
        return float(value)
    problems.append(Problem(loc, "invalid_value", f"must be a finite number; got {shown(value)}"))
    return None


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _index(value: object, loc: tuple[str | int, ...], problems: list[Problem]) -> int | str:
    is_named = loc[-1] in ("c", POSITION)
    if isinstance(value, str) and is_named:
        return value
    most = MOST_CHANNELS if loc[-1] == "c" else MOST_INDEX
    named = ", or a name" if is_named else ""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
        problems.append(Problem(loc, "invalid_value", f"must be an index, at least 0{named}; got {shown(value)}"))
        return 0
    if value >= most:
        problems.append(Problem(loc, "invalid_value", f"must be less than {most}{named}; got {shown(value)}"))
        return 0
    return int(value)
