"""Given the planes of an image and their pages, this answers: what does OME-XML say of each of them?

Rows are made as text from columns: 100,000 of them cost a fraction of a second. They are made some thousands at a time,
so that a run of any length costs little memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any, Final, NoReturn

from attrs import frozen

from ome_writers.axes import Axis, stage_axes, stage_of
from ome_writers.documents import Outcome
from ome_writers.images import Image
from ome_writers.items import Channel
from ome_writers.markup import attributes, element, escaped, escaped_text
from ome_writers.omexml_pages import TOGETHER, Pages
from ome_writers.omission import PLANE_COLUMNS
from ome_writers.plan import Plan
from ome_writers.records import JSON, PLANE_KEYS, Record
from ome_writers.units import ome_symbol

FRAME_NAMESPACE: Final = "ome-writers/frame"
"""Namespace of the annotations that hold what else came with a frame.

The value of each key is JSON, save that text which could not be taken for JSON stands without its quotes."""

Annotations = dict[str, int]
"""Namespace and value of each annotation, as text, and its number; equal ones are one."""


# ── TiffData ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def tiff_data(pages: Pages, file: tuple[str, str] | None, first: tuple[str, str] | None = None) -> Iterator[str]:
    """Yield a `TiffData` for each plane; `file` is the name and the UUID of its file in a set of several.

    With `first`, one alone says in which file it lies, which is this one.
    """
    rest, named = (_ending(one) for one in (file, first or file))
    yield "".join([f'<TiffData IFD="{ifd}"{at} PlaneCount="{n}"{rest}' for ifd, at, n in pages.stretches])
    for some in pages.batches():
        columns = zip(some.numbers + some.blanks, *(some.loops[role] + some.gaps[role] for role in "CZT"), strict=True)
        told = [
            f'<TiffData IFD="{ifd}" FirstC="{c}" FirstZ="{z}" FirstT="{t}" PlaneCount="1"{rest}'
            for ifd, c, z, t in columns
        ]
        if named != rest and told:
            told[0], named = told[0].removesuffix(rest) + named, rest
        yield "".join(told)


def _ending(file: tuple[str, str] | None) -> str:
    if file is None:
        return "/>"
    return ">" + element("UUID", {"FileName": file[0]}, f"urn:uuid:{file[1]}") + "</TiffData>"


def with_planned(plan: Plan, outcome: Outcome) -> Mapping[int, Record]:
    """Return what a list of frames says of each, by place, and what came with the frame, which goes before it."""
    frames = plan.settings.frames
    listed = {name: values for name in PLANE_COLUMNS if (values := getattr(frames, name, None)) is not None}
    if not listed:
        return outcome.records
    numbers = plan.table["frame"]
    made: dict[int, Record] = {place: {} for place in range(len(numbers))}
    for name, values in listed.items():
        for place, value in enumerate(values[numbers].tolist()):
            if isfinite(value):
                made[place][name] = value
    return {place: record | outcome.records.get(place, {}) for place, record in made.items()}


# ── planes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _nothing(*_: int) -> str:
    return ""


@frozen
class Surroundings:
    """What all planes of an image have in common: attributes as text, by index where they depend on one."""

    x: str = ""
    y: str = ""
    time: Callable[[int], str] = _nothing
    """By index along T."""
    depth: Callable[[int, int], str] = _nothing
    """By index along Z, and along C where channels are focused apart."""
    exposure: Callable[[int], str] = _nothing
    """By index along C."""
    apart: bool = False
    """Whether channels are focused apart."""

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to say."""
        told: tuple[object, ...] = (self.time, self.depth, self.exposure)
        return not (self.x or self.y) and all(one is _nothing for one in told)


def symbol(unit: str | None) -> str | None:
    """Return OME's symbol of a unit, if it has one."""
    return ome_symbol(unit) if unit else None


def stage_units(axes: Sequence[Axis]) -> dict[str, str | None]:
    """Return the units of the stage's coordinates: those of the axes they go along; without an axis z, that of x."""
    along = stage_axes(axes)
    units = {name: along.get(name, along["x"]).dimension.unit for name in "xyz"}
    return {name: symbol(unit) for name, unit in units.items()}


def surroundings(image: Image) -> Surroundings:
    """Return what the plan knows of the planes of an image: times, stage position, depths, exposures."""
    axes = image.axes
    stage = stage_of(image.position)
    units = stage_units(axes)
    loops = {axis.role: axis for axis in axes[:-2]}
    time: Callable[[int], str] = _nothing
    depth: Callable[[int, int], str] = _nothing
    exposure: Callable[[int], str] = _nothing
    exposures, offsets = _optics(image)
    apart = any(offsets)
    if (t := loops.get("T")) and t.is_placed:

        def told(index: int) -> str:
            if not _is_known(t, index):
                return ""
            return attributes({"DeltaT": t.place(index), "DeltaTUnit": symbol(t.dimension.unit)})

        time = told
    z, bottom = loops.get("Z"), stage.get("z")
    if z and (z.is_placed or bottom is not None):

        def deep(index: int, channel: int) -> str:
            place = z.place(index) + (bottom or 0.0) if _is_known(z, index) else None
            place = place if place is None or not apart else place + offsets[channel % len(offsets)]
            return _position("Z", place, symbol(z.dimension.unit))

        depth = deep
    elif bottom is not None:

        def everywhere(_: int, channel: int) -> str:
            return _position("Z", bottom + offsets[channel % len(offsets)] if apart else bottom, units["z"])

        depth = everywhere

    x, y = (_position(axis.upper(), stage.get(axis), units[axis]) for axis in "xy")
    if any(exposures):

        def exposed(channel: int) -> str:
            seconds = exposures[channel % len(exposures)]
            return "" if seconds is None else attributes({"ExposureTime": seconds, "ExposureTimeUnit": "s"})

        exposure = exposed
    return Surroundings(x=x, y=y, time=time, depth=depth, exposure=exposure, apart=apart)


def _optics(image: Image) -> tuple[list[float | None], list[float]]:
    """Return exposure and offset in z of each channel, by the index along C; one alone is that of all planes."""
    channels = [hue.channel or Channel(name=hue.name) for hue in image.hues]
    if any(axis.role == "C" and axis.dimension.type != "channel" for axis in image.axes[:-2]):
        channels = channels[:1]  # a custom axis stands in the channels' place
    return [one.exposure_time for one in channels], [one.z_offset or 0.0 for one in channels]


def _is_known(axis: Axis, index: int) -> bool:
    """Return whether it is known where an element lies: if nobody said how far apart they are, only the first."""
    return index == 0 or axis.scale is not None or axis.coords is not None


def _position(axis: str, place: float | None, unit: str | None) -> str:
    return "" if place is None else attributes({f"Position{axis}": place, f"Position{axis}Unit": unit})


def planes(
    pages: Pages, around: Surroundings, records: Mapping[int, Record], annotations: Annotations | None
) -> Iterator[str]:
    """Yield a `Plane` for each plane of which there is something to say.

    What came with a frame goes before what was planned. Keys without a place of their own are added to `annotations`,
    and the plane refers to them; with `None` they are left out.
    """
    if not records and around.is_silent:
        return
    x, y = around.x, around.y
    for some in pages.batches():
        columns = [some.loops[role] for role in "ZTC"]
        times, exposures = {t: around.time(t) for t in {*columns[1]}}, {c: around.exposure(c) for c in {*columns[2]}}
        layers: list[Any] = columns[0]
        depths: dict[Any, str] = {}
        if around.apart:
            layers = list(zip(columns[0], columns[2], strict=True))
            depths = {layer: around.depth(*layer) for layer in set(layers)}
        else:
            depths = {z: around.depth(z, 0) for z in set(layers)}
        if not records:
            channels = {c: f'{c}"{exposure}' for c, exposure in exposures.items()}
            yield "".join(
                [
                    f'<Plane TheZ="{z}" TheT="{t}" TheC="{channels[c]}{times[t]}{x}{y}{depths[layer]}/>'
                    for z, t, c, layer in zip(*columns, layers, strict=True)
                ]
            )
            continue
        made = []
        for place, z, t, c, layer in zip(some.places, *columns, layers, strict=True):
            where = f'<Plane TheZ="{z}" TheT="{t}" TheC="{c}"'
            if record := records.get(place):
                made.append(where + _said(record, (exposures[c], times[t], x, y, depths[layer]), annotations))
            elif not around.is_silent:
                made.append(f"{where}{exposures[c]}{times[t]}{x}{y}{depths[layer]}/>")
        yield "".join(made)


def _said(record: Record, planned: tuple[str, str, str, str, str], annotations: Annotations | None) -> str:
    """Return the rest of a plane's element, beginning with its attributes."""
    exposure, time, x, y, z = planned
    if "delta_t" in record:
        time = f' DeltaT="{record["delta_t"]!r}" DeltaTUnit="s"'
    if "exposure_time" in record:
        exposure = f' ExposureTime="{record["exposure_time"]!r}" ExposureTimeUnit="s"'
    if "position_x" in record:
        x = f' PositionX="{record["position_x"]!r}" PositionXUnit="µm"'
    if "position_y" in record:
        y = f' PositionY="{record["position_y"]!r}" PositionYUnit="µm"'
    if "position_z" in record:
        z = f' PositionZ="{record["position_z"]!r}" PositionZUnit="µm"'
    others = {key: value for key, value in record.items() if key not in PLANE_KEYS}
    if annotations is None or not others:
        return f"{exposure}{time}{x}{y}{z}/>"
    return f"{exposure}{time}{x}{y}{z}>{annotate(annotations, FRAME_NAMESPACE, others, map_text)}</Plane>"


# ── annotations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def annotate(
    annotations: Annotations, namespace: str, values: Mapping[str, Any], said: Callable[[Any], str] = str
) -> str:
    """Add a map of `values`, as they are `said`, to the annotations if it is not there, and return a reference."""
    pairs = "".join(
        [
            f'<M K="{escaped(key)}">{repr(value) if type(value) in _NUMBERS else escaped_text(said(value))}</M>'
            for key, value in values.items()
        ]
    )
    number = annotations.setdefault(f' Namespace="{escaped(namespace)}"><Value>{pairs}</Value>', len(annotations))
    return f'<AnnotationRef ID="Annotation:{number}"/>'


def structured(annotations: Annotations) -> Iterator[str]:
    """Yield all annotations; there is at least one."""
    yield "<StructuredAnnotations>"
    every = iter(annotations.items())
    while some := list(islice(every, TOGETHER)):
        yield "".join([f'<MapAnnotation ID="Annotation:{number}"{text}</MapAnnotation>' for text, number in some])
    yield "</StructuredAnnotations>"


def map_text(value: JSON) -> str:
    """Return a value as text from which it can be had back: JSON, but text that cannot be taken for it has no quotes.

    Examples
    --------
    >>> map_text("Dichroic 2"), map_text(2), map_text("2"), map_text({"on": True})
    ('Dichroic 2', '2', '"2"', '{"on": true}')
    """
    if type(value) is str and not _reads_as_json(value):
        return value
    return encode(value)


def _reads_as_json(text: str) -> bool:
    # Most text can be told by its first letter.
    if text.lstrip(" \t\n\r")[:1] not in _FIRST:
        return False
    try:
        _decode(text)
    except ValueError:
        return False
    return True


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)


_NUMBERS: Final = frozenset({int, float})
_FIRST: Final = frozenset('"[{-0123456789tfn')
encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_decode: Any = json.JSONDecoder(parse_constant=_not_json).decode
