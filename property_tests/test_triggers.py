"""Laws of triggers: they are what nested loops would do, their cycles are the same rows, their cost is a sum of moves.

Where something is, is said here a second time, in the dullest way: for one frame, in floating point.
"""

from __future__ import annotations

from itertools import islice
from math import hypot, isclose, isnan, nan
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ome_writers import AcquisitionSettings, Channel, Cost, Dimension, Plan, compile, cost, cycles, order
from ome_writers.testing.model import Arrival, arrivals, axes_and_fans
from ome_writers.testing.strategies import settings

LENGTHS = {None: 1.0, "micrometer": 1.0, "nanometer": 1e-3, "angstrom": 1e-4, "meter": 1e6}
SIZES = {**LENGTHS, "second": 1.0, "millisecond": 1e-3, "minute": 60.0, "hour": 3600.0}
"""Units in micrometers, or in seconds."""
ENDLESS = 50
"""How many rows are looked at of a plan without end."""


def looked_at(plan: Plan) -> int:
    return ENDLESS if plan.frames is None else plan.frames


def place(dim: Dimension, index: int) -> float | None:
    """Return where an element of a loop lies, in the unit of the dimension, `None` if nobody says."""
    if dim.coords:
        return float(dim.coords[index])  # type: ignore[arg-type]
    if dim.scale is not None:
        return (dim.translation or 0.0) + index * dim.scale
    return dim.translation if dim.count == 1 else None


def placed(dims: list[Dimension], arrival: Arrival, offset: float | None = None) -> float:
    """Return the sum of what loops and an offset say, NaN if none says anything, or one that counts does not."""
    said = [] if offset is None else [offset]
    for dim in dims:
        found = place(dim, arrival.loops[dim.name])
        if found is None and dim.count != 1:
            return nan
        said += [] if found is None else [found * SIZES[dim.unit]]
    return sum(said) if said else nan


def stood(settings: AcquisitionSettings, arrival: Arrival) -> dict[str, float]:
    """Return the columns of a frame as the settings say them."""
    loops, position = settings.dimensions[:-2], settings.positions[arrival.position]
    times = [dim for dim in loops if dim.type == "time"]
    depths = [dim for dim in loops if dim.type == "space"]
    channels = [dim for dim in loops if dim.type == "channel" and dim.count is not None]
    y, x = settings.frame_dimensions
    along = next((dim for dim in axes_and_fans(settings)[0] if dim.type == "space"), x)
    channel = channel_of(settings, arrival)
    bottom = None if position.z_coord is None else position.z_coord * SIZES[along.unit]
    return {
        "frame": arrival.frame,
        "position": arrival.position,
        "time": placed(times, arrival),
        "x": nan if position.x_coord is None else position.x_coord * SIZES[x.unit],
        "y": nan if position.y_coord is None else position.y_coord * SIZES[y.unit],
        "z": placed(depths, arrival, bottom) + offset(settings, arrival),
        "channel": arrival.loops[channels[0].name] if channels else 0,
        "camera": 0,
        "exposure": nan if channel.exposure_time is None else channel.exposure_time,
    }


def channel_of(settings: AcquisitionSettings, arrival: Arrival) -> Channel:
    """Return the channel of a frame."""
    channels = [dim for dim in settings.dimensions[:-2] if dim.type == "channel" and dim.count is not None]
    named: Any = channels[0].coords if channels else None
    return named[arrival.loops[channels[0].name]] if named else Channel(name="any")


def offset(settings: AcquisitionSettings, arrival: Arrival) -> float:
    """Return how far the channel of a frame is moved in z, in micrometers."""
    *_, x = settings.frame_dimensions
    along = next((dim for dim in axes_and_fans(settings)[0] if dim.type == "space"), x)
    # A step is a whole number of picometers.
    return round((channel_of(settings, arrival).z_offset or 0.0) * SIZES[along.unit], 6)


def moves(settings: AcquisitionSettings, came: list[Arrival], table: Any) -> list[dict[str, float]]:
    """Return what moves before each frame but the first."""
    loops = settings.dimensions[:-2]
    out = []
    for (before, old), (after, new) in zip(
        zip(came[:-1], table[:-1], strict=True), zip(came[1:], table[1:], strict=True), strict=True
    ):
        turned = {dim.type for dim in loops if before.loops[dim.name] != after.loops[dim.name]}
        went = before.position != after.position
        old_offset, new_offset = (offset(settings, arrival) for arrival in (before, after))
        far = {}
        for axis in "xyz":
            a, b = old[axis], new[axis]
            if not isnan(a) and not isnan(b):
                far[axis] = b - a
            elif axis == "z":
                apart = 0.0 if went else new_offset - old_offset
                far[axis] = nan if "space" in turned or isnan(a) != isnan(b) else apart
            else:
                far[axis] = nan if went else 0.0
        out.append(
            {
                "time": "time" in turned,
                **{axis: far[axis] != 0 for axis in "xyz"},
                "channel": old["channel"] != new["channel"],
                "camera": False,
                "path": nan if isnan(far["x"]) or isnan(far["y"]) else hypot(far["x"], far["y"]),
                "travel": abs(far["z"]),
            }
        )
    return out


def written_out(found: tuple[Any, ...], frames: int) -> Any:
    """Return the first rows of cycles."""
    parts = []
    for cycle in found:
        left = frames - sum(map(len, parts))
        parts.append(cycle.expanded(-(-left // len(cycle.rows)) if cycle.repeats is None else None))
    return np.concatenate(parts)[:frames]


class TestTriggersAreLoops:
    """Row k says where everything is at the k-th turn of nested loops."""

    @given(settings())
    def test_columns(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        table = plan.triggers(0, looked_at(plan))
        expected = [stood(settings, arrival) for arrival in islice(arrivals(settings), looked_at(plan))]
        for name in ("frame", "position", "channel", "camera"):
            assert table[name].tolist() == [row[name] for row in expected]
        steps = [abs(dim.scale or 0) * SIZES[dim.unit] for dim in settings.dimensions[:-2] if dim.type != "other"]
        for name in ("time", "x", "y", "z", "exposure"):
            # Coordinates that are even to a millionth of a step are taken as even; a step is a whole number.
            noise = 1e-6 * (len(table) + max(steps, default=0))
            assert np.allclose(table[name], [row[name] for row in expected], rtol=1e-8, atol=noise, equal_nan=True)

    @given(settings(), st.data())
    def test_stretches(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        stop = data.draw(st.integers(0, looked_at(plan)))
        start = data.draw(st.integers(0, stop))
        assert plan.triggers(start, stop).tobytes() == plan.triggers(0, stop)[start:].tobytes()
        assert plan.changes(start, stop).tobytes() == plan.changes(0, stop)[start:].tobytes()


class TestCyclesAreTheTable:
    """Written out one after the other, cycles are the triggers, bit for bit."""

    @given(settings(max_frames=200, max_loops=5), st.integers(1, 20), st.integers(0, 60))
    def test_written_out(self, settings: AcquisitionSettings, body: int, most: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            # As the tables of long plans are kept.
            patch.setattr(order, "_BODY", body)
            patch.setattr(cycles, "_MOST", most)
            plan = compile(settings)
            found = plan.cycles()
        frames = looked_at(plan)
        assert written_out(found, frames).tobytes() == plan.triggers(0, frames).tobytes()
        assert [cycle.repeats is None for cycle in found] == [False] * (len(found) - 1) + [plan.frames is None]

    @given(settings(unbounded=False), st.data())
    def test_of_a_part(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        loops = settings.dimensions[:-2]
        if loops:
            dim = data.draw(st.sampled_from(loops))
            plan = plan.select(**{dim.name: data.draw(st.lists(st.integers(0, (dim.count or 1) - 1), min_size=1))})
        plan = plan.rest(data.draw(st.integers(0, (plan.frames or 1) - 1)))
        assert written_out(plan.cycles(), plan.frames or 0).tobytes() == plan.triggers().tobytes()

    @given(settings(unbounded=True), st.integers(0, 30))
    def test_of_the_rest_of_a_plan_without_end(self, settings: AcquisitionSettings, cursor: int) -> None:
        plan = compile(settings).rest(cursor)
        assert written_out(plan.cycles(), ENDLESS).tobytes() == plan.triggers(0, ENDLESS).tobytes()

    @given(settings(max_frames=100))
    def test_none_could_be_shorter(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        found = plan.cycles()
        frames = ENDLESS if plan.frames is None else plan.frames
        assert sum(len(cycle.rows) for cycle in found) <= max(frames, len(found[0].rows))
        if len(found) == 1 and found[0].repeats is None:
            for shorter in range(1, len(found[0].rows)):
                if len(found[0].rows) % shorter == 0:
                    assert not repeats_after(found[0].expanded(2), shorter)


def repeats_after(table: Any, lag: int) -> bool:
    """Return whether rows are those `lag` rows before, moved by the same amount throughout."""
    for name in table.dtype.names:
        column = table[name]
        if (np.isnan(column[lag:]) != np.isnan(column[:-lag])).any():
            return False
        far = column[lag:] - column[:-lag]
        far = far[~np.isnan(far)]
        if not np.allclose(far, far[:1]) or (name in ("channel", "camera") and far.any()):
            return False
    return True


class TestChangesAreDifferences:
    """A device moves before a frame if its column differs from that of the frame before."""

    @given(settings())
    def test_changes(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        frames = looked_at(plan)
        found = plan.changes(0, frames)
        expected = moves(settings, list(islice(arrivals(settings), frames)), plan.triggers(0, frames))
        assert found["frame"].tolist() == list(range(frames))
        assert not any(found[0].tolist()[1:])
        for row, by_hand in zip(found[1:], expected, strict=True):
            for name in ("time", "x", "y", "z", "channel", "camera"):
                assert row[name] == by_hand[name], name
            for name in ("path", "travel"):
                assert np.isclose(row[name], by_hand[name], rtol=1e-6, atol=2e-6, equal_nan=True), name


class TestCostIsASum:
    """A cost is the sum of what moves before every frame but the first."""

    @given(settings(max_frames=200, max_loops=5), st.integers(1, 20))
    def test_sum(self, settings: AcquisitionSettings, body: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(order, "_BODY", body)
            plan = compile(settings)
        found = cost(plan)
        if plan.frames is None:
            assert_sum(found, plan.changes(1, found.frames + 1), found.frames)
        else:
            assert_sum(found, plan.changes(), plan.frames)

    @given(settings(unbounded=False), st.data())
    def test_of_a_part(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        plan = plan.rest(data.draw(st.integers(0, plan.frames or 0)))
        assert_sum(cost(plan), plan.changes(), plan.frames)

    @given(settings(unbounded=True), st.integers(0, 30))
    def test_a_turn_costs_the_same_wherever_one_begins(self, settings: AcquisitionSettings, cursor: int) -> None:
        plan = compile(settings)
        whole, rest = cost(plan), cost(plan.rest(cursor))
        assert isclose(rest.stage_path, whole.stage_path, rel_tol=1e-9, abs_tol=1e-9) or isnan(whole.stage_path)
        assert isclose(rest.z_travel, whole.z_travel, rel_tol=1e-9, abs_tol=1e-9) or isnan(whole.z_travel)
        assert evolve(rest, stage_path=0, z_travel=0) == evolve(whole, stage_path=0, z_travel=0)


def assert_sum(found: Cost, changes: Any, frames: int | None) -> None:
    assert found.frames == frames
    assert found.time_points == changes["time"].sum()
    assert found.stage_moves == (changes["x"] | changes["y"]).sum()
    assert found.z_moves == changes["z"].sum()
    assert found.channel_changes == changes["channel"].sum()
    assert found.camera_changes == changes["camera"].sum()
    assert np.isclose(found.stage_path, changes["path"].sum(), rtol=1e-9, equal_nan=True)
    assert np.isclose(found.z_travel, changes["travel"].sum(), rtol=1e-9, equal_nan=True)
