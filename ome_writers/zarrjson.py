"""Given an array or the attributes of a group, this answers: what stands in its `zarr.json`?

The documents follow the Zarr v3 core specification and its registered codecs. Every writer creates its arrays from
them, so the same settings give the same files whichever library stores the pixels. zarr-python and tensorstore both
open them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from ome_writers.check import shown
from ome_writers.errors import Malformed
from ome_writers.layout import ArraySpec
from ome_writers.records import JSON, PlacedRecords

_LEVELS: Final = {"blosc-zstd": 1, "blosc-lz4": 5, "zstd": 3, "gzip": 5}
"""Levels that are meant by none: about where a higher one costs much time and saves little on camera images."""

_CHECKSUM: Final[JSON] = {"name": "crc32c"}

_PIECE: Final = 1 << 20
_LARGEST: Final = 2**63
_WIDE: Final = 100
"""From so many items on, a list of objects is written with an item a line."""


def group_json(attributes: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the `zarr.json` of a group.

    Examples
    --------
    >>> group_json({})
    {'zarr_format': 3, 'node_type': 'group', 'attributes': {}}
    """
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def array_json(spec: ArraySpec, shape: tuple[int, ...]) -> dict[str, JSON]:
    """Return the `zarr.json` of an array that has `shape` by now.

    The chunk grid is that of the shards if there are any; the chunks are then in the configuration of
    `sharding_indexed`.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16",
    ...     dimensions=dims_from_standard_axes({"t": 2, "y": 8, "x": 8})))
    >>> document = array_json(plan.layout.arrays[0], (2, 8, 8))
    >>> document["data_type"], document["chunk_grid"]["configuration"], document["codecs"]
    ('uint16', {'chunk_shape': [1, 8, 8]}, [{'name': 'bytes', 'configuration': {'endian': 'little'}}])
    """
    codecs = chunk_codecs(spec)
    if spec.shard_shape is not None:
        location = spec.index_location or "end"
        # An index at the start is kept current while chunks come, entry by entry; a checksum would be wrong in between.
        checksum = [_CHECKSUM] if location == "end" else []
        sharding: JSON = {
            "chunk_shape": list(spec.chunk_shape),
            "codecs": codecs,
            "index_codecs": [_bytes(np.dtype("uint64")), *checksum],
            "index_location": location,
        }
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": spec.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.shard_shape or spec.chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _fill_value(np.dtype(spec.dtype), spec.fill_value),
        "codecs": codecs,
        "attributes": {},
        "dimension_names": list(spec.dimension_names),
    }


def sizes_in(said: Mapping[str, Any], name: str, axes: int | None = None) -> tuple[int, ...]:
    """Return what a document that may come from anywhere says of a size along each axis, of so many axes.

    Raises
    ------
    Malformed
        If it says nothing of the kind.

    Examples
    --------
    >>> sizes_in({"shape": [3, 8, 8]}, "shape", 3)
    (3, 8, 8)
    >>> sizes_in({"shape": [3, 1e308]}, "shape")
    Traceback (most recent call last):
    ome_writers.errors.Malformed: shape: must be a list of whole numbers; got [3, 1e+308]
    """
    sizes = said.get(name)
    if not isinstance(sizes, list) or not all(type(size) is int and 0 <= size < _LARGEST for size in sizes):
        raise Malformed(f"{name}: must be a list of whole numbers; got {shown(sizes)}")
    if axes not in (None, len(sizes)):
        raise Malformed(f"{name}: must be a number for each of {axes} axes; got {shown(sizes)}")
    return tuple(sizes)


def _fill_value(dtype: np.dtype[Any], value: float) -> JSON:
    """Return the fill value in the form that the data type asks for (Zarr v3, "fill value list")."""
    if dtype.kind == "b":
        return bool(value)
    if dtype.kind == "c":
        return [float(value), 0.0]
    return float(value) if dtype.kind == "f" else int(value)


def _bytes(dtype: np.dtype[Any]) -> JSON:
    # A type of one byte has no order of bytes, and naming one is an error.
    return {"name": "bytes", "configuration": {"endian": "little"}} if dtype.itemsize > 1 else {"name": "bytes"}


def chunk_codecs(spec: ArraySpec) -> list[JSON]:
    """Return what a chunk's pixels go through on their way to bytes: their order of bytes, and compression if any.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", compression="zstd",
    ...     dimensions=dims_from_standard_axes({"y": 8, "x": 8})))
    >>> chunk_codecs(plan.layout.arrays[0])
    [{'name': 'bytes'}, {'name': 'zstd', 'configuration': {'level': 3, 'checksum': False}}]
    """
    dtype, codec = np.dtype(spec.dtype), spec.codec
    if codec is None:
        return [_bytes(dtype)]
    level = _LEVELS[codec.name] if codec.level is None else codec.level
    name, _, inner = codec.name.partition("-")
    configuration: dict[str, JSON] = {"level": level}
    if name == "blosc":
        configuration = {
            "typesize": dtype.itemsize,
            "cname": inner,
            "clevel": level,
            # Neighbouring pixels share their high bytes, which `shuffle` brings together. Where there are none it does
            # nothing,
            # and `bitshuffle` brings together high bits. Both libraries write and read either.
            "shuffle": "shuffle" if dtype.itemsize > 1 else "bitshuffle",
            "blocksize": 0,
        }
    elif name == "zstd":
        configuration = {"level": level, "checksum": False}
    return [_bytes(dtype), {"name": name, "configuration": configuration}]


def encode_json(value: JSON) -> bytes:
    """Return strict JSON in UTF-8, the same bytes for the same value.

    Indented by 2; what holds no objects stands on one line, and so does each item of a long list, which makes the
    metadata of 100,000 frames quick to write and easy to search.

    Raises
    ------
    ValueError
        If there is a NaN or an infinity, which JSON has no words for.

    Examples
    --------
    >>> print(encode_json({"shape": [2, 8], "attributes": {"ome": {}}}).decode())
    {
      "shape": [2, 8],
      "attributes": {
        "ome": {}
      }
    }
    """
    return b"".join(json_pieces(value))


def json_pieces(value: JSON) -> Iterator[bytes]:
    """Yield what `encode_json` returns, in pieces of about a megabyte."""
    parts: list[str] = []
    size = 0
    for part in _indented(value, "\n"):
        parts.append(part)
        size += len(part)
        if size >= _PIECE:
            yield "".join(parts).encode()
            parts, size = [], 0
    yield "".join(parts).encode()


def _indented(value: JSON | PlacedRecords, newline: str) -> Iterator[str]:
    inner = newline + "  "
    if isinstance(value, dict) and value:
        before = "{"
        for key, item in value.items():
            yield f"{before}{inner}{_line(key)}: "
            yield from _indented(item, inner)
            before = ","
        yield newline + "}"
    elif isinstance(value, PlacedRecords) or (isinstance(value, list) and any(isinstance(one, dict) for one in value)):
        before, short = "[", len(value) < _WIDE
        for item in value:
            yield before + inner
            yield from _indented(item, inner) if short else (_line(item),)
            before = ","
        yield newline + "]"
    else:
        yield _line(value)


_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
