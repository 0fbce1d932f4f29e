"""Given OME-XML and the pages of the files that it speaks of, this checks that each plane has the page it should have."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import PureWindowsPath
from typing import Any, Final
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from ome_writers.validation.tifffiles import FileFound
from ome_writers.validation.words import Findings

_DTYPES: Final = {"float": "float32", "double": "float64", "bit": "bool", "complex": "complex64"} | {
    "double-complex": "complex128"
}


def is_plain_name(name: str) -> bool:
    """Return whether a reference names a file in the same folder, as it must if the set shall be moved.

    Examples
    --------
    >>> is_plain_name("a.ome.tiff"), is_plain_name("/data/a.ome.tiff"), is_plain_name(r"C:\\\\data\\\\a.ome.tiff")
    (True, False, False)
    """
    return bool(name) and name == posixpath.basename(name) == PureWindowsPath(name).name


def run_arrays(root: ET.Element, noted: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...] | None]]:
    """Return name and shape of each image that the run planned; `None` for those that it did not reach."""
    try:
        axes, dims = noted["axes"], {dim["name"]: dim for dim in noted["dimensions"]}
        count = prod(dim["count"] or 1 for name, dim in dims.items() if name not in axes)
        roles = [{"time": "T", "space": "Z"}.get(dims[name]["type"], "C") for name in axes[:-2]]
    except (KeyError, TypeError):
        return []
    sizes: dict[str, tuple[int, ...]] = {}
    for image in root.iterfind("{*}Image"):
        if (pixels := image.find("{*}Pixels")) is not None:
            sizes[image.get("ID", "")] = tuple(_size(pixels, role) for role in (*roles, "Y", "X"))
    return [(f"Image:{number}", sizes.get(f"Image:{number}")) for number in range(count)]


def _size(pixels: ET.Element, role: str) -> int:
    text = pixels.get(f"Size{role}", "")
    return int(text) if text.isdecimal() else 0


def check_tiff_data(
    root: ET.Element,
    own: str,
    files: Mapping[str, FileFound],
    came: Mapping[str, NDArray[np.bool_]],
    noted: Mapping[str, Any],
    found: Findings,
) -> None:
    """Check that each plane of each image has one page, of its size and dtype, and each page one plane.

    Parameters
    ----------
    root
        The OME-XML.
    own
        Name of the file that holds it.
    files
        What was found in each file, by its name.
    came
        Which frames of an image came, by its ID, where that is known.
    noted
        What is noted of the run.
    """
    with found.check("TiffData") as check:
        used: dict[str, set[int]] = {}
        planes = 0
        for image in root.iterfind("{*}Image"):
            pixels = image.find("{*}Pixels")
            name = image.get("ID", "?")
            if pixels is None:
                check.fault(name, "has no Pixels")
                continue
            reached = _check_image(name, pixels, own, files, used, check)
            planes += int((reached > 0).sum())
            _check_planes(name, reached, came.get(name), noted, check)
            for channel in pixels.iterfind("{*}Channel"):
                if channel.get("SamplesPerPixel") is None:
                    check.warn(name, f"{channel.get('ID')} has no SamplesPerPixel, which some readers need")
        for file in {own, *used} & set(files):
            if idle := len(files[file].pages) - len(used.get(file, ())):
                check.warn(file, f"{idle} of its pages belong to no plane of any image, and cannot be reached")
        check.summary = f"{planes} planes, each with a page of its size and dtype"


def _check_image(
    name: str, pixels: ET.Element, own: str, files: Mapping[str, FileFound], used: dict[str, set[int]], check: Findings
) -> NDArray[np.int16]:
    """Check the pages of an image; return how many each of its planes has. Axes: T, C, Z."""
    samples = max([int(one.get("SamplesPerPixel", "1")) for one in pixels.iterfind("{*}Channel")], default=1)
    sizes = {"T": _size(pixels, "T"), "C": _size(pixels, "C") // max(1, samples), "Z": _size(pixels, "Z")}
    reached = np.zeros(tuple(sizes.values()), np.int16)
    order = pixels.get("DimensionOrder", "XYZCT")[:1:-1]  # the slowest first
    shape, dtype = (_size(pixels, "Y"), _size(pixels, "X")), pixels.get("Type", "")
    told: set[str] = set()
    for data in pixels.iterfind("{*}TiffData"):
        uuid = data.find("{*}UUID")
        file = own if uuid is None else uuid.get("FileName", own)
        if file not in files:
            if file not in told:
                check.fault(name, f"its pixels should lie in {file!r}, which is not there")
            told.add(file)
            continue
        pages = files[file].pages
        ifd = int(data.get("IFD", "0"))
        whole = data.get("IFD") is None and data.get("PlaneCount") is None
        count = int(data.get("PlaneCount", len(pages) if whole else "1"))
        first = {role: int(data.get(f"First{role}", "0")) for role in "TCZ"}
        flat = 0
        for role in order:
            flat = flat * sizes[role] + first[role]
        for step in range(count):
            page, plane, rest = ifd + step, {}, flat + step
            for role in reversed(order):
                rest, plane[role] = divmod(rest, max(1, sizes[role]))
            where = f"{name} T={plane['T']} C={plane['C']} Z={plane['Z']}"
            if rest or any(first[role] >= sizes[role] for role in "TCZ"):
                check.fault(name, f"TiffData names a plane beyond its size: {first}, with {count} planes")
                break
            reached[plane["T"], plane["C"], plane["Z"]] += 1
            if page >= len(pages):
                check.fault(where, f"should lie on page {page} of {file}, which has {len(pages)} pages")
                continue
            if page in used.setdefault(file, set()):
                check.fault(where, f"lies on page {page} of {file}, as another plane does")
            used[file].add(page)
            kind = pages[page]
            if kind is not None and (_frame(kind.shape, kind.samples) != shape):
                check.fault(where, f"page {page} of {file} is {_frame(kind.shape, kind.samples)}, the image {shape}")
            elif kind is not None and kind.dtype != _DTYPES.get(dtype, dtype):
                check.fault(where, f"page {page} of {file} is {kind.dtype}, the image {_DTYPES.get(dtype, dtype)}")
    return reached


def _frame(shape: Sequence[int], samples: int) -> tuple[int, ...]:
    if samples > 1 and len(shape) == 3:  # noqa: PLR2004 - with an axis of colours
        return tuple(shape[:2]) if shape[-1] == samples else tuple(shape[1:])
    return tuple(shape)


def _check_planes(
    name: str,
    reached: NDArray[np.int16],
    mask: NDArray[np.bool_] | None,
    noted: Mapping[str, Any],
    check: Findings,
) -> None:
    for t, c, z in np.argwhere(reached > 1):
        check.fault(f"{name} T={t} C={c} Z={z}", "has several pages")
    bare = np.argwhere(reached == 0)
    if not len(bare):
        return
    if mask is None:
        check.warn(
            name, f"{len(bare)} of its {reached.size} planes have no page, the first T, C, Z = {bare[0].tolist()}"
        )
        return
    types = {dim["name"]: dim["type"] for dim in noted["dimensions"]}
    roles = [{"time": 0, "space": 2}.get(types[axis], 1) for axis in noted["axes"][:-2]]
    for plane in bare.tolist():
        index = tuple(plane[role] for role in roles)
        if all(map(int.__lt__, index, mask.shape)) and mask[index]:
            t, c, z = plane
            check.fault(f"{name} T={t} C={c} Z={z}", "has no page, though its frame came")
