"""Directories of BigTIFF pages, read with tifffile and with libtiff (in imagecodecs)."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from ome_writers.tiffpages import HEADER, Page, description_at, directories

DTYPES = "int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64", "complex64", "complex128"


def file_of(page: Page, frames: NDArray[Any], text: bytes = b"<some xml/>\0") -> bytes:
    """Return a file with a page for each frame, all strips one behind the other and seven bytes apart."""
    begin = len(HEADER) + page.first_directory_bytes + page.directory_bytes * (len(frames) - 1)
    pixels, strips = begin + len(text), []
    for frame in frames:
        top = page.cut[0]
        strips += [frame[:top].tobytes(), bytes(7), frame[top:].tobytes(), bytes(7)]
    stride = page.sizes[0] + 7
    places = pixels + (sum(page.sizes) + 14) * np.arange(len(frames))
    second = len(HEADER) + page.first_directory_bytes
    made = bytearray(HEADER)
    made += directories(page, len(HEADER), places[:1], second if len(frames) > 1 else 0, stride=stride, first=True)
    made += directories(page, second, places[1:], 0, stride=stride)
    made += text
    at = description_at(page)
    made[at : at + 16] = struct.pack("<QQ", len(text), begin)
    return bytes(made) + b"".join(strips)


@pytest.mark.parametrize("strips", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_readers_see_the_pages(dtype: str, strips: int) -> None:
    frames = np.random.default_rng(0).integers(0, 120, (4, 7, 5)).astype(dtype)
    row = 5 * frames.itemsize
    sizes = (7 * row,) if strips == 1 else (4 * row, 3 * row)
    page = Page(shape=(7, 5), dtype=dtype, cut=(7 if strips == 1 else 4, 5), tiled=False, sizes=sizes)
    made = file_of(page, frames)
    with tifffile.TiffFile(io.BytesIO(made)) as file:
        assert file.is_bigtiff
        assert [read.dtype for read in file.pages] == [frames.dtype] * 4
        assert np.array_equal([read.asarray() for read in file.pages], frames)
        assert file.pages.first.description == "<some xml/>"
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert "ImageDescription" not in file.pages[1].tags
    for number, frame in enumerate(frames):
        assert np.array_equal(imagecodecs.tiff_decode(made, index=number), frame)


@pytest.mark.parametrize(
    "resolution", [None, (1e4, 2e4), (1 / 3, 3.0), (153846.15384615384, 0.001), (2.0**31.9, 2.0**-31.9)]
)
def test_resolution(resolution: tuple[float, float] | None) -> None:
    page = Page(shape=(2, 2), dtype="uint8", cut=(2, 2), tiled=False, sizes=(4,), resolution=resolution)
    with tifffile.TiffFile(io.BytesIO(file_of(page, np.zeros((1, 2, 2), np.uint8)))) as file:
        tags = file.pages.first.tags
        assert tags["ResolutionUnit"].value == (3 if resolution else 1)
        for name, expected in zip(("XResolution", "YResolution"), resolution or (1, 1), strict=True):
            numerator, denominator = tags[name].value
            assert numerator / denominator == pytest.approx(expected, rel=1e-8)


def test_entries_stand_in_the_order_of_their_tags_and_at_even_places() -> None:
    page = Page(shape=(2, 2), dtype="uint8", cut=(1, 2), tiled=False, sizes=(2, 2))
    for first in (True, False):
        made = directories(page, 16, np.array([4096]), 0, stride=9, first=first)
        (count,) = struct.unpack_from("<Q", made)
        tags = [struct.unpack_from("<H", made, 8 + 20 * entry)[0] for entry in range(count)]
        assert tags == sorted(set(tags))
        assert (270 in tags) is first
        assert len(made) % 8 == 0
