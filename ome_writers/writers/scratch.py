"""Given blocks of a scratch acquisition, this keeps them in memory, and in flat files if that is asked or needed.

Whether the files will fit on their disk is looked at before anything is made. An acquisition without end is held to its
first round; when the disk is full later, that is an error of the frame that found it so.
"""

from __future__ import annotations

import errno
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ome_writers.formats import ScratchFormat
from ome_writers.lifetime import finalize
from ome_writers.manifest import NOTES, file_axes, file_name, noted
from ome_writers.plan import Plan
from ome_writers.records import Record
from ome_writers.writer import Block, Capabilities, Documents, Selection
from ome_writers.writers.files import replace_file
from ome_writers.writers.framestore import FiledFrames, HeldFrames, frame_number, read_frames


class ScratchWriter:
    """Keeps arrays in memory; in a temporary folder where they would exceed `max_memory_bytes`; or at the root.

    The temporary folder goes when the writer does. At a root there are flat files and a manifest (see `manifest.py`),
    and metadata of frames is in a file as soon as `note` has returned.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, open_view, write
    >>> dims = dims_from_standard_axes({"t": 2, "y": 8, "x": 8})
    >>> settings = AcquisitionSettings(root_path="cells", format="scratch", dtype="uint8", dimensions=dims)
    >>> outcome = write(compile(settings), np.ones((2, 8, 8), "uint8"), ScratchWriter())
    >>> open_view("cells").shape
    (2, 8, 8)
    """

    capabilities = Capabilities(
        name="scratch",
        formats=frozenset({"scratch"}),
        order="any",
        urls=False,
        readable=True,
        atomic_replace=True,
        ack="close",
    )

    def __init__(self) -> None:
        self.folder: Path | None = None
        """Where the files are, `None` while all is in memory."""
        self._manifest_too = False
        self._store: HeldFrames | FiledFrames = HeldFrames(())
        self._shapes: list[tuple[int, ...]] = []
        self._axes: tuple[int, ...] = ()
        self._dtypes: list[str] = []
        self._format = ScratchFormat()
        self._notes: io.FileIO | None = None

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Make room for the arrays.

        Raises
        ------
        MemoryError
            If they exceed `max_memory_bytes`, and neither a root nor `spill_to_disk` is given.
        OSError
            If they exceed it, and the disk of temporary files has no room for them.
        """
        if attach and (not root or (self._shapes and self.folder == Path(root))):
            return
        format_ = plan.settings.format
        self._format = format_ if isinstance(format_, ScratchFormat) else ScratchFormat()
        self._axes, self._dtypes = file_axes(plan), [spec.dtype for spec in plan.layout.arrays]
        self._shapes = [tuple(size or 1 for size in one.shape) for one in plan.layout.arrays]
        self._store = HeldFrames(self._dtypes)
        if attach:
            self.folder, self._manifest_too = Path(root), True
            self._store = self._filed(self.folder)
        elif root:
            self._manifest_too = True
            Path(root).mkdir(parents=True)
            self._move_to(Path(root))
        else:
            self._keep_within_memory()
        self.flush(documents)

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Give an array a new length along its outermost loop.

        Raises
        ------
        ValueError
            If another axis changes: the files can only grow at their end.
        MemoryError
            As `open`.
        """
        old, outer = self._shapes[array], self._axes[0]
        if any(new != size for axis, (new, size) in enumerate(zip(shape, old, strict=True)) if axis != outer):
            raise ValueError(f"only axis {outer} of {old} can change; got {shape}")
        self._shapes[array] = shape
        try:
            self._keep_within_memory()
        except MemoryError:
            self._shapes[array] = old
            raise
        self._store.set_length(array, prod(shape[:-2]))

    def write(self, blocks: Sequence[Block], /) -> None:
        """Copy blocks to their places."""
        for block in blocks:
            shape = self._shapes[block.array]
            for place in np.ndindex(*block.data.shape[:-2]):
                index = tuple(map(int.__add__, block.start, place))
                self._store.put(block.array, frame_number(index, shape, self._axes), block.data[place])

    def note(self, frame: int, array: int, index: Sequence[int], record: Record, /) -> None:
        """Append a frame's metadata to a file beside the manifest, which has none of it before the run has ended."""
        if not self._manifest_too or self.folder is None:
            return
        if self._notes is None:
            self._notes = io.FileIO(self.folder / NOTES, "ab")
        rest = memoryview(noted(frame, array, index, record))
        # Not through a buffer: when this returns, the operating system has it.
        while rest.nbytes:
            rest = rest[self._notes.write(rest) :]

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return a copy of what is stored."""
        return read_frames(self._store, array, self._shapes[array], self._axes, selection)

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Replace the manifest, where there is one."""
        if self._manifest_too and self.folder is not None:
            for document in documents or ():
                text = json.dumps(document.body, ensure_ascii=False, allow_nan=False, indent=1)
                replace_file(self.folder / document.path, text.encode())
        if durable and isinstance(self._store, FiledFrames):
            self._store.sync()

    def close(self, documents: Documents, /) -> None:
        """Replace the manifest and close the files; what is in memory stays."""
        if isinstance(self._store, FiledFrames):
            # A disk that failed may have left a file shorter than the manifest says.
            for array, shape in enumerate(self._shapes):
                if self._store.length(array) != prod(shape[:-2]):
                    self._store.set_length(array, prod(shape[:-2]))
        self.flush(documents)
        self.abort()

    def abort(self) -> None:
        """Close the files; all that came stays."""
        if isinstance(self._store, FiledFrames):
            self._store.release()
        if self._notes is not None:
            self._notes.close()
            self._notes = None

    @property
    def _needed(self) -> int:
        """Bytes of the arrays as they are now; of those without end, one round."""
        return sum(
            prod(shape) * np.dtype(dtype).itemsize for shape, dtype in zip(self._shapes, self._dtypes, strict=True)
        )

    def _keep_within_memory(self) -> None:
        """Go over to files in a temporary folder if the arrays as they are now exceed what they may take."""
        most, needed = self._format.max_memory_bytes, self._needed
        if self.folder is not None or needed <= most:
            return
        if not self._format.spill_to_disk:
            raise MemoryError(
                f"the arrays take {needed} bytes, more than max_memory_bytes={most}; "
                "give a root_path or spill_to_disk=True to have them in files"
            )
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"the arrays take {needed} bytes, more than max_memory_bytes={most}, "
                f"and the disk of temporary files has {free} left",
            )
        folder = Path(tempfile.mkdtemp(prefix="ome-writers-"))
        try:
            store = self._move_to(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finalize(self, _discard, folder, store)

    def _move_to(self, folder: Path) -> FiledFrames:
        """Make the files, and put into them what is in memory."""
        store = self._filed(folder, blank=True)
        try:
            for array, path in enumerate(store.paths):
                path.touch(exist_ok=False)
                store.set_length(array, prod(self._shapes[array][:-2]))
            if isinstance(self._store, HeldFrames):
                for array, frames in enumerate(self._store.held):
                    for number, frame in frames.items():
                        store.put(array, number, frame)
        except BaseException:
            store.release()  # Windows removes no file that is open.
            raise
        self.folder, self._store = folder, store
        return store

    def _filed(self, folder: Path, *, blank: bool = False) -> FiledFrames:
        paths = [folder / file_name(array) for array in range(len(self._shapes))]
        return FiledFrames(paths, [shape[-2:] for shape in self._shapes], self._dtypes, blank=blank)


def _discard(folder: Path, store: FiledFrames) -> None:
    store.release()
    shutil.rmtree(folder, ignore_errors=True)
