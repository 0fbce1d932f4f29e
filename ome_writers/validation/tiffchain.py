"""Given a TIFF file, this answers: where are its directories, and does the chain that joins them hold?

Readers forgive much: at a broken link they stop, and the pages behind it are gone without a word. So the chain is
walked here by the letter of TIFF 6.0 and BigTIFF: every directory lies in the file, and none twice.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from attrs import frozen


@frozen
class Chain:
    """The directories of a file, one for each page."""

    pages: int
    """How many can be reached."""
    fault: str
    """What breaks the chain behind them; empty if it ends as it should."""


def chain_of(path: Path) -> Chain:
    """Return the chain of directories of a file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.tif")
    ...     length = file.write_bytes(b"II*" + bytes(1) + (99).to_bytes(4, "little"))
    ...     chain_of(file)
    Chain(pages=0, fault='page 0 should begin at byte 99, but the file has 8 bytes: it was cut off')
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:  # noqa: PLR2004 - the shortest header
            return Chain(0, f"does not begin as a TIFF file, but with {head[:8]!r} ({size} bytes)")
        version = struct.unpack(f"{order}H", head[2:4])[0]
        if version == 43 and len(head) == 16:  # noqa: PLR2004 - BigTIFF
            count, entry, link, (place,) = "Q", 20, "Q", struct.unpack(f"{order}Q", head[8:])
        elif version == 42:  # noqa: PLR2004 - TIFF 6.0
            count, entry, link, (place,) = "H", 12, "I", struct.unpack(f"{order}I", head[4:8])
        else:
            return Chain(0, f"must be TIFF (42) or BigTIFF (43); got version {version}")
        seen: set[int] = set()
        while place:
            here = f"page {len(seen)} should begin at byte {place}"
            if place in seen:
                return Chain(len(seen), f"{here}, where a page before it begins: its pages go round in a circle")
            if place + struct.calcsize(count) > size:
                return Chain(len(seen), f"{here}, but the file has {size} bytes: it was cut off")
            file.seek(place)
            (tags,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
            if tags == 0 or place + struct.calcsize(count) + tags * entry + struct.calcsize(link) > size:
                return Chain(
                    len(seen), f"{here}, but the {tags} tags that it should have there do not fit into the file"
                )
            seen.add(place)
            file.seek(tags * entry, os.SEEK_CUR)
            (place,) = struct.unpack(order + link, file.read(struct.calcsize(link)))
    return Chain(len(seen), "" if seen else "has no page")
