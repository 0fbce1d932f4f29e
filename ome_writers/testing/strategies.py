"""Given limits, this answers: what acquisitions could there be? Hypothesis strategies of settings, small but wild.

Every value is built valid: each draw narrows the ones that follow, and nothing is thrown away afterwards. Frames are
tiny and few, since the faults of a planner lie in the order of loops, not in their length; names, units, chunk sizes
and orders are as strange as the rules allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ome_writers.formats import Format, OmeTiffFormat, OmeZarrFormat, ScratchFormat
from ome_writers.items import Channel, Position
from ome_writers.settings import AcquisitionSettings, Dimension, Plate

FORMATS: Final = ("ome-zarr", "ome-tiff", "scratch")
DTYPES: Final[dict[str, tuple[str, ...]]] = {
    "ome-tiff": (
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"),
        *("float32", "float64", "complex64", "complex128"),
    ),
    "ome-zarr": (
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    ),
}
"""Names of the dtypes that each format can hold."""
LEVELS: Final[dict[str, dict[str, int]]] = {
    "ome-zarr": {"blosc-zstd": 9, "blosc-lz4": 9, "zstd": 22, "gzip": 9},
    "ome-tiff": {"lzw": 0, "zlib": 9, "deflate": 9, "zstd": 22},
}
"""The highest level of each compression, by format; 0 where there are no levels."""
ROOTS: Final = {"ome-zarr": "run.ome.zarr", "ome-tiff": "run.ome.tiff", "scratch": ""}

_LETTERS = "ABCabcz019"
_KINDS: Final = ("time", "channel", "space", "other", None)
_STANDARD: Final[dict[str | None, str]] = {"time": "t", "channel": "c", "space": "z", "position": "p"}
_UNITS: Final[dict[str | None, tuple[str, ...]]] = {
    "space": ("um", "micrometer", "nm", "µm", "angstrom", "m"),
    "time": ("s", "ms", "second", "h", "minute"),
    "other": ("eV", "degree", "um"),
}
_COLORS: Final = ("lime", "#f0f", "#00FF0080", "red")


def names() -> SearchStrategy[str]:
    """Return a strategy of labels: any text that XML 1.0 can hold, from one plain letter to tabs, quotes and emoji."""
    controls = "".join(chr(code) for code in range(0x20) if chr(code) not in "\t\n\r")
    wild = st.characters(exclude_categories=["Cs"], exclude_characters=controls + "\ufffe\uffff")
    return st.text(_LETTERS, min_size=1, max_size=3) | st.text(wild, min_size=1, max_size=6)


def _sizes() -> SearchStrategy[float]:
    return st.floats(1e-3, 1e4, allow_subnormal=False) | st.integers(1, 100)


def _places() -> SearchStrategy[float]:
    return st.floats(-1e5, 1e5, allow_subnormal=False) | st.integers(-100, 100)


@st.composite
def channels(draw: DrawFn, count: int) -> tuple[Channel, ...]:
    """Draw `count` channels with names of their own, and all, some or none of what else a channel may have."""
    return tuple(
        Channel(
            name=name,
            excitation_wavelength_nm=draw(st.none() | st.floats(300, 900)),
            emission_wavelength_nm=draw(st.none() | st.floats(300, 900)),
            fluorophore=draw(st.none() | names()),
            color=draw(st.none() | st.sampled_from(_COLORS)),
            exposure_time=draw(st.none() | st.floats(1e-6, 1e3)),
            z_offset=draw(st.none() | _places()),
        )
        for name in draw(st.lists(names(), min_size=count, max_size=count, unique=True))
    )


@st.composite
def positions(draw: DrawFn, count: int, *, plate: Plate | None = None, plain: bool = False) -> tuple[Position, ...]:
    """Draw `count` positions, in the wells of `plate` if there is one, else in any wells or none.

    They have grid cells and stage coordinates or not. Those of one name lie in different wells or grid cells; with
    `plain`, names are unique, and good as those of folders.
    """
    rows = names() if plate is None else st.sampled_from(plate.row_names)
    columns = names() if plate is None else st.sampled_from(plate.column_names)
    wells: SearchStrategy[Any] = st.tuples(rows, columns)
    cells: SearchStrategy[Any] = (
        st.just((None, None)) if plain else st.just((None, None)) | st.tuples(*[st.integers(0, 3)] * 2)
    )
    labels = names()
    if plain:
        labels = st.text("abcdef0123", min_size=1, max_size=3)
    keys = st.tuples(labels, wells if plate else st.just((None, None)) | wells, cells)
    coordinate = st.none() | _places()
    return tuple(
        Position(
            name=name,
            plate_row=row,
            plate_column=column,
            grid_row=grid_row,
            grid_column=grid_column,
            x_coord=draw(coordinate),
            y_coord=draw(coordinate),
            z_coord=draw(coordinate),
        )
        for name, (row, column), (grid_row, grid_column) in draw(
            st.lists(keys, min_size=count, max_size=count, unique_by=(lambda key: key[0]) if plain else lambda key: key)
        )
    )


@st.composite
def plates(draw: DrawFn) -> Plate:
    """Draw a plate: a standard one, or one with a few rows and columns of strange names."""
    if draw(st.booleans()):
        return Plate.from_standard_wells(draw(st.sampled_from([6, 96, 1536])))
    few = st.lists(st.text("ABCab019", min_size=1, max_size=3), min_size=1, max_size=3, unique_by=str.lower)
    return Plate(row_names=draw(few), column_names=draw(few), name=draw(st.none() | names()))


@st.composite
def _loop(  # noqa: PLR0913 - all of them chosen by `dimensions`
    draw: DrawFn,
    kind: str | None,
    name: str,
    count: int | None,
    *,
    snake: bool | None,
    plate: Plate | None,
    plain: bool,
) -> Dimension:
    """Draw a loop of a given type, name and count; `count` is `None` if it goes on without end."""
    given: dict[str, Any] = {"name": name, "type": kind, "count": count}
    if kind == "position" and count is not None and (plate or plain or draw(st.booleans())):
        given["coords"] = draw(positions(count, plate=plate, plain=plain))
    elif kind == "channel" and count is not None and draw(st.booleans()):
        given["coords"] = draw(channels(count))
    elif kind in ("time", "space") and count is not None and draw(st.booleans()):
        given["coords"] = draw(st.lists(_places(), min_size=count, max_size=count))
    elif kind == "other" and count is not None and draw(st.booleans()):
        given["coords"] = draw(st.lists(names() | _places(), min_size=count, max_size=count))
    if kind in _UNITS and draw(st.booleans()):
        given["unit"] = draw(st.sampled_from(_UNITS[kind]))
    if kind != "position":
        given["scale"] = draw(st.none() | _sizes())
        given["translation"] = draw(st.none() | _places())
        given |= draw(_cuts(count or 5))
    return Dimension(**given, snake=draw(st.booleans()) if snake is None else snake)


@st.composite
def _tours(draw: DrawFn, count: int) -> tuple[int, ...] | None:
    """Draw how positions are gone through in tours, or that they are not."""
    ends = sorted(draw(st.sets(st.integers(1, count - 1)))) if count > 1 else []
    cuts = [0, *ends, count]
    return draw(st.none() | st.just(tuple(b - a for a, b in pairwise(cuts))))


@st.composite
def _cuts(draw: DrawFn, count: int) -> dict[str, Any]:
    """Draw the sizes of chunks and shards: dividing the count or not, smaller and larger than it."""
    return {
        "chunk_size": draw(st.none() | st.integers(1, count + 2)),
        "shard_size_chunks": draw(st.sampled_from([None, None, 1, 2, 3])),
    }


@st.composite
def _frame_dimension(draw: DrawFn, name: str, max_pixels: int) -> Dimension:
    size = draw(st.integers(1, max_pixels))
    unit = draw(st.none() | st.sampled_from(_UNITS["space"]))
    return Dimension(name=name, count=size, scale=draw(st.none() | _sizes()), unit=unit, **draw(_cuts(size)))


@st.composite
def dimensions(  # noqa: PLR0913 - each limit has a default, and is named by who gives it
    draw: DrawFn,
    *,
    max_frames: int = 60,
    max_loops: int = 4,
    max_pixels: int = 6,
    unbounded: bool | None = None,
    snake: bool | None = None,
    plate: Plate | None = None,
    plain: bool = False,
) -> tuple[Dimension, ...]:
    """Draw the dimensions of an acquisition: up to `max_loops` loops of any type in any order, then those of a frame.

    Parameters
    ----------
    max_frames
        The most frames that the bounded loops make; with a first dimension without end a quarter of that a cycle.
    max_pixels
        The largest height and width of a frame.
    unbounded
        Whether the first dimension goes on without end; `None`: sometimes.
    snake
        Whether all loops, or none, go to and fro; `None`: any of them.
    plate
        Where the positions (then there are some) lie.
    plain
        Whether positions are (then there are some) named so that folders can be named after them.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(dimensions(max_frames=10, unbounded=False))
    ... def counts_are_known(dims):
    ...     assert all(dim.count for dim in dims)
    >>> counts_are_known()
    """
    endless = draw(st.booleans()) if unbounded is None else unbounded
    kinds = draw(st.lists(st.sampled_from(_KINDS), min_size=int(endless), max_size=max_loops))
    if plate or plain or draw(st.booleans()):
        kinds.insert(draw(st.integers(int(endless), len(kinds))), "position")
    frame = draw(st.sampled_from([("y", "x"), ("rows", "columns")]))
    labels: list[str] = list(frame)
    loops = []
    budget = max_frames // 4 if endless else max_frames
    for number, kind in enumerate(kinds):
        label = _STANDARD.get(kind, "")
        if not label or label in labels or draw(st.booleans()):
            label = draw(names())
            # A name that is taken, or would say that a loop without a type is one of positions.
            while label in (*labels, "p"):
                label += "'"
        labels.append(label)
        count = None
        if number or not endless:
            count = draw(st.integers(1, min(5, max(budget, 1))))
            budget //= count
        loops.append(draw(_loop(kind, label, count, snake=snake, plate=plate, plain=plain)))
    if not any(dim.snake for dim in loops):
        for level, dim in enumerate(loops):
            tours = draw(_tours(dim.count or 0)) if dim.type == "position" else None
            if tours:
                within = draw(st.sampled_from([None, *(inner.name for inner in loops[level + 1 :])]))
                loops[level] = evolve(dim, tours=tours, tours_within=within)
    height, width = (draw(_frame_dimension(name, max_pixels)) for name in frame)
    return (*loops, height, width)


@st.composite
def formats(draw: DrawFn, name: str) -> Format:
    """Draw a format of that name, with all the ways in which it can be stored."""
    if name == "ome-zarr":
        return OmeZarrFormat(suffix=draw(st.sampled_from([".ome.zarr", ".zarr", ""])))
    if name == "scratch":
        return ScratchFormat()
    return OmeTiffFormat(
        suffix=draw(st.sampled_from([".ome.tiff", ".ome.tif"])),
        prefer_single_file=draw(st.sampled_from(["auto", "always", "never"])),
        multi_file_metadata=draw(st.sampled_from(["redundant", "master-tiff", "companion-file"])),
    )


@st.composite
def _storage_orders(draw: DrawFn, dims: Sequence[Dimension]) -> str | tuple[str, ...]:
    labels = [dim.name for dim in dims]
    listed = st.permutations(labels[:-2]).map(lambda order: (*order, *labels[-2:]))
    named: SearchStrategy[str | tuple[str, ...]] = st.sampled_from(["ome", "acquisition"])
    return draw(named | listed)


@st.composite
def settings(  # noqa: PLR0913 - each limit has a default, and is named by who gives it
    draw: DrawFn,
    *,
    formats: Sequence[str] = FORMATS,
    dtypes: Sequence[str] | None = None,
    codecs: Sequence[str] | None = None,
    max_frames: int = 60,
    max_loops: int = 4,
    max_pixels: int = 6,
    unbounded: bool | None = None,
    snake: bool | None = None,
) -> AcquisitionSettings:
    """Draw the settings of an acquisition; every one of them compiles.

    Parameters
    ----------
    formats
        Of `"ome-zarr"`, `"ome-tiff"`, `"scratch"`.
    dtypes
        Names of the dtypes of the pixels; by default all that the format can hold.
    codecs
        What pixels may be compressed with, where the format knows it; by default all that there is. They may be plain.
    max_frames, max_loops, max_pixels, unbounded, snake
        As in `dimensions`.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(settings(formats=["ome-tiff"], unbounded=True))
    ... def goes_on(settings):
    ...     assert settings.num_frames is None
    >>> goes_on()
    """
    name = draw(st.sampled_from(list(formats)))
    format_ = draw(_formats(name))
    plate = draw(st.none() | st.none() | plates())
    plain = name == "ome-zarr" and plate is None and draw(st.sampled_from([*[False] * 7, True]))
    if plain:
        format_ = OmeZarrFormat(group_names="position")
    dims = draw(
        dimensions(
            max_frames=max_frames,
            max_loops=max_loops,
            max_pixels=max_pixels,
            unbounded=unbounded,
            snake=snake,
            plate=plate,
            plain=plain,
        )
    )
    known = [one for one in LEVELS.get(name, {}) if codecs is None or one in codecs]
    codec = draw(st.none() | st.sampled_from(known)) if known else None
    highest = LEVELS[name][codec] if codec else 0
    level = draw(st.none() | st.integers(0, highest)) if highest else None
    return AcquisitionSettings(
        root_path=ROOTS[name],
        dimensions=dims,
        dtype=draw(st.sampled_from(list(dtypes or DTYPES.get(name, DTYPES["ome-zarr"])))),
        format=format_,
        compression=codec,
        compression_level=level,
        storage_order=draw(_storage_orders(dims)),
        plate=plate,
    )


_formats = formats
