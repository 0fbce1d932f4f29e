"""Given the folder of a zarr array, this answers: which of the files in it are not its own?

Its own are its documents and its chunks. Where chunks lie its document says: how many axes there are, how their numbers
are joined to a key, and how many chunks there are along each axis.

Chunks beyond the last are its own along one axis, that which was growing, as long as the run has not ended: a process
that was killed may have left some. Along y and x there are none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from attrs import frozen

OLD: Final = 2
"""The version of zarr whose documents begin with a point."""
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_BEING_MADE: Final = re.compile(r"\.[0-9]+\.(?P<ours>.+)|(?P<locked>.+)\.__lock|(?P<stem>.+)\.[0-9a-f]{32}\.partial")
"""Names of files from which a chunk is renamed when it is whole: by this library, by tensorstore, and by zarr-python.

zarr-python replaces what stands behind the last point.
"""


@frozen
class Grid:
    """Where the chunks of an array lie; what its document does not say is `None`."""

    prefix: str
    """`"c"` in format 3."""
    separator: str | None
    chunks: tuple[int, ...] | None
    """How many there are along each axis."""

    def indices(self, key: str) -> list[int] | None:
        """Return the numbers that a key is made of, `None` if it is no key of a chunk."""
        if self.prefix and key == self.prefix:
            return [] if not self.chunks else None
        if self.separator is None:
            key, separator = key.replace(".", "/"), "/"
        else:
            separator = self.separator
        if self.prefix:
            if not key.startswith(self.prefix + separator):
                return None
            key = key[len(self.prefix + separator) :]
        parts = key.split(separator)
        if not all(map(_NUMBER.fullmatch, parts)):
            return None
        numbers = [int(part) for part in parts]
        if self.chunks == () and not self.prefix:  # format 2 calls the only chunk 0
            return [] if numbers == [0] else None
        return numbers if self.chunks is None or len(numbers) == len(self.chunks) else None

    def holds(self, key: str, *, ended: bool) -> bool:
        """Return whether a file of that name may be a chunk of the array."""
        numbers = self.indices(key)
        if numbers is None or self.chunks is None:
            return numbers is not None
        beyond = [axis for axis, (one, count) in enumerate(zip(numbers, self.chunks, strict=True)) if one >= count]
        return len(beyond) <= (not ended) and all(axis < len(numbers) - 2 for axis in beyond)

    def leads_on(self, folder: str) -> bool:
        """Return whether chunks may lie in a folder of that name, or in one in it."""
        if self.separator == ".":
            return False
        first, *rest = folder.split("/")
        numbers = rest if self.prefix else [first, *rest]
        deep = len(numbers) < (len(self.chunks) if self.chunks is not None else len(numbers) + 1)
        return deep and (not self.prefix or first == self.prefix) and all(map(_NUMBER.fullmatch, numbers))


def grid_of(document: dict[str, Any], version: int) -> Grid:
    """Return where the chunks of an array lie, by its `zarr.json` or `.zarray`; what makes no sense is left out.

    Examples
    --------
    >>> grid_of({"shape": [5, 8], "chunks": [2, 8], "dimension_separator": "/"}, 2).holds("2/0", ended=True)
    True
    """
    if version == OLD:
        sizes, default = document.get("chunks"), "." if document else None
        return Grid("", _one_of(document.get("dimension_separator"), default), _counts(document.get("shape"), sizes))
    grid, encoding = _mapping(document.get("chunk_grid")), _mapping(document.get("chunk_key_encoding"))
    old = encoding.get("name") == "v2"
    separator = _one_of(_mapping(encoding.get("configuration")).get("separator"), "." if old else "/")
    counts = _counts(document.get("shape"), _mapping(grid.get("configuration")).get("chunk_shape"))
    return Grid("" if old else "c", separator, counts)


def _one_of(value: Any, default: str | None) -> str | None:
    return value if value in {"/", "."} else default


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _counts(shape: Any, sizes: Any) -> tuple[int, ...] | None:
    lists = isinstance(shape, list) and isinstance(sizes, list) and len(shape) == len(sizes)
    if not lists or not all(isinstance(one, int) for one in [*shape, *sizes]) or min(sizes, default=1) < 1:
        return None
    return tuple(-(-length // size) for length, size in zip(shape, sizes, strict=True))


def strange_chunks(array: Path, here: PurePosixPath, grid: Grid, *, ended: bool) -> Iterator[PurePosixPath]:
    """Yield what lies in an array, beside its documents, and is neither a chunk of it nor one that was being made."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(array / folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            name = f"{folder}/{entry.name}".lstrip("/")
            if entry.is_dir(follow_symlinks=False):
                if grid.leads_on(name):
                    waiting.append(name)
                else:
                    yield here / name
            elif not entry.is_file(follow_symlinks=False) or not (
                grid.holds(name, ended=ended) or any(grid.holds(key, ended=ended) for key in _meant(folder, entry.name))
            ):
                yield here / name


def _meant(folder: str, name: str) -> Sequence[str]:
    """Return the keys of which a file may have been the beginning."""
    found = _BEING_MADE.fullmatch(name)
    if found is None:
        return ()
    name = found["ours"] or found["locked"] or found["stem"]
    keys = [name, f"{name}.0"] if found["stem"] else [name]
    return [f"{folder}/{key}".lstrip("/") for key in keys]
