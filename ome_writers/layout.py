"""Given settings, this answers: which n-dimensional arrays will there be, of what shape, cut how, and where?

1. Each loop of the acquisition is an axis of the arrays or fans out into several of them (`fan_out`). Positions fan
   out; so do loops for which a format has no axis left.
2. The axes are put into storage order.
3. Each combination of fanned-out indices is an image, with one array. Images are numbered in the order of the
   positions.

Paths are POSIX keys below the root, good on a disk and on an object store. A position's name is a label, not a path.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from itertools import product
from math import prod
from typing import Final, Literal

from attrs import frozen

from ome_writers.casts import split_suffix
from ome_writers.errors import Problem, SettingsError
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat
from ome_writers.items import Position
from ome_writers.settings import AcquisitionSettings, Dimension

NGFF_VERSION: Final = "0.5"

MOST_IMAGES: Final = 1_000_000
"""More would fill the memory before anything could be said about them."""

Unit = Literal["frame", "chunk", "shard"]
"""What a writer is handed: single frames, whole chunks, or whole shards (where there are any, else chunks)."""


@frozen
class Codec:
    """How chunks (or TIFF pages) are compressed: by name, and with a level if it is not the usual one.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"y": 8, "x": 8})
    >>> settings = AcquisitionSettings(root_path="a.zarr", dtype="uint8", dimensions=dims, compression="zstd")
    >>> compile(settings).layout.arrays[0].codec
    Codec(name='zstd', level=None)
    """

    name: str
    level: int | None = None


@frozen
class ArraySpec:
    """An n-dimensional array: its place, shape and storage. Axes are in storage order and end with those of a frame.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 5, "c": 2, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> spec = plan.layout.arrays[0]
    >>> spec.dimension_names, spec.shape, spec.chunk_shape
    (('t', 'c', 'y', 'x'), (5, 2, 8, 8), (2, 1, 8, 8))
    """

    path: str
    """POSIX key below the root: of the zarr array, or of the TIFF file (`""`: the root is that file)."""
    image: int
    """Number of the image that the array belongs to."""
    level: int
    """Pyramid level; 0 is what the frame table feeds."""
    position: int
    """Index of the stage position."""
    camera: int
    """Index of the camera."""
    fan: tuple[tuple[str, int], ...]
    """Name and index of each further loop that has no axis and chooses this array instead."""
    dimension_names: tuple[str, ...]
    shape: tuple[int | None, ...]
    """`None` where there is no end."""
    dtype: str
    chunk_shape: tuple[int, ...]
    shard_shape: tuple[int, ...] | None
    codec: Codec | None
    fill_value: int
    index_location: str | None
    """`"end"` or `"start"` of a shard: where its index stands; `None` without shards."""


@frozen
class Layout:
    """All arrays of a dataset, and the groups that hold them.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"p": ["A1", "B2"], "t": 5, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> plan.layout.groups
    ('', 'OME', '0', '1')
    """

    arrays: tuple[ArraySpec, ...]
    groups: tuple[str, ...]
    """POSIX keys of the zarr groups, parents first; none for other formats."""
    zarr_format: int | None
    ngff_version: str | None

    @property
    def files(self) -> tuple[str, ...]:
        """The distinct paths of the arrays, in order: for OME-TIFF its files."""
        return tuple(dict.fromkeys(array.path for array in self.arrays))


def fan_out(settings: AcquisitionSettings) -> tuple[tuple[Dimension, ...], tuple[Dimension, ...]]:
    """Return the dimensions (not of a frame) that are axes, in storage order, and those that choose an array.

    Both formats have room for one axis of time, one of channels (or, in its place, a custom one) and one of space
    beside a frame's (NGFF 0.5, "axes"; OME-XML 2016-06, `Pixels`). Scratch arrays may have any axes.

    Raises
    ------
    SettingsError
        If they would choose among more than `MOST_IMAGES`.
    """
    dims = settings.storage_index_dimensions
    positions = tuple(dim for dim in settings.dimensions[:-2] if dim.type == "position")
    if settings.format.name == "scratch":
        return dims, positions
    axes: dict[str, Dimension] = {}
    # A true channel dimension has the first claim on the axis of channels, one without end on any.
    for dim in sorted(
        settings.index_dimensions, key=lambda dim: (dim.count is not None, dim.type not in ("time", "channel", "space"))
    ):
        role = str(dim.type) if dim.type in ("time", "space") else "channel"
        axes.setdefault(role, dim)
    kept = tuple(dim for dim in dims if dim in axes.values())
    fans = positions + tuple(dim for dim in settings.index_dimensions if dim not in kept)
    if (images := prod(dim.count or 1 for dim in fans)) > MOST_IMAGES:
        names = ", ".join(repr(dim.name) for dim in fans)
        message = f"there may be at most {MOST_IMAGES} images; {names} would make {images}"
        raise SettingsError([Problem(("dimensions",), "unsupported", message)])
    return kept, fans


def block_shape(spec: ArraySpec, unit: Unit) -> tuple[int, ...]:
    """Return the shape of the blocks that a writer of that unit is handed; they hold whole frames."""
    grid = {"frame": None, "chunk": spec.chunk_shape, "shard": spec.shard_shape or spec.chunk_shape}[unit]
    frame = tuple(size or 1 for size in spec.shape[-2:])
    return (*(grid[:-2] if grid else (1,) * (len(spec.shape) - 2)), *frame)


def lay_out(settings: AcquisitionSettings) -> Layout:
    """Return the arrays and groups of an acquisition.

    Examples
    --------
    >>> from ome_writers import dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "p": ["A", "B"], "c": 2, "y": 8, "x": 8})
    >>> layout = lay_out(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> [(array.path, array.shape) for array in layout.arrays]
    [('0/0', (4, 2, 8, 8)), ('1/0', (4, 2, 8, 8))]
    """
    axes, fans = fan_out(settings)
    dims = (*axes, *settings.frame_dimensions)
    zarr = settings.format.name == "ome-zarr"
    chunk = _chunk_shape(dims) if zarr else (*(1 for _ in axes), *(dim.count or 1 for dim in settings.frame_dimensions))
    shard = _shard_shape(dims, chunk) if zarr else None
    codec = Codec(settings.compression, settings.compression_level) if settings.compression else None
    combinations = list(product(*(range(dim.count or 1) for dim in fans)))
    groups, paths = _places(settings, fans, combinations)
    arrays = tuple(
        ArraySpec(
            path=path,
            image=image,
            level=0,
            position=next((index for dim, index in zip(fans, indices, strict=True) if dim.type == "position"), 0),
            camera=0,
            fan=tuple((dim.name, index) for dim, index in zip(fans, indices, strict=True) if dim.type != "position"),
            dimension_names=tuple(dim.name for dim in dims),
            shape=tuple(dim.count for dim in dims),
            dtype=settings.dtype,
            chunk_shape=chunk,
            shard_shape=shard,
            codec=codec,
            fill_value=0,
            index_location="end" if shard else None,
        )
        for image, (indices, path) in enumerate(zip(combinations, paths, strict=True))
    )
    return Layout(
        arrays=arrays, groups=groups, zarr_format=3 if zarr else None, ngff_version=NGFF_VERSION if zarr else None
    )


def _chunk_shape(dims: tuple[Dimension, ...]) -> tuple[int, ...]:
    frame = len(dims) - 2
    return tuple(dim.chunk_size or ((dim.count or 1) if axis >= frame else 1) for axis, dim in enumerate(dims))


def _shard_shape(dims: tuple[Dimension, ...], chunk: tuple[int, ...]) -> tuple[int, ...] | None:
    if all(dim.shard_size_chunks is None for dim in dims):
        return None
    return tuple(size * (dim.shard_size_chunks or 1) for dim, size in zip(dims, chunk, strict=True))


def _places(
    settings: AcquisitionSettings, fans: tuple[Dimension, ...], combinations: list[tuple[int, ...]]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the groups, and the path of each image's array."""
    if isinstance(settings.format, OmeZarrFormat):
        return _zarr_places(settings, settings.format, fans, combinations)
    if isinstance(settings.format, OmeTiffFormat):
        if settings.format.is_single_file(len(settings.positions)):
            return (), [""] * len(combinations)
        stem = posixpath.basename(split_suffix(settings.root_path.replace("\\", "/"))[0])
        return (), [f"{stem}_p{image:03}{settings.format.suffix}" for image in range(len(combinations))]
    return (), [str(image) for image in range(len(combinations))]


def _zarr_places(
    settings: AcquisitionSettings,
    format_: OmeZarrFormat,
    fans: tuple[Dimension, ...],
    combinations: list[tuple[int, ...]],
) -> tuple[tuple[str, ...], list[str]]:
    axis = next((index for index, dim in enumerate(fans) if dim.type == "position"), None)
    every = settings.positions
    positions = [every[0 if axis is None else indices[axis]] for indices in combinations]
    # A name is enough only where nothing but the position chooses an image.
    named = format_.group_names == "position" and len(fans) == 1
    parents = [""]
    if settings.plate is not None:
        images = _fields(positions, named=named)
        parents += [parent for path in images for parent in (path.split("/")[0], posixpath.dirname(path))]
    elif len(combinations) == 1:
        images = [""]
    else:
        images = [_series_name(position) if named else str(image) for image, position in enumerate(positions)]
        parents.append("OME")
    _refuse_doubles(images)
    groups = tuple(dict.fromkeys([*parents, *images]))
    return groups, [posixpath.join(image, "0") for image in images]


def _fields(positions: list[Position], *, named: bool) -> list[str]:
    """Return the path of each position on a plate: row, column, and its number (or name) in the well."""
    before: Counter[str] = Counter()
    paths = []
    for position in positions:
        well = f"{position.plate_row}/{position.plate_column}"
        paths.append(f"{well}/{position.name if named else before[well]}")
        before[well] += 1
    return paths


def _series_name(position: Position) -> str:
    if position.grid_row is None:
        return position.name
    return f"{position.name}_{position.grid_row}_{position.grid_column}"


def _refuse_doubles(images: list[str]) -> None:
    """Refuse names that would put two images, or an image and the group `OME`, into one folder on some file system."""
    folders = Counter(path.casefold() for path in images)
    doubles = [path for path, count in folders.items() if count > 1 or path == "ome"]
    if doubles:
        message = f"positions cannot name the groups: more than one thing would be called {doubles[0]!r}; use 'number'"
        raise SettingsError([Problem(("format", "group_names"), "conflict", message)])
