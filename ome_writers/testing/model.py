"""Given settings, this answers: what would plain nested loops do? The oracle of the tests.

It says a second time, in the dullest way, what `order.py`, `layout.py` and `plan.py` say in a clever one, and imports
none of them. A rule that is changed there must be changed here by hand: that is what it is for.

1. The loops run as nested `for` statements; one that snakes goes backwards every second time it is started. One of
   positions in tours goes from tour to tour, and has a loop over the positions of the tour within another.
2. Each loop is an axis or fans out. Every combination of fanned-out indices is an image; positions count slowest, then
   cameras, then the other loops in the order of acquisition.
3. A frame lands in its image at the indices of the axes, in storage order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice, product
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.settings import AcquisitionSettings, Dimension


@frozen
class Arrival:
    """A frame as the loops deliver it."""

    frame: int
    """Number in order of arrival."""
    loops: dict[str, int]
    """Index in every loop, by the name of its dimension, in order of acquisition."""
    position: int
    image: int
    index: tuple[int, ...]
    """Storage index in the image, without y and x."""


def arrivals(settings: AcquisitionSettings) -> Iterator[Arrival]:
    """Yield the frames of an acquisition as they come, without end if it has none.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, Dimension
    >>> settings = AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=[
    ...     Dimension(name="t", count=2), Dimension(name="p", count=2, snake=True), Dimension(name="y", count=8),
    ...     Dimension(name="x", count=8)])
    >>> [(arrival.image, arrival.index) for arrival in arrivals(settings)]
    [(0, (0,)), (1, (0,)), (1, (1,)), (0, (1,))]
    """
    axes, fans = axes_and_fans(settings)
    images = image_numbers(fans)
    position = [dim.name for dim in fans if dim.type == "position"]
    for frame, indices in enumerate(turns(settings)):
        yield Arrival(
            frame=frame,
            loops=indices,
            position=indices[position[0]] if position else 0,
            image=images[tuple(indices[dim.name] for dim in fans)],
            index=tuple(indices[dim.name] for dim in axes),
        )


def turns(settings: AcquisitionSettings) -> Iterator[dict[str, int]]:
    """Yield the index in every loop at each of their turns, by the name of its dimension, in order of acquisition."""
    loops = list(settings.dimensions[:-2])
    return _nested(loops, {dim.name: 0 for dim in loops}, {})


def _nested(loops: list[Dimension], starts: dict[str, int], outside: dict[str, int]) -> Iterator[dict[str, int]]:
    if not loops:
        yield outside
        return
    first, *rest = loops
    starts[first.name] += 1
    if first.tours:
        begin = 0
        for size in first.tours:
            loops = list(rest)
            names = [dim.name for dim in rest]
            turn = names.index(first.tours_within) + 1 if first.tours_within else len(rest)
            loops.insert(turn, Dimension(name=first.name, type="position", count=size))
            for found in _nested(loops, starts, {**outside, first.name: 0}):
                yield {**found, first.name: begin + found[first.name]}
            begin += size
        return
    if first.count is None:
        steps: Iterator[int] = count()
    elif first.snake and starts[first.name] % 2 == 0:
        steps = iter(range(first.count - 1, -1, -1))
    else:
        steps = iter(range(first.count))
    for step in steps:
        yield from _nested(rest, starts, {**outside, first.name: step})


def axes_and_fans(settings: AcquisitionSettings) -> tuple[list[Dimension], list[Dimension]]:
    """Return the loops that are axes, in storage order, and those that choose an image, positions first, then cameras.

    OME-Zarr and OME-TIFF have one axis each for time, channels and depth. The axis goes to a loop without end, else to
    the outermost of that type; if no channel claims the axis of channels, it goes to the outermost of the other loops.
    """
    loops = [dim for dim in settings.dimensions[:-2] if dim.type not in ("position", "camera")]
    if settings.format.name == "scratch":
        axes = loops
    else:
        claims = [dim for dim in loops if dim.count is None]
        claims += [dim for dim in loops if dim.type in ("time", "channel", "space")]
        claims += loops
        owners: dict[str, Dimension] = {}
        for dim in claims:
            role = "time" if dim.type == "time" else "space" if dim.type == "space" else "channel"
            if role not in owners:
                owners[role] = dim
        names = [dim.name for dim in owners.values()]
        axes = [dim for dim in loops if dim.name in names]
    fans = [dim for kind in ("position", "camera") for dim in settings.dimensions[:-2] if dim.type == kind]
    fans += [dim for dim in loops if dim not in axes]
    return _stored(settings, axes), fans


def _stored(settings: AcquisitionSettings, axes: list[Dimension]) -> list[Dimension]:
    if settings.storage_order == "acquisition":
        return axes
    if settings.storage_order == "ome":
        if settings.format.name != "ome-zarr":
            return axes
        times = [dim for dim in axes if dim.type == "time"]
        depths = [dim for dim in axes if dim.type == "space"]
        others = [dim for dim in axes if dim.type not in ("time", "space")]
        return times + others + depths
    return [dim for name in settings.storage_order for dim in axes if dim.name == name]


def image_numbers(fans: Sequence[Dimension]) -> dict[tuple[int, ...], int]:
    """Return the number of the image of every combination of indices in the loops that fan out."""
    return {indices: number for number, indices in enumerate(product(*(range(dim.count or 1) for dim in fans)))}


def expected_arrays(settings: AcquisitionSettings, frames: Sequence[NDArray[Any] | None]) -> dict[int, NDArray[Any]]:
    """Return the arrays that a run must leave, by number of the image.

    Parameters
    ----------
    frames
        What came, in order of arrival, pixels of shape (y, x); `None` for a frame that did not come. Fewer than planned
        mean that the run stopped there: the axis of the outermost loop then ends with the last index (at least 1 long).

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, Dimension
    >>> settings = AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=[
    ...     Dimension(name="t"), Dimension(name="c", count=2), Dimension(name="y", count=1),
    ...     Dimension(name="x", count=1)])
    >>> came = [frame_pixels(number, (1, 1), "uint8") for number in range(3)]
    >>> expected_arrays(settings, [*came, None])[0].tolist()
    [[[[1]], [[2]]], [[[3]], [[0]]]]
    """
    axes, fans = axes_and_fans(settings)
    height, width = (dim.count or 1 for dim in settings.frame_dimensions)
    outermost = next((dim for dim in settings.dimensions[:-2] if dim in axes), None)
    came = list(zip(islice(arrivals(settings), len(frames)), frames, strict=True))
    arrays = {}
    for image in image_numbers(fans).values():
        mine = [(arrival, pixels) for arrival, pixels in came if arrival.image == image]
        shape = []
        for dim in axes:
            if dim is outermost:
                shape.append(max([1 + arrival.loops[dim.name] for arrival, _ in mine], default=1))
            else:
                shape.append(dim.count or 1)
        array = np.zeros((*shape, height, width), settings.dtype)
        for arrival, pixels in mine:
            if pixels is not None:
                array[arrival.index] = pixels
        arrays[image] = array
    return arrays


def frame_pixels(number: int, shape: tuple[int, int], dtype: str) -> NDArray[Any]:
    """Return pixels that tell their frame and their place in it.

    The first is `number + 1`, as far as the dtype can count; for `bool` they are the binary digits of `number + 1`.

    Examples
    --------
    >>> frame_pixels(4, (2, 3), "uint8").tolist()
    [[5, 36, 67], [98, 129, 160]]
    >>> frame_pixels(4, (1, 4), "bool").tolist()
    [[True, False, True, False]]
    """
    place = np.arange(shape[0] * shape[1]).reshape(shape)
    type_ = np.dtype(dtype)
    if type_.kind == "b":
        return np.asarray((number + 1) >> (place % 8) & 1, type_)
    value = number + 1 + 31 * place
    if type_.kind in "iu":
        return value.astype(type_)
    # Float16 counts in halves to 1024.
    pixels = value % 1024 + 0.5 * (value % 2)
    return (pixels - 1j * value).astype(type_) if type_.kind == "c" else pixels.astype(type_)
