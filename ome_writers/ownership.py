"""Given what stands at a path, this answers: is all of it the work of an OME writer, so that it may be replaced?

What a dataset's own documents do not name is not of it: a folder of results, a segmentation, another dataset of the
same project. Such things are never deleted along with it.

1. OME-Zarr: beginning at the root, a group owns the arrays of its multiscales, the wells of its plate, the images of
   its wells, and the series of a root with several images. An array owns its chunks.
2. OME-TIFF: a file by itself; or a folder whose files are all parts of one set.
3. Scratch: a manifest, and the files that it lists.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from ome_writers.regular import MOST_DOCUMENT, open_regular, read_regular

_DOCUMENTS: Final = frozenset({"zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata"})
_LEFT_BEHIND: Final = re.compile(
    r"zarr\.json\.__lock"  # by tensorstore, when its process is killed
    r"|\.\d+\.(zarr\.json|METADATA\.ome\.xml|manifest\.json)"  # by `writers/files.py`
    r"|zarr\.[0-9a-f]{32}\.partial"  # by zarr-python
)
_CHUNK: Final = re.compile(r"(c|(c\.)?\d+(\.\d+)*)")
_CHUNK_LEFT_BEHIND: Final = re.compile(r"\.\d+\.[\d.c]+|[\d.c]+\.__lock|[\d.c]+\.[0-9a-f]{32}\.partial")
_MANIFEST: Final = "manifest.json"
_NOTES: Final = "frame_metadata.jsonl"
_PIXELS: Final = re.compile(r"pos_\d+\.dat")
_OF_SET: Final = re.compile(r"(.+)_p\d{3,}\.ome\.tiff?", re.IGNORECASE)
"""Names of the files of a set, as ome-writers 0.3 gave them too."""
_NAMED: Final = re.compile(rb'FileName="([^"]+)"')
_MOST_TEXT: Final = 1 << 26
"""Bytes of an OME-XML that are looked through for names."""

_TIFF_FORMS: Final = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
"""First bytes of a TIFF -> its byte order, and whether it is a BigTIFF."""
_IMAGE_DESCRIPTION: Final = 270


def why_not_dataset(path: Path) -> str | None:
    """Return why what stands at `path` does not look like the work of an OME writer, `None` if it does."""
    if path.is_symlink():
        return "it is a symbolic link"
    if not path.is_dir():
        return None if path.is_file() and _is_ome_tiff(path) else "it is a file, but no OME-TIFF"
    entries = sorted(path.iterdir())
    if not entries or _is_scratch(path, entries):
        return None
    if {entry.name for entry in entries} & _DOCUMENTS:
        if not _has_ome_attributes(path):
            return "it is a zarr without OME metadata"
        strange = next(_strange_in_group(path, PurePosixPath(), ()), None)
        return f"its metadata do not speak of all that lies in it, such as {str(strange)!r}" if strange else None
    return _why_no_set(entries)


# ── scratch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_scratch(path: Path, entries: Sequence[Path]) -> bool:
    """Return whether a folder holds a manifest, the files that it lists, and nothing else."""
    said = _read_json(path / _MANIFEST)
    # Without a list of files it is of ome-writers 0.3, which had one for each position.
    listed, shapes = said.get("files"), said.get("position_shapes")
    if listed is None and isinstance(shapes, list):
        listed = [f"pos_{number}.dat" for number in range(len(shapes))]
    if not isinstance(listed, list):
        return False
    known = {_MANIFEST, _NOTES, *(str(name) for name in listed if _PIXELS.fullmatch(str(name)))}
    return all(
        (entry.name in known or _LEFT_BEHIND.fullmatch(entry.name)) and entry.is_file() and not entry.is_symlink()
        for entry in entries
    )


# ── OME-Zarr ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_regular(path, MOST_DOCUMENT))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _attributes(group: Path) -> dict[str, Any]:
    """Return what a group says of itself, in Zarr 3 and NGFF 0.5 or in what came before them."""
    found = _read_json(group / ".zattrs")
    new = _read_json(group / "zarr.json").get("attributes")
    if isinstance(new, dict):
        found |= new
        found |= new["ome"] if isinstance(new.get("ome"), dict) else {}
    return found


def _has_ome_attributes(path: Path) -> bool:
    return bool(_attributes(path).keys() & {"ome", "ome_writers", "multiscales", "plate", "bioformats2raw.layout"})


def _paths(value: object) -> Iterator[str]:
    """Yield the `path` of each entry of a list."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            yield entry["path"]


def _owned(group: Path) -> Iterator[str]:
    """Yield the paths, from a group on, of the groups and arrays that its attributes name as its own."""
    said = _attributes(group)
    for scales in said["multiscales"] if isinstance(said.get("multiscales"), list) else ():
        yield from _paths(scales.get("datasets") if isinstance(scales, dict) else None)
    for key, entries in (("plate", "wells"), ("well", "images")):
        yield from _paths(said[key].get(entries) if isinstance(said.get(key), dict) else None)
    if "bioformats2raw.layout" in said:
        yield "OME"
        series = _attributes(group / "OME").get("series")
        # Without a list they are numbered.
        numbered = (entry.name for entry in group.iterdir() if entry.name.isdecimal())
        yield from (str(name) for name in series) if isinstance(series, list) else numbered


def _strange_in_group(group: Path, here: PurePosixPath, named: Sequence[str]) -> Iterator[PurePosixPath]:
    """Yield what lies in a group and is not its own; `named` are the paths in it that a group above called its own."""
    owned = {*named, *_owned(group)}
    for entry in sorted(group.iterdir()):
        name = entry.name
        if not entry.is_dir() or entry.is_symlink():
            known = (
                name in _DOCUMENTS
                or _LEFT_BEHIND.fullmatch(name)
                or here / name == PurePosixPath("OME/METADATA.ome.xml")
            )
            if not known:
                yield here / name
            continue
        within = [path[len(name) + 1 :] for path in owned if path.startswith(f"{name}/")]
        if name not in owned and not within:
            yield here / name
        elif _is_array(entry):
            yield from _strange_in_array(entry, here / name)
        else:
            yield from _strange_in_group(entry, here / name, within)


def _is_array(path: Path) -> bool:
    return (path / ".zarray").exists() or _read_json(path / "zarr.json").get("node_type") == "array"


def _strange_in_array(array: Path, here: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield what lies in an array and is no chunk of it."""
    for folder, folders, files in os.walk(array):
        where = here / PurePosixPath(Path(folder).relative_to(array).as_posix())
        for name in files:
            known = _CHUNK.fullmatch(name) or _CHUNK_LEFT_BEHIND.fullmatch(name)
            if not known and not (where == here and (name in _DOCUMENTS or _LEFT_BEHIND.fullmatch(name))):
                yield where / name
        for name in folders:
            if not _CHUNK.fullmatch(name) or Path(folder, name).is_symlink():
                yield where / name


# ── OME-TIFF ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _why_no_set(entries: Sequence[Path]) -> str | None:
    """Return why the files in a folder are not all those of one OME-TIFF set, `None` if they are."""
    strange = [
        entry.name
        for entry in entries
        if entry.is_symlink() or not entry.is_file() or not (_is_companion(entry) or _is_ome_tiff(entry))
    ]
    if strange:
        return f"it is a folder that holds other things, such as {min(strange)!r}"
    files = [entry for entry in entries if not _is_companion(entry)]
    matches = [_OF_SET.fullmatch(entry.name) for entry in files]
    if len({match[1] if match else None for match in matches}) <= 1 and all(matches):
        return None
    # One document of a set names all its files; each of several datasets names its own.
    named = max((set(_NAMED.findall(_text(entry))) for entry in entries), key=len)
    others = [entry.name for entry in files if entry.name.encode() not in named]
    return f"it is a folder with files that are no parts of one dataset, such as {min(others)!r}" if others else None


def _is_companion(path: Path) -> bool:
    """Return whether a file is an OME-XML by itself."""
    try:
        with open_regular(path) as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf").lstrip().startswith(b"<") and b"<OME" in head


def _text(path: Path) -> bytes:
    """Return the OME-XML of a file, or much of it."""
    try:
        with open_regular(path) as file:
            return file.read(_MOST_TEXT) if _is_companion(path) else _description(file, _MOST_TEXT)
    except (OSError, ValueError, struct.error):  # `ValueError`: a place that no file has
        return b""


def _is_ome_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF whose first page is described in OME-XML."""
    try:
        with open_regular(path) as file:
            return b"<OME" in _description(file, 4096)
    except (OSError, ValueError, struct.error):  # as above
        return False


def _description(file: BinaryIO, most: int) -> bytes:
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
            return file.read(min(count, most))
    return b""
