"""Given a file or a folder of OME-TIFF that may come from anywhere, this answers: which OME-XML describes it?

And what does that say of the dimensions, if this library wrote it? tifffile is imported only where a file is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from attrs import frozen

from ome_writers.errors import Malformed, NotADataset
from ome_writers.jsontext import value_in
from ome_writers.omexml import RUN_NAMESPACE
from ome_writers.regular import open_regular, read_text, understood

if TYPE_CHECKING:
    import tifffile


def opened_tiff(path: Path, *, is_ome: bool | None = False) -> tifffile.TiffFile:
    """Open a TIFF; a pipe of that name would be waited for, and is refused.

    With `is_ome=None` tifffile looks whether it is an OME-TIFF, and which images its OME-XML makes of the pages.
    """
    import tifffile

    open_regular(path).close()
    return tifffile.TiffFile(path, is_ome=is_ome)


def parsed(text: str) -> ET.Element:
    """Return the root of an XML document that may come from anywhere.

    Raises
    ------
    Malformed
        If it is none; or if it declares entities, which no OME-XML needs, and a few of which can stand for any number
        of bytes.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Malformed("declares a document type, which an OME-XML has none of")
    try:
        return ET.fromstring(text)  # noqa: S314 - without entities, it is as long as it looks
    except ET.ParseError as error:
        raise Malformed(f"is no OME-XML: {error}") from None


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
    NotADataset
        If there is none.
    """
    files = files_in(folder)
    if not files:
        raise NotADataset(f"{folder}: is neither an OME-Zarr nor a folder of OME-TIFF files")
    return files[0]


@frozen
class Described:
    """A file with pixels, and the OME-XML that describes them."""

    file: Path
    text: str
    place: Path
    """The file that holds the text."""

    def parsed(self) -> ET.Element:
        """Return the root of the text.

        Raises
        ------
        NotADataset
            If it is no OME-XML.
        """
        with understood(self.place):
            return parsed(self.text)


def described(path: Path) -> Described:
    """Return a file of a dataset, which may be a folder, and the OME-XML that describes its pixels.

    Raises
    ------
    NotADataset
        If it is no OME-TIFF.
    """
    import tifffile

    path = first_of(path) if path.is_dir() else path
    with understood(path):
        try:
            with opened_tiff(path) as file:
                text = str(file.pages.first.description)
        except tifffile.TiffFileError as error:
            raise Malformed(f"is no OME-TIFF: {error}") from error
        if not text.lstrip().startswith("<"):
            raise Malformed("is no OME-TIFF")
        # OME-XML 2016-06, `BinaryOnly`: what is said of these pixels stands in another file of the folder.
        elsewhere = parsed(text).find("{*}BinaryOnly")
        if elsewhere is None:
            return Described(path, text, path)
        other = path.with_name(elsewhere.attrib["MetadataFile"])
        if other.suffix.lower() in {".tif", ".tiff"}:
            return described(other)
    return Described(path, read_text(other), other)


def facts_in(root: ET.Element) -> dict[str, Any]:
    """Return what this library noted about the dimensions."""
    told = notes_in(root)
    return {name: value_in(told[name]) for name in ("dimensions", "axes", "reached", "held", "weights") if name in told}


def notes_in(root: ET.Element) -> dict[str, str]:
    """Return what this library noted of the run, as text by its names."""
    note = root.find(f"{{*}}StructuredAnnotations/{{*}}MapAnnotation[@Namespace='{RUN_NAMESPACE}']")
    return {} if note is None else {one.get("K", ""): one.text or "" for one in note.iterfind("{*}Value/{*}M")}
