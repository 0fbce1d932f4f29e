"""Given the bytes of a whole file, this puts them in the place of what stood there; no reader ever sees half of it.

And what was written is brought to the device, when someone asks for that. It works where a reader may hold a file open
and folders cannot be synchronised (Windows) as well as where they can.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

_PATIENCE: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Seconds to wait before another attempt: a reader that holds a small document open lets go of it soon."""


_FAULTS: Final = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT})
"""What goes wrong with a disk, and not for want of a system call."""


@contextlib.contextmanager
def located(path: str | os.PathLike[str]) -> Iterator[None]:
    """Have errors of the disk say where it failed: the system says so of files that are opened, not of those written.

    An error that says it already, or that the system did not raise, stays as it is.

    Examples
    --------
    >>> with located("cells.ome.zarr/zarr.json"):
    ...     raise OSError(errno.EIO, "Input/output error")
    Traceback (most recent call last):
    OSError: [Errno 5] Input/output error: 'cells.ome.zarr/zarr.json'
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None and os.fspath(path):
            error.filename = os.fspath(path)
        raise


def replace_file(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write `data`, in one piece or in several, to `path`: readers see what stood there before, or all of it.

    Raises
    ------
    OSError
        If it cannot be written, or a reader does not let go of the old file. What stood there still stands.
    """
    new = unfinished(path)
    try:
        with located(path), new.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        put_in_place(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def put_whole(path: Path, data: bytes | Iterable[bytes], root: Path) -> None:
    """Write a file of a dataset in the place of what stood there, and make its folder if there is none."""
    try:
        replace_file(path, data)
    except FileNotFoundError:  # said before any of the data is asked for
        make_folder(path.parent, root)
        replace_file(path, data)


def unfinished(path: Path) -> Path:
    """Return what a file is called until it is whole.

    The end of the name stays, for it says to others what kind of file this is.
    """
    return path.with_name(f".{os.getpid()}.{path.name}")


def make_folder(folder: Path, root: Path) -> None:
    """Make a folder of a dataset. Where somebody took the dataset away, nothing is made in its place.

    Raises
    ------
    FileNotFoundError
        If the dataset is gone.
    """
    if not root.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the dataset is gone; it was removed, or renamed", str(root))
    folder.mkdir(parents=True, exist_ok=True)


def put_in_place(source: Path, target: Path) -> None:
    """Rename a file to what another one may be called; waits for a reader that holds that open, where it must."""
    for seconds in _PATIENCE:
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    try:
        source.replace(target)
    except PermissionError as error:
        message = "it cannot be replaced; if another program has it open, close it there"
        raise PermissionError(error.errno, f"{message} ({error.strerror})", str(target)) from error


def sync_file(path: Path) -> None:
    """Return when the content of a file has reached the device."""
    # Windows synchronises only what is open for writing.
    with located(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Return when the names in a folder have reached the device, where the system can do that.

    Raises
    ------
    OSError
        If the disk fails or is full.
    """
    try:
        with located(path):
            folder = os.open(path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:  # most systems have their own for what they cannot do
        if error.errno in _FAULTS:
            raise


def sync_disk(path: Path) -> bool:
    """Return whether all that was written to the disk of a file has reached it; where the system cannot, nothing has.

    Raises
    ------
    OSError
        If the disk fails or is full.
    """
    if (call := syncfs()) is None:
        return False
    file = os.open(path, os.O_RDONLY)
    try:
        if call(file) == 0:
            return True
        code = ctypes.get_errno()
    finally:
        os.close(file)
    if code in _FAULTS:
        raise OSError(code, os.strerror(code), str(path))
    return False


@cache
def syncfs() -> Callable[[int], int] | None:
    """Return the system call that brings to the device what was written to the disk of an open file, if there is one.

    `os.sync` would not say whether it worked.
    """
    call: Callable[[int], int] | None = None
    if sys.platform.startswith("linux"):
        call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    return call


def sync_tree(path: Path) -> None:
    """Return when all files and names below a folder have reached the device; costs every file."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))


def stands(path: Path) -> bool:
    """Return whether anything is at `path` that a new dataset would hurt; an empty folder is nothing."""
    return os.path.lexists(path) and (not path.is_dir() or any(path.iterdir()))
