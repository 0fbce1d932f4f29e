"""Given how a frame is cut, this answers: what bytes are the directories of many BigTIFF pages?

All pages of an image are alike but for where their pixels and the next directory are, so the directories of 100,000
pages are one numpy record array. Tags are those of TIFF 6.0, section 8 (baseline greyscale) and, for tiles, section
15; numbers are 64 bits wide as in BigTIFF. The first page of a file has one more entry, for the OME-XML.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

HEADER: Final = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
"""A BigTIFF, little-endian, whose first directory follows."""

TIFF_FORMS: Final = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
"""First bytes of any TIFF -> its byte order, and whether it is a BigTIFF."""

_SHORT, _LONG, _RATIONAL, _LONG8, _ASCII = 3, 4, 5, 16, 2
_ENTRY: Final = np.dtype([("tag", "<u2"), ("type", "<u2"), ("count", "<u8"), ("value", "<u8")])
_DESCRIPTION: Final = 270
_STRIPS: Final = (273, 279)
_TILES: Final = (324, 325)
_SAMPLES: Final = {"b": 1, "u": 1, "i": 2, "f": 3, "c": 6}
"""Kind of a dtype -> SampleFormat."""


@frozen
class Page:
    """What the directories of an image's pages have in common.

    Examples
    --------
    >>> Page(shape=(64, 64), dtype="uint16", cut=(64, 64), tiled=False, sizes=(8192,)).directory_bytes
    280
    """

    shape: tuple[int, int]
    dtype: str
    cut: tuple[int, int]
    """Rows and columns of a strip or tile."""
    tiled: bool
    """Whether the parts are tiles, which are filled up at the edge of the image, or strips, which are not."""
    sizes: tuple[int, ...]
    """Bytes of each strip or tile; there are one or two."""
    resolution: tuple[float, float] | None = None
    """Pixels per centimeter along x and y."""

    @property
    def directory_bytes(self) -> int:
        """Bytes from one directory to the next."""
        return _dtype(self, first=False).itemsize

    @property
    def first_directory_bytes(self) -> int:
        """Bytes of the first directory of a file."""
        return _dtype(self, first=True).itemsize

    def next_at(self, *, first: bool) -> int:
        """Return where in a directory the pointer to the next one stands."""
        return 8 + len(_entries(self, first=first)) * _ENTRY.itemsize


def description_at(page: Page, directory: int = len(HEADER)) -> int:
    """Return where in a file the number of bytes of its OME-XML stands; 8 bytes on is where they are.

    `directory` is where the first directory of the file begins.

    Examples
    --------
    >>> description_at(Page(shape=(64, 64), dtype="uint16", cut=(64, 64), tiled=False, sizes=(8192,)))
    128
    """
    tags = [tag for tag, *_ in _entries(page, first=True)]
    return directory + 8 + _ENTRY.itemsize * tags.index(_DESCRIPTION) + 4


def directories(  # noqa: PLR0913 - a directory has so many parts
    page: Page, at: int, places: NDArray[np.int64], after: int, *, stride: int = 0, first: bool = False
) -> bytes:
    """Return the directories of pages, one behind the other.

    Parameters
    ----------
    page
        What they have in common.
    at
        Where in the file they begin.
    places
        Where the pixels of each page begin.
    after
        Where the directory is that comes after the last of these; 0 if none does.
    stride
        Bytes from the first strip of a page to the second.
    first
        Whether this is the one directory that a file begins with. Its OME-XML is empty, see `description_at`.

    Examples
    --------
    >>> page = Page(shape=(64, 64), dtype="uint16", cut=(64, 64), tiled=False, sizes=(8192,))
    >>> made = directories(page, 272, np.array([4096, 12288]), 0)
    >>> len(made), struct.unpack_from("<Q", made, 268)  # where the second of them is
    (560, (552,))
    """
    dtype = _dtype(page, first=first)
    own = at + dtype.itemsize * np.arange(len(places))
    out = np.zeros(len(places), dtype)
    entries = _entries(page, first=first)
    out["count"] = len(entries)
    out["entries"] = np.array(entries, _ENTRY)
    out["next"] = own + dtype.itemsize
    out["next"][-1:] = after
    where = next(k for k, (tag, *_) in enumerate(entries) if tag in (_STRIPS[0], _TILES[0]))
    if "offsets" in (dtype.names or ()):
        out["offsets"] = places[:, None] + stride * np.arange(len(page.sizes))
        out["entries"]["value"][:, where] = own + page.next_at(first=first) + 8
    else:
        out["entries"]["value"][:, where] = places
    return out.tobytes()


def _dtype(page: Page, *, first: bool) -> np.dtype[np.void]:
    entries, many = len(_entries(page, first=first)), len(page.sizes)
    following = 8 + entries * _ENTRY.itemsize
    columns: dict[str, tuple[Any, int]] = {
        "count": ("<u8", 0),
        "entries": ((_ENTRY, (entries,)), 8),
        "next": ("<u8", following),
    }
    if many > 1:
        columns["offsets"] = (("<u8", (many,)), following + 8)
    size = following + 8 + 8 * many * (many > 1)
    # Entries have 20 bytes; directories, and what they point to, begin at multiples of 8.
    return np.dtype(
        {
            "names": list(columns),
            "formats": [kind for kind, _ in columns.values()],
            "offsets": [at for _, at in columns.values()],
            "itemsize": -(-size // 8) * 8,
        }
    )


def _entries(page: Page, *, first: bool) -> list[tuple[int, int, int, int]]:
    """Return tag, type, number of values, and value of all entries, in the order of their tags."""
    dtype = np.dtype(page.dtype)
    offsets, sizes = _TILES if page.tiled else _STRIPS
    many = len(page.sizes)
    # Two sizes of 32 bits are as long as one of 64, and stand in the entry itself.
    size = (_LONG8, page.sizes[0]) if many == 1 else (_LONG, sum(n << 32 * k for k, n in enumerate(page.sizes)))
    entries = [
        (256, _LONG, 1, page.shape[1]),
        (257, _LONG, 1, page.shape[0]),
        (258, _SHORT, 1, 1 if dtype.kind == "b" else 8 * dtype.itemsize),
        (259, _SHORT, 1, 1),  # not compressed
        (262, _SHORT, 1, 1),  # black is zero
        (offsets, _LONG8, many, 0),
        (277, _SHORT, 1, 1),
        (sizes, size[0], many, size[1]),
        (282, _RATIONAL, 1, _rational(page.resolution and page.resolution[0])),
        (283, _RATIONAL, 1, _rational(page.resolution and page.resolution[1])),
        (296, _SHORT, 1, 3 if page.resolution else 1),
        (339, _SHORT, 1, _SAMPLES[dtype.kind]),
    ]
    entries += (
        [(322, _LONG, 1, page.cut[1]), (323, _LONG, 1, page.cut[0])] if page.tiled else [(278, _LONG, 1, page.cut[0])]
    )
    if first:
        entries.append((_DESCRIPTION, _ASCII, 0, 0))
    return sorted(entries)


def _rational(value: float | None) -> int:
    """Return a number as two of 32 bits, numerator first, as precise as they allow; 1 for one that is not known."""
    if not value:
        return 1 | 1 << 32
    most = 2**32 - 1
    denominator = int(most / max(value, 1))
    # A power of ten keeps round numbers round.
    denominator = 10 ** (len(str(denominator)) - 1)
    numerator: int = round(value * denominator)
    if abs(numerator / denominator - value) > 1e-9 * value:
        numerator = max(1, int(most * min(value, 1)))
        denominator = max(1, round(numerator / value))
    return numerator | denominator << 32
