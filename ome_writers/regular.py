"""Given the path of a file that may come from anywhere, this answers: which bytes does it hold, if they may be read?

A pipe or a device of that name would be waited for, and a file of any size (one with holes takes no room on the disk)
would fill the memory. Both are refused before a byte is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import BinaryIO, Final

MOST_DOCUMENT: Final = 2**29
"""Bytes that a document of a dataset may have; with the metadata of a million frames it has about a third of that."""

_FLAGS: Final = (
    getattr(os, "O_NONBLOCK", 0)  # else a pipe that nobody writes to is waited for
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOINHERIT", 0)
    | getattr(os, "O_BINARY", 0)
)
_OWN: Final = _FLAGS | os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class IrregularFileError(OSError):
    """What has this name is no regular file, or larger than a file of its kind can be."""


def open_regular(path: str | os.PathLike[str], *, links: bool = True) -> BinaryIO:
    """Open a regular file for reading; with `links=False` a symbolic link is none.

    Raises
    ------
    IrregularFileError
        If it is a folder, a pipe, a device or the like.
    OSError
        If it is not there, or cannot be opened.
    """
    # What it is is asked first, since to open some devices does something to them, and again of what was opened.
    kind = os.stat(path, follow_symlinks=links).st_mode  # noqa: PTH116 - of whatever names a file
    if stat.S_ISREG(kind):
        file = os.open(path, os.O_RDONLY | _FLAGS | (0 if links else getattr(os, "O_NOFOLLOW", 0)))
        kind = os.fstat(file).st_mode
        if stat.S_ISREG(kind):
            return os.fdopen(file, "rb")
        os.close(file)
    error = errno.EISDIR if stat.S_ISDIR(kind) else errno.ELOOP if stat.S_ISLNK(kind) else errno.EINVAL
    raise IrregularFileError(error, "is no regular file", os.fspath(path))


def head_of(path: str | os.PathLike[str], most: int, *, links: bool = True) -> bytes | None:
    """Return at most so many of the first bytes of a regular file; `None` if it is none, or cannot be read."""
    try:
        with open_regular(path, links=links) as file:
            return file.read(most)
    except OSError:
        return None


def own_regular(path: str | os.PathLike[str]) -> int:
    """Return the descriptor of a regular file to read and write, which is made if there is none.

    What has another name as well is somebody else's too, and is not touched.

    Raises
    ------
    IrregularFileError
        If it is a symbolic link, a folder, a pipe, a device or the like, or a file with several names.
    OSError
        If it cannot be opened, or made.
    """
    with contextlib.suppress(FileNotFoundError):
        _require_own(os.lstat(path), path)
    file = os.open(path, _OWN, 0o666)
    try:
        _require_own(os.fstat(file), path)
    except BaseException:
        os.close(file)
        raise
    return file


def _require_own(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise IrregularFileError(errno.EINVAL, "is no regular file", os.fspath(path))
    if found.st_nlink > 1:
        raise IrregularFileError(errno.EMLINK, "is a file with several names", os.fspath(path))


def read_regular(path: str | os.PathLike[str], most: int, *, links: bool = True) -> bytes:
    """Return what a regular file holds when it is opened, if that is at most so many bytes.

    Raises
    ------
    IrregularFileError
        If it is a folder, a pipe, a device or the like, or larger; then nothing of it is read.
    OSError
        If it is not there, or cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "run.json")
    ...     _ = path.write_bytes(b"{}")
    ...     read_regular(path, 2)
    b'{}'
    """
    with open_regular(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            message = f"has {size} bytes, more than the {most} that a file of its kind can have"
            raise IrregularFileError(errno.EFBIG, message, os.fspath(path))
        return file.read(size)
