"""Given a path to recorded images, this answers: which frames are in it, of what shape and dtype?

`frames_from` opens a `.tif`, `.ome.tif`, `.npy`, `.zarr` (an array, or an OME-Zarr), or a folder of images. Pixels are
read when the frames are iterated over. The colours of an image (a last axis of 3 or 4) are frames of their own: an axis
`colour`, the fastest. `recorded.py` compares all that with a plan.
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.datasets import NotADataset, read_dataset
from ome_writers.datasets.tiff import is_tiff, metadata_file
from ome_writers.datasets.zarr import read_node
from ome_writers.images import ranges_in
from ome_writers.needs import require
from ome_writers.omexml import BLANK_NAMESPACE
from ome_writers.readers.tifftext import opened_tiff, parsed
from ome_writers.regular import read_text
from ome_writers.target import absent

_TIFF: Final = (".tif", ".tiff")
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".jp2", ".bmp")
_COLORS: Final = (3, 4)  # RGB, RGBA
LETTERS: Final = {"time": "t", "channel": "c", "position": "p", "space": "z"}
COLOR: Final = "colour"
_SERIES: Final = {"T": "t", "C": "c", "Z": "z", "P": "p", "R": "p"}
"""Letter that tifffile gives an axis -> ours."""
_CACHE_BYTES: Final = 256 * 1024**2

Frame = NDArray[Any]
Axes = tuple[tuple[str, int], ...]
Read = Callable[[int], Frame | None]
"""Reads the frame of that number in stored order; `None` where the source itself has a gap."""


class SourceError(ValueError):
    """Recorded images cannot be read, or are not those that a plan wants."""


@frozen(eq=False)
class Frames:
    """Frames that can be read one by one, as often as needed.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "stack.npy")
    >>> np.save(path, np.zeros((5, 64, 48), "uint16"))
    >>> frames = frames_from(path)
    >>> len(frames), frames.frame_shape, frames.dtype, next(iter(frames)).shape
    (5, (64, 48), 'uint16', (64, 48))
    """

    name: str
    """Path of the source."""
    frame_shape: tuple[int, int]
    """Height and width of a frame."""
    dtype: str
    axes: Axes
    """Letter and length of each stored axis, slowest first: t, c, z, p, `COLOR`, or `?` if not known."""
    read: Read
    order: NDArray[np.int64] | None = None
    """Numbers, in stored order, of the frames that iteration yields; `None`: all, as stored."""

    def __len__(self) -> int:
        return math.prod(length for _, length in self.axes)

    @property
    def kind(self) -> tuple[tuple[int, int], str]:
        """Shape and dtype of a frame."""
        return self.frame_shape, self.dtype

    @property
    def summary(self) -> str:
        """Number, axes, shape and dtype in words."""
        axes = " ".join(f"{letter}={length}" for letter, length in self.axes if letter != "?")
        return f"{len(self)} frames{f' ({axes})' if axes else ''} of {size_text(self.frame_shape)} {self.dtype}"

    def __iter__(self) -> Iterator[Frame | None]:
        for number in range(len(self)) if self.order is None else map(int, self.order):
            frame = self.read(number)
            if frame is not None and (frame.shape != self.frame_shape or frame.dtype != self.dtype):
                came = f"{size_text(frame.shape)} {frame.dtype}"
                raise SourceError(
                    f"{self.name}: image {number} is {came}, the first one {size_text(self.frame_shape)} {self.dtype}"
                )
            yield frame


def frames_from(path: str | Path, frame_shape: tuple[int, ...] | None = None) -> Frames:
    """Open recorded images.

    `frame_shape` (height, width) is what is expected; it decides whether a last axis of 3 or 4 are colours.

    Raises
    ------
    FileNotFoundError
        If nothing is at `path`.
    SourceError
        If what is there holds no images, or images of different kinds.
    """
    path = Path(path)
    if not path.exists():
        raise absent(path)
    try:
        frames = _open(path, frame_shape)
    except (NotADataset, OSError) as error:
        raise SourceError(str(error)) from error
    if not len(frames) or 0 in frames.frame_shape:
        raise SourceError(f"{path}: holds no pixels")
    return frames


def images_from(path: str | Path) -> list[Frames]:
    """Open recorded images one by one: those of an OME-Zarr or a TIFF need not be of one kind.

    Raises
    ------
    SourceError
        If what is there cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir() and read_node(path) is not None:
            return _zarr(path, None)
        return _tiff(path) if path.suffix.lower() in _TIFF else [frames_from(path)]
    except (NotADataset, OSError) as error:
        raise SourceError(str(error)) from error


def _open(path: Path, frame_shape: tuple[int, ...] | None) -> Frames:
    if path.is_dir() and read_node(path) is not None:
        return _joined(str(path), _zarr(path, frame_shape))
    if path.is_dir():
        return _folder(path, frame_shape)
    suffix = path.suffix.lower()
    if suffix in _TIFF:
        return _joined(str(path), _tiff(path))
    if suffix == ".npy":
        return _npy(path, frame_shape)
    if suffix in _PICTURES:
        return _picture(path)
    raise SourceError(f"{path}: must be a folder, or end in one of {', '.join((*_TIFF, '.npy', '.zarr', *_PICTURES))}")


# ── kinds of sources ─────────────────────────────────────────────────────────────────────────────────────────────────


def _stack(name: str, axes: Axes, image: Sequence[int], dtype: str, fetch: Callable[[int], Frame | None]) -> Frames:
    """Return the frames of images of one shape, (y, x) or (y, x, colours); `fetch` returns an image by its number."""
    if len(image) == 2:  # noqa: PLR2004 - y and x
        return Frames(name, (image[0], image[1]), dtype, axes, fetch)
    colors = image[2]
    # The colours of an image are usually asked for one after the other: it is decoded once.
    cached = lru_cache(maxsize=1)(fetch)

    def read(number: int) -> Frame | None:
        whole = cached(number // colors)
        return None if whole is None else whole[..., number % colors]

    return Frames(name, (image[0], image[1]), dtype, (*axes, (COLOR, colors)), read)


def _array(name: str, array: Any, letters: Sequence[str] | None, frame_shape: tuple[int, ...] | None) -> Frames:
    """Return the frames of an array-like; its axes are known by `letters`, or not known."""
    shape = tuple(array.shape)
    if len(shape) < 2:  # noqa: PLR2004 - y and x
        raise SourceError(f"{name}: an array of images has at least two axes; got the shape {shape}")
    colored = letters is None and len(shape) > 2 and shape[-1] in _COLORS and shape[-2:] != frame_shape  # noqa: PLR2004
    lead = shape[:-3] if colored else shape[:-2]
    axes = tuple(zip(letters or "?" * len(lead), lead, strict=False))
    dtype = np.dtype(getattr(array.dtype, "numpy_dtype", array.dtype)).name
    return _stack(
        name, axes, shape[len(lead) :], dtype, lambda number: np.asarray(array[np.unravel_index(number, lead)])
    )


def _npy(path: Path, frame_shape: tuple[int, ...] | None) -> Frames:
    try:
        return _array(str(path), np.load(path, mmap_mode="r"), None, frame_shape)
    except (ValueError, EOFError) as error:
        raise SourceError(f"{path}: cannot be read as .npy: {error}") from error


def _zarr(path: Path, frame_shape: tuple[int, ...] | None) -> list[Frames]:
    require("tensorstore", what="reading frames of a zarr", extra="tensorstore")
    import tensorstore as ts

    context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
    parts = []
    for image in read_dataset(path).images:
        node = read_node(path / image.array) or {}
        driver = "zarr" if node.get("zarr_format") == 2 else "zarr3"  # noqa: PLR2004 - the old format
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path / image.array)}}
        try:
            array = ts.open(spec, open=True, read=True, context=context).result()
        except ValueError as error:
            raise SourceError(f"{path / image.array}: cannot be read as zarr: {error}") from error
        named = all(axis.name != "?" for axis in image.axes)
        letters = [LETTERS.get(str(axis.type), axis.name) for axis in image.axes[:-2]] if named else None
        parts.append(_array(str(path), array, letters, frame_shape))
    return parts


def _picture(path: Path) -> Frames:
    require("imagecodecs", what="reading images", extra="tifffile")
    import imagecodecs

    try:
        image = imagecodecs.imread(path)
    except ValueError as error:
        raise SourceError(f"{path}: cannot be read as an image") from error
    return _stack(str(path), (), image.shape, image.dtype.name, lambda _: image)


def _tiff(path: Path) -> list[Frames]:
    require("tifffile", what="reading TIFF", extra="tifffile")
    import tifffile

    try:
        tif = opened_tiff(path, is_ome=None)
        xml = tif.ome_metadata
        if (other := metadata_file(path, xml)) is not None:
            tif.close()
            if is_tiff(other):
                return _tiff(other)  # which calls itself by another name than this one: tifffile would mix them up
            xml = read_text(other)
            tif = tifffile.TiffFile(path, omexml=xml)
        blank = _blank_pages(xml)
        parts = [_series(path, tif, series, blank.get(number, ())) for number, series in enumerate(tif.series)]
    except tifffile.TiffFileError as error:
        raise SourceError(f"{path}: cannot be read as TIFF: {error}") from error
    return parts


class _Ranges:
    """Numbers, as stretches: few words can stand for more of them than fit into any memory."""

    def __init__(self, stretches: list[range]) -> None:
        self._stretches = stretches

    def __contains__(self, number: object) -> bool:
        return any(number in stretch for stretch in self._stretches)


def _blank_pages(xml: str | None) -> dict[int, Container[int]]:
    """Return the pages of each image that stand for frames that did not come, as our OME-XML says."""
    root = parsed(xml) if xml else ET.Element("OME")
    told = {}
    for note in root.iterfind(f"{{*}}StructuredAnnotations/{{*}}MapAnnotation[@Namespace='{BLANK_NAMESPACE}']"):
        said = ranges_in(note.findtext("{*}Value/{*}M", ""))
        told[note.get("ID")] = _Ranges([range(first, last + 1) for first, last in said])
    images = enumerate(root.iterfind("{*}Image"))
    refs = ((number, ref.get("ID")) for number, image in images for ref in image.iterfind("{*}AnnotationRef"))
    return {number: told[ref] for number, ref in refs if ref in told}


class _Pages:
    """The pages of a TIFF series, by number, with colours last; the file is closed when the last user has gone."""

    def __init__(self, tif: Any, series: Any, blank: Container[int]) -> None:
        self.series, self.blank = series, blank
        # Page by page, although tifffile could read a series at once: for some sets of files that reads the wrong file.
        self.whole = (
            None if len(series.pages) == math.prod(series.shape[: -len(series.keyframe.axes)]) else series.asarray()
        )
        weakref.finalize(self, tif.close)

    def __call__(self, number: int) -> Frame | None:
        page: Frame
        if self.whole is not None:
            page = self.whole.reshape(-1, *self.series.keyframe.shape)[number]
        elif (found := self.series.pages[number]) is None or found.index in self.blank:
            return None
        else:
            file = found.parent.filehandle
            # Of a set of files there may be thousands, and tifffile has closed all but the first.
            with closing(file) if file.closed else nullcontext():
                file.open()
                page = found.asarray()
        return np.moveaxis(page, 0, -1) if self.series.keyframe.axes == "SYX" else page


def _series(path: Path, tif: Any, series: Any, blank: Container[int]) -> Frames:
    axes = series.keyframe.axes
    if sorted(axes) not in (["X", "Y"], ["S", "X", "Y"]):
        raise SourceError(f"{path}: its pages must be images; got pages with the axes {axes}")
    lead = len(series.shape) - len(axes)
    sizes = dict(zip(axes, series.keyframe.shape, strict=True))
    image = [sizes[letter] for letter in "YXS" if letter in sizes]
    # R: "region", tifffile's word for the positions of Micro-Manager.
    letters = [_SERIES.get(letter, "?") for letter in series.axes[:lead]]
    return _stack(
        str(path), tuple(zip(letters, series.shape, strict=False)), image, series.dtype.name, _Pages(tif, series, blank)
    )


def _folder(path: Path, frame_shape: tuple[int, ...] | None) -> Frames:
    files = sorted((file for file in path.iterdir() if _is_image(file)), key=lambda file: natural(file.name))
    if not files:
        raise SourceError(f"{path}: holds no images ({', '.join((*_TIFF, '.npy', *_PICTURES))})")
    if (
        files[0].suffix.lower() in _TIFF
        and len({name for image in read_dataset(files[0]).images for name in image.files}) > 1
    ):
        return _joined(str(path), _tiff(files[0]))  # one OME-TIFF in several files, of which each one names all
    opened = lru_cache(maxsize=1)(lambda number: _open(files[number], frame_shape))
    first = opened(0)
    each = len(first)

    def read(number: int) -> Frame | None:
        part = opened(number // each)
        _require_alike(str(path), first, part)
        return part.read(number % each)

    return evolve(first, name=str(path), axes=(("?", len(files)), *first.axes), read=read)


def _is_image(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.suffix.lower() in (*_TIFF, ".npy", *_PICTURES)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by their value.

    Examples
    --------
    >>> sorted(["t10.tif", "t9.tif", "t1.tif"], key=natural)
    ['t1.tif', 't9.tif', 't10.tif']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _joined(name: str, parts: Sequence[Frames]) -> Frames:
    """Return the frames of several images, one after the other: an axis of positions."""
    if not parts:
        raise SourceError(f"{name}: holds no images")
    first = parts[0]
    each = len(first)
    for part in parts:
        _require_alike(name, first, part)
    if len(parts) == 1:
        return first
    return evolve(
        first, axes=(("p", len(parts)), *first.axes), read=lambda number: parts[number // each].read(number % each)
    )


def _require_alike(name: str, first: Frames, part: Frames) -> None:
    if (part.frame_shape, part.dtype, part.axes) != (first.frame_shape, first.dtype, first.axes):
        raise SourceError(
            f"{name}: its images must all be of one kind; got {first.summary} and {part.summary} ({part.name})"
        )


def size_text(shape: Sequence[int]) -> str:
    """Return a shape for people."""
    return " × ".join(map(str, shape))
