"""Given frames by array and number, this keeps them: in memory, or in flat files with nothing in them but pixels."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ome_writers.writers.files import sync_file

_MOST_FILES: Final = 16
"""Files that are held open at once."""


class FrameStore(Protocol):
    """Keeps frames; one that was never put is blank."""

    @property
    def dtypes(self) -> Sequence[np.dtype[Any]]:
        """Type of the pixels of each array."""

    def put(self, array: int, number: int, frame: NDArray[Any]) -> None:
        """Keep a copy of a frame."""

    def frame(self, array: int, number: int) -> NDArray[Any] | None:
        """Return a frame, `None` for a blank one."""

    def set_length(self, array: int, frames: int) -> None:
        """Have room for so many frames; those behind are gone."""


class HeldFrames:
    """Frames in memory."""

    def __init__(self, dtypes: Sequence[str]) -> None:
        self.dtypes = [np.dtype(dtype) for dtype in dtypes]
        self.held: list[dict[int, NDArray[Any]]] = [{} for _ in dtypes]

    def put(self, array: int, number: int, frame: NDArray[Any]) -> None:
        """Keep a copy of a frame."""
        self.held[array][number] = frame.copy()

    def frame(self, array: int, number: int) -> NDArray[Any] | None:
        """Return a frame, `None` for a blank one."""
        return self.held[array].get(number)

    def set_length(self, array: int, frames: int) -> None:
        """Forget the frames behind."""
        self.held[array] = {number: frame for number, frame in self.held[array].items() if number < frames}


class FiledFrames:
    """Frames in flat files, one for each array: little-endian numbers, one frame behind the other.

    They are written and read at their places, not mapped into memory: a full disk is an error that can be caught.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        frames: Sequence[tuple[int, ...]],
        dtypes: Sequence[str],
        *,
        writes: bool = True,
        blank: bool = False,
    ) -> None:
        self.paths, self._shapes = paths, frames
        self.dtypes = [np.dtype(dtype) for dtype in dtypes]
        self._stored = [dtype.newbyteorder("<") for dtype in self.dtypes]
        self._bytes = [prod(shape) * dtype.itemsize for shape, dtype in zip(frames, self.dtypes, strict=True)]
        self._mode = "rb+" if writes else "rb"
        self._open: dict[int, io.FileIO] = {}
        self._last: dict[int, int] = {}
        """The last of the frames of each array that were put."""
        # Files that are not blank may have frames anywhere.
        self._before = -1 if blank else sys.maxsize

    def put(self, array: int, number: int, frame: NDArray[Any]) -> None:
        """Write a frame to its place.

        Raises
        ------
        OSError
            If the disk fails. The place is blank then.
        """
        file, size = self._opened(array), self._bytes[array]
        file.seek(number * size)
        rest = np.ascontiguousarray(frame, self._stored[array]).reshape(-1).view(np.uint8).data
        try:
            while rest.nbytes:
                rest = rest[file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                last = number > self._last.get(array, self._before)
                self._blank(file, number * size, size - rest.nbytes, last=last)
            raise
        self._last[array] = max(number, self._last.get(array, self._before))

    def _blank(self, file: io.FileIO, place: int, written: int, *, last: bool) -> None:
        """Take back what was written of a frame."""
        if last:
            # Nothing lies behind it. So the room that it took is free again, for the manifest.
            length = file.seek(0, io.SEEK_END)
            file.truncate(place)
            file.truncate(length)
        else:
            file.seek(place)
            file.write(bytes(written))

    def frame(self, array: int, number: int) -> NDArray[Any] | None:
        """Return a frame; blank ones are zeros in the file.

        Raises
        ------
        OSError
            If the file ends before it.
        """
        file, pixels = self._opened(array), bytearray(self._bytes[array])
        file.seek(number * self._bytes[array])
        rest = memoryview(pixels)
        while rest.nbytes:
            count = file.readinto(rest)
            if not count:
                raise OSError(f"{self.paths[array]}: ends before frame {number}")
            rest = rest[count:]
        frame = np.frombuffer(pixels, self._stored[array]).reshape(self._shapes[array])
        return frame.astype(self.dtypes[array], copy=False)

    def set_length(self, array: int, frames: int) -> None:
        """Make the file longer, with zeros, or cut it."""
        self._opened(array).truncate(frames * self._bytes[array])

    def length(self, array: int) -> int:
        """Return how many whole frames the file holds."""
        return self.paths[array].stat().st_size // self._bytes[array]

    def sync(self) -> None:
        """Return when all has reached the device."""
        self.release()
        for path in self.paths:
            sync_file(path)

    def release(self) -> None:
        """Close the files; they open again by themselves."""
        while self._open:
            self._open.popitem()[1].close()

    def _opened(self, array: int) -> io.FileIO:
        file = self._open.get(array)
        if file is None:
            if len(self._open) >= _MOST_FILES:
                self._open.pop(next(iter(self._open))).close()
            file = self._open[array] = io.FileIO(self.paths[array], self._mode)
        return file


def read_frames(
    store: FrameStore, array: int, shape: Sequence[int], axes: Sequence[int], selection: Sequence[int | slice]
) -> NDArray[Any]:
    """Return pixels of an array.

    Parameters
    ----------
    shape
        Of the array, in the order of its axes.
    axes
        The order in which the axes follow in the store, the last two those of a frame.
    selection
        One index or slice for each axis of the array.
    """
    wanted = [range(size)[one] for size, one in zip(shape, selection, strict=True)]
    index = [one if isinstance(one, range) else range(one, one + 1) for one in wanted]
    out = np.zeros([len(one) for one in index], store.dtypes[array])
    inner = tuple(selection[-2:])
    for place in np.ndindex(*out.shape[:-2]):
        at = [one[i] for one, i in zip(index, place, strict=False)]
        frame = store.frame(array, frame_number(at, shape, axes))
        if frame is not None:
            out[place] = frame[tuple(slice(one, one + 1) if isinstance(one, int) else one for one in inner)]
    return out[tuple(0 if isinstance(one, int) else slice(None) for one in wanted)]


def frame_number(index: Sequence[int], shape: Sequence[int], axes: Sequence[int]) -> int:
    """Return which frame of the store an index is.

    Examples
    --------
    >>> frame_number((1, 2), (3, 4, 8, 8), (0, 1, 2, 3)), frame_number((1, 2), (3, 4, 8, 8), (1, 0, 2, 3))
    (6, 7)
    """
    number = 0
    for axis in axes[:-2]:
        number = number * shape[axis] + index[axis]
    return number
