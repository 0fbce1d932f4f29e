"""Given the placement of an OME-TIFF dataset, this keeps its files whole: directories, OME-XML, and their end.

1. A file comes into being with the directories of its pages and its OME-XML, at full length. Its pixels read as zeros.
2. A new OME-XML never overwrites the one in force: it is written beside it, and then its length and its place are set
   with one write of 16 bytes. So a reader, or whoever kills the process, finds one of the two.
3. A block of pages is written behind the end of a file, and then the last directory before it points to it.
4. At the end the directories that no one refers to are cut off, and what was reserved and not used. If the pages that
   are left do not lie in the order of the images, the file gets new directories, in which they do; one write of 8 bytes
   brings these and their OME-XML into force. Then the room between the pixels that are left is given back.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from math import prod
from pathlib import Path
from typing import Final

from attrs import define

from ome_writers.documents import Text
from ome_writers.errors import Malformed
from ome_writers.placement_tiff import TiffPlacement
from ome_writers.regular import understood
from ome_writers.tiffblocks import Planes
from ome_writers.tiffpages import HEADER, description_at
from ome_writers.writers.placed import Pieces, PlacedFiles, get, put
from ome_writers.writers.reserve import lengthen, release, reserve

Shapes = Sequence[tuple[int, ...]]
Said = bytes | Text
"""OME-XML; as `Text`, if it is long."""

_FIRST: Final = 8
"""Where a file says where its first directory is."""
_TOGETHER: Final = 1 << 20
"""Bytes that are cleared at once."""
_FEW: Final = 64
"""Files of a set up to which each has its room on the disk reserved."""
_LEAST: Final = 8
_FARTHEST: Final = 2**32
"""Bytes behind its pages, and behind its end, from which on no OME-XML stands."""
_SLACK: Final = 4096
"""So few bytes are not worth moving or cutting anything."""


@define
class _Standing:
    """A file as it stands."""

    number: int
    directory: int
    """Where its first directory begins."""
    count: int
    """Bytes of its OME-XML."""
    text: int
    """Where that begins."""
    blocks: int
    """How many blocks of pages there are."""
    end: int
    """Behind this there is nothing but the OME-XML."""


class TiffFiles:
    """The files of an OME-TIFF dataset, by number."""

    def __init__(self, root: Path, placement: TiffPlacement, *, most_open: int = 60) -> None:
        self._placement = placement
        self._files = PlacedFiles(root, most_open=most_open)
        self._keys = placement.plan.layout.files
        self._standing: dict[int, _Standing] = {}

    def create(self, number: int, text: Said) -> None:
        """Make a file with all its pages, whose OME-XML is `text`.

        Raises
        ------
        OSError
            If it cannot be made. Then there is none.
        """
        placement, size = self._placement, self._placement.size(number)
        room, length = placement.room(number)
        at = room if _bytes(text) <= length else size
        file = _Standing(number, len(HEADER), 0, at, placement.first_blocks(number), size)
        # Of many files, some may never see a frame, and each would cost time.
        reserved = room + length if len(self._keys) <= _FEW else None
        self._files.create(self._keys[number], size, self._head(file, text), reserved_from=reserved)
        self._standing[number] = file

    def _head(self, file: _Standing, text: Said) -> Pieces:
        """Yield what stands in a file before its first frame comes."""
        entry, whole = description_at(self._placement.page(file.number)), self._placement.whole_head(file.number)
        if whole is None or isinstance(text, Text):
            yield from self._placement.head(file.number)
            for data in _stored(text):
                yield file.text + file.count, data
                file.count += len(data)
            yield entry, struct.pack("<QQ", file.count, file.text)
            return
        made, data = bytearray(whole), b"".join(_stored(text))
        file.count = len(data)
        made[entry : entry + 16] = struct.pack("<QQ", file.count, file.text)
        # What follows each other is written at once: there may be a thousand files.
        if file.text == len(made):
            yield 0, made + data
        else:
            yield from ((0, made), (file.text, data))

    def open(self, number: int) -> int:
        """Return the descriptor of a file, which may be closed when another one is opened."""
        return self._files.open(self._keys[number])

    # ── OME-XML ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def say(self, number: int, text: Said) -> None:
        """Replace the OME-XML of a file.

        Raises
        ------
        OSError
            If the disk fails or is full. The one before is in force.
        """
        file = self._stands(number)
        at = self._beside(file, _bytes(text))
        self._refer(file, self._put(number, text, at), at)

    def _put(self, number: int, text: Said, at: int) -> int:
        """Write a text, and return how long it is."""
        opened, begin = self.open(number), at
        for data in _stored(text):
            put(opened, data, at)
            at += len(data)
        return at - begin

    def _refer(self, file: _Standing, count: int, at: int) -> None:
        """Bring an OME-XML into force."""
        entry = description_at(self._placement.page(file.number), file.directory)
        put(self.open(file.number), struct.pack("<QQ", count, at), entry)
        file.count, file.text = count, at

    def _beside(self, file: _Standing, size: float) -> int:
        """Return a place for so many bytes that nothing in force takes up."""
        room, length = self._placement.room(file.number)
        after = _even(file.text + file.count)
        for at, stop in ((room, room + length), (after, room + length), (file.end, None)):
            in_room = stop is None or (room <= at and at + size <= stop)
            if in_room and (at + size <= file.text or at >= after):
                return at
        return max(after, file.end)

    # ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def holds(self, number: int, rounds: int) -> bool:
        """Return whether a file has blocks for so many rounds of the axis without end."""
        return self._stands(number).blocks > self._placement.block_at(number, rounds)

    def grow(self, number: int, rounds: int) -> None:
        """Add blocks of pages until there is room for so many rounds of the axis without end.

        Raises
        ------
        OSError
            If the disk fails or is full. Then there are fewer, and the file is whole.
        """
        file, placement = self._stands(number), self._placement
        while file.blocks <= placement.block_at(number, rounds):
            opened, end = self.open(number), placement.size(number, file.blocks)
            if file.text < end and file.text + file.count > file.end:
                self._move_text(file, max(end, _even(file.text + file.count)))
            # Texts that stood here before would shine through where no pixels come.
            self._clear(file, file.end, end)
            for at, data in placement.head(number, file.blocks):
                put(opened, data, at)
            if os.fstat(opened).st_size < end:
                lengthen(opened, end)
                if len(self._keys) <= _FEW:
                    reserve(opened, file.end, end)
            at, table = placement.link(number, file.blocks)
            put(opened, struct.pack("<Q", table), at)
            file.blocks, file.end = file.blocks + 1, end

    def _clear(self, file: _Standing, begin: int, end: int) -> None:
        """Make zeros of what there is between two places."""
        opened = self.open(file.number)
        end = min(end, os.fstat(opened).st_size)
        for at in range(begin, end, _TOGETHER):
            put(opened, bytes(min(_TOGETHER, end - at)), at)

    def _move_text(self, file: _Standing, at: int) -> None:
        """Move the OME-XML to where nothing is, not even itself."""
        opened = self.open(file.number)
        for done in range(0, file.count, _TOGETHER):
            put(opened, get(opened, min(_TOGETHER, file.count - done), file.text + done), at + done)
        self._refer(file, file.count, at)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, number: int, text: Said, shapes: Shapes, planned: Planes | None = None) -> None:
        """Leave a file with the pages of images of these shapes, and with its final OME-XML; once more changes nothing.

        Of planes that are not `planned` (by their numbers, image by image) no page is left.

        Raises
        ------
        OSError
            If the disk fails or is full. The file is whole.
        """
        file, placement = self._stands(number, shapes), self._placement
        if file.directory != len(HEADER):
            # An earlier run has put its pages in order.
            self.say(number, text)
            self._cut(file)
            return
        if not placement.in_order(number, shapes, planned):
            self._rearrange(file, text, shapes, planned)
            return
        # First what refers to fewer pages, then fewer pages.
        self.say(number, text)
        pages = _pages(shapes)
        if pages < placement.page_count(number, file.blocks - 1):
            put(self.open(number), bytes(8), placement.next_at(number, pages - 1))
        file.end = _even(placement.pixels_end(number, shapes))
        if file.end + file.count <= file.text - _SLACK:
            self._move_text(file, file.end)
        self._cut(file)

    def _rearrange(self, file: _Standing, text: Said, shapes: Shapes, planned: Planes | None) -> None:
        size = self._placement.compact_bytes(file.number, shapes, planned)
        end = _even(self._placement.pixels_end(file.number, shapes))
        # First where nothing is in the way.
        self._give(file, text, shapes, _even(max(file.end, file.text + file.count)), planned)
        # Now the directories from before are dead, and these can stand where the pixels end.
        if end + size + file.count + _SLACK < file.directory:
            self._give(file, text, shapes, end, planned)
        self._cut(file)
        at = len(HEADER)
        for begin, stop in self._placement.used(file.number, shapes):
            release(self.open(file.number), at, begin)
            at = stop

    def _give(self, file: _Standing, text: Said, shapes: Shapes, begin: int, planned: Planes | None) -> None:
        """Give a file other directories, and an OME-XML behind them."""
        number, placement, opened = file.number, self._placement, self.open(file.number)
        at = begin + placement.compact_bytes(number, shapes, planned)
        for place, directories in placement.compact(number, shapes, begin, planned):
            put(opened, directories, place)
        count = self._put(number, text, at)
        put(opened, struct.pack("<QQ", count, at), description_at(placement.page(number), begin))
        put(opened, struct.pack("<Q", begin), _FIRST)
        file.directory, file.count, file.text, file.end = begin, count, at, at

    def _cut(self, file: _Standing) -> None:
        """Take from a file what lies behind all that is in force."""
        opened, end = self.open(file.number), max(file.end, file.text + file.count)
        if os.fstat(opened).st_size > end:
            # Some systems refuse this while a reader has mapped the file. It is good as it is.
            with contextlib.suppress(OSError):
                os.ftruncate(opened, end)

    # ── files that were there before ────────────────────────────────────────────────────────────────────────────────

    def _stands(self, number: int, shapes: Shapes = ()) -> _Standing:
        """Return what is to be known of a file; if need be, look."""
        if number in self._standing:
            return self._standing[number]
        opened, placement = self.open(number), self._placement
        with understood(self._files.path(self._keys[number])):
            (directory,) = struct.unpack("<Q", get(opened, 8, _FIRST))
            at = description_at(placement.page(number), directory)
            if at > os.fstat(opened).st_size:
                raise Malformed("is damaged: its first page would lie behind its end")
            count, text = struct.unpack("<QQ", get(opened, 16, at))
            blocks = placement.first_blocks(number)
            while blocks < placement.block_count(number) and any(get(opened, 8, placement.link(number, blocks)[0])):
                blocks += 1
            if text + count > max(os.fstat(opened).st_size, placement.size(number, blocks - 1)) + _FARTHEST:
                raise Malformed("is damaged: its OME-XML would lie far behind its end")
        file = self._standing[number] = _Standing(number, directory, count, text, blocks, 0)
        if directory != len(HEADER):
            file.end = directory + placement.compact_bytes(number, shapes) if shapes else text
        elif shapes and not any(get(opened, 8, placement.next_at(number, _pages(shapes) - 1))):
            file.end = _even(placement.pixels_end(number, shapes))
        else:
            size = min(placement.size(number, blocks - 1), os.fstat(opened).st_size)
            file.end = min(size, text) if text >= sum(placement.room(number)) else size
        return file

    def revive(self, number: int) -> None:
        """Give a file that was finished all its planned pages again, so that it can be continued.

        Raises
        ------
        OSError
            If the disk fails or is full. The file is whole.
        """
        file, placement = self._stands(number), self._placement
        opened, planned = self.open(number), placement.size(number, file.blocks - 1)
        # What stands behind the pixels stands where more of them belong.
        behind = [place for place in (file.text, file.directory) if place >= sum(placement.room(number))]
        size = os.fstat(opened).st_size
        if file.text in behind:
            self._move_text(file, _even(max(planned, size)))
        if os.fstat(opened).st_size < planned:
            lengthen(opened, planned)
        words = [(description_at(placement.page(number)), struct.pack("<QQ", file.count, file.text))]
        words += [(at, struct.pack("<Q", to)) for at, to in (placement.link(number, k) for k in range(1, file.blocks))]
        for at, data in chain.from_iterable(placement.head(number, block) for block in range(file.blocks)):
            made = bytearray(data)
            for place, word in words:
                if at <= place < at + len(made):
                    made[place - at : place - at + len(word)] = word
            if at:
                put(opened, made, at)
        put(opened, struct.pack("<Q", len(HEADER)), _FIRST)
        if behind:
            self._clear(file, min(behind), size)
        file.directory, file.end = len(HEADER), planned

    # ── all files ───────────────────────────────────────────────────────────────────────────────────────────────────

    def sync(self) -> None:
        """Return when all that was written since the last time has reached the device."""
        self._files.sync()

    def close(self) -> None:
        """Close all files."""
        self._files.close()


def _bytes(text: Said) -> float:
    """Return how long a text is as it is stored; endless, if that is not known before it is made."""
    return math.inf if isinstance(text, Text) else max(len(text), _LEAST) + 1


def _stored(text: Said) -> Iterator[bytes]:
    """Yield a text as TIFF wants it; one of 8 bytes or fewer would have to stand in the directory itself."""
    if isinstance(text, Text):
        yield from map(str.encode, text)
        yield b"\0"
    else:
        yield text.ljust(_LEAST) + b"\0"


def _pages(shapes: Shapes) -> int:
    return sum(prod(shape[:-2]) for shape in shapes)


def _even(at: int) -> int:
    return -(-at // 16) * 16
