"""Given the shape of a frame, this answers: what would a camera have seen? Few frames, of which many are made.

Cells with a camera's noise, as in the demo, for what is measured with compression depends on what is compressed. Large
frames are put together of fields of 1024 pixels, no two of which are alike in one frame, since a larger field takes
gigabytes to simulate.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.simulate import grow

_FIELD: Final = 1024
_DISTINCT: Final = 8
_MOST_BYTES: Final = 128_000_000
"""Of all distinct frames together, since each contender has them in memory."""
_DARK: Final = 90  # counts that no pixel falls below


def pictures(shape: tuple[int, int], dtype: str) -> NDArray[Any]:
    """Return a few distinct frames (frame, y, x), always the same for the same arguments.

    Examples
    --------
    >>> few = pictures((40, 30), "uint8")
    >>> few.shape, few.dtype.name, bool(few.min() < 20 < 100 < few.max())
    ((8, 40, 30), 'uint8', True)
    """
    height, width = shape
    side = min(_FIELD, max(16, *shape))
    cells = grow((side, side), seed=1)
    moments = [cells.at(time) for time in (0, 5)]
    fields = [
        as_dtype(moment.frame(channel, depth), dtype)
        for moment, channel, depth in product(moments, (0, 1), (-0.2, 0.3))
    ]
    rows, columns = -(-height // side), -(-width // side)
    count = int(np.clip(_MOST_BYTES // fields[0].dtype.itemsize // (height * width), 2, _DISTINCT))
    frames = np.empty((count, height, width), fields[0].dtype)
    for number, (row, column) in product(range(count), np.ndindex(rows, columns)):
        round_, field = divmod(number + row * columns + column, len(fields))
        turned = fields[field][:: (-1) ** (round_ & 1), :: (-1) ** (round_ >> 1 & 1)]
        place = frames[number, row * side : (row + 1) * side, column * side : (column + 1) * side]
        place[:] = turned[: place.shape[0], : place.shape[1]]
    return frames


def as_dtype(frame: NDArray[np.uint16], dtype: str) -> NDArray[Any]:
    """Return counts as a camera of another depth would have them; for bool, what is brighter than the background."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return frame > np.median(frame)
    if kind.itemsize == 1:
        return np.clip((frame - _DARK) // 4, 0, np.iinfo(kind).max).astype(kind)
    return frame.astype(kind)
