"""Given work that a library has taken over, this keeps what is not finished within bounds and brings errors to light.

It serves every library that answers with futures (`done()`, `exception()`): pixels are handed over with `add`, which is
preceded by `make_room`, so that a slow disk blocks the caller instead of filling the memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import frozen

from ome_writers.errors import WriteError
from ome_writers.layout import ArraySpec
from ome_writers.writer import Block

IN_FLIGHT: Final = 64 * 2**20
"""Bytes that may be on their way where pixels are copied for it: more would cost more page faults than it saves."""
_MOST: Final = 256
"""Blocks that may be on their way at once, however small they are."""


class Future(Protocol):
    """What libraries call a future: the answer to work that goes on elsewhere."""

    def done(self) -> bool:
        """Return whether the work has ended, well or not."""

    def exception(self) -> Any:
        """Wait for the end of the work, and return what went wrong, if anything."""


@frozen(eq=False)
class _Piece:
    future: Future
    nbytes: int
    array: int
    frames: tuple[int, ...]
    what: str


class InFlight:
    """Blocks that are on their way to the disk.

    Examples
    --------
    >>> InFlight(limit=1000).held_bytes
    0
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[_Piece] = []
        self.held_bytes = 0
        """Bytes of pixels on their way."""
        self.failed = False
        """Whether an error has come to light."""
        self.lost: list[int] = []
        """Numbers of the frames in blocks that have failed."""

    def make_room(self, nbytes: int) -> None:
        """Wait until so many bytes more are within the limit; a block that is larger than that goes alone.

        Raises
        ------
        WriteError
            If any block has failed by now.
        """
        self._settle(lambda _: self.held_bytes + nbytes > self._limit or len(self._pieces) >= _MOST)

    def has_room(self, nbytes: int) -> bool:
        """Return whether so many bytes more are within the limit, without waiting.

        Raises
        ------
        WriteError
            If any block has failed by now.
        """
        self._settle(lambda _: False)
        return self.held_bytes + nbytes <= self._limit and len(self._pieces) < _MOST

    def add(self, future: Future, nbytes: int, block: Block, spec: ArraySpec) -> None:
        """Count a block that has been handed over."""
        frames = tuple(block.frames)
        place = " ".join(f"{name}={index}" for name, index in zip(spec.dimension_names, block.start, strict=False))
        what = f"{f'frame {min(frames)}' if frames else 'a block'} ({f'array {spec.path!r} {place}'.strip()})"
        self._pieces.append(_Piece(future, nbytes, block.array, frames, what))
        self.held_bytes += nbytes

    def pending(self) -> list[int]:
        """Return the numbers of the frames in blocks that have not arrived, without waiting."""
        # Other threads add to them.
        pieces = tuple(self._pieces)
        under_way = (piece for piece in pieces if not piece.future.done() or piece.future.exception() is not None)
        return [*self.lost, *(frame for piece in under_way for frame in piece.frames)]

    def wait(self, array: int | None = None) -> None:
        """Wait until all blocks (of one array) have arrived.

        Raises
        ------
        WriteError
            If any block has failed.
        """
        self._settle(lambda piece: array is None or piece.array == array)

    def rest(self) -> None:
        """Wait until nothing is on its way any more; what went wrong is raised by the next call."""
        for piece in tuple(self._pieces):
            piece.future.exception()

    def drop(self) -> None:
        """Wait until nothing is on its way any more, whatever becomes of it."""
        with contextlib.suppress(WriteError):
            self.wait()

    def _settle(self, must_end: Callable[[_Piece], bool]) -> None:
        """Wait for the pieces of which `must_end` is true, the oldest first; forget those that have ended."""
        fault: WriteError | None = None
        for piece in tuple(self._pieces):
            if not (piece.future.done() or must_end(piece)):
                continue
            error = piece.future.exception()
            self._pieces.remove(piece)
            self.held_bytes -= piece.nbytes
            if error is None:
                continue
            self.lost += piece.frames
            if fault is None:
                fault = WriteError(f"{piece.what}: {error}", min(piece.frames, default=None))
                fault.__cause__ = error
        if fault is not None:
            self.failed = True
            raise fault
