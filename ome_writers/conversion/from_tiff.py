"""Given an OME-TIFF of any origin, in one file or several, this answers what was recorded there.

The text is read element by element: models of 100,000 planes would take half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import numpy as np
from attrs import evolve, frozen

from ome_writers import units
from ome_writers.casts import row_name
from ome_writers.conversion.from_zarr import fans_of, of_run, with_channels
from ome_writers.conversion.recording import Recording, Tell, colors_as_channels, jagged, letters_of
from ome_writers.datasets.facts import Facts, facts_from, plan_of, run_noted
from ome_writers.datasets.tiff import ome_xml
from ome_writers.items import Channel, Position
from ome_writers.jsontext import value_in
from ome_writers.omexml import POSITION_NAMESPACE
from ome_writers.omexml_planes import FRAME_NAMESPACE
from ome_writers.records import Record
from ome_writers.settings import AcquisitionSettings, Dimension, Plate
from ome_writers.sources import Frames, SourceError, images_from

_TO_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TO_UM: Final = {"µm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "pm": 1e-6, "Å": 1e-4}
_PLANE: Final = {
    "DeltaT": ("delta_t", "DeltaTUnit", _TO_SECONDS, "s"),
    "ExposureTime": ("exposure_time", "ExposureTimeUnit", _TO_SECONDS, "s"),
    "PositionX": ("position_x", "PositionXUnit", _TO_UM, "reference frame"),
    "PositionY": ("position_y", "PositionYUnit", _TO_UM, "reference frame"),
    "PositionZ": ("position_z", "PositionZUnit", _TO_UM, "reference frame"),
}
"""Attribute of a plane -> our key, attribute of its unit, what to multiply by, and the unit that is meant without."""
Notes = Mapping[str, tuple[str, dict[str, Any]]]
"""Map annotations by ID: namespace and values."""


@frozen(eq=False)
class _Text:
    """What a text says."""

    images: Sequence[ET.Element]
    numbers: Sequence[int]
    """Number of each image. Of ours, one to which no frame came is left out."""
    notes: Notes
    noted: Mapping[str, Any]
    """What we noted of the run."""
    facts: Facts | None


def ome_tiff_recording(file: Path, name: str) -> Recording | None:
    """Return what was recorded in a file and those that belong to it; `None` if it has no OME-XML."""
    import tifffile

    with tifffile.TiffFile(file) as tif:
        text = ome_xml(file, tif.ome_metadata)
    if not text:
        return None
    try:
        root = ET.fromstring(text)  # noqa: S314 - tifffile parses it as well
    except ET.ParseError as error:
        raise SourceError(f"{file}: its OME-XML cannot be read: {error}") from error
    images = list(root.iterfind("{*}Image"))
    if not images:
        raise SourceError(f"{file}: its OME-XML describes no image")
    noted = run_noted(root)
    facts = facts_from(noted)
    notes = _notes(root)
    found = [colors_as_channels(part) for part in images_from(file)]
    numbers = list(range(len(images)))
    if facts is not None:
        numbers = [int(image.attrib["ID"].removeprefix("Image:")) for image in images]
    parts: list[Frames | None] = [None] * (max(numbers) + 1)
    for number, part in zip(numbers, found, strict=True):
        parts[number] = part
    said = _Text(images, numbers, notes, noted, facts)
    known = None if facts is None else jagged(facts, parts, "ome-tiff")
    return Recording(
        name=name,
        parts=parts,
        tell=_records(said, parts),
        globals={
            space: values
            for space, values in notes.values()
            if facts is not None and not space.startswith("ome-writers/")
        },
        **(_even(root, said, parts, found[0].dtype) if known is None else known),
        **of_run(facts),
    )


def _even(root: ET.Element, said: _Text, parts: Sequence[Frames | None], dtype: str) -> dict[str, Any]:
    """Return what a recording says of images that are alike."""
    images, facts = said.images, said.facts
    dims: tuple[Dimension, ...]
    fans: tuple[str, ...]
    if facts is None:
        dims, fans = _plain_dimensions(images), ("p",) if len(images) > 1 else ()
    else:
        dims, fans = facts.dimensions, fans_of(facts)
    dims = _with_positions(dims, said, _wells(root))
    listed = said.noted.get("dimensions", ())
    told = facts is None or any(one.get("type") == "channel" and one.get("coords") for one in listed)
    dims = with_channels(dims, _channels(images, dims, fans), told=told)
    plate = _plate(root, said.noted, facts)
    return {
        "settings": AcquisitionSettings(dimensions=dims, dtype=dtype, plate=plate),
        "axes": letters_of(parts, dims[:-2], fans),
        "fans": fans,
    }


def _notes(root: ET.Element) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        note.get("ID", ""): (
            note.get("Namespace", ""),
            {one.get("K", ""): _plain(one.text or "") for one in note.iterfind("{*}Value/{*}M")},
        )
        for note in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation")
    }


def _plain(text: str) -> Any:
    """Return the value that `omexml_planes.map_text` made this text from."""
    try:
        return value_in(text)
    except ValueError:
        return text


# ── dimensions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plain_dimensions(images: Sequence[ET.Element]) -> tuple[Dimension, ...]:
    """Return the dimensions of an OME-TIFF of others: those of its pixels, and one of positions."""
    every = [_pixels(image) for image in images]
    first = every[0]
    dims = [Dimension(name="p", type="position", count=len(images))] if len(images) > 1 else []
    for role in first.get("DimensionOrder", "XYZCT")[:1:-1]:
        count = max(int(one.get(f"Size{role}", "1")) for one in every)
        if count > 1 or (role == "C" and _is_described(first)):
            dims.append(_dimension(first, role, count))
    return (*dims, *(_dimension(first, role, int(first.attrib[f"Size{role}"])) for role in "YX"))


def _is_described(pixels: ET.Element) -> bool:
    return any(channel.get("Name") for channel in pixels.iterfind("{*}Channel"))


def _pixels(image: ET.Element) -> ET.Element:
    pixels = image.find("{*}Pixels")
    if pixels is None:
        raise SourceError(f"{image.get('ID')} has no Pixels")
    return pixels


def _dimension(pixels: ET.Element, role: str, count: int) -> Dimension:
    name = role.lower()
    if role == "C":
        return Dimension(name=name, type="channel", count=count)
    field = "TimeIncrement" if role == "T" else f"PhysicalSize{role}"
    quantity: units.Quantity = "time" if role == "T" else "space"
    text = pixels.get(field)
    unit = units.ngff_name(pixels.get(f"{field}Unit", "s" if role == "T" else "µm"), quantity)
    scale = float(text) if text and unit else None
    return Dimension(name=name, type=quantity, count=count, scale=scale, unit=unit if scale is not None else None)


def _with_positions(
    dims: Sequence[Dimension], said: _Text, wells: Mapping[str, tuple[str, str]]
) -> tuple[Dimension, ...]:
    """Return dimensions that say where the positions are."""
    axes = said.noted.get("axes") or [dim.name for dim in dims if dim.type != "position"]
    # Positions go slowest among what chooses an image.
    each = prod(dim.count or 1 for dim in dims[:-2] if dim.name not in axes and dim.type != "position")
    names = next((one.get("coords") for one in said.noted.get("dimensions", ()) if one["type"] == "position"), None)
    described = {number // each: image for number, image in reversed(list(zip(said.numbers, said.images, strict=True)))}
    titles = [image.get("Name") or "" for image in said.images]
    differ = all(titles) and len(set(titles)) == len(titles)
    made = []
    for dim in dims:
        positions = []
        for place in range(dim.count or 1) if dim.type == "position" else ():
            image = described.get(place)
            title = image.get("Name") if image is not None and differ else None
            positions.append(_position(image, names[place] if names else title or str(place), said.notes, wells))
        made.append(evolve(dim, coords=tuple(positions)) if positions else dim)
    return tuple(made)


def _position(image: ET.Element | None, name: str, notes: Notes, wells: Mapping[str, tuple[str, str]]) -> Position:
    if image is None:
        return Position(name=name)
    facts: dict[str, Any] = {}
    label = image.find("{*}StageLabel")
    if label is not None:
        facts = {f"{axis.lower()}_coord": float(label.attrib[axis]) for axis in "XYZ" if axis in label.attrib}
    if (well := wells.get(image.get("ID", ""))) is not None:
        facts |= {"plate_row": well[0], "plate_column": well[1]}
    for space, values in _referred(image, notes):
        if space == POSITION_NAMESPACE:
            facts |= {key: values[key] for key in ("grid_row", "grid_column") if key in values}
            facts |= {key: str(values[key]) for key in ("plate_row", "plate_column") if key in values}
    return Position(name=name, **facts)


def _referred(element: ET.Element, notes: Notes) -> list[tuple[str, dict[str, Any]]]:
    ids = [reference.get("ID", "") for reference in element.iterfind("{*}AnnotationRef")]
    return [notes[one] for one in ids if one in notes]


# ── channels and plates ───────────────────────────────────────────────────────────────────────────────────────────────


def _channels(images: Sequence[ET.Element], dims: Sequence[Dimension], fans: Sequence[str]) -> list[Channel]:
    dim = next((dim for dim in dims if dim.type == "channel"), None)
    if dim is None:
        return []
    elements = list(_pixels(images[0]).iterfind("{*}Channel"))
    if dim.name in fans:
        inner = 1
        for name in fans[fans.index(dim.name) + 1 :]:
            inner *= next(one.count or 1 for one in dims if one.name == name)
        elements = [one for image in images[::inner] for one in list(_pixels(image).iterfind("{*}Channel"))[:1]]
    made = []
    for number, element in enumerate(elements[: dim.count]):
        lengths = {
            f"{kind.lower()}_wavelength_nm": _nanometers(element, f"{kind}Wavelength")
            for kind in ("Excitation", "Emission")
        }
        color = element.get("Color")
        made.append(
            Channel(
                name=element.get("Name") or f"Channel {number}",
                color=_hexadecimal(int(color)) if color else None,
                fluorophore=element.get("Fluor"),
                **lengths,
            )
        )
    return made


def _nanometers(element: ET.Element, name: str) -> float | None:
    text = element.get(name)
    factor = _TO_UM.get(element.get(f"{name}Unit", "nm"))
    return round(float(text) * factor * 1000, 9) if text and factor else None


def _hexadecimal(color: int) -> str:
    """Return OME-XML's signed 32-bit colour as `#RRGGBB`, with alpha unless it is opaque."""
    text = f"#{color & 0xFFFFFFFF:08X}"
    return text[:7] if text.endswith("FF") else text


def _wells(root: ET.Element) -> dict[str, tuple[str, str]]:
    """Return row and column of each image that lies in a well, by its ID."""
    found = {}
    for plate in root.iterfind("{*}Plate"):
        rows, columns = plate.get("RowNamingConvention", "letter"), plate.get("ColumnNamingConvention", "number")
        for well in plate.iterfind("{*}Well"):
            place = _named(int(well.get("Row", "0")), rows), _named(int(well.get("Column", "0")), columns)
            for reference in well.iterfind("{*}WellSample/{*}ImageRef"):
                found[reference.get("ID", "")] = place
    return found


def _named(number: int, convention: str) -> str:
    return row_name(number) if convention == "letter" else str(number + 1)


def _plate(root: ET.Element, noted: Mapping[str, Any], facts: Facts | None) -> Plate | None:
    if said := noted.get("plate"):
        return Plate(name=said["name"], row_names=said["rows"], column_names=said["columns"])
    plate = root.find("{*}Plate")
    if facts is not None or plate is None:
        return None
    wells = [(int(well.get("Row", "0")), int(well.get("Column", "0"))) for well in plate.iterfind("{*}Well")]
    rows, columns = (
        max([int(plate.get(name, "0")), *(well[axis] + 1 for well in wells)])
        for axis, name in enumerate(("Rows", "Columns"))
    )
    return Plate(
        name=plate.get("Name"),
        row_names=[_named(number, plate.get("RowNamingConvention", "letter")) for number in range(rows)],
        column_names=[_named(number, plate.get("ColumnNamingConvention", "number")) for number in range(columns)],
    )


# ── what came with frames ─────────────────────────────────────────────────────────────────────────────────────────────


def _records(said: _Text, parts: Sequence[Frames | None]) -> Tell:
    """Return what came with frames. Of ours that is what `told` lists, since planes also say what was planned."""
    told = None if said.facts is None else _frames_told(said.noted, said.facts)
    found: dict[tuple[int, int], Record] = {}
    for number, image in zip(said.numbers, said.images, strict=True):
        axes = part.axes if (part := parts[number]) else ()
        for plane in _pixels(image).iterfind("{*}Plane"):
            place = 0
            for letter, length in axes:
                place = place * length + int(plane.get(f"The{letter.upper()}", "0"))
            record = _of_plane(plane, (number, place), told)
            for space, values in _referred(plane, said.notes):
                record |= values if space == FRAME_NAMESPACE else {}
            if record:
                found[number, place] = record
    return lambda image, number: found.get((image, number))


def _of_plane(plane: ET.Element, frame: tuple[int, int], told: Mapping[str, set[tuple[int, int]]] | None) -> Record:
    """Return the values of a plane that came with its frame."""
    record: Record = {}
    for attribute, (key, unit, factors, usual) in _PLANE.items():
        factor = factors.get(plane.get(unit, usual))
        if attribute in plane.attrib and factor is not None and (told is None or frame in told.get(key, ())):
            value = value_in(plane.attrib[attribute])
            record[key] = value if factor == 1 else value * factor
    return record


def _frames_told(noted: Mapping[str, Any], facts: Facts) -> dict[str, set[tuple[int, int]]]:
    """Return for each key the frames that came with it: image, and number in there in storage order."""
    stretches = noted.get("told")
    if not isinstance(stretches, dict) or not stretches:
        return {}
    plan = plan_of(facts, "ome-tiff")
    shapes = plan.shapes(facts.cursor)
    rows = plan.rows(0, facts.cursor)
    place = np.zeros(len(rows), np.int64)
    for axis in range(len(shapes[0]) - 2):
        lengths = np.array([shape[axis] for shape in shapes])
        place = place * lengths[rows["array"]] + rows["index"][:, axis]
    by_frame = np.argsort(rows["frame"])
    found = {}
    for key, ranges in stretches.items():
        frames = np.concatenate([np.arange(first, last + 1) for first, last in ranges])
        at = by_frame[frames]
        found[key] = set(zip(rows["array"][at].tolist(), place[at].tolist(), strict=True))
    return found
