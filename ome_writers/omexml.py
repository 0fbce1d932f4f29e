"""Given a plan and what happened, this answers: which OME-XML (2016-06) do its files carry?

1. Each array is an `Image`, with its `Pixels`, channels, a `TiffData` for each plane and a `Plane` for each frame that
   came.
2. A plate, or positions that lie in wells, make a `Plate`, whose `WellSample`s refer to the images.
3. What the schema has no element for stands in map annotations: how the run went (`ome-writers/run`), the grid place,
   well and further loops of an image (`ome-writers/position`), which of its pages are blank (`ome-writers/blank`), what
   else came with a frame (`ome-writers/frame`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from functools import partial
from itertools import chain
from typing import Final, overload

import numpy as np
from attrs import evolve, frozen

from ome_writers._version import __version__
from ome_writers.axes import Axis
from ome_writers.cube_facts import described
from ome_writers.documents import Document, Outcome, Stamp, Text, text_of
from ome_writers.formats import OmeTiffFormat
from ome_writers.gaps import frames_in, ranges_of
from ome_writers.images import (
    Image,
    axes_of,
    images_of,
    listed,
    planes_held,
    shapes_of,
    title_of,
)
from ome_writers.markup import attributes, element, escaped
from ome_writers.omexml_images import channels_of, instrument, pixel_attributes, sizes_of, stage_label
from ome_writers.omexml_pages import MOST_PLANES, NO_PAGES, Pages, pages_of
from ome_writers.omexml_planes import (
    Annotations,
    annotate,
    encode,
    planes,
    structured,
    surroundings,
    tiff_data,
    with_planned,
)
from ome_writers.omexml_plates import plate_of
from ome_writers.plan import Plan
from ome_writers.records import PLANE_KEYS, Record

RUN_NAMESPACE: Final = "ome-writers/run"
"""Namespace of the annotation that says how the run went: `version`, `verdict`, `frames` (that came), `planned`
(absent without end; instead, once it has ended, `reached`: how many rounds of its first dimension there were),
`missing` (numbers of frames, `3-5 9`) and `error`; as JSON, `dimensions` in order of acquisition and `axes` (see
`cube_facts.described`); in OME-TIFF also the names of a `plate`, and `told`: for each value that came with frames and
that a `Plane` may say of planned ones too, the ranges of those frames."""
POSITION_NAMESPACE: Final = "ome-writers/position"
"""Namespace of the annotations with `grid_row`, `grid_column`, `plate_row`, `plate_column` and further loops of an
image."""

BLANK_NAMESPACE: Final = "ome-writers/blank"
"""Namespace of the annotations with `pages`: numbers of the pages, in its file, that stand for planes of an image that
did not come (`3-5 9`)."""

Shapes = tuple[tuple[int, ...], ...]

_SCHEMA: Final = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def tiff_documents(plan: Plan, stamp: Stamp, outcome: Outcome) -> Sequence[Document]:
    """Return the OME-XML of every file of an OME-TIFF dataset, and of the companion file if there is one."""
    format_, files = plan.settings.format, plan.layout.files
    if not isinstance(format_, OmeTiffFormat):
        raise TypeError(f"must be a plan for OME-TIFF; got one for {format_.name}")
    in_set = files != ("",)
    content = _content(plan, stamp, outcome, dict(zip(files, stamp.uuids, strict=False)) if in_set else None)
    uuids, blank, shapes = stamp.uuids[: len(files)], content.blank, content.shapes
    redundant = not in_set or format_.multi_file_metadata == "redundant"
    if redundant and in_set and outcome.placed and outcome.verdict == "running":
        # Each file tells of itself. Of all others they tell at the end: a thousand would be slow to begin with.
        return [
            Document(path, "comment", _ome(own, content.text(k)))
            for k, (path, own) in enumerate(zip(files, uuids, strict=True))
        ]
    if redundant:
        return Copies(files, uuids, content.text(), blank, shapes)
    if format_.multi_file_metadata == "master-tiff":
        main, uuid, others = files[0], uuids[0], list(zip(files, uuids, strict=True))[1:]
        first = _comment(main, _ome(uuid, content.text()), blank, shapes)
    else:
        main, uuid, others = companion_name(plan), stamp.uuids[len(files)], list(zip(files, uuids, strict=True))
        first = Document(main, "xml", _ome(uuid, content.text()))
    reference = element("BinaryOnly", {"MetadataFile": posixpath.basename(main), "UUID": f"urn:uuid:{uuid}"})
    return (first, *(_comment(path, _ome(own, reference), blank, shapes) for path, own in others))


def _comment(
    path: str, text: str | Text, blank: Mapping[str, tuple[int, ...]], shapes: Mapping[str, Shapes]
) -> Document:
    return Document(path, "comment", text, blank_pages=blank.get(path, ()), shapes=shapes.get(path, ()))


def companion_name(plan: Plan) -> str:
    """Return the name of the companion file. Readers would not look for the default, so the folder's name is added."""
    name: str = getattr(plan.settings.format, "companion_file", "")
    return name if name != OmeTiffFormat().companion_file else f"{title_of(plan.settings.root_path)}.{name}"


@frozen
class Copies(Sequence[Document]):
    """One document for each file that differs in the file's UUID only; each is made when it is asked for.

    A set of 1,000 files may have megabytes of metadata, in every file: together they would fill the memory.
    """

    paths: tuple[str, ...]
    uuids: tuple[str, ...]
    content: str | Text
    blank: Mapping[str, tuple[int, ...]]
    """For which arrays those end with blank pages that do."""
    shapes: Mapping[str, Shapes]
    """See `Document.shapes`."""

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | Sequence[Document]:
        if isinstance(index, slice):
            return Copies(self.paths[index], self.uuids[index], self.content, self.blank, self.shapes)
        path = self.paths[index]
        return _comment(path, _ome(self.uuids[index], self.content), self.blank, self.shapes)


def metadata_xml(plan: Plan, stamp: Stamp, outcome: Outcome) -> str:
    """Return the OME-XML that stands beside pixels stored elsewhere: `METADATA.ome.xml` of an OME-Zarr dataset."""
    return str(_ome(stamp.uuids[-1], _content(plan, stamp, outcome, None).text()))


def _ome(uuid: str, content: str | Text) -> str | Text:
    named = {
        "xmlns": _SCHEMA,
        "xmlns:xsi": _INSTANCE,
        "xsi:schemaLocation": f"{_SCHEMA} {_SCHEMA}/ome.xsd",
        "UUID": f"urn:uuid:{uuid}",
        "Creator": f"ome-writers {__version__}",
    }
    begin, end = f'<?xml version="1.0" encoding="UTF-8"?>\n<OME{attributes(named)}>', "</OME>"
    return f"{begin}{content}{end}" if isinstance(content, str) else Text(lambda: chain((begin,), content, (end,)))


@frozen
class _Content:
    """What stands in the root element."""

    plan: Plan
    outcome: Outcome
    date: str
    """When the acquisition began."""
    uuids: Mapping[str, str] | None
    """Those of the files of a set, by path."""
    axes: Sequence[Axis]
    images: Sequence[Image]
    pages: Sequence[Pages]
    """Of all arrays."""
    array_shapes: Shapes
    common: Annotations
    """Those that belong to the document as a whole."""
    run: str
    """The reference to the one that says how the run went."""
    own: tuple[str, str] | None
    """Name and UUID of the file, if it is the only one and has no page for some of its planes."""
    blank: Mapping[str, tuple[int, ...]]
    """For which arrays those files end with blank pages that do."""
    shapes: Mapping[str, Shapes]
    """See `Document.shapes`; by path of the file."""

    def text(self, number: int | None = None) -> str | Text:
        """Return all of it, or what concerns one image."""
        images = self.images if number is None else self.images[number : number + 1]
        made = text_of(partial(self.pieces, images))
        # Only writers that have placed all pages take what is too long to be held at once.
        return made if self.outcome.placed else str(made)

    def pieces(self, images: Sequence[Image]) -> Iterator[str]:
        """Yield the text that concerns these images, some thousand planes at a time."""
        annotations = dict(self.common)
        yield plate_of(self.plan, images, self.axes)
        yield instrument(images)
        for image in images:
            yield from self._image(image, annotations)
        yield from structured(annotations)

    def _image(self, image: Image, annotations: Annotations) -> Iterator[str]:
        in_tiff = self.plan.settings.format.name == "ome-tiff"
        shape, pages = self.array_shapes[image.array], self.pages[image.array]
        sizes, number, path = sizes_of(image.axes, shape), image.spec.image, image.spec.path
        yield (
            f'<Image ID="Image:{number}" Name="{escaped(image.name)}"><AcquisitionDate>{self.date}</AcquisitionDate>'
            + ("" if image.camera is None else element("InstrumentRef", {"ID": "Instrument:0"}))
            + stage_label(image)
            + f'<Pixels ID="Pixels:{number}"{attributes(sizes)}{pixel_attributes(image)}>'
            + channels_of(image, sizes["SizeC"])
        )
        if in_tiff:
            file = (posixpath.basename(path), self.uuids[path]) if self.uuids else None
            # Bio-Formats takes a file for one of a set, and planes without a page for blank ones, if not all `TiffData`
            # say the same of where they lie. Else it takes the pages, however many, for all planes of each image.
            yield from tiff_data(pages, file, self.own if number == self.images[0].spec.image else None)
        else:
            yield "<MetadataOnly/>"
        around = surroundings(image)
        yield from planes(pages, around, self.outcome.records, annotations if in_tiff else None)
        yield f"</Pixels>{self.run}{_position(image, annotations)}{_blank(pages, annotations)}</Image>"


def _content(plan: Plan, stamp: Stamp, outcome: Outcome, uuids: Mapping[str, str] | None) -> _Content:
    """Return all that stands in the root element; `uuids` are those of the files of a set, by path."""
    in_tiff = plan.settings.format.name == "ome-tiff"
    shapes, axes = shapes_of(plan, outcome), axes_of(plan)
    images = images_of(plan, shapes)
    pages, blank = [NO_PAGES] * len(images), dict[str, tuple[int, ...]]()
    told = evolve(outcome, records=with_planned(plan, outcome))
    if in_tiff or (plan.frames or outcome.cursor) <= MOST_PLANES:
        pages, blank = pages_of(plan, told, shapes, axes)
    if in_tiff:
        # In a file of others, an image that was not reached has no page, and is left out.
        images = tuple(image for image in images if pages[image.array].any)
    annotations: Annotations = {}
    run = annotate(annotations, RUN_NAMESPACE, _run(plan, outcome, in_tiff=in_tiff))
    for namespace, values in outcome.globals.items() if in_tiff else ():
        annotate(annotations, namespace, values, encode)
    left: dict[str, list[tuple[int, ...]]] = {}
    if outcome.placed and outcome.verdict != "running":
        for spec, shape in zip(plan.layout.arrays, shapes, strict=True):
            left.setdefault(spec.path, []).append(shape)
    own = None
    if in_tiff and uuids is None and planes_held(plan, shapes):
        own = posixpath.basename(plan.settings.output_path.replace("\\", "/")), stamp.uuids[0]
    return _Content(
        plan=plan,
        outcome=told,
        own=own,
        date=stamp.now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        uuids=uuids,
        axes=axes,
        images=images,
        pages=pages,
        array_shapes=shapes,
        common=annotations,
        run=run,
        blank=blank,
        shapes={path: tuple(mine) for path, mine in left.items()},
    )


def _told(plan: Plan, outcome: Outcome) -> Record:
    """Return with which frames each of the values came that a `Plane` says of planned ones too."""
    found: dict[str, list[int]] = {key: [] for key in sorted(PLANE_KEYS)}
    for place, record in outcome.records.items():
        for key in record.keys() & PLANE_KEYS:
            found[key].append(place)
    columns = {key: plan.rows_at(sorted(places))["frame"] for key, places in found.items() if places}
    return {key: ranges_of(np.sort(frames)).tolist() for key, frames in columns.items()}


def _run(plan: Plan, outcome: Outcome, *, in_tiff: bool) -> Record:
    missing = listed(frames_in(plan, outcome.gaps))
    facts: Record = {"version": __version__, "verdict": outcome.verdict, "frames": outcome.frames}
    if plan.frames is not None:
        facts["planned"] = plan.frames
    elif outcome.verdict != "running" and plan.outermost_axis is not None:
        # An image may be left out to which no frame came, though the others cannot tell how far it went.
        facts["reached"] = max(shape[plan.outermost_axis] for shape in plan.shapes(outcome.told))
    if missing:
        facts["missing"] = missing
    if outcome.error is not None:
        facts["error"] = outcome.error
    if in_tiff and (plate := plan.settings.plate) is not None:
        facts["plate"] = encode({"name": plate.name, "rows": plate.row_names, "columns": plate.column_names})
    if in_tiff and (told := _told(plan, outcome)):
        facts["told"] = encode(told)
    return facts | {name: encode(value) for name, value in described(plan).items()}


def _position(image: Image, annotations: Annotations) -> str:
    """Annotate the image with what no element holds, and return a reference."""
    position = image.position
    names = ("grid_row", "grid_column", "plate_row", "plate_column")
    places = {name: getattr(position, name) for name in names if getattr(position, name) is not None}
    facts = places | image.fan
    return annotate(annotations, POSITION_NAMESPACE, facts) if facts else ""


def _blank(pages: Pages, annotations: Annotations) -> str:
    """Annotate the image with what stands for planes that did not come, and return a reference."""
    numbers = np.unique(pages.blanks)
    return annotate(annotations, BLANK_NAMESPACE, {"pages": listed(ranges_of(numbers))}) if len(numbers) else ""
