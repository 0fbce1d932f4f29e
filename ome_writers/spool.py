"""Frames in one temporary file, in the order in which they come, to be had back in any: what a disk does best.

The file lies beside the dataset, since there is the room that frames need, or in the folder for temporary files if the
dataset has no folder of its own. It has no name where the system can do without, so that nothing is left of it,
whatever ends the process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: Any = None
        self._end = 0
        self._kept: dict[int, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}
        """Offset, shape and dtype of each frame."""

    def keep(self, number: int, frame: NDArray[Any]) -> None:
        """Keep a frame.

        Raises
        ------
        OSError
            If the disk fails or is full; then the frame is not kept, and all others are.
        """
        if self._file is None:
            import tempfile

            # Buffers of Python's own would only add a copy.
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by `close`
                prefix=".ome-writers-", suffix=".spool", dir=self._folder, buffering=0
            )
        data = np.ascontiguousarray(frame).reshape(-1).view(np.uint8).data
        self._file.seek(self._end)
        written = 0
        while written < len(data):
            written += self._file.write(data[written:])
        self._kept[number] = (self._end, frame.shape, frame.dtype)
        self._end += written

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

    def close(self) -> None:
        """Remove the file; nothing can be had back after that."""
        if self._file is not None:
            self._file.close()


def spool_folder(root: str, *, local: bool) -> Path | None:
    """Return the folder beside a dataset, `None` if that is not on this machine's disks."""
    folder = Path(os.path.abspath(root)).parent if local else None  # noqa: PTH100 - of what may be a link
    return folder if folder is not None and folder.is_dir() else None
