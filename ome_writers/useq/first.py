"""Given a `useq.MDASequence`, this answers: which dimensions do its loops make, and where are its positions?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import evolve

from ome_writers.errors import Problem
from ome_writers.items import Position
from ome_writers.omission import Frames, Omit
from ome_writers.settings import Dimension, Plate
from ome_writers.useq.dims import UnitTuple, dimension_of, names_of, omissions, place_of, with_own_lists
from ome_writers.useq.listing import Site
from ome_writers.useq.loops import (
    GRID,
    POSITION,
    IrregularSequenceError,
    Loop,
    Nest,
    Order,
    Visit,
    common_order,
    is_endless,
    nests_of,
)
from ome_writers.useq.positions import factor, plate_of, positions_of

if TYPE_CHECKING:
    import useq


class Found(NamedTuple):
    """Loops in the words of `Dimension`, the slowest first, without those of a frame; and what is not in them."""

    words: list[dict[str, Any]]
    plate: Plate | None
    omit: tuple[Omit, ...] = ()
    frames: Frames | None = None


def factors_of(given: Mapping[str, UnitTuple], frame: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return by what a length in micrometers is multiplied to be one in the unit of x, y or z."""
    told = {name: pair[1] for name, pair in given.items() if name == "z"}
    return {name: factor(unit) for name, unit in {**told, **{one["name"]: one["unit"] for one in frame}}.items()}


def nested(seq: useq.MDASequence, given: Mapping[str, UnitTuple], factors: Mapping[str, float]) -> Found:
    """Return the loops of a sequence.

    Raises
    ------
    NoLoops
        If its events are no loops.
    IrregularSequenceError
        If nothing can be planned.
    """
    nests = nests_of(seq)
    order = common_order(nests, seq.axis_order)
    visits = [visit for tour in order.tours for visit in tour]
    words = words_of(nests, order, given)
    if not any(axis in nests[0].loops for axis in (POSITION, GRID)):
        return Found(words, None, omissions(visits, nests))
    places = positions_of(visits, seq, factors)
    return with_positions(words, nests, order, places, plate_of(seq, visits))


def words_of(nests: Sequence[Nest], order: Order, given: Mapping[str, UnitTuple]) -> list[dict[str, Any]]:
    """Return the loops over times, channels and depths in the words of `Dimension`."""
    return [dimension_of(axis, nests, given) for axis in names_of(nests, order)]


def with_positions(
    words: list[dict[str, Any]], nests: Sequence[Nest], order: Order, places: Sequence[Position], plate: Plate | None
) -> Found:
    """Return the loops with that over positions among them."""
    visits = [visit for tour in order.tours for visit in tour]
    tours = [len(tour) for tour in order.tours]
    turns: dict[str, Any] = {"tours": tours, "tours_within": order.inner[-1]} if max(tours) > 1 else {}
    own = with_own_lists(places, visits, nests, [Dimension(**one) for one in words])
    where = place_of(nests[0], [one["name"] for one in words], order)
    position: dict[str, Any] = {"name": POSITION, "type": "position", "coords": own, **turns}
    return Found([*words[:where], position, *words[where:]], plate, omissions(visits, nests))


# ── where there are no loops
# ──────────────────────────────────────────────────────────────────────────────────────────────


def require_end(seq: useq.MDASequence, reason: str) -> None:
    """Raise unless a sequence, which has no loops for a reason, has an end.

    Raises
    ------
    IrregularSequenceError
        If it has none.
    """
    subs = [(("stage_positions", number, "sequence"), one.sequence) for number, one in enumerate(seq.stage_positions)]
    for loc, one in [((), seq), *subs]:
        if one is not None and is_endless(one.time_plan):
            message = f"has no end, which cannot be planned together with {reason}; give it a duration"
            raise IrregularSequenceError([Problem((*loc, "time_plan"), "unsupported", message)])


def axes_of(seq: useq.MDASequence) -> tuple[str, ...]:
    """Return the loops of a sequence, the slowest first."""
    return tuple(map(str, seq.axis_order))


def places(seq: useq.MDASequence, sites: Sequence[Site], factors: Mapping[str, float]) -> list[Position]:
    """Return the positions at which events were."""
    made = positions_of(_visits(seq, sites), seq, factors)
    found = []
    for position, site in zip(made, sites, strict=True):
        x, y = (None if um is None else float(um) * factors.get(n, 1.0) for n, um in (("x", site.x), ("y", site.y)))
        found.append(evolve(position, x_coord=x, y_coord=y))
    return found


def plate(seq: useq.MDASequence, sites: Sequence[Site]) -> Plate | None:
    """Return the plate that the positions lie on."""
    return plate_of(seq, _visits(seq, sites)) if sites else None


def _visits(seq: useq.MDASequence, sites: Sequence[Site]) -> list[Visit]:
    return [_visit(seq, site) for site in sites]


def _visit(seq: useq.MDASequence, site: Site) -> Visit:
    number, point = int(site.position or 0), None if site.grid is None else int(site.grid)
    several = seq.stage_positions
    position = several[number] if site.position is not None and number < len(several) else None
    sub = position.sequence if position is not None else None
    own = sub is not None and sub.grid_plan is not None
    grid = sub.grid_plan if sub is not None and own else seq.grid_plan
    points = () if point is None or grid is None else tuple(grid)
    loops: dict[str, Loop] = {POSITION: Loop((position,))}
    if point is not None:
        # Chance may have found other points this time.
        loops[GRID] = Loop((*points, *[None] * (point + 1 - len(points))))
    return Nest(number, position, loops, (GRID,) if own else ()), point or 0
