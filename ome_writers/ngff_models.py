"""The words of OME-Zarr 0.5, as frozen classes, and how they become JSON: names in camel case, nothing for `None`.

Fields are named as in NGFF 0.5, the section that each class quotes; what is not there, this package does not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from attrs import field, fields, frozen
from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from ome_writers.layout import NGFF_VERSION
from ome_writers.records import Record


@frozen
class Axis:
    """NGFF "axes": a loop, or an axis of space."""

    name: str
    type: str
    unit: str | None = None


@frozen
class Transformation:
    """NGFF "coordinateTransformations": from indices to places, one number an axis."""

    type: str
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None


@frozen
class Dataset:
    """NGFF "multiscales": one level of resolution."""

    path: str
    coordinate_transformations: tuple[Transformation, ...]


@frozen
class Multiscale:
    """NGFF "multiscales": an image."""

    name: str
    axes: tuple[Axis, ...]
    datasets: tuple[Dataset, ...]
    type: str = "none"
    """How smaller levels were made: there are none."""
    metadata: dict[str, str] = field(factory=lambda: {"description": "one level, at full resolution"})


@frozen
class Window:
    """NGFF "omero": the values that the dtype holds, and those that are shown."""

    min: int
    max: int
    start: int
    end: int


@frozen
class OmeroChannel:
    """NGFF "omero": how a channel is shown; `color` is RRGGBB."""

    label: str
    color: str
    window: Window
    active: bool = True


@frozen
class RenderingDefs:
    """NGFF "omero": where a viewer begins."""

    default_t: int
    default_z: int
    model: str


@frozen
class Omero:
    """NGFF "omero": how an image is shown."""

    channels: tuple[OmeroChannel, ...]
    rdefs: RenderingDefs


@frozen
class Name:
    """NGFF "plate": a row or a column."""

    name: str


@frozen
class PlateWell:
    """NGFF "plate": where a well lies."""

    path: str
    row_index: int
    column_index: int


@frozen
class Plate:
    """NGFF "plate": rows, columns, and the wells that were acquired."""

    name: str
    rows: tuple[Name, ...]
    columns: tuple[Name, ...]
    wells: tuple[PlateWell, ...]
    field_count: int = field(metadata={"name": "field_count"})
    version: str = NGFF_VERSION


@frozen
class WellImage:
    """NGFF "well": a field of view."""

    path: str


@frozen
class Well:
    """NGFF "well": its fields of view."""

    images: tuple[WellImage, ...]
    version: str = NGFF_VERSION


@frozen
class Ome:
    """What stands under `ome` in a group; the fields that are given say which kind of group it is."""

    version: str = NGFF_VERSION
    multiscales: tuple[Multiscale, ...] | None = None
    omero: Omero | None = None
    plate: Plate | None = None
    well: Well | None = None
    series: tuple[str, ...] | None = None
    bioformats2raw_layout: int | None = field(default=None, metadata={"name": "bioformats2raw.layout"})


_MODELS = (
    *(Name, Window, Axis, Transformation, WellImage, RenderingDefs, PlateWell),
    *(Dataset, Multiscale, OmeroChannel, Omero, Plate, Well, Ome),
)


def as_json(ome: Ome) -> Record:
    """Return what stands under `ome` as plain JSON values.

    Examples
    --------
    >>> as_json(Ome(bioformats2raw_layout=3))
    {'version': '0.5', 'bioformats2raw.layout': 3}
    """
    made: Record = _converter().unstructure(ome)
    return made


@cache
def _converter() -> Converter:
    converter = Converter(unstruct_collection_overrides={Sequence: list})
    for cls in _MODELS:  # parts before wholes, whose functions look theirs up when they are made
        names = {
            one.name: override(rename=one.metadata.get("name", _camel(one.name)), omit_if_default=one.default is None)
            for one in fields(cls)
        }
        converter.register_unstructure_hook(cls, make_dict_unstructure_fn(cls, converter, **names))  # type: ignore[arg-type]
    return converter


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)
