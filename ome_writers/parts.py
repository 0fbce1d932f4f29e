"""Given rows of a frame table, this answers: in which parts can they go apart from each other, and share no block?"""

from __future__ import annotations

import numpy as np

from ome_writers.layout import Layout, Unit, block_shape
from ome_writers.order import Rows


def apart(table: Rows, layout: Layout, unit: Unit, parts: int) -> list[Rows]:
    """Return the rows in at most `parts` parts of about equal size that share no block, in the order of the blocks."""
    shapes = np.array([block_shape(spec, unit)[:-2] for spec in layout.arrays], np.int64)
    keys = np.column_stack([table["array"], table["index"] // shapes[table["array"]]])
    _, first, block, sizes = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
    by_arrival = np.argsort(first)
    before = np.cumsum(sizes[by_arrival]) - sizes[by_arrival]
    parts = min(parts, len(first))
    number = np.arange(parts)
    # The block that each part begins with: the one nearest its share, but each part has one at least.
    begins = np.maximum.accumulate(np.searchsorted(before, number * len(table) / max(parts, 1)) - number) + number
    begins = np.minimum(begins, len(first) - parts + number)
    part = np.empty(len(first), np.int64)
    part[by_arrival] = np.searchsorted(begins, np.arange(len(first)), side="right") - 1
    return [table[part[block.reshape(-1)] == k] for k in range(parts)]
