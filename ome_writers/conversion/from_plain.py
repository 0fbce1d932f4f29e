"""Given images that say little of themselves, this answers what was recorded there.

Such are .npy, plain TIFF, folders of images, and the stacks of ImageJ and Micro-Manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from ome_writers import units
from ome_writers.conversion.micromanager import mm_dimensions, mm_record
from ome_writers.conversion.recording import Recording, Tell, colors_as_channels, in_order, letters_of, named, silent
from ome_writers.jsontext import value_in
from ome_writers.records import Record
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.sources import Frames, frames_from

_TYPES: Any = {"t": "time", "p": "position", "c": "channel", "z": "space"}


def plain_recording(path: Path, axes: str | None) -> Recording:
    """Return what was recorded at a path; `axes` names the axes that nothing else names, the slowest first."""
    part = colors_as_channels(named(frames_from(path), axes))
    dims = plain_dimensions(part)
    tell: Tell = silent
    first = path if path.is_file() else None
    if first is not None and first.suffix.lower() in (".tif", ".tiff"):
        dims, tell = _described(first, part, dims)
    settings = AcquisitionSettings(dimensions=dims, dtype=part.dtype)
    return Recording(name=str(path), settings=settings, parts=(part,), axes=letters_of((part,), dims[:-2]), tell=tell)


def plain_dimensions(part: Frames) -> tuple[Dimension, ...]:
    """Return the dimensions of frames, in the order in which microscopes mostly go through them."""
    sizes = dict(part.axes)
    return (
        *(Dimension(name=letter, type=_TYPES[letter], count=sizes[letter]) for letter in in_order(part.axes)),
        *(Dimension(name=name, type="space", count=size) for name, size in zip("yx", part.frame_shape, strict=True)),
    )


def _described(path: Path, part: Frames, dims: tuple[Dimension, ...]) -> tuple[tuple[Dimension, ...], Tell]:
    """Return dimensions with what tags say of them, and what tells of single frames."""
    import tifffile

    with tifffile.TiffFile(path) as tif:
        summary = (tif.micromanager_metadata or {}).get("Summary")
        if isinstance(summary, dict):
            return mm_dimensions(dims, summary), _pages(part)
        if tif.is_imagej:
            return _of_imagej(dims, tif), silent
    return dims, silent


def _pages(part: Frames) -> Tell:
    """Return what tells of the frames of a Micro-Manager stack, whose pages have a tag for it."""
    series = getattr(getattr(part.read, "source", part.read), "series", None)

    def tell(image: int, number: int) -> Record | None:  # noqa: ARG001 - there is one
        page = series.pages[number] if series is not None else None
        return mm_record(_tag(page)) if page is not None else None

    return tell


def _tag(page: Any) -> Mapping[str, Any]:
    """Return the value of the tag 51123, `MicroManagerMetadata`, of a page."""
    import tifffile

    file = page.parent.filehandle
    closed = file.closed
    file.open()
    try:
        if not isinstance(page, tifffile.TiffPage):
            file.seek(page.offset)
            page = tifffile.TiffPage(page.parent, page.index)
        tag = page.tags.get(51123)
        value = tag.value if tag is not None else {}
    finally:
        if closed:
            file.close()
    if isinstance(value, (str, bytes)):
        value = value_in(value)
    return value if isinstance(value, dict) else {}


def _of_imagej(dims: tuple[Dimension, ...], tif: Any) -> tuple[Dimension, ...]:
    """Return dimensions with the calibration of ImageJ: pixels per unit, `spacing`, `finterval` (seconds), labels."""
    said = tif.imagej_metadata or {}
    # ImageJ writes µ as text that looks like an escape.
    unit = units.ngff_name(str(said.get("unit", "")).replace("\\u00B5", "µ"), "space")
    page = tif.pages.first
    per_pixel = {}
    for name, tag in (("x", 282), ("y", 283)):
        if tag in page.tags and unit:
            above, below = page.tags[tag].value
            per_pixel[name] = below / above if above else None
    made = []
    for dim in dims:
        if dim.name in per_pixel:
            made.append(evolve(dim, scale=per_pixel[dim.name], unit=unit))
        elif dim.name == "z" and unit and said.get("spacing"):
            made.append(evolve(dim, scale=abs(float(said["spacing"])), unit=unit))
        elif dim.name == "t" and said.get("finterval"):
            made.append(evolve(dim, scale=float(said["finterval"]), unit="second"))
        else:
            made.append(dim)
    return tuple(made)
