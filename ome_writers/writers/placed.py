"""Given bytes and where they belong, this puts them there: files are whole from the start, and written in any order.

A file comes into being under another name, with its full length and all that must stand in it before the first pixel,
and is then renamed. So whoever finds it finds a file that can be read. What is not written yet reads as zeros.

Writes are system calls at a given place (no memory maps: an error must be an error, not a signal). Where a system has
no such call (Windows), seeking and writing do the same under a lock; `POSITIONED = False` switches that on anywhere.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from ome_writers.writers.files import make_folder, put_in_place, sync_file, sync_folder, unfinished
from ome_writers.writers.reserve import lengthen, reserve

POSITIONED = hasattr(os, "pwrite")
"""Whether the system can write at a place without moving to it."""
_FLAGS: Final = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_MOST_BUFFERS: Final = 512
"""Buffers in one system call; systems take 1024, or at least 16."""
_LARGEST: Final = 1 << 30
"""Bytes in one system call; all systems take somewhat less than 2 GiB."""
_PIECE: Final = 64 << 10
_moving = threading.Lock()

Buffer = bytes | bytearray | memoryview | NDArray[Any]
"""Contiguous memory."""
Pieces = Iterable[tuple[int, Buffer]]
"""What is to stand in a file, and where."""


def put(file: int, data: Buffer, offset: int) -> None:
    """Write all of `data` to an open file, beginning at `offset`.

    Raises
    ------
    OSError
        If the disk fails or is full.
    """
    rest = memoryview(data)  # type: ignore[arg-type]
    if POSITIONED and 0 < rest.nbytes <= _LARGEST and (written := os.pwrite(file, rest, offset)) == rest.nbytes:
        return  # as nearly always
    rest = rest.cast("B")
    while rest.nbytes:
        part = rest[:_LARGEST]
        if POSITIONED:
            written = os.pwrite(file, part, offset)
        else:
            with _moving:
                os.lseek(file, offset, os.SEEK_SET)
                written = os.write(file, part)
        if written == rest.nbytes:
            return
        rest, offset = rest[written:], offset + written


def put_all(file: int, parts: Sequence[Buffer], offset: int) -> None:
    """Write buffers one behind the other, with few system calls where the system can do that.

    Raises
    ------
    OSError
        If the disk fails or is full.
    """
    views = [memoryview(part).cast("B") for part in parts]  # type: ignore[arg-type]
    for first in range(0, len(views), _MOST_BUFFERS):
        some = views[first : first + _MOST_BUFFERS]
        size = sum(view.nbytes for view in some)
        written = os.pwritev(file, some, offset) if POSITIONED and hasattr(os, "pwritev") and size <= _LARGEST else 0
        for view in some:
            if written < view.nbytes:
                put(file, view[written:], offset + written)
            offset += view.nbytes
            written = max(written - view.nbytes, 0)


def blank(file: int, size: int, offset: int) -> None:
    """Put zeros where something was written that is not to stand; where a full disk had no room, it reads so anyway."""
    zeros = bytes(min(size, _PIECE))
    with contextlib.suppress(OSError):
        for at in range(offset, offset + size, _PIECE):
            put(file, zeros[: offset + size - at], at)


def get(file: int, size: int, offset: int) -> bytes:
    """Return bytes of an open file; fewer than `size` only where the file ends."""
    parts = []
    while size:
        if POSITIONED:
            part = os.pread(file, min(size, _LARGEST), offset)
        else:
            with _moving:
                os.lseek(file, offset, os.SEEK_SET)
                part = os.read(file, min(size, _LARGEST))
        if not part:
            break
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class PlacedFiles:
    """Files below a folder, by key; the ones used last are open, and never more than so many.

    Calls come from one thread, but for `make`.

    Parameters
    ----------
    root
        The folder.
    most_open
        How many files may be open. Threads that make or sync others have four more, for a moment.
    remembers
        Whether to keep the key of each file that was opened, as `sync` needs it. There may be millions.
    """

    def __init__(self, root: Path, *, most_open: int = 60, remembers: bool = True) -> None:
        self._root = root
        self._most_open = most_open
        self._remembers = remembers
        self._open: dict[str, int] = {}
        """Descriptors, the one used last at the end."""
        self._changed: set[str] = set()

    def path(self, key: str) -> Path:
        """Return where a file is; the key `""` is the root itself."""
        return self._root.joinpath(*key.split("/")) if key else self._root

    def create(self, key: str, size: int, head: Pieces = (), *, reserved_from: int | None = None) -> int:
        """Make a file as `make` does, and return its descriptor."""
        self.make(key, size, head, reserved_from=reserved_from)
        return self.open(key)

    def make(self, key: str, size: int, head: Pieces = (), *, reserved_from: int | None = None) -> None:
        """Make a file of that length which holds `head`; from `reserved_from` on it has its room on the disk at once.

        May be called from another thread than all else, for another file.

        Raises
        ------
        OSError
            If it cannot be made. Then there is none.
        """
        path = self.path(key)
        new = unfinished(path)
        try:
            try:
                file = os.open(new, _FLAGS | os.O_CREAT | os.O_TRUNC, 0o666)
            except FileNotFoundError:
                make_folder(path.parent, self._root)
                file = os.open(new, _FLAGS | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                if size:
                    lengthen(file, size)
                    if reserved_from is not None:
                        reserve(file, reserved_from, size)
                for at, data in head:
                    put(file, data, at)
            finally:
                # Windows renames no file that is open.
                os.close(file)
            put_in_place(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    def put_new(self, key: str, data: Buffer) -> None:
        """Make a file that holds `data`, in the place of one that stood there.

        Raises
        ------
        OSError
            If it cannot be made. Then what stood there still stands.
        """
        self.forget(key)
        self.make(key, 0, [(0, data)])

    def cut(self, key: str, size: int, tail: bytes) -> None:
        """Make a file end at `size` with `tail`, if it is longer; what it holds is whole before, between, and after.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        file = self.open(key)
        if os.fstat(file).st_size > size:
            put(file, tail, size - len(tail))
            os.ftruncate(file, size)

    def open(self, key: str) -> int:
        """Return the descriptor of a file that exists; it may be closed when another one is opened.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        file = self._open.pop(key, None)
        if file is None:
            file = os.open(self.path(key), _FLAGS)
            if len(self._open) >= self._most_open:
                os.close(self._open.pop(next(iter(self._open))))
        self._open[key] = file
        if self._remembers:
            self._changed.add(key)
        return file

    def exists(self, key: str) -> bool:
        """Return whether a file has been made."""
        return key in self._open or self.path(key).exists()

    def forget(self, key: str) -> None:
        """Close a file, which is about to be removed."""
        self._changed.discard(key)
        if (file := self._open.pop(key, None)) is not None:
            os.close(file)

    def sync(self) -> None:
        """Return when all that was written since the last time has reached the device."""
        for key in self._changed:
            sync_file(self.path(key))
        for folder in {self.path(key).parent for key in self._changed}:
            sync_folder(folder)
        self._changed.clear()

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])
