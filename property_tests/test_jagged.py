"""Laws of jagged acquisitions: the table is what nested loops with `if`s give. The oracle is `testing.jagged`."""

from __future__ import annotations

from itertools import islice
from math import prod
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ome_writers import AcquisitionSettings, assemble, compile
from ome_writers.layout import Unit
from ome_writers.plan_file import plan_from_npz, plan_to_npz
from ome_writers.testing.jagged import planned
from ome_writers.testing.raggedness import jagged

ENDLESS = 60
"""Frames that are looked at of a plan without end."""


class TestFramesAreLoopsWithIfs:
    """Frame k of the plan is the k-th turn that no `if` leaves out."""

    @given(jagged())
    def test_every_frame_is_where_the_loops_say(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        expected = list(islice(planned(settings), ENDLESS if plan.frames is None else None))
        assert plan.frames in (None, len(expected))
        for frame, arrival in enumerate(expected):
            found = plan.locate(frame)
            assert (found.frame, found.position, found.coordinates) == (frame, arrival.position, arrival.loops)

    @given(jagged(holes=["dense"]))
    def test_dense_arrays_have_every_frame_at_the_index_of_its_loops(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        expected = list(islice(planned(settings), ENDLESS if plan.frames is None else None))
        rows = plan.rows(0, len(expected))
        images = [arrival.image for arrival in expected]
        # In OME-TIFF there is no image of what nobody acquires.
        known = sorted(set(images)) if settings.format.name == "ome-tiff" else range(len(plan.layout.arrays))
        assert rows["array"].tolist() == [known.index(image) for image in images]
        assert [tuple(index) for index in rows["index"].tolist()] == [arrival.index for arrival in expected]

    @given(jagged())
    def test_no_two_frames_share_a_place_and_none_lies_outside(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        rows = plan.rows(0, ENDLESS if plan.frames is None else plan.frames)
        places = [(array, *index) for array, index in zip(rows["array"].tolist(), rows["index"].tolist(), strict=True)]
        assert len(set(places)) == len(places)
        for array, *index in places:
            shape = plan.layout.arrays[array].shape[:-2]
            assert all(k >= 0 and (size is None or k < size) for k, size in zip(index, shape, strict=True))

    @given(jagged())
    def test_a_place_is_found_by_its_indices(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        for frame, arrival in enumerate(islice(planned(settings), 20)):
            assert plan.place(**arrival.loops) == frame

    @given(jagged())
    def test_what_is_selected_has_the_index(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        expected = list(islice(planned(settings), ENDLESS if plan.frames is None else None))
        for name, index in expected[-1].loops.items():
            wanted = [arrival.frame for arrival in expected if arrival.loops[name] == index]
            part = plan.select(**{name: index})
            count = len(wanted) if part.frames is None else part.frames
            assert part.rows(0, min(count, len(wanted)))["frame"].tolist()[: len(wanted)] == wanted


class TestHoles:
    """What becomes of places that no frame goes to is as asked for."""

    @given(jagged(holes=["split"], unbounded=False))
    def test_split_arrays_are_full(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        counts = np.bincount(plan.table["array"], minlength=len(plan.layout.arrays))
        assert counts.tolist() == [prod(size or 0 for size in spec.shape[:-2]) for spec in plan.layout.arrays]

    @given(jagged(holes=["compact"], unbounded=False))
    def test_compact_arrays_keep_no_element_that_nobody_acquires_unless_the_scale_could_not_tell(
        self, settings: AcquisitionSettings
    ) -> None:
        plan = compile(settings)
        kinds = {dim.name: dim.type for dim in settings.dimensions}
        for number, spec in enumerate(plan.layout.arrays):
            mine = plan.table[plan.table["array"] == number]
            assert len(mine)
            loops = [plan.places.reading.at(number, index) for index in mine["index"].tolist()]
            for axis, name in enumerate(spec.dimension_names[:-2]):
                used = np.unique(mine["index"][:, axis])
                elements = sorted({at[name] for at in loops})
                even = len(set(np.diff(elements).tolist())) <= 1
                if even or kinds[name] not in ("space", "time"):
                    assert used.tolist() == list(range(spec.shape[axis] or 0))

    @given(jagged(cameras=True))
    def test_each_camera_has_frames_of_its_own(self, settings: AcquisitionSettings) -> None:
        cameras = settings.camera_dimension
        height, width = (dim.count for dim in settings.frame_dimensions)
        for spec in compile(settings).layout.arrays:
            camera = cameras.coords[spec.camera] if cameras and not cameras.fold else None
            assert spec.shape[-2:] == (getattr(camera, "shape", None) or (height, width))
            assert spec.dtype == (getattr(camera, "dtype", "") or settings.dtype)


class TestParts:
    """A plan that is kept, cut, turned round or told to a controller is the same plan."""

    @given(jagged())
    def test_a_plan_survives_its_file(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        again = plan_from_npz(plan_to_npz(plan))
        assert (again.settings, again.layout) == (plan.settings, plan.layout)
        frames = ENDLESS if plan.frames is None else plan.frames
        np.testing.assert_array_equal(again.rows(0, frames), plan.rows(0, frames))

    @given(jagged(unbounded=False), st.integers(1, 4), st.sampled_from(["frame", "chunk"]), st.randoms())
    def test_frames_keep_their_numbers(
        self, settings: AcquisitionSettings, parts: int, unit: Unit, random: Random
    ) -> None:
        plan = compile(settings)
        every = list(range(len(plan.table)))
        assert sorted(n for part in plan.split(parts, unit) for n in part.table["frame"].tolist()) == every
        assert plan.rest(parts - 1 if parts <= len(every) else 0).table["frame"][-1] == every[-1]
        order = random.sample(every, len(every))
        assert plan.reordered(order).table["frame"].tolist() == order

    @given(jagged())
    def test_triggers_are_the_loops_and_cycles_are_the_triggers(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        frames = ENDLESS if plan.frames is None else plan.frames
        told, runs = plan.triggers(0, frames), []
        for cycle in plan.cycles():
            repeats = -(-frames // len(cycle.rows)) if cycle.repeats is None else None
            runs.append(cycle.expanded(repeats))
        looped = np.concatenate(runs)[:frames]
        for name in told.dtype.names or ():
            np.testing.assert_array_equal(looped[name], told[name])
        assert len(plan.changes(0, frames)) == frames
        loops = {dim.type: dim.name for dim in settings.dimensions[:-2] if dim.type in ("position", "camera")}
        for row, arrival in zip(told.tolist(), planned(settings), strict=False):
            said = dict(zip(told.dtype.names or (), row, strict=True))
            assert said["position"] == arrival.position
            assert said["camera"] == (arrival.loops[loops["camera"]] if "camera" in loops else 0)


class TestAssembly:
    """Blocks open once, close once, and share no buffer, jagged or not."""

    @given(jagged(formats=["ome-zarr"]), st.sampled_from(["chunk", "shard"]))
    def test_blocks(self, settings: AcquisitionSettings, unit: Unit) -> None:
        plan = compile(settings)
        assembly = assemble(plan, unit)
        frames = ENDLESS if plan.frames is None else plan.frames
        live: dict[int, tuple[int, ...]] = {}
        closed = set()
        for row, step in zip(plan.rows(0, frames).tolist(), assembly.rows(0, frames).tolist(), strict=True):
            (_, _, array, index), (buffer, _, flags) = row, step
            shape = assembly.block_shape(array)[:-2]
            block = (array, *(k // size for k, size in zip(index, shape, strict=True)))
            assert block not in closed
            if flags & 1:
                assert buffer not in live or buffer < 0
                live[buffer] = block
            assert live[buffer] == block
            if flags & 2:
                closed.add(block)
                del live[buffer]
        assert plan.frames is None or not live
