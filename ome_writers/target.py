"""Given the path where a dataset shall stand, this answers: is there room, and may room be made?

What is to be replaced is not touched before the new dataset stands beside it. Then it is renamed aside, the new one
takes its name, and only after that it goes.
"""

from __future__ import annotations

import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ome_writers.casts import split_suffix
from ome_writers.journal import journal_folder
from ome_writers.leftovers import why_not_begun, why_not_journal


class Room:
    """Where a new dataset is made, and how it comes to where it shall stand.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with room_at(f"{folder}/cells.ome.zarr", overwrite=False) as room:
    ...         room.at.mkdir()
    ...     [path.name for path in Path(folder).iterdir()]
    ['cells.ome.zarr']
    """

    def __init__(self, path: Path, aside: Path | None, at: Path) -> None:
        self.path, self.at = path, at
        """Where the dataset shall stand, and where it is to be made."""
        self.replaces = aside is not None
        """Whether something stands at `path` that is to go; then `move_in` is to be called."""
        self._aside = aside
        self._moved = False

    def move_in(self) -> None:
        """Put what was made in the place of what stood there; nothing in either may be open.

        Raises
        ------
        OSError
            If someone has a file in it open, where the system forbids that. The old one stands as it stood.
        """
        if self._aside is None or self._moved:
            return
        self.path.rename(self._aside)
        try:
            if os.path.lexists(self.at):  # some files come with their first page only
                self.at.rename(self.path)
        except BaseException:
            self._aside.rename(self.path)
            raise
        self._moved = True

    def undo(self) -> None:
        """Remove what was made, and put back what stood there."""
        made = self.path if self._moved else self.at
        if os.path.lexists(made):
            _remove(made)
        if self._moved and self._aside is not None:
            self._aside.rename(self.path)

    def clear(self) -> None:
        """Remove what stood there before."""
        if self._moved and self._aside is not None:
            try:
                _remove(self._aside)
            except OSError as error:
                warnings.warn(f"what stood there before could not all be removed: {error}", stacklevel=2)


@contextmanager
def room_at(root: str, *, overwrite: bool) -> Iterator[Room]:
    """Make room for a dataset at `root` while the block that creates it runs, with the lock on it held by the caller.

    Raises
    ------
    FileExistsError
        If something stands there, and `overwrite` is not given or would delete what is no dataset.
    """
    path = Path(root)
    require_free(root, overwrite=overwrite)
    aside, at = None, path
    if os.path.lexists(path):
        aside, at = (path.with_name(f"{path.name}.{word}-{_mark(path.name)}") for word in ("replaced", "new"))
    room = Room(path, aside, at)
    try:
        yield room
        room.move_in()
    except FileExistsError:
        if room.replaces:
            room.undo()
        raise  # Else what stands there now is somebody else's, who came in between.
    except BaseException:
        room.undo()
        raise
    room.clear()


def put_back(root: str) -> None:
    """Undo a replacement that was interrupted before the new dataset stood; the lock on it is held by the caller.

    Killed in the middle, a process leaves what it was making as `….new-…`, maybe the old one as `….replaced-…`, and the
    journal of the new one, to which no frame came. Whatever else has such a name stays, and so does what others put
    into one of them.

    Raises
    ------
    OSError
        If the disk fails.
    """
    path, journal = Path(root), journal_folder(root)
    new, old = aside(path, "new"), aside(path, "replaced")
    if os.path.lexists(path) and not new:
        return  # no replacement, or one that only was not tidied up after
    if not os.path.lexists(path):
        from ome_writers.ownership import why_not_dataset

        if len(old) != 1 or why_not_dataset(old[0]):
            return
        old[0].rename(path)
    for one in new:
        if why := why_not_begun(one):
            warnings.warn(f"{one} stays, which was to replace {path.name}: {why}", stacklevel=2)
        else:
            _remove(one)
    if os.path.lexists(journal) and why_not_journal(journal) is None:
        _remove(journal)
    before = aside(journal, "replaced")
    if len(before) == 1 and not journal.exists() and why_not_journal(before[0]) is None:
        before[0].rename(journal)


def aside(path: Path, word: str) -> list[Path]:
    """Return what a replacement that was interrupted has left beside a dataset, or its journal, under that word."""
    name = re.compile(rf"{re.escape(path.name)}\.{word}-([0-9a-f]{{8}})")
    try:
        found = {entry: name.fullmatch(entry.name) for entry in path.parent.iterdir()}
    except FileNotFoundError:
        return []
    # What is only renamed back need not be known for sure.
    return sorted(
        entry for entry, match in found.items() if match and (word != "new" or match[1] == _mark(path.name, match[1]))
    )


def _mark(name: str, given: str | None = None) -> str:
    """Return eight digits of which the last four follow from the others and the name, so that ours are known again."""
    first = os.urandom(2).hex() if given is None else given[:4]
    return f"{first}{zlib.crc32(f'{first} {name}'.encode()) & 0xFFFF:04x}"


def require_free(root: str, *, overwrite: bool) -> None:
    """Refuse a path where something stands that may not go.

    Raises
    ------
    FileExistsError
        If something stands there, and `overwrite` is not given or would delete what is no dataset.
    """
    path = Path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise FileExistsError(f"{root} exists; give overwrite=True to replace it, or another path")
    from ome_writers.ownership import why_not_dataset

    if why := why_not_dataset(path):
        raise FileExistsError(
            f"{root} exists and shall be replaced, but {why}; remove it yourself, or give another path"
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink()


def absent(path: str | os.PathLike[str]) -> FileNotFoundError:
    """Return the error that nothing stands at a path, and where it stands if several positions made a folder.

    Examples
    --------
    >>> str(absent("cells.ome.zarr"))
    'cells.ome.zarr: there is no such file or folder'
    """
    folder, suffix = split_suffix(os.fspath(path))
    hint = ""
    if suffix and any(Path(folder).glob("*.ome.tif*")):
        hint = f"; but several images of an OME-TIFF are in a folder: {folder}"
    return FileNotFoundError(f"{os.fspath(path)}: there is no such file or folder{hint}")
