"""Given what stands at a path, this answers: is all of it the work of an OME writer, so that it may be replaced?

What a dataset's own documents do not name is not of it: a folder of results, a segmentation, another dataset of the
same project. Such things are never deleted along with it.

1. OME-Zarr: beginning at the root, a group owns the arrays of its multiscales, the wells of its plate, the images of
   its wells, and the series of a root with several images. An array owns its chunks (`owned_chunks.py`).
2. OME-TIFF: a file by itself; or a folder whose files are all parts of one set (`owned_tiffs.py`).
3. Scratch: a manifest, and the files that it lists.

Links, pipes and the like are nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ome_writers.errors import NotADataset
from ome_writers.owned_chunks import OLD, grid_of, strange_chunks
from ome_writers.owned_tiffs import is_ome_tiff, is_xml, why_no_set
from ome_writers.regular import head_of, read_json, understood

_NEW: Final = 3
_DOCUMENTS: Final = {
    _NEW: frozenset({"zarr.json"}),
    OLD: frozenset({".zgroup", ".zattrs", ".zarray", ".zmetadata"}),
}
"""Names of the documents of a zarr, by its format."""
_BEING_MADE: Final = re.compile(
    r"(zarr\.json|\.z(group|attrs|array|metadata))\.__lock"  # by tensorstore, when its process is killed
    r"|\.[0-9]+\.(zarr\.json|METADATA\.ome\.xml|manifest\.json)"  # by `writers/files.py`
    r"|(zarr|\.z(group|attrs|array|metadata))\.[0-9a-f]{32}\.partial"  # by zarr-python
)
"""Names of files from which a document is renamed when it is whole."""
_METADATA: Final = PurePosixPath("OME/METADATA.ome.xml")
_MANIFEST: Final = "manifest.json"
_NOTES: Final = "frame_metadata.jsonl"
_PIXELS: Final = re.compile(r"pos_[0-9]+\.dat")


def why_not_dataset(path: Path) -> str | None:
    """Return why what stands at `path` does not look like the work of an OME writer, `None` if it does.

    Raises
    ------
    OSError
        If the disk fails.
    """
    try:
        with understood(path):
            return _why_not(path)
    except NotADataset as error:
        return f"one of its documents cannot be understood: {error}"


def _why_not(path: Path) -> str | None:
    if path.is_symlink():
        return "it is a symbolic link"
    if not path.is_dir():
        return None if path.is_file() and is_ome_tiff(path) else "it is a file, but no OME-TIFF"
    entries = sorted(path.iterdir())
    strange = _strange_in_scratch(path, entries) if entries else ""
    if strange is not None:
        return f"it is a scratch folder that holds other things, such as {strange!r}" if strange else None
    names = {entry.name for entry in entries}
    if names & (_DOCUMENTS[_NEW] | _DOCUMENTS[OLD]):
        if not _has_ome_attributes(path):
            return "it is a zarr without OME metadata"
        other = next(_Zarr(path).strange_in_group(path, PurePosixPath(), ()), None)
        return f"its metadata do not speak of all that lies in it, such as {str(other)!r}" if other else None
    return why_no_set(entries)


# ── scratch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _strange_in_scratch(path: Path, entries: Sequence[Path]) -> str | None:
    """Return what lies in a folder beside a manifest and the files that it lists, if anything; `None` without one."""
    said = _read(path / _MANIFEST) or {}
    # Without a list of files it is of ome-writers 0.3, which had one for each position.
    listed, shapes = said.get("files"), said.get("position_shapes")
    if not isinstance(shapes, list) or not isinstance(said.get("dimensions"), list):
        return None
    if listed is None:
        listed = [f"pos_{number}.dat" for number in range(len(shapes))]
    if not isinstance(listed, list):
        return None
    known = {_MANIFEST, *(str(name) for name in listed if _PIXELS.fullmatch(str(name)))}
    ours = (
        _is_plain_file(entry)
        and (
            entry.name in known
            or ((entry.name == _NOTES or _BEING_MADE.fullmatch(entry.name) is not None) and _begins(entry, b"{"))
        )
        for entry in entries
    )
    return next((entry.name for entry, mine in zip(entries, ours, strict=True) if not mine), "")


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _begins(path: Path, mark: bytes) -> bool:
    """Return whether a file begins so, or is empty, as what was being written may be."""
    return head_of(path, len(mark), links=False) in {mark, b""}


# ── OME-Zarr ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a document says, `None` if there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return read_json(path)
    return None


def _attributes(group: Path) -> dict[str, Any]:
    """Return what a group says of itself, in Zarr 3 and NGFF 0.5 or in what came before them."""
    found = _read(group / ".zattrs") or {}
    new = (_read(group / "zarr.json") or {}).get("attributes")
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
        if isinstance(series, list):
            yield from map(str, series)
        else:  # they are numbered, without a gap
            yield from takewhile(lambda name: (group / name).is_dir(), map(str, count()))


class _Zarr:
    """The rules of one dataset: its format, and whether its run has ended."""

    def __init__(self, root: Path) -> None:
        self.format = _NEW if (root / "zarr.json").exists() else OLD
        noted = _attributes(root).get("ome_writers")
        self.ended = isinstance(noted, dict) and noted.get("verdict") in {"complete", "stopped"}

    def strange_in_group(self, group: Path, here: PurePosixPath, named: Sequence[str]) -> Iterator[PurePosixPath]:
        """Yield what lies in a group and is not its own.

        `named` are the paths in it that a group above called its own.
        """
        owned = {*named, *_owned(group)}
        for entry in sorted(group.iterdir()):
            name = entry.name
            if not entry.is_dir() or entry.is_symlink():
                if not self._is_document(entry, here / name):
                    yield here / name
                continue
            within = [path[len(name) + 1 :] for path in owned if path.startswith(f"{name}/")]
            if name not in owned and not within:
                yield here / name
            elif (body := self._array(entry)) is not None:
                yield from self._strange_in_array(entry, here / name, body)
            else:
                yield from self.strange_in_group(entry, here / name, within)

    def _array(self, path: Path) -> dict[str, Any] | None:
        if self.format == _NEW:
            body = _read(path / "zarr.json") or {}
            return body if body.get("node_type") == "array" else None
        return _read(path / ".zarray") or {} if (path / ".zarray").exists() else None

    def _is_document(self, file: Path, here: PurePosixPath) -> bool:
        """Return whether a file is a document of the dataset, or was to become one."""
        if not _is_plain_file(file):
            return False
        if file.name in _DOCUMENTS[self.format]:
            return file.name == "zarr.json" or _read(file) is not None
        if here == _METADATA:
            return is_xml(file)
        xml = file.name.endswith(".xml")
        return _BEING_MADE.fullmatch(file.name) is not None and _begins(file, b"<" if xml else b"{")

    def _strange_in_array(self, array: Path, here: PurePosixPath, body: dict[str, Any]) -> Iterator[PurePosixPath]:
        """Yield what lies in an array and is no chunk of it."""
        for strange in strange_chunks(array, here, grid_of(body, self.format), ended=self.ended):
            if strange.parent != here or not self._is_document(array / strange.name, strange):
                yield strange
