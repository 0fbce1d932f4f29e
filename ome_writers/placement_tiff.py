"""Given a plan of uncompressed OME-TIFF, this answers: in which file, at which byte, does each page lie?

A file has the directories of all its pages (see `tiffpages.py`), so that it is whole before the first frame, and room
for its OME-XML (see `tiffblocks.py`). With an axis without end, blocks of pages are added that hold as many rounds of
it as `growth.py` announces at once.

In a set of files a page is two strips that do not touch: tifffile (all versions so far) reads an image that lies in
another file of a set from the wrong file if its pixels are one stretch of bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from math import prod
from operator import mul
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers import growth
from ome_writers.cuts import Cut, FileSpec, Head, described
from ome_writers.formats import OmeTiffFormat
from ome_writers.layout import ArraySpec, block_shape
from ome_writers.order import Rows
from ome_writers.plan import Plan
from ome_writers.settings import AcquisitionSettings
from ome_writers.tiffblocks import GAP, FilePages
from ome_writers.tiffpages import Page
from ome_writers.units import METERS

_SMALL: Final = 256 << 10
"""Directories of so few bytes are made once for all files that are alike."""
_MOST_ROOM: Final = 1 << 20
"""A longer OME-XML stands at the end of its file: nothing is left of it there when a run stops early."""


@frozen(eq=False, slots=False)
class TiffPlacement:
    """Where the frames of an OME-TIFF dataset lie; made by `place`. Files are numbered as `plan.layout.files`."""

    plan: Plan
    pages: tuple[Page, ...]
    """Of each array."""
    cuts: tuple[Cut, ...]
    _files: tuple[FilePages, ...]
    _where: tuple[tuple[int, int], ...]
    """For each array the number of its file, and its own among those of that file."""

    @property
    def file_count(self) -> int:
        """Number of files."""
        return len(self._files)

    def cut(self, array: int) -> Cut:
        """Return how the frames of an array are cut."""
        return self.cuts[array]

    def stride(self, array: int) -> tuple[int, int]:
        """Return how many bytes it is from page to page of an array, and how many of them are in use."""
        number, member = self._where[array]
        page, cut = self.pages[array], self.cuts[array]
        return self._files[number].strides[member], (cut.runs - 1) * cut.run_stride + page.sizes[-1]

    def at(self, array: int, index: Sequence[int]) -> tuple[int, int]:
        """Return the number of the file, and the byte in it, of the frame at an index of an array."""
        number, steps, firsts, origins = self._quick[array]
        begin = sum(map(mul, index, steps))
        return number, origins[bisect_right(firsts, begin) - 1] + begin

    @cached_property
    def _quick(self) -> tuple[tuple[int, tuple[int, ...], list[int], list[int]], ...]:
        """For each array: its file, and bytes from index to index along its axes; then about its stretches of pages.

        These are: where each begins, if all lay one behind the other from 0 on; and how much further it really lies.
        """
        made: dict[tuple[int, int], tuple[tuple[int, ...], list[int], list[int]]] = {}
        for number, member in self._where:
            file = self._files[number]
            key = id(file), member
            if key not in made:
                stride = file.strides[member]
                firsts = [stretch.first * stride for stretch in file.of[member]]
                origins = [stretch.origin - first for stretch, first in zip(file.of[member], firsts, strict=True)]
                made[key] = tuple(step * stride for step in file.steps[member]), firsts, origins
        return tuple((number, *made[id(self._files[number]), member]) for number, member in self._where)

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Return where the frames at places `start` to `stop` of the plan lie, read-only; costs the stretch asked for.

        Returns
        -------
        As `ZarrPlacement.rows`.

        Raises
        ------
        IndexError
            If the stretch leaves the plan.
        """
        rows = self.plan.rows(start, stop)
        out = described(rows, self.cuts)
        out["file"] = np.array([file for file, _ in self._where], np.int64)[rows["array"]]
        for array in np.unique(rows["array"]).tolist():
            mine = rows["array"] == array
            number, member = self._where[array]
            out["offset"][mine], _ = self._files[number].pages(member, rows["index"][mine])
        out.flags.writeable = False
        return out

    def numbers(self, rows: Rows) -> NDArray[np.int64]:
        """Return the number of the page (`IFD`) in its file of each row of a plan over this layout."""
        out = np.empty(len(rows), np.int64)
        order = np.argsort(rows["array"], kind="stable")
        arrays, starts = np.unique(rows["array"][order], return_index=True)
        # Where there are no rows, there is still an empty part.
        for array, mine in zip(arrays.tolist(), np.split(order, starts[1:]), strict=False):
            number, member = self._where[array]
            _, out[mine] = self._files[number].pages(member, rows["index"][mine])
        return out

    def numbers_at(self, array: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the pages at indices of an array."""
        number, member = self._where[array]
        return self._files[number].pages(member, index)[1]

    def stretches(self, array: int, rounds: int | None) -> Iterator[tuple[int, int, int]]:
        """Yield for each stretch of pages that `rounds` of an endless axis reach into: first page, first round, pages.

        Without such an axis (`None`) all pages of an image follow each other.
        """
        number, member = self._where[array]
        inner, mine = self._files[number].inner[member], self._files[number].of[member]
        if rounds is None:
            yield mine[0].number, 0, inner
            return
        for stretch in mine:
            if stretch.first < rounds * inner:
                yield stretch.number, stretch.first // inner, min(stretch.count, rounds * inner - stretch.first)

    def file(self, number: int) -> FileSpec:
        """Return the name of a file, and its size before the first frame comes."""
        return FileSpec(self.plan.layout.files[number], self.size(number))

    def size(self, number: int, block: int | None = None) -> int:
        """Return how long a file is with its blocks up to that one, by default as it begins."""
        file = self._files[number]
        return file.blocks[file.first_blocks - 1 if block is None else block].end

    def room(self, number: int) -> tuple[int, int]:
        """Return where in a file there is room for OME-XML, and how much."""
        return self._files[number].room

    def head(self, number: int, block: int | None = None) -> Head:
        """Return the header and all directories that a file begins with, or those of one block of pages."""
        return self._files[number].heads() if block is None else self._files[number].head(block)

    def page(self, number: int) -> Page:
        """Return what the directory is like that a file begins with."""
        return self._files[number].kinds[0][0]

    def whole_head(self, number: int) -> bytes | None:
        """Return what a file begins with in one piece, if it is one, and not long."""
        file = self._files[number]
        return file.first_head if file.first_blocks == 1 and file.room[0] <= _SMALL else None

    def link(self, number: int, block: int) -> tuple[int, int]:
        """Return where the pointer to the directories of a block after the first stands, and what it is to say."""
        file = self._files[number]
        return file.next_at(file.blocks[block - 1].after - 1), file.blocks[block].table

    def next_at(self, number: int, page: int) -> int:
        """Return where the pointer to the directory after that of a page stands."""
        return self._files[number].next_at(page)

    def block_at(self, number: int, rounds: int) -> int:
        """Return in which block of a file the last of so many rounds of an endless axis lies."""
        step = self._files[number].step
        return self.first_blocks(number) - 1 if step is None else bisect_left(growth.bounds(step), rounds)

    def page_count(self, number: int, block: int) -> int:
        """Return how many pages a file has with its blocks up to that one."""
        return self._files[number].blocks[block].after

    def first_blocks(self, number: int) -> int:
        """Return how many blocks a file has from the start."""
        return self._files[number].first_blocks

    def block_count(self, number: int) -> int:
        """Return how many blocks a file may ever have."""
        return len(self._files[number].blocks)

    # ── what is left at the end ─────────────────────────────────────────────────────────────────────────────────────

    def in_order(self, number: int, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Return whether the first pages of a file are those of its images once these have `shapes`, one after another.

        In each image they must lie in storage order. If not, `compact` makes directories for which this is so.
        """
        return self._files[number].in_order(shapes)

    def pixels_end(self, number: int, shapes: Sequence[tuple[int, ...]]) -> int:
        """Return where the last pixel of a file lies once its images have `shapes`."""
        return self._files[number].pixels_end(shapes)

    def used(self, number: int, shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
        """Yield from where to where pixels of a file lie once its images have `shapes`, in its order."""
        return self._files[number].used(shapes)

    def compact(self, number: int, shapes: Sequence[tuple[int, ...]], at: int) -> Head:
        """Return directories, beginning at `at`, for the pages of a file once its images have `shapes`."""
        return self._files[number].compact(shapes, at)

    def compact_bytes(self, number: int, shapes: Sequence[tuple[int, ...]]) -> int:
        """Return how long these directories are."""
        return self._files[number].compact_bytes(shapes)


@lru_cache(maxsize=1)
def place_tiff(plan: Plan) -> TiffPlacement:
    """Return where the frames of an OME-TIFF dataset lie."""
    settings, arrays, names = plan.settings, plan.layout.arrays, plan.layout.files
    numbers = {name: number for number, name in enumerate(names)}
    members: list[list[int]] = [[] for _ in names]
    where = []
    for array, spec in enumerate(arrays):
        number = numbers[spec.path]
        where.append((number, len(members[number])))
        members[number].append(array)
    resolution = resolution_of(settings)
    kinds = {kind: _page(*kind, resolution, in_set=len(names) > 1) for kind in map(_kind, arrays)}
    step = growth.step_rounds(plan.layout) if None in arrays[0].shape else None
    # All files but the first have the same room.
    rooms = [_room(settings, number, [arrays[array] for array in members[number]], len(arrays)) for number in (0, -1)]
    made: dict[tuple[object, ...], FilePages] = {}
    files = []
    for number, mine in enumerate(members):
        specs = tuple(arrays[array] for array in mine)
        room = rooms[number > 0]
        alike = (room, *((spec.shape, spec.dtype) for spec in specs))
        if alike not in made:
            made[alike] = FilePages(specs, tuple(kinds[_kind(spec)] for spec in specs), room, step)
        files.append(made[alike])
    pages, cuts = zip(*(kinds[_kind(spec)] for spec in arrays), strict=True)
    return TiffPlacement(plan, pages, cuts, tuple(files), tuple(where))


def _kind(spec: ArraySpec) -> tuple[tuple[int, int], str]:
    height, width = block_shape(spec, "frame")[-2:]
    return (height, width), spec.dtype


def _page(
    shape: tuple[int, int], dtype: str, resolution: tuple[float, float] | None, *, in_set: bool
) -> tuple[Page, Cut]:
    """Return the page of a frame, and how the frame is cut for it."""
    height, width = shape
    size, packed = np.dtype(dtype).itemsize, dtype == "bool"
    row = -(-width // 8) if packed else width * size
    tile, tiled, gap = shape, False, 0
    sizes: tuple[int, ...] = (height * row,)
    # Nobody takes packed bits for a stretch of pixels.
    if in_set and not packed:
        if height > 1:
            top = (height + 1) // 2
            tile, sizes, gap = (top, width), (top * row, (height - top) * row), GAP
        else:
            # One row cannot be cut in two. A tile that is larger than the image is not uninterrupted either.
            tile, tiled = (16, -(-width // 16) * 16), True
            sizes = (prod(tile) * size,)
    page = Page(shape=shape, dtype=dtype, cut=tile, tiled=tiled, sizes=sizes, resolution=resolution)
    return page, Cut(
        parts=(1, 1),
        tiles=(len(sizes), 1),
        tile=tile,
        padded=tiled,
        packed=packed,
        run_bytes=sizes[0],
        run_stride=sizes[0] + gap,
    )


def resolution_of(settings: AcquisitionSettings) -> tuple[float, float] | None:
    """Return the pixels per centimeter along x and y, if both are known and a tag can hold them."""
    known = [(dim.scale, METERS.get(dim.unit or "")) for dim in reversed(settings.frame_dimensions)]
    per_cm = [0.01 / (scale * meters) for scale, meters in known if scale and meters]
    held = [value for value in per_cm if 2.0**-32 < value < 2.0**32]
    return (held[0], held[1]) if len(held) == len(known) else None


def _room(settings: AcquisitionSettings, number: int, specs: Sequence[ArraySpec], images: int) -> int:
    """Return how many bytes a file gets for OME-XML before the first frame: a generous guess at what two texts need.

    For a new one is written beside the one that is in force. If there is not enough room, it goes to the end of the
    file.
    """
    format_ = settings.format
    mode = format_.multi_file_metadata if isinstance(format_, OmeTiffFormat) else "redundant"
    if specs[0].path:
        if mode == "companion-file" or (mode == "master-tiff" and number):
            return 2 * 2048
        if mode == "redundant":
            images = len(specs)
    shape = specs[0].shape[:-2]
    planes = prod(size for size in shape if size is not None) if None not in shape else len(growth.bounds(1))
    channels = max((dim.count or 1 for dim in settings.dimensions[:-2] if dim.type == "channel"), default=1)
    # Letters may need six bytes each, and names come up several times.
    names = 24 * max((len(position.name.encode()) for position in settings.positions), default=0)
    names += 24 * len(settings.root_path.encode())
    each = 4096 + names + 1024 * channels + 256 * planes
    return min(2 * (8192 + images * each), _MOST_ROOM)
