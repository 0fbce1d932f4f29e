"""Given a TIFF file, or a folder of them, this runs all checks that they can have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Final
from xml.etree import ElementTree as ET

from ome_writers.datasets.facts import run_noted
from ome_writers.regular import MOST_DOCUMENT, read_regular
from ome_writers.validation.acquisition import check_run
from ome_writers.validation.official import check_xml, installed
from ome_writers.validation.tiffdata import Described, check_tiff_data, is_plain_name, run_arrays
from ome_writers.validation.tifffiles import FileFound, check_file
from ome_writers.validation.words import Findings

_ENDINGS: Final = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
_OWN: Final = re.compile(rb'(<(?:\w+:)?OME\b[^>]*\bUUID=")([^"]*)"')
Texts = Mapping[str, bytes]


def tiff_files(path: Path) -> list[Path]:
    """Return the TIFF files to begin with: the one at a path, or those in a folder; none if it is something else."""
    if path.is_file():
        return [path] if path.suffix.lower() in _ENDINGS else []
    return sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in _ENDINGS)


def validate_tiff(root: Path, files: Sequence[Path], found: Findings, advance: Callable[[int], None]) -> str:
    """Run all checks, and return what it is."""
    if reason := installed("tifffile"):
        with found.check("TIFF pages") as check:
            check.not_run(reason.replace("[validate]", "[tifffile]"))
        return "TIFF"
    folder = root if root.is_dir() else root.parent
    seen: dict[str, FileFound] = {}
    texts: dict[str, bytes] = {}
    waiting = list(files)
    done = 0
    while waiting:
        file = waiting.pop(0)
        name = file.name
        if name in seen or not file.is_file():
            continue
        seen[name] = check_file(file, name, found, done, advance)
        done += len(seen[name].pages)
        if (text := seen[name].description).lstrip().startswith(b"<"):
            texts[name] = text
            # An absolute name is a fault, told below; the file itself is most likely here.
            waiting += [folder / other for other in _names(text) if other.lower().endswith(_ENDINGS)]
    if not texts:
        with found.check("OME-XML") as check:
            lost = any(name.lower().endswith((".ome.tif", ".ome.tiff")) for name in seen)
            (check.fault if lost else check.warn)("", "has no OME-XML: what the pages are, nothing says")
        return "TIFF"
    _check_references(folder, texts, seen, found)
    distinct = dict(_distinct(texts))
    check_xml(distinct.items(), found)
    for name, text in distinct.items():
        _check_images(name, text, seen, found)
    return "OME-TIFF"


def _names(text: bytes) -> set[str]:
    """Return the files that a text refers to."""
    found = re.findall(rb'\b(?:FileName|MetadataFile)="([^"]*)"', text)
    return {PureWindowsPath(name.decode("utf-8", "replace")).name for name in found}


def _distinct(texts: Texts) -> Iterator[tuple[str, bytes]]:
    """Yield those that say something of their own: in a set, every file may have the same text but for its UUID."""
    seen = set()
    for name, text in texts.items():
        mark = hashlib.sha256(_OWN.sub(rb'\1"', text)).digest()
        if mark not in seen:
            seen.add(mark)
            yield name, text


def _check_references(folder: Path, texts: dict[str, bytes], seen: Mapping[str, FileFound], found: Findings) -> None:
    """Check that files name each other rightly; reads companion files, and adds them to the texts."""
    with found.check("file references") as check:
        for name, text in list(texts.items()):
            if elsewhere := re.search(rb'<(?:\w+:)?BinaryOnly\b[^>]*\bMetadataFile="([^"]*)"', text):
                _check_metadata_file(name, elsewhere[1].decode("utf-8", "replace"), folder, (texts, seen), check)
        uuids = {name: match[2].decode() for name, text in texts.items() if (match := _OWN.search(text))}
        referred = 0
        for name, text in _distinct(texts):
            for file, uuid in sorted(_uuids(text)):
                referred += 1
                if not is_plain_name(file):
                    check.fault(name, f"refers to {file!r}: must be the name of a file beside it")
                elif file not in seen and uuid != uuids.get(name):  # a file of its own may have been renamed
                    check.fault(name, f"refers to {file!r}, which is missing")
                elif file in uuids and uuids[file] != uuid:
                    check.fault(name, f"calls {file} {uuid}, which calls itself {uuids[file]}: another file's UUID")
        check.summary = f"{referred} references lead to the files that they should"


def _check_metadata_file(
    name: str, other: str, folder: Path, known: tuple[dict[str, bytes], Mapping[str, FileFound]], check: Findings
) -> None:
    """Check the file that `name` says to hold its metadata, and read it unless that was done."""
    texts, seen = known
    if not is_plain_name(other):
        check.fault(name, f"its metadata should stand at {other!r}: must be the name of a file beside it")
        other = PureWindowsPath(other).name
    if not (folder / other).is_file():
        check.fault(name, f"its metadata should stand in {other!r}, which is missing")
    elif other not in seen and other not in texts:
        try:
            texts[other] = read_regular(folder / other, MOST_DOCUMENT)
        except OSError as error:
            check.fault(other, f"cannot be read: {error}")
        if not other.lower().endswith(".companion.ome"):
            check.warn(other, "Bio-Formats and others look for *.companion.ome only")


def _uuids(text: bytes) -> set[tuple[str, str]]:
    """Return the name and the UUID of each file that a text says to hold pixels."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - entities are not expanded from outside, and the text is in memory
    except ET.ParseError:
        return set()
    return {
        (one.get("FileName", ""), one.text or "")
        for one in root.iterfind("{*}Image/{*}Pixels/{*}TiffData/{*}UUID")
        if one.get("FileName")
    }


def _check_images(name: str, text: bytes, seen: Mapping[str, FileFound], found: Findings) -> None:
    try:
        root = ET.fromstring(text)  # noqa: S314 - as above
    except ET.ParseError as error:
        with found.check("OME-XML") as check:
            check.fault(name, f"is not well-formed XML: {error}")
        return
    if root.find("{*}BinaryOnly") is not None:
        return
    noted = run_noted(root)
    arrays = run_arrays(root, noted)
    came = check_run(noted, arrays, "ome-tiff", found)
    check_tiff_data(Described(root, name, seen, noted, came), found)
