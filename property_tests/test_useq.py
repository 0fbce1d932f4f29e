"""Laws of useq sequences: frame k of the plan is the k-th image event, and only what is irregular is refused.

The oracle is useq itself: the events of a deep copy of the sequence (an autofocus plan remembers what it has seen).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
import useq
from hypothesis import assume, event, given, reject
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ome_writers import AcquisitionSettings, Dimension, Plan, compile
from ome_writers.useq import IrregularSequenceError, useq_to_acquisition_settings

# ── sequences
# ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def built(make: Callable[..., Any], **given: Any) -> Any:
    """Return a part of a sequence, unless useq refuses it; of what it ignores it only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(**given)
        except ValueError:
            reject()


MICRONS = st.sampled_from([-40.0, -1.5, 0.0, 0.25, 10.0])
SOME_MICRONS = st.none() | MICRONS
STEPS = st.sampled_from([0.0, 0.5, 1.0, 1.3])
UPWARDS = st.booleans()
FIELD = {"fov_width": 4.0, "fov_height": 3.0}


@st.composite
def channels(draw: DrawFn) -> tuple[useq.Channel, ...]:
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
    )
    return tuple(draw(st.lists(one, max_size=3)))


def z_plans() -> SearchStrategy[Any]:
    lists = st.lists(MICRONS, min_size=1, max_size=3)
    spans = st.sampled_from([0.0, 1.0, 2.5])
    return st.one_of(
        st.builds(useq.ZRangeAround, range=spans, step=STEPS, go_up=UPWARDS),
        st.builds(useq.ZAboveBelow, above=spans, below=spans, step=st.sampled_from([1.0, 2.0]), go_up=UPWARDS),
        st.builds(useq.ZTopBottom, top=st.just(3.0), bottom=MICRONS.filter(lambda z: 0 <= z < 3), step=STEPS),
        st.builds(useq.ZRelativePositions, relative=lists, go_up=UPWARDS),
        st.builds(useq.ZAbsolutePositions, absolute=lists, go_up=UPWARDS),
    )


def time_plans() -> SearchStrategy[Any]:
    single = st.one_of(
        st.builds(useq.TIntervalLoops, interval=st.sampled_from([0, 0.5, 3]), loops=st.integers(1, 4)),
        st.builds(useq.TDurationLoops, duration=st.sampled_from([1, 6]), loops=st.integers(2, 4)),
        st.builds(useq.TIntervalDuration, interval=st.sampled_from([1, 2]), duration=st.sampled_from([1, 4])),
    )
    return single | st.builds(useq.MultiPhaseTimePlan, phases=st.lists(single, min_size=1, max_size=2))


def relative_grids() -> SearchStrategy[Any]:
    modes = st.sampled_from(list(useq.OrderMode))
    few = st.integers(1, 2)
    return st.one_of(
        st.builds(useq.GridRowsColumns, rows=few, columns=few, mode=modes, overlap=st.sampled_from([0, 10])),
        st.builds(useq.GridWidthHeight, width=st.just(7.0), height=st.sampled_from([2.0, 5.0]), mode=modes,
                  fov_width=st.just(4.0), fov_height=st.just(3.0)),
        st.builds(useq.RandomPoints, num_points=few, random_seed=st.sampled_from([None, 1]), max_width=st.just(9.0)),
        st.builds(useq.RelativePosition, x=MICRONS, y=MICRONS),
    )  # fmt: skip


def absolute_grids() -> SearchStrategy[Any]:
    edges = st.builds(
        useq.GridFromEdges, top=st.just(10.0), bottom=st.sampled_from([5.0, 8.0]), left=st.just(0.0),
        right=st.sampled_from([3.0, 8.0]), fov_width=st.just(4.0), fov_height=st.just(3.0),
    )  # fmt: skip
    corners = [(0.0, 0.0), (9.0, 0.0), (0.0, 5.0)]
    return edges | st.just(useq.GridFromPolygon(vertices=corners, **FIELD))


def axis_orders() -> SearchStrategy[tuple[str, ...]]:
    usual = st.sampled_from(["tpgcz", "tpgzc", "ptgcz", "pgtcz", "tpcgz", "tpczg", "tgpcz", "tczpg", "gcpzt", "tpcz"])
    return (usual | st.permutations("tpgcz")).map(tuple)


def autofocus() -> SearchStrategy[Any]:
    return st.builds(useq.AxesBasedAF, axes=st.sampled_from(["p", "t", "pc", "g"]).map(tuple))


@st.composite
def sub_sequences(draw: DrawFn) -> useq.MDASequence:
    """Draw a sub-sequence: of nothing, of a grid only, or of anything."""
    kind = draw(st.sampled_from(["nothing", "grid", "grid", "anything"]))
    given: dict[str, Any] = {"axis_order": draw(axis_orders())}
    if kind != "nothing":
        given["grid_plan"] = draw(
            relative_grids() | absolute_grids() | (st.none() if kind == "anything" else st.nothing())
        )
    if kind == "anything":
        given["z_plan"] = draw(st.none() | z_plans())
        given["time_plan"] = draw(st.none() | time_plans())
        given["channels"] = draw(channels())
    if draw(st.sampled_from([False, False, False, True])):
        given["autofocus_plan"] = draw(autofocus())
    return built(useq.MDASequence, **given)


@st.composite
def stage_positions(draw: DrawFn) -> tuple[useq.Position, ...]:
    one = st.builds(
        useq.Position, x=SOME_MICRONS, y=SOME_MICRONS, z=SOME_MICRONS, name=st.sampled_from([None, "A", "B"]),
    )  # fmt: skip
    given = draw(st.lists(one, min_size=1, max_size=3))
    if draw(st.booleans()):  # the same for all
        sub = draw(sub_sequences())
        return tuple(built(position.replace, sequence=copy.deepcopy(sub)) for position in given)
    return tuple(built(position.replace, sequence=draw(st.none() | sub_sequences())) for position in given)


def well_plates() -> SearchStrategy[useq.WellPlatePlan]:
    return st.builds(
        useq.WellPlatePlan,
        plate=st.sampled_from(["96-well", "6-well"]),
        a1_center_xy=st.just((100.0, 50.0)),
        rotation=st.sampled_from([None, 5.0]),
        selected_wells=st.sampled_from([([0], [1]), ([0, 1], [2, 1]), ([1, 1], [0, 0])]),
        well_points_plan=relative_grids(),
    )


@st.composite
def sequences(draw: DrawFn) -> useq.MDASequence:
    """Draw a sequence of up to a few hundred events, regular or not."""
    given: dict[str, Any] = {
        "axis_order": draw(axis_orders()),
        "channels": draw(channels()),
        "z_plan": draw(st.none() | z_plans()),
        "time_plan": draw(st.none() | time_plans()),
        "grid_plan": draw(st.none() | st.none() | relative_grids() | absolute_grids()),
        "stage_positions": draw(st.just(()) | stage_positions() | stage_positions() | well_plates()),
        "autofocus_plan": draw(st.none() | st.none() | autofocus()),
    }
    return built(useq.MDASequence, **given)


# ── the oracle
# ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def image_events(seq: useq.MDASequence) -> list[useq.MDAEvent]:
    """Return the events that take an image; none where useq itself cannot go through them."""
    with suppress(LookupError):
        return [event for event in copy.deepcopy(seq) if isinstance(event.action, useq.AcquireImage)]
    return []


def converted(seq: useq.MDASequence) -> AcquisitionSettings:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = useq_to_acquisition_settings(seq, image_width=2, image_height=1)
        return AcquisitionSettings(format="scratch", dtype="uint8", **found)


def frames_of(plan: Plan) -> Iterator[dict[str, int]]:
    """Yield the index of each frame in every loop, the position under `p`."""
    names = plan.layout.arrays[0].dimension_names[:-2]
    for row in plan.table:
        yield {"p": int(row["position"]), **dict(zip(names, row["index"].tolist(), strict=True))}


def place(dim: Dimension, index: int) -> float | None:
    """Return where an element lies, as far as the dimension says."""
    if dim.coords:
        return float(dim.coords[index])
    if dim.scale is None and dim.count != 1:
        return None
    return (dim.translation or 0.0) + index * (dim.scale or 0.0)


def says(told: float | None, came: float | None) -> bool:
    return told is None or (came is not None and told == pytest.approx(came, abs=1e-5))


def visit(event: useq.MDAEvent) -> tuple[int | None, int | None]:
    return event.index.get("p"), event.index.get("g")


def other_axes(event: useq.MDAEvent) -> dict[str, int]:
    return {axis: index for axis, index in event.index.items() if axis not in ("p", "g")}


def is_regular(events: list[useq.MDAEvent]) -> bool:
    """Return whether any nested loops deliver these events: outer ones, tours of positions, inner ones, members.

    Tries every way there is.
    """
    keys = [(visit(event), other_axes(event)) for event in events]
    axes = {axis for _, index in keys for axis in index}
    if not keys or any(set(index) != axes for _, index in keys):
        return False
    visits = list(dict.fromkeys(place for place, _ in keys))
    values = {axis: sorted({index[axis] for _, index in keys}) for axis in axes}
    came = [(place, tuple(sorted(index.items()))) for place, index in keys]
    if len(set(came)) < len(came) or len(came) != len(visits) * int(np.prod([len(v) for v in values.values()])):
        return False
    # Loops over one item may stand anywhere.
    loops = [axis for axis in sorted(axes) if len(values[axis]) > 1]
    came = [(place, tuple((axis, index[axis]) for axis in loops)) for place, index in keys]
    for order in permutations(loops):
        for cut in range(len(order) + 1):
            inside = int(np.prod([len(values[axis]) for axis in order[cut:]]))
            first = [place for place, _ in came[: len(visits) * inside]]
            for sizes in ([1] * len(visits), tour_sizes(first, visits, inside)):
                if list(nested(order[:cut], order[cut:], visits, sizes, values)) == came:
                    return True
    return False


def tour_sizes(first: list[Any], visits: list[Any], inside: int) -> list[int]:
    """Return the only sizes of tours with which the first round of the positions could have come."""
    sizes: list[int] = []
    while sum(sizes) < len(visits):
        begin = sum(sizes) * inside
        members = next((n for n in range(1, len(visits)) if first[begin] in first[begin + 1 : begin + n + 1]), None)
        if inside == 1 or members is None:
            members = 1 if inside == 1 else len(visits) - sum(sizes)
        sizes.append(min(members, len(visits) - sum(sizes)))
    return sizes


def nested(
    outer: tuple[str, ...], inner: tuple[str, ...], visits: list[Any], sizes: list[int], values: dict[str, list[int]]
) -> Iterator[tuple[Any, tuple[tuple[str, int], ...]]]:
    ends = np.cumsum([0, *sizes]).tolist()
    for around in turns(outer, values):
        for begin, end in pairwise(ends):
            for within in turns(inner, values):
                for place in visits[begin:end]:
                    yield place, tuple(sorted({**around, **within}.items()))


def turns(axes: tuple[str, ...], values: dict[str, list[int]]) -> Iterator[dict[str, int]]:
    if not axes:
        yield {}
        return
    for value in values[axes[0]]:
        for rest in turns(axes[1:], values):
            yield {axes[0]: value, **rest}


# ── laws
# ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(sequences())
def test_frames_are_the_image_events(seq: useq.MDASequence) -> None:
    try:
        settings = converted(seq)
    except IrregularSequenceError:
        event("refused")
        reject()
    events = image_events(seq)
    assume(events)  # a sequence without loops is one frame to us, and nothing to useq
    event(f"tours: {any(dim.tours for dim in settings.dimensions)}, positions: {min(len(settings.positions), 3)}")
    plan = compile(settings)
    assert plan.frames == len(events)
    dims = {dim.name: dim for dim in settings.dimensions}
    same: dict[tuple[str, Any], Any] = {}
    for frame, came in zip(frames_of(plan), events, strict=True):
        position = settings.positions[frame["p"]]
        # Equal indices are equal indices of the event, and others are others.
        ours_and_theirs = [(("p", frame["p"]), visit(came))] if "p" in dims else [(("p", 0), (None, None))]
        ours_and_theirs += [((axis, frame[axis]), came.index[axis]) for axis in other_axes(came)]
        assert set(other_axes(came)) == set(frame) - {"p"}
        for ours, theirs in ours_and_theirs:
            assert same.setdefault(ours, theirs) == theirs
            assert same.setdefault((f"{ours[0]} of useq", theirs), ours) == ours
        if "c" in frame:
            name = dims["c"].coords[frame["c"]].name
            assert name.split("_")[0].split(" ")[0] == came.channel.config
            assert came.channel.group in name or "(" not in name
        if "t" in frame:
            assert says(place(dims["t"], frame["t"]), came.min_start_time)
        for axis in "xy":
            assert says(getattr(position, f"{axis}_coord"), getattr(came, f"{axis}_pos"))
        depth = place(dims["z"], frame["z"]) if "z" in frame else None
        if depth is not None or position.z_coord is not None:
            # A channel's focus is corrected by its own offset, or by that of the channel around a sub-sequence.
            offsets = {0.0, *(channel.z_offset for channel in all_channels(seq))}
            assert any(says((depth or 0) + (position.z_coord or 0) + offset, came.z_pos) for offset in offsets)


def all_channels(seq: useq.MDASequence) -> list[useq.Channel]:
    subs = [position.sequence.channels for position in seq.stage_positions if position.sequence]
    return [*seq.channels, *(channel for sub in subs for channel in sub)]


@given(sequences())
def test_what_useq_knows_of_the_stage_is_told(seq: useq.MDASequence) -> None:
    plans = [seq.grid_plan, *(p.sequence.grid_plan for p in seq.stage_positions if p.sequence)]
    assume(all(getattr(plan, "random_seed", 0) is not None for plan in plans))
    try:
        settings = converted(seq)
    except IrregularSequenceError:
        reject()
    events = image_events(seq)
    assume(events)
    for frame, came in zip(frames_of(compile(settings)), events, strict=True):
        position = settings.positions[frame["p"]]
        assert (position.x_coord is None, position.y_coord is None) == (came.x_pos is None, came.y_pos is None)
        assert came.z_pos is None or "z" in frame or position.z_coord is not None


@given(sequences())
def test_only_what_is_irregular_is_refused(seq: useq.MDASequence) -> None:
    events = image_events(seq)
    refusal = None
    try:
        converted(seq)
    except IrregularSequenceError as error:
        refusal = str(error)
    event("accepted" if refusal is None else refusal.split(": ")[1][:25])
    if is_regular(events):
        # Two things could be told by indices alone, and are refused: positions that differ only in the items of their
        # loops, and a grid around the positions where one of them has a grid of its own and other loops run between.
        between = "".join(seq.axis_order).partition("g")[2].partition("p")[0]
        own = any(position.sequence and position.sequence.grid_plan for position in seq.stage_positions)
        assert refusal is None or "other items" in refusal or (between and own)
    else:
        assert refusal is not None or not events


@given(sequences())
def test_a_sequence_is_not_changed(seq: useq.MDASequence) -> None:
    before = seq.model_dump_json()
    try:
        first, second = converted(seq), converted(seq)
    except IrregularSequenceError:
        reject()
    assert seq.model_dump_json() == before
    assert first == second
