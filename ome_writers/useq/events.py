"""Given events, or bare indices, one for each frame, this answers: what is known of each?

Events are `useq.MDAEvent`, their fields as a mapping, or only an index: `{"t": 0, "c": "GFP"}`. Those that take no
image are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from itertools import islice
from typing import Any, Final

import numpy as np
from attrs import frozen

from ome_writers.errors import Problem, SettingsError
from ome_writers.useq.loops import POSITION

MOST_EVENTS: Final = 2**20
"""Events that an iterable without a length may have; useq makes as many in two minutes."""


@frozen
class Event:
    """What is known of a frame, in the units of useq: seconds (exposure: milliseconds) and micrometers."""

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


_FIELDS: Final = ["index", "action", "channel", "min_start_time", "exposure", "x_pos", "y_pos", "z_pos", "pos_name"]


def _event(one: object, number: int) -> Event | None:
    if isinstance(one, Mapping):
        fields: Mapping[str, Any] = one if isinstance(one.get("index"), Mapping) else {"index": one}
    elif hasattr(one, "index") and hasattr(one, "min_start_time"):
        fields = {name: getattr(one, name, None) for name in _FIELDS}
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


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _index(value: object, loc: tuple[str | int, ...]) -> int | str:
    if isinstance(value, str) and loc[-1] in ("c", POSITION):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    named = ", or a name" if loc[-1] in ("c", POSITION) else ""
    raise SettingsError([Problem(loc, "invalid_value", f"must be an index, at least 0{named}; got {value!r:.80}")])
