"""Given the files in a folder, this answers: are they all parts of one OME-TIFF set? And is a file an OME-TIFF?

1. A text of the set names its files, and so all of them: the largest one that is found counts. What it names otherwise,
   or what has another UUID than it says, is no part.
2. While a run lasts, and after it was killed, each file may tell of itself only. Then all tell of the same acquisition.
3. Where no text names any file, names alone tell, as of sets that other programs made.
4. A text by itself (`.companion.ome`) is that which the other files name; if they name none, one that names them.
"""

from __future__ import annotations

import html
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from attrs import frozen

from ome_writers.omexml import RUN_NAMESPACE
from ome_writers.regular import head_of, open_regular
from ome_writers.tiffpages import TIFF_FORMS

_OF_SET: Final = re.compile(r"(.+)_p[0-9]{3,}\.ome\.tiff?", re.IGNORECASE)
"""Names of the files of a set, as ome-writers 0.3 gave them too."""
_BEING_MADE: Final = re.compile(r"\.[0-9]+\.(.+)")
"""Name of a file that is renamed when it is whole."""
_FILE_NAME: Final = re.compile(rb'<UUID FileName="([^"]+)"[^>]*>([^<]*)<|FileName="([^"]+)"')
_METADATA_FILE: Final = re.compile(rb'MetadataFile="([^"]+)"')
_UUID: Final = re.compile(rb'<OME\b[^>]*?\bUUID="([^"]+)"')
_DIMENSIONS: Final = re.compile(
    rb'Namespace="' + re.escape(RUN_NAMESPACE.encode()) + rb'".*?<M K="dimensions">(.*?)</M>', re.DOTALL
)
_MOST_TEXT: Final = 1 << 26
"""Bytes of an OME-XML that are looked through for names."""
_HEAD: Final = 4096

_IMAGE_DESCRIPTION: Final = 270


@frozen
class _Text:
    """What an OME-XML says of the files of its set."""

    uuid: bytes
    files: dict[str, bytes]
    """Each with its UUID, empty if it is not said."""
    metadata_file: str
    dimensions: bytes
    """Those of the acquisition, if this library wrote it."""


def why_no_set(entries: Sequence[Path]) -> str | None:
    """Return why the files in a folder are not all those of one OME-TIFF set, `None` if they are."""
    texts = {entry: entry.is_file() and not entry.is_symlink() and is_xml(entry) for entry in entries}
    strange = [
        entry.name
        for entry, is_text in texts.items()
        if entry.is_symlink() or not entry.is_file() or not (is_text or is_ome_tiff(entry) or _was_begun(entry))
    ]
    if strange:
        return f"it is a folder that holds other things, such as {min(strange)!r}"
    whole = [entry for entry in entries if not _BEING_MADE.fullmatch(entry.name)]
    companions = [entry for entry in whole if texts[entry]]
    tiffs = [entry for entry in whole if not texts[entry]]
    others = {*_other_tiffs(tiffs, companions), *_other_texts(tiffs, companions)}
    return f"it is a folder with files that are no parts of one dataset, such as {min(others)!r}" if others else None


def _other_tiffs(tiffs: Sequence[Path], companions: Sequence[Path]) -> set[str]:
    """Return the names of files that are no parts of the set."""
    largest = _Text(b"", {}, "", b"")
    said: dict[str, _Text] = {}
    for entry in (*companions, *tiffs):
        text = _read(entry, _MOST_TEXT)
        said[entry.name] = text
        if len(text.files) > len(largest.files):
            largest = text
        if all(_is_named(tiff, largest) for tiff in tiffs):
            return set()
    matches = [_OF_SET.fullmatch(entry.name) for entry in tiffs]
    stems = {match[1] if match else None for match in matches}
    one_run = len({said[entry.name].dimensions for entry in tiffs}) == 1
    own = [set(said[entry.name].files) for entry in tiffs]
    alone = all(not names for names in own) or all(names == {tiff.name} for names, tiff in zip(own, tiffs, strict=True))
    if (
        len(stems) == 1
        and None not in stems
        and one_run
        and alone
        and not any(said[one.name].files for one in companions)
    ):
        return set()
    others = {entry.name for entry in tiffs if not _is_named(entry, largest)}
    return others or {entry.name for entry in tiffs}


def _is_named(file: Path, text: _Text) -> bool:
    """Return whether a text names a file, and by the UUID that it has."""
    uuid = text.files.get(file.name)
    if uuid is None:
        return False
    own = _read(file, _HEAD).uuid if uuid else b""
    return not own or own == uuid


def _other_texts(tiffs: Sequence[Path], companions: Sequence[Path]) -> set[str]:
    """Return the names of texts that are not that of the set."""
    if not companions:
        return set()
    if named := {name for tiff in tiffs if (name := _read(tiff, _HEAD).metadata_file)}:
        return {entry.name for entry in companions} - named
    names = {tiff.name for tiff in tiffs}
    own = [entry for entry in companions if (text := _read(entry, _MOST_TEXT)).files and names <= set(text.files)]
    return {entry.name for entry in companions if [entry] != own}


def is_xml(path: Path) -> bool:
    """Return whether a file is an OME-XML by itself."""
    head = head_of(path, _HEAD) or b""
    return head.lstrip(b"\xef\xbb\xbf").lstrip().startswith(b"<") and b"<OME" in head


def _was_begun(path: Path) -> bool:
    """Return whether a file is what a writer that was killed has left of one that was to be a part."""
    head = head_of(path, 4) if _BEING_MADE.fullmatch(path.name) else None
    return head is not None and (not head.strip(b"\0") or head[:1] == b"<" or head in TIFF_FORMS)


def _read(path: Path, most: int) -> _Text:
    """Return what the OME-XML of a file says, or as much of it as is read."""
    try:
        with open_regular(path) as file:
            text = file.read(most) if is_xml(path) else _description(file, most)
    except (OSError, ValueError, struct.error):  # `ValueError`: a place that no file has
        text = b""
    files = {_plain(one or other): uuid.strip() for one, uuid, other in _FILE_NAME.findall(text)}
    uuid, elsewhere, dimensions = (found[1] if (found := one.search(text)) else b"" for one in _IN_TEXT)
    return _Text(uuid, files, _plain(elsewhere), dimensions)


_IN_TEXT: Final = (_UUID, _METADATA_FILE, _DIMENSIONS)


def _plain(text: bytes) -> str:
    return html.unescape(text.decode("utf-8", "replace"))


def is_ome_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF whose first page is described in OME-XML."""
    try:
        with open_regular(path) as file:
            return b"<OME" in _description(file, _HEAD)
    except (OSError, ValueError, struct.error):  # as above
        return False


def _description(file: BinaryIO, most: int) -> bytes:
    """Return the beginning of the ImageDescription (tag 270) of a TIFF's first page; nothing if there is none.

    TIFF 6.0, section 2, and its 64-bit kin: a header, then directories of tag, type, count, and value or place.
    """
    head = file.read(16)
    form = TIFF_FORMS.get(head[:4])
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
