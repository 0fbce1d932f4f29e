"""Laws of stretches: any piece of a plan is that piece of the whole, and how far it reaches is read off its rows."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ome_writers import AcquisitionSettings, Plan, compile, order
from ome_writers.testing.model import arrivals, axes_and_fans, image_numbers
from ome_writers.testing.strategies import settings

_ENDLESS = 50


@st.composite
def plans(draw: st.DrawFn, *, unbounded: bool | None = None) -> Plan:
    """Draw a plan, kept in short or written out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_BODY", draw(st.sampled_from([1, 3, 10, 16_384])))
        return compile(draw(settings(unbounded=unbounded)))


@st.composite
def cuts(draw: st.DrawFn, plan: Plan, number: int) -> list[int]:
    end = _ENDLESS if plan.frames is None else plan.frames
    return sorted(draw(st.lists(st.integers(0, end), min_size=number, max_size=number)))


class TestBatchesConcatenate:
    """`rows(a, c)` is `rows(a, b)` and then `rows(b, c)`."""

    @given(plans(), st.data())
    def test_concatenate(self, plan: Plan, data: st.DataObject) -> None:
        a, b, c = data.draw(cuts(plan, 3))
        assert np.array_equal(plan.rows(a, c), np.concatenate([plan.rows(a, b), plan.rows(b, c)]))

    @given(plans(), st.data())
    def test_a_stretch_is_a_slice(self, plan: Plan, data: st.DataObject) -> None:
        a, b, c = data.draw(cuts(plan, 3))
        assert np.array_equal(plan.rows(a, b), plan.rows(0, c)[a:b])

    @given(plans(unbounded=False), st.integers(1, 5))
    def test_no_stretch_leaves_the_plan(self, plan: Plan, beyond: int) -> None:
        frames = plan.frames or 0
        stretches = [(0, frames + beyond), (frames + beyond, None), (-beyond, frames), (frames, frames - beyond)]
        for start, stop in stretches:
            with pytest.raises(IndexError):
                plan.rows(start, stop)

    @given(plans(unbounded=True))
    def test_a_plan_without_end_has_no_last_row(self, plan: Plan) -> None:
        with pytest.raises(IndexError):
            plan.rows(3)


class TestUnboundedPrefix:
    """The beginning of a plan without end is the plan that ends there."""

    @given(settings(unbounded=True), st.integers(1, 6))
    def test_prefix(self, settings: AcquisitionSettings, rounds: int) -> None:
        first, *others = settings.dimensions
        ending = evolve(settings, dimensions=(evolve(first, count=rounds), *others))
        endless, bounded = compile(settings), compile(ending)
        frames = bounded.frames or 0
        # A loop without end takes the axis of a channel that has one; with an end it may fan out in its stead.
        if [dim.name for dim in axes_and_fans(settings)[0]] == [dim.name for dim in axes_and_fans(ending)[0]]:
            assert np.array_equal(endless.rows(0, frames), bounded.table)
        else:
            said = [[plan.locate(place).coordinates for place in range(frames)] for plan in (endless, bounded)]
            assert said[0] == said[1]


class TestExtent:
    """How far the arrays reach after k frames is 1 + the largest index among them; after the last it is the layout."""

    @given(plans(unbounded=False))
    def test_the_whole_is_the_layout(self, plan: Plan) -> None:
        assert [tuple(reached) for reached in plan.extent(plan.frames).tolist()] == [
            array.shape[:-2] for array in plan.layout.arrays
        ]
        assert plan.shapes(plan.frames) == tuple(array.shape for array in plan.layout.arrays)

    @given(plans(), st.data())
    def test_of_a_stretch(self, plan: Plan, data: st.DataObject) -> None:
        (cursor,) = data.draw(cuts(plan, 1))
        axes, fans = axes_and_fans(plan.settings)
        reached = [[0] * len(axes) for _ in image_numbers(fans)]
        for arrival in islice(arrivals(plan.settings), cursor):
            for axis, index in enumerate(arrival.index):
                reached[arrival.image][axis] = max(reached[arrival.image][axis], index + 1)
        assert plan.extent(cursor).tolist() == reached

    @given(plans(), st.data())
    def test_only_the_outermost_axis_shrinks(self, plan: Plan, data: st.DataObject) -> None:
        (cursor,) = data.draw(cuts(plan, 1))
        axes, _ = axes_and_fans(plan.settings)
        outermost = [dim.name for dim in plan.settings.dimensions[:-2] if dim in axes][:1]
        extent, shapes = plan.extent(cursor).tolist(), plan.shapes(cursor)
        for array, shape, reached in zip(plan.layout.arrays, shapes, extent, strict=True):
            for axis, name in enumerate(array.dimension_names):
                assert shape[axis] == (max(reached[axis], 1) if name in outermost else array.shape[axis])


class TestRest:
    """What is left after k frames is the tail of the table."""

    @given(plans(unbounded=False), st.data())
    def test_tail(self, plan: Plan, data: st.DataObject) -> None:
        (cursor,) = data.draw(cuts(plan, 1))
        rest = plan.rest(cursor)
        assert rest.frames == (plan.frames or 0) - cursor
        assert np.array_equal(rest.table, plan.table[cursor:])
        assert rest.layout == plan.layout

    @given(plans(unbounded=True), st.data())
    def test_tail_without_end(self, plan: Plan, data: st.DataObject) -> None:
        cursor, further = data.draw(cuts(plan, 2))
        rest = plan.rest(cursor)
        assert rest.frames is None
        assert np.array_equal(rest.rows(0, further), plan.rows(cursor, cursor + further))

    @given(plans(), st.data())
    def test_the_rest_of_the_rest(self, plan: Plan, data: st.DataObject) -> None:
        first, second = data.draw(cuts(plan, 2))
        step = second - first
        twice, once = plan.rest(first).rest(step), plan.rest(second)
        frames = 20 if once.frames is None else once.frames
        assert np.array_equal(twice.rows(0, frames), once.rows(0, frames))
