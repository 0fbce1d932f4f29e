"""Given what Micro-Manager notes of an acquisition and of a frame, this answers it in our words.

So do its TIFF stacks and NDTiff alike: a summary for the whole, and for each image an object with `ElapsedTime-ms`,
`Exposure-ms`, `XPositionUm`, … All else is kept as it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from ome_writers.items import Channel, Position
from ome_writers.records import Record
from ome_writers.settings import Dimension

_FRAME: Final = {
    "ElapsedTime-ms": ("delta_t", 1e-3),
    "Exposure-ms": ("exposure_time", 1e-3),
    "XPositionUm": ("position_x", 1.0),
    "YPositionUm": ("position_y", 1.0),
    "ZPositionUm": ("position_z", 1.0),
}
"""Key of Micro-Manager -> ours, and what to multiply by."""


def mm_record(said: Mapping[str, Any]) -> Record:
    """Return what came with a frame.

    Examples
    --------
    >>> mm_record({"ElapsedTime-ms": 1500, "Camera": "Andor"})
    {'Camera': 'Andor', 'delta_t': 1.5}
    """
    record: Record = {key: value for key, value in said.items() if key not in _FRAME}
    for name, (key, factor) in _FRAME.items():
        if (number := _number(said.get(name))) is not None:
            record[key] = number * factor
    return record


def mm_dimensions(
    dims: Sequence[Dimension], summary: Mapping[str, Any], first: Mapping[str, Any] | None = None
) -> tuple[Dimension, ...]:
    """Return dimensions with what the summary says of them; `first` is what came with one of the frames."""
    first = first or {}
    pixel = _number(summary.get("PixelSize_um")) or _number(first.get("PixelSizeUm"))
    step, interval = _number(summary.get("z-step_um")), _number(summary.get("Interval_ms"))
    made = []
    for dim in dims:
        if dim.name in "yx" and pixel:
            made.append(evolve(dim, scale=pixel, unit="micrometer"))
        elif dim.name == "z" and step:
            made.append(evolve(dim, scale=abs(step), unit="micrometer"))
        elif dim.name == "t" and interval:
            made.append(evolve(dim, scale=interval / 1000, unit="second"))
        elif dim.type == "channel" and (coords := _channels(dim, summary)):
            made.append(evolve(dim, coords=coords))
        elif dim.type == "position" and (stage := _positions(dim, summary)):
            made.append(evolve(dim, coords=stage))
        else:
            made.append(dim)
    return tuple(made)


def _number(value: object) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(str(value))
    except ValueError:
        return None


def _channels(dim: Dimension, summary: Mapping[str, Any]) -> tuple[Channel, ...]:
    known = [coord.name for coord in dim.coords or () if isinstance(coord, Channel)]
    names, colors = known or summary.get("ChNames") or (), summary.get("ChColors") or ()
    if len(names) != dim.count or len(set(names)) < len(names):
        return ()
    made = []
    for number, name in enumerate(names):
        # A signed 32-bit integer, as Java has colours: alpha, red, green, blue.
        color = colors[number] if number < len(colors) and isinstance(colors[number], int) else None
        made.append(Channel(name=str(name), color=None if color is None else f"#{color & 0xFFFFFF:06X}"))
    return tuple(made)


def _positions(dim: Dimension, summary: Mapping[str, Any]) -> tuple[Position, ...]:
    """Return the positions by `StagePositions` (2.0) or `InitialPositionList` (1.4)."""
    listed = summary.get("StagePositions") or summary.get("InitialPositionList") or ()
    if len(listed) != dim.count or not all(isinstance(one, Mapping) for one in listed):
        return ()
    labels = [str(one.get("Label", number)) for number, one in enumerate(listed)]
    if len(set(labels)) < len(labels):
        labels = [str(number) for number in range(len(labels))]
    made = []
    for one, label in zip(listed, labels, strict=True):
        stages = {str(part.get("Device")): part.get("Position_um") for part in one.get("DevicePositions") or ()}
        place = stages.get(str(one.get("DefaultXYStage"))) or (None, None)
        height = (stages.get(str(one.get("DefaultZStage"))) or (None,))[0]
        made.append(Position(name=label, x_coord=_number(place[0]), y_coord=_number(place[1]), z_coord=_number(height)))
    return tuple(made)
