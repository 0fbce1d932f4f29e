"""How frames are cut into runs of bytes, and the words in which a placement says where these lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Final

import numpy as np
from attrs import frozen

from ome_writers.order import Rows

PLACE_DTYPE: Final = np.dtype(
    [
        ("frame", "<i8"),
        ("array", "<i4"),
        ("file", "<i8"),
        ("offset", "<i8"),
        ("files", "<i4"),
        ("runs", "<i4"),
        ("run_bytes", "<i8"),
        ("run_stride", "<i8"),
    ]
)


@frozen
class Cut:
    """How the frames of an array are cut into runs of bytes, and where these lie.

    A frame is shared out to `parts` files along y and x, each of which holds `tiles` along y and x, as runs in C order.
    """

    parts: tuple[int, int]
    tiles: tuple[int, int]
    tile: tuple[int, int]
    """Rows and columns of a run's pixels."""
    padded: bool
    """Whether a tile that the frame's edge cuts is stored in full. If not, its run is shorter."""
    packed: bool
    """Whether eight pixels are a byte, the first in its highest bit, and each row begins a new one."""
    run_bytes: int
    run_stride: int
    """From the beginning of one run to that of the next."""

    @property
    def runs(self) -> int:
        """Number of runs in each file."""
        return prod(self.tiles)


@frozen
class FileSpec:
    """A file that pixels go to.

    Examples
    --------
    >>> FileSpec(key="0/c/0/0/0", size=8192).size
    8192
    """

    key: str
    """POSIX key below the root; `""` is the root itself."""
    size: int
    """Bytes before the first frame comes."""


Head = Iterable[tuple[int, bytes]]
"""What must stand in a file before the first frame comes, and where."""


def described(rows: Rows, cuts: Sequence[Cut]) -> Rows:
    """Return rows of places with all that follows from the array alone; files and offsets are 0 yet."""
    out = np.zeros(len(rows), PLACE_DTYPE)
    out["frame"], out["array"] = rows["frame"], rows["array"]
    columns = {
        "files": [prod(cut.parts) for cut in cuts],
        "runs": [cut.runs for cut in cuts],
        "run_bytes": [cut.run_bytes for cut in cuts],
        "run_stride": [cut.run_stride for cut in cuts],
    }
    for name, values in columns.items():
        out[name] = np.array(values)[rows["array"]]
    return out
