"""Given a file or a folder of OME-TIFF that may come from anywhere, this answers: which OME-XML describes it?

And what does that note of the run, if this library wrote it?
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

import tifffile

from ome_writers.omexml import RUN_NAMESPACE
from ome_writers.regular import MOST_DOCUMENT, open_regular, read_regular


def opened_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF; a pipe of that name would be waited for, and is refused."""
    open_regular(path).close()
    return tifffile.TiffFile(path, is_ome=False)


_NOTED: Final = re.compile(rf'<MapAnnotation [^>]*Namespace="{RUN_NAMESPACE}".*?</MapAnnotation>', re.DOTALL)
_ENTRY: Final = re.compile(r'<M K="(\w+)">(.*?)</M>', re.DOTALL)


def noted(path: Path) -> dict[str, Any]:
    """Return what the documents of a dataset say of its run, `{}` if this library did not write it.

    Costs the length of the text, not what it takes to understand it: of long runs it is asked again and again.
    """
    _, text = described(path if path.is_file() else first_of(path))
    annotation = _NOTED.search(text)
    said = {} if annotation is None else {name: unescape(value) for name, value in _ENTRY.findall(annotation[0])}
    found: dict[str, Any] = {}
    for name, value in said.items():
        if name in {"version", "verdict", "error"}:
            found[name] = value
        else:
            found[name] = _ranges(value) if name == "missing" else json.loads(value)
    return found


def _ranges(text: str) -> list[list[int]]:
    return [[int(first), int(last or first)] for first, _, last in (part.partition("-") for part in text.split())]


def parsed(text: str) -> ET.Element:
    """Return the root of an XML document that may come from anywhere.

    Raises
    ------
    ValueError
        If it declares entities, which no OME-XML needs, and a few of which can stand for any number of bytes.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("declares a document type, which an OME-XML has none of")
    return ET.fromstring(text)  # noqa: S314 - without entities, it is as long as it looks


def images_in(root: ET.Element) -> dict[int, ET.Element]:
    """Return what is said of each image, by its number."""
    return {int(image.attrib["ID"].removeprefix("Image:")): image for image in root.iterfind("{*}Image")}


def files_in(folder: Path) -> list[Path]:
    """Return the OME-TIFF files in a folder, by their names."""
    return sorted(
        file for file in folder.iterdir() if file.name.lower().endswith((".ome.tif", ".ome.tiff")) and file.is_file()
    )


def first_of(folder: Path) -> Path:
    """Return the file of a folder to begin with.

    Raises
    ------
    ValueError
        If there is none.
    """
    files = files_in(folder)
    if not files:
        raise ValueError(f"{folder}: is neither an OME-Zarr nor a folder of OME-TIFF files")
    return files[0]


def described(path: Path) -> tuple[Path, str]:
    """Return the OME-XML of a dataset, and the file that holds it.

    Raises
    ------
    ValueError
        If it is no OME-TIFF.
    """
    try:
        with opened_tiff(path) as file:
            text = str(file.pages.first.description)
    except tifffile.TiffFileError as error:
        raise ValueError(f"{path}: is no OME-TIFF: {error}") from error
    if not text.lstrip().startswith("<"):
        raise ValueError(f"{path}: is no OME-TIFF")
    # OME-XML 2016-06, `BinaryOnly`: what is said of these pixels stands in another file of the folder.
    elsewhere = parsed(text).find("{*}BinaryOnly")
    if elsewhere is None:
        return path, text
    other = path.with_name(elsewhere.attrib["MetadataFile"])
    if other.suffix.lower() in {".tif", ".tiff"}:
        return described(other)
    return path, read_regular(other, MOST_DOCUMENT).decode()


def facts_in(root: ET.Element) -> dict[str, Any]:
    """Return what this library noted about the dimensions."""
    for annotation in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation"):
        if annotation.get("Namespace") == RUN_NAMESPACE:
            noted = {entry.get("K"): entry.text or "" for entry in annotation.iterfind("{*}Value/{*}M")}
            return {
                name: json.loads(noted[name])
                for name in ("dimensions", "axes", "reached", "held", "weights")
                if name in noted
            }
    return {}
