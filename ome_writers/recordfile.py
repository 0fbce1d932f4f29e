"""Metadata of frames by place, where memory holds no more than where each stands: 20 bytes a frame.

The lines themselves are in the journal, as long as there is one. After that, and for runs that have none, they are in
memory as the bytes that they would be in a file, or, if they are many, in a file that nobody else sees.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array as array_of
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ome_writers.journal_file import MOST_LINE, place_in, said, said_in, value_in
from ome_writers.records import Record
from ome_writers.regular import own_regular
from ome_writers.writers.placed import get, put

_IN_MEMORY: Final = 1 << 20
"""Bytes of lines that are kept in memory when their file goes."""


class Lines:
    """Bytes that are only appended to: in a file, or in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._held = bytearray()
        self._file = -1
        self.end = 0
        self._closing: weakref.finalize[..., Any] | None = None
        if path is not None:
            self._keep(own_regular(path))
            self.end = os.fstat(self._file).st_size

    def _keep(self, file: int) -> None:
        self._file = file
        self._closing = weakref.finalize(self, os.close, file)

    def append(self, data: bytes) -> int:
        """Append bytes, and return where they begin.

        Raises
        ------
        OSError
            If the disk fails or is full; then they are not there.
        """
        at = self.end
        if self._file < 0:
            self._held += data
        else:
            put(self._file, data, at)
        self.end += len(data)
        return at

    def cut(self, end: int) -> None:
        """Take away what lies behind `end`."""
        if end < self.end:
            os.ftruncate(self._file, end)
            self.end = end

    def read(self, at: int, size: int) -> bytes:
        """Return bytes."""
        return bytes(self._held[at : at + size]) if self._file < 0 else get(self._file, size, at)

    def sync(self) -> None:
        """Return when all has reached the device."""
        if self._file >= 0:
            os.fsync(self._file)

    def settle(self) -> None:
        """Let go of the file, which may be removed after this; what it holds can still be read."""
        if self._file < 0 or self._closing is None:
            return
        closing = self._closing
        if self.end <= _IN_MEMORY:
            self._held, self._file = bytearray(get(self._file, self.end, 0)), -1
            closing()
            return
        # Windows removes no file that is open; so it is another one everywhere.
        with tempfile.TemporaryFile() as file:
            for at in range(0, self.end, _IN_MEMORY):
                file.write(get(self._file, min(_IN_MEMORY, self.end - at), at))
            file.flush()
            self._keep(os.dup(file.fileno()))
        closing()


class Records(Mapping[int, Record]):
    """Metadata by place in the plan, ascending; what is added for a place replaces what was there.

    Examples
    --------
    >>> records = Records()
    >>> records.add(7, {"exposure_time": 0.01})
    >>> records.add(2, {})
    >>> dict(records)
    {2: {}, 7: {'exposure_time': 0.01}}
    """

    def __init__(self, lines: Lines | None = None) -> None:
        self.lines = Lines() if lines is None else lines
        self._places, self._at, self._sizes = array_of("q"), array_of("q"), array_of("l")
        self._sorted: tuple[Any, Any] | None = None
        """Places, ascending, and which of those that were added is the last for each."""
        self._found = 0
        """Where among these the place stands that was asked for last: the next one mostly follows it."""
        self._loaded = 0
        """How many were in the file: they may have been changed there."""
        self.last = -1
        """The largest place."""

    def add(self, place: int, record: Record) -> None:
        """Keep metadata.

        Raises
        ------
        OSError
            If the disk fails or is full.
        """
        line = said(place, record)
        self._note(place, self.lines.append(line), len(line))

    def _note(self, place: int, at: int, size: int) -> None:
        self._places.append(place)
        self._at.append(at)
        self._sizes.append(size)
        self._sorted = None
        self.last = max(self.last, place)

    def load(self) -> Iterator[Record]:
        """Learn what stands in the file, and yield what is said of no frame."""
        at = 0
        while at < self.lines.end:
            data = self.lines.read(at, _IN_MEMORY)
            if b"\n" not in data:
                data = self.lines.read(at, MOST_LINE)
                if b"\n" not in data:
                    break
            whole = data[: data.rindex(b"\n") + 1]
            for line in whole.splitlines(keepends=True):
                if (place := place_in(line)) is not None and place >= 0:
                    self._note(place, at, len(line))
                elif place is not None:
                    yield value_in(line)
                at += len(line)
        # What was torn does not become part of the next line.
        self.lines.cut(at)
        self._loaded = len(self._places)

    def _order(self) -> tuple[Any, Any]:
        if self._sorted is None:
            places = np.array(self._places, np.int64)
            # Of several for one place the last counts: backwards, it is the first.
            found, first = np.unique(places[::-1], return_index=True)
            self._sorted = found, len(places) - 1 - first
        return self._sorted

    def __len__(self) -> int:
        return len(self._order()[0])

    def __iter__(self) -> Iterator[int]:
        return iter(self._order()[0].tolist())

    def __getitem__(self, place: int) -> Record:
        found, which = self._order()
        at = self._found + 1
        if at >= len(found) or found[at] != place:
            at = int(np.searchsorted(found, place))
            if at == len(found) or found[at] != place:
                raise KeyError(place)
        self._found, number = at, int(which[at])
        line = self.lines.read(self._at[number], self._sizes[number])
        return value_in(line) if number < self._loaded else said_in(line)

    def __bool__(self) -> bool:
        return bool(self._places)

    def below(self, cursor: int) -> Mapping[int, Record]:
        """Return those of the places below `cursor`."""
        return self if self.last < cursor else _Below(self, cursor)


class _Below(Mapping[int, Record]):
    def __init__(self, records: Records, cursor: int) -> None:
        self._records, self._cursor = records, cursor

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[int]:
        return (place for place in self._records if place < self._cursor)

    def __getitem__(self, place: int) -> Record:
        if place >= self._cursor:
            raise KeyError(place)
        return self._records[place]
