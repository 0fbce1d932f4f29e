"""Given the loops of a useq sequence, this answers: which dimensions, and which rules for omitted frames, are these?

Positions that take part in fewer items of a loop, or in others, have counts and lists of their own; the dimension is
that of the position with the most. Indices are those of the events: nothing is left out of a loop because nobody
acquires it, that is for `AcquisitionSettings.holes` to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from attrs import evolve

from ome_writers.items import Channel, Position
from ome_writers.omission import Omit
from ome_writers.settings import Dimension
from ome_writers.useq.loops import GRID, POSITION, Gap, Loop, Nest, NoLoops, Order, Visit
from ome_writers.useq.positions import distinct, factor

UnitTuple = tuple[float, str]
"""The size of an element, and its unit: `(0.5, "um")`."""
Label = tuple[str, str, int]
"""Configuration and group of a channel, and how many of these came before."""

TYPES: Final[dict[str, tuple[str, str | None]]] = {
    "t": ("time", "second"),
    "c": ("channel", None),
    "z": ("space", "micrometer"),
}
NO_CHANNEL: Final[Label] = ("current", "", 0)
"""What is acquired where a sequence names no channel, if it names one elsewhere."""


def names_of(nests: Sequence[Nest], order: Order) -> list[str]:
    """Return the loops over times, channels and depths, the slowest first."""
    names = [*order.outer, *order.inner]
    for nest in nests:
        before = 0
        for axis in nest.axes:  # one that nobody has more than one item of may stand anywhere
            if axis not in names:
                names.insert(before, axis)
            before = names.index(axis) + 1
    return names


def place_of(nest: Nest, names: Sequence[str], order: Order) -> int:
    """Return where among the other dimensions that of the positions stands: as in the sequence, if that may be."""
    axes = list(nest.loops)
    first = min(axes.index(axis) for axis in (POSITION, GRID) if axis in axes)
    before = max((names.index(axis) + 1 for axis in axes[:first]), default=0)
    if sum(map(len, order.tours)) == 1:
        return before
    earliest = max((names.index(axis) + 1 for axis in order.outer), default=0)
    latest = min((names.index(axis) for axis in order.inner), default=len(names))
    return min(max(before, earliest), latest)


def dimension_of(axis: str, nests: Sequence[Nest], given: Mapping[str, UnitTuple]) -> dict[str, Any]:
    """Return what a loop is in the words of `Dimension`: that of the position with the most items.

    Raises
    ------
    NoLoops
        If a channel is not the same at all positions.
    """
    if axis == "c":
        words = channel_words(union(nests))
        told = _told(nests, factor(given["z"][1] if "z" in given else TYPES["z"][1]))
        return words | {"coords": [evolve(one, **more) for one, more in zip(words["coords"], told, strict=True)]}
    loops = [nest.loops[axis] for nest in nests if axis in nest.loops]
    if axis not in TYPES:
        return {"name": axis, "type": "other", "count": loops[0].count}
    return loop_words(axis, max(loops, key=lambda loop: loop.count or 0), given.get(axis))


def loop_words(axis: str, loop: Loop, given: UnitTuple | None) -> dict[str, Any]:
    """Return what a loop over times or depths is in the words of `Dimension`."""
    kind, unit = TYPES[axis]
    words: dict[str, Any] = {"name": axis, "type": kind, "count": loop.count, "unit": unit}
    size = factor(given[1] if given else unit)
    if loop.items:
        words |= _spread(loop, size)
    elif loop.step:
        words["scale"] = _clean(loop.step * size)
    if not given:
        return words
    # Items without a distance have the given one.
    spread = {} if any(words.get("coords", ())) else {"coords": None}
    return words | spread | scaled(given)


def channel_words(labels: Sequence[Label]) -> dict[str, Any]:
    """Return what a loop over channels is in the words of `Dimension`."""
    coords = [Channel(name=name) for name in channel_names(labels)]
    return {"name": "c", "type": "channel", "count": len(coords), "unit": None, "coords": coords}


def scaled(given: tuple[float | None, str]) -> dict[str, Any]:
    """Return a size of elements and its unit in the words of `Dimension`."""
    return {"scale": given[0], "unit": given[1]}


def cut(
    words: Sequence[Mapping[str, Any]], chunk_shapes: Mapping[str, int], shard_shapes: Mapping[str, int]
) -> list[Dimension]:
    """Return dimensions of their words, cut into chunks and shards."""
    fans = ("position", "camera")
    return [
        Dimension(
            **one,
            chunk_size=None if one.get("type") in fans else chunk_shapes.get(one["name"]),
            shard_size_chunks=None if one.get("type") in fans else shard_shapes.get(one["name"]),
        )
        for one in words
    ]


def _spread(loop: Loop, unit: float) -> dict[str, Any]:
    """Return where the items of a loop lie: by scale and translation if evenly and upwards, else one by one."""
    places = [_clean(float(item) * unit) for item in loop.items]
    step = (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else (loop.step or 0.0) * unit
    if step > 0 and np.allclose(places, places[0] + step * np.arange(len(places)), rtol=1e-9, atol=1e-6 * step):
        return {"scale": _clean(step), "translation": places[0] or None}
    return {"coords": places}


def _clean(value: float) -> float:
    """Return a sum without the noise of its last digits."""
    return float(f"{value:.12g}")


# ── channels
# ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def labels_of(nest: Nest) -> tuple[Label, ...]:
    """Return what tells the channels of a position from each other, and is the same at others."""
    if "c" not in nest.loops:
        return (NO_CHANNEL,)
    before: Counter[tuple[str, str]] = Counter()
    labels = []
    for channel in nest.loops["c"].items:
        pair = (channel.config, channel.group)
        labels.append((*pair, before[pair]))
        before[pair] += 1
    return tuple(labels)


def union(nests: Sequence[Nest]) -> list[Label]:
    """Return the channels of all positions, those of the position with the most first."""
    lists = sorted({labels_of(nest): None for nest in nests}, key=len, reverse=True)
    return list(dict.fromkeys(label for labels in lists for label in labels))


def _told(nests: Sequence[Nest], size: float) -> list[dict[str, float]]:
    """Return what is known of each channel beside its name, in the words of `Channel`; `size` is that of 1 µm in z.

    Raises
    ------
    NoLoops
        If that is not the same at all positions, and there is an end.
    """
    found: dict[Label, set[tuple[float | None, float]]] = {}
    for nest in nests:
        labels = labels_of(nest)
        pairs = zip(nest.exposures or (None,) * len(labels), nest.offsets or (0.0,) * len(labels), strict=True)
        for label, pair in zip(labels, pairs, strict=True):
            found.setdefault(label, set()).add(pair)
    endless = any(loop.endless for nest in nests for loop in nest.loops.values())
    if any(len(pairs) > 1 for pairs in found.values()) and not endless:
        raise NoLoops("channels that are exposed or focused in another way at other positions")
    made = []
    for label in union(nests):
        exposure, offset = found[label].pop() if len(found[label]) == 1 else (None, 0.0)
        told = {"exposure_time": exposure and _clean(exposure / 1000), "z_offset": _clean(offset * size)}
        made.append({name: value for name, value in told.items() if value})
    return made


def channel_names(labels: Sequence[Label]) -> list[str]:
    """Return a name for each channel: its configuration, with its group or a number where that is not enough."""
    counts = Counter(config for config, *_ in labels)
    return distinct([config if counts[config] == 1 else f"{config} ({group})" for config, group, _ in labels])


# ── what single positions have of their own
# ───────────────────────────────────────────────────────────────────────────


def with_own_lists(
    places: Sequence[Position], visits: Sequence[Visit], nests: Sequence[Nest], dims: Sequence[Dimension]
) -> tuple[Position, ...]:
    """Return the positions with their own counts and lists, where they differ from the dimensions.

    Raises
    ------
    NoLoops
        If a list would name one place twice, or a time that nobody knows.
    """
    ends = all(dim.count is not None for dim in dims)
    if ends and any(dim.name == "t" and dim.name not in nest.loops for dim in dims for nest in nests):
        raise NoLoops("positions of which some have no times")
    by_nest: dict[int, tuple[dict[str, int], dict[str, list[Any]]]] = {}
    for nest in nests:
        counts: dict[str, int] = {}
        lists: dict[str, list[Any]] = {}
        for dim in dims:
            if dim.name == "c":
                own, every = labels_of(nest), union(nests)
                names = channel_names(every)
                if own == tuple(every[: len(own)]):
                    counts |= {"c": len(own)} if len(own) < len(every) else {}
                else:
                    lists["c"] = [names[every.index(label)] for label in own]
            elif dim.name in ("t", "z") and dim.count is not None:
                longest = max(
                    (n.loops[dim.name] for n in nests if dim.name in n.loops), key=lambda loop: loop.count or 0
                )
                # Without planes, the one that there is lies where the position does.
                items = nest.loops[dim.name].items if dim.name in nest.loops else (0.0,)
                if items == longest.items[: len(items)]:
                    counts |= {dim.name: len(items)} if len(items) < len(longest.items) else {}
                else:
                    if len(set(items)) < len(items):
                        raise NoLoops("positions that go to one place twice")
                    unit = factor(dim.unit)
                    lists[dim.name] = [_clean(float(item) * unit) for item in items]
        by_nest[nest.number] = counts, lists
    return tuple(
        evolve(place, counts=by_nest[nest.number][0], coords=by_nest[nest.number][1])
        for place, (nest, _) in zip(places, visits, strict=True)
    )


def omissions(visits: Sequence[Visit], nests: Sequence[Nest]) -> tuple[Omit, ...]:
    """Return the rules for what channels leave out."""
    if not any(nest.gaps for nest in nests):
        return ()
    every = union(nests)
    having = {label: [nest.number for nest in nests if label in labels_of(nest)] for label in every}
    by_rule: dict[Gap, list[int]] = {}
    for nest in nests:
        own = labels_of(nest)
        for gap in nest.gaps:
            by_rule.setdefault(evolve(gap, channel=every.index(own[gap.channel])), []).append(nest.number)
    # Rules that are alike but for their channels are one; those that hold wherever the channel is name no position.
    together: dict[tuple[str, int | str | None, tuple[int, ...]], list[int]] = {}
    for rule, acquired in by_rule.items():
        here = () if acquired == having[every[rule.channel]] else tuple(acquired)
        together.setdefault((rule.axis, rule.kept, here), []).append(rule.channel)
    rules = []
    for (axis, kept, numbers), channels in together.items():
        where: dict[str, Any] = {}
        if numbers:
            where["p"] = [place for place, (nest, _) in enumerate(visits) if nest.number in numbers]
        if len(channels) < len(every):
            where["c"] = channels[0] if len(channels) == 1 else channels
        rules.append(Omit(where=where, unless={} if kept is None else {axis: kept}))
    return tuple(rules)
