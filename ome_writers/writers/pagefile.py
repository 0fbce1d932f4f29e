"""Given what a library writes page by page, this makes of it a TIFF file that is whole whenever a page is complete.

What lies behind the pages that stand is written at once: no one refers to it yet. What goes to where they stand (the
pointer from the last page to the new one) is kept back, and written last.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = 16
"""Bytes of a BigTIFF without pages."""
_FIRST_DIRECTORY: Final = 8
"""Where a BigTIFF says where its first page's directory is."""
_IMAGE_DESCRIPTION: Final = 270
_STRIP_OFFSETS: Final = 273


class PageFile(io.RawIOBase):
    """A file for tifffile to write pages to. It is opened when it is needed, and need not be open in between."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._file: io.FileIO | None = None
        self._end = 0
        self._at = 0
        self._kept_back: list[tuple[int, bytes]] = []
        self._before: list[tuple[int, bytes]] = []
        """What stood there, until all of that has taken its place."""

    def has_pages(self) -> bool:
        """Return whether the file exists and has at least one whole page."""
        return self._path.exists() and self._path.stat().st_size > _HEADER and self._number(_FIRST_DIRECTORY) > 0

    def commit(self) -> None:
        """Make what was written since the last time part of the file."""
        self._before = [(at, self._bytes(at, len(data))) for at, data in self._kept_back]
        for at, data in self._kept_back:
            self._put(at, data)
        self._kept_back.clear()
        self._end = self._opened().seek(0, os.SEEK_END)
        self._before.clear()

    def roll_back(self) -> None:
        """Take back what was written since the last `commit`, and that itself if it was interrupted."""
        self._kept_back.clear()
        for at, data in self._before:
            self._put(at, data)
        self._before.clear()
        self._opened().truncate(self._end)
        self.release()

    def put(self, at: int, data: NDArray[Any]) -> None:
        """Write the bytes of an array."""
        self._put(at, data.reshape(-1).view(np.uint8).data)

    def set_strips(self, offsets: tuple[int, ...]) -> None:
        """Say where the strips of the page lie that was written since the last `commit`."""
        self._opened()
        _, _, at = self._tag(self._end + self._end % 2, _STRIP_OFFSETS)
        self._put(at, struct.pack(f"={len(offsets)}Q", *offsets))

    def set_comment(self, text: bytes) -> None:
        """Replace the description of the first page, which must have one: in its place, or at the end of the file."""
        entry, room, at = self._tag(self._number(_FIRST_DIRECTORY), _IMAGE_DESCRIPTION)
        # A shorter value would have to stand in the directory itself.
        text = text.ljust(8, b"\0") + b"\0"
        if len(text) > room:
            # The old text stands until all of the new one does.
            at = self._end + self._end % 2
        try:
            self._put(at, text.ljust(room, b"\0"))
        except OSError:
            # A shorter text may find the room that a part of this one takes.
            with contextlib.suppress(OSError):
                self.roll_back()
            raise
        self._put(entry + 4, struct.pack("=QQ", len(text), at))
        self.commit()

    def cut(self, pages: int) -> int:
        """Take away the pages behind so many, and return how many there are."""
        if not self.has_pages():
            return 0
        at, count = _FIRST_DIRECTORY, 0
        while count < pages and (directory := self._number(at)):
            at, count = directory + 8 + 20 * self._number(directory), count + 1
        # Each page stands behind the one before, whole; only an OME-XML may stand behind them all.
        if behind := self._number(at):
            self._put(at, bytes(8))
            entry = self._tag(self._number(_FIRST_DIRECTORY), _IMAGE_DESCRIPTION) if count else (0, 0, 0)
            if entry[2] < behind:
                self._opened().truncate(behind)
            self.commit()
        return count

    def _number(self, at: int) -> int:
        (number,) = struct.unpack("=Q", self._bytes(at, 8))
        return int(number)

    def _bytes(self, at: int, size: int) -> bytes:
        file = self._opened()
        file.seek(at)
        return file.read(size) or b""

    def _tag(self, directory: int, code: int) -> tuple[int, int, int]:
        """Return where an entry of a directory stands, how many values it has, and where they are."""
        count = self._number(directory)
        entries = struct.iter_unpack("=HHQQ", self._opened().read(20 * count))
        return next((directory + 8 + 20 * k, size, at) for k, (tag, _, size, at) in enumerate(entries) if tag == code)

    def release(self) -> None:
        """Close the file; it opens again by itself."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> io.FileIO:
        if self._file is None:
            # Never truncated here: that a new file may be made was settled when the writer was opened.
            self._file = io.FileIO(self._path, "rb+" if self._path.exists() else "xb+")
            self._end = self._file.seek(0, os.SEEK_END)
        return self._file

    def _put(self, at: int, data: bytes | memoryview) -> None:
        file = self._opened()
        file.seek(at)
        rest = memoryview(data)
        while rest.nbytes:
            rest = rest[file.write(rest) :]

    # ── what tifffile calls ─────────────────────────────────────────────────────────────────────────────────

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to where the next call reads or writes."""
        self._opened()
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        """Return where the next call reads or writes."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return bytes of the file."""
        file = self._opened()
        file.seek(self._at)
        data = file.read(size) or b""
        self._at += len(data)
        return data

    def write(self, data: Any, /) -> int:
        """Write behind what stands, or keep back what would change it."""
        self._opened()
        if self._at < self._end:
            self._kept_back.append((self._at, bytes(data)))
        else:
            self._put(self._at, data)
        self._at += len(data)
        return len(data)
