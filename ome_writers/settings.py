"""The declarative description of an acquisition: frozen values, checked where they are made.

The vocabulary (names of classes, fields, defaults and shorthands) is that of PyPI's `ome-writers` 0.3. A constructor
casts the shorthands, infers what may be left out, and raises all the problems of its object at once. Nothing here
knows of plans, files or writers.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Literal

from attrs import asdict, evolve, field, frozen

from ome_writers import acquisition_rules, rules, units
from ome_writers.beyond import Shown
from ome_writers.bridge import Bridged
from ome_writers.casts import (
    STANDARD_WELLS,
    DimensionType,
    as_dtype,
    as_flag,
    as_number,
    as_path,
    as_tuple,
    as_whole,
    infer_type,
    row_name,
)
from ome_writers.check import Draft, build, require, shown
from ome_writers.errors import Problem, SettingsError
from ome_writers.formats import Format, resolve
from ome_writers.items import Camera, Channel, Position
from ome_writers.omission import Frames, Omit, with_inner_loops
from ome_writers.ragged_rules import numbered


def _scale(value: object) -> Any:
    # Programs written for 0.3 pass the pixel size of a microscope that was not configured: 0.
    number = as_number(value)
    return None if isinstance(number, (int, float)) and not isinstance(number, bool) and number == 0 else number


@frozen(kw_only=True)
class Dimension(Bridged):
    """A loop of the acquisition, or one of the two dimensions of its frames.

    What is left out is inferred: `count` from `coords`; `type` from `coords`, then `unit`, then a standard name (x,
    y, z, c, t, p); the coordinates of positions from `count`.

    Examples
    --------
    >>> Dimension(name="t", count=10).type
    'time'
    >>> Dimension(name="c", coords=["DAPI", "GFP"]).coords[1].name
    'GFP'
    >>> Dimension(name="z", count=5, unit="um").unit
    'micrometer'
    """

    _rules = rules.DIMENSION

    name: str
    count: int | None = field(default=None, converter=as_whole)
    """Number of elements; `None` means without end, which only the first dimension may be."""
    type: DimensionType | None = None
    coords: tuple[str | float | Channel | Position | Camera, ...] | None = field(default=None, converter=as_tuple)
    """Channels, positions, cameras, or the physical places or times of the elements, in `unit`."""
    chunk_size: int | None = field(default=None, converter=as_whole)
    """Elements in a chunk; by default all of them for the dimensions of a frame, 1 for others."""
    shard_size_chunks: int | None = field(default=None, converter=as_whole)
    """Chunks in a shard (not elements); `None` means no sharding along this dimension."""
    unit: str | None = None
    """Unit of `scale`, `translation` and `coords`, in OME or NGFF spelling (`"um"`, `"micrometer"`); held in NGFF's."""
    scale: float | None = field(default=None, converter=_scale)
    """Size of an element, in `unit`: pixel size, distance of planes, time interval. 0 says that it is not known."""
    translation: float | None = field(default=None, converter=as_number)
    """Place of the first element, in `unit`."""
    snake: bool = field(default=False, converter=as_flag)
    """Whether every second pass goes backwards (boustrophedon)."""
    fold: bool = False
    """Cameras only: whether they are channels, really, and stand side by side in the axis of channels."""
    tours: tuple[int, ...] | None = field(default=None, converter=as_tuple)
    """Positions only: this loop goes from tour to tour, each so many positions long; those of one tour take turns."""
    tours_within: str | None = None
    """Name of the loop within which the positions of a tour take turns; `None`: the innermost."""

    def __attrs_post_init__(self) -> None:
        if self.type is None:
            self._set(type=infer_type(self.name, self.coords, self.unit))
        # What came may be anything, also what cannot be compared with text.
        type_ = self.type if isinstance(self.type, str) else None
        count = self.count if isinstance(self.count, int) else 0
        numbered = {"position": Position, "camera": Camera}.get(str(type_))
        if self.coords is None and numbered and 0 < count <= rules.MOST_POSITIONS:
            self._set(coords=tuple(numbered(name=str(number)) for number in range(count)))
        if isinstance(self.coords, tuple):
            cls = {"channel": Channel, "position": Position, "camera": Camera}.get(str(type_))
            self._set(coords=tuple(_coordinate(value, cls) for value in self.coords))
            if self.count is None and self.coords:
                self._set(count=len(self.coords))
        if isinstance(self.unit, str) and type_ in ("space", "time"):
            self._set(unit=units.ngff_name(self.unit, type_) or self.unit)
        super().__attrs_post_init__()


def _coordinate(value: object, cls: type | None) -> Any:
    if cls and isinstance(value, (str, Mapping)):
        return build(cls, value, "name")
    return as_number(value)


@frozen(kw_only=True)
class Plate(Bridged):
    """A multi-well plate: all its rows and columns, whether acquired or not. Positions say in which well they lie.

    Examples
    --------
    >>> Plate.from_standard_wells(1536).row_names[25:28]
    ('Z', 'AA', 'AB')
    """

    _rules = rules.PLATE

    row_names: tuple[str, ...] = field(converter=as_tuple)
    column_names: tuple[str, ...] = field(converter=as_tuple)
    name: str | None = None

    @classmethod
    def from_standard_wells(cls, num_wells_or_shape: int | tuple[int, int]) -> Plate:
        """Make a plate of 6, 12, 24, 48, 96, 384 or 1536 wells, or of `(rows, columns)`.

        Raises
        ------
        SettingsError
            If there is no such standard plate.
        """
        shape = as_tuple(as_whole(num_wells_or_shape))
        if not isinstance(shape, tuple):
            if not isinstance(shape, int) or shape not in STANDARD_WELLS:
                message = f"a standard plate has {', '.join(map(str, STANDARD_WELLS))} wells; got {shown(shape)}"
                raise SettingsError([Problem((), "invalid_value", message)])
            shape = STANDARD_WELLS[shape]
        sizes = [as_whole(size) for size in shape]
        if len(sizes) != 2 or not all(isinstance(size, int) and size >= 1 for size in sizes):  # noqa: PLR2004 - rows and columns
            message = f"a plate's shape is (rows, columns), each at least 1; got {shown(shape)}"
            raise SettingsError([Problem((), "invalid_value", message)])
        rows, columns = sizes
        return cls(
            row_names=tuple(row_name(number) for number in range(rows)),
            column_names=tuple(str(number + 1) for number in range(columns)),
        )


# Converters are named functions, so that type checkers see that fields take shorthands.


def _dimensions(value: object) -> Any:
    items = as_tuple(value)
    return tuple(build(Dimension, item) for item in items) if isinstance(items, tuple) else items


def _plate(value: object) -> Any:
    return value if value is None else build(Plate, value)


def _omit(value: object) -> Any:
    items = (value,) if isinstance(value, (Mapping, Omit)) else () if value is None else as_tuple(value)
    return tuple(_rule(item) for item in items) if isinstance(items, tuple) else items


def _rule(value: object) -> Omit | Draft:
    if isinstance(value, Mapping) and not {*value} <= {"where", "unless"}:
        value = {"where": value}
    return build(Omit, value)


def _frames(value: object) -> Any:
    if value is None or isinstance(value, (Frames, Draft)):
        return value
    return build(Frames, value if isinstance(value, Mapping) else {"index": value})


def _as_given(value: object) -> Any:
    return value  # what it stands for depends on the path


def _compression(value: object) -> Any:
    return None if isinstance(value, str) and value == "none" else value


def _of_frame(dimension: Dimension | Draft) -> Dimension | Draft:
    if isinstance(dimension, Draft) or dimension.type is not None:
        return dimension
    return build(Dimension, {**asdict(dimension, recurse=False), "type": "space"})


def by_ngff_rule(dims: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    """Return dimensions in the order of NGFF 0.5, "axes": time first, then channel or a custom axis, then space."""
    ranks = {"time": 0, "space": 2}
    return tuple(sorted(dims, key=lambda dim: ranks.get(str(dim.type), 1)))


@frozen(kw_only=True)
class AcquisitionSettings(Bridged, Shown):
    """What will be acquired, and how it shall be stored.

    May be made before everything is known: `dimensions`, `dtype` and `root_path` may be left out and given later with
    `attrs.evolve`; `compile` says what is still missing.

    Raises
    ------
    SettingsError
        With every problem, each with its path.

    Examples
    --------
    >>> settings = AcquisitionSettings(
    ...     root_path="cells.ome.zarr",
    ...     dimensions=[Dimension(name="t", count=10), Dimension(name="y", count=512), Dimension(name="x", count=512)],
    ...     dtype="uint16",
    ... )
    >>> settings.format.name, settings.num_frames
    ('ome-zarr', 10)
    >>> AcquisitionSettings(dtype="uint17", overwrite="perhaps")
    Traceback (most recent call last):
    ome_writers.errors.SettingsError: dtype: must be the name of a numpy dtype, such as 'uint16'; got 'uint17'
    overwrite: must be one of True, False; got 'perhaps'
    """

    _rules = acquisition_rules.ACQUISITION

    root_path: str = field(default="", converter=as_path)
    dimensions: tuple[Dimension, ...] = field(default=(), converter=_dimensions)
    """In order of acquisition, the slowest first; the last two are the frame's, usually y and x."""
    dtype: str = field(default="", converter=as_dtype)
    """Name of the numpy dtype of the pixels."""
    format: Format = field(default="auto", converter=_as_given)  # type: ignore[assignment]
    """A format, or in short the name of one (`"ome-zarr"`, `"ome-tiff"`, `"scratch"`) or of a writer
    (`"tensorstore"`, …). `"auto"` goes by the suffix of `root_path`; without a suffix it is OME-Zarr, without a path
    scratch."""
    compression: str | None = field(default=None, converter=_compression)
    """OME-Zarr: `blosc-zstd`, `blosc-lz4`, `zstd`, `gzip`. OME-TIFF: `lzw`, `zlib` (or `deflate`), `zstd`. `None`:
    plain."""
    compression_level: int | None = field(default=None, converter=as_whole)
    storage_order: Literal["ome", "acquisition"] | tuple[str, ...] = field(default="ome", converter=as_tuple)
    """Order of the axes: the format's own, that of `dimensions`, or as listed."""
    plate: Plate | None = field(default=None, converter=_plate)
    overwrite: bool = field(default=False, converter=as_flag)
    buffer_bytes: int = field(default=0, converter=as_whole)
    """Bytes of pixels that may wait in memory for a thread that writes them; 0: whoever brings a frame writes it."""
    omit: tuple[Omit, ...] = field(default=(), converter=_omit)
    """Rules for frames that are never planned, each by names of dimensions: `{"c": "GFP", "z": [0, 1, 3, 4]}`."""
    frames: Frames | None = field(default=None, converter=_frames)
    """Exactly these frames in this order, as indices of all loops; `None`: all that the dimensions count."""
    holes: Literal["dense", "compact", "split"] = "dense"
    """What becomes of places for frames that are never planned. `"dense"`: they read as the fill value, and the
    metadata says which planes exist. `"compact"`: an axis is stored without elements that nobody acquires, where its
    scale can say so. `"split"`: each group of equal shape is an image, so that there are none."""
    sync: Literal["close", "never"] | float = field(default="close", converter=as_number)
    """When what is written shall be safe from a power failure: `"close"` when `close` returns (a thread brings each
    file to the device as it is complete, `close` the rest), a number of seconds: every so often as well, or `"never"`.
    The death of the process alone loses nothing that was acknowledged, whatever this says."""

    def __attrs_post_init__(self) -> None:
        self._set(format=resolve(self.format, self.root_path))
        if isinstance(self.dimensions, tuple):
            # The dimensions of a frame are space, whatever they are called.
            self._set(dimensions=self.dimensions[:-2] + tuple(map(_of_frame, self.dimensions[-2:])))
            if isinstance(self.frames, Frames) and isinstance(self.frames.index, tuple):
                self._set(frames=evolve(self.frames, index=numbered(self.frames.index, self.dimensions[:-2])))
            elif isinstance(self.frames, Frames):
                self._set(frames=with_inner_loops(self.frames, self.dimensions[:-2]))
        super().__attrs_post_init__()

    @property
    def output_path(self) -> str:
        """Path of what is written: a folder, or a file for OME-TIFF in one file."""
        return self.format.get_output_path(self.root_path, num_positions=len(self.positions))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Count of each dimension."""
        return tuple(dim.count for dim in self.dimensions)

    @property
    def is_unbounded(self) -> bool:
        """Whether the first dimension goes on without end."""
        return bool(self.dimensions) and self.dimensions[0].count is None

    @property
    def num_frames(self) -> int | None:
        """Number of frames, `None` if there is no end. Those that are omitted count here, but not in `Plan.frames`."""
        if self.frames is not None:
            return len(self.frames.index)
        counts = self.shape[:-2]
        return None if None in counts else prod(count for count in counts if count)

    @property
    def positions(self) -> tuple[Position, ...]:
        """The stage positions in order of acquisition; without a position dimension one that is called `0`."""
        index = self.position_dimension_index
        if index is None:
            return (Position(name="0"),)
        return tuple(position for position in self.dimensions[index].coords or () if isinstance(position, Position))

    @property
    def position_dimension_index(self) -> int | None:
        """Where among the dimensions the positions are, `None` if nowhere."""
        return next((index for index, dim in enumerate(self.dimensions) if dim.type == "position"), None)

    @property
    def camera_dimension(self) -> Dimension | None:
        """The dimension of cameras, `None` if there is one camera only."""
        return next((dim for dim in self.dimensions[:-2] if dim.type == "camera"), None)

    @property
    def is_ragged(self) -> bool:
        """Whether there are frames that the dimensions count and nobody plans."""
        counted = [part for dim in self.dimensions[:-2] for part in dim.coords or () if hasattr(part, "counts")]
        return (
            bool(self.omit)
            or self.frames is not None
            or any(part.counts or getattr(part, "coords", None) for part in counted)
        )

    @property
    def frame_dimensions(self) -> tuple[Dimension, ...]:
        """The two dimensions of a frame."""
        return self.dimensions[-2:]

    @property
    def index_dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions that are axes of the arrays but not of a frame, in order of acquisition."""
        return tuple(dim for dim in self.dimensions[:-2] if dim.type not in ("position", "camera"))

    @property
    def array_dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions that are axes of the arrays, in order of acquisition."""
        return self.index_dimensions + self.frame_dimensions

    @property
    def storage_index_dimensions(self) -> tuple[Dimension, ...]:
        """`index_dimensions` in storage order."""
        dims, order = self.index_dimensions, self.storage_order
        if isinstance(order, tuple):
            return tuple(sorted(dims, key=lambda dim: order.index(dim.name)))
        if order == "ome" and self.format.name == "ome-zarr":
            return by_ngff_rule(dims)
        return dims

    @property
    def storage_index_permutation(self) -> tuple[int, ...] | None:
        """For each storage axis the place of its dimension in `index_dimensions`; `None` if nothing moves."""
        dims = self.index_dimensions
        order = tuple(dims.index(dim) for dim in self.storage_index_dimensions)
        return None if order == tuple(range(len(dims))) else order

    @property
    def array_storage_dimensions(self) -> tuple[Dimension, ...]:
        """`array_dimensions` in storage order."""
        return self.storage_index_dimensions + self.frame_dimensions

    def validate_stream_ready(self) -> Literal[True]:
        """Raise what keeps these settings from being compiled."""
        require(self, (), acquisition_rules.READY)
        return True
