"""Given a plan and what happened, this answers: which attributes do the groups of an OME-Zarr 0.5 dataset carry?

1. One image: the root group is the image (NGFF 0.5, "multiscales", "omero").
2. Several positions: the root says `bioformats2raw.layout`, its group `OME` lists the images and holds
   `METADATA.ome.xml`.
3. A plate: the root is the plate, each well lists its fields ("plate", "well").

What NGFF has no words for stands beside it, under `ome_writers`:

in the root group, for the whole dataset
    `version`, `verdict`, `frames` (that came), `planned` (absent without end), `missing`, `error`, the name
    of the `writer`; `coordinates` of the axes that scale and translation cannot say; `channels` with their wavelengths
    (nm), fluorophores, exposure times (s) and offsets in z. And, for those who want to see it in order of acquisition,
    `dimensions` and `axes` (see `cube_facts.described`), and the paths of the `arrays`: the dimensions that are no axes
    count them, that of the positions slowest.
in the group of each image, for that image
    `version`, `verdict`, `frames`, `planned`, `missing`; its `position` (stage coordinates, well, grid place); `loops`
    that chose it beside the position, with the `camera` if there are several; `coordinates`, where they are not those
    of the whole; `planes`, where not every one is planned: boxes of those that are, as lists of indices along each
    axis; `frame_metadata`, a list of what came with its frames, each with the `storage_index` of its frame
    (`_storage_index`, if what came has such a key itself).

Where the root is the image, both stand there. `missing` lists frame numbers as ranges, first and last:
`[[3, 5], [9, 9]]`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from ome_writers import ngff_models as ngff
from ome_writers._version import __version__
from ome_writers.axes import Axis, stage_axes, stage_of
from ome_writers.cube_facts import described
from ome_writers.documents import Document, Outcome, Stamp
from ome_writers.gaps import frames_in
from ome_writers.images import (
    Image,
    Tally,
    axes_of,
    channel_dimension,
    images_of,
    planes_held,
    shapes_of,
    tally,
)
from ome_writers.omexml import metadata_xml
from ome_writers.plan import Plan
from ome_writers.records import JSON, PlacedRecords, Record
from ome_writers.settings import Plate

OPTICS: Final = ("excitation_wavelength_nm", "emission_wavelength_nm", "fluorophore", "exposure_time", "z_offset")
"""What is said of channels beside their names and colours."""
_MANY: Final = 10_000
"""Frames with metadata of an image, which are not held at once where that is not needed."""


def zarr_documents(plan: Plan, stamp: Stamp, outcome: Outcome) -> tuple[Document, ...]:
    """Return the attributes of every group of an OME-Zarr dataset, parents first, and its OME-XML if there is any."""
    shapes = shapes_of(plan, outcome)
    images = images_of(plan, shapes)
    axes = axes_of(plan)
    counts = tally(plan, outcome)
    records = _records(plan, outcome)
    held = planes_held(plan, shapes)
    groups: dict[str, Record] = {path: {} for path in plan.layout.groups}
    for image, shape in zip(images, shapes, strict=True):
        groups[posixpath.dirname(image.spec.path)] = {
            "ome": ngff.as_json(ngff.Ome(multiscales=(_multiscale(image),), omero=_omero(image, shape))),
            "ome_writers": _image_facts(plan, outcome, image, counts, records.get(image.array))
            | _own_facts(image, axes, held.get(image.array)),
        }
    paths = [posixpath.dirname(image.spec.path) for image in images]
    if plan.settings.plate is not None:
        groups |= _plate(plan.settings.plate, paths)
    elif paths != [""]:
        groups[""] = {"ome": ngff.as_json(ngff.Ome(bioformats2raw_layout=3))}
        groups["OME"] = {"ome": ngff.as_json(ngff.Ome(series=tuple(paths)))}
    facts = groups[""].get("ome_writers", {})
    groups[""]["ome_writers"] = _dataset_facts(plan, outcome, axes) | (facts if isinstance(facts, dict) else {})
    groups[""] |= outcome.globals
    made = [Document(path, "group", attributes) for path, attributes in groups.items()]
    if "OME" in groups and plan.settings.plate is None:
        made.append(Document("OME/METADATA.ome.xml", "xml", metadata_xml(plan, stamp, outcome)))
    return tuple(made)


# ── images ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _multiscale(image: Image) -> ngff.Multiscale:
    axes = image.axes
    stage, along = stage_of(image.position), stage_axes(axes)
    moved = {along[name].name: place for name, place in stage.items() if name in along}
    scale = [axis.scale or 1.0 for axis in axes]
    translation = [axis.origin + moved.get(axis.name, 0.0) for axis in axes]
    steps = [ngff.Transformation("scale", scale=tuple(scale))]
    if any(translation):
        steps.append(ngff.Transformation("translation", translation=tuple(translation)))
    return ngff.Multiscale(
        name=image.name,
        axes=tuple(_axis(axis) for axis in axes),
        datasets=(ngff.Dataset(path=posixpath.basename(image.spec.path), coordinate_transformations=tuple(steps)),),
    )


def _axis(axis: Axis) -> ngff.Axis:
    # A custom axis may go without a type, but the official schema takes such a one for an axis of space.
    type_ = axis.dimension.type or "other"
    return ngff.Axis(name=axis.name, type=type_, unit=axis.dimension.unit if type_ != "channel" else None)


def _omero(image: Image, shape: tuple[int, ...]) -> ngff.Omero:
    """Return how an image is shown. Viewers ask this of every image, so that one without channels has one too."""
    dtype = np.dtype(image.spec.dtype)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (0, 1)
    window = ngff.Window(min=int(low), max=int(high), start=int(low), end=int(high))
    depth = next((size for axis, size in zip(image.axes[:-2], shape, strict=False) if axis.role == "Z"), 1)
    return ngff.Omero(
        channels=tuple(ngff.OmeroChannel(label=hue.name, color=hue.color[1:7], window=window) for hue in image.hues),
        rdefs=ngff.RenderingDefs(
            default_t=0, default_z=depth // 2, model="color" if len(image.hues) > 1 else "greyscale"
        ),
    )


def _records(plan: Plan, outcome: Outcome) -> dict[int, PlacedRecords]:
    """Return what came with the frames, by array."""
    places = np.array(sorted(outcome.records), np.int64)
    rows = plan.rows_at(places)
    order = np.argsort(rows["array"], kind="stable")
    places, rows = places[order], rows[order]
    cuts = np.flatnonzero(np.diff(rows["array"])) + 1
    parts = zip(np.split(places, cuts), np.split(rows, cuts), strict=True) if len(places) else ()
    return {int(here["array"][0]): PlacedRecords(outcome.records, mine, here["index"]) for mine, here in parts}


# ── what NGFF has no words for ────────────────────────────────────────────────────────────────────────────────────────


def _image_facts(plan: Plan, outcome: Outcome, image: Image, counts: Tally, records: PlacedRecords | None) -> Record:
    facts: Record = {"version": __version__, "verdict": outcome.verdict, "frames": int(counts.came[image.array])}
    if counts.planned is not None:
        facts["planned"] = int(counts.planned[image.array])
    facts["missing"] = counts.missing[image.array].tolist()
    if plan.settings.position_dimension_index is not None:
        facts["position"] = _position(image)
    if image.fan:
        facts["loops"] = dict(image.fan)
    if records:
        many = outcome.placed and len(records) > _MANY
        facts["frame_metadata"] = cast("list[JSON]", records) if many else list[JSON](records)
    return facts


def _own_facts(image: Image, axes: Sequence[Axis], held: Sequence[Sequence[Sequence[int]]] | None) -> Record:
    """Return what is said of an image only where an acquisition is jagged, or has several cameras."""
    facts: Record = {}
    if image.axes != tuple(axes):
        # Also what scale and translation say, where else it would be as in the whole.
        whole: Record = {
            axis.name: list(axis.coords) for axis in image.axes if axis.coords and axis.name in _coordinates(axes)
        }
        if own := whole | _coordinates(image.axes):
            facts["coordinates"] = own
    if image.camera is not None:
        told = {"name": image.camera.name, "model": image.camera.model, "serial_number": image.camera.serial_number}
        facts["camera"] = {name: value for name, value in told.items() if value is not None}
    if held is not None:
        names = [axis.name for axis in image.axes]
        facts["planes"] = [{name: list(elements) for name, elements in zip(names, box, strict=False)} for box in held]
    return facts


def _position(image: Image) -> Record:
    position = image.position
    facts: Record = {}
    for name in ("name", "plate_row", "plate_column", "grid_row", "grid_column"):
        value = getattr(position, name)
        if value is not None:
            facts[name] = value
    return facts | {f"{axis}_coord": value for axis, value in stage_of(position).items()}


def _dataset_facts(plan: Plan, outcome: Outcome, axes: Sequence[Axis]) -> Record:
    facts: Record = {"version": __version__, "verdict": outcome.verdict, "frames": outcome.frames}
    if plan.frames is not None:
        facts["planned"] = plan.frames
    facts["missing"] = frames_in(plan, outcome.gaps).tolist()
    if outcome.error is not None:
        facts["error"] = outcome.error
    if outcome.writer:
        facts["writer"] = outcome.writer
    facts |= described(plan)
    facts["arrays"] = [spec.path for spec in plan.layout.arrays]
    if coordinates := _coordinates(axes):
        facts["coordinates"] = coordinates
    if channels := _channels(plan):
        facts["channels"] = channels
    return facts


def _coordinates(axes: Sequence[Axis]) -> Record:
    """Return the coordinates that scale and translation do not say: uneven ones, and those of custom axes."""
    told: Record = {}
    for axis in axes:
        if axis.coords and not axis.is_even:
            told[axis.name] = list(axis.coords)
        elif axis.dimension.coords and axis.dimension.type not in ("space", "time", "channel"):
            told[axis.name] = [coord for coord in axis.dimension.coords if isinstance(coord, (str, int, float))]
    return told


def _channels(plan: Plan) -> list[JSON]:
    dim = channel_dimension(plan.settings)
    found: list[JSON] = []
    told = False
    for channel in (dim.coords if dim else None) or ():
        values = {name: getattr(channel, name) for name in OPTICS}
        known = {name: value for name, value in values.items() if value is not None}
        told = told or bool(known)
        found.append({"name": channel.name, **known})  # type: ignore[union-attr]
    return found if told else []


# ── plates ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plate(plate: Plate, paths: Sequence[str]) -> dict[str, Record]:
    """Return the attributes of a plate's root and of its wells, from the paths of its images."""
    fields: dict[str, list[str]] = {}
    for path in paths:
        well, _, leaf = path.rpartition("/")
        fields.setdefault(well, []).append(leaf)
    row = {name: index for index, name in enumerate(plate.row_names)}
    column = {name: index for index, name in enumerate(plate.column_names)}
    model = ngff.Plate(
        name=plate.name or "plate",
        rows=tuple(ngff.Name(name) for name in plate.row_names),
        columns=tuple(ngff.Name(name) for name in plate.column_names),
        wells=tuple(ngff.PlateWell(well, row[well.split("/")[0]], column[well.split("/")[1]]) for well in fields),
        field_count=max(len(leaves) for leaves in fields.values()),
    )
    wells: dict[str, Record] = {
        path: {"ome": ngff.as_json(ngff.Ome(well=ngff.Well(images=tuple(ngff.WellImage(leaf) for leaf in leaves))))}
        for path, leaves in fields.items()
    }
    return {"": {"ome": ngff.as_json(ngff.Ome(plate=model))}, **wells}
