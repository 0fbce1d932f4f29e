"""Laws of places: indices lead to the row that has them, and frames in any order to the arrays of nested loops."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ome_writers import AcquisitionSettings, Outcome, PlanError, compile, create_stream, order, write
from ome_writers.testing import expected_arrays, frame_pixels, settings
from ome_writers.testing.model import Arrival, arrivals
from ome_writers.writers.memory import MemoryWriter

_ENDLESS = 40
"""How many rows are looked at of a plan without end."""


class InTurn(MemoryWriter):
    """A writer that wants whole chunks, in the order of the plan."""

    capabilities = evolve(MemoryWriter.capabilities, name="in turn", order="planned", unit="chunk")

    def open(self, root: str, plan: Any, documents: Any, /, *, attach: bool = False) -> None:
        super().open(root, plan, documents, attach=attach)
        for array, spec in enumerate(plan.layout.arrays):
            # An axis without end begins with the extent of one block.
            self.resize(array, tuple(size or step for size, step in zip(spec.shape, spec.chunk_shape, strict=True)))


def loops(settings: AcquisitionSettings) -> list[Arrival]:
    return list(islice(arrivals(settings), _ENDLESS if settings.num_frames is None else None))


class TestPlacesAreWhereLoopsCome:
    """`place` of the indices of the k-th turn of nested loops is k, however short the table is written."""

    @given(settings(max_loops=5, max_frames=200), st.sampled_from([1, 3, 20, 16_384]))
    def test_place(self, settings: AcquisitionSettings, body: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(order, "_BODY", body)
            plan = compile(settings)
        for arrival in loops(settings):
            assert plan.place(**arrival.loops) == arrival.frame

    @given(settings(unbounded=False), st.data())
    def test_in_parts(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        came = loops(settings)
        cursor = data.draw(st.integers(0, len(came)))
        rest = plan.rest(cursor)
        for arrival in came[:cursor]:
            with pytest.raises(PlanError):
                rest.place(**arrival.loops)
        for arrival in came[cursor:]:
            assert rest.place(**arrival.loops) == arrival.frame - cursor

    @given(settings(), st.data())
    def test_rows_at_any_places(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        came = loops(settings)
        places = data.draw(st.lists(st.integers(0, len(came) - 1)))
        rows = compile(settings).rows_at(places)
        assert [(frame, array, tuple(index)) for frame, _, array, index in rows.tolist()] == [
            (came[place].frame, came[place].image, came[place].index) for place in places
        ]

    @given(settings(), st.data())
    def test_reordered(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan, known = compile(settings), len(loops(settings))
        first = data.draw(st.lists(st.integers(0, known - 1), unique=True))
        again = plan.reordered(first)
        assert again.frames == plan.frames
        others = [place for place in range(known) if place not in first]
        assert again.rows(0, known)["frame"].tolist() == first + others


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[AcquisitionSettings, list[int], list[NDArray[Any] | None]]:
    """Draw an acquisition, the places of its frames in the order in which they come, and the frames in planned order.

    The frames end with the furthest that comes; there is `None` in the place of those that do not.
    """
    drawn = draw(settings(formats=["ome-zarr", "scratch"]))
    known = 20 if drawn.num_frames is None else drawn.num_frames
    places = draw(st.permutations(range(known)))
    places = places[: draw(st.sampled_from([known, known, draw(st.integers(0, known))]))]
    height, width = (dim.count or 1 for dim in drawn.frame_dimensions)
    frames = [frame_pixels(place, (height, width), drawn.dtype) for place in range(max(places, default=-1) + 1)]
    return drawn, places, [pixels if place in places else None for place, pixels in enumerate(frames)]


def same(writer: MemoryWriter, settings: AcquisitionSettings, frames: list[NDArray[Any] | None]) -> None:
    for array, pixels in expected_arrays(settings, frames).items():
        np.testing.assert_array_equal(writer.arrays[array], pixels)


def told(outcome: Outcome, settings: AcquisitionSettings, frames: list[NDArray[Any] | None]) -> None:
    """Compare an outcome with what came."""
    missing = [place for place, pixels in enumerate(frames) if pixels is None]
    assert (outcome.cursor, outcome.missing.tolist()) == (len(frames), missing)
    whole = not missing and settings.num_frames in (None, len(frames))
    assert outcome.verdict == ("complete" if whole else "stopped")
    assert {place: record["own"] for place, record in outcome.records.items()} == {
        place: place for place, pixels in enumerate(frames) if pixels is not None
    }


class TestAnyOrder:
    """Frames that are put, or that `at` sends, in any order give the arrays of nested loops."""

    @given(shuffled(), st.sampled_from([MemoryWriter, InTurn]))
    def test_put(
        self, run: tuple[AcquisitionSettings, list[int], list[NDArray[Any] | None]], make: type[MemoryWriter]
    ) -> None:
        settings, places, frames = run
        came, writer = loops(settings), make()
        stream = create_stream(settings, writer)
        for place in places:
            stream._run.put(frames[place], came[place].loops, {"own": place})  # noqa: SLF001 - names may be any text
        stream.close()
        assert stream.outcome is not None
        same(writer, settings, frames)
        told(stream.outcome, settings, frames)

    @given(shuffled(), st.sampled_from([MemoryWriter, InTurn]), st.booleans())
    def test_at(
        self,
        run: tuple[AcquisitionSettings, list[int], list[NDArray[Any] | None]],
        make: type[MemoryWriter],
        named: bool,  # noqa: FBT001 - drawn
    ) -> None:
        settings, places, frames = run
        came, writer = loops(settings), make()
        at: Any = [came[place].loops if named else place for place in places]
        outcome = write(compile(settings), (frames[place] for place in places), writer, at=at)
        same(writer, settings, frames)
        told(evolve(outcome, records={place: {"own": place} for place in places}), settings, frames)
