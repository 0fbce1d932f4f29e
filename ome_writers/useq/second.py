"""Given a `useq.v2.MDASequence`, this answers: which dimensions do its loops make, and where are its positions?

Here any axis may bring a sequence within it, leave out events, or be written by somebody else, and a sequence may
change its events when they are made. Only where all of that stays away is it known which loops there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from ome_writers.errors import Problem
from ome_writers.items import Position
from ome_writers.useq.dims import UnitTuple
from ome_writers.useq.first import Found, with_positions, words_of
from ome_writers.useq.listing import Site
from ome_writers.useq.loops import (
    GRID,
    POSITION,
    IrregularSequenceError,
    Loop,
    Nest,
    NoLoops,
    common_order,
    is_endless,
    refused,
)
from ome_writers.useq.positions import distinct

_HARMLESS: Final = ("AutoFocusTransform", "KeepShutterOpenTransform", "ResetEventTimerTransform")
"""What adds no events that take an image, and drops none."""


def nested(seq: Any, given: Mapping[str, UnitTuple], factors: Mapping[str, float]) -> Found:
    """Return the loops of a sequence.

    Raises
    ------
    NoLoops
        If it cannot be known which loops its events are.
    IrregularSequenceError
        If nothing can be planned.
    """
    axes = _axes(seq)
    if type(seq.event_builder).__module__ != "useq.v2._mda_sequence":
        raise NoLoops("events that somebody else makes")
    if any(type(one).__name__ not in _HARMLESS for one in seq.transforms):
        raise NoLoops("events that are changed when they are made")
    loops = {key: _loop(key, axis) for key, axis in axes.items()}
    if any(loop.count == 0 for loop in loops.values()):
        raise refused((), "no event takes an image, since an axis has no items")
    if by_chance := [key for key, axis in axes.items() if getattr(axis, "random_seed", 0) is None]:
        raise NoLoops(f"points by chance ({by_chance[0]})")
    stations = loops.get(POSITION, Loop((None,))).items
    keys = list(axes)
    if "z" in keys[: keys.index(POSITION) if POSITION in keys else 0] and any(one.z is not None for one in stations):
        raise NoLoops("planes that positions overrule")
    nests = [
        Nest(
            number,
            station,
            {**loops, **({POSITION: Loop((station,))} if POSITION in loops else {})},
            (),
            exposures=tuple(channel.exposure for channel in loops["c"].items) if "c" in loops else (),
        )
        for number, station in enumerate(stations)
    ]
    order = common_order(nests, tuple(axes))
    words = words_of(nests, order, given)
    if POSITION not in axes and GRID not in axes:
        return Found(words, None)
    visits = [visit for tour in order.tours for visit in tour]
    placed = [*("xyz" if getattr(axes.get("z"), "is_relative", True) else "xy")]
    places = [_position(keys, nest, point, {name: factors.get(name, 1.0) for name in placed}) for nest, point in visits]
    names = distinct([place.name for place in places])
    named = [evolve(place, name=name) for place, name in zip(places, names, strict=True)]
    return with_positions(words, nests, order, named, None)


def _axes(seq: Any) -> dict[str, Any]:
    """Return the axes of a sequence, the slowest first."""
    axes = {str(axis.axis_key): axis for axis in seq.axes}
    return axes if seq.axis_order is None else {str(key): axes[key] for key in seq.axis_order if key in axes}


def _loop(key: str, axis: Any) -> Loop:
    """Return the loop of an axis.

    Raises
    ------
    NoLoops
        If it is no axis of useq's own, or brings sequences within it.
    """
    from useq.v2 import AxisIterable, ChannelsPlan, MultiAxisSequence, SimpleValueAxis, StagePositions

    module = type(axis).__module__
    own = module.startswith("useq.v2.") and type(axis).should_skip is AxisIterable.should_skip
    if not own or (type(axis) is SimpleValueAxis and key in "tczpg"):
        raise NoLoops(f"an axis {key!r} that is a {type(axis).__name__}")
    if is_endless(axis):
        interval = getattr(axis, "interval", None)
        return Loop((), interval.total_seconds() if interval else None, endless=True)
    items = tuple(axis)
    if any(isinstance(item, MultiAxisSequence) for item in items):
        raise NoLoops(f"a sequence within {key!r}")
    if key == "t":
        interval = getattr(axis, "interval", None)
        return Loop(items, interval.total_seconds() if interval else None)
    if key == "z":
        return Loop(tuple(item.z for item in items), getattr(axis, "step", None))
    if type(axis) not in (ChannelsPlan, StagePositions) and key not in (GRID, POSITION):
        return Loop(tuple(range(len(items))))
    return Loop(items)


def _position(axes: Sequence[str], nest: Nest, point: int, factors: Mapping[str, float]) -> Position:
    """Return the position of a visit: each axis in turn adds to where the stage is, or says it."""
    where: dict[str, float] = {}
    for axis in axes:
        item: Any = nest.position if axis == POSITION else nest.points[point] if axis == GRID else None
        for name in factors:
            value = getattr(item, name, None)
            if value is not None:
                # A relative position of the stage counts as one that is not.
                before = where.get(name, 0.0) if axis == GRID and item.is_relative else 0.0
                where[name] = before + float(value)
    coords: dict[str, Any] = {f"{name}_coord": value * factors[name] for name, value in where.items()}
    return Position(name=_name(nest, point), **coords)


def _name(nest: Nest, point: int) -> str:
    if nest.position is None:
        return f"{point:04d}"
    name = nest.position.name or str(nest.number)
    return name if GRID not in nest.loops else f"{name}_g{point:04d}"


# ── where there are no loops
# ──────────────────────────────────────────────────────────────────────────────────────────────


def require_end(seq: Any, reason: str) -> None:
    """Raise unless a sequence, which has no loops for a reason, has an end.

    Raises
    ------
    IrregularSequenceError
        If it has none.
    """
    todo = [seq]
    while todo:
        for axis in todo.pop().axes:
            if is_endless(axis):
                message = f"has no end, which cannot be planned together with {reason}; give it a duration"
                raise IrregularSequenceError([Problem(("time_plan",), "unsupported", message)])
            todo += [item for item in getattr(axis, "values", ()) if hasattr(item, "axes")]


def axes_of(seq: Any) -> tuple[str, ...]:
    """Return the loops of a sequence, the slowest first."""
    return tuple(_axes(seq))


def places(seq: Any, sites: Sequence[Site], factors: Mapping[str, float]) -> list[Position]:
    """Return the positions at which events were."""
    stations = list(_axes(seq).get(POSITION, ()))
    names = []
    for site in sites:
        number = int(site.position or 0)
        station = stations[number] if number < len(stations) else None
        name = getattr(getattr(station, "value", station), "name", None) or str(number)
        names.append(name + site.grid_suffix)
    return [
        Position(
            name=name,
            x_coord=None if site.x is None else site.x * factors.get("x", 1.0),
            y_coord=None if site.y is None else site.y * factors.get("y", 1.0),
        )
        for name, site in zip(distinct(names), sites, strict=True)
    ]


def plate(_seq: Any, _sites: Sequence[Site]) -> None:
    """Return that it is not known of any plate."""
    return
