"""Given the path of a dataset, this answers what a page that shows it has to know, also while it is written."""

from __future__ import annotations

import os
import re
import threading
import time
from math import prod
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from ome_writers.gallery import Gallery, Picture, gallery_of
from ome_writers.readers import noted
from ome_writers.sights import Sight, columns
from ome_writers.units import ome_symbol
from ome_writers.view import StreamView, open_view
from ome_writers.watching import kept, state_of

_EVERY: Final = 0.4
"""Seconds between two looks at the dataset, at least."""
_SHARE: Final = 0.2
"""Of the time, at most about this much is spent looking."""
_STRANGE: Final = re.compile(r"[\\:\0]")
"""What leads elsewhere on some systems."""
_SHOWS: Final = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
"""Types of pixels that viv draws."""


class Exhibit:
    """A dataset that is shown, and what was last said of it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        self._lock = threading.Lock()
        self._seen: tuple[Sight, ...] = ()
        self._said: dict[str, Any] = {}
        self._next = 0.0
        self._gallery = gallery_of(self.path)
        self.state()

    def state(self) -> dict[str, Any]:
        """Return what the page is told; looking takes a small part of the time, however often somebody asks."""
        with self._lock:
            start = time.monotonic()
            if not self._said or (start >= self._next and not self._said["final"]):
                self._said = self._look()
                self._next = time.monotonic() + max(_EVERY, (time.monotonic() - start) / _SHARE)
            return self._said

    def page(self, image: int, index: tuple[int, ...]) -> dict[str, Any]:
        """Return where the page of a frame of an OME-TIFF lies."""
        with self._lock:
            file, offset = self._gallery.arrays.page(image, index)
        return {"url": f"data/{quote(file.name)}", "offset": offset}

    def file(self, key: str) -> Path | None:
        """Return the file of the dataset with a key such as `0/0/zarr.json`, if there is one."""
        parts = key.split("/")
        if any(part in {"", ".", ".."} or _STRANGE.search(part) for part in parts):
            return None
        if self.path.is_file():
            with self._lock:
                known = {self.path.name, *(pages.file.name for pages in self._gallery.arrays.pages)}
            root, inside = self.path.parent, len(parts) == 1 and key in known
        else:
            root, inside = self.path, True
        found = root.joinpath(*parts).resolve()
        return found if inside and found.is_relative_to(root) and found.is_file() else None

    def _look(self) -> dict[str, Any]:
        facts = noted(str(self.path))
        told: dict[str, Any] = {"name": self.path.name, "final": True, "columns": (), "version": ""}
        where = None
        if "verdict" in facts:  # else another library made it
            before = self._seen[-1] if self._seen else None
            sight = state_of(self.path, before)
            self._seen = kept(self._seen, sight)
            if before is None or (before.frames, before.verdict) != (sight.frames, sight.verdict):
                self._gallery = gallery_of(self.path)
            told |= {"final": sight.final, "columns": columns(self._seen), "version": f"{sight.frames} {sight.verdict}"}
            if not sight.final:
                where = _newest(open_view(self.path), facts, self._gallery, sight.frames)
        image, index = where or (0, _middle(self._gallery.pictures[0]))
        images = [_described(self._gallery.kind, picture) for picture in self._gallery.pictures]
        return told | {"newest": {"image": image, "index": index}, "images": images}


def _described(kind: str, picture: Picture) -> dict[str, Any]:
    """Return what the page has to know of an image."""
    axis = picture.channel_axis
    sizes = {
        one.name: {"size": abs(one.scale), "unit": ome_symbol(one.unit)}
        for one in picture.axes
        if one.name in {"x", "y"} and one.scale and one.unit and ome_symbol(one.unit)
    }
    return {
        "name": picture.name,
        "kind": kind,
        "url": "/".join(["data", *(quote(part) for part in picture.path.split("/") if part)]),
        "labels": [one.name for one in picture.axes],
        "shape": picture.shape,
        "dtype": picture.dtype.capitalize(),
        "tile": 512,
        "physicalSizes": sizes if len(sizes) == 2 else None,  # noqa: PLR2004 - x and y
        "channelAxis": None if axis is None else picture.axes[axis].name,
        "channels": [{"name": name, "color": color} for name, color in picture.channels],
        "unshown": None if picture.dtype in _SHOWS else f"viv, which draws here, cannot show {picture.dtype} pixels",
    }


def _middle(picture: Picture) -> dict[str, int]:
    """Return where to look in an image that will not change: the beginning, in the middle of stacks."""
    lead = zip(picture.axes[:-2], picture.shape, strict=False)
    return {axis.name: size // 2 if axis.type == "space" else 0 for axis, size in lead}


def _newest(
    view: StreamView, facts: dict[str, Any], gallery: Gallery, frames: int
) -> tuple[int, dict[str, int]] | None:
    """Return the image, and where in it, of the stack with all its channels that was complete last."""
    types = [dim["type"] for dim in facts["dimensions"][:-2]]
    loops = view.shape[:-2]
    inner = next((n for n, kind in enumerate(types) if kind in {"space", "channel"}), len(types))
    stack = prod(loops[inner:])
    done = frames // stack * stack or frames
    if not done or not loops:
        return None
    at = [int(index) for index in np.unravel_index(done - 1, loops)]
    if done % stack == 0:
        at = [loops[n] // 2 if kind == "space" and n >= inner else at[n] for n, kind in enumerate(types)]
    axes = [str(name) for name in facts["axes"]]
    index = {name: at[n] for n, name in enumerate(view.dims[:-2]) if name in axes}
    fans = sorted(
        (n for n, name in enumerate(view.dims[:-2]) if name not in axes), key=lambda n: types[n] != "position"
    )
    number = int(np.ravel_multi_index([at[n] for n in fans], [loops[n] for n in fans])) if fans else 0
    arrays = [picture.array for picture in gallery.pictures]
    # A plate lists its wells in an order of its own.
    key = facts["arrays"][number] if "arrays" in facts else None
    return (arrays.index(key) if key in arrays else number), index
