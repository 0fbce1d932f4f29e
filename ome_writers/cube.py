"""Given a plan, this answers: what is the acquisition as one array, with an axis for each of its loops?

That *cube* has its axes in order of acquisition, whatever the order of storage and however many arrays there are. A key
such as `cube[3, :, -1]` becomes reads of stored arrays in three steps:

1. `resolve`: each dimension gets an index or a range, by numpy's rules.
2. `pieces`: each combination of the indices of loops that fan out chooses an array; the others select from it.
3. `reads`: what lies in the array as it is stored by now is read, in rectangles. The rest is the fill value.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from ome_writers.images import frame_counts
from ome_writers.layout import ArraySpec, roles_of
from ome_writers.order import Rows
from ome_writers.plan import Plan
from ome_writers.reading import Reading
from ome_writers.settings import Dimension

Rectangle = tuple[slice, ...]
"""A slice with a step of 1 for each axis of an array."""
Wanted = int | range
"""What is wanted of a dimension: one element, which takes the dimension away, or several."""


@frozen
class Cube:
    """The acquisition as one array."""

    dims: tuple[str, ...]
    """Names of the dimensions, in order of acquisition; the last two are those of a frame."""
    counts: tuple[int | None, ...]
    """How many elements are planned; `None` without end."""
    labels: tuple[Sequence[Any] | None, ...] = field(hash=False)
    """What the elements are called, `None` where they only have numbers."""
    axes: tuple[int, ...]
    """For each axis of the stored arrays, which of the dimensions it is."""
    fans: tuple[int, ...]
    """The dimensions that choose an array instead, the slowest first."""
    dtype: str
    fill_value: int
    reading: Reading | None = field(default=None, eq=False)
    """Where the arrays hold each of its frames, if that is not plain: if they are jagged, or those of one camera."""
    at: tuple[tuple[str, int], ...] = ()
    """Index in the loop of cameras, if it is the cube of one of them."""
    is_uneven: bool = False
    """Whether its frames differ in size or type, so that it is no array."""

    def coordinates(self, extent: Sequence[int]) -> dict[str, Sequence[Any]]:
        """Return the coordinates of each dimension as far as `extent` goes: names where there are any, else numbers."""
        return {
            name: range(size) if labels is None else list(labels[:size])
            for name, labels, size in zip(self.dims, self.labels, extent, strict=True)
        }


def cube_of(plan: Plan, camera: str | int | None = None) -> Cube:
    """Return the cube of a plan, or that of one of its cameras.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"z": 3, "p": ["A", "B"], "t": 4, "y": 8, "x": 8})
    >>> cube = cube_of(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)))
    >>> cube.dims, cube.axes, cube.fans
    (('z', 'p', 't', 'y', 'x'), (2, 0, 3, 4), (1,))
    """
    dims, arrays = plan.settings.dimensions, plan.layout.arrays
    fixed: tuple[tuple[str, int], ...] = ()
    if camera is not None:
        arrays, dims, fixed = _of_camera(plan, camera)
    spec, roles, reading = arrays[0], roles_of(plan.settings), plan.places.reading
    names = tuple(dim.name for dim in dims)
    return Cube(
        dims=names,
        counts=(*(dim.count for dim in dims[:-2]), *spec.shape[-2:]),
        labels=tuple(dim.coords and tuple(getattr(coord, "name", coord) for coord in dim.coords) for dim in dims),
        axes=tuple(names.index(name) for name in spec.dimension_names),
        fans=tuple(names.index(dim.name) for dim in roles.fans if dim.name in names),
        dtype=spec.dtype,
        fill_value=spec.fill_value,
        reading=None if reading.is_regular and not fixed else reading,
        at=fixed,
        is_uneven=len({(one.shape[-2:], one.dtype) for one in arrays}) > 1,
    )


def _of_camera(
    plan: Plan, camera: str | int
) -> tuple[tuple[ArraySpec, ...], tuple[Dimension, ...], tuple[tuple[str, int], ...]]:
    """Return the arrays of a camera, the dimensions without that of the cameras, and its index there."""
    cameras = plan.settings.camera_dimension
    if cameras is None or cameras.fold:
        raise ValueError(f"there is no camera to choose; got camera={camera!r}")
    (index,) = plan.places.indices(cameras.name, camera)
    arrays = tuple(spec for spec in plan.layout.arrays if spec.camera == index)
    return arrays, tuple(dim for dim in plan.settings.dimensions if dim is not cameras), ((cameras.name, index),)


def reached(plan: Plan, cube: Cube, cursor: int) -> tuple[int, ...]:
    """Return how far each dimension has come after `cursor` places: 1 + the largest index.

    The dimensions of a frame are there from the start. Costs the segments of the plan, not the frames.
    """
    extent = plan.extent(cursor)
    found = [0 if count is None else count for count in cube.counts]
    if cube.reading is not None:
        found[:-2] = [0] * (len(found) - 2)
        for array in np.flatnonzero(extent.all(axis=1) & (frame_counts(plan, cursor) > 0)).tolist():
            for name, size in cube.reading.reached(array, extent[array].tolist()).items():
                if name in cube.dims and all(cube.reading.fans[loop][array] == k for loop, k in cube.at):
                    found[cube.dims.index(name)] = max(found[cube.dims.index(name)], size)
        return tuple(found)
    for axis, dim in enumerate(cube.axes[:-2]):
        found[dim] = int(extent[:, axis].max())
    if cube.fans:
        came = extent.any(axis=1) if extent.shape[1] else frame_counts(plan, cursor) > 0
        for dim, index in zip(cube.fans, digits_of(cube, np.flatnonzero(came)), strict=True):
            found[dim] = int(index.max(initial=-1)) + 1
    return tuple(found)


def loop_indices(cube: Cube, rows: Rows) -> NDArray[np.int64]:
    """Return the index of each row in every dimension but those of a frame. Shape (rows, loops)."""
    found = np.zeros((len(rows), len(cube.dims) - 2), np.int64)
    if cube.reading is not None:
        for dim, name in enumerate(cube.dims[:-2]):
            found[:, dim] = cube.reading.indices(rows, name)
        return found
    for axis, dim in enumerate(cube.axes[:-2]):
        found[:, dim] = rows["index"][:, axis]
    for dim, index in zip(cube.fans, digits_of(cube, rows["array"]), strict=True):
        found[:, dim] = index
    return found


def digits_of(cube: Cube, arrays: NDArray[Any]) -> tuple[NDArray[np.int64], ...]:
    """Return the index of each array in the loops that fan out, which count it as digits."""
    return np.unravel_index(arrays, [cube.counts[dim] or 1 for dim in cube.fans]) if cube.fans else ()


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def resolve(key: object, cube: Cube, extent: Sequence[int], *, beyond: bool) -> tuple[Wanted, ...]:
    """Return what a key means for each dimension, by numpy's rules, in a cube as large as `extent`.

    With `beyond`, an index may also name what is planned and has not come yet.

    Raises
    ------
    IndexError
        If an index is out of bounds, there are too many, or one is no integer, slice or `...`.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 9, "y": 8, "x": 8})
    >>> cube = cube_of(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)))
    >>> resolve((-1, ..., slice(None, None, -4)), cube, (5, 8, 8), beyond=False)
    (4, range(0, 8), range(7, -1, -4))
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    dots = [place for place, one in enumerate(keys) if one is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have one ellipsis ('...')")
    ndim, given = len(cube.dims), len(keys) - len(dots)
    if given > ndim:
        raise IndexError(f"too many indices: there are {ndim} dimensions, and {given} were indexed")
    whole = [slice(None)] * (ndim - given)
    at = dots[0] if dots else len(keys)
    keys[at : at + 1] = whole
    limits = cube.counts if beyond else extent
    return tuple(
        _wanted(one, name, size, limit) for one, name, size, limit in zip(keys, cube.dims, extent, limits, strict=True)
    )


def _wanted(key: Any, name: str, size: int, limit: int | None) -> Wanted:
    if isinstance(key, slice):
        return range(*key.indices(size))
    if isinstance(key, (bool, np.bool_)) or not hasattr(key, "__index__") or getattr(key, "shape", None):
        raise IndexError(f"only integers, slices and '...' are indices here; got {key!r:.80} for dimension {name!r}")
    index = operator.index(key)
    found = index + size if index < 0 else index
    if found < 0 or (limit is not None and found >= limit):
        raise IndexError(f"index {index} is out of bounds for dimension {name!r} with size {size}")
    return found


@frozen
class Piece:
    """The part of a key that is answered by one array."""

    array: int
    wanted: tuple[Wanted, ...]
    """Of each axis of the array."""
    target: tuple[int | slice, ...]
    """Where it goes in the answer, whose dimensions then are in order of acquisition."""
    order: tuple[int, ...]
    """The axes of that part of the answer as they are stored."""


def pieces(cube: Cube, wanted: Sequence[Wanted]) -> Iterator[Piece]:
    """Yield a piece for each array that a key touches; together they are the answer."""
    kept = [dim for dim, one in enumerate(wanted) if isinstance(one, range)]
    if cube.reading is not None:
        yield from _planes(cube, cube.reading, wanted, kept)
        return
    axes = [dim for dim in cube.axes if dim in kept]
    order = tuple(sorted(axes).index(dim) for dim in axes)
    counts = [cube.counts[dim] or 1 for dim in cube.fans]
    for places in product(*(_numbered(wanted[dim]) for dim in cube.fans)):
        array = 0
        for count, (_, index) in zip(counts, places, strict=True):
            array = array * count + index
        at = {dim: place for dim, (place, _) in zip(cube.fans, places, strict=True)}
        yield Piece(
            array=array,
            wanted=tuple(wanted[dim] for dim in cube.axes),
            target=tuple(at.get(dim, slice(None)) for dim in kept),
            order=order,
        )


def _planes(cube: Cube, reading: Reading, wanted: Sequence[Wanted], kept: Sequence[int]) -> Iterator[Piece]:
    """Yield a piece for each plane, since each may lie anywhere; those that nobody planned are none."""
    loops = len(cube.dims) - 2
    frame = [dim for dim in cube.axes if dim >= loops and dim in kept]
    order = tuple(sorted(frame).index(dim) for dim in frame)
    for places in product(*(_numbered(one) for one in wanted[:loops])):
        at = dict(zip(cube.dims, (index for _, index in places), strict=False)) | dict(cube.at)
        for array, index in reading.places(at):
            yield Piece(
                array=array,
                wanted=(*index, *(wanted[dim] for dim in cube.axes[-2:])),
                target=tuple(places[dim][0] if dim < loops else slice(None) for dim in kept),
                order=order,
            )


def _numbered(wanted: Wanted) -> list[tuple[int, int]]:
    return list(enumerate(wanted)) if isinstance(wanted, range) else [(0, wanted)]


@frozen
class Read:
    """A rectangle to read from an array, and where it goes in the piece."""

    selection: Rectangle
    turn: tuple[int | slice, ...]
    """What to take of the rectangle, and which way round."""
    target: tuple[slice, ...]


def reads(wanted: Sequence[Wanted], shape: Sequence[int]) -> Iterator[Read]:
    """Yield what to read of an array that by now has `shape`.

    That is one rectangle, save where a loop is wanted in steps of more than 1: then only the planes are read that were
    asked for. What lies beyond the shape is not read.

    Examples
    --------
    >>> [read.selection for read in reads((range(5, -1, -1), range(8), range(8)), (4, 8, 8))]
    [(slice(0, 4, None), slice(0, 8, None), slice(0, 8, None))]
    """
    loops = len(wanted) - 2
    axes = enumerate(zip(wanted, shape, strict=True))
    for parts in product(*[_cuts(one, size, is_loop=axis < loops) for axis, (one, size) in axes]):
        selection, turn, target = zip(*parts, strict=True)
        yield Read(selection, turn, tuple(part for part in target if part is not None))


def _cuts(wanted: Wanted, size: int, *, is_loop: bool) -> list[tuple[slice, int | slice, slice | None]]:
    """Return selection, turn and target along one axis, once for each rectangle."""
    if isinstance(wanted, int):
        return [(slice(wanted, wanted + 1), 0, None)] if wanted < size else []
    step = wanted.step
    # Going forwards the last ones may not be there, going backwards the first ones.
    first = 0 if step > 0 else max(0, -((wanted.start - size + 1) // step))
    inside = wanted[first:] if step < 0 else range(wanted.start, min(wanted.stop, size), step)
    if not inside:
        return []
    if is_loop and abs(step) > 1:
        return [
            (slice(index, index + 1), slice(None), slice(place, place + 1))
            for place, index in enumerate(inside, start=first)
        ]
    low, high = min(inside[0], inside[-1]), max(inside[0], inside[-1])
    return [(slice(low, high + 1), slice(None, None, step), slice(first, first + len(inside)))]
