"""Given a plan and what happened, this answers: what does OME-XML say of each plane, and on which page does it lie?

Which page a plane lies on says `pages.py`. While a run lasts, all planned frames count (of an axis without end, those
of the rounds that are complete, and of the first).

Rows are made as text from columns of the frame table: 100,000 of them cost a fraction of a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final, NoReturn

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.axes import Axis, stage_axes, stage_of
from ome_writers.documents import Outcome
from ome_writers.images import Image, planned_masks
from ome_writers.markup import attributes, element, escaped, escaped_text
from ome_writers.order import Rows
from ome_writers.pages import paging
from ome_writers.placement_tiff import place_tiff
from ome_writers.plan import Plan
from ome_writers.records import JSON, PLANE_KEYS, Record
from ome_writers.units import ome_symbol

FRAME_NAMESPACE: Final = "ome-writers/frame"
"""Namespace of the annotations that hold what else came with a frame.

The value of each key is JSON, save that text which could not be taken for JSON stands without its quotes."""

_NONE: Final = np.empty((0, 0), np.int64)

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
    gaps: dict[str, list[int]]
    """Index along `T`, `C` and `Z` of each plane that did not come."""
    blanks: list[int]
    """Number of the blank page that stands for each of these."""
    stretches: Sequence[tuple[int, str, int]] = ()
    """Instead of all these: number of a page, where `FirstT` and so on say it is, and how many follow in order."""

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self.numbers or self.blanks or self.stretches)


def pages_of(
    plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]], axes: Sequence[Axis]
) -> tuple[list[Pages], dict[str, int]]:
    """Return the planes of each array that came, or while the run lasts those that will.

    And of how many blank pages each file has to end with, if any.
    """
    if outcome.placed and plan.settings.format.name == "ome-tiff":
        return list(_placed(plan, outcome, shapes, axes)), {}
    rows, came = _rows(plan, outcome, shapes)
    paged = paging(plan, rows, shapes)
    by_array = np.argsort(rows["array"], kind="stable")
    ends = np.cumsum(np.bincount(rows["array"], minlength=len(shapes)))[:-1]
    roles = [axis.role for axis in axes[:-2]]
    bare = outcome.bare or outcome.verdict == "running"
    masks = planned_masks(plan, shapes)
    found = []
    for mask, blank, mine in zip(masks, paged.blanks.tolist(), np.split(by_array, ends), strict=True):
        index = rows["index"][mine]
        # Number of the page of each plane. The first axis is for images that have no other.
        numbers = np.where(mask[None], -1 if bare else blank, -1)
        numbers[np.zeros(len(mine), int), *index.T] = paged.numbers[mine]
        absent = numbers >= 0
        here = came[mine]
        absent[np.zeros(here.sum(), int), *index[here].T] = False
        if outcome.verdict == "running" and plan.frames is None:
            # Said often, of more and more planes: so in few words.
            found.append(_told_in_stretches(numbers[0], roles))
            continue
        found.append(
            Pages(
                places=mine[here].tolist(),
                loops=_loops(roles, index[here]),
                numbers=paged.numbers[mine[here]].tolist(),
                gaps=_loops(roles, np.argwhere(absent)[:, 1:]),
                blanks=numbers[absent].tolist(),
            )
        )
    return found, {} if bare else paged.behind


def _told_in_stretches(numbers: NDArray[np.int64], roles: Sequence[str]) -> Pages:
    """Return the planes of an image whose pages are `numbers`, told where pages follow each other as planes do."""
    flat = numbers.reshape(-1)
    starts = np.r_[0, np.flatnonzero(np.diff(flat) != 1) + 1]
    counts = np.diff(starts, append=len(flat)).tolist()
    index = np.array(np.unravel_index(starts, numbers.shape)).T if roles else np.empty((1, 0), np.int64)
    firsts = _loops(roles, index)
    columns = zip(flat[starts].tolist(), counts, *(firsts[role] for role in "CZT"), strict=True)
    told = [
        (page, attributes({"FirstC": c, "FirstZ": z, "FirstT": t}), count)
        for page, count, c, z, t in columns
        if page >= 0
    ]
    return Pages(places=[], loops=_loops([], _NONE), numbers=[], gaps=_loops([], _NONE), blanks=[], stretches=told)


def _placed(plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]], axes: Sequence[Axis]) -> Iterator[Pages]:
    """Yield the planes of each array where every one has its page, whether it came or not.

    While a run without end lasts, they are told in stretches, where the readers' order is the one in which they lie.
    """
    every: Iterable[NDArray[np.int64]]
    roles = [axis.role for axis in axes[:-2]]
    axis = next((axis for axis, size in enumerate(plan.layout.arrays[0].shape) if size is None), None)
    if outcome.verdict == "running" and axis is not None:
        placement = place_tiff(plan)
        if prod(shapes[0][:axis]) == 1:
            for array, shape in enumerate(shapes):
                inner = prod(shape[axis + 1 : -2])
                found = placement.stretches(array, shape[axis])
                told = [
                    (page, attributes({f"First{role}": turn * (role == roles[axis]) for role in "CZT"}), rounds * inner)
                    for page, turn, rounds in found
                ]
                yield Pages(
                    places=[], loops=_loops([], _NONE), numbers=[], gaps=_loops([], _NONE), blanks=[], stretches=told
                )
            return
        every = map(placement.numbers_within, range(len(shapes)), shapes)
    else:
        every = final_pages(plan, shapes)
    rows, came = _rows(plan, outcome, shapes)
    by_array = np.argsort(rows["array"], kind="stable")
    ends = np.cumsum(np.bincount(rows["array"], minlength=len(shapes)))[:-1]
    for numbers, planned in zip(every, np.split(by_array, ends), strict=True):
        mine = planned[came[planned]]
        index = rows["index"][mine]
        absent = np.ones((1, *numbers.shape), bool)
        absent[np.zeros(len(mine), int), *index.T] = False
        yield Pages(
            places=mine.tolist(),
            loops=_loops(roles, index),
            numbers=numbers[None][np.zeros(len(mine), int), *index.T].tolist(),
            gaps=_loops(roles, np.argwhere(absent)[:, 1:]),
            blanks=numbers[absent[0]].tolist(),
        )


def final_pages(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of the pages of each array in the end: in storage order, one image of a file after the other.

    That is how the pages of files are numbered that were laid out before the frames came.
    """
    before: dict[str, int] = {}
    for spec, shape in zip(plan.layout.arrays, shapes, strict=True):
        first, count = before.get(spec.path, 0), prod(shape[:-2])
        yield np.arange(first, first + count).reshape(shape[:-2])
        before[spec.path] = first + count


def _loops(roles: Sequence[str], index: NDArray[np.integer[Any]]) -> dict[str, list[int]]:
    columns = dict(zip(roles, index.T.tolist(), strict=True))
    return {role: columns.get(role, [0] * len(index)) for role in "TCZ"}


def _rows(plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]]) -> tuple[Rows, NDArray[np.bool_]]:
    """Return the rows that have a page of their own, from the first of the plan on, and which of them came."""
    if outcome.verdict == "running":
        if plan.frames is None:
            endless = plan.settings.dimensions[0].name
            axis = plan.layout.arrays[0].dimension_names.index(endless)
            plan = plan.select(**{endless: slice(0, shapes[0][axis])})
        return plan.table, np.ones(plan.frames or 0, bool)
    came = np.ones(outcome.cursor, bool)
    came[outcome.missing] = False
    came = came[: np.flatnonzero(came)[-1] + 1] if came.any() else came[:0]
    return plan.rows(0, len(came)), came


# ── TiffData ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def tiff_data(pages: Pages, file: tuple[str, str] | None) -> str:
    """Return a `TiffData` for each plane; `file` is the name and the UUID of its file in a set of several."""
    rest = "/>"
    if file:
        rest = ">" + element("UUID", {"FileName": file[0]}, f"urn:uuid:{file[1]}") + "</TiffData>"
    if pages.stretches:
        return "".join([f'<TiffData IFD="{ifd}"{at} PlaneCount="{n}"{rest}' for ifd, at, n in pages.stretches])
    columns = zip(pages.numbers + pages.blanks, *(pages.loops[role] + pages.gaps[role] for role in "CZT"), strict=True)
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


def surroundings(image: Image, shape: tuple[int, ...]) -> Surroundings:
    """Return what the plan knows of the planes of an image: times, stage position, depths."""
    axes = image.axes
    stage = stage_of(image.position)
    units = stage_units(axes)
    sizes = dict(zip((axis.role for axis in axes[:-2]), shape, strict=False))
    loops = {axis.role: axis for axis in axes[:-2]}
    times, depths = [""] * sizes.get("T", 1), [""] * sizes.get("Z", 1)
    if (t := loops.get("T")) and t.is_placed:
        unit = symbol(t.dimension.unit)
        times = [_time(time, unit) for time in _known(t, sizes["T"])]
    z, bottom = loops.get("Z"), stage.get("z")
    if z and (z.is_placed or bottom is not None):
        unit = symbol(z.dimension.unit)
        depths = [_position("Z", place, unit) for place in _known(z, sizes["Z"], bottom or 0.0)]
    elif bottom is not None:
        depths = [_position("Z", bottom, units["z"])]
    return Surroundings(
        times=times,
        x=_position("X", stage.get("x"), units["x"]),
        y=_position("Y", stage.get("y"), units["y"]),
        depths=depths,
    )


def _known(axis: Axis, count: int, first: float = 0.0) -> list[float | None]:
    """Return the places of the elements of an axis; but for the first, none if nobody said how far apart they are."""
    known = count if axis.scale is not None or axis.coords is not None else min(count, 1)
    return [*(first + place for place in axis.places(known)), *[None] * (count - known)]


def _time(time: float | None, unit: str | None) -> str:
    return "" if time is None else attributes({"DeltaT": time, "DeltaTUnit": unit})


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
        x = f' PositionX="{record["position_x"]!r}" PositionXUnit="µm"'
    if "position_y" in record:
        y = f' PositionY="{record["position_y"]!r}" PositionYUnit="µm"'
    if "position_z" in record:
        z = f' PositionZ="{record["position_z"]!r}" PositionZUnit="µm"'
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
            f'<M K="{escaped(key)}">{repr(value) if type(value) in _NUMBERS else escaped_text(said(value))}</M>'
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
