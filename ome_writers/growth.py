"""Given a plan without end, this answers: how long do its arrays say they are, once so much of them is needed?

To make an array longer costs a document for each array (or, in a TIFF file, a stretch of directories), so it is done
in steps: of `STEP_BYTES` of pixels over all arrays, or a quarter of what there is if that is more. What a reader sees
while the run lasts is therefore current to within one step; beyond what came it reads the fill value. `close` cuts the
arrays to what came.

    rounds needed     1 … 8   9 … 16   …   57 … 64  65 … 80  81 … 96  97 … 120   (a step of 8 rounds)
    rounds announced     8       16    …      64       80       96       120
"""

from __future__ import annotations

from functools import lru_cache
from math import lcm, prod
from typing import Final

import numpy as np

from ome_writers.layout import Layout, block_shape

STEP_BYTES: Final = 64 << 20
"""Pixels of all arrays that a step is meant to hold."""
_STEP_FRAMES: Final = 16_384
"""Frames of all arrays that a step holds at most, however small they are: each may cost a directory."""
_MOST: Final = np.iinfo(np.int32).max


def step_rounds(layout: Layout) -> int:
    """Return the rounds of the endless axis that the shortest step has: whole chunks and whole shards of all arrays.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "c": 2, "y": 2048, "x": 2048})
    >>> step_rounds(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims)).layout)
    4
    """
    frames = size = 0
    whole = 1
    for spec in layout.arrays:
        inner = prod(count for count in spec.shape[:-2] if count is not None)
        frames += inner
        size += inner * prod(block_shape(spec, "frame")) * np.dtype(spec.dtype).itemsize
        axis = spec.shape.index(None)
        whole = lcm(whole, block_shape(spec, "chunk")[axis], block_shape(spec, "shard")[axis])
    rounds = max(1, min(-(-STEP_BYTES // size), _STEP_FRAMES // frames))
    return -(-rounds // whole) * whole


@lru_cache(maxsize=16)
def bounds(step: int) -> tuple[int, ...]:
    """Return the lengths, ascending, that an axis without end may be said to have.

    Examples
    --------
    >>> bounds(8)[:11]
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 120)
    """
    out, length = [], 0
    while length < _MOST:
        length += max(step, length // 4 // step * step)
        out.append(length)
    return tuple(out)
