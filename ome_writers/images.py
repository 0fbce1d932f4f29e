"""Given a plan and what happened, this answers: what do the documents of both formats have to say of each image?

Two sorts of things stand here: facts of the plan (axes with their scale and origin, channels with their colours,
names), and counts over the frame table (how many frames of each image were planned, which of them came).
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.axes import Axis, axis_of
from ome_writers.casts import split_suffix
from ome_writers.documents import Outcome
from ome_writers.gaps import Pairs, frames_by_array
from ome_writers.holdings import boxes
from ome_writers.items import Camera, Channel, Position
from ome_writers.layout import ArraySpec, axis_dimensions
from ome_writers.order import Rows, cut
from ome_writers.plan import Plan
from ome_writers.settings import AcquisitionSettings, Dimension

_PALETTE: Final = ("#00FF00", "#FF00FF", "#00FFFF", "#FFFF00", "#FF0000", "#0000FF")
"""Colours of channels that have none of their own: green and magenta for two, which colour-blind eyes tell apart."""


def axes_of(plan: Plan, spec: ArraySpec | None = None) -> tuple[Axis, ...]:
    """Return the axes of an array, in storage order; without one, as they are where nothing is jagged."""
    dims = axis_dimensions(plan.settings)
    names = plan.layout.arrays[0].dimension_names
    if spec is None:
        return tuple(axis_of(dims[name]) for name in names)
    return tuple(map(axis_of, _dimensions_of(plan.settings, spec, [dims[name] for name in names])))


def _dimensions_of(settings: AcquisitionSettings, spec: ArraySpec, dims: Sequence[Dimension]) -> list[Dimension]:
    """Return the dimensions of an array with the elements that it holds, where they lie for its position and camera."""
    cameras = settings.camera_dimension
    camera = cameras.coords[spec.camera] if cameras and cameras.coords and not cameras.fold else None
    position, elements = settings.positions[spec.position], dict(spec.elements)
    made = []
    for dim, size in zip(dims, spec.shape, strict=True):
        own = position.coords.get(dim.name) if dim.type in ("space", "time") else None
        if own:
            one = evolve(dim, count=len(own), coords=own, scale=None, translation=None)
        elif dim in settings.frame_dimensions and isinstance(camera, Camera):
            scale = camera.pixel_size[dim is settings.dimensions[-1]] if camera.pixel_size else dim.scale
            one = evolve(dim, count=size, scale=scale)
        else:
            one = dim
        made.append(_picked(one, elements[dim.name]) if dim.name in elements else one)
    return made


def _picked(dim: Dimension, elements: Sequence[int]) -> Dimension:
    """Return a dimension with some of its elements only."""
    count = len(elements)
    if dim.coords:
        scale = None if dim.scale is None or not isinstance(elements, range) else dim.scale * elements.step
        return evolve(dim, count=count, coords=[dim.coords[k] for k in elements], scale=scale, translation=None)
    axis = axis_of(dim)
    if dim.type not in ("space", "time") or not axis.is_placed:
        return evolve(dim, count=count)
    if isinstance(elements, range):
        origin = axis.origin + (dim.scale or 0) * elements.start
        moved = origin if dim.translation is not None or elements.start else None
        return evolve(dim, count=count, scale=dim.scale and dim.scale * elements.step, translation=moved)
    return evolve(dim, count=count, coords=[axis.place(k) for k in elements], scale=None, translation=None)


@frozen
class Hue:
    """A channel as it is shown: every one has a name and a colour."""

    name: str
    color: str
    """`#RRGGBB` or `#RRGGBBAA`."""
    channel: Channel | None
    """What the settings say of it."""


def channel_dimension(settings: AcquisitionSettings) -> Dimension | None:
    """Return the dimension of channels."""
    return next((dim for dim in settings.dimensions[:-2] if dim.type == "channel"), None)


def hues(dim: Dimension | None, count: int) -> tuple[Hue, ...]:
    """Return the channels of a dimension (`None`: there is one, which nobody named), with names and colours for all.

    Examples
    --------
    >>> [(hue.name, hue.color) for hue in hues(Dimension(name="c", coords=["DAPI", "GFP"]), 2)]
    [('DAPI', '#00FF00'), ('GFP', '#FF00FF')]
    >>> [(hue.name, hue.color) for hue in hues(None, 1)]
    [('Channel 0', '#FFFFFF')]
    """
    coords = (dim.coords if dim else None) or ()
    made = []
    for number in range(count):
        coord = coords[number] if number < len(coords) else None
        channel = coord if isinstance(coord, Channel) else None
        name = channel.name if channel else str(coord) if coord is not None else ""
        if not name:
            name = f"Channel {number}" if dim is None or dim.type == "channel" else f"{dim.name} {number}"
        color = (channel.color if channel else None) or ("#FFFFFF" if count == 1 else _PALETTE[number % len(_PALETTE)])
        made.append(Hue(name=name, color=color, channel=channel))
    return tuple(made)


@frozen
class Image:
    """An image: what its array holds, and where it was taken."""

    array: int
    """`plan.layout.arrays[array]`."""
    spec: ArraySpec
    name: str
    position: Position
    hues: tuple[Hue, ...]
    """Its channels."""
    fan: dict[str, str]
    """Loops that chose it, other than that of the positions, and the name or index that they had."""
    axes: tuple[Axis, ...]
    camera: Camera | None
    """The camera that took it, if there are several."""


def images_of(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> tuple[Image, ...]:
    """Return the images of a plan, whose arrays have `shapes`."""
    settings = plan.settings
    positions = settings.positions
    title = None if settings.position_dimension_index is not None else title_of(settings.root_path)
    channels = channel_dimension(settings)
    names = plan.layout.arrays[0].dimension_names
    axis = names.index(channels.name) if channels and channels.name in names else None
    loops = {dim.name: dim for dim in settings.dimensions[:-2]}
    dims = axis_dimensions(settings)
    cameras = settings.camera_dimension
    cameras = None if cameras is None or cameras.fold else cameras
    plain = axes_of(plan)
    known: dict[object, tuple[Axis, ...]] = {}
    shown: dict[object, tuple[Hue, ...]] = {}
    made = []
    for number, (spec, shape) in enumerate(zip(plan.layout.arrays, shapes, strict=True)):
        fan = {name: _label(loops[name], index) for name, index in spec.fan}
        camera = None
        if cameras is not None:
            fan = {cameras.name: _label(cameras, spec.camera), **fan}
            camera = next(item for k, item in enumerate(cameras.coords or ()) if k == spec.camera)
        chosen = dict(spec.fan).get(channels.name) if channels else None
        some = dict(spec.elements).get(channels.name) if channels else None
        key = (chosen, some, 1 if axis is None else shape[axis])
        if key not in shown:
            shown[key] = _shown(channels and dims[channels.name], *key)
        position = positions[spec.position]
        own = (spec.elements, spec.camera, tuple(position.coords.items()))
        if own not in known:
            plain_here = not spec.elements and not position.coords and cameras is None
            known[own] = plain if plain_here else axes_of(plan, spec)
        name = " ".join([title or position.name, *(f"{loop}={label}" for loop, label in fan.items())])
        image = Image(
            array=number,
            spec=spec,
            name=name,
            position=position,
            hues=shown[key],
            fan=fan,
            axes=known[own],
            camera=camera if isinstance(camera, Camera) else None,
        )
        made.append(image)
    return _told_apart(plan, made)


def _told_apart(plan: Plan, images: Sequence[Image]) -> tuple[Image, ...]:
    """Return the images; of those that share all that chose them, each is named after the elements that it holds."""
    keys = [(image.spec.position, image.spec.camera, image.spec.fan) for image in images]
    if plan.settings.holes != "split" or len(set(keys)) == len(keys):
        return tuple(images)
    counts = Counter(keys)
    dims = axis_dimensions(plan.settings)
    made = []
    for key, image in zip(keys, images, strict=True):
        told = [f"{name}={_span(dims[name], elements)}" for name, elements in image.spec.elements]
        made.append(evolve(image, name=" ".join([image.name, *told])) if counts[key] > 1 else image)
    return tuple(made)


def _span(dim: Dimension, elements: Sequence[int]) -> str:
    if dim.coords and dim.type not in ("space", "time"):
        return ",".join(_label(dim, k) for k in elements)
    if isinstance(elements, range) and len(elements) > 1:
        return f"{elements.start}:{elements[-1] + 1}" + (f":{elements.step}" if elements.step > 1 else "")
    return ",".join(map(str, elements))


def _shown(dim: Dimension | None, chosen: int | None, some: Sequence[int] | None, count: int) -> tuple[Hue, ...]:
    """Return the channels of an image: `count` along its axis, of `some` elements, or the one that chose the image."""
    if dim is None or (chosen is None and some is None):
        return hues(dim, count)
    every = hues(dim, dim.count or 1)
    if some is not None:
        return tuple(every[k] for k in some)[:count]
    return every[chosen : (chosen or 0) + 1]


def _label(dim: Dimension, index: int) -> str:
    coord = dim.coords[index] if dim.coords else index
    return str(getattr(coord, "name", coord))


def title_of(root_path: str) -> str:
    """Return what an image is called that no position names: as its file."""
    return posixpath.basename(split_suffix(root_path.replace("\\", "/").rstrip("/"))[0]) or "image"


# ── counts over the frame table ───────────────────────────────────────────────────────────────────────────────────────


def shapes_of(plan: Plan, outcome: Outcome) -> tuple[tuple[int, ...], ...]:
    """Return the shape of each array: as planned while the run lasts, then as it came and could be stored.

    While the run lasts, an axis without end is as long as is announced for the frame that comes next.
    """
    if outcome.verdict != "running":
        return plan.shapes(outcome.told)
    axis = next((axis for axis, size in enumerate(plan.layout.arrays[0].shape) if size is None), None)
    if axis is None:
        return plan.first_shapes
    length = plan.announced(int(plan.rows(outcome.cursor, outcome.cursor + 1)["index"][0, axis]) + 1)
    return tuple((*shape[:axis], length, *shape[axis + 1 :]) for shape in plan.first_shapes)


def frame_counts(plan: Plan, cursor: int | None) -> NDArray[np.int64]:
    """Return how many of the first `cursor` places (`None`: of all) go to each array.

    Costs the segments, not the frames.
    """
    total = np.zeros(len(plan.layout.arrays), np.int64)
    left = plan.frames if cursor is None else cursor
    for segment in plan.segments:
        if not left:
            break
        stop = left if segment.frames is None else min(left, segment.frames)
        left -= stop
        for piece in cut(segment, 0, stop):
            counts = np.bincount(piece.rows["array"], minlength=len(total))
            for loop in reversed(piece.loops):
                repeats = loop.repeats or 0  # what is cut has an end
                if loop.array:  # each time round the frames go to other arrays
                    counts = np.sum([np.roll(counts, time * loop.array) for time in range(repeats)], axis=0)
                else:
                    counts *= repeats
            total += counts
    return total


def listed(every: Pairs, between: str = " ") -> str:
    """Return ranges as text.

    Examples
    --------
    >>> listed(np.array([[3, 5], [9, 9]]))
    '3-5 9'
    """
    some = 8192
    pieces = (every[at : at + some].tolist() for at in range(0, len(every), some))
    return between.join(
        between.join([str(first) if first == last else f"{first}-{last}" for first, last in piece]) for piece in pieces
    )


def ranges_in(text: str) -> list[list[int]]:
    """Return the ranges that a text lists, first and last.

    Examples
    --------
    >>> ranges_in("3-5 9")
    [[3, 5], [9, 9]]
    """
    ends = (part.partition("-") for part in text.split())
    return [[int(first), int(last or first)] for first, _, last in ends]


@frozen(eq=False)
class Tally:
    """What was planned for each array and what came: index 0 is the first array."""

    planned: NDArray[np.int64] | None
    """`None` if there is no end."""
    came: NDArray[np.int64]
    missing: tuple[Pairs, ...]
    """Numbers of the frames that were gone through and did not come, as ranges, first and last."""


def tally(plan: Plan, outcome: Outcome) -> Tally:
    """Count the frames of each array."""
    missing, absent = frames_by_array(plan, outcome.gaps)
    return Tally(
        planned=None if plan.frames is None else frame_counts(plan, None),
        came=frame_counts(plan, outcome.cursor) - absent,
        missing=missing,
    )


# ── which planes there are, where not all of them are planned ─────────────────────────────────────────────────────────


def rows_within(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> Rows:
    """Return the planned rows that lie within arrays of these shapes."""
    axis = next((axis for axis, size in enumerate(plan.layout.arrays[0].shape) if size is None), None)
    if axis is not None:
        plan = plan.select(**{plan.settings.dimensions[0].name: slice(0, max(shape[axis] for shape in shapes))})
    rows = plan.table
    if not rows["index"].shape[1]:
        return rows
    limits = np.array([shape[:-2] for shape in shapes], np.int64)
    inside: Rows = rows[(rows["index"] < limits[rows["array"]]).all(axis=1)]
    return inside


def planned_masks(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.bool_]]:
    """Return for each array, whose shapes are given, which of its planes are planned."""
    if not plan.settings.is_ragged:
        return [np.ones(shape[:-2], bool) for shape in shapes]
    rows = rows_within(plan, shapes)
    order = np.argsort(rows["array"], kind="stable")
    ends = np.cumsum(np.bincount(rows["array"], minlength=len(shapes)))[:-1]
    masks = [np.zeros(shape[:-2], bool) for shape in shapes]
    for mask, mine in zip(masks, np.split(order, ends), strict=True):
        mask[tuple(rows["index"][mine].T)] = len(mine) > 0
    return masks


def paged_masks(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.bool_]]:
    """Return which planes of each array have a page in OME-TIFF: the planned ones, since no image can be without."""
    masks = planned_masks(plan, shapes)
    for mask in masks:
        if not mask.any():
            mask[(0,) * mask.ndim] = True
    return masks


def planes_held(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> dict[int, list[list[list[int]]]]:
    """Return for each array in which not every plane is planned which ones are, as boxes: indices along each axis.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", omit={"c": "GFP", "z": [0, 2]},
    ...     dimensions=dims_from_standard_axes({"c": ["DAPI", "GFP"], "z": 3, "y": 8, "x": 8})))
    >>> planes_held(plan, plan.shapes())
    {0: [[[0], [0, 1, 2]], [[1], [1]]]}
    """
    if not plan.settings.is_ragged:
        return {}
    masks = enumerate(planned_masks(plan, shapes))
    return {array: [[axis.tolist() for axis in box] for box in boxes(mask)] for array, mask in masks if not mask.all()}
