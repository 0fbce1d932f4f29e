"""The reference writer, and the example of one: an array is a numpy array, a document an entry of a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ome_writers.layout import ArraySpec
from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection


class MemoryWriter:
    """Keeps everything in memory, under the paths that a file format would give it.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, write
    >>> dims = dims_from_standard_axes({"t": 2, "y": 8, "x": 8})
    >>> writer = MemoryWriter()
    >>> plan = compile(AcquisitionSettings(dtype="uint8", dimensions=dims))
    >>> outcome = write(plan, np.ones((2, 8, 8), "uint8"), writer)
    >>> writer.arrays[0].shape, int(writer.arrays[0].sum())
    ((2, 8, 8), 128)
    """

    capabilities = Capabilities(
        name="memory",
        formats=frozenset({"scratch", "ome-zarr", "ome-tiff"}),
        order="any",
        persistent=False,
        readable=True,
        atomic_replace=True,
        ack="close",
        attaches=False,
    )

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        """Body of each document, by its path."""
        self._room: list[NDArray[Any]] = []
        self._shapes: list[tuple[int, ...]] = []
        self._specs: tuple[ArraySpec, ...] = ()

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays, in the order of `plan.layout.arrays`; views of what is stored."""
        return tuple(room[_corner(shape)] for room, shape in zip(self._room, self._shapes, strict=True))

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:  # noqa: ARG002 - no place needed
        """Make the arrays, unless there are some to attach to."""
        if attach:
            return
        self._specs = plan.layout.arrays
        # An axis without end begins with the extent of one block, which here is one frame.
        self._shapes = [tuple(size or 1 for size in spec.shape) for spec in self._specs]
        self._room = [_empty(spec, shape) for spec, shape in zip(self._specs, self._shapes, strict=True)]
        self.flush(documents)

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Give an array a new shape; costs a copy each time it has doubled, and whenever it shrinks."""
        old, room = self._shapes[array], self._room[array]
        if any(new > size for new, size in zip(shape, room.shape, strict=True)) or any(map(int.__lt__, shape, old)):
            # Room for twice as much as before, so that many small steps cost little.
            roomy = tuple(
                max(new, 2 * size) if new > size else size for new, size in zip(shape, room.shape, strict=True)
            )
            kept = _corner(tuple(map(min, old, shape)))
            self._room[array] = _empty(self._specs[array], roomy)
            self._room[array][kept] = room[kept]
        self._shapes[array] = shape

    def write(self, blocks: Sequence[Block], /) -> None:
        """Copy blocks to their places."""
        for block in blocks:
            start = (*block.start, 0, 0)
            where = tuple(slice(first, first + size) for first, size in zip(start, block.data.shape, strict=True))
            self._room[block.array][where] = block.data

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return a copy of what is stored."""
        return np.array(self.arrays[array][selection])

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:  # noqa: ARG002 - memory is not durable
        """Replace the documents."""
        self.documents |= {document.path: document.body for document in documents or ()}

    def close(self, documents: Documents, /) -> None:
        """Replace the documents; the arrays stay."""
        self.flush(documents)

    def abort(self) -> None:
        """Do nothing: all that came stays."""


def _empty(spec: ArraySpec, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.full(shape, spec.fill_value, spec.dtype) if spec.fill_value else np.zeros(shape, spec.dtype)


def _corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(size) for size in shape)
