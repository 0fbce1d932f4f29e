"""Given a document, an array or a block, this answers: which keys below a Zarr's root hold it, and what bytes?

All writers of OME-Zarr share these answers, so that their files differ in nothing but who stored the pixels. Nothing
here reads or writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ome_writers.documents import Document
from ome_writers.jsontext import object_in
from ome_writers.layout import ArraySpec
from ome_writers.regular import understood
from ome_writers.zarrjson import array_json, encode_json, group_json, json_pieces, sizes_in

Shape = tuple[int, ...]


def array_key(spec: ArraySpec) -> str:
    """Return the key of an array's `zarr.json`."""
    return f"{spec.path}/zarr.json"


def array_file(spec: ArraySpec, shape: Shape) -> tuple[str, bytes]:
    """Return key and content of the `zarr.json` of an array that has `shape` by now."""
    return array_key(spec), encode_json(array_json(spec, shape))


def document_file(document: Document) -> tuple[str, bytes]:
    """Return key and content of the file that a document becomes."""
    key, pieces = document_pieces(document)
    return key, b"".join(pieces)


def document_pieces(document: Document) -> tuple[str, Iterator[bytes]]:
    """Return key and content of the file that a document becomes; most have but one piece."""
    if document.kind == "group":
        key = f"{document.path}/zarr.json" if document.path else "zarr.json"
        return key, json_pieces(group_json(document.body))
    return document.path, iter([document.body.encode()])


def stored_shape(spec: ArraySpec, data: bytes, root: str) -> Shape:
    """Return the shape that the `zarr.json` of an array below `root` says.

    Raises
    ------
    NotADataset
        If it cannot be understood.
    """
    with understood(f"{root.rstrip('/')}/{array_key(spec)}"):
        return sizes_in(object_in(data), "shape", len(spec.shape))


def grid(spec: ArraySpec) -> Shape:
    """Return the shape of what lies in one file: a shard, or a chunk if there are no shards."""
    return spec.shard_shape or spec.chunk_shape


def cells(shape: Shape, spec: ArraySpec) -> Shape:
    """Return how many files an array of `shape` takes along each axis."""
    return tuple(-(-size // step) for size, step in zip(shape, grid(spec), strict=True))


def folders_beyond(keys: Iterable[str], spec: ArraySpec, shape: Shape) -> set[str]:
    """Return the folders, ending in a slash, that hold all those chunks among `keys` that lie beyond `shape`."""
    prefix, size = f"{spec.path}/c/", cells(shape, spec)
    doomed = set()
    for key in keys:
        parts = key.removeprefix(prefix).split("/")
        # What a process left behind that died while it wrote has no number for a name.
        beyond = (axis for axis, part in enumerate(parts) if part.isdecimal() and int(part) >= size[axis])
        axis = next(beyond, None)
        if axis is not None:
            # Never the last axis, for a frame does not shrink. So this is a folder, and all in it goes.
            doomed.add(prefix + "/".join(parts[: axis + 1]) + "/")
    return doomed


def whole(start: Shape, stop: Shape, shape: Shape, spec: ArraySpec) -> Shape:
    """Return the extent of a block, filled up to whole files where the edge of an array of `shape` cuts it.

    Raises
    ------
    ValueError
        If a block is cut off elsewhere.
    """
    step = grid(spec)
    for first, last, size, length in zip(start, stop, shape, step, strict=True):
        if first % length or (last % length and last < size):
            raise ValueError(f"a block from {start} to {stop} is not whole: an array of {shape} is cut into {step}")
    return tuple(-(-last // length) * length - first for first, last, length in zip(start, stop, step, strict=True))


def filled_up(data: NDArray[Any], extent: Shape, fill_value: int) -> NDArray[Any]:
    """Return a copy of a block that has this extent."""
    out = np.full(extent, fill_value, data.dtype)
    out[tuple(map(slice, data.shape))] = data
    return out


def ranges(selection: tuple[int | slice, ...], shape: Shape) -> tuple[int | slice, ...]:
    """Return a selection in which no index is counted from the end, and every slice has its ends.

    Raises
    ------
    IndexError
        If an index leaves the shape.
    """
    parts = [range(size)[part] for size, part in zip(shape, selection, strict=True)]
    return tuple(slice(part.start, part.stop) if isinstance(part, range) else part for part in parts)


def frame_by_frame(
    selection: tuple[int | slice, ...], shape: Shape, dtype: np.dtype[Any], read: Callable[[Shape], NDArray[Any]]
) -> NDArray[Any]:
    """Return a selection of an array; `read` returns the frame at an index without y and x, or one that is larger.

    Raises
    ------
    IndexError
        If an index leaves the shape.
    """
    where = ranges(selection, shape)
    lead = [range(part, part + 1) if isinstance(part, int) else range(part.start, part.stop) for part in where[:-2]]
    out = np.zeros((*map(len, lead), *np.empty(shape[-2:], bool)[where[-2:]].shape), dtype)
    for place in np.ndindex(*map(len, lead)):
        out[place] = read(tuple(part[i] for part, i in zip(lead, place, strict=True)))[where[-2:]]
    return out[tuple(0 if isinstance(part, int) else slice(None) for part in where[:-2])]
