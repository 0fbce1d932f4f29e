"""Given a plan, this answers: what happens when, in so few numbers that they can be drawn, be it ten million frames?

1. Frames are cut into at most so many bins of equal length; with few frames each has a bin of its own.
2. Of each bin the lowest and the highest index of every loop are kept, of all its frames if there are few; else of
   some in a row, in which short loops show all they have, and of some that are spread over it.
3. What is in memory, and how many blocks are open, is exact: an assembly repeats itself in cycles, and a bin either
   spans one or lies in two of them.

So it costs the bins and a cycle of the plan, not its frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.assembly import CLOSES, OPENS, Assembly, assemble
from ome_writers.layout import Unit
from ome_writers.order import Rows
from ome_writers.plan import Plan

_BINS: Final = 1200
_LOOKED_AT: Final = 64
"""Frames of a bin that are looked at, where it has more."""
_ROUNDS: Final = 3
"""Rounds of the outermost loop that are shown of a plan without end."""
_MOST_SHOWN: Final = 20_000
"""Frames of a plan without end that are shown, even if its rounds are longer."""

Whole = NDArray[np.int64]


@frozen(eq=False)
class Band:
    """The lowest and the highest of some numbers in each bin."""

    low: Whole
    high: Whole


@frozen(eq=False)
class Timeline:
    """A plan, bin by bin.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 10, "c": 2, "y": 8, "x": 8}, chunk_shapes={"t": 5})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> found = timeline(plan, "chunk")
    >>> found.loops["c"].high.tolist()[:4], found.memory.high.tolist()[:4], found.note
    ([0, 1, 0, 1], [320, 640, 640, 640], '')
    """

    frames: int
    """How many places are shown, from the first."""
    edges: Whole
    """Where bins begin, and where the last ends."""
    loops: Mapping[str, Band]
    """Index in each loop, by its name, the slowest first."""
    open: Band
    """Shards (or else chunks) of which some frames, but not all, have come, with the one that the frame goes to."""
    memory: Band
    """Bytes of the buffers that the writer's blocks are put together in."""
    tour: Whole
    """The positions that the stage goes to, in order, as far as they were looked at."""
    note: str
    """What was left out or put together, in words; nothing if each frame is shown."""


def timeline(plan: Plan, unit: Unit, *, stop: int | None = None, bins: int = _BINS) -> Timeline:
    """Return what happens in a plan up to a place, in at most so many bins; its writer is handed blocks of `unit`."""
    frames = _shown(plan) if stop is None else stop
    count = min(bins, frames)
    edges = np.arange(count + 1, dtype=np.int64) * frames // max(count, 1)
    each = -(-frames // max(count, 1))
    looked = np.arange(each)
    if each > _LOOKED_AT:
        half = _LOOKED_AT // 2
        looked = np.append(np.arange(half), np.linspace(half, each - 1, half).astype(np.int64))
    places = np.minimum(edges[:-1, None] + looked, edges[1:, None] - 1)
    rows = plan.rows_at(places.reshape(-1))
    reading = plan.places.reading
    loops = {
        dim.name: _band(reading.indices(rows, dim.name).reshape(places.shape)) for dim in plan.settings.dimensions[:-2]
    }
    return Timeline(
        frames=frames,
        edges=edges,
        loops=loops,
        open=_Profile(assemble(plan, "shard")).band(edges, bytes_=False),
        memory=_Profile(assemble(plan, unit)).band(edges, bytes_=True),
        tour=_tour(plan, frames),
        note=_note(plan, frames, count, each) if stop is None else "",
    )


def _shown(plan: Plan) -> int:
    if plan.frames is not None:
        return plan.frames
    before = sum(segment.frames or 0 for segment in plan.segments)
    endless = plan.segments[-1]
    each = len(endless.rows) * int(np.prod([loop.repeats or 1 for loop in endless.loops]))
    return min(before + max(_ROUNDS * each, 100), max(_MOST_SHOWN, before))


def _note(plan: Plan, frames: int, count: int, each: int) -> str:
    said = [] if plan.frames is not None else [f"without end: the first {frames:,} frames"]
    if each > 1:
        said.append(f"{frames:,} frames in {count:,} bins; bands span the lowest to the highest index in a bin")
    if each > _LOOKED_AT:
        said.append(f"{_LOOKED_AT} frames of each were looked at; open blocks and memory are exact")
    return "; ".join(said)


def _band(values: Whole) -> Band:
    return Band(values.min(axis=1, initial=np.iinfo(np.int64).max), values.max(axis=1, initial=0))


def _tour(plan: Plan, frames: int) -> Whole:
    """Return the first positions in the order in which the stage goes to them."""
    positions = plan.rows(0, min(frames, 100 * _BINS))["position"].astype(np.int64)
    visits: Whole = positions[np.diff(positions, prepend=-1) != 0]
    # Until all have been visited: what comes then is the same again, or nearly.
    last = np.unique(visits, return_index=True)[1].max(initial=-1)
    return visits[: last + 1]


def block_spans(plan: Plan, stop: int) -> Rows:
    """Return the shards (or else chunks) of several frames that are open in the first places of a plan.

    Returns
    -------
    A record array with `lane` (a number that no other open block has), `first` and `last` (the places of its first
    frame, and of its last one, or the last that is looked at) and `array`.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "c": 2, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> block_spans(plan, 7).tolist()
    [(0, 0, 2, 0), (0, 4, 6, 0), (1, 1, 3, 0), (1, 5, 6, 0)]
    """
    steps = assemble(plan, "shard").rows(0, stop)
    lanes = steps["buffer"]
    opens, closes = (np.flatnonzero((lanes >= 0) & ((steps["flags"] & flag) != 0)) for flag in (OPENS, CLOSES))
    first = opens[np.argsort(lanes[opens], kind="stable")]
    out = np.empty(len(first), [(name, "<i8") for name in ("lane", "first", "last", "array")])
    out["lane"], out["first"], out["array"] = lanes[first], first, plan.rows(0, stop)["array"][first]
    # In a lane a block closes before the next one opens, so that they pair off; only the last may be open at the end.
    ends = np.lexsort([closes, lanes[closes]])
    keys = lanes[closes][ends] * np.int64(stop + 1) + closes[ends]
    found = np.searchsorted(keys, out["lane"] * (stop + 1) + first)
    known = np.append(keys, -1)[np.minimum(found, len(keys))]
    out["last"] = np.where(known // (stop + 1) == out["lane"], known % (stop + 1), stop - 1)
    return out


class _Profile:
    """How many blocks are open, and what their buffers take, at each row of an assembly's cycles."""

    def __init__(self, assembly: Assembly) -> None:
        self.parts: list[tuple[int, int | None, Whole, Whole]] = []
        """First place, last place, and for each row of a cycle the open blocks and the bytes."""
        sizes = np.array([*assembly.buffer_bytes, 0], np.int64)  # no buffer is -1
        begin = 0
        for stretch in assembly.stretches:
            columns = stretch.columns
            opens, closes = ((columns["flags"] & flag) != 0 for flag in (OPENS, CLOSES))
            held = sizes[columns["buffer"]]
            blocks = np.cumsum(opens) - np.cumsum(closes) + closes
            taken = np.cumsum(opens * held) - np.cumsum(closes * held) + closes * held
            end = None if stretch.repeats is None else begin + len(columns) * stretch.repeats
            self.parts.append((begin, end, blocks.astype(np.int64), taken.astype(np.int64)))
            begin = begin if end is None else end

    def band(self, edges: Whole, *, bytes_: bool) -> Band:
        """Return the extremes between each edge and the next."""
        low = np.full(len(edges) - 1, np.iinfo(np.int64).max)
        high = np.zeros(len(edges) - 1, np.int64)
        for begin, end, blocks, taken in self.parts:
            values = taken if bytes_ else blocks
            a = np.maximum(edges[:-1], begin) - begin
            b = (edges[1:] if end is None else np.minimum(edges[1:], end)) - begin
            here = np.flatnonzero(a < b)
            if not len(here):
                continue
            length = len(values)
            first = a[here] % length
            # A bin that is longer than a cycle sees all of it; another lies in it, or in it and the next.
            span = np.minimum(b[here] - a[here], length)
            twice = np.concatenate([values, values, values[:1]])
            cuts = np.column_stack([first, first + span]).reshape(-1)
            low[here] = np.minimum(low[here], np.minimum.reduceat(twice, cuts)[::2])
            high[here] = np.maximum(high[here], np.maximum.reduceat(twice, cuts)[::2])
        return Band(low, high)
