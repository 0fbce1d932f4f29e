"""Given the path of a file that may come from anywhere, this answers: which bytes does it hold, if they may be read?

A pipe or a device of that name would be waited for, and a file of any size (one with holes takes no room on the disk)
would fill the memory. Both are refused before a byte is read. And of a document of a dataset: what does it say? All of
them are read here, and what is wrong with one is told with its path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from ome_writers.errors import Malformed, NotADataset, PlanError, Problem
from ome_writers.jsontext import object_in

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


# ── documents ───────────────────────────────────────────────────────────────────────────────────────────────────────

STRANGE: Final = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    StopIteration,
    SyntaxError,
    struct.error,
)
"""What reading raises where a document is not what it should be; `SyntaxError`: of XML, `struct.error`: of TIFF."""
_LONGEST: Final = 300
"""Characters of an error of another library that are told."""


@contextlib.contextmanager
def understood(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of which file it is that what it says cannot be understood; errors of the disk stay what they are.

    Raises
    ------
    NotADataset
        If whatever happens within shows it, and has not been told of another file already.

    Examples
    --------
    >>> with understood("cells.ome.zarr/zarr.json"):
    ...     {}["attributes"]
    Traceback (most recent call last):
    ome_writers.errors.NotADataset: cells.ome.zarr/zarr.json: cannot be understood: KeyError: 'attributes'
    """
    try:
        yield
    except NotADataset:
        raise
    except Malformed as error:
        raise NotADataset(f"{os.fspath(path)}: {error}") from None
    except IrregularFileError as error:
        raise NotADataset(f"{error.filename}: {error.strerror}") from error
    except STRANGE as error:
        why = f"{type(error).__name__}: {error}"
        raise NotADataset(f"{os.fspath(path)}: cannot be understood: {why:.{_LONGEST}}") from error


def read_json(path: str | os.PathLike[str], *, links: bool = True) -> dict[str, Any]:
    """Return what a document of a dataset says, which is a JSON object.

    Raises
    ------
    NotADataset
        If it is none; the message begins with its path.
    OSError
        If it is not there, or cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "zarr.json")
    ...     _ = path.write_text('{"zarr_format": 3}')
    ...     read_json(path)
    {'zarr_format': 3}
    """
    with understood(path):
        return object_in(read_regular(path, MOST_DOCUMENT, links=links))


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a document of a dataset.

    Raises
    ------
    NotADataset
        If it is no text in UTF-8; the message begins with its path.
    OSError
        If it is not there, or cannot be read.
    """
    with understood(path):
        return read_regular(path, MOST_DOCUMENT).decode("utf-8-sig")


@contextlib.contextmanager
def problems_in(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of which file the problems are that are found with what it holds.

    Raises
    ------
    PlanError
        With each problem below the path of the file; also if that is no regular file, or too large.

    Examples
    --------
    >>> with problems_in("run.json"):
    ...     raise PlanError([Problem(("stamp",), "invalid_file", "must hold a date and UUIDs")])
    Traceback (most recent call last):
    ome_writers.errors.PlanError: run.json.stamp: must hold a date and UUIDs
    """
    try:
        yield
    except PlanError as error:
        raise PlanError(problem.under(os.fspath(path)) for problem in error.problems) from error.__cause__
    except IrregularFileError as error:
        why = error.strerror or str(error)
        raise PlanError([Problem((str(error.filename or path),), "invalid_file", why)]) from None
