"""Given limits, this answers: what jagged acquisitions could there be? A Hypothesis strategy of settings.

They begin as `strategies.settings` draws them; then cameras, counts and lists of positions, rules that omit frames, or
a list of frames are added. What a rule has to leave or to omit, the dull loops of `jagged.py` say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from attrs import evolve
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ome_writers.items import Camera, Position
from ome_writers.omission import Frames, Omit
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.testing.jagged import planned
from ome_writers.testing.strategies import DTYPES, FORMATS, settings

_ROUNDS: Final = 18
"""Rounds of an acquisition without end in which a rule must have shown what it does …"""
_LAST: Final = 6
"""… and of which the last, a multiple of all steps that are drawn, are as all that follow."""


@st.composite
def jagged(  # noqa: PLR0913 - each limit has a default, and is named by who gives it
    draw: DrawFn,
    *,
    formats: Sequence[str] = FORMATS,
    holes: Sequence[str] = ("dense", "compact", "split"),
    cameras: bool | None = None,
    unbounded: bool | None = None,
    codecs: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
) -> AcquisitionSettings:
    """Draw the settings of an acquisition that may be jagged in every way; every one of them compiles.

    Examples
    --------
    >>> from hypothesis import given
    >>> from ome_writers import compile
    >>> @given(jagged(holes=["split"], unbounded=False))
    ... def has_no_holes(settings):
    ...     plan = compile(settings)
    ...     assert plan.frames == sum(int(np.prod(spec.shape[:-2])) for spec in plan.layout.arrays)
    >>> has_no_holes()
    """
    drawn = draw(
        settings(formats=formats, max_frames=30, max_pixels=4, unbounded=unbounded, codecs=codecs, dtypes=dtypes)
    )
    # A name is enough for a folder only if nothing but the position chooses an image.
    drawn = (
        evolve(drawn, format=evolve(drawn.format, group_names="number")) if drawn.format.name == "ome-zarr" else drawn
    )
    if cameras or (cameras is None and draw(st.booleans())):
        drawn = draw(_with_cameras(drawn))
    drawn = evolve(drawn, dimensions=tuple(draw(_limited(dim, drawn)) for dim in drawn.dimensions))
    if draw(st.integers(0, 3)) == 0 and drawn.num_frames is not None:
        return evolve(drawn, frames=draw(_listed(drawn)), holes=draw(st.sampled_from(list(holes))))
    for _ in range(draw(st.integers(0, 2)) if drawn.dimensions[:-2] else 0):
        with_rule = evolve(drawn, omit=(*drawn.omit, draw(_rules(drawn))))
        drawn = with_rule if _does_something(drawn, with_rule) else drawn
    allowed = list(holes) if drawn.num_frames is not None else ["dense"]
    return evolve(drawn, holes=draw(st.sampled_from(allowed)))


@st.composite
def _with_cameras(draw: DrawFn, drawn: AcquisitionSettings) -> AcquisitionSettings:
    loops, frame = drawn.dimensions[:-2], drawn.dimensions[-2:]
    count = draw(st.integers(1, 3))
    known = DTYPES.get(drawn.format.name, DTYPES["ome-zarr"])
    channels = [dim for dim in loops if dim.type == "channel"]
    fold = bool(channels and loops[0].count is not None and draw(st.booleans()))
    sizes = st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4))
    coords = [
        Camera(name=f"camera {number}")
        if fold
        else Camera(
            name=f"camera {number}",
            shape=draw(sizes),
            dtype=draw(st.sampled_from(["", *known])),
            pixel_size=draw(st.none() | st.floats(0.01, 10)),
            chunk_shape=draw(st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3))),
        )
        for number in range(count)
    ]
    place = draw(st.integers(int(bool(loops) and loops[0].count is None), len(loops)))
    dim = Dimension(name="cam!", type="camera", coords=coords, fold=fold)
    order: Any = drawn.storage_order
    if isinstance(order, tuple):
        order = ("cam!", *order)
    return evolve(drawn, dimensions=(*loops[:place], dim, *loops[place:], *frame), storage_order=order)


@st.composite
def _limited(draw: DrawFn, dim: Dimension, drawn: AcquisitionSettings) -> Dimension:
    """Draw counts and lists for the positions, or counts for the cameras, of a dimension."""
    if dim.type not in ("position", "camera") or dim.fold or draw(st.booleans()):
        return dim
    others = [
        other for other in drawn.dimensions[:-2] if other.type not in ("position", "camera") and other.count is not None
    ]
    coords: list[Position | Camera] = []
    for item in dim.coords or ():
        counts: dict[str, int] = {}
        lists: dict[str, Any] = {}
        for other in others:
            what = draw(st.sampled_from(["all", "all", "count", "list"]))
            names = [getattr(coord, "name", coord) for coord in other.coords or ()]
            names = [name for name in names if isinstance(name, str)]
            count = draw(st.integers(1, other.count or 1))
            if what == "count":
                counts[other.name] = count
            elif what == "list" and dim.type == "position" and other.type in ("space", "time"):
                lists[other.name] = [float(place) for place in range(7, 7 + count)]
            elif what == "list" and dim.type == "position" and len(set(names)) == other.count:
                lists[other.name] = draw(st.permutations(names))[:count]
        if isinstance(item, Position):
            coords.append(evolve(item, counts=counts, coords=lists))
        elif isinstance(item, Camera):
            coords.append(evolve(item, counts=counts))
    return evolve(dim, coords=tuple(coords))


def _selectors(dim: Dimension) -> SearchStrategy[Any]:
    size = dim.count or 6
    index = st.integers(0 if dim.count is None else -size, size - 1)
    step = st.tuples(st.integers(0, size - 1), st.integers(1, 3)).map(lambda pair: f"{pair[0]}::{pair[1]}")
    until = st.integers(1, size).map(lambda stop: f":{stop}")
    single = index | step | until
    names = [getattr(coord, "name", coord) for coord in dim.coords or ()]
    if names := [name for name in names if isinstance(name, str)]:
        single = single | st.sampled_from(names)
    return single | st.lists(index, min_size=1, max_size=3).map(tuple)


@st.composite
def _rules(draw: DrawFn, drawn: AcquisitionSettings) -> Omit:
    loops = drawn.dimensions[:-2]
    some = st.lists(st.sampled_from(loops), max_size=2, unique_by=lambda dim: dim.name)
    where, unless = ({dim.name: draw(_selectors(dim)) for dim in draw(some)} for _ in range(2))
    return Omit(where=where, unless=unless) if where or unless else Omit(where={loops[0].name: 0})


def _does_something(before: AcquisitionSettings, after: AcquisitionSettings) -> bool:
    """Return whether the last rule omits some frames, leaves some, and spares some if it says so."""
    *_, rule = after.omit
    alone = evolve(before, omit=(*before.omit, Omit(where=rule.where, unless={}))) if rule.where else None
    counted = [_frames(before), _frames(after), _frames(alone) if alone else 0]
    return counted[0] > counted[1] > 0 and (not rule.unless or counted[1] > counted[2])


def _frames(settings: AcquisitionSettings) -> int:
    if settings.num_frames is not None:
        return sum(1 for _ in planned(settings))
    # The same number of turns for all, however many of them are omitted.
    outer = settings.dimensions[0].name
    cut = evolve(settings, dimensions=(evolve(settings.dimensions[0], count=_ROUNDS), *settings.dimensions[1:]))
    came = list(planned(cut))
    # What goes on without end must not end by rule: something is left of the last rounds.
    return len(came) if any(arrival.loops[outer] >= _ROUNDS - _LAST for arrival in came) else 0


@st.composite
def _listed(draw: DrawFn, drawn: AcquisitionSettings) -> Frames:
    names = [dim.name for dim in drawn.dimensions[:-2]]
    every = [[arrival.loops[name] for name in names] for arrival in planned(drawn)]
    some = draw(st.permutations(every))[: draw(st.integers(1, len(every)))]
    depths = draw(st.none() | st.just([0.5 * number for number in range(len(some))]))
    return Frames(index=np.array(some, np.int64).reshape(len(some), len(names)), position_z=depths)
