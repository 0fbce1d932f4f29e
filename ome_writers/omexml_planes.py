"""Given a plan and what happened, this answers: what does OME-XML say of each plane, and on which page does it lie?

Pages of a TIFF file are appended as its frames come, so the page of a frame is its number among those frames of its
*file* that came. A frame that did not come has no page and no `TiffData`. While a run lasts, all planned frames count
(of an axis without end, those of its first block).

Rows are made as text from columns of the frame table: 100,000 of them cost a fraction of a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.documents import Outcome
from ome_writers.images import Axis, Image, stage_axes, stage_of
from ome_writers.markup import attributes, element, escaped
from ome_writers.order import Rows
from ome_writers.plan import Plan
from ome_writers.records import JSON, PLANE_KEYS, Record
from ome_writers.units import ome_symbol

FRAME_NAMESPACE: Final = "ome-writers/frame"
"""Namespace of the annotations that hold what else came with a frame.

The value of each key is JSON, save that text which could not be taken for JSON stands without its quotes."""

Annotations = dict[str, int]
"""Namespace and value of each annotation, as text, and its number; equal ones are one."""


@frozen(eq=False)
class Pages:
    """The planes of one image, in order of arrival."""

    places: list[int]
    """Places in the plan."""
    loops: dict[str, list[int]]
    """Index of each plane along `T`, `C` and `Z`."""
    numbers: list[int]
    """Number of each plane's page in its file."""


def pages_of(plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]], axes: Sequence[Axis]) -> list[Pages]:
    """Return the planes of each array that came, or while the run lasts those that will."""
    rows, places = _rows(plan, outcome, shapes)
    files = {path: number for number, path in enumerate(plan.layout.files)}
    file_of = np.array([files[spec.path] for spec in plan.layout.arrays])
    numbers = _ordinals(file_of[rows["array"]], len(files))
    by_array = np.argsort(rows["array"], kind="stable")
    ends = np.cumsum(np.bincount(rows["array"], minlength=len(file_of)))[:-1]
    roles = [axis.role for axis in axes[:-2]]
    found = []
    for mine in np.split(by_array, ends):
        columns = dict(zip(roles, rows["index"][mine].T.tolist(), strict=True))
        loops = {role: columns.get(role, [0] * len(mine)) for role in "TCZ"}
        found.append(Pages(places=places[mine].tolist(), loops=loops, numbers=numbers[mine].tolist()))
    return found


def _rows(plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]]) -> tuple[Rows, NDArray[np.int64]]:
    if outcome.verdict == "running":
        if plan.frames is None:
            endless = plan.settings.dimensions[0].name
            axis = plan.layout.arrays[0].dimension_names.index(endless)
            plan = plan.select(**{endless: slice(0, shapes[0][axis])})
        return plan.table, np.arange(plan.frames or 0)
    came = np.ones(outcome.cursor, bool)
    came[outcome.missing] = False
    return plan.rows(0, outcome.cursor)[came], np.flatnonzero(came)


def _ordinals(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return for each item how many of its group came before it.

    groups    0 1 1 0 1
    ordinals  0 0 1 1 2
    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=count)
    ordinals = np.empty(len(groups), np.int64)
    ordinals[order] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ordinals


# ── TiffData ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def tiff_data(pages: Pages, file: tuple[str, str] | None) -> str:
    """Return a `TiffData` for each plane; `file` is the name and the UUID of its file in a set of several."""
    rest = "/>"
    if file:
        rest = ">" + element("UUID", {"FileName": file[0]}, f"urn:uuid:{file[1]}") + "</TiffData>"
    columns = zip(pages.numbers, *(pages.loops[role] for role in "CZT"), strict=True)
    return "".join(
        [
            f'<TiffData IFD="{ifd}" FirstC="{c}" FirstZ="{z}" FirstT="{t}" PlaneCount="1"{rest}'
            for ifd, c, z, t in columns
        ]
    )


# ── planes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@frozen
class Surroundings:
    """What all planes of an image have in common: attributes as text, by index where they depend on one."""

    times: list[str]
    x: str
    y: str
    depths: list[str]

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.x or self.y or any(self.times) or any(self.depths))


def symbol(unit: str | None) -> str | None:
    """Return OME's symbol of a unit, if it has one."""
    return ome_symbol(unit) if unit else None


def stage_units(axes: Sequence[Axis]) -> dict[str, str | None]:
    """Return the units of the stage's coordinates: those of the axes they go along; without an axis z, that of x."""
    along = stage_axes(axes)
    units = {name: along.get(name, along["x"]).dimension.unit for name in "xyz"}
    return {name: symbol(unit) for name, unit in units.items()}


def surroundings(image: Image, axes: Sequence[Axis], shape: tuple[int, ...]) -> Surroundings:
    """Return what the plan knows of the planes of an image: times, stage position, depths."""
    stage = stage_of(image.position)
    units = stage_units(axes)
    sizes = dict(zip((axis.role for axis in axes[:-2]), shape, strict=False))
    loops = {axis.role: axis for axis in axes[:-2]}
    times, depths = [""] * sizes.get("T", 1), [""] * sizes.get("Z", 1)
    if (t := loops.get("T")) and t.is_placed:
        unit = symbol(t.dimension.unit)
        times = [attributes({"DeltaT": time, "DeltaTUnit": unit}) for time in t.places(sizes["T"])]
    z, bottom = loops.get("Z"), stage.get("z")
    if z and (z.is_placed or bottom is not None):
        unit = symbol(z.dimension.unit)
        depths = [_position("Z", place + (bottom or 0.0), unit) for place in z.places(sizes["Z"])]
    elif bottom is not None:
        depths = [_position("Z", bottom, units["z"])]
    return Surroundings(
        times=times,
        x=_position("X", stage.get("x"), units["x"]),
        y=_position("Y", stage.get("y"), units["y"]),
        depths=depths,
    )


def _position(axis: str, place: float | None, unit: str | None) -> str:
    return "" if place is None else attributes({f"Position{axis}": place, f"Position{axis}Unit": unit})


def planes(pages: Pages, around: Surroundings, records: Mapping[int, Record], annotations: Annotations | None) -> str:
    """Return a `Plane` for each plane of which there is something to say.

    What came with a frame goes before what was planned. Keys without a place of their own are added to `annotations`,
    and the plane refers to them; with `None` they are left out.
    """
    times, x, y, depths = around.times, around.x, around.y, around.depths
    columns = [pages.loops[role] for role in "ZTC"]
    if not records:
        if around.is_silent:
            return ""
        return "".join(
            [
                f'<Plane TheZ="{z}" TheT="{t}" TheC="{c}"{times[t]}{x}{y}{depths[z]}/>'
                for z, t, c in zip(*columns, strict=True)
            ]
        )
    made = []
    for place, z, t, c in zip(pages.places, *columns, strict=True):
        where = f'<Plane TheZ="{z}" TheT="{t}" TheC="{c}"'
        if record := records.get(place):
            made.append(where + _told(record, (times[t], x, y, depths[z]), annotations))
        elif not around.is_silent:
            made.append(f"{where}{times[t]}{x}{y}{depths[z]}/>")
    return "".join(made)


def _told(record: Record, planned: tuple[str, str, str, str], annotations: Annotations | None) -> str:
    """Return the rest of a plane's element, beginning with its attributes."""
    time, x, y, z = planned
    if "delta_t" in record:
        time = f' DeltaT="{record["delta_t"]!r}" DeltaTUnit="s"'
    if "exposure_time" in record:
        time += f' ExposureTime="{record["exposure_time"]!r}" ExposureTimeUnit="s"'
    if "position_x" in record:
        x = f' PositionX="{record["position_x"]!r}" PositionXUnit="&#181;m"'
    if "position_y" in record:
        y = f' PositionY="{record["position_y"]!r}" PositionYUnit="&#181;m"'
    if "position_z" in record:
        z = f' PositionZ="{record["position_z"]!r}" PositionZUnit="&#181;m"'
    others = {key: value for key, value in record.items() if key not in PLANE_KEYS}
    if annotations is None or not others:
        return f"{time}{x}{y}{z}/>"
    return f"{time}{x}{y}{z}>{annotate(annotations, FRAME_NAMESPACE, others, map_text)}</Plane>"


# ── annotations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def annotate(
    annotations: Annotations, namespace: str, values: Mapping[str, Any], said: Callable[[Any], str] = str
) -> str:
    """Add a map of `values`, as they are `said`, to the annotations if it is not there, and return a reference."""
    pairs = "".join(
        [
            f'<M K="{escaped(key)}">{repr(value) if type(value) in _NUMBERS else escaped(said(value))}</M>'
            for key, value in values.items()
        ]
    )
    number = annotations.setdefault(f' Namespace="{escaped(namespace)}"><Value>{pairs}</Value>', len(annotations))
    return f'<AnnotationRef ID="Annotation:{number}"/>'


def structured(annotations: Annotations) -> str:
    """Return all annotations."""
    return element(
        "StructuredAnnotations",
        {},
        *(f'<MapAnnotation ID="Annotation:{number}"{text}</MapAnnotation>' for text, number in annotations.items()),
    )


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
