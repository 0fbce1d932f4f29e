"""Given limits, this answers: what useq sequences could there be? Hypothesis strategies, of both versions of useq.

Whatever useq takes is drawn: regular loops, channels that leave things out, sub-sequences of anything, grids by
chance.
What useq refuses to build is drawn anew.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import useq
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from useq import v2


def _built(make: Callable[..., Any], **given: Any) -> Any:
    """Return a part of a sequence, unless useq refuses it; of what it ignores it only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(**given)
        except ValueError:
            reject()


_MICRONS = st.sampled_from([-40.0, -1.5, 0.0, 0.25, 10.0])
_SOME_MICRONS = st.none() | _MICRONS
_STEPS = st.sampled_from([0.0, 0.5, 1.0, 1.3])
_UPWARDS = st.booleans()
_FIELD: dict[str, Any] = {"fov_width": 4.0, "fov_height": 3.0}


@st.composite
def _channels(draw: DrawFn) -> tuple[useq.Channel, ...]:
    plain = draw(st.booleans())
    every = st.just(1) if plain else st.integers(1, 3)
    stack = st.just(True) if plain else st.booleans()  # noqa: FBT003 - a value
    one = st.builds(
        useq.Channel,
        config=st.sampled_from("ABC"),
        group=st.sampled_from(["Channel", "Camera"]),
        acquire_every=every,
        do_stack=stack,
        z_offset=st.sampled_from([0.0, 0.0, 0.7]),
        exposure=st.sampled_from([None, 20.0, 33.1]),
    )
    return tuple(draw(st.lists(one, max_size=3)))


def _z_plans() -> SearchStrategy[Any]:
    lists = st.lists(_MICRONS, min_size=1, max_size=3)
    spans = st.sampled_from([0.0, 1.0, 2.5])
    return st.one_of(
        st.builds(useq.ZRangeAround, range=spans, step=_STEPS, go_up=_UPWARDS),
        st.builds(useq.ZAboveBelow, above=spans, below=spans, step=st.sampled_from([1.0, 2.0]), go_up=_UPWARDS),
        st.builds(useq.ZTopBottom, top=st.just(3.0), bottom=_MICRONS.filter(lambda z: z in (0.0, 0.25)), step=_STEPS),
        st.builds(useq.ZRelativePositions, relative=lists, go_up=_UPWARDS),
        st.builds(useq.ZAbsolutePositions, absolute=lists, go_up=_UPWARDS),
    )


def _time_plans() -> SearchStrategy[Any]:
    single = st.one_of(
        st.builds(useq.TIntervalLoops, interval=st.sampled_from([0, 0.5, 3]), loops=st.integers(1, 4)),
        st.builds(useq.TDurationLoops, duration=st.sampled_from([1, 6]), loops=st.integers(2, 4)),
        st.builds(useq.TIntervalDuration, interval=st.sampled_from([1, 2]), duration=st.sampled_from([1, 4])),
    )
    return single | st.builds(useq.MultiPhaseTimePlan, phases=st.lists(single, min_size=1, max_size=2))


def _relative_grids() -> SearchStrategy[Any]:
    modes = st.sampled_from(list(useq.OrderMode))
    few = st.integers(1, 2)
    return st.one_of(
        st.builds(useq.GridRowsColumns, rows=few, columns=few, mode=modes, overlap=st.sampled_from([0, 10])),
        st.builds(useq.GridWidthHeight, width=st.just(7.0), height=st.sampled_from([2.0, 5.0]), mode=modes,
                  fov_width=st.just(4.0), fov_height=st.just(3.0)),
        st.builds(useq.RandomPoints, num_points=few, random_seed=st.sampled_from([None, 1]), max_width=st.just(9.0)),
        st.builds(useq.RelativePosition, x=_MICRONS, y=_MICRONS),
    )  # fmt: skip


def _absolute_grids() -> SearchStrategy[Any]:
    edges = st.builds(
        useq.GridFromEdges, top=st.just(10.0), bottom=st.sampled_from([5.0, 8.0]), left=st.just(0.0),
        right=st.sampled_from([3.0, 8.0]), fov_width=st.just(4.0), fov_height=st.just(3.0),
    )  # fmt: skip
    corners = [(0.0, 0.0), (9.0, 0.0), (0.0, 5.0)]
    return edges | st.just(useq.GridFromPolygon(vertices=corners, **_FIELD))


def _axis_orders() -> SearchStrategy[tuple[str, ...]]:
    usual = st.sampled_from(["tpgcz", "tpgzc", "ptgcz", "pgtcz", "tpcgz", "tpczg", "tgpcz", "tczpg", "gcpzt", "tpcz"])
    return (usual | st.permutations("tpgcz")).map(tuple)


def _autofocus() -> SearchStrategy[Any]:
    return st.builds(useq.AxesBasedAF, axes=st.sampled_from(["p", "t", "pc", "g"]).map(tuple))


@st.composite
def _sub_sequences(draw: DrawFn) -> Any:
    """Draw a sub-sequence: of nothing, of a grid only, or of anything."""
    kind = draw(st.sampled_from(["nothing", "grid", "grid", "anything"]))
    given: dict[str, Any] = {"axis_order": draw(_axis_orders())}
    if kind != "nothing":
        given["grid_plan"] = draw(
            _relative_grids() | _absolute_grids() | (st.none() if kind == "anything" else st.nothing())
        )
    if kind == "anything":
        given["z_plan"] = draw(st.none() | _z_plans())
        given["time_plan"] = draw(st.none() | _time_plans())
        given["channels"] = draw(_channels())
    if draw(st.sampled_from([False, False, False, True])):
        given["autofocus_plan"] = draw(_autofocus())
    return _built(useq.MDASequence, **given)


@st.composite
def _stage_positions(draw: DrawFn) -> tuple[useq.Position, ...]:
    one = st.builds(
        useq.Position, x=_SOME_MICRONS, y=_SOME_MICRONS, z=_SOME_MICRONS, name=st.sampled_from([None, "A", "B"]),
    )  # fmt: skip
    given = draw(st.lists(one, min_size=1, max_size=3))
    if draw(st.booleans()):  # the same for all
        sub = draw(_sub_sequences())
        return tuple(_built(position.replace, sequence=copy.deepcopy(sub)) for position in given)
    return tuple(_built(position.replace, sequence=draw(st.none() | _sub_sequences())) for position in given)


def _well_plates() -> SearchStrategy[useq.WellPlatePlan]:
    return st.builds(
        useq.WellPlatePlan,
        plate=st.sampled_from(["96-well", "6-well"]),
        a1_center_xy=st.just((100.0, 50.0)),
        rotation=st.sampled_from([None, 5.0]),
        selected_wells=st.sampled_from([([0], [1]), ([0, 1], [2, 1]), ([1, 1], [0, 0])]),
        well_points_plan=_relative_grids(),
    )


@st.composite
def sequences(draw: DrawFn) -> Any:
    """Draw a sequence of up to a few hundred events, regular or not."""
    given: dict[str, Any] = {
        "axis_order": draw(_axis_orders()),
        "channels": draw(_channels()),
        "z_plan": draw(st.none() | _z_plans()),
        "time_plan": draw(st.none() | _time_plans()),
        "grid_plan": draw(st.none() | st.none() | _relative_grids() | _absolute_grids()),
        "stage_positions": draw(st.just(()) | _stage_positions() | _stage_positions() | _well_plates()),
        "autofocus_plan": draw(st.none() | st.none() | _autofocus()),
    }
    return _built(useq.MDASequence, **given)


# ── of useq.v2
# ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _axes_of_v2(keys: tuple[str, ...]) -> SearchStrategy[tuple[Any, ...]]:
    few = st.integers(1, 2)
    modes = st.sampled_from(list(useq.OrderMode))
    spans = st.sampled_from([0.0, 1.0, 2.5])
    numbers = st.lists(_MICRONS, min_size=1, max_size=3)
    intervals = [
        st.builds(v2.TIntervalLoops, interval=st.sampled_from([0, 0.5]), loops=st.integers(1, 3)),
        st.builds(v2.TDurationLoops, duration=st.just(6), loops=st.integers(1, 3)),
        st.builds(v2.TIntervalDuration, interval=st.sampled_from([1, 2]), duration=st.just(3)),
    ]
    made: dict[str, SearchStrategy[Any]] = {
        "t": st.one_of(*intervals)
        | st.builds(v2.MultiPhaseTimePlan, phases=st.lists(st.one_of(*intervals), min_size=1, max_size=2)),
        "c": _channels().filter(bool).map(v2.ChannelsPlan.model_validate),
        "z": st.one_of(
            st.builds(v2.ZRangeAround, range=spans, step=st.sampled_from([0.5, 1.0]), go_up=_UPWARDS),
            st.builds(v2.ZTopBottom, top=st.just(3.0), bottom=st.just(1.0), step=st.just(1.0)),
            st.builds(v2.ZRelativePositions, relative=numbers),
            st.builds(v2.ZAbsolutePositions, absolute=numbers),
        ),
        "g": st.one_of(
            st.builds(v2.GridRowsColumns, rows=few, columns=few, mode=modes, fov_width=st.just(4.0), fov_height=few),
            st.builds(v2.RandomPoints, num_points=few, random_seed=st.just(1), max_width=st.just(9.0)),
            st.just(v2.GridFromEdges(top=10, bottom=5, left=0, right=8, **_FIELD)),
        ),
        "q": st.builds(v2.SimpleValueAxis, axis_key=st.just("q"), values=st.sampled_from([[1], ["a", "b"]])),
    }
    return st.tuples(*(made[key] for key in keys))


@st.composite
def _nested_v2(draw: DrawFn) -> Any:
    """Draw a sequence that a stage position brings along."""
    keys = tuple(draw(st.lists(st.sampled_from("tczgq"), max_size=2, unique=True)))
    place = _built(v2.Position, x=draw(_SOME_MICRONS), y=draw(_SOME_MICRONS), z=draw(_SOME_MICRONS))
    return _built(v2.MDASequence, value=place, axes=draw(_axes_of_v2(keys)))


@st.composite
def sequences_v2(draw: DrawFn, *, nested: bool | None = None) -> Any:
    """Draw a sequence of `useq.v2`; `nested`: whether positions bring sequences along."""
    keys = tuple(draw(st.permutations("tpczgq")))[: draw(st.integers(1, 5))]
    axes = dict(zip(keys, draw(_axes_of_v2(tuple(key for key in keys if key != "p"))), strict=False))
    if "p" in keys:
        names = st.sampled_from([None, "A"])
        one = st.builds(v2.Position, x=_SOME_MICRONS, y=_SOME_MICRONS, z=_SOME_MICRONS, name=names)
        brings = draw(st.booleans()) if nested is None else nested
        places = draw(st.lists(one | _nested_v2() if brings else one, min_size=1, max_size=3))
        axes = dict(zip([key for key in keys if key != "p"], axes.values(), strict=True)) | {
            "p": v2.StagePositions.model_validate(places)
        }
    else:
        axes = dict(zip(keys, axes.values(), strict=True))
    given: dict[str, Any] = {"axes": tuple(axes[key] for key in keys)}
    if draw(st.booleans()):
        given["axis_order"] = tuple(draw(st.permutations(keys)))
    if draw(st.sampled_from([False, False, True])):
        given["autofocus_plan"] = draw(_autofocus())
    return _built(v2.MDASequence, **given)
