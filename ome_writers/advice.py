"""Given what will be acquired, the format and the disk, this answers: what size should chunks and shards have, and why?

1. A chunk is what a reader fetches at once. Under a megabyte the way to it costs more than its bytes; over some
   megabytes, who looks at a corner waits for all of it. So large frames are halved, and small ones put together along
   the innermost loops.
2. A shard is a file. Chunks are put into shards until a file has a size that suits the disk, first those of a frame,
   then those of the innermost loops; where there would be few files anyway, there need be no shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final, Literal

import numpy as np
from attrs import field, frozen

from ome_writers.layout import roles_of
from ome_writers.settings import AcquisitionSettings, Dimension

Disk = Literal["ssd", "hdd", "network", "object"]

DISKS: Final[dict[str, tuple[int, str]]] = {
    "ssd": (64_000_000, "a solid-state disk is quick at opening files"),
    "hdd": (512_000_000, "a turning disk loses ten milliseconds on the way to each file"),
    "network": (512_000_000, "each file on a server costs some round trips"),
    "object": (256_000_000, "each object is a request, and is sent as a whole"),
}
"""Kind of disk -> the size that files should have there, and why."""

SMALL_CHUNK: Final = 1_000_000
"""Smaller chunks cost more for the way than for the bytes."""
LARGE_CHUNK: Final = 16_000_000
FEW_FILES: Final = 1000


@frozen
class Advice:
    """Sizes of chunks, in elements, and of shards, in chunks, by names of dimensions; and a sentence for each reason.

    What is not named stays as it is by default: whole frames, one by one, without shards.
    """

    chunks: Mapping[str, int] = field(factory=dict)
    shards: Mapping[str, int] = field(factory=dict)
    reasons: tuple[str, ...] = ()


def advise(settings: AcquisitionSettings, disk: Disk = "ssd") -> Advice:
    """Return the sizes of chunks and shards that suit an acquisition and a disk, whatever the settings say of them.

    Parameters
    ----------
    settings
        With a dtype, and the two dimensions of a frame.
    disk
        `"ssd"`, `"hdd"`, `"network"` (a server) or `"object"` (a store of objects).

    Examples
    --------
    >>> from ome_writers import dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 1000, "z": 50, "y": 512, "x": 512})
    >>> found = advise(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))
    >>> dict(found.chunks), dict(found.shards)
    ({'z': 2, 'y': 512, 'x': 512}, {'t': 2, 'z': 25})
    """
    if settings.format.name != "ome-zarr":
        what = {"ome-tiff": "a page of OME-TIFF is a frame", "scratch": "scratch arrays are plain"}
        return Advice(reasons=(f"{what[settings.format.name]}, so there are no chunks and no shards to choose.",))
    roles = roles_of(settings)
    inner, images = list(reversed(roles.axes)), prod(dim.count or 1 for dim in roles.fans)
    chunks, reasons = _chunks(settings.frame_dimensions, inner, np.dtype(settings.dtype).itemsize)
    shards, why = _shards(settings, inner, images, chunks, disk)
    return Advice(chunks, shards, (*reasons, why))


def _chunks(frame: Sequence[Dimension], inner: Sequence[Dimension], item: int) -> tuple[dict[str, int], list[str]]:
    whole = {dim.name: dim.count or 1 for dim in frame}
    chunks = dict(whole)
    while prod(chunks.values()) * item > LARGE_CHUNK:
        longest = max(chunks, key=lambda name: chunks[name])
        chunks[longest] = -(-chunks[longest] // 2)
    size = prod(whole.values()) * item
    if chunks != whole:
        tile = " × ".join(str(length) for length in chunks.values())
        reason = f"A frame has {_mb(size)}, so it is cut into tiles of {tile}, which viewers fetch one by one"
        return chunks, [f"{reason}, {_mb(prod(chunks.values()) * item)} each."]
    if size >= SMALL_CHUNK:
        return chunks, [f"A frame has {_mb(size)}, which is a good chunk as it is."]
    joined: dict[str, int] = {}
    for dim in inner:
        wanted = -(-SMALL_CHUNK // (size * prod(joined.values())))
        # A power of two, or all there is, so that few chunks are cut off at the edge.
        fitting = 1 << (wanted - 1).bit_length()
        if wanted > 1 and dim.count != 1:
            joined[dim.name] = fitting if dim.count is None else min(fitting, dim.count)
    if not joined:
        return chunks, [f"A frame has only {_mb(size)}, but there is no loop along which frames could be put together."]
    frames = " × ".join(f"{count} along {name}" for name, count in joined.items())
    reason = f"A frame has only {_mb(size)}, so frames are put together in a chunk ({frames}): "
    reason += f"{_mb(size * prod(joined.values()))}. They wait in memory for each other."
    return {**dict(reversed(joined.items())), **chunks}, [reason]


def _shards(
    settings: AcquisitionSettings, inner: Sequence[Dimension], images: int, chunks: Mapping[str, int], disk: Disk
) -> tuple[dict[str, int], str]:
    def pieces(dim: Dimension) -> int | None:
        return None if dim.count is None else -(-dim.count // chunks.get(dim.name, 1))

    dims = (*reversed(settings.frame_dimensions), *inner)
    counts = [pieces(dim) for dim in dims]
    if None not in counts and (files := images * prod(count or 1 for count in counts)) <= FEW_FILES:
        return (
            {},
            f"There will be {files:,} chunk{'s' * (files != 1)}: few enough for each to be a file, without shards.",
        )
    size = prod(chunks.values()) * np.dtype(settings.dtype).itemsize
    wanted, why = DISKS[disk]
    shards: dict[str, int] = {}
    for dim, count in zip(dims, counts, strict=True):
        room = max(wanted // (size * prod(shards.values())), 1)
        of_frame = dim in settings.frame_dimensions
        # A power of two again; tiles of a frame stay together, whatever their size.
        fitting = (count or 1) if of_frame else min(1 << (room.bit_length() - 1), count or room)
        if fitting > 1:
            shards[dim.name] = fitting
    many = "without end" if None in counts else f"{images * prod(count or 1 for count in counts):,}"
    if not shards:
        return {}, f"Chunks ({many}) are files of their own, as no image has more than one."
    held = size * prod(shards.values())
    reason = f"Chunks ({many}) are put into shards of {_mb(held)}, one file each, for {why}. "
    reason += "Writers that make whole shards keep each open one in memory; 'direct' does not, unless it compresses."
    return dict(reversed(shards.items())), reason


def _mb(count: int) -> str:
    return f"{count / 1e6:.3g} MB"
