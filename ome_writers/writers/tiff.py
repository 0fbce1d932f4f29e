"""OME-TIFF through tifffile: BigTIFF files whose pages lie in the order in which their frames came.

1. Each frame is a page of its own, complete with its directory; one that was left out is a blank page (`pages.py`).
   Only when all of it has been handed to the operating system does the page before it point to it (`pagefile.py`). So a
   file is whole after each frame, and what fails half-way, or is killed, leaves the pages before it as they were.
2. A file comes into being with its first page, which carries the OME-XML. The final OME-XML replaces it at `close`.
3. Few files are open at a time, so that there may be thousands. There are no threads: what fails is raised where it
   fails.

In a set of files each page has two strips, and those of a file's first page do not touch. tifffile reads an image that
lies in another file of the set from the wrong file if its pixels are one uninterrupted stretch (all versions so far).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import tifffile
from attrs import define
from numpy.typing import NDArray

from ome_writers.documents import Document
from ome_writers.errors import PlanError, Problem
from ome_writers.journal_file import CAME
from ome_writers.layout import ArraySpec, block_shape
from ome_writers.pages import ordinals
from ome_writers.placement_tiff import resolution_of
from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection
from ome_writers.writers.files import replace_file, stands, sync_file, sync_folder
from ome_writers.writers.pagefile import PageFile

_COMPRESSIONS: Final = {"lzw": "lzw", "zlib": "adobe_deflate", "deflate": "adobe_deflate", "zstd": "zstd"}
_GAP: Final = 16
"""Bytes between strips that must not touch; keeps pixels aligned."""
_AT_ONCE: Final = 1024
"""Rows of the plan that are looked at together."""
_MANY: Final = 65_536
"""So many, where each needs little."""


@define
class _File:
    """One TIFF file of the dataset."""

    path: Path
    pages: PageFile
    tiff: tifffile.TiffWriter | None = None
    count: int = 0
    """Pages that it has; of a file of an earlier run, 1 if it has any."""

    def cut(self, pages: int) -> None:
        """Take away the pages behind so many."""
        self.count, self.tiff = self.pages.cut(pages), None
        self.pages.release()


class TiffWriter:
    """Writes OME-TIFF with tifffile: one file for all images, or one for each.

    Parameters
    ----------
    open_files
        The most files that are open at a time.
    """

    def __init__(self, *, open_files: int = 64) -> None:
        self.capabilities = Capabilities(
            name="tifffile", formats=frozenset({"ome-tiff"}), ack="append", urls=False, attaches=False
        )
        self._open_files = open_files
        self._specs: tuple[ArraySpec, ...] = ()
        self._plan: Plan | None = None
        self._ahead: deque[tuple[int, int]] = deque()
        """Number and array of frames that have no page yet, in the order of the plan."""
        self._seen = 0
        """Place in the plan of the frame after these."""
        self._attached = False
        """Whether the frames up to the next that comes have their pages from an earlier run."""
        self._options: list[dict[str, Any]] = []
        self._folder = Path()
        self._files: dict[str, _File] = {}
        self._open: dict[Path, _File] = {}
        """The files that are open, the one that was used last at the end."""
        self._unsynced: set[Path] = set()
        self._documents: Documents = ()
        self._comments: dict[str, int] = {}
        """Path of a file -> which of the documents it holds."""

    # ── structure ───────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create the one file, or the folder of a set with its OME-XML file; others come with their first pages.

        Raises
        ------
        PlanError
            If the root is a URL, or a library that compresses is missing.
        FileExistsError
            If anything stands at `root`, unless `attach`.
        """
        _require_codecs(plan)
        self._plan, self._specs = plan, plan.layout.arrays
        path = Path(root)
        if not attach and stands(path):
            raise FileExistsError(f"{root} exists; nothing was written")
        self._folder = path.parent if plan.layout.files == ("",) else path
        paths = {name: path.joinpath(*name.split("/")) if name else path for name in plan.layout.files}
        self._files = {name: _File(file, PageFile(file)) for name, file in paths.items()}
        resolution = resolution_of(plan.settings)
        self._options = [_page_options(spec, resolution, in_set=len(paths) > 1) for spec in self._specs]
        if attach:
            for file in self._files.values():
                file.count = int(file.pages.has_pages())
                file.pages.release()
            # Of a dataset that was only moved to its place none has any.
            self._attached = any(file.count for file in self._files.values())
            self._take(documents, place=False)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._take(documents)
        if "" in paths:
            self._opened(self._files[""])

    def recount(self, marks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the files to the pages up to the last frame that came; return the marks without frames that have none.

        A process that was killed may have left a page that it had not told of, or a part of those of a recovery.
        """
        came = np.flatnonzero(marks == CAME)
        stop = int(came[-1]) + 1 if len(came) else 0
        files = self._files_of(stop)
        wanted, there = np.bincount(files, minlength=len(self._files)), np.zeros(len(self._files), np.int64)
        for number, file in enumerate(self._files.values()):
            file.cut(int(wanted[number]))
            there[number] = file.count
        found = marks.copy()
        found[:stop][ordinals(files, len(there)) >= there[files]] = 0
        return found

    def trim(self, places: int) -> None:
        """Take away the page of a frame that was interrupted, or failed, before the run could count it."""
        wanted = np.bincount(self._files_of(places), minlength=len(self._files)).tolist()
        for file, pages in zip(self._files.values(), wanted, strict=True):
            if file.count > pages:
                file.cut(pages)

    def _files_of(self, places: int) -> NDArray[np.int64]:
        """Return the number of the file that each of the first frames goes to."""
        names = {name: number for number, name in enumerate(self._files)}
        file_of = np.array([names[spec.path] for spec in self._specs])
        rows = (self._plan.rows(at, min(at + _MANY, places)) for at in range(0, places, _MANY)) if self._plan else ()
        return np.concatenate([np.empty(0, np.int64), *(file_of[some["array"]] for some in rows)])

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Do nothing: pages are appended, and the OME-XML says what they are."""

    # ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, blocks: Sequence[Block], /) -> None:
        """Append a page for each frame, in the order of `blocks`; when this returns, the operating system has them.

        Raises
        ------
        OSError
            If the disk fails. The file ends with the page before.
        """
        for block in blocks:
            # `pages.py` says which page a frame lies on: those before it that did not come have theirs.
            while (ahead := self._next_frame())[0] != block.frames[0]:
                if not self._attached:
                    self._append(ahead[1], self._blank(ahead[1]))
                self._ahead.popleft()
            self._attached = False
            self._append(block.array, block.data.reshape(block.data.shape[-2:]))
            self._ahead.popleft()

    def _next_frame(self) -> tuple[int, int]:
        """Return number and array of the planned frame after those that have a page."""
        if not self._ahead and self._plan:
            rows = self._plan.rows(self._seen, min(self._seen + _AT_ONCE, self._plan.frames or sys.maxsize))
            self._ahead.extend(zip(rows["frame"].tolist(), rows["array"].tolist(), strict=True))
            self._seen += len(rows)
        return self._ahead[0]

    def _blank(self, array: int) -> NDArray[Any]:
        spec = self._specs[array]
        return np.full(block_shape(spec, "frame")[-2:], spec.fill_value, spec.dtype)

    def _append(self, array: int, frame: NDArray[Any]) -> None:
        name = self._specs[array].path
        file, options = self._files[name], self._options[array]
        if not file.count and name in self._comments:
            options = options | {"description": self._documents[self._comments[name]].body.encode()}
        tiff, before = self._opened(file), file.count
        try:
            file.pages.seek(0, os.SEEK_END)
            if options.get("compression") or "tile" in options or frame.dtype == bool:
                tiff.write(frame, **options)
            else:
                self._write_plain(file, tiff, frame, options)
            file.count += 1
            file.pages.commit()
        except BaseException as error:
            # tifffile has lost count of what is in the file; it looks again when there is another page. So does `trim`
            # after Ctrl-C, which may have come when the page was a part of it already.
            file.tiff, file.count = None, before + (not isinstance(error, Exception))
            with contextlib.suppress(OSError):
                file.pages.roll_back()
            raise

    def _write_plain(
        self, file: _File, tiff: tifffile.TiffWriter, frame: NDArray[Any], options: dict[str, Any]
    ) -> None:
        # tifffile leaves room for the pixels, and no one copies them.
        place = tiff.write(None, shape=frame.shape, dtype=frame.dtype, returnoffset=True, **options)
        offset = place[0] if place else 0  # `None` stands for compressed pages, which do not come here
        rows = options.get("rowsperstrip")
        if rows is None or file.count:
            file.pages.put(offset, frame)
            return
        second = offset + frame[:rows].nbytes + _GAP
        file.pages.put(offset, frame[:rows])
        file.pages.put(second, frame[rows:])
        file.pages.set_strips((offset, second))

    def _touch(self, file: _File) -> None:
        """Make room among the open files for this one."""
        self._open.pop(file.path, None)
        if len(self._open) >= self._open_files:
            self._open.pop(next(iter(self._open))).pages.release()
        self._open[file.path] = file
        self._unsynced.add(file.path)

    def _opened(self, file: _File) -> tifffile.TiffWriter:
        self._touch(file)
        if file.tiff is None:
            append = "force" if file.count else False
            # tifffile takes a file to begin where it stands.
            file.pages.seek(0)
            pages = cast(BinaryIO, file.pages)
            file.tiff = tifffile.TiffWriter(pages, bigtiff=True, append=append, ome=False, shaped=False)
            file.pages.commit()
        return file.tiff

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Raise: this writer cannot read."""
        raise NotImplementedError(
            "a TIFF that is being written is read with any reader of TIFF files, not through its writer"
        )

    # ── documents ───────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Replace the documents; pages are readable already. `durable` costs the files changed since the last time."""
        if documents is not None:
            self._take(documents)
        if durable:
            for path in self._unsynced:
                sync_file(path)
            for folder in {path.parent for path in self._unsynced}:
                sync_folder(folder)
            self._unsynced.clear()

    def _take(self, documents: Documents, *, place: bool = True) -> None:
        """Write those documents that have a place by now; the others wait for the first page of their file.

        Where one finds no room, others may.
        """
        self._documents, self._comments = documents, {}
        failure: OSError | None = None
        for number, document in enumerate(documents):
            if document.kind == "comment":
                self._comments[document.path] = number
            if place:
                try:
                    self._place(document)
                except OSError as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    def _place(self, document: Document) -> None:
        if document.kind == "xml":
            path = self._folder / document.path
            replace_file(path, document.body.encode())
            self._unsynced.add(path)
        elif self._files[document.path].count:
            file = self._files[document.path]
            self._touch(file)
            file.pages.set_comment(document.body.encode())

    def close(self, documents: Documents, /) -> None:
        """Replace the documents. Files get the blank pages that they need, and one without any page, to be a TIFF.

        If there is no room for these, the documents, which name them, stay as they were.
        """
        try:
            self._take(documents, place=False)
            for document in documents:
                for array in document.blank_pages:
                    self._append(array, self._blank(array))
            for array, spec in enumerate(self._specs):
                if not self._files[spec.path].count:
                    self._append(array, self._blank(array))
            self._take(documents)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the files. One that has no pages is no TIFF, and goes."""
        for file in self._files.values():
            with contextlib.suppress(Exception):
                # What stands there by now may be another's.
                empty = not file.count and not file.pages.has_pages()
                file.pages.release()
                if empty:
                    file.path.unlink(missing_ok=True)
        self._open.clear()


def _require_codecs(plan: Plan) -> None:
    problems = []
    codecs = {spec.codec.name for spec in plan.layout.arrays if spec.codec}
    for codec in sorted(codecs & {"lzw", "zstd"}):
        if importlib.util.find_spec("imagecodecs") is None:
            message = (
                f"{codec} needs the library 'imagecodecs', which is not installed: pip install 'ome-writers[tifffile]'"
            )
            problems.append(Problem(("compression",), "missing_library", message))
    if problems:
        raise PlanError(problems)


def _page_options(spec: ArraySpec, resolution: tuple[float, float] | None, *, in_set: bool) -> dict[str, Any]:
    """Return what tifffile needs to know of the pages of an array."""
    options: dict[str, Any] = {
        "photometric": "minisblack",
        "metadata": None,
        "contiguous": False,
        "software": False,
        "maxworkers": 1,
        "resolution": resolution,
        "resolutionunit": "centimeter" if resolution else "none",
    }
    if spec.codec:
        options["compression"] = _COMPRESSIONS[spec.codec.name]
        if spec.codec.level is not None:
            options["compressionargs"] = {"level": spec.codec.level}
    elif in_set and spec.dtype != "bool":
        height, width = block_shape(spec, "frame")[-2:]
        if height > 1:
            options["rowsperstrip"] = (height + 1) // 2
        else:
            # One row cannot be cut in two. A tile that is larger than the image is not uninterrupted either.
            options["tile"] = (16, -(-width // 16) * 16)
    return options
