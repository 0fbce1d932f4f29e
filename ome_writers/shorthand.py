"""Dimensions by their standard names: the short way to describe most acquisitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from ome_writers.casts import STANDARD_TYPES, DimensionType, as_whole
from ome_writers.errors import Problem, SettingsError
from ome_writers.items import Channel, Position
from ome_writers.settings import AcquisitionSettings, Dimension


class StandardAxis(str, Enum):  # noqa: UP042 - as text it is what it was in 0.3
    """The names of dimensions that have a well-known type and unit.

    Examples
    --------
    >>> StandardAxis.Z.to_dimension(count=5, scale=0.3).unit
    'micrometer'
    """

    X = "x"
    Y = "y"
    Z = "z"
    CHANNEL = "c"
    TIME = "t"
    POSITION = "p"

    def dimension_type(self) -> DimensionType:
        """Return the type of the axis."""
        return STANDARD_TYPES[self.value]

    def unit(self) -> str | None:
        """Return the usual unit of the axis, `None` for those without one."""
        return {"space": "micrometer", "time": "second"}.get(self.dimension_type())

    def to_dimension(
        self,
        *,
        count: int | None = None,
        coords: Sequence[str | Position | Channel] | None = None,
        chunk_size: int | None = None,
        shard_size_chunks: int | None = None,
        scale: float | None = None,
    ) -> Dimension:
        """Return a dimension of this axis."""
        return Dimension(
            name=self.value,
            count=count,
            coords=coords,
            type=self.dimension_type(),
            unit=self.unit(),
            chunk_size=chunk_size,
            shard_size_chunks=shard_size_chunks,
            scale=scale,
        )


def dims_from_standard_axes(
    sizes: Mapping[str, int | Sequence[str | Position | Channel] | None],
    chunk_shapes: Mapping[str | StandardAxis, int] | None = None,
    shard_shapes: Mapping[str | StandardAxis, int] | None = None,
) -> list[Dimension]:
    """Return the dimensions of standard axes (x, y, z, c, t, p), in the order of `sizes`, the slowest first.

    A size is a count, the names (of positions or channels), or `None` for a first dimension without end. Chunks are
    counted in elements (by default whole frames, and 1 along other axes), shards in chunks.

    Raises
    ------
    SettingsError
        If a name is no standard axis.

    Examples
    --------
    >>> dims = dims_from_standard_axes({"t": 10, "c": ["A", "B"], "y": 512, "x": 512})
    >>> [(dim.name, dim.count, dim.chunk_size) for dim in dims]
    [('t', 10, 1), ('c', 2, 1), ('y', 512, 512), ('x', 512, 512)]
    """
    allowed = [axis.value for axis in StandardAxis]
    strange = [
        name for given in (sizes, chunk_shapes or {}, shard_shapes or {}) for name in given if name not in allowed
    ]
    if strange:
        problems = [
            Problem((str(name),), "invalid_value", f"is no standard axis; they are {', '.join(allowed)}")
            for name in strange
        ]
        raise SettingsError(problems)
    chunks = {StandardAxis(axis): size for axis, size in (chunk_shapes or {}).items()}
    shards = {StandardAxis(axis): size for axis, size in (shard_shapes or {}).items()}
    dims = []
    for name, size in sizes.items():
        axis = StandardAxis(name)
        count = as_whole(size)
        default = None if axis in (StandardAxis.POSITION, StandardAxis.X, StandardAxis.Y) else 1
        if axis in (StandardAxis.X, StandardAxis.Y) and isinstance(size, int):
            default = size
        dims.append(
            axis.to_dimension(
                count=count if isinstance(count, int) else None,
                coords=None if size is None or isinstance(count, int) else size,  # type: ignore[arg-type]
                chunk_size=chunks.get(axis, default),
                shard_size_chunks=shards.get(axis),
            )
        )
    return dims


def flat(
    frame_shape: tuple[int, int], dtype: str, *, pixel_size: float | None = None, **fields: Any
) -> AcquisitionSettings:
    """Return settings for frames of which nothing is known but their shape: a stack without end, along `t`.

    Let each frame say where it belongs, with `frame_metadata={"index": {"t": 0, "c": "GFP", "z": 3}}`; when the run is
    over, `arrange` makes the n-dimensional dataset.

    Parameters
    ----------
    frame_shape
        Height and width of a frame, in pixels.
    dtype
        Name of the numpy dtype of the pixels.
    pixel_size
        In micrometers, if it is known.
    **fields
        Other fields of `AcquisitionSettings`: `root_path`, `format`, `compression`, ….

    Examples
    --------
    >>> from ome_writers import compile
    >>> compile(flat((512, 512), "uint16", root_path="events.ome.zarr"))
    <Plan: frames without end in 1 array>
    """
    unit = None if pixel_size is None else "micrometer"
    dims = [Dimension(name="t", type="time", chunk_size=1)]
    dims += [
        Dimension(name=name, count=count, type="space", unit=unit, scale=pixel_size)
        for name, count in zip("yx", frame_shape, strict=True)
    ]
    return AcquisitionSettings(dimensions=dims, dtype=dtype, **fields)
