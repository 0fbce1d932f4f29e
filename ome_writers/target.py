"""Given the path where a dataset shall stand, this answers: is there room, and may room be made?

Nothing is deleted before the new dataset stands: what is to be replaced is renamed aside, comes back if the new one
cannot be made, and goes only after that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ZARR_FILES = frozenset({"zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata"})
_LEFT_BEHIND = ("zarr.json.__lock",)  # by tensorstore, when its process is killed
_TIFF_SUFFIXES = (".tif", ".tiff")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def room_at(root: str, *, overwrite: bool) -> Iterator[None]:
    """Make room for a dataset at `root` while the block that creates it runs.

    Raises
    ------
    FileExistsError
        If something stands there, and `overwrite` is not given or would delete what is no dataset.
    """
    path = Path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(path):
        with _undone_on_error(path):
            yield
        return
    if not overwrite:
        raise FileExistsError(f"{root} exists; give overwrite=True to replace it, or another path")
    if why := why_not_dataset(path):
        raise FileExistsError(
            f"{root} exists and shall be replaced, but {why}; remove it yourself, or give another path"
        )
    aside = path.with_name(f"{path.name}.replaced-{os.urandom(4).hex()}")
    path.rename(aside)
    try:
        with _undone_on_error(path):
            yield
    except BaseException:
        aside.rename(path)
        raise
    _remove(aside)


def is_url(root: str) -> bool:
    """Return whether `root` is a URL (`s3://…`), so that not the file system but the writer knows what stands there.

    Examples
    --------
    >>> is_url("s3://bucket/cells.ome.zarr"), is_url("C:/data/cells.ome.zarr")
    (True, False)
    """
    return "://" in root


def why_not_dataset(path: Path) -> str | None:
    """Return why what stands at `path` does not look like the work of an OME writer, `None` if it does."""
    if path.is_symlink():
        return "it is a symbolic link"
    if path.is_file():
        with path.open("rb") as file:
            return None if file.read(4) in _TIFF_MAGIC else "it is a file, but no TIFF"
    entries = list(path.iterdir())
    if not entries:
        return None
    names = {entry.name for entry in entries}
    if names & _ZARR_FILES:
        return _why_not_ome_zarr(path, entries)
    strange = [entry.name for entry in entries if not (entry.is_file() and _belongs_to_tiffs(entry.name))]
    return f"it is a folder that holds other things, such as {min(strange)!r}" if strange else None


def _why_not_ome_zarr(path: Path, entries: list[Path]) -> str | None:
    strange = [
        entry.name for entry in entries if not entry.is_dir() and entry.name not in (*_ZARR_FILES, *_LEFT_BEHIND)
    ]
    if strange:
        return f"files lie in it that are no part of an OME-Zarr, such as {min(strange)!r}"
    import json

    attributes: dict[str, object] = {}
    for name in ("zarr.json", ".zattrs"):
        try:
            found = json.loads((path / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            inner = found.get("attributes", {}) if name == "zarr.json" else found
            attributes |= inner if isinstance(inner, dict) else {}
    made_by_ome = attributes.keys() & {"ome", "ome_writers", "multiscales", "plate", "bioformats2raw.layout"}
    return None if made_by_ome else "it is a zarr without OME metadata"


def _belongs_to_tiffs(name: str) -> bool:
    return name.lower().endswith((*_TIFF_SUFFIXES, ".companion.ome", "companion.ome"))


@contextmanager
def _undone_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if os.path.lexists(path):
            _remove(path)
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink()
