"""A writer whose disk is full at a known moment, for tests of what happens then."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection, Writer


class Failing:
    """A writer that does what another one does, until its `at`-th write (from 0) finds the disk full."""

    def __init__(self, writer: Writer, at: int | None = None) -> None:
        self.writer, self.at = writer, at
        self.writes = 0
        self.stored: list[int] = []
        """Numbers of the frames of which `write` has returned."""

    @property
    def capabilities(self) -> Capabilities:
        """Those of the other writer."""
        return self.writer.capabilities

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """As the other writer."""
        self.writer.open(root, plan, documents, attach=attach)

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """As the other writer."""
        self.writer.resize(array, shape)

    def write(self, blocks: Sequence[Block], /) -> None:
        """As the other writer, but raise `OSError` instead of the `at`-th time."""
        self.writes += 1
        if self.at is not None and self.writes > self.at:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.writer.write(blocks)
        self.stored += [frame for block in blocks for frame in block.frames]

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """As the other writer."""
        return self.writer.read(array, selection)

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """As the other writer."""
        self.writer.flush(documents, durable=durable)

    def close(self, documents: Documents, /) -> None:
        """As the other writer."""
        self.writer.close(documents)

    def abort(self) -> None:
        """As the other writer."""
        self.writer.abort()
