"""Bringing a dataset to the device while it grows, so that little is left to do when it is complete.

1. A thread looks from time to time which files have changed, and have been left alone for a while (`sync="close"`: they
   are complete), or have changed at all (a number of seconds), and synchronises them. Nobody waits for it. It also
   finds out if somebody took the dataset away.
2. `close` synchronises what is left, before the documents say how it ended, and then the documents and the folders.

Which files have changed is told by their dates, so that nothing is kept of a million files. Where the clock was set in
the meantime, or the disk has one of its own, all are synchronised in the end.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ome_writers.writers.files import sync_disk, sync_file, sync_folder

if TYPE_CHECKING:
    from ome_writers.saferun import SafeRun

_QUIET: Final = 2.0
"""Seconds after which a file that did not change is taken to be complete."""
_SHARE: Final = 0.05
"""The part of the time that looking at files may take."""
_AT_ONCE: Final = 8
"""Files that are synchronised at the same time: a disk does several for the price of one."""
_MANY: Final = 64
"""Folders that are synchronised one by one."""
_DRIFT: Final = 0.5
"""Seconds that two clocks may differ by; also more than the grain of a date."""


class Syncing:
    """What is to be known of a dataset that is brought to the device bit by bit."""

    def __init__(self, root: str, clock: Path) -> None:
        self.root = Path(root)
        self._until = 0.0
        """Files that changed before this were synchronised after that."""
        self._offset = _offset()
        os.utime(clock)
        self._ours = abs(clock.stat().st_mtime - time.time()) < _DRIFT
        """Whether the disk dates its files by the clock of this machine."""

    @property
    def _since(self) -> float:
        return self._until - _DRIFT if self._ours and abs(_offset() - self._offset) < _DRIFT else 0.0

    def some(self, quiet: float) -> float:
        """Synchronise files that have changed since the last time, but for those that change too often.

        Returns
        -------
        The seconds that it took to find them.

        Raises
        ------
        OSError
            If the disk fails.
        """
        begin, until, since, waited = time.monotonic(), time.time() - quiet, self._since, 0.0
        for path, changed in _files(self.root):
            if since <= changed < until:
                found = time.monotonic()
                with contextlib.suppress(FileNotFoundError, PermissionError):  # it goes, or is just being replaced
                    sync_file(path)
                waited += time.monotonic() - found
        self._until = until
        return time.monotonic() - begin - waited

    def rest(self) -> None:
        """Synchronise what is left, and the folders.

        Raises
        ------
        OSError
            If the disk fails.
        """
        until, since = time.time(), self._since
        _sync_all(path for path, changed in _files(self.root) if changed >= since)
        _sync_folders(self.root)
        self._until = until


def _offset() -> float:
    return time.time() - time.monotonic()


def _files(root: Path) -> Iterator[tuple[Path, float]]:
    """Yield the files of a dataset, and when they changed."""
    if not root.is_dir():
        with contextlib.suppress(FileNotFoundError):
            yield root, root.stat().st_mtime
        return
    folders = [os.fspath(root)]
    while folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        yield Path(entry.path), entry.stat(follow_symlinks=False).st_mtime


def _sync_all(paths: Iterable[Path]) -> None:
    with ThreadPoolExecutor(_AT_ONCE, "sync") as pool:
        for _ in pool.map(sync_file, paths):
            pass


def _sync_folders(root: Path) -> None:
    """Have the names of files reach the device, whose contents have."""
    folders = [root.parent]
    for folder, _, _ in os.walk(root):
        folders.append(Path(folder))
        # At once, what would take a call for each chunk of a small array.
        if len(folders) == _MANY and sync_disk(root):
            return
    for one in folders:
        sync_folder(one)


class Syncer:
    """A thread that looks whether a dataset still stands, and synchronises it, until its run ends, or is forgotten."""

    def __init__(self, run: SafeRun, syncing: Syncing | None, seconds: float | None) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=_look, args=(weakref.ref(run), syncing, seconds, self._ended), name="sync", daemon=True
        )
        with contextlib.suppress(RuntimeError):  # Python 3.12 and newer start no threads while the process ends.
            self._thread.start()

    def end(self) -> None:
        """Have it stop; it may still be at a file."""
        self._ended.set()


def _look(run: weakref.ref[SafeRun], syncing: Syncing | None, seconds: float | None, ended: threading.Event) -> None:
    pause = _QUIET if seconds is None else seconds
    took = 0.0
    while not ended.wait(max(pause, took / _SHARE)):
        try:
            if (there := run()) is None:
                return
            there.require_there()
            del there
            if syncing is not None:
                took = syncing.some(_QUIET if seconds is None else 0.0)
            there = run()
            if there is None or (seconds is not None and not there.sync_journal()):
                return
        except OSError as error:
            if (there := run()) is not None:
                there.fail(error)
            return
        del there
