"""Laws of useq sequences: frame k of the plan is the k-th image event, of every finite sequence of both versions.

The oracle is useq itself: the events of a deep copy of the sequence (an autofocus plan remembers what it has seen).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import tifffile
import useq
import zarr
from hypothesis import assume, event, given
from hypothesis import strategies as st

from ome_writers import AcquisitionSettings, Dimension, Plan, compile, useq_to_acquisition_settings, write
from ome_writers.testing.sequences import sequences, sequences_v2


def image_events(seq: Any) -> list[useq.MDAEvent]:
    """Return the events that take an image; none where useq itself cannot go through them."""
    with suppress(LookupError, ZeroDivisionError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # useq says what it thinks of positions that overrule each other
        return [one for one in copy.deepcopy(seq) if isinstance(one.action, useq.AcquireImage)]
    return []


def compiled(seq: Any, **fields: Any) -> Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compile(seq, frame_shape=(1, 2), dtype="uint16", **{"format": "scratch", **fields})


def indices(event_: Any) -> dict[str, int]:
    return {str(axis): int(index) for axis, index in event_.index.items()}


def settings_of(plan: Plan) -> dict[str, Dimension]:
    return {dim.name: dim for dim in plan.settings.dimensions[:-2]}


def own(plan: Plan, position: int, name: str) -> Sequence[Any]:
    """Return the elements of a dimension at a position: names, or places; nothing if they are not known."""
    dim = settings_of(plan)[name]
    if "p" in settings_of(plan) and (told := plan.settings.positions[position].coords.get(name)):
        return told
    if dim.coords:
        return [getattr(one, "name", one) for one in dim.coords]
    if dim.scale is None and dim.count != 1:
        return ()
    return [(dim.translation or 0) + index * (dim.scale or 0) for index in range(dim.count or 0)]


def placed(plan: Plan) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield for each frame its position, and its index in every loop that its image has an axis for."""
    names = plan.layout.arrays[0].dimension_names[:-2]
    for row in plan.table:
        yield int(row["position"]), dict(zip(names, row["index"].tolist(), strict=True))


@given(st.one_of(sequences(), sequences_v2()))
def test_frames_are_the_image_events(seq: Any) -> None:
    events = image_events(seq)
    assume(events)  # a sequence without loops is one frame to us, and nothing to useq
    plan = compiled(seq)
    dims, listed = settings_of(plan), plan.settings.frames
    kind = "listed" if listed is not None else "with gaps" if plan.settings.is_ragged else "loops"
    event(f"{type(seq).__module__.split('.')[1]}: {kind}")
    assert plan.frames == len(events)
    assert len({(int(row["array"]), *row["index"].tolist()) for row in plan.table}) == len(events)
    visits: dict[int, Any] = {}
    for (position, index), came in zip(placed(plan), events, strict=True):
        theirs = indices(came)
        assert {axis: theirs[axis] for axis in theirs if axis not in "pg"}.items() <= index.items()
        assert visits.setdefault(position, (theirs.get("p"), theirs.get("g"))) == (theirs.get("p"), theirs.get("g"))
        if "c" in index and came.channel:
            name = own(plan, position, "c")[index["c"]]
            assert name.split("_")[0].split(" ")[0] == came.channel.config
            assert came.channel.group in name or "(" not in name
    if listed is None:
        assert len(set(visits.values())) == len(visits)
    assert ("p" in dims) == any("p" in one.index or "g" in one.index for one in events)


def says(told: float | None, came: float | None) -> bool:
    return told is None or np.isnan(told) or (came is not None and told == pytest.approx(came, abs=1e-5))


@given(st.one_of(sequences(), sequences_v2()))
def test_times_and_places_are_those_of_the_events(seq: Any) -> None:
    events = image_events(seq)
    assume(events)
    plan = compiled(seq)
    dims, listed = settings_of(plan), plan.settings.frames
    offsets = {0.0, *(channel.z_offset for channel in all_channels(seq))}
    for number, ((position, index), came) in enumerate(zip(placed(plan), events, strict=True)):
        place = plan.settings.positions[position]
        for axis in "xy":
            assert says(getattr(place, f"{axis}_coord"), getattr(came, f"{axis}_pos"))
        if listed is not None:
            told = [column and column[number] for column in columns(listed)]
            exposure = None if came.exposure is None else came.exposure / 1000
            knows = [came.min_start_time, exposure, came.x_pos, came.y_pos, came.z_pos]
            assert all(says(*pair) for pair in zip(told, knows, strict=True))
            assert [value is None or np.isnan(value) for value in told] == [value is None for value in knows]
            continue
        if "t" in came.index and (times := own(plan, position, "t")):
            assert says(times[index["t"]], came.min_start_time)
        depths = own(plan, position, "z") if "z" in dims else ()
        if came.z_pos is not None and (depths or place.z_coord is not None):
            # A channel's focus is corrected by its own offset, or by that of the channel around a sub-sequence.
            depth = (depths[index["z"]] if depths else 0.0) + (place.z_coord or 0.0)
            assert any(says(depth + offset, came.z_pos) for offset in offsets)


def columns(frames: Any) -> list[list[float] | None]:
    names = ("delta_t", "exposure_time", "position_x", "position_y", "position_z")
    return [None if getattr(frames, name) is None else getattr(frames, name).tolist() for name in names]


def all_channels(seq: Any) -> list[useq.Channel]:
    if type(seq).__module__.startswith("useq.v2"):  # knows of no offsets
        return []
    subs = [position.sequence.channels for position in seq.stage_positions if position.sequence]
    return [*seq.channels, *(channel for sub in subs for channel in sub)]


@given(sequences())
def test_what_useq_knows_of_the_stage_is_told(seq: useq.MDASequence) -> None:
    plans = [seq.grid_plan, *(p.sequence.grid_plan for p in seq.stage_positions if p.sequence)]
    assume(all(getattr(plan, "random_seed", 0) is not None for plan in plans))
    events = image_events(seq)
    assume(events)
    plan = compiled(seq)
    for (position, _), came in zip(placed(plan), events, strict=True):
        place = plan.settings.positions[position]
        assert (place.x_coord is None, place.y_coord is None) == (came.x_pos is None, came.y_pos is None)


@given(st.one_of(sequences(), sequences_v2()))
def test_a_sequence_is_not_changed(seq: Any) -> None:
    assume(image_events(seq))
    before = seq.model_dump_json()
    first, second = (useq_to_acquisition_settings(seq, image_width=2, image_height=1) for _ in range(2))
    assert seq.model_dump_json() == before
    assert first == second


@given(st.one_of(sequences(), sequences_v2()), st.sampled_from(["a.ome.zarr", "a.ome.tiff"]))
def test_every_pixel_lies_where_its_event_says(seq: Any, name: str) -> None:
    events = image_events(seq)
    assume(0 < len(events) <= 40)
    with TemporaryDirectory() as folder:
        plan = compiled(seq, root_path=f"{folder}/{name}", format="auto")
        write(plan, (np.full((1, 2), number + 1, "uint16") for number in range(len(events))))
        images = read_images(plan, Path(plan.settings.output_path))
    assert sum(int((image > 0).sum()) for image in images) == 2 * len(events)
    for number, (row, came) in enumerate(zip(plan.table, events, strict=True)):
        spec = plan.layout.arrays[row["array"]]
        theirs = indices(came)
        # Loops that the format has no axis for choose the image, as positions do.
        place = tuple(theirs.get(axis, row["index"][k]) for k, axis in enumerate(spec.dimension_names[:-2]))
        assert (images[row["array"]][place] == number + 1).all()


def read_images(plan: Plan, path: Path) -> list[Any]:
    specs = plan.layout.arrays
    if plan.settings.format.name == "ome-zarr":
        return [np.asarray(zarr.open_array(path / spec.path, mode="r")[...]) for spec in specs]
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    with tifffile.TiffFile(files[0]) as file:
        return [series.asarray().reshape(spec.shape) for series, spec in zip(file.series, specs, strict=True)]


def test_settings_of_a_sequence_are_a_value() -> None:
    seq = useq.MDASequence(
        channels=["A", useq.Channel(config="B", acquire_every=2)], time_plan=[{"interval": 1, "loops": 3}]
    )
    found = useq_to_acquisition_settings(seq, image_width=2, image_height=1)
    assert AcquisitionSettings(dtype="uint8", **found) == AcquisitionSettings(dtype="uint8", **found)
    assert set(found) == {"dimensions", "plate", "omit"}
