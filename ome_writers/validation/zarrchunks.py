"""Given the arrays of an OME-Zarr, this checks that every chunk is there, whole, and can be decoded, one by one.

A chunk that is absent reads as the fill value, by the specification. So it is a fault only where the dataset says that
frames of it came. Of shards the index is checked as well: its checksum if it has one, and that each chunk lies inside
the file and on no other. Pixels without a checksum may still be wrong, and nobody can tell.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from math import ceil, prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.checksum import crc32c
from ome_writers.readers.zarr import opened_array
from ome_writers.validation.words import Findings
from ome_writers.validation.zarrtree import Json, Node, Tree
from ome_writers.zarrjson import sizes_in

Cell = tuple[int, ...]
Mask = NDArray[np.bool_]
_DROP_BLACK: Final = ("zarrs-python",)
"""Writers whose library stores no chunk that holds the fill value only, whatever it is told (zarrs 0.2.3)."""
_NOWHERE: Final = 2**64 - 1
"""Offset and size of a chunk that a shard does not have (sharding codec, version 1.0)."""


@frozen(eq=False)
class Grid:
    """How an array is cut into files, and these into chunks."""

    key: str
    """Of the array."""
    shape: Cell
    file: Cell
    """Shape of what a file holds: a chunk or a shard."""
    chunk: Cell
    name: Callable[[Cell], str]
    """Key of a file below the array."""
    index: Json | None
    """Configuration of the sharding codec."""

    @property
    def cells(self) -> Cell:
        """How many files there are along each axis."""
        return tuple(ceil(size / step) for size, step in zip(self.shape, self.file, strict=True))

    @property
    def inner(self) -> Cell:
        """How many chunks a file holds along each axis."""
        return tuple(whole // part for whole, part in zip(self.file, self.chunk, strict=True))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return prod(ceil(size / step) for size, step in zip(self.shape, self.chunk, strict=True))


def grid_of(array: Node) -> Grid:
    """Return how an array is cut.

    Raises
    ------
    KeyError, TypeError, ValueError
        If its metadata do not say so.
    """
    body = array.body
    shape = sizes_in(body, "shape")
    if body.get("zarr_format") == 2:  # noqa: PLR2004 - the old format
        separator, chunk = str(body.get("dimension_separator") or "."), sizes_in(body, "chunks")
        return Grid(array.key, shape, chunk, chunk, lambda cell: separator.join(map(str, cell)) or "0", None)
    file = chunk = sizes_in(body["chunk_grid"]["configuration"], "chunk_shape")
    index = None
    for codec in body["codecs"]:
        if codec["name"] == "sharding_indexed":
            index = codec["configuration"]
            chunk = sizes_in(index, "chunk_shape")
    encoding = body.get("chunk_key_encoding") or {"name": "default"}
    default = encoding.get("name", "default") == "default"
    separator = (encoding.get("configuration") or {}).get("separator") or ("/" if default else ".")
    start = ("c",) if default else ()

    def name(cell: Cell) -> str:
        return separator.join((*start, *map(str, cell))) or "0"

    if len({len(shape), len(file), len(chunk)}) != 1 or not all((*file, *chunk)):
        raise ValueError(f"shape {shape}, chunks {chunk} and shards {file} do not fit")
    return Grid(array.key, shape, file, chunk, name, index)


def check_chunks(
    root: Path, tree: Tree, came: Mapping[str, Mask], found: Findings, advance: Callable[[int], None]
) -> None:
    """Check every chunk of all arrays. `came` has which frames of an array came, where that is known."""
    arrays = [array for _, levels in tree.images for array in levels]
    noted = tree.root.attributes.get("ome_writers")
    drops_black = isinstance(noted, dict) and noted.get("writer") in _DROP_BLACK
    grids = []
    with found.check("chunk grids", f"{len(arrays)} array{'s' * (len(arrays) != 1)}") as check:
        for array in arrays:
            try:
                grids.append(grid_of(array))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                check.fault(array.key, f"its metadata do not say how it is cut into chunks: {error!r}")
    with found.check("chunks") as check:
        done = whole = absent = 0
        for grid in grids:
            _check_stray(root, grid, check)
            try:
                handle = opened_array(str(root), grid.key)
            except Exception as error:  # noqa: BLE001 - the errors of two libraries
                if "neither is installed" in str(error):
                    check.not_run(str(error))
                    return
                check.fault(grid.key, f"cannot be opened: {_first_line(error)}")
                continue
            stored = _Stored(root, grid, came.get(grid.key), handle, drops_black)
            for cell in np.ndindex(grid.cells):
                decoded, gone = _check_file(stored, cell, check)
                whole, absent, done = whole + decoded, absent + gone, done + prod(grid.inner)
                advance(done)
        if absent:
            # Nobody knows whether these were to be: with a note of the run they would be told above.
            check.warn("", f"{absent} chunks are absent and read as the fill value; nothing says whether they came")
        check.summary = f"{whole} of {sum(grid.chunks for grid in grids)} chunks are there, and decoded"


def _check_stray(root: Path, grid: Grid, check: Findings) -> None:
    """Look for files of pixels beyond the shape: somebody cut it, or it never was the right one."""
    folder = root / grid.key
    stray, first = 0, ""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name == "c" or name.isdecimal()]
        for file in files:
            key = Path(place, file).relative_to(folder).as_posix()
            parts = [part for part in key.replace(".", "/").split("/") if part != "c"]
            # Whether it is one of the grid's its numbers tell: a set of all names would have no bound.
            if all(part.isdecimal() for part in parts) and not _inside(tuple(map(int, parts)), grid):
                stray, first = stray + 1, first or key
    if stray:
        check.fault(grid.key, f"{stray} files of pixels lie beyond its shape {list(grid.shape)}, {first} for one")


def _inside(cell: Cell, grid: Grid) -> bool:
    cells = grid.cells or (1,)  # a single number has one chunk, called 0
    return len(cell) == len(cells) and all(map(int.__lt__, cell, cells))


@frozen(eq=False)
class _Stored:
    """An array on disk."""

    root: Path
    grid: Grid
    came: Mask | None
    """Which of its frames came, if that is known."""
    handle: Any
    """What reads it."""
    drops_black: bool
    """Whether its writer stores no chunk that is black throughout."""


def _check_file(stored: _Stored, cell: Cell, check: Findings) -> tuple[int, int]:
    """Check the chunks of a file; return how many were decoded, and how many are absent for no known reason."""
    root, grid, mask = stored.root, stored.grid, stored.came
    key = f"{grid.key}/{grid.name(cell)}".lstrip("/")
    places = list(_places(grid, cell))
    try:
        size = (root / key).stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0 if _told_absent(stored, cell, key, check) else len(places)
    try:
        here = np.ones(prod(grid.inner), bool) if grid.index is None else _shard(root / key, size, grid)
    except ValueError as error:
        check.fault(key, str(error))
        return 0, 0
    decoded = gone = 0
    for number, inner, place in places:
        where = key if grid.index is None else f"{key} chunk {list(inner)}"
        if not here[number]:
            if mask is None:
                gone += 1
            elif frames := _came(mask, place):
                # The index says so, and some libraries (acquire-zarr) say so of chunks that are black.
                check.warn(
                    where, f"is absent from its shard: the {frames} frames that it should hold were black, or lost"
                )
            continue
        try:
            np.asarray(stored.handle[place])
            decoded += 1
        except Exception as error:  # noqa: BLE001 - the errors of two libraries
            check.fault(where, f"cannot be decoded: {_first_line(error)}")
    return decoded, gone


def _told_absent(stored: _Stored, cell: Cell, key: str, check: Findings) -> bool:
    """Tell of a file that is not there; return whether anything is known of whether it should be."""
    if stored.came is None:
        return False
    if frames := _came(stored.came, _region(cell, stored.grid.file, stored.grid.shape)):
        if stored.drops_black:
            check.warn(key, f"is absent: the {frames} frames that it should hold were black, or it was lost")
        else:
            check.fault(key, f"is missing, though {frames} frames came that it should hold")
    return True


def _places(grid: Grid, cell: Cell) -> Iterator[tuple[int, Cell, tuple[slice, ...]]]:
    """Yield number, index and region of each chunk of a file that has pixels within the shape."""
    for number, inner in enumerate(itertools.product(*map(range, grid.inner))):
        first = tuple(c * n + i for c, n, i in zip(cell, grid.inner, inner, strict=True))
        place = _region(first, grid.chunk, grid.shape)
        if all(part.start < part.stop for part in place):
            yield number, inner, place


def _region(cell: Cell, step: Cell, shape: Cell) -> tuple[slice, ...]:
    return tuple(
        slice(index * size, min((index + 1) * size, end)) for index, size, end in zip(cell, step, shape, strict=True)
    )


def _came(mask: Mask, place: tuple[slice, ...]) -> int:
    return int(mask[place[: mask.ndim]].sum())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


# ── shards ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shard(path: Path, size: int, grid: Grid) -> Mask:
    """Return which chunks a shard has, by its index.

    Raises
    ------
    ValueError
        If the index is damaged, or points to where no chunk can be.
    """
    config = grid.index or {}
    codecs = [codec["name"] for codec in config.get("index_codecs", ())]
    count = prod(grid.inner)
    if codecs not in (["bytes"], ["bytes", "crc32c"]):
        return np.ones(count, bool)  # compressed: the reader of the pixels sees to it
    length = 16 * count + 4 * (len(codecs) - 1)
    at_start = config.get("index_location") == "start"
    if size < length:
        raise ValueError(f"is cut off: has {size} bytes, and its index alone takes {length}")
    with path.open("rb") as file:
        file.seek(0 if at_start else size - length)
        raw = file.read(length)
    if len(codecs) > 1 and crc32c(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise ValueError("the checksum (crc32c) of its index is wrong: the index is damaged, or the file was cut off")
    index = np.frombuffer(raw[: 16 * count], "<u8").reshape(count, 2)
    here = np.asarray((index != _NOWHERE).any(axis=1))
    starts, sizes = index[here].T
    fits = (sizes <= size) & (starts <= size - np.minimum(sizes, size))
    if not fits.all():
        number = int(np.flatnonzero(here)[~fits][0])
        chunk, (first, length) = list(map(int, np.unravel_index(number, grid.inner))), map(int, index[number])
        raise ValueError(
            f"its chunk {chunk} should lie at bytes {first} to {first + length}, but the file has {size} bytes: it was "
            "cut off, or the index is damaged"
        )
    order = np.argsort(starts, kind="stable")
    if (starts[order][1:] < (starts + sizes)[order][:-1]).any():
        raise ValueError("its index says that chunks lie on one another")
    return here
