"""Frames in one file, in the order in which they come, to be had back in any: what a disk does best.

A spool with a folder of its own is a file without a name, where the system can do without, so that nothing is left of
it, whatever ends the process. One that is given a path is part of a journal, and outlives the process: before the
pixels of each frame stands what tells whose they are, little-endian (`_HEAD`): a mark, the place of the frame in the
plan, the bytes of its pixels, and a checksum of these. The room of frames that are let go of is used again for frames
of as many bytes.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.regular import open_regular, own_regular

_HEAD: Final = struct.Struct("<4sqqI")
_MARK: Final = b"OMEw"
_MOST_BYTES: Final = 2**40
"""No frame has more."""


class Spool:
    """Raw frames by number; memory holds only where they lie.

    Examples
    --------
    >>> spool = Spool(None)
    >>> spool.keep(7, np.arange(6, dtype="uint8").reshape(2, 3))
    >>> spool.frame(7).tolist()
    [[0, 1, 2], [3, 4, 5]]
    >>> spool.close()
    """

    def __init__(self, folder: Path | None, path: Path | None = None) -> None:
        self._folder = folder
        self._path = path
        self._file: Any = None
        self._end = 0
        self._kept: dict[int, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}
        """Offset of the pixels, shape and dtype of each frame."""
        self._free: dict[int, list[int]] = {}
        """Offsets that frames of so many bytes may go to."""

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, number: int, frame: NDArray[Any]) -> None:
        """Keep a frame.

        Raises
        ------
        OSError
            If the disk fails or is full; then the frame is not kept, and all others are.
        """
        if self._file is None:
            self._file = self._opened()
        data = np.ascontiguousarray(frame).reshape(-1).view(np.uint8).data
        free = self._free.get(len(data))
        offset = free[-1] if free else self._end + _HEAD.size
        self._put(data, offset)
        # Last, for it says that they are there.
        self._put(memoryview(_head(number, len(data))), offset - _HEAD.size)
        if free:
            free.pop()
        else:
            self._end = offset + len(data)
        self._kept[number] = (offset, frame.shape, frame.dtype)

    def _opened(self) -> Any:
        if self._path is not None:
            # Buffers of Python's own would only add a copy.
            return os.fdopen(own_regular(self._path), "r+b", buffering=0)
        import tempfile

        return tempfile.TemporaryFile(prefix=".ome-writers-", suffix=".spool", dir=self._folder, buffering=0)

    def _put(self, data: memoryview, offset: int) -> None:
        self._file.seek(offset)
        written = 0
        while written < len(data):
            written += self._file.write(data[written:])

    def frame(self, number: int) -> NDArray[Any]:
        """Return a frame.

        Raises
        ------
        KeyError
            If it was not kept.
        OSError
            If the disk fails.
        """
        offset, shape, dtype = self._kept[number]
        out = np.empty(shape, dtype)
        data = out.reshape(-1).view(np.uint8).data
        self._file.seek(offset)
        read = 0
        while read < len(data):
            if not (more := self._file.readinto(data[read:])):
                raise OSError(f"the file of waiting frames ends {len(data) - read} bytes too early")
            read += more
        return out

    def release(self, numbers: Collection[int]) -> None:
        """Let go of frames, if they are kept."""
        for number in numbers:
            if (kept := self._kept.pop(number, None)) is not None:
                offset, shape, dtype = kept
                self._free.setdefault(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, []).append(offset)
        if self._free and not self._kept and self._file is not None:
            self._file.truncate(0)
            self._free, self._end = {}, 0

    def attach(self, number: int, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Take over a frame that an earlier process kept there; see `kept_in`."""
        if self._file is None:
            self._file = self._opened()
        self._kept[number] = (offset, shape, dtype)
        self._end = max(self._end, offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)

    def sync(self) -> None:
        """Return when what is kept has reached the device."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; one without a name is gone, and nothing can be had back after that."""
        if self._file is not None:
            self._file.close()
            self._file = None


def kept_in(path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield number, offset and bytes of each frame that a process which has ended kept at `path`; stops where it ends.

    Whoever uses them knows which of them still wait: the others were let go of.
    """
    try:
        file = open_regular(path, links=False)
    except FileNotFoundError:
        return
    with file:
        end, at = file.seek(0, os.SEEK_END), 0
        while at + _HEAD.size <= end:
            file.seek(at)
            head = file.read(_HEAD.size)
            mark, number, size, _ = _HEAD.unpack(head)
            if mark != _MARK or not 0 <= size <= min(_MOST_BYTES, end - at - _HEAD.size) or head != _head(number, size):
                return
            yield number, at + _HEAD.size, size
            at += _HEAD.size + max(size, 1)


def _head(number: int, size: int) -> bytes:
    return _HEAD.pack(_MARK, number, size, zlib.crc32(struct.pack("<qq", number, size)))


def spool_folder(root: str, *, local: bool) -> Path | None:
    """Return the folder beside a dataset, `None` if that is not on this machine's disks."""
    folder = Path(os.path.abspath(root)).parent if local else None  # noqa: PTH100 - of what may be a link
    return folder if folder is not None and folder.is_dir() else None
