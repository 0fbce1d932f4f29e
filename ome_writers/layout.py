"""Given settings, this answers: which n-dimensional arrays will there be, of what shape, cut how, and where?

1. Each loop of the acquisition is an axis of the arrays or fans out into several of them (`roles_of`). Positions and
   cameras fan out; so do loops for which a format has no axis left.
2. The axes are put into storage order.
3. Each combination of fanned-out indices is an image, with one array; where an acquisition is jagged it may be none, or
   several (`holdings.py`). Images are numbered in the order of the positions.

Paths are POSIX keys below the root, good on a disk and on an object store. A position's name is a label, not a path.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Final, Literal

from attrs import evolve, frozen

from ome_writers.casts import split_suffix
from ome_writers.errors import Problem, SettingsError
from ome_writers.formats import OmeTiffFormat, OmeZarrFormat
from ome_writers.holdings import ENDLESS, Elements, Holding, every, held
from ome_writers.items import Camera, Channel, Position
from ome_writers.order import Weights
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.sieve import Part, planned

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
    """Index of the camera; 0 where there is one only."""
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
    elements: tuple[tuple[str, Elements], ...] = ()
    """Name of each axis along which it holds not all elements of the dimension in their order, and which they are."""


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


@frozen
class Roles:
    """What each loop of an acquisition is to its arrays."""

    axes: tuple[Dimension, ...]
    """Their axes (not those of a frame), in storage order."""
    fans: tuple[Dimension, ...]
    """Loops that choose an array, the slowest first: positions, cameras, others."""
    weights: Weights


def roles_of(settings: AcquisitionSettings) -> Roles:
    """Return which loops are axes, and which choose an array.

    Both formats have room for one axis of time, one of channels (or, in its place, a custom one) and one of space
    beside a frame's (NGFF 0.5, "axes"; OME-XML 2016-06, `Pixels`). Scratch arrays may have any axes.

    Raises
    ------
    SettingsError
        If they would choose among more than `MOST_IMAGES`.
    """
    dims = settings.storage_index_dimensions
    camera = settings.camera_dimension
    fold = camera if camera and camera.fold else None
    fans = tuple(dim for dim in settings.dimensions[:-2] if dim.type == "position")
    fans += (camera,) if camera and not fold else ()
    kept = dims
    if settings.format.name != "scratch":
        axes: dict[str, Dimension] = {}
        # A true channel dimension has the first claim on the axis of channels, one without end on any.
        for dim in sorted(
            settings.index_dimensions,
            key=lambda dim: (dim.count is not None, dim.type not in ("time", "channel", "space")),
        ):
            role = str(dim.type) if dim.type in ("time", "space") else "channel"
            axes.setdefault(role, dim)
        kept = tuple(dim for dim in dims if dim in axes.values())
        fans += tuple(dim for dim in settings.index_dimensions if dim not in kept)
    weights = {dim.name: (dim.name, 1) for dim in kept}
    if fold:
        kept, folded = _folded(settings, kept, fold)
        weights |= folded
    if (images := prod(dim.count or 1 for dim in fans)) > MOST_IMAGES:
        names = ", ".join(repr(dim.name) for dim in fans)
        message = f"there may be at most {MOST_IMAGES} images; {names} would make {images}"
        raise SettingsError([Problem(("dimensions",), "unsupported", message)])
    return Roles(kept, fans, weights)


def _folded(
    settings: AcquisitionSettings, axes: tuple[Dimension, ...], cameras: Dimension
) -> tuple[tuple[Dimension, ...], dict[str, tuple[str, int]]]:
    """Return the axes with cameras among the channels, and the weights of both loops in that axis.

    The loop that is slower in the acquisition is so along the axis.
    """
    channels = next((dim for dim in settings.index_dimensions if dim.type == "channel" and dim in axes), None)
    if channels is None:
        message = "there is no axis of channels into which they could be folded"
        place = settings.dimensions.index(cameras)
        raise SettingsError([Problem(("dimensions", place, "fold"), "unsupported", message)])
    loops = settings.dimensions
    outer, inner = (cameras, channels) if loops.index(cameras) < loops.index(channels) else (channels, cameras)
    given = channels.coords or map(str, range(channels.count or 1))
    known = [item if isinstance(item, Channel) else Channel(name=str(item)) for item in given]
    names = [str(getattr(camera, "name", camera)) for camera in cameras.coords or ()]
    coords = []
    for first, second in product(range(outer.count or 1), range(inner.count or 1)):
        channel, camera = (known[second], names[first]) if outer is cameras else (known[first], names[second])
        coords.append(evolve(channel, name=f"{channel.name} {camera}" if len(known) > 1 or channels.coords else camera))
    one = evolve(channels, count=len(coords), coords=tuple(coords))
    steps = {outer.name: (channels.name, inner.count or 1), inner.name: (channels.name, 1)}
    return tuple(one if dim is channels else dim for dim in axes), steps


def holdings_of(settings: AcquisitionSettings, roles: Roles, parts: Sequence[Part] | None) -> tuple[Holding, ...]:
    """Return what each array holds; `parts` are the planned frames, if the acquisition is jagged."""
    if parts is None:
        return every(roles.fans, roles.axes)
    return held(settings, parts, roles.fans, roles.axes, roles.weights)


def axis_dimensions(settings: AcquisitionSettings) -> dict[str, Dimension]:
    """Return the dimension that each axis of the arrays is, by its name."""
    return {dim.name: dim for dim in (*settings.dimensions, *roles_of(settings).axes)}


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
    roles = roles_of(settings)
    parts = planned(settings) if settings.is_ragged else None
    return laid_out(settings, roles, holdings_of(settings, roles, parts))


def laid_out(settings: AcquisitionSettings, roles: Roles, holdings: Sequence[Holding]) -> Layout:
    """Return the arrays and groups of an acquisition, once it is known what each holds."""
    fans, zarr = roles.fans, settings.format.name == "ome-zarr"
    dims = (*roles.axes, *settings.frame_dimensions)
    names = tuple(dim.name for dim in dims)
    codec = Codec(settings.compression, settings.compression_level) if settings.compression else None
    groups, paths = _places(settings, fans, [holding.fan for holding in holdings])
    cuts = {camera: _Cut(settings, roles.axes, camera, zarr=zarr) for camera in _cameras(roles)}
    arrays = []
    for image, (holding, path) in enumerate(zip(holdings, paths, strict=True)):
        at = dict(zip(((dim.type, dim.name) for dim in fans), holding.fan, strict=True))
        position, camera = (
            next((k for (kind, _), k in at.items() if kind == one), 0) for one in ("position", "camera")
        )
        cut = cuts[camera]
        arrays.append(
            ArraySpec(
                path=path,
                image=image,
                level=0,
                position=position,
                camera=camera,
                fan=tuple((name, k) for (kind, name), k in at.items() if kind not in ("position", "camera")),
                dimension_names=names,
                shape=(*(None if one is ENDLESS else len(one) for one in holding.elements), *cut.frame),
                dtype=cut.dtype,
                chunk_shape=cut.chunk,
                shard_shape=cut.shard,
                codec=codec,
                fill_value=0,
                index_location="end" if cut.shard else None,
                elements=tuple(
                    (dim.name, elements)
                    for dim, elements in zip(roles.axes, holding.elements, strict=True)
                    if elements is not ENDLESS and elements != range(dim.count or 0)
                ),
            )
        )
    return Layout(
        arrays=tuple(arrays),
        groups=groups,
        zarr_format=3 if zarr else None,
        ngff_version=NGFF_VERSION if zarr else None,
    )


def _cameras(roles: Roles) -> range:
    return range(next((dim.count or 1 for dim in roles.fans if dim.type == "camera"), 1))


class _Cut:
    """The frames of a camera, and how arrays of them are cut."""

    def __init__(self, settings: AcquisitionSettings, axes: tuple[Dimension, ...], camera: int, *, zarr: bool) -> None:
        given = settings.camera_dimension
        item = given.coords[camera] if given and given.coords else None
        own = item if isinstance(item, Camera) else Camera(name="0")
        frame = settings.frame_dimensions
        self.frame = own.shape or tuple(dim.count or 1 for dim in frame)
        self.dtype = own.dtype or settings.dtype
        self.chunk: tuple[int, ...] = (*(1 for _ in axes), *self.frame)
        self.shard: tuple[int, ...] | None = None
        if not zarr:
            return
        pixels = own.chunk_shape or tuple(
            min(dim.chunk_size, size) if dim.chunk_size and own.shape else dim.chunk_size or size
            for dim, size in zip(frame, self.frame, strict=True)
        )
        self.chunk = (*(dim.chunk_size or 1 for dim in axes), *pixels)
        shards = [dim.shard_size_chunks for dim in (*axes, *frame)]
        if any(size is not None for size in shards):
            counts = [size or 1 for size in shards]
            if given:  # a small camera needs no more chunks than its frames have
                most = [-(-size // chunk) for size, chunk in zip(self.frame, pixels, strict=True)]
                counts[-2:] = map(min, counts[-2:], most)
            self.shard = tuple(chunk * count for chunk, count in zip(self.chunk, counts, strict=True))


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
        files = [f"{stem}_p{image:03}{settings.format.suffix}" for image in range(len(combinations))]
        _refuse_companion(settings.format, files)
        return (), files
    return (), [str(image) for image in range(len(combinations))]


def _refuse_companion(format_: OmeTiffFormat, files: list[str]) -> None:
    """Refuse a companion file that would overwrite one with pixels, on some file system."""
    name = format_.companion_file
    if format_.multi_file_metadata == "companion-file" and name.casefold() in map(str.casefold, files):
        message = f"must be another name: the pixels of a position are in {name!r}"
        raise SettingsError([Problem(("format", "companion_file"), "conflict", message)])


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
    named = format_.group_names == "position" and len(fans) == 1 and len(set(combinations)) == len(combinations)
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
