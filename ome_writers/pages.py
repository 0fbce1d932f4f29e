"""Given how far a plan was gone through, this answers: on which page of which TIFF file does each frame lie?

Pages come as the frames come: the page of a frame is its number among those of its *file*. Readers want a page for
every plane of an image, and viv takes them as they lie, whatever the OME-XML says. So

1. a frame that did not come has a page too, which is blank, unless no frame at all came after it;
2. an image of which not every planned plane has a page by then has one blank page for the others, behind the pages of
   all frames of its file. Bio-Formats warns of planes without a page, and if all images are in one file it cannot open
   it. It is one for each image, since tifffile does not open a file in which two images share a page;
3. an image of which no plane has a page by then has none in a file of others, and is left out: a thousand of them would
   be as many pages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.images import paged_masks
from ome_writers.order import Rows
from ome_writers.plan import Plan


@frozen(eq=False)
class Paging:
    """Where the pages of frames lie, and the blank ones behind them."""

    numbers: NDArray[np.int64]
    """Number of each row's page in its file."""
    blanks: NDArray[np.int64]
    """For each array the number of the page that stands for its other planes, -1 if there is none."""
    behind: dict[str, tuple[int, ...]]
    """For which arrays those files end with a blank page that do, in the order of these pages."""


def paging(plan: Plan, rows: Rows, shapes: Sequence[tuple[int, ...]]) -> Paging:
    """Return the pages of the first `rows` of a plan, up to the last that came; the arrays have `shapes` by now.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.tiff", dtype="uint8",
    ...     dimensions=dims_from_standard_axes({"t": 2, "c": 2, "y": 8, "x": 8})))
    >>> pages = paging(plan, plan.rows(0, 3), [(2, 2, 8, 8)])
    >>> pages.numbers.tolist(), pages.blanks.tolist(), pages.behind
    ([0, 1, 2], [3], {'': (0,)})
    """
    files = plan.layout.files
    numbered = {path: number for number, path in enumerate(files)}
    file_of = np.array([numbered[spec.path] for spec in plan.layout.arrays])
    file = file_of[rows["array"]]
    paged = np.bincount(rows["array"], minlength=len(file_of))
    counts = np.bincount(file, minlength=len(files))
    # In a file without frames, it is the first image that has a page.
    _, firsts = np.unique(file_of, return_index=True)
    standing = (paged > 0) | (np.isin(np.arange(len(file_of)), firsts) & (counts[file_of] == 0))
    wanting = np.flatnonzero(standing & (paged < [int(mask.sum()) for mask in paged_masks(plan, shapes)]))
    blanks = np.full(len(file_of), -1)
    blanks[wanting] = counts[file_of[wanting]] + ordinals(file_of[wanting], len(files))
    behind: dict[str, list[int]] = {}
    for array in wanting.tolist():
        behind.setdefault(plan.layout.arrays[array].path, []).append(array)
    return Paging(ordinals(file, len(files)), blanks, {path: tuple(arrays) for path, arrays in behind.items()})


def ordinals(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return for each item how many of its group came before it.

    groups    0 1 1 0 1
    ordinals  0 0 1 1 2
    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=count)
    out = np.empty(len(groups), np.int64)
    out[order] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return out
