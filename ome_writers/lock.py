"""Given the path of a dataset, this answers: is a stream writing it now? And keeps all others from it while one is.

The lock is that of the operating system on an empty file beside the dataset, `….lock`. So it goes with the process that
holds it, whatever ends that, and the file goes with the stream. A file of that name with anything in it is somebody's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import warnings
from pathlib import Path
from typing import Any, Final

from ome_writers import lifetime
from ome_writers.regular import read_regular

_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""What a file system says that knows no locks."""
_HOLDER: Final = re.compile(rb"[0-9]+\n[^\n]{1,255}\n([^\n]{1,255}\n)?")
"""What `filelock` writes into a lock where the file system knows none: the process and its computer."""


class Lock:
    """The right to write the dataset at a path, until `release`.

    Raises
    ------
    FileExistsError
        If another stream has it, in this process or another one; or if something else has its name.
    OSError
        If nothing can be written beside the dataset.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     lock = Lock(Path(folder, "cells.ome.zarr"))
    ...     try:
    ...         Lock(Path(folder, "cells.ome.zarr"))
    ...     except FileExistsError as error:
    ...         print(str(error).replace(folder, "…"))
    ...     lock.release()
    root_path: another stream is writing …/cells.ome.zarr; close that one first, or give another path
    """

    def __init__(self, dataset: Path) -> None:
        import filelock  # only those who write need it

        dataset.parent.mkdir(parents=True, exist_ok=True)
        # Two names of one folder would make two locks.
        path = _beside(dataset)
        if not _may_be_lock(path):
            raise FileExistsError(
                f"root_path: {path} is in the way: it is not empty, as the lock on {dataset.name} is; "
                "move it away, or give another path"
            )
        self._path = path
        self._held: Any = filelock.FileLock(path, timeout=0, thread_local=False)
        self._process = os.getpid()
        try:
            self._held.acquire()
        except filelock.Timeout:
            raise FileExistsError(
                f"root_path: another stream is writing {dataset}; close that one first, or give another path"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(
                f"the disk of {dataset} knows no locks: make sure yourself that no one else writes there", stacklevel=2
            )
            self._held = None
        else:
            lifetime.disowned_in_forks(self)

    def before_fork(self) -> None:
        """Do nothing."""

    after_fork = before_fork

    def disown(self) -> None:
        """Leave the lock to the process that has it, of which this one is a fork."""
        lifetime.keep_forever(self._held)

    def release(self) -> None:
        """Let others write there; calling it again does nothing, and so does a process that was forked off."""
        held, self._held = self._held, None
        if held is None or os.getpid() != self._process:
            return
        # Whoever opened the file before it went looks at it again. Where open files cannot be removed, no one has it
        # open but us a moment later, or else it stays.
        try:
            _unlink(self._path)
        except OSError:
            held.release()
            with contextlib.suppress(OSError):
                _unlink(self._path)
        else:
            held.release()

    close = release


def _beside(dataset: Path) -> Path:
    return Path(os.path.realpath(dataset.parent), f"{dataset.name}.lock")


def _may_be_lock(path: Path) -> bool:
    """Return whether a lock has that name, or nothing has: what has anything else in it is nobody's lock."""
    try:
        data = read_regular(path, 1024, links=False)
    except FileNotFoundError:
        return True
    except PermissionError:  # where nobody may read it but the one who made it, the lock itself tells
        return path.stat().st_size == 0
    except OSError:
        return False
    return not data or _HOLDER.fullmatch(data) is not None


def _unlink(path: Path) -> None:
    """Remove a lock, unless by now something else has its name."""
    if _may_be_lock(path):
        path.unlink(missing_ok=True)


def is_locked(dataset: Path) -> bool | None:
    """Return whether a stream of any process has the lock of a dataset; `None` if that cannot be found out.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     before = is_locked(Path(folder, "cells.ome.zarr"))
    ...     lock = Lock(Path(folder, "cells.ome.zarr"))
    ...     before, is_locked(Path(folder, "cells.ome.zarr")), lock.release()
    (False, True, None)
    """
    import filelock

    path = _beside(dataset)
    if not _may_be_lock(path):
        return False
    left_behind = path.exists()
    probe = filelock.FileLock(path, timeout=0, thread_local=False)
    try:
        probe.acquire()
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):  # also where nobody may write but the one who does
        return None
    if not left_behind:
        with contextlib.suppress(OSError):
            _unlink(path)
    probe.release()
    return False
