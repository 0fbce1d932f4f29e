"""Given the path where a dataset shall stand, this answers: is there room, and may room be made?

Nothing is deleted before the new dataset stands: what is to be replaced is renamed aside, comes back if the new one
cannot be made, and goes only after that.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

_ZARR_FILES = frozenset({"zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata"})
_LEFT_BEHIND = ("zarr.json.__lock",)  # by tensorstore, when its process is killed
_BESIDE = re.compile(r"\.\d+\.(zarr\.json|METADATA\.ome\.xml)")
"""What a process left behind that was killed while it replaced a document (see `writers/files.py`)."""
_OME_XML = PurePath("OME", "METADATA.ome.xml")
_MANIFEST = "manifest.json"
_NOTES = "frame_metadata.jsonl"

_TIFF_FORMS = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
"""First bytes of a TIFF -> its byte order, and whether it is a BigTIFF."""
_IMAGE_DESCRIPTION = 270


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


def why_not_dataset(path: Path) -> str | None:
    """Return why what stands at `path` does not look like the work of an OME writer, `None` if it does."""
    if path.is_symlink():
        return "it is a symbolic link"
    if path.is_file():
        return None if _is_ome_tiff(path) else "it is a file, but no OME-TIFF"
    entries = list(path.iterdir())
    if not entries or _is_scratch(path, {entry.name for entry in entries}):
        return None
    if {entry.name for entry in entries} & _ZARR_FILES:
        if not _has_ome_attributes(path):
            return "it is a zarr without OME metadata"
        strange = next(_not_of_zarr(path), None)
        return f"files lie in it that are no part of an OME-Zarr, such as {str(strange)!r}" if strange else None
    others = [entry.name for entry in entries if not (_is_companion(entry.name) or _is_ome_tiff(entry))]
    return f"it is a folder that holds other things, such as {min(others)!r}" if others else None


def _is_scratch(path: Path, names: set[str]) -> bool:
    """Return whether a folder holds a manifest, the files that it lists, and nothing else."""
    import json

    try:
        said = json.loads((path / _MANIFEST).read_bytes())
        # Without a list of files it is of ome-writers 0.3, which had one for each position.
        listed = said["files"] if "files" in said else [f"pos_{n}.dat" for n in range(len(said["position_shapes"]))]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(listed, list) and names <= {_MANIFEST, _NOTES, *map(str, listed)}


def _has_ome_attributes(path: Path) -> bool:
    import json

    found: dict[str, object] = {}
    for name in ("zarr.json", ".zattrs"):
        try:
            document = json.loads((path / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(document, dict):
            attributes = document.get("attributes", {}) if name == "zarr.json" else document
            found |= attributes if isinstance(attributes, dict) else {}
    return bool(found.keys() & {"ome", "ome_writers", "multiscales", "plate", "bioformats2raw.layout"})


def _not_of_zarr(group: Path, *above: str) -> Iterator[PurePath]:
    """Yield the files in a zarr group and the groups within it that zarr and NGFF have no place for."""
    for entry in sorted(group.iterdir()):
        here = PurePath(*above, entry.name)
        if not entry.is_dir() or entry.is_symlink():
            known = entry.name in (*_ZARR_FILES, *_LEFT_BEHIND) or here == _OME_XML
            if not known and not _BESIDE.fullmatch(entry.name):
                yield here
        elif not _is_array(entry):
            yield from _not_of_zarr(entry, *above, entry.name)


def _is_array(path: Path) -> bool:
    if (path / ".zarray").exists():
        return True
    try:
        return '"array"' in (path / "zarr.json").read_text("utf-8")
    except (OSError, ValueError):
        return False


def _is_companion(name: str) -> bool:
    return name.lower().endswith("companion.ome")


def _is_ome_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF whose first page is described in OME-XML."""
    try:
        with path.open("rb") as file:
            return b"<OME" in _description(file)
    except (OSError, ValueError, struct.error):  # `ValueError`: a place that no file has
        return False


def _description(file: BinaryIO) -> bytes:
    """Return the beginning of the ImageDescription (tag 270) of a TIFF's first page; nothing if there is none.

    TIFF 6.0, section 2, and its 64-bit kin: a header, then directories of tag, type, count, and value or place.
    """
    head = file.read(16)
    form = _TIFF_FORMS.get(head[:4])
    if form is None:
        return b""
    order, wide = form
    word, entry = ("Q", order + "HHQ8s") if wide else ("I", order + "HHI4s")
    (directory,) = struct.unpack_from(order + word, head, 8 if wide else 4)
    file.seek(directory)
    counting = order + ("Q" if wide else "H")
    (entries,) = struct.unpack(counting, file.read(struct.calcsize(counting)))
    for _ in range(min(entries, 4096)):
        tag, _, count, value = struct.unpack(entry, file.read(struct.calcsize(entry)))
        if tag == _IMAGE_DESCRIPTION:
            if count <= len(value):
                return bytes(value[:count])
            file.seek(*struct.unpack(order + word, value))
            return file.read(min(count, 4096))
    return b""


@contextmanager
def _undone_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise  # What stands there now is somebody else's, who came in between.
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
