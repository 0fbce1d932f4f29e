"""Uncompressed OME-TIFF without a TIFF library: each frame is a positioned write, to where the plan says.

1. Every file is created whole, with the directories of all its pages (see `tifffiles.py`). So any reader opens it
   before the first frame, no order of arrival is wrong, and a frame is stored when `write` returns.
2. Frames that are neighbours on disk go there together. One in one piece is not copied.
3. Few files are open at a time, so that there may be thousands. There are no threads: what fails is raised where it
   fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.cuts import Cut
from ome_writers.documents import Text
from ome_writers.omexml_pages import planned_planes
from ome_writers.placement_tiff import TiffPlacement, place_tiff
from ome_writers.plan import Plan
from ome_writers.writer import Block, Documents, Selection
from ome_writers.writers.files import replace_file, stands, sync_file, sync_folder
from ome_writers.writers.placed import blank, get, put, put_all
from ome_writers.writers.tifffiles import Said, TiffFiles
from ome_writers.writers.zarrtree import Shape, frame_by_frame

_TOGETHER: Final = 64 << 20
"""Bytes that one call to the system is given, if so many lie side by side."""
_ZEROS: Final = memoryview(bytes(4096))
"""What lies between pages, and between the strips of one."""

Part = NDArray[Any] | memoryview


@frozen
class _Frames:
    """What is to be known of the frames of an array."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    cut: Cut
    parts: Callable[[NDArray[Any]], list[Part]] | None
    """What makes of a frame what is stored of it, piece by piece; `None`, if that is the frame as it lies."""
    stride: int
    """Bytes from page to page."""
    between: list[Part]
    """What lies between the pixels of two pages."""


class DirectTiff:
    """Stores uncompressed OME-TIFF; has the methods of a `Writer` that takes frames in any order.

    Parameters
    ----------
    open_files
        The most files that are open at a time.
    """

    def __init__(self, *, open_files: int = 64) -> None:
        self._open_files = open_files
        self._placement: TiffPlacement
        self._frames: list[_Frames] = []
        self._shapes: list[tuple[int, ...]] = []
        self._file_of: list[int] = []
        """For each array the number of its file."""
        self._numbers: dict[str, int] = {}
        """Path of a file below the root -> its number."""
        self._folder = Path()
        self._files: TiffFiles
        self._last = -1, -1
        """Number and descriptor of the file that was used last."""
        self._attached: set[int] = set()
        """Files that were there before, and are as an earlier run left them."""
        self._unsynced: set[Path] = set()
        """Files that hold no pixels."""

    # ── structure ───────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create all files, each with all its pages; with `attach` they stand, and nothing is changed.

        Raises
        ------
        FileExistsError
            If anything stands at `root`, unless `attach`.
        OSError
            If the disk fails or is full.
        """
        path, names = Path(root), plan.layout.files
        if not attach and stands(path):
            raise FileExistsError(f"{root} exists; nothing was written")
        self._placement = place_tiff(plan)
        self._frames = [
            _frames(spec.shape[-2:], spec.dtype, self._placement.cut(array), self._placement.stride(array))
            for array, spec in enumerate(plan.layout.arrays)
        ]
        self._shapes = list(plan.first_shapes)
        self._numbers = {name: number for number, name in enumerate(names)}
        self._file_of = [self._numbers[spec.path] for spec in plan.layout.arrays]
        self._folder = path.parent if names == ("",) else path
        self._files = TiffFiles(path, self._placement, most_open=self._open_files)
        self._attached = set(range(len(names))) if attach else set()
        if attach:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for document in documents:
            if document.kind == "xml":
                self._put_xml(document.path, document.body)
            else:
                self._files.create(self._numbers[document.path], _said(document.body))

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Make room for pages along an axis without end; what lies beyond a smaller shape is cut off by `close`.

        Raises
        ------
        OSError
            If the disk fails or is full.
        """
        number, before = self._file_of[array], self._shapes[array]
        self._shapes[array] = shape
        self._last = -1, -1
        for size, old, spec in zip(shape, before, self._placement.plan.layout.arrays[array].shape, strict=True):
            if spec is None and size > old and not self._files.holds(number, size):
                if number in self._attached:
                    self._revive(number)
                self._files.grow(number, size)

    def _revive(self, number: int) -> None:
        self._files.revive(number)
        self._attached.discard(number)
        self._last = -1, -1

    # ── pixels ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, blocks: Sequence[Block], /) -> None:
        """Store frames; when this returns, the operating system has them.

        Raises
        ------
        OSError
            If the disk fails or is full.
        """
        waiting: list[Part] = []
        number = begin = end = last = -1
        for _, array, start, data in blocks:
            frames = self._frames[array]
            file, offset = self._placement.at(array, start)
            if waiting:
                if array == last and offset == end and end - begin < _TOGETHER:
                    waiting += frames.between
                else:
                    self._put(number, waiting, begin)
                    waiting = []
            if not waiting:
                number, begin, last = file, offset, array
            if frames.parts is None:
                waiting.append(data)
            else:
                waiting += frames.parts(data.reshape(data.shape[-2:]))
            end = offset + frames.stride
        if waiting:
            self._put(number, waiting, begin)

    def _put(self, number: int, parts: Sequence[Part], offset: int) -> None:
        file = self._last[1] if self._last[0] == number else self._opened(number)
        try:
            if len(parts) == 1:
                put(file, parts[0], offset)
            else:
                put_all(file, parts, offset)
        except OSError:
            # The first part of a frame that is not there would look like a frame.
            blank(file, sum(part.nbytes for part in parts), offset)
            raise

    def _opened(self, number: int) -> int:
        if number in self._attached:
            self._revive(number)
        file = self._files.open(number)
        self._last = number, file
        return file

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return stored pixels, zeros where nothing came yet."""
        frames = self._frames[array]
        self._last = -1, -1

        def frame(index: Shape) -> NDArray[Any]:
            number, offset = self._placement.at(array, index)
            return _read(self._files.open(number), offset, frames)

        return frame_by_frame(selection, self._shapes[array], frames.dtype, frame)

    # ── documents ───────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Replace the documents; pixels can be read already. `durable` costs the files changed since the last time.

        Raises
        ------
        OSError
            If the disk fails or is full. Each file has the document that it had, or the new one.
        """
        self._last = -1, -1
        for document in documents or ():
            if document.kind == "xml":
                self._put_xml(document.path, document.body)
            else:
                number = self._numbers[document.path]
                if number in self._attached:
                    self._revive(number)
                self._files.say(number, _said(document.body))
        if durable:
            self._files.sync()
            for path in self._unsynced:
                sync_file(path)
            for folder in {path.parent for path in self._unsynced}:
                sync_folder(folder)
            self._unsynced.clear()

    def _put_xml(self, name: str, text: str | Text) -> None:
        path = self._folder.joinpath(*name.split("/"))
        replace_file(path, text.encode() if isinstance(text, str) else map(str.encode, text))
        self._unsynced.add(path)

    def close(self, documents: Documents, /) -> None:
        """Replace the documents, leave the files with those pages that belong to them, and close them."""
        try:
            for document in documents:
                if document.kind == "xml":
                    self._put_xml(document.path, document.body)
                    continue
                number, text = self._numbers[document.path], _said(document.body)
                if document.shapes:
                    self._files.finish(number, text, document.shapes, self._planned(documents, number))
                else:
                    self._files.say(number, text)
        finally:
            self.abort()

    def _planned(self, documents: Documents, number: int) -> list[NDArray[np.int64]] | None:
        """Return the planes of the images of a file that are planned at all, `None` if all are."""
        plan = self._placement.plan
        if not plan.settings.is_ragged:
            return None
        shapes = list(self._shapes)
        for document in documents:
            mine = self._numbers.get(document.path, -1)
            arrays = [array for array, file in enumerate(self._file_of) if file == mine]
            for array, shape in zip(arrays, document.shapes, strict=False):
                shapes[array] = shape
        every = planned_planes(plan, shapes)
        return [every[array] for array, file in enumerate(self._file_of) if file == number]

    def abort(self) -> None:
        """Close the files, which are whole; what was written is stored."""
        self._last = -1, -1
        self._files.close()


def _said(text: str | Text) -> Said:
    return text.encode() if isinstance(text, str) else text


def _frames(shape: tuple[int | None, ...], dtype: str, cut: Cut, stride: tuple[int, int]) -> _Frames:
    height, width = (size or 1 for size in shape)
    kind = np.dtype(dtype).newbyteorder("<")
    parts: Callable[[NDArray[Any]], list[Part]] | None = None
    if cut.packed:

        def parts(frame: NDArray[Any]) -> list[Part]:
            return [np.packbits(frame, axis=1)]

    elif cut.padded:

        def parts(frame: NDArray[Any]) -> list[Part]:
            tile = np.zeros(cut.tile, frame.dtype)
            tile[:height, :width] = frame
            return [_plain(tile)]

    elif cut.runs > 1:
        top, gap = cut.tile[0], _ZEROS[: cut.run_stride - cut.run_bytes]

        def parts(frame: NDArray[Any]) -> list[Part]:
            frame = _plain(frame)
            return [frame[:top], gap, frame[top:]]

    elif kind.kind == "c":

        def parts(frame: NDArray[Any]) -> list[Part]:
            return [_plain(frame)]

    step, used = stride
    between: list[Part] = [_ZEROS[: step - used]] if step > used else []
    return _Frames(shape=(height, width), dtype=kind, cut=cut, parts=parts, stride=step, between=between)


def _plain(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame whose memory can be handed on: a `memoryview` has no word for complex numbers."""
    return frame.view(np.uint8) if frame.dtype.kind == "c" else frame


def _read(file: int, offset: int, frames: _Frames) -> NDArray[Any]:
    """Return a frame; zeros where the file has none."""
    cut, (height, width) = frames.cut, frames.shape
    data = b"".join(
        [get(file, cut.run_bytes, offset + run * cut.run_stride).ljust(cut.run_bytes, b"\0") for run in range(cut.runs)]
    )
    if cut.packed:
        packed = np.frombuffer(data, np.uint8).reshape(height, -1)
        return np.unpackbits(packed, axis=1, count=width).view(bool)
    # The last strip may have fewer rows than the first.
    return np.frombuffer(data, frames.dtype).reshape(-1, cut.tile[1])[:height, :width]
