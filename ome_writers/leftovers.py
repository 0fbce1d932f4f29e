"""Given what has the name of something that a writer leaves when it is killed, this answers: is it that?

What others put there is told by its name, its first bytes, or by being no plain file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Final

from ome_writers.regular import head_of
from ome_writers.tiffpages import TIFF_FORMS

_HEAD: Final = 4096
_FRESH: Final = re.compile(r"(\.[0-9]+\.)?(.+?)(\.__lock)?")
"""Name of a file, maybe of one from which it is renamed."""
_BEGUN: Final = (
    (re.compile(r"zarr(\.[0-9a-f]{32}\.partial|\.json)|manifest\.json|frame_metadata\.jsonl"), (b"{",)),
    (re.compile(r"METADATA\.ome\.xml|.+\.companion\.ome"), (b"<",)),
    (re.compile(r"pos_[0-9]+\.dat|c|c?\.?[0-9]+(\.[0-9]+)*"), (b"",)),
)
"""Names of the files of a dataset to which no frame came, and how they begin."""


def why_not_begun(path: Path) -> str | None:
    """Return why what stands at a path is not the beginning of a dataset, `None` if it is."""
    if path.is_symlink() or not path.is_dir():
        return None if _begins(path, (*TIFF_FORMS, b"<")) else f"{path.name!r} is none that a writer began"
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            one = Path(folder, name)
            if one.is_symlink() or (name in files and not _is_begun(one)):
                return f"it holds {PurePosixPath(one.relative_to(path).as_posix())}"
    return None


def _is_begun(file: Path) -> bool:
    found = _FRESH.fullmatch(file.name)
    name = found[2] if found else ""
    for names, marks in _BEGUN:
        if names.fullmatch(name):
            return _begins(file, marks)
    return _begins(file, tuple(TIFF_FORMS))


def _begins(path: Path, marks: tuple[bytes, ...]) -> bool:
    """Return whether a file begins in one of several ways, or with zeros only, as what was being written may."""
    head = head_of(path, _HEAD, links=False)
    return head is not None and (head.startswith(marks) or not head.strip(b"\0"))


# ── journals ────────────────────────────────────────────────────────────────────────────────────────────────────────

_LINE: Final = re.compile(rb"[0-9a-f]{8} -?[0-9]+ |([0-9a-f]{0,8}|[0-9a-f]{8} -?[0-9]*)\Z")
_OF_JOURNAL: Final = {
    "run.json": lambda head: b'"ome_writers_journal"' in head or b'{\n "ome_writers_journal"'.startswith(head),
    "plan.npz": lambda head: b"PK\3\4".startswith(head[:4]),
    "came": lambda head: not head.strip(bytes(range(8))),
    "metadata": lambda head: _LINE.match(head) is not None or not head.strip(b"\0"),
    "room": lambda head: not head.strip(b"\0"),
    "waiting": lambda head: b"OMEw".startswith(head[:4]) or not head[:4].strip(b"\0"),
}
"""The files of a journal, and whether one may begin so."""


def why_not_journal(folder: Path) -> str | None:
    """Return why what stands at a path is not a journal, `None` if it is, or the beginning of one."""
    if folder.is_symlink() or not folder.is_dir():
        return "it is no folder"
    for entry in sorted(folder.iterdir()):
        head = head_of(entry, _HEAD, links=False)
        if head is None:
            return f"{entry.name!r} is no file"
        if entry.name not in _OF_JOURNAL or not _OF_JOURNAL[entry.name](head):
            return f"{entry.name!r} is no part of one"
    return None
