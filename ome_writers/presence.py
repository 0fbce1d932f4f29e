"""Given a dataset that was made, this answers: does it still stand there?

A file that is open takes pixels after it was removed or renamed, and folders are made anew when the next file needs
them. So without a look a run would end well whose dataset somebody took away.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from pathlib import Path

HOLDS = os.name == "posix"
"""Whether what is held open can be removed and renamed all the same. Elsewhere its open files keep a dataset there."""


class Presence:
    """Knows a dataset again. While it does, no other file or folder gets the same number from the file system.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "cells.ome.zarr")
    ...     path.mkdir()
    ...     presence = Presence(path)
    ...     before, moved = presence.is_gone(), path.rename(f"{folder}/moved")
    ...     before, presence.is_gone()
    (False, True)
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._seen = self._forgotten = False
        self._held: int | None = None
        self._lock = threading.Lock()
        self.is_gone()

    def is_gone(self) -> bool:
        """Return whether something else stands there by now, or nothing; some files come with their first page only."""
        with self._lock:
            if self._forgotten:
                return False
            try:
                found = self._path.stat()
                if self._held is not None:
                    return not os.path.samestat(os.fstat(self._held), found)
            except (FileNotFoundError, NotADirectoryError):
                return self._seen
            except OSError:  # the disk has its own ways to say what is wrong
                return False
            self._seen = True
            if HOLDS:
                with contextlib.suppress(OSError):
                    held = self._held = os.open(self._path, os.O_RDONLY)
                    self._end = weakref.finalize(self, os.close, held)
            return False

    def forget(self) -> None:
        """Let go of it."""
        with self._lock:
            self._forgotten = True
            if self._held is not None:
                self._held = None
                self._end()
