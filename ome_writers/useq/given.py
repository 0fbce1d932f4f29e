"""Given a sequence, events or indices, and what they cannot know, this answers: which settings are these together?"""

from __future__ import annotations

import typing
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ome_writers.check import Draft, build
from ome_writers.errors import Problem, SettingsError
from ome_writers.items import Camera
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.useq import described, frame_dims, sequence_in
from ome_writers.useq.dims import UnitTuple, cut
from ome_writers.useq.events import Event, read
from ome_writers.useq.listing import listing

if typing.TYPE_CHECKING:
    import useq

Source = typing.Union["useq.MDASequence", Iterable["useq.MDAEvent"], Iterable[Mapping[str, Any]]]


def settings_of(source: Source, given: Mapping[str, Any]) -> AcquisitionSettings:
    """Return the settings of a useq sequence, of events or of indices; `ome_writers.compile` says what may be given."""
    return _settings_of(source, **given)


def _settings_of(  # noqa: PLR0913 - what a sequence does not know
    source: Source,
    *,
    frame_shape: tuple[int, int] | None = None,
    pixel_size_um: float | None = None,
    units: Mapping[str, UnitTuple | None] | None = None,
    chunk_shapes: Mapping[str, int] | None = None,
    shard_shapes: Mapping[str, int] | None = None,
    cameras: Sequence[Camera | str] = (),
    dimensions: Sequence[Dimension] = (),
    **fields: Any,
) -> AcquisitionSettings:
    taken_by = _cameras(cameras)
    if dimensions and taken_by:
        message = "cannot be given next to dimensions; declare one of type 'camera' among these"
        raise SettingsError([Problem(("cameras",), "conflict", message)])
    if dimensions:
        return _declared(source, dimensions, fields)
    if frame_shape is None:
        message = "must be given: (height, width) of a frame, in pixels; a sequence does not know it"
        raise SettingsError([Problem(("frame_shape",), "missing", message)])
    if pixel_size_um is not None and pixel_size_um < 0:
        warnings.warn(f"a pixel is larger than nothing; a size of {pixel_size_um} is left out", stacklevel=5)
    frame = frame_dims(*frame_shape, pixel_size_um, units or {})
    sequence = sequence_in(source)
    if sequence is not None:
        found: Mapping[str, Any] = described(
            sequence, frame, units=units, chunk_shapes=chunk_shapes, shard_shapes=shard_shapes, cameras=taken_by
        )
    else:
        given = {name: pair for name, pair in (units or {}).items() if pair}
        came = listing(_events(source), units=given, cameras=taken_by)
        found = {
            "dimensions": cut([*came.dimensions, *frame], chunk_shapes or {}, shard_shapes or {}),
            "frames": came.frames,
        }
    return AcquisitionSettings(**{**found, **fields})


def _cameras(given: Sequence[Camera | str]) -> tuple[Camera, ...]:
    built = [build(Camera, one, "name") for one in given]
    faults = [one.problems for one in built if isinstance(one, Draft)]
    if faults:
        raise SettingsError([problem.under("cameras") for problems in faults for problem in problems])
    return tuple(one for one in built if isinstance(one, Camera))


def _events(source: object) -> list[Event]:
    if not isinstance(source, Iterable) or isinstance(source, (str, bytes, Mapping)):
        message = "must be AcquisitionSettings, a useq.MDASequence, or a list of events or of mappings of indices"
        raise SettingsError([Problem((), "invalid_type", f"{message}; got {type(source).__name__}")])
    return read(source)


def _declared(source: object, dimensions: Sequence[Dimension], fields: Mapping[str, Any]) -> AcquisitionSettings:
    """Return the settings of events whose loops are declared: what is not among them is a problem."""
    sequence = sequence_in(source)
    events = _events(source if sequence is None else list(sequence))
    names = {dim.name: [getattr(one, "name", None) for one in dim.coords or ()] for dim in dimensions}
    came = listing(events, units={})
    index = [_named(event, names) for event in events]
    columns = ("delta_t", "exposure_time", "position_x", "position_y", "position_z")
    frames = {"index": index, **{name: getattr(came.frames, name) for name in columns}}
    return AcquisitionSettings(dimensions=dimensions, frames=frames, **fields)


def _named(event: Event, names: Mapping[str, Sequence[str | None]]) -> dict[str, int | str]:
    """Return the index of an event, by names where it knows them."""
    index = dict(event.index)
    if event.channel and any(names.get("c", ())):
        index["c"] = event.channel[0]
    if event.place in names.get("p", ()) and event.place is not None:
        index["p"] = event.place
    return index
