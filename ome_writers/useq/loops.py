"""Given a useq sequence, this answers: which loops do its events run through, at each stage position, in what order?

useq runs through the product of a sequence's axes, in its `axis_order`, and leaves out events:

    a channel with `acquire_every=n`       all time points but every n-th
    a channel with `do_stack=False`        all planes but the middle one
    a position with a sub-sequence         of channels, planes and grid points that the sub-sequence has too, and of
                                           channels where it has nothing else, all but the first

At each event of a position that is left, the axes of its sub-sequence run, innermost. Nearly all of that are nested
loops, with gaps, and with counts and lists of single positions; the positions (with the points of their grids) are one
of these loops, possibly in tours. `nests_of` finds the loops of each position, `common_order` how they go together.
Events are not iterated: that would cost 100 µs each. Where there are no such loops, `NoLoops` says why, and
`useq.events` lists the events one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from ome_writers.errors import Loc, Problem, SettingsError

if TYPE_CHECKING:
    import useq

POSITION, GRID = "p", "g"
_ENDLESS = range(2**62)


class IrregularSequenceError(SettingsError, NotImplementedError):
    """A sequence that cannot be planned: without end, but in no loops; or one that useq itself cannot run.

    (In 0.3 a `NotImplementedError`, raised for many more.)
    """


class NoLoops(Exception):  # noqa: N818 - no error: there is another way
    """The events of a sequence are no nested loops, and have to be listed."""


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
    def first(self) -> Loop:
        """The loop through the first item only."""
        return self if self.endless else evolve(self, items=self.items[:1])


@frozen
class Gap:
    """What a channel leaves out of another loop."""

    channel: int
    axis: str = ""
    kept: int | str | None = None
    """What it does not leave out: an index, or a slice as text. `None`: there is nothing, it is never acquired."""


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
    gaps: tuple[Gap, ...] = ()
    exposures: tuple[float | None, ...] = ()
    """Of each channel, in milliseconds; may be left out, as the next, where there is nothing to say."""
    offsets: tuple[float, ...] = ()
    """How far each channel is moved in z, in micrometers."""

    @property
    def points(self) -> tuple[Any, ...]:
        """The points of its grid, `None` for a position without one."""
        return self.loops[GRID].items if GRID in self.loops else (None,)

    @property
    def axes(self) -> dict[str, Loop]:
        """The loops over times, channels and depths."""
        return {axis: loop for axis, loop in self.loops.items() if axis not in (POSITION, GRID)}


def refused(loc: Loc, message: str) -> IrregularSequenceError:
    """Return the error that says where a sequence is irregular."""
    return IrregularSequenceError([Problem(loc, "unsupported", message)])


# ── the loops of each position
# ────────────────────────────────────────────────────────────────────────────────────────


def nests_of(seq: useq.MDASequence) -> list[Nest]:
    """Return the loops of every stage position that yields frames, in order; of a nameless one if there are none.

    Raises
    ------
    NoLoops
        If the events of a position are no loops.
    IrregularSequenceError
        If there are none, or useq cannot run them.
    """
    outer = _loops(seq, ())
    if not outer:
        raise refused((), "no event takes an image, since no axis has items")
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
            raise NoLoops("as many points of a grid as chance finds room for")
        if loop.count != 0:
            loops[str(axis)] = loop
    return loops


def by_chance(plan: object) -> bool:
    """Return whether the points of a grid are others each time that it is gone through."""
    return getattr(plan, "random_seed", 0) is None


def _times(plan: Any, loc: Loc) -> Loop:
    if plan is None:
        return Loop(())
    if is_endless(plan):
        interval = getattr(plan, "interval", None)  # that of several phases is none
        return Loop((), interval.total_seconds() if interval else None, endless=True)
    try:
        times = tuple(plan)
    except ZeroDivisionError:
        raise refused(loc, "has a duration, but a single time point: useq cannot run it") from None
    interval = getattr(plan, "interval", None) if times else None
    return Loop(times, interval and interval.total_seconds())


def is_endless(plan: Any) -> bool:
    """Return whether a time plan has as many points as there is time for: useq leaves it to others to run that."""
    phases = getattr(plan, "phases", None) or [plan]
    # Its other properties cannot be asked for if there is no interval.
    return any(
        type(phase).__name__ == "TIntervalDuration" and (not phase.interval or phase.duration is None)
        for phase in phases
    )


def _nest(seq: useq.MDASequence, outer: dict[str, Loop], number: int, position: useq.Position | None) -> Nest:
    loops = dict(outer)
    if position is not None:
        loops[POSITION] = Loop((position,))
    sub = position.sequence if position is not None else None
    loops, gaps = _thinned(loops, seq.z_plan, _only_first(sub), ())
    own: dict[str, Loop] = {}
    if any(loop.count == 0 for loop in loops.values()) or _all_gone(loops, gaps):
        return Nest(number, position, {POSITION: Loop(())}, ())
    if sub is not None and _runs(sub):
        loc = ("stage_positions", number, "sequence")
        own, inner_gaps = _thinned(_loops(sub, loc), sub.z_plan, (), loc)
        for axis, loop in own.items():
            if axis == POSITION or (axis in loops and loops[axis].count != 1):
                raise NoLoops(f"a sub-sequence loops over {axis!r} ({loop.count} items), as the one around it does")
        if not own or _all_gone(own, inner_gaps):
            loops[POSITION] = Loop(())  # useq goes through an empty product
        if "c" in own:  # what the one channel around them leaves out, these leave out as well
            gaps = tuple(evolve(gap, channel=number) for gap in gaps for number in range(len(own["c"].items)))
        gaps = (*gaps, *inner_gaps)
    around = {axis: loop for axis, loop in loops.items() if axis not in own}
    exposures, offsets = _channels(loops, own)
    return Nest(number, position, {**around, **own}, tuple(own), gaps, exposures, offsets)


def _channels(loops: Mapping[str, Loop], own: Mapping[str, Loop]) -> tuple[tuple[float | None, ...], tuple[float, ...]]:
    """Return how long each channel is exposed, and how far it is moved in z, by the loops and those within them."""
    around = loops["c"].items if "c" in loops else ()
    if "c" not in own:
        # Planes of a sub-sequence lie where they do for all channels around it.
        moves = "z" in loops and "z" not in own
        return tuple(one.exposure for one in around), tuple(one.z_offset if moves else 0.0 for one in around)
    within = own["c"].items
    before = around[0].exposure if around else None
    exposures = tuple(before if one.exposure is None else one.exposure for one in within)
    if len({one.exposure is None for one in within}) > 1:
        if not any(loop.endless for loop in (*loops.values(), *own.values())):
            raise NoLoops("channels of which some are exposed as those before them")
        exposures = (None,) * len(within)
    if "z" in own:
        return exposures, tuple(one.z_offset for one in within)
    # The planes are those of the one channel around them.
    offset = around[0].z_offset if around and "z" in loops else 0.0
    return exposures, (offset,) * len(within)


def _all_gone(loops: Mapping[str, Loop], gaps: Collection[Gap]) -> bool:
    """Return whether no channel of any is acquired at all."""
    gone = {gap.channel for gap in gaps if gap.kept is None}
    return "c" in loops and len(gone) == len(loops["c"].items)


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


def _thinned(
    loops: dict[str, Loop], z_plan: Any, only_first: Collection[str], loc: Loc
) -> tuple[dict[str, Loop], tuple[Gap, ...]]:
    """Return the loops of a position, some of them over their first item only, and the gaps that channels leave."""
    kept = {axis: loop.first if axis in only_first else loop for axis, loop in loops.items()}
    gaps: list[Gap] = []
    for number, channel in enumerate(kept["c"].items if "c" in kept else ()):
        if z_plan is not None and not channel.do_stack:
            if "z" not in loops:
                raise refused(
                    (*loc, "z_plan"), "has no planes, or 'z' is not in axis_order, but a channel asks for one"
                )
            planes, middle = len(kept["z"].items), z_plan.num_positions() // 2
            if middle >= planes:
                gaps.append(Gap(number))
                continue  # of nothing there is nothing more to leave out
            if planes > 1:
                gaps.append(Gap(number, "z", middle))
        if "t" in kept and channel.acquire_every > 1 and kept["t"].count != 1:
            gaps.append(Gap(number, "t", f"::{channel.acquire_every}"))
    return kept, tuple(gaps)


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
    NoLoops
        If the loops of positions run in different orders, or both within those over positions and over grid points and
        between them.
    IrregularSequenceError
        If a loop without end is not the outermost.
    """
    ways = [_way(nest, len(nests)) for nest in nests]
    # What one position does not loop over, it has one item of, so that only the order of what it loops over matters.
    outer, inner = _merged([way.outer for way in ways]), _merged([way.inner for way in ways])
    if {*outer} & {*inner}:
        raise NoLoops("loops that run around some positions, and within others")
    if [axis for axis in axis_order if axis in (POSITION, GRID)] == [GRID, POSITION]:
        tours = _rounds(nests, ways, together=any(way.tour for way in ways))
    else:
        tours = tuple(tour for nest, way in zip(nests, ways, strict=True) for tour in _turns(nest, way))
    if len(tours) == 1:
        outer, inner = (*outer, *inner), ()
    if any(loop.endless for nest in nests for axis, loop in nest.axes.items() if axis in (*outer[1:], *inner)):
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
        raise NoLoops("loops that run between positions and grid points, and in both")
    return _Way(tuple(axes[:first]), between or within, tour=bool(between))


def _merged(orders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return one order of axes that all the given ones are parts of.

    Raises
    ------
    NoLoops
        If there is none.
    """
    left = [list(order) for order in dict.fromkeys(orders)]
    merged: list[str] = []
    while left := [order for order in left if order]:
        first = next((o[0] for o in left if not any(o[0] in other[1:] for other in left)), None)
        if first is None:
            raise NoLoops("positions whose loops run in different orders")
        merged.append(first)
        left = [order[1:] if order[0] == first else order for order in left]
    return tuple(merged)


def _rounds(nests: Sequence[Nest], ways: Sequence[_Way], *, together: bool) -> tuple[tuple[Visit, ...], ...]:
    """Return tours round by round, each to the next point of the grid; one's own grid is visited in the first."""
    shared = [nest for nest in nests if GRID not in nest.own]
    found: list[tuple[Visit, ...]] = []
    for point in range(max((len(nest.points) for nest in shared), default=1)):
        visits: list[tuple[Visit, ...]] = []
        for nest, way in zip(nests, ways, strict=True):
            if GRID not in nest.own:
                visits += [((nest, point),)] if point < len(nest.points) else []
            elif point == 0:
                visits += _turns(nest, way)
        all_at_once = together and len(shared) == len(nests)
        found += [tuple(visit for turn in visits for visit in turn)] if all_at_once else visits
    return tuple(found)


def _turns(nest: Nest, way: _Way) -> list[tuple[Visit, ...]]:
    visits = [(nest, point) for point in range(len(nest.points))]
    return [tuple(visits)] if way.tour else [(visit,) for visit in visits]
