"""What loops go over: channels, stage positions, cameras. Each is a frozen value, checked where it is made.

A plain string stands for an item that has only a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from ome_writers import rules
from ome_writers.bridge import Bridged
from ome_writers.casts import as_dtype, as_number, as_tuple, as_whole
from ome_writers.colors import as_color
from ome_writers.frozen import FrozenDict, as_mapping


@frozen(kw_only=True)
class Channel(Bridged):
    """A channel of the acquisition; a plain string stands for one that has only a name.

    Goes to `omero.channels` in OME-Zarr and to `Channel` in OME-XML.

    Examples
    --------
    >>> Channel(name="GFP", emission_wavelength_nm=510, color="lime").color
    '#00FF00'
    """

    _rules = rules.CHANNEL
    _shorthand = "name"

    name: str
    excitation_wavelength_nm: float | None = field(default=None, converter=as_number)
    """In nanometers."""
    emission_wavelength_nm: float | None = field(default=None, converter=as_number)
    """In nanometers."""
    fluorophore: str | None = None
    color: str | None = field(default=None, converter=as_color)
    """`#RRGGBB` or `#RRGGBBAA`; may be given as a CSS name, a hexadecimal string or 3 to 4 numbers."""
    exposure_time: float | None = field(default=None, converter=as_number)
    """How long each of its frames is exposed, in seconds."""
    z_offset: float | None = field(default=None, converter=as_number)
    """How far above the places of the planes (or of the position) it is focused, in the unit of the dimension z."""


def _counts(value: object) -> Any:
    given = as_mapping(value)
    return FrozenDict({k: as_whole(v) for k, v in given.items()}) if isinstance(given, FrozenDict) else given


def _lists(value: object) -> Any:
    given = as_mapping(value)
    if not isinstance(given, FrozenDict):
        return given
    return FrozenDict({name: _names_and_numbers(as_tuple(items)) for name, items in given.items()})


def _names_and_numbers(items: object) -> Any:
    if not isinstance(items, tuple):
        return items
    return tuple(item.name if isinstance(item, Channel) else as_number(item) for item in items)


@frozen(kw_only=True)
class Position(Bridged):
    """A stage position (a field of view); a plain string stands for one that has only a name.

    Examples
    --------
    >>> Position(name="left", plate_row="A", plate_column="1", x_coord=1200.0).plate_row
    'A'
    >>> Position(name="thick", counts={"z": 40}, coords={"c": ["GFP"]}).counts
    {'z': 40}
    """

    _rules = rules.POSITION
    _shorthand = "name"

    name: str
    """Unique within its well and its grid cell."""
    plate_row: str | None = None
    plate_column: str | None = None
    grid_row: int | None = field(default=None, converter=as_whole)
    grid_column: int | None = field(default=None, converter=as_whole)
    x_coord: float | None = field(default=None, converter=as_number)
    """Stage coordinate, in the unit of the dimension x (as `y_coord` in that of y, `z_coord` in that of z)."""
    y_coord: float | None = field(default=None, converter=as_number)
    z_coord: float | None = field(default=None, converter=as_number)
    counts: Mapping[str, int] = field(factory=FrozenDict, converter=_counts)
    """How many elements of other dimensions are acquired here, by name: the first so many of them."""
    coords: Mapping[str, tuple[str | float, ...]] = field(factory=FrozenDict, converter=_lists)
    """Elements of other dimensions that are acquired here, by name of the dimension: which of its channels, or where
    the planes lie (or which time points) instead of where the dimension says."""


def _shape(value: object) -> Any:
    items = as_tuple(value)
    return tuple(as_whole(item) for item in items) if isinstance(items, tuple) else items


def _pixel_size(value: object) -> Any:
    items = as_tuple(value)
    if isinstance(items, tuple):
        return tuple(as_number(item) for item in items)
    number = as_number(items)
    return number if number is None or isinstance(number, bool) else (number, number)


@frozen(kw_only=True)
class Camera(Bridged):
    """A camera, of several that take part; a plain string stands for one that has only a name.

    Each has arrays of its own: an image with its `Detector` in OME-XML. What is not given here is as the dimensions of
    the frame and the settings say.

    Examples
    --------
    >>> Camera(name="left", shape=(2048, 2048), dtype="uint16", pixel_size=0.065).pixel_size
    (0.065, 0.065)
    """

    _rules = rules.CAMERA
    _shorthand = "name"

    name: str
    shape: tuple[int, int] | None = field(default=None, converter=_shape)
    """Size of its frames, (y, x), in pixels."""
    dtype: str = field(default="", converter=as_dtype)
    """Name of the numpy dtype of its pixels."""
    pixel_size: tuple[float, float] | None = field(default=None, converter=_pixel_size)
    """Size of a pixel along y and x, in the unit of these dimensions; one number for both."""
    chunk_shape: tuple[int, int] | None = field(default=None, converter=_shape)
    """Pixels in a chunk along y and x; by default as the dimensions say, but not more than a frame has."""
    counts: Mapping[str, int] = field(factory=FrozenDict, converter=_counts)
    """How many elements of other dimensions it takes, by name: the first so many of them."""
    model: str | None = None
    """Of the `Detector` in OME-XML, as the next."""
    serial_number: str | None = None
