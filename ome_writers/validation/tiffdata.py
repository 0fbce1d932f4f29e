"""Given OME-XML and the pages of the files that it speaks of, this checks that each plane has its page."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import PureWindowsPath
from typing import Any, Final
from xml.etree import ElementTree as ET

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from ome_writers.validation.tifffiles import FileFound
from ome_writers.validation.words import Findings

_DTYPES: Final = {"float": "float32", "double": "float64", "bit": "bool", "complex": "complex64"} | {
    "double-complex": "complex128"
}

_MOST_DIGITS: Final = 20
_MOST_PLANES: Final = 100_000_000
"""Of an image: an OME-XML with more would be larger than the largest text."""


def is_plain_name(name: str) -> bool:
    r"""Return whether a reference names a file in the same folder, as it must if the set shall be moved.

    Examples
    --------
    >>> is_plain_name("a.ome.tiff"), is_plain_name("/data/a.ome.tiff"), is_plain_name(r"C:\\data\\a.ome.tiff")
    (True, False, False)
    """
    return bool(name) and name == posixpath.basename(name) == PureWindowsPath(name).name


def run_arrays(root: ET.Element, noted: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...] | None]]:
    """Return name and shape of each image that the run planned; `None` for those that it did not reach."""
    try:
        axes, dims = noted["axes"], {dim["name"]: dim for dim in noted["dimensions"]}
        alike = prod(dim["count"] or 1 for name, dim in dims.items() if name not in axes)
        count = len(noted["held"]) if "held" in noted else alike
        roles = [{"time": "T", "space": "Z"}.get(dims[name]["type"], "C") for name in axes[:-2]]
    except (KeyError, TypeError):
        return []
    sizes: dict[str, tuple[int, ...]] = {}
    for image in root.iterfind("{*}Image"):
        if (pixels := image.find("{*}Pixels")) is not None:
            sizes[image.get("ID", "")] = tuple(_size(pixels, role) for role in (*roles, "Y", "X"))
    return [(f"Image:{number}", sizes.get(f"Image:{number}")) for number in range(count)]


def _size(pixels: ET.Element, role: str) -> int:
    return _whole(pixels.get(f"Size{role}", ""))


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < _MOST_DIGITS else 0


@frozen(eq=False)
class Described:
    """A text, and what was found of what it speaks of."""

    root: ET.Element
    own: str
    """Name of the file that holds it."""
    files: Mapping[str, FileFound]
    """What was found in each file, by its name."""
    noted: Mapping[str, Any]
    """What is noted of the run."""
    came: Mapping[str, NDArray[np.bool_]]
    """Which frames of an image came, by its ID, where that is known."""
    used: dict[str, set[int]] = field(factory=dict)
    """The pages of each file that planes were found on."""


def check_tiff_data(text: Described, found: Findings) -> None:
    """Check that each plane of each image has one page, of its size and dtype, and each page one plane."""
    with found.check("TiffData") as check:
        planes = 0
        for image in text.root.iterfind("{*}Image"):
            pixels = image.find("{*}Pixels")
            name = image.get("ID", "?")
            if pixels is None:
                check.fault(name, "has no Pixels")
                continue
            sizes = _planes(pixels)
            if prod(sizes.values()) > _MOST_PLANES:
                check.fault(name, f"claims to hold {' × '.join(map(str, sizes.values()))} planes")
                continue
            reached = _check_image(name, pixels, text, check)
            planes += int((reached > 0).sum())
            _check_planes(name, reached, text, check)
            for channel in pixels.iterfind("{*}Channel"):
                if channel.get("SamplesPerPixel") is None:
                    check.warn(name, f"{channel.get('ID')} has no SamplesPerPixel, which some readers need")
        for file in sorted({text.own, *text.used} & set(text.files)):
            if idle := len(text.files[file].pages) - len(text.used.get(file, ())):
                check.warn(file, f"{idle} of its pages belong to no plane of any image, and cannot be reached")
        check.summary = f"{planes} planes, each with a page of its size and dtype"


def _planes(pixels: ET.Element) -> dict[str, int]:
    """Return how many planes an image has along each axis."""
    samples = max([_whole(one.get("SamplesPerPixel", "1")) for one in pixels.iterfind("{*}Channel")], default=1)
    return {"T": _size(pixels, "T"), "C": _size(pixels, "C") // max(1, samples), "Z": _size(pixels, "Z")}


def _check_image(name: str, pixels: ET.Element, text: Described, check: Findings) -> NDArray[np.int16]:
    """Check the pages of an image; return how many each of its planes has. Axes: T, C, Z."""
    sizes = _planes(pixels)
    reached = np.zeros(tuple(sizes.values()), np.int16)
    order = pixels.get("DimensionOrder", "XYZCT")[:1:-1]  # the slowest first
    absent: set[str] = set()
    for data in pixels.iterfind("{*}TiffData"):
        uuid = data.find("{*}UUID")
        # Whatever it was called, it is still the file of that UUID.
        is_own = uuid is None or uuid.text == text.root.get("UUID")
        file = text.own if uuid is None or is_own else uuid.get("FileName", text.own)
        if file not in text.files:
            if file not in absent:
                check.fault(name, f"its pixels should lie in {file!r}, which is not there")
            absent.add(file)
            continue
        pages = len(text.files[file].pages)
        whole = data.get("IFD") is None and data.get("PlaneCount") is None
        count = int(data.get("PlaneCount", pages if whole else "1"))
        first = tuple(int(data.get(f"First{role}", "0")) for role in order)
        lengths = tuple(sizes[role] for role in order)
        at = int(np.ravel_multi_index(first, lengths)) if all(map(int.__lt__, first, lengths)) else reached.size
        if at + count > reached.size:
            names = ", ".join(f"First{role}={index}" for role, index in zip(order, first, strict=True))
            check.fault(name, f"TiffData names planes beyond its size: {names} and {count} planes from there")
            count = max(0, reached.size - at)
        for step in range(count):
            plane = dict(zip(order, map(int, np.unravel_index(at + step, lengths)), strict=True))
            reached[plane["T"], plane["C"], plane["Z"]] += 1
            where = f"{name} T={plane['T']} C={plane['C']} Z={plane['Z']}"
            if fault := _page_fault(file, int(data.get("IFD", "0")) + step, pixels, text):
                check.fault(where, fault)
    return reached


def _page_fault(file: str, page: int, pixels: ET.Element, text: Described) -> str:
    """Return what is wrong with the page that a plane should lie on; that page counts as used from now on."""
    pages, used = text.files[file].pages, text.used.setdefault(file, set())
    if page >= len(pages):
        return f"should lie on page {page} of {file}, which has {len(pages)} pages"
    if page in used:
        return f"lies on page {page} of {file}, as another plane does"
    used.add(page)
    kind, shape, dtype = pages[page], (_size(pixels, "Y"), _size(pixels, "X")), pixels.get("Type", "")
    if kind is not None and (found := _frame(kind.shape, kind.samples)) != shape:
        return f"page {page} of {file} is {found}, the image {shape}"
    if kind is not None and kind.dtype != _DTYPES.get(dtype, dtype):
        return f"page {page} of {file} is {kind.dtype}, the image {_DTYPES.get(dtype, dtype)}"
    return ""


def _frame(shape: Sequence[int], samples: int) -> tuple[int, ...]:
    if samples > 1 and len(shape) == 3:  # noqa: PLR2004 - with an axis of colours
        return tuple(shape[:2]) if shape[-1] == samples else tuple(shape[1:])
    return tuple(shape)


def _check_planes(name: str, reached: NDArray[np.int16], text: Described, check: Findings) -> None:
    for t, c, z in np.argwhere(reached > 1):
        check.fault(f"{name} T={t} C={c} Z={z}", "has several pages")
    bare = np.argwhere(reached == 0).tolist()
    mask = text.came.get(name)
    if bare and mask is None:
        check.warn(name, f"{len(bare)} of its {reached.size} planes have no page, the first T, C, Z = {bare[0]}")
    if mask is None:
        return
    types = {dim["name"]: dim["type"] for dim in text.noted["dimensions"]}
    roles = [{"time": 0, "space": 2}.get(types[axis], 1) for axis in text.noted["axes"][:-2]]
    for t, c, z in bare:
        index = tuple((t, c, z)[role] for role in roles)
        if all(map(int.__lt__, index, mask.shape)) and mask[index]:
            check.fault(f"{name} T={t} C={c} Z={z}", "has no page, though its frame came")
