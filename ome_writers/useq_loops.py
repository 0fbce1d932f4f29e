"""Given a useq sequence, this answers: which loops do its events run through, at each stage position, in what order?

useq runs through the product of a sequence's axes, in its `axis_order`, and leaves out events:

    a channel with `acquire_every=n`       all time points but every n-th
    a channel with `do_stack=False`        all planes but the middle one
    a position with a sub-sequence         of channels, planes and grid points that the sub-sequence has too, and of
                                           channels where it has nothing else, all but the first

At each event of a position that is left, the axes of its sub-sequence run, innermost. An acquisition here is regular:
nested loops that all positions share, the positions (with the points of their grids) being one of them, possibly in
tours. `nests_of` finds the loops of each position, `common_order` how they go together; what is irregular is refused,
with the place of the reason. Events are never iterated: that would cost 100 µs each, and change autofocus plans.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from ome_writers.errors import Loc, Problem, SettingsError

if TYPE_CHECKING:
    import useq

POSITION, GRID = "p", "g"
_ENDLESS = range(2**62)


class IrregularSequenceError(SettingsError, NotImplementedError):
    """A sequence whose events are no regular loops; `problems` says why not. (In 0.3 a `NotImplementedError`.)"""


@frozen
class Loop:
    """An axis that is gone through: times in seconds, channels, depths in micrometers, or grid points."""

    items: tuple[Any, ...]
    step: float | None = None
    """Distance of two items, where the plan says it."""
    endless: bool = False
    """Whether it goes on until somebody stops it; there are no `items` then."""

    @property
    def count(self) -> int | None:
        """Number of items, `None` if there is no end."""
        return None if self.endless else len(self.items)

    @property
    def labels(self) -> tuple[object, ...]:
        """What tells the items from those of other positions."""
        return tuple((item.group, item.config) if hasattr(item, "config") else item for item in self.items)

    def at(self, places: Iterable[int]) -> Loop:
        """Return the loop through some of the items only."""
        return self if self.endless else evolve(self, items=tuple(self.items[place] for place in places))


@frozen(eq=False)
class Nest:
    """The loops that run at one stage position, the slowest first, by the name of their axis."""

    number: int
    """Of the position in the sequence."""
    position: useq.Position | None
    """`None` where the sequence has no loop over positions."""
    loops: Mapping[str, Loop]
    """The position itself, of one item, stands where the loop over positions runs."""
    own: Collection[str]
    """Axes that come from the sub-sequence of the position."""

    @property
    def points(self) -> tuple[Any, ...]:
        """The points of its grid, `None` for a position without one."""
        return self.loops[GRID].items if GRID in self.loops else (None,)

    @property
    def loc(self) -> Loc:
        """Where the position stands in the sequence."""
        return () if self.position is None else ("stage_positions", self.number)

    @property
    def axes(self) -> dict[str, Loop]:
        """The loops over times, channels and depths."""
        return {axis: loop for axis, loop in self.loops.items() if axis not in (POSITION, GRID)}

    def __str__(self) -> str:
        sizes = [f"{axis}={'endless' if loop.endless else loop.count}" for axis, loop in self.axes.items()]
        return " ".join(sizes) or "nothing"


def refused(loc: Loc, message: str) -> IrregularSequenceError:
    """Return the error that says where a sequence is irregular."""
    return IrregularSequenceError([Problem(loc, "unsupported", message)])


# ── the loops of each position
# ────────────────────────────────────────────────────────────────────────────────────────


def nests_of(seq: useq.MDASequence) -> list[Nest]:
    """Return the loops of every stage position that yields frames, in order; of a nameless one if there are none.

    Raises
    ------
    IrregularSequenceError
        If the frames of a position do not fill its loops.
    """
    outer = _loops(seq, ())
    positions = outer[POSITION].items if POSITION in outer else (None,)
    nests = [_nest(seq, outer, number, position) for number, position in enumerate(positions)]
    alive = [nest for nest in nests if all(loop.count != 0 for loop in nest.loops.values())]
    if not alive:
        raise refused(("stage_positions",), "yield no frames: no sub-sequence has an axis of its axis_order")
    return alive


def _loops(seq: useq.MDASequence, loc: Loc) -> dict[str, Loop]:
    """Return the loops of a sequence by itself, before anything is left out."""
    loops = {}
    for axis in seq.axis_order:
        if axis == "t":
            loop = _times(seq.time_plan, (*loc, "time_plan"))
        else:
            loop = Loop(tuple(seq.iter_axis(axis)), getattr(seq.z_plan, "step", None) if axis == "z" else None)
        if axis == GRID and by_chance(seq.grid_plan) and loop.count != getattr(seq.grid_plan, "num_points", 0):
            raise refused((*loc, "grid_plan"), "has as many points as chance finds room for: give a random_seed")
        if loop.count != 0:
            loops[str(axis)] = loop
    return loops


def by_chance(plan: object) -> bool:
    """Return whether the points of a grid are others each time that it is gone through."""
    return getattr(plan, "random_seed", 0) is None


def _times(plan: Any, loc: Loc) -> Loop:
    if plan is None:
        return Loop(())
    try:
        times = tuple(plan)
        interval = getattr(plan, "interval", None) if times else None
        return Loop(times, interval and interval.total_seconds())
    except ZeroDivisionError:
        from useq import TIntervalDuration

        # As many as there is time for: useq can describe that, and leaves it to others to run.
        if any(
            isinstance(phase, TIntervalDuration) and not phase.interval for phase in getattr(plan, "phases", [plan])
        ):
            return Loop((), endless=True)
        raise refused(loc, "has a duration, but a single time point: useq cannot run it") from None


def _nest(seq: useq.MDASequence, outer: dict[str, Loop], number: int, position: useq.Position | None) -> Nest:
    loops = dict(outer)
    if position is not None:
        loops[POSITION] = Loop((position,))
    sub = position.sequence if position is not None else None
    loops = _thinned(loops, seq.z_plan, _only_first(sub), ())
    own: dict[str, Loop] = {}
    if any(loop.count == 0 for loop in loops.values()):
        return Nest(number, position, loops, ())
    if sub is not None and _runs(sub):
        loc = ("stage_positions", number, "sequence")
        own = _thinned(_loops(sub, loc), sub.z_plan, (), loc)
        for axis, loop in own.items():
            if axis == POSITION or (axis in loops and loops[axis].count != 1):
                times = "without end" if loops[axis].endless else f"{loops[axis].count} times"
                raise refused(
                    loc, f"loops over {axis!r} ({loop.count} items), as the sequence around it does ({times})"
                )
        if not own:
            loops[POSITION] = Loop(())  # useq goes through an empty product
    around = {axis: loop for axis, loop in loops.items() if axis not in own}
    return Nest(number, position, {**around, **own}, tuple(own))


def _runs(sub: useq.MDASequence) -> bool:
    """Return whether useq goes into a sub-sequence, be there anything in it or not."""
    plans = (sub.time_plan, sub.z_plan, sub.grid_plan)
    return bool(sub.stage_positions or sub.channels) or any(plan is not None for plan in plans)


def _only_first(sub: useq.MDASequence | None) -> tuple[str, ...]:
    """Return the axes of a sequence of which a position with this sub-sequence takes only the first item."""
    if sub is None or sub.autofocus_plan is not None:
        return ()
    plans = [axis for axis, plan in (("z", sub.z_plan), (GRID, sub.grid_plan), ("t", sub.time_plan)) if plan]
    first = [axis for axis in plans if axis != "t"]
    return (*first, "c") if sub.channels or not plans else tuple(first)


def _thinned(loops: dict[str, Loop], z_plan: Any, only_first: Collection[str], loc: Loc) -> dict[str, Loop]:
    """Return the loops of a position without the items of which no event is left.

    Raises
    ------
    IrregularSequenceError
        If the channels differ in their time points or planes.
    """
    kept = {axis: loop.at([0]) if axis in only_first else loop for axis, loop in loops.items()}
    if "c" not in kept:
        return kept
    channels = list(enumerate(kept["c"].items))
    if z_plan is not None and not all(channel.do_stack for _, channel in channels):
        if "z" not in loops:
            raise refused((*loc, "z_plan"), "has no planes, or 'z' is not in axis_order, but a channel asks for one")
        planes = range(len(kept["z"].items))
        middle = [plane for plane in planes if plane == z_plan.num_positions() // 2]
        depths = {number: list(planes) if channel.do_stack else middle for number, channel in channels}
        channels = [(number, channel) for number, channel in channels if depths[number]]
        _must_agree({number: depths[number] for number, _ in channels}, (*loc, "channels"), "do_stack", "planes")
        kept["z"] = kept["z"].at(depths[channels[0][0]] if channels else [])
        kept["c"] = Loop(tuple(channel for _, channel in channels))
    if "t" in kept and channels:
        points = _ENDLESS if kept["t"].endless else range(len(kept["t"].items))
        times = {number: points[:: channel.acquire_every] for number, channel in channels}
        _must_agree(times, (*loc, "channels"), "acquire_every", "time points")
        kept["t"] = kept["t"].at(times[channels[0][0]])
    return kept


def _must_agree(kept: Mapping[int, Sequence[int]], loc: Loc, field: str, what: str) -> None:
    first, *others = kept.items() if kept else [(0, ())]
    for number, places in others:
        if places != first[1]:
            message = f"gives it other {what} than channel {first[0]} has; ragged sequences are not supported yet"
            raise refused((*loc, number, field), message)


# ── how they go together
# ──────────────────────────────────────────────────────────────────────────────────────────────


Visit = tuple[Nest, int]
"""A position, and the number of the point of its grid."""


@frozen(eq=False)
class Order:
    """How the loops of all positions go together."""

    outer: tuple[str, ...]
    """Axes (of more than one item) around the loop over positions, the slowest first."""
    inner: tuple[str, ...]
    """Axes within it."""
    tours: tuple[tuple[Visit, ...], ...]
    """Visits in order; those of one tour take turns innermost."""


@frozen
class _Way:
    """How the loops of one position lie around its visits."""

    outer: tuple[str, ...]
    inner: tuple[str, ...]
    tour: bool
    """Whether the visits take turns within `inner`."""


def common_order(nests: Sequence[Nest], axis_order: Sequence[str]) -> Order:
    """Return how the loops of all positions go together.

    Raises
    ------
    IrregularSequenceError
        If the positions differ in their loops, if loops run both within those over positions and over grid points and
        between them, or if one without end is not the outermost.
    """
    ways = [_way(nest, len(nests)) for nest in nests]
    for nest, way in zip(nests[1:], ways[1:], strict=True):
        if difference := _difference(nest, nests[0]):
            raise refused((*nest.loc, "sequence"), f"{difference}; ragged sequences are not supported yet")
        if (way.outer, way.inner) != (ways[0].outer, ways[0].inner):
            message = f"its loops run in another order than those of stage position {nests[0].number}"
            raise refused((*nest.loc, "sequence"), f"{message}; ragged sequences are not supported yet")
    tours = _tours(nests, ways, grid_first=[a for a in axis_order if a in (POSITION, GRID)] == [GRID, POSITION])
    outer, inner = ways[0].outer, ways[0].inner
    if len(tours) == 1:
        outer, inner = (*outer, *inner), ()
    if any(nests[0].loops[axis].endless for axis in (*outer[1:], *inner)):
        raise refused(("axis_order",), "must begin with 't', since the time plan has no end")
    return Order(outer, inner, tours if inner else tuple((visit,) for tour in tours for visit in tour))


def _way(nest: Nest, positions: int) -> _Way:
    # A loop over one item may stand anywhere.
    axes = [axis for axis, loop in nest.loops.items() if (positions if axis == POSITION else loop.count) != 1]
    places = [place for place, axis in enumerate(axes) if axis in (POSITION, GRID)]
    if not places:
        return _Way(tuple(axes), (), tour=False)
    first, last = places[0], places[-1]
    between, within = tuple(axes[first + 1 : last]), tuple(axes[last + 1 :])
    if between and within:
        message = (
            f"loops run between positions and grid points ({', '.join(between)}), and in both ({', '.join(within)})"
        )
        raise refused(("axis_order",), f"{message}; ragged sequences are not supported yet")
    return _Way(tuple(axes[:first]), between or within, tour=bool(between))


def _difference(nest: Nest, other: Nest) -> str | None:
    """Return in which loops two positions differ."""
    if {axis: loop.count for axis, loop in nest.axes.items()} != {
        axis: loop.count for axis, loop in other.axes.items()
    }:
        return f"its frames run through {nest}, those of stage position {other.number} through {other}"
    for axis, loop in nest.axes.items():
        if loop.labels != other.axes[axis].labels:
            return f"its {axis!r} has other items than that of stage position {other.number}"
    return None


def _tours(nests: Sequence[Nest], ways: Sequence[_Way], *, grid_first: bool) -> tuple[tuple[Visit, ...], ...]:
    if not grid_first:
        return tuple(tour for nest, way in zip(nests, ways, strict=True) for tour in _turns(nest, way))
    # Round by round, each to the next point of the grid; a position with a grid of its own is visited in the first.
    shared = [nest for nest in nests if GRID not in nest.own]
    found: list[tuple[Visit, ...]] = []
    for point in range(max((len(nest.points) for nest in shared), default=1)):
        visits: list[tuple[Visit, ...]] = []
        for nest, way in zip(nests, ways, strict=True):
            if GRID not in nest.own:
                visits += [((nest, point),)] if point < len(nest.points) else []
            elif point == 0:
                visits += _turns(nest, way)
        together = len(shared) == len(nests) and ways[0].tour
        found += [tuple(visit for turn in visits for visit in turn)] if together else visits
    return tuple(found)


def _turns(nest: Nest, way: _Way) -> list[tuple[Visit, ...]]:
    visits = [(nest, point) for point in range(len(nest.points))]
    return [tuple(visits)] if way.tour else [(visit,) for visit in visits]
