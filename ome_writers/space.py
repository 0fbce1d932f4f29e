"""Given a plan and a path, this answers: will the pixels fit on the disk? Asked before anything is made or removed."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from ome_writers.errors import PlanError, Problem
from ome_writers.layout import block_shape
from ome_writers.plan import Plan

WAITS: Final[ContextVar[bool]] = ContextVar("waits", default=False)
"""Whether no room may be taken on a disk before pixels come."""


@contextlib.contextmanager
def nothing_reserved() -> Iterator[None]:
    """Have nobody take room on a disk in here: what a new dataset replaces has it still."""
    token = WAITS.set(True)
    try:
        yield
    finally:
        WAITS.reset(token)


def pixel_bytes(plan: Plan) -> int:
    """Return the bytes of all planned frames; of a plan without end those of one round of its outermost loop.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "c": 2, "y": 8, "x": 8})
    >>> pixel_bytes(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims)))
    256
    """
    specs = plan.layout.arrays
    each = [prod(block_shape(spec, "frame")) * np.dtype(spec.dtype).itemsize for spec in specs]
    planes = [prod(size for size in spec.shape[:-2] if size is not None) for spec in specs]
    if plan.frames is not None and plan.frames != sum(planes):  # a part of a plan
        return plan.frames * max(each)
    return sum(count * size for count, size in zip(planes, each, strict=True))


def require_space(plan: Plan, root: str, *, overwrite: bool = False) -> None:
    """Refuse a dataset that does not fit on the disk where it would stand.

    With `overwrite`, what stands there now counts as free. Compressed pixels take nobody knows how little, so that is
    worth a warning only.

    Raises
    ------
    PlanError
        If there is not enough room.
    """
    path, needed = Path(root).absolute(), pixel_bytes(plan)
    above = next(folder for folder in path.parents if folder.exists())
    free = shutil.disk_usage(above).free
    if free >= needed or (overwrite and free + _bytes_in(path) >= needed):
        return
    message = f"the arrays take {needed} bytes; the disk of {root} has {free} left"
    if plan.settings.compression:
        warnings.warn(f"{message}, which is enough only if they can be compressed that much", stacklevel=2)
        return
    raise PlanError([Problem(("root_path",), "no_space", message)])


def _bytes_in(path: Path) -> int:
    """Return how much room a dataset takes."""
    total = 0
    for file in (path, *(path.rglob("*") if path.is_dir() else ())):
        with contextlib.suppress(OSError):
            found = file.stat()
            # What was never written takes no room, where the system says so.
            total += int(getattr(found, "st_blocks", found.st_size / 512) * 512)
    return total
