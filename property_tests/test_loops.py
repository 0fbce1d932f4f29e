"""Laws of the frame table: it is what nested loops would give. The oracle is `ome_writers.testing.model`."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ome_writers import AcquisitionSettings, Plan, compile, order
from ome_writers.testing.model import Arrival, arrivals, axes_and_fans, image_numbers
from ome_writers.testing.strategies import settings

_ENDLESS = 50
"""How many rows are looked at of a plan without end."""


def looked_at(plan: Plan) -> int:
    return _ENDLESS if plan.frames is None else plan.frames


def loops(settings: AcquisitionSettings, frames: int) -> list[Arrival]:
    return list(islice(arrivals(settings), frames))


def rows_of(plan: Plan, frames: int) -> list[tuple[int, int, int, tuple[int, ...]]]:
    return [(frame, position, array, tuple(index)) for frame, position, array, index in plan.rows(0, frames).tolist()]


def rows_from(came: list[Arrival]) -> list[tuple[int, int, int, tuple[int, ...]]]:
    return [(arrival.frame, arrival.position, arrival.image, arrival.index) for arrival in came]


class TestRowsAreLoops:
    """Row k of the table is the k-th turn of nested loops."""

    @given(settings())
    def test_rows(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        assert rows_of(plan, looked_at(plan)) == rows_from(loops(settings, looked_at(plan)))

    @given(settings(unbounded=False))
    def test_a_bounded_plan_has_as_many_rows_as_the_loops_have_turns(self, settings: AcquisitionSettings) -> None:
        assert compile(settings).frames == sum(1 for _ in arrivals(settings))

    @given(settings(snake=True))
    def test_every_loop_may_snake(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        assert rows_of(plan, looked_at(plan)) == rows_from(loops(settings, looked_at(plan)))

    @given(settings(max_loops=5, max_frames=200), st.integers(1, 20))
    def test_however_short_the_table_is_written(self, settings: AcquisitionSettings, body: int) -> None:
        # Tables this small are written out in full; with a smaller limit they are kept as those of long plans are.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(order, "_BODY", body)
            plan = compile(settings)
        assert rows_of(plan, looked_at(plan)) == rows_from(loops(settings, looked_at(plan)))


class TestLayoutIsLoops:
    """Each combination of the loops that fan out is an image, and each other loop an axis."""

    @given(settings())
    def test_arrays(self, settings: AcquisitionSettings) -> None:
        axes, fans = axes_and_fans(settings)
        frame = settings.frame_dimensions
        arrays = compile(settings).layout.arrays
        assert [array.image for array in arrays] == list(image_numbers(fans).values())
        for array, indices in zip(arrays, image_numbers(fans), strict=True):
            assert array.dimension_names == tuple(dim.name for dim in (*axes, *frame))
            assert array.shape == tuple(dim.count for dim in (*axes, *frame))
            chosen = {dim.name: index for dim, index in zip(fans, indices, strict=True)}
            positions = [dim.name for dim in fans if dim.type == "position"]
            assert array.position == (chosen.pop(positions[0]) if positions else 0)
            assert dict(array.fan) == chosen

    @given(settings(formats=["ome-zarr", "scratch"]))
    def test_no_two_arrays_share_a_path(self, settings: AcquisitionSettings) -> None:
        paths = [array.path.casefold() for array in compile(settings).layout.arrays]
        assert len(set(paths)) == len(paths)


class TestStorageOrder:
    """Storage order only permutes the columns of `index`."""

    @given(settings())
    def test_permutes_index(self, settings: AcquisitionSettings) -> None:
        stored, acquired = compile(settings), compile(evolve(settings, storage_order="acquisition"))
        frames = looked_at(stored)
        names, plain = (plan.layout.arrays[0].dimension_names[:-2] for plan in (stored, acquired))
        assert sorted(names) == sorted(plain)
        rows, unmoved = stored.rows(0, frames), acquired.rows(0, frames)
        for name in ("frame", "position", "array"):
            assert np.array_equal(rows[name], unmoved[name])
        for axis, name in enumerate(names):
            assert np.array_equal(rows["index"][:, axis], unmoved["index"][:, plain.index(name)])


class TestPlacesAreUnique:
    """No two frames go to the same place: `(array, index)` is unique."""

    @given(settings())
    def test_unique(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        places = [(array, index) for _, _, array, index in rows_of(plan, looked_at(plan))]
        assert len(set(places)) == len(places)


class TestLocate:
    """`locate` tells in words what the loops know of a frame."""

    @given(settings(), st.data())
    def test_agrees(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        place = data.draw(st.integers(0, looked_at(plan) - 1))
        arrival = loops(settings, place + 1)[place]
        location = plan.locate(place)
        assert (location.frame, location.position, location.array) == (place, arrival.position, arrival.image)
        assert location.index == arrival.index
        assert location.coordinates == arrival.loops
        assert location.path == plan.layout.arrays[arrival.image].path

    @given(settings(), st.data())
    def test_text(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        place = data.draw(st.integers(0, looked_at(plan) - 1))
        arrival = loops(settings, place + 1)[place]
        positions = [dim.name for dim in settings.dimensions[:-2] if dim.type == "position"]
        said = [f"{name}={index}" for name, index in arrival.loops.items() if name not in positions]
        where = [f"position {settings.positions[arrival.position].name!r}"] if positions else []
        where += [" ".join(said)] if said else []
        assert str(plan.locate(place)) == f"frame {place}" + (f" ({', '.join(where)})" if where else "")


class TestPurity:
    """The same settings give the same plan."""

    @given(settings())
    def test_equal_plans(self, settings: AcquisitionSettings) -> None:
        first, second = compile(settings), compile(evolve(settings))
        assert first.layout == second.layout
        frames = looked_at(first)
        assert first.rows(0, frames).tobytes() == second.rows(0, frames).tobytes()

    @given(settings())
    def test_asking_changes_nothing(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        frames = looked_at(plan)
        before = plan.rows(0, frames).tobytes()
        plan.extent(frames)
        plan.shapes(frames)
        plan.locate(0)
        plan.rest(frames // 2)
        assert not plan.rows(0, frames).flags.writeable
        assert plan.rows(0, frames).tobytes() == before
