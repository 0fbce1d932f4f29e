"""Given how an array is compressed, this answers: what bytes does a chunk become, and what does it come back from?

What each codec is told is read off the array's own document, so any library that can read that document decodes these
bytes. Both ways work in any thread, and release the interpreter while they do.
"""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ome_writers.errors import PlanError, Problem
from ome_writers.layout import ArraySpec
from ome_writers.zarrjson import chunk_codecs

_GZIP_FORMAT: Final = 31
"""What zlib calls the largest window, with the header and the checksum of gzip."""


class ChunkCodec(NamedTuple):
    """How the chunks of an array become bytes, and back."""

    encode: Callable[[NDArray[Any]], bytes]
    """Takes a whole chunk: C-contiguous, of the dtype `stored_dtype`."""
    decode: Callable[[bytes], bytes]


def stored_dtype(spec: ArraySpec) -> np.dtype[Any]:
    """Return the dtype of the pixels before they are compressed: little-endian.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))
    >>> stored_dtype(plan.layout.arrays[0]) == "<u2"
    True
    """
    return np.dtype(spec.dtype).newbyteorder("<")


def chunk_codec(spec: ArraySpec) -> ChunkCodec:
    """Return the codec of an array that is compressed.

    Raises
    ------
    PlanError
        If the library that has it is missing.
    ValueError
        If the array is not compressed.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", compression="gzip",
    ...     dimensions=dims_from_standard_axes({"y": 8, "x": 8})))
    >>> codec = chunk_codec(plan.layout.arrays[0])
    >>> codec.decode(codec.encode(np.full((2, 2), 77, "uint8")))
    b'MMMM'
    """
    if spec.codec is None:
        raise ValueError(f"array {spec.path!r} is not compressed")
    said: Any = chunk_codecs(spec)[-1]
    name, how = said["name"], said["configuration"]
    if name == "gzip":
        return ChunkCodec(lambda pixels: zlib.compress(pixels.data, how["level"], _GZIP_FORMAT), gzip.decompress)
    if importlib.util.find_spec("numcodecs") is None:
        hint = "pip install 'ome-writers[numcodecs]'"
        message = f"{spec.codec.name} needs the library 'numcodecs', which is not installed: {hint}"
        raise PlanError([Problem(("compression",), "missing_library", message)])
    if name == "zstd":
        from numcodecs import zstd  # type: ignore[import-untyped]

        return ChunkCodec(lambda pixels: zstd.compress(pixels, how["level"], how["checksum"]), zstd.decompress)
    from numcodecs import blosc

    # The size of a pixel, which `shuffle` goes by, is told by the chunk itself.
    shuffle = {"shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}[how["shuffle"]]
    told = how["cname"].encode(), how["clevel"], shuffle, how["blocksize"]
    return ChunkCodec(lambda pixels: blosc.compress(pixels, *told), blosc.decompress)
