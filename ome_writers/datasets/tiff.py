"""Given a TIFF file, or a folder of OME-TIFF files, this answers what is in it."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from ome_writers import units
from ome_writers.datasets.words import Axis, Dataset, Image, counted
from ome_writers.errors import NotADataset
from ome_writers.readers.tifftext import files_in, opened_tiff
from ome_writers.regular import read_text, understood

if TYPE_CHECKING:
    from ome_types.model import OME, Pixels

_DTYPES = {"float": "float32", "double": "float64", "bit": "bool"}
_BINARY_ONLY = re.compile(r"<(?:\w+:)?BinaryOnly\b[^>]*\bMetadataFile=\"([^\"]+)\"")

_OF_PLANES = re.compile(r"<(Plane|TiffData)\b[^>]*?(?:/>|>.*?</\1>)|<Pixels\b", re.DOTALL)
_FILE_NAME = re.compile(r'FileName="([^"]*)"')


def tiff_of_folder(path: Path) -> Path:
    """Return the file of a multi-file OME-TIFF to begin with.

    Raises
    ------
    NotADataset
        If the folder holds no OME-TIFF.
    """
    files = files_in(path)
    if not files:
        raise NotADataset(
            f"{path}: is a folder without zarr metadata (zarr.json, .zgroup, .zarray) and without OME-TIFF files"
        )
    return files[0]


def read_tiff(path: Path, file: Path) -> Dataset:
    """Return what is in `file`, and in the files that belong to it; `path` is what was asked for."""
    import tifffile

    try:
        with understood(file), opened_tiff(file, is_ome=None) as tif:
            if xml := ome_xml(file, tif.ome_metadata):
                return _ome_tiff(path, metadata_file(file, tif.ome_metadata) or file, xml)
            images = tuple(_series(file, number, series) for number, series in enumerate(tif.series))
    except tifffile.TiffFileError as error:
        raise NotADataset(f"{file}: cannot be read as TIFF: {error}") from error
    return Dataset(str(path), f"TIFF without OME metadata, {counted(images)}", images)


def _series(file: Path, number: int, series: Any) -> Image:
    return Image(
        path="",
        files=(file.name,),
        name=series.name,
        array=str(number),
        shape=series.shape,
        dtype=series.dtype.name,
        axes=tuple(Axis(letter.lower()) for letter in series.axes),
        levels=len(series.levels),
    )


def metadata_file(file: Path, xml: str | None) -> Path | None:
    """Return the other file that describes the pixels of `file`, if its own OME-XML says that there is one.

    Raises
    ------
    NotADataset
        If it is not there.
    """
    if not (xml and (elsewhere := _BINARY_ONLY.search(xml))):
        return None
    other = file.parent / Path(elsewhere[1]).name  # beside it, whatever it says
    if not other.is_file():
        # An absolute name goes astray when the set is moved; most likely it is here.
        other = file.parent / PureWindowsPath(elsewhere[1]).name
    if not other.is_file():
        raise NotADataset(f"{file}: its metadata should stand in {elsewhere[1]!r}, which is missing")
    return other


def ome_xml(file: Path, xml: str | None) -> str | None:
    """Return the OME-XML that describes the pixels of `file`, which may stand in another file."""
    other = metadata_file(file, xml)
    if other is None:
        return xml
    if not is_tiff(other):
        return read_text(other)
    import tifffile

    with tifffile.TiffFile(other) as tif:
        return tif.ome_metadata


def is_tiff(file: Path) -> bool:
    """Return whether a file is TIFF, by its name."""
    return file.suffix.lower() in (".tif", ".tiff")


def _ome_tiff(path: Path, file: Path, xml: str) -> Dataset:
    from ome_types import from_xml

    try:
        ome = from_xml(_thinned(xml))
    except Exception as error:  # the errors of two libraries, and no common base
        raise NotADataset(f"{file}: its OME-XML cannot be read: {error!s:.300}") from error
    images = tuple(_image(number, image.name, image.pixels) for number, image in enumerate(ome.images))
    what = counted(images)
    for plate in ome.plates[:1]:
        what = f"plate of {plate.rows} × {plate.columns} wells, {what}"
    noted = _noted(ome)
    frames = noted.get("frames")
    return Dataset(
        str(path),
        f"OME-TIFF, {what}",
        images,
        noted.get("verdict"),
        int(frames) if frames and frames.isdecimal() else None,
    )


def _thinned(xml: str) -> str:
    """Return the text without what it says of single planes, which takes long to understand and is not shown.

    Of the blocks of an image that lie in one file, the first stays.
    """
    last: str | None = ""

    def kept(found: re.Match[str]) -> str:
        nonlocal last
        if found[0] == "<Pixels":
            last = ""
        if not found[0].startswith("<TiffData"):
            return found[0] if found[0] == "<Pixels" else ""
        file = _FILE_NAME.search(found[0])
        before, last = last, file[1] if file else None
        return found[0] if last != before else ""

    return _OF_PLANES.sub(kept, xml)


def _image(number: int, name: str | None, pixels: Pixels) -> Image:
    order = pixels.dimension_order.value[::-1].lower()
    sizes = {letter: int(getattr(pixels, f"size_{letter}")) for letter in order}
    axes = tuple(_axis(pixels, letter) for letter in order if sizes[letter] > 1 or letter in "yx")
    files = {block.uuid.file_name for block in pixels.tiff_data_blocks if block.uuid and block.uuid.file_name}
    return Image(
        path="",
        files=tuple(sorted(map(str, files))),
        name=name or "",
        array=str(number),
        shape=tuple(sizes[axis.name] for axis in axes),
        dtype=_DTYPES.get(pixels.type.value, pixels.type.value),
        axes=axes,
        channels=tuple((channel.name or "", _hexadecimal(channel.color)) for channel in pixels.channels),
    )


def _axis(pixels: Pixels, letter: str) -> Axis:
    if letter == "c":
        return Axis("c", "channel")
    field = "time_increment" if letter == "t" else f"physical_size_{letter}"
    quantity: units.Quantity = "time" if letter == "t" else "space"
    scale = getattr(pixels, field)
    unit = getattr(pixels, f"{field}_unit")
    return Axis(letter, quantity, units.ngff_name(unit.value, quantity) if scale is not None and unit else None, scale)


def _hexadecimal(color: Any) -> str | None:
    return color.as_hex(format="long").lstrip("#").upper()[:6] if color is not None else None


def _noted(ome: OME) -> dict[str, str]:
    """Return what this library noted about the run."""
    notes: dict[str, str] = {}
    for annotation in ome.structured_annotations or ():
        if str(annotation.namespace or "").startswith("ome-writers") and hasattr(annotation.value, "ms"):
            notes |= {entry.k: entry.value or "" for entry in annotation.value.ms if entry.k}
    return notes
