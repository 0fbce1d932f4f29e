"""Frames that did not come cost what came, not how many they are."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ome_writers as ow
from ome_writers import gaps, inturn
from ome_writers.datasets.facts import facts_from
from ome_writers.puts import MOST_AHEAD
from ome_writers.testing import strategies

PLACES = st.sets(st.integers(0, 30)).map(sorted)


@given(PLACES, st.integers(0, 40))
def test_stretches_are_the_places_that_they_stand_for(places: list[int], end: int) -> None:
    found = gaps.as_stretches(places)
    assert gaps.places_in(found).tolist() == places
    assert gaps.as_stretches(found) is found
    assert gaps.inside(found, np.arange(40)).tolist() == [place in places for place in range(40)]
    below = np.array([place for place in places if place < end], np.int64)
    assert gaps.places_in(gaps.between(below, end)).tolist() == sorted(set(range(end)) - set(places))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=6), st.integers(0, 30))
def test_stretches_that_touch_or_overlap_become_one(given: list[tuple[int, int]], end: int) -> None:
    pairs = [(first, first + length) for first, length in given]
    found = gaps.joined(pairs, end)
    assert gaps.places_in(found).tolist() == sorted({place for pair in pairs for place in range(*pair) if place < end})
    assert (found[1:, 0] > found[:-1, 1]).all()


@pytest.mark.parametrize("numbers", [[], [3], [0, 1, 2], [1, 2, 4, 6, 7, 9]])
def test_ranges_hold_just_the_numbers(numbers: list[int]) -> None:
    told = gaps.ranges_of(np.array(numbers, np.int64))
    assert expanded(told) == numbers
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(told.tolist()))


@pytest.mark.parametrize("short", [1, 64])
@given(strategies.settings().map(ow.compile), PLACES, st.booleans())
def test_frames_of_stretches_are_those_of_their_rows(
    short: int,
    plan: ow.Plan,
    places: list[int],
    turned: bool,  # noqa: FBT001
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaps, "_SHORT", short)
        frames_are_those_of_their_rows(plan, places, turned=turned)


def frames_are_those_of_their_rows(plan: ow.Plan, places: list[int], *, turned: bool) -> None:
    frames = min(31, 31 if plan.frames is None else plan.frames)
    if turned and plan.frames is not None:
        plan = plan.reordered(np.arange(plan.frames)[::-1])
    here = [place for place in places if place < frames]
    rows = plan.rows(0, frames)[here]
    assert expanded(gaps.frames_in(plan, gaps.as_stretches(here))) == sorted(rows["frame"].tolist())
    each, counts = gaps.frames_by_array(plan, gaps.as_stretches(here))
    for array, found in enumerate(each):
        mine = rows["frame"][rows["array"] == array]
        assert (expanded(found), counts[array]) == (sorted(mine.tolist()), len(mine))


@pytest.mark.parametrize("short", [1, 64])
def test_frames_of_plans_of_several_segments_and_of_parts_of_a_plan(
    short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "_SHORT", short)
    dims = ow.dims_from_standard_axes({"t": 5, "c": 2, "z": 3, "y": 8, "x": 8})
    plan = ow.compile(ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    turned = plan.reordered(np.arange(30)[::-1])
    for part in (plan.rest(4), plan.rest(8), plan.select(c=0), plan.select(c=1, z=2), plan.select(z=[0, 2]), turned):
        for first, stop in ((0, 1), (3, 5), (1, len(part.table))):
            found = gaps.frames_in(part, np.array([[first, stop]]))
            assert expanded(found) == sorted(part.rows(first, stop)["frame"].tolist())


def expanded(ranges: np.ndarray) -> list[int]:
    return [number for first, last in ranges.tolist() for number in range(first, last + 1)]


def test_an_outcome_takes_places_or_stretches() -> None:
    one, other = (ow.Outcome(cursor=10, missing=missing) for missing in ([3, 8, 9], np.array([[3, 4], [8, 10]])))
    assert one.missing.tolist() == other.missing.tolist() == [3, 8, 9]
    assert (one.frames, one.end, other.frames, other.end) == (7, 8, 7, 8)
    assert (ow.Outcome(cursor=4).missing.tolist(), ow.Outcome(cursor=4).end) == ([], 4)


# ── frames by name ──────────────────────────────────────────────────────────────────────────────────────────────────


def settings(root: Path | str, count: int | None, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": count, "y": 8, "x": 8})
    return ow.AcquisitionSettings(root_path=str(root), dtype="uint16", dimensions=dims, **more)


FRAME = np.ones((8, 8), np.uint16)


@pytest.mark.parametrize("backend", ["direct", "tensorstore", "scratch"])
@pytest.mark.parametrize("way", ["put", "skip"])
def test_a_million_frames_that_do_not_come_take_little_memory(tmp_path: Path, way: str, backend: str) -> None:
    given = {"format": "scratch"} if backend == "scratch" else {}
    with ow.create_stream(settings(tmp_path / "warm.ome.zarr", None, **given), backend) as stream:
        stream.append(FRAME)
    tracemalloc.start()
    try:
        with ow.create_stream(settings(tmp_path / "a.ome.zarr", None, **given), backend) as stream:
            if way == "put":
                stream.put(FRAME, t=0)
                stream.put(FRAME, t=10**6)
            else:
                stream.append(FRAME)
                stream.skip(frames=10**6 - 1)
                stream.append(FRAME)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert stream.outcome is not None
    assert stream.outcome.gaps.tolist() == [[1, 10**6]]
    assert (stream.outcome.frames, stream.outcome.cursor) == (2, 10**6 + 1)
    assert np.array_equal(ow.open_view(stream.outcome.root)[10**6], FRAME)


def test_a_gap_that_is_most_likely_a_slip_is_refused(tmp_path: Path) -> None:
    with ow.create_stream(settings(tmp_path / "a.ome.zarr", None), "direct") as stream:
        stream.put(FRAME, t=3)
        most = MOST_AHEAD
        message = rf"^frame {most + 5} .*: {most + 1} frames before it have not come, .* at most {most}$"
        with pytest.raises(ow.FrameError, match=message):
            stream.put(FRAME, t=MOST_AHEAD + 5)
        stream.put(FRAME, t=2)
        stream.put(FRAME, t=MOST_AHEAD + 4)
    assert stream.outcome is not None
    assert stream.outcome.gaps.tolist() == [[0, 2], [4, MOST_AHEAD + 4]]


def test_in_a_plan_with_an_end_the_last_frame_may_be_the_first(tmp_path: Path) -> None:
    stream = ow.create_stream(settings(tmp_path / "a.ome.zarr", 2 * MOST_AHEAD), "direct")
    tracemalloc.start()
    try:
        stream.put(FRAME, t=2 * MOST_AHEAD - 1)
        with pytest.raises(ow.FrameError, match="came before"):
            stream.put(FRAME, t=2 * MOST_AHEAD - 1)
        stream.close()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert stream.outcome is not None
    assert stream.outcome.gaps.tolist() == [[0, 2 * MOST_AHEAD - 1]]


# ── going past many at once ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [None, 40])
@pytest.mark.parametrize("backend", ["direct", "tensorstore", "zarr-python", "scratch", "tifffile"])
@pytest.mark.parametrize("stretch", [range(11), range(1, 13), range(4, 12), range(5, 25), range(2, 31)], ids=str)
def test_to_go_past_many_is_to_go_past_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int | None, backend: str, stretch: range
) -> None:
    suffix = {"scratch": "", "tifffile": ".ome.tiff"}.get(backend, ".ome.zarr")
    chunks = {} if suffix != ".ome.zarr" or backend == "direct" else {"t": 4, "c": 2}
    dims = ow.dims_from_standard_axes({"t": count and count // 4, "c": 2, "p": 2, "y": 8, "x": 8}, chunk_shapes=chunks)
    seen = []
    for ahead, far in ((4096, 65_536), (1, 5), (1, 100)):
        monkeypatch.setattr(inturn, "_AHEAD", ahead)
        monkeypatch.setattr(inturn, "_FAR", far)
        given = ow.AcquisitionSettings(
            root_path=str(tmp_path / f"{ahead}-{far}{suffix}"),
            dtype="uint16",
            dimensions=dims,
            **({"format": "scratch"} if not suffix else {}),
        )
        with ow.create_stream(given, backend) as stream:
            for number in range(stretch.start):
                stream.append(FRAME * (number + 1))
            stream.skip(frames=len(stretch))
            for number in range(3):
                stream.append(FRAME * (number + 100))
        assert stream.outcome is not None
        seen.append((np.asarray(ow.open_view(stream.outcome.root)[...]), stream.outcome.gaps.tolist()))
    for pixels, missing in seen[1:]:
        assert missing == seen[0][1] == [[stretch.start, stretch.stop]]
        assert np.array_equal(pixels, seen[0][0])


def test_frames_cannot_be_passed_all_at_once_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ow.create_stream(settings(tmp_path / "a.ome.zarr", None), "direct")
    stream.append(FRAME)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stream._run.writer, "resize", full)  # noqa: SLF001 - as a disk would
    with pytest.raises(ow.WriteError, match="No space left"):
        stream.skip(frames=10**5)
    with pytest.raises(ow.WriteError, match="no more frames"):
        stream.skip(frames=10**5)
    with pytest.raises(ow.WriteError, match="No space left"):
        stream.close()
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("failed", 1)


# ── what others say of them ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("frames", "missing", "understood"),
    [
        (1, [[0, 10**6]], True),
        (1, [[0, 10**7], [5, 10**7 + 1]], True),
        (1, [[0, 10**15]], False),
        (10**15, [], False),
        (1, [[0, 10**40]], False),
        (1, [[0]], False),
        (1, 7, False),
    ],
)
def test_what_a_document_claims_takes_no_memory(frames: int, missing: object, *, understood: bool) -> None:
    sizes = {"t": ("time", None), "y": ("space", 8), "x": ("space", 8)}
    dims = [{"name": name, "type": kind, "count": count} for name, (kind, count) in sizes.items()]
    noted = {"verdict": "stopped", "frames": frames, "missing": missing, "dimensions": dims, "axes": ["t", "y", "x"]}
    tracemalloc.start()
    try:
        found = facts_from(noted)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert (found is not None) == understood
