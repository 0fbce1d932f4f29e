"""Given where the pages of an OME-TIFF dataset lie, this reads its images as arrays, with tifffile.

Which page a frame lies on says `pages.py`. A file is whole after each frame: it can be read while it is written.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

import numpy as np
import tifffile
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.cube import Cube, Rectangle
from ome_writers.cube_facts import cube_from
from ome_writers.documents import Outcome
from ome_writers.errors import Malformed, NotADataset
from ome_writers.images import ranges_in
from ome_writers.jsontext import value_in
from ome_writers.layout import MOST_IMAGES
from ome_writers.omexml import RUN_NAMESPACE
from ome_writers.omexml_pages import first_pages, planned_planes
from ome_writers.order import Rows
from ome_writers.pages import paging
from ome_writers.plan import Plan
from ome_writers.readers.tifftext import Described, described, facts_in, files_in, images_in, opened_tiff
from ome_writers.records import with_place
from ome_writers.regular import understood
from ome_writers.run import Run

_MOST_PLANES: Final = 100_000_000
"""Of an image: an OME-XML with more would be larger than the largest text."""
_MOST_FILES: Final = 16
"""Files that are held open at once."""


@frozen(eq=False)
class Pages:
    """Where the frames of one image lie."""

    file: Path
    numbers: NDArray[np.int64]
    """Number of each frame's page in the file, -1 where there is none. Shape: that of the array, without y and x."""
    count: int
    """How many pages the file has."""


class TiffArrays:
    """The images of an OME-TIFF dataset as arrays."""

    def __init__(self, pages: Sequence[Pages], frames: Sequence[tuple[int, int]], dtypes: Sequence[str]) -> None:
        self.pages, self._frames, self.dtypes = pages, frames, dtypes
        self._open: dict[Path, tuple[tifffile.TiffFile, int]] = {}
        """Each with the number of pages that it had when it was opened."""
        self._end = weakref.finalize(self, _close, self._open)

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self.pages[array].numbers.shape + self._frames[array]

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        """Return the pixels in a rectangle."""
        where, frame = self.pages[array], self._frames[array]
        numbers = where.numbers[selection[:-2]]
        height, width = (range(size)[part] for size, part in zip(frame, selection[-2:], strict=True))
        out = np.zeros((*numbers.shape, len(height), len(width)), self.dtypes[array])
        for index in np.ndindex(numbers.shape):
            if (number := int(numbers[index])) >= 0:
                try:
                    page = self._page(where, number)
                except IndexError:  # the run goes on, or was killed, and pages are appended as frames come
                    continue
                except tifffile.TiffFileError as error:
                    raise NotADataset(f"{where.file}: is damaged: {error}") from error
                out[index] = page.asarray().reshape(frame)[selection[-2:]]
        return out

    def page(self, array: int, index: tuple[int, ...]) -> tuple[Path, int | None]:
        """Return the file of a frame, and at which byte its page begins there; `None` if there is none (yet)."""
        where = self.pages[array]
        number = int(where.numbers[index])
        try:
            return where.file, self._page(where, number).offset if number >= 0 else None
        except IndexError:
            return where.file, None

    def _page(self, where: Pages, number: int) -> tifffile.TiffPage:
        path = where.file
        if path in self._open and number >= self._open[path][1]:
            # Pages have come since it was opened, and tifffile does not look for them.
            self._open.pop(path)[0].close()
        if path not in self._open:
            if len(self._open) >= _MOST_FILES:
                self._open.pop(next(iter(self._open)))[0].close()
            self._open[path] = opened_tiff(path), where.count
        page = self._open[path][0].pages[number]
        return page if isinstance(page, tifffile.TiffPage) else page.aspage()


def _close(files: dict[Path, tuple[tifffile.TiffFile, int]]) -> None:
    for file, _ in files.values():
        file.close()


class RunPages(TiffArrays):
    """The images of a run, as far as it has come."""

    def __init__(self, run: Run) -> None:
        arrays = run.plan.layout.arrays
        frames = [(spec.shape[-2] or 1, spec.shape[-1] or 1) for spec in arrays]
        super().__init__((), frames, [spec.dtype for spec in arrays])
        self._run = run
        self._cursor = -1

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape that an array has by now."""
        outcome = self._run.so_far()
        if outcome.cursor != self._cursor:
            self.pages, self._cursor = pages_of(self._run.plan, outcome), outcome.cursor
        return super().shape(array)


def of_run(run: Run) -> RunPages:
    """Return the images that a run has stored."""
    return RunPages(run)


def pages_of(plan: Plan, outcome: Outcome) -> list[Pages]:
    """Return where the frames of each image lie; costs the frames that came."""
    came = np.ones(outcome.cursor, bool)
    came[outcome.missing] = False
    came = came[: outcome.told]
    rows, shapes = plan.rows(0, outcome.told), plan.shapes(outcome.told)
    page = _placed(plan, rows, shapes) if outcome.placed else paging(plan, rows, shapes).numbers
    files: dict[str, int] = {}
    found = []
    for spec, shape, gone in zip(plan.layout.arrays, shapes, _grouped(rows["array"], len(shapes)), strict=True):
        mine = gone[came[gone]]
        numbers = np.full(shape[:-2], -1, np.int64)
        index = tuple(rows["index"][mine].T)
        places = np.ravel_multi_index(index, numbers.shape) if index else np.zeros(len(mine), np.int64)
        numbers.reshape(-1)[places] = page[mine]
        files[spec.path] = max(files.get(spec.path, 0), int(page[mine].max(initial=-1)) + 1)
        found.append(Pages(Path(outcome.root, spec.path), numbers, 0))
    return [evolve(pages, count=files[spec.path]) for pages, spec in zip(found, plan.layout.arrays, strict=True)]


def _placed(plan: Plan, rows: Rows, shapes: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """Return the number of the page of each row, where pages were laid out before the frames came."""
    numbers = np.empty(len(rows), np.int64)
    groups, planned = _grouped(rows["array"], len(shapes)), planned_planes(plan, shapes)
    firsts = first_pages(plan, shapes, planned)
    for mine, first, shape, planes in zip(groups, firsts, shapes, planned, strict=True):
        index = tuple(rows["index"][mine].T)
        numbers[mine] = first + (planes.searchsorted(np.ravel_multi_index(index, shape[:-2])) if index else 0)
    return numbers


def _grouped(groups: NDArray[np.integer[Any]], count: int) -> list[NDArray[np.int64]]:
    """Return for each group the places of its items, in order."""
    ends = np.cumsum(np.bincount(groups, minlength=count))[:-1]
    return np.split(np.argsort(groups, kind="stable"), ends)


# ── from the path alone ───────────────────────────────────────────────────────────────────────────────────────────────

_DTYPES: Final = {"float": "float32", "double": "float64", "bit": "bool", "complex": "complex64"} | {
    "double-complex": "complex128"
}
_ROLES: Final = {"time": "T", "space": "Z"}
"""Type of a dimension -> which of OME-XML's loops it is; others are channels."""


def reopened(path: Path, camera: str | int | None = None) -> tuple[Cube, TiffArrays]:
    """Return the cube and the images of the dataset in a file, or in a folder.

    Raises
    ------
    NotADataset
        If it is no OME-TIFF that this library wrote.
    ValueError
        If it has no such camera.
    """
    found = described(path)
    with understood(found.place):
        facts, shapes, arrays = _arrays(found)
        cube = cube_from(facts, shapes, arrays.dtypes)
    return cube if camera is None else cube_from(facts, shapes, arrays.dtypes, camera), arrays


def _arrays(found: Described) -> tuple[dict[str, Any], list[list[int]], TiffArrays]:
    """Return what is noted of the dimensions, the shapes of the images, and the images."""
    file, text, root = found.file, found.text, found.parsed()
    facts = facts_in(root)
    if "dimensions" not in facts:
        raise Malformed("does not say in which order it was acquired; read it with tifffile")
    axes = [str(name) for name in facts["axes"]]
    types = {str(dim["name"]): dim["type"] for dim in facts["dimensions"]}
    roles = [_ROLES.get(types[name], "C") for name in axes[:-2]]
    images = images_in(root)
    fans = prod(dim["count"] for dim in facts["dimensions"] if dim["name"] not in axes)
    if "held" in facts:
        fans = len(facts["held"])
    if not 0 < fans <= MOST_IMAGES:
        raise Malformed(f"claims to hold {fans} images")
    if len(images) < fans and '<M K="verdict">running</M>' in text:
        # While a run lasts, or if it was killed, each file of a set may tell of itself only.
        for other in files_in(file.parent):
            images |= images_in(described(other).parsed())
    pixels = [images[number].find("{*}Pixels") if number in images else None for number in range(fans)]
    pages = [_pages(one, roles, file) for one in pixels]
    if '<M K="verdict">running</M>' in text:
        # Files may be made when their first frame comes.
        pages = [one if one.file.exists() else evolve(one, numbers=np.full_like(one.numbers, -1)) for one in pages]
        if facts["dimensions"][0]["count"] is None:
            pages = _lengthened(pages, axes.index(str(facts["dimensions"][0]["name"])))
    known = next(one for one in pixels if one is not None)
    every = [known if one is None else one for one in pixels]
    frames = [(int(one.attrib["SizeY"]), int(one.attrib["SizeX"])) for one in every]
    with opened_tiff(file) as tiff:
        if (size := tiff.pages.first.shape[:2]) not in frames:
            raise Malformed(f"claims to hold frames of {frames[0]}; the pages of {file.name} are {size}")
    dtypes = [_DTYPES.get(one.attrib["Type"], one.attrib["Type"]) for one in every]
    arrays = TiffArrays(pages, frames, dtypes)
    shapes = [list(arrays.shape(array)) for array in range(fans)]
    if "reached" in facts:
        outermost = axes.index(str(facts["dimensions"][0]["name"]))
        shapes[0][outermost] = max(shapes[0][outermost], int(facts["reached"]))
    return facts, shapes, arrays


def _lengthened(pages: list[Pages], axis: int) -> list[Pages]:
    """Return the images of a run without end with all rounds that their files have pages for.

    Where pages are appended as frames come, the text tells of the first round only, and the others are like it.
    """
    if any(one.numbers.shape[axis] != 1 for one in pages):
        return pages
    each: dict[Path, int] = {}
    for one in pages:
        each[one.file] = each.get(one.file, 0) + int((one.numbers >= 0).sum())
    found = []
    for one in pages:
        if not each[one.file]:
            found.append(one)
            continue
        with opened_tiff(one.file) as file:
            rounds = -(-len(file.pages) // each[one.file])
        steps = [np.where(one.numbers < 0, -1, one.numbers + turn * each[one.file]) for turn in range(max(1, rounds))]
        found.append(evolve(one, numbers=np.concatenate(steps, axis)))
    return found


def _pages(pixels: ET.Element | None, roles: Sequence[str], file: Path) -> Pages:
    if pixels is None:
        return Pages(file, np.full((1,) * len(roles), -1, np.int64), 0)
    sizes = [int(pixels.attrib[f"Size{role}"]) for role in roles]
    if min(sizes, default=1) < 1 or prod(sizes) > _MOST_PLANES:
        raise Malformed(f"claims to hold {' × '.join(map(str, sizes))} planes")
    numbers = np.full(sizes, -1, np.int64)
    name, own = file.name, False
    for data in pixels.iterfind("{*}TiffData"):
        first, ifd = tuple(int(data.attrib[f"First{role}"]) for role in roles), int(data.attrib["IFD"])
        if (count := int(data.get("PlaneCount", "1"))) == 1:
            numbers[first] = ifd
        else:  # the others follow in storage order
            flat = int(np.ravel_multi_index(first, numbers.shape))
            count = min(count, numbers.size - flat)
            numbers.reshape(-1)[flat : flat + count] = ifd + np.arange(count)
        uuid = data.find("{*}UUID")
        # If one does not say in which file it lies, that is this one, whatever it is called by now.
        own, name = own or uuid is None, name if uuid is None else uuid.attrib["FileName"]
    return Pages(file if own else file.with_name(name), numbers, sys.maxsize)


# ── notes
# ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NOTED: Final = re.compile(rf'<MapAnnotation [^>]*Namespace="{RUN_NAMESPACE}".*?</MapAnnotation>', re.DOTALL)
_ENTRY: Final = re.compile(r'<M K="(\w+)">(.*?)</M>', re.DOTALL)


def noted(path: Path) -> dict[str, Any]:
    """Return what the documents of a dataset say of its run, `{}` if this library did not write it.

    Costs the length of the text, not what it takes to understand it: of long runs it is asked again and again.
    """
    told = described(path)
    annotation = _NOTED.search(told.text)
    said = {} if annotation is None else {name: unescape(value) for name, value in _ENTRY.findall(annotation[0])}
    found: dict[str, Any] = {}
    with understood(told.place):
        for name, value in said.items():
            if name in {"version", "verdict", "error"}:
                found[name] = value
            else:
                found[name] = ranges_in(value) if name == "missing" else value_in(value)
    return found


# ── metadata of frames
# ─────────────────────────────────────────────────────────────────────────────────────────────────

_PLANE_FIELDS: Final = {
    "delta_t": "DeltaT",
    "exposure_time": "ExposureTime",
    "position_x": "PositionX",
    "position_y": "PositionY",
    "position_z": "PositionZ",
}


def frame_metadata(path: Path) -> list[dict[str, Any]]:
    """Return the metadata that came with frames, each with its `array` and `storage_index`.

    Raises
    ------
    NotADataset
        If it is no OME-TIFF that this library wrote.
    """
    told = described(path)
    with understood(told.place):
        return _metadata_in(told.parsed())


def _metadata_in(root: ET.Element) -> list[dict[str, Any]]:
    facts = facts_in(root)
    if "dimensions" not in facts:
        raise Malformed("is no OME-TIFF that ome-writers wrote")
    types = {str(dim["name"]): dim["type"] for dim in facts["dimensions"]}
    roles = [_ROLES.get(types[str(name)], "C") for name in facts["axes"][:-2]]
    notes = {
        annotation.attrib["ID"]: {
            entry.attrib["K"]: _said(entry.text or "") for entry in annotation.iterfind("{*}Value/{*}M")
        }
        for annotation in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation")
    }
    found = []
    for array, image in sorted(images_in(root).items()):
        for plane in image.iterfind("{*}Pixels/{*}Plane"):
            record: dict[str, Any] = {
                name: float(plane.attrib[field]) for name, field in _PLANE_FIELDS.items() if field in plane.attrib
            }
            for reference in plane.iterfind("{*}AnnotationRef"):
                record |= notes.get(reference.attrib["ID"], {})
            if record:
                index = [int(plane.attrib[f"The{role}"]) for role in roles]
                found.append(with_place(record, {"array": array, "storage_index": [*index]}))
    return found


def _said(text: str) -> Any:
    """Return a value of a note: JSON, or else text."""
    try:
        return value_in(text)
    except ValueError:
        return text
