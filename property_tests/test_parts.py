"""Laws of parts: what is selected or split off a plan are rows of the whole."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ome_writers import AcquisitionSettings, Dimension, Plan, compile
from ome_writers.errors import PlanError
from ome_writers.layout import Unit
from ome_writers.testing.model import Arrival, arrivals
from ome_writers.testing.strategies import settings

_ENDLESS = 50
Index = int | str | slice | list[int]


@st.composite
def plans_with_loops(draw: st.DrawFn, *, unbounded: bool | None = None) -> tuple[Plan, Dimension]:
    """Draw a plan and one of its bounded loops."""
    drawn = draw(settings(unbounded=unbounded).filter(lambda drawn: any(dim.count for dim in drawn.dimensions[:-2])))
    return compile(drawn), draw(st.sampled_from([dim for dim in drawn.dimensions[:-2] if dim.count]))


@st.composite
def indices(draw: st.DrawFn, count: int) -> tuple[Index, set[int]]:
    """Draw what may be asked of a loop, and which of its indices that means."""
    kind = draw(st.sampled_from(["index", "backwards", "list", "slice"]))
    if kind == "index":
        index = draw(st.integers(0, count - 1))
        return index, {index}
    if kind == "backwards":
        index = draw(st.integers(-count, -1))
        return index, {count + index}
    if kind == "list":
        listed = draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True))
        return listed, set(listed)
    step = draw(st.slices(count))
    return step, set(list(range(count))[step])


def frames_of(plan: Plan, frames: int | None) -> list[int]:
    return [int(frame) for frame in plan.rows(0, frames)["frame"]]


def came(plan: Plan) -> list[Arrival]:
    return list(islice(arrivals(plan.settings), _ENDLESS if plan.frames is None else plan.frames))


class TestSelect:
    """To drop part of a loop is to mask its rows."""

    @given(plans_with_loops(), st.data())
    def test_masks(self, drawn: tuple[Plan, Dimension], data: st.DataObject) -> None:
        plan, dim = drawn
        asked, meant = data.draw(indices(dim.count or 1))
        expected = [arrival.frame for arrival in came(plan) if arrival.loops[dim.name] in meant]
        part = plan.select(**{dim.name: asked})
        if plan.frames is not None:
            assert part.frames == len(expected)
        assert frames_of(part, len(expected)) == expected
        assert part.layout == plan.layout

    @given(plans_with_loops(unbounded=False), st.data())
    def test_a_part_keeps_its_rows(self, drawn: tuple[Plan, Dimension], data: st.DataObject) -> None:
        plan, dim = drawn
        asked, _ = data.draw(indices(dim.count or 1))
        part = plan.select(**{dim.name: asked})
        kept = set(frames_of(part, None))
        assert np.array_equal(part.table, plan.table[[frame in kept for frame in frames_of(plan, None)]])

    @given(plans_with_loops(), st.data())
    def test_by_several_loops_is_one_after_the_other(self, drawn: tuple[Plan, Dimension], data: st.DataObject) -> None:
        plan, dim = drawn
        other = data.draw(st.sampled_from([loop for loop in plan.settings.dimensions[:-2] if loop.count]))
        asked = {loop.name: data.draw(indices(loop.count or 1))[0] for loop in (dim, other)}
        once, twice = plan.select(**asked), plan
        for name, index in asked.items():
            twice = twice.select(**{name: index})
        frames = 20 if once.frames is None else once.frames
        assert frames_of(once, frames) == frames_of(twice, frames)

    @given(plans_with_loops(unbounded=True), st.integers(0, 3), st.integers(0, 3))
    def test_a_loop_without_end_can_be_cut(self, drawn: tuple[Plan, Dimension], start: int, length: int) -> None:
        plan, _ = drawn
        first = plan.settings.dimensions[0]
        part = plan.select(**{first.name: slice(start, start + length)})
        expected = []
        for arrival in arrivals(plan.settings):
            if arrival.loops[first.name] >= start + length:
                break
            if arrival.loops[first.name] >= start:
                expected.append(arrival.frame)
        assert frames_of(part, None) == expected

    @given(settings(), st.data())
    def test_by_name(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        named = [dim for dim in plan.settings.dimensions[:-2] if dim.coords and dim.type in ("channel", "position")]
        for dim in named:
            labels = [coordinate.name for coordinate in dim.coords or ()]
            label = data.draw(st.sampled_from(labels))
            expected = [arrival.frame for arrival in came(plan) if labels[arrival.loops[dim.name]] == label]
            assert frames_of(plan.select(**{dim.name: label}), len(expected)) == expected


class TestSplit:
    """The parts of a split plan share out its frames, and no block lies in two of them."""

    @given(settings(unbounded=False), st.integers(1, 8), st.sampled_from(["frame", "chunk", "shard"]), st.data())
    def test_partition(self, settings: AcquisitionSettings, number: int, unit: Unit, data: st.DataObject) -> None:
        plan = compile(settings)
        begin = data.draw(st.integers(0, plan.frames or 0))
        parts = plan.rest(begin).split(number, unit)
        shares = [frames_of(part, None) for part in parts]
        assert all(share == sorted(share) and share for share in shares)
        assert sorted(frame for share in shares for frame in share) == list(range(begin, plan.frames or 0))
        homes: dict[tuple[int, ...], int] = {}
        for number_, share in enumerate(shares):
            for frame in share:
                assert homes.setdefault(block_of(plan, frame, unit), number_) == number_
        assert len(parts) == min(number, len(homes))

    @given(settings(unbounded=True), st.integers(1, 8))
    def test_a_plan_without_end_has_no_parts(self, settings: AcquisitionSettings, number: int) -> None:
        with pytest.raises(PlanError):
            compile(settings).split(number)


def block_of(plan: Plan, frame: int, unit: Unit) -> tuple[int, ...]:
    row = plan.rows(frame, frame + 1)[0]
    array = plan.layout.arrays[int(row["array"])]
    index = row["index"].tolist()
    if unit == "frame":
        return (int(row["array"]), *index)
    size = array.shard_shape if unit == "shard" and array.shard_shape else array.chunk_shape
    return (int(row["array"]), *(place // length for place, length in zip(index, size[:-2], strict=True)))
