"""Given a TIFF file, this checks its pages one by one: they can be reached, lie in the file, and can be decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import frozen

from ome_writers.validation.tiffchain import chain_of
from ome_writers.validation.words import Findings

_UNITS: Final = (None, 1, 2, 3)
"""ResolutionUnit of TIFF 6.0: none, inch, centimetre. Others are known to no reader but tifffile."""


@frozen
class PageKind:
    """What a page holds."""

    shape: tuple[int, ...]
    dtype: str
    samples: int


@frozen(eq=False)
class FileFound:
    """What a file holds."""

    path: Path
    description: bytes
    pages: tuple[PageKind | None, ...]
    """`None`: cannot be read."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep tifffile's log still: what it would say there is reported by name and place."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def check_file(path: Path, name: str, found: Findings, done: int, advance: Callable[[int], None]) -> FileFound:
    """Check every page of a file; `done` pages of other files went before."""
    import tifffile

    with found.check("TIFF pages") as check:
        chain = chain_of(path)
        if chain.fault:
            check.fault(name, chain.fault)
        if not chain.pages:
            return FileFound(path, b"", ())
        kinds: list[PageKind | None] = []
        known: dict[PageKind, PageKind] = {}
        size = path.stat().st_size
        units: set[int] = set()
        try:
            with quiet(), tifffile.TiffFile(path, is_ome=False) as tif:
                description = str(tif.pages.first.description).encode()
                for number in range(chain.pages):
                    page: Any = tif.pages[number]
                    page = page if isinstance(page, tifffile.TiffPage) else page.aspage()
                    kind = _check_page(page, f"{name} page {number}", size, check)
                    kinds.append(known.setdefault(kind, kind) if kind else None)
                    unit = page.tags.get(296)
                    if unit is not None and int(unit.value) not in _UNITS:
                        units.add(int(unit.value))
                    advance(done + number + 1)
        except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, TypeError) as error:
            check.fault(f"{name} page {len(kinds)}", f"cannot be read: {error}")
            description = b"" if not kinds else description
        for unit in sorted(units):
            check.warn(name, f"its ResolutionUnit is {unit}, which TIFF does not know: libtiff and others complain")
        check.summary = f"{len(kinds)} pages are there, and decoded ({name})"
    return FileFound(path, description, tuple(kinds))


def _check_page(page: Any, where: str, size: int, check: Findings) -> PageKind | None:
    import tifffile

    ends = [start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if ends and max(ends) > size:
        check.fault(
            where, f"its pixels should reach to byte {max(ends)}, but the file has {size} bytes: it was cut off"
        )
    else:
        try:
            pixels = np.asarray(page.asarray())
            if pixels.shape != page.shape:
                check.fault(where, f"has the shape {pixels.shape} where its tags say {page.shape}")
        except (tifffile.TiffFileError, OSError, ValueError, RuntimeError, IndexError, TypeError) as error:
            check.fault(where, f"cannot be decoded: {str(error) or type(error).__name__:.300}")
    if page.dtype is None:
        return None
    return PageKind(tuple(page.shape), np.dtype(page.dtype).name, int(page.samplesperpixel))
