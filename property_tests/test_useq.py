"""Laws of useq sequences: frame k of the plan is the k-th image event, of every finite sequence of both versions.

The oracle is useq itself: the events of a deep copy of the sequence (an autofocus plan remembers what it has seen).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import useq
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from ome_writers import Dimension, Plan, compile, write
from ome_writers.documents import Outcome, Stamp, documents
from ome_writers.testing.readers import read_tiff, read_zarr
from ome_writers.testing.sequences import sequences, sequences_v2


def image_events(seq: Any) -> list[useq.MDAEvent] | None:
    """Return the events that take an image; `None` where useq itself cannot go through them."""
    with suppress(LookupError, ZeroDivisionError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # useq says what it thinks of positions that overrule each other
        return [one for one in copy.deepcopy(seq) if isinstance(one.action, useq.AcquireImage)]
    return None


def compiled(seq: Any, **fields: Any) -> Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compile(seq, frame_shape=(1, 2), dtype="uint16", **{"format": "scratch", **fields})


def indices(event_: Any) -> dict[str, int]:
    return {str(axis): int(index) for axis, index in event_.index.items()}


def dims_of(plan: Plan) -> dict[str, Dimension]:
    return {dim.name: dim for dim in plan.settings.dimensions[:-2]}


def own(plan: Plan, position: int, name: str) -> Sequence[Any]:
    """Return the elements of a dimension at a position: names, or places; nothing if they are not known."""
    dim = dims_of(plan)[name]
    if "p" in dims_of(plan) and (told := plan.settings.positions[position].coords.get(name)):
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
    assume(events is not None)
    if not events:
        with pytest.raises(NotImplementedError):
            compiled(seq)
        return
    before = seq.model_dump_json()
    plan = compiled(seq)
    assert seq.model_dump_json() == before
    dims, listed = dims_of(plan), plan.settings.frames
    kind = "listed" if listed is not None else "with gaps" if plan.settings.is_ragged else "loops"
    event(f"{type(seq).__module__.split('.')[1]}: {kind}")
    assert plan.frames == len(events)
    assert len({(int(row["array"]), *row["index"].tolist()) for row in plan.table}) == len(events)
    assert ("p" in dims) == any("p" in one.index or "g" in one.index for one in events)
    visits: dict[int, Any] = {}
    for (position, index), came in zip(placed(plan), events, strict=True):
        theirs = indices(came)
        assert {axis: theirs[axis] for axis in theirs if axis not in "pg"}.items() <= index.items()
        assert visits.setdefault(position, (theirs.get("p"), theirs.get("g"))) == (theirs.get("p"), theirs.get("g"))
        if "c" in index and came.channel:
            name = own(plan, position, "c")[index["c"]]
            assert name.split("_")[0].split(" ")[0] == came.channel.config
            assert came.channel.group in name or "(" not in name
    assert listed is not None or len(set(visits.values())) == len(visits)
    if listed is None:
        require_triggers(seq, plan, events)
    else:
        require_columns(listed, events)


def require_triggers(seq: Any, plan: Plan, events: list[useq.MDAEvent]) -> None:
    """When and where a frame is taken, and for how long, is what its event says."""
    table = plan.triggers()
    theirs = [(one.min_start_time, one.x_pos, one.y_pos, one.z_pos, one.exposure) for one in events]
    expected = np.array(theirs, float) * [1, 1, 1, 1, 0.001]
    for column, name in enumerate(("time", "x", "y", "z", "exposure")):
        if name in ("x", "y") and any(random(plan) for plan in grids(seq)):
            continue
        # A position that says no height is taken to lie at 0 where others have planes.
        ours = np.where(np.isnan(expected[:, column]) & (name == "z"), np.nan, table[name])
        np.testing.assert_allclose(ours, expected[:, column], rtol=1e-9, atol=1e-5, err_msg=name)


@given(st.one_of(sequences(), sequences_v2()))
def test_planes_of_ome_xml_are_the_image_events(seq: Any) -> None:
    events = image_events(seq)
    assume(events and len(events) <= 200)
    plan = compiled(seq, root_path="a.ome.tiff", format="auto")
    stamp = Stamp(datetime(2026, 11, 22, tzinfo=UTC), ("",) * (len(plan.layout.files) + 1))
    (text, *_) = documents(plan, stamp, Outcome(verdict="complete", cursor=plan.frames))
    found = {}
    for number, image in enumerate(ET.fromstring(str(text.body)).iterfind("{*}Image")):  # noqa: S314 - ours
        for plane in image.iterfind("{*}Pixels/{*}Plane"):
            found[number, *(int(plane.get(f"The{role}", "")) for role in "TCZ")] = plane
    for row, came in zip(plan.table, events, strict=True):
        spec = plan.layout.arrays[row["array"]]
        types = [dims_of(plan)[name].type for name in spec.dimension_names[:-2]]
        at = dict(zip(({"time": "T", "space": "Z"}.get(str(one), "C") for one in types), row["index"], strict=True))
        plane = found.get((spec.image, *(int(at.get(role, 0)) for role in "TCZ")), {})
        exposure = None if came.exposure is None else came.exposure / 1000
        theirs = {"DeltaT": came.min_start_time, "ExposureTime": exposure, "PositionZ": came.z_pos}
        if not any(random(plan) for plan in grids(seq)):
            theirs |= {"PositionX": came.x_pos, "PositionY": came.y_pos}
        for name, value in theirs.items():
            told = None if value is None and name == "PositionZ" else plane.get(name)  # as above
            assert (None if told is None else float(told)) == (None if value is None else pytest.approx(value))


def require_columns(frames: Any, events: list[useq.MDAEvent]) -> None:
    """Every event has its coordinates, and no others."""
    names = ("delta_t", "exposure_time", "position_x", "position_y", "position_z")
    for number, came in enumerate(events):
        exposure = None if came.exposure is None else came.exposure / 1000
        theirs = [came.min_start_time, exposure, came.x_pos, came.y_pos, came.z_pos]
        for name, value in zip(names, theirs, strict=True):
            column = getattr(frames, name)
            told = None if column is None or np.isnan(column[number]) else column[number]
            assert told == (None if value is None else pytest.approx(value))


def says(told: float | None, came: float | None) -> bool:
    return told is None or (came is not None and told == pytest.approx(came, abs=1e-5))


def grids(seq: Any) -> list[Any]:
    if is_v2(seq):
        return list(seq.axes)
    return [seq.grid_plan, *(p.sequence.grid_plan for p in seq.stage_positions if p.sequence)]


def random(grid: Any) -> bool:
    return getattr(grid, "random_seed", 0) is None


def all_channels(seq: Any) -> list[useq.Channel]:
    if is_v2(seq):  # knows of no offsets
        return []
    subs = [position.sequence.channels for position in seq.stage_positions if position.sequence]
    return [*seq.channels, *(channel for sub in subs for channel in sub)]


def is_v2(seq: Any) -> bool:
    return type(seq).__module__.startswith("useq.v2")


@settings(max_examples=max(settings().max_examples // 4, 10))
@given(st.one_of(sequences(), sequences_v2()), st.sampled_from(["a.ome.zarr", "a.ome.tiff"]))
def test_every_pixel_lies_where_its_event_says(seq: Any, name: str) -> None:
    events = image_events(seq)
    assume(events and len(events) <= 40)
    with TemporaryDirectory() as folder:
        plan = compiled(seq, root_path=f"{folder}/{name}", format="auto")
        root = write(plan, (np.full((1, 2), number + 1, "uint16") for number in range(len(events)))).root
        read = read_tiff if name.endswith("tiff") else read_zarr
        shaped = zip(plan.layout.arrays, plan.shapes(), strict=True)
        images = [np.reshape(read(None, root, spec), shape) for spec, shape in shaped]
    assert sum(int((image > 0).sum()) for image in images) == 2 * len(events)
    for number, (row, came) in enumerate(zip(plan.table, events, strict=True)):
        spec = plan.layout.arrays[row["array"]]
        theirs = indices(came)
        # Loops that the format has no axis for choose the image, as positions do.
        place = tuple(theirs.get(axis, row["index"][k]) for k, axis in enumerate(spec.dimension_names[:-2]))
        assert (images[row["array"]][place] == number + 1).all()
