"""Given a plan and what happened, this answers: on which pages do the planes of an OME-TIFF's images lie?

Which page a plane lies on says `pages.py`; where every planned frame has its page from the start, `placement_tiff.py`.
While a run lasts, all planned frames count (of an axis without end, those of its first block).

Planes come some thousands at a time, so that a run of any length costs little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.axes import Axis
from ome_writers.documents import Outcome
from ome_writers.gaps import inside
from ome_writers.images import paged_masks
from ome_writers.markup import attributes
from ome_writers.order import Rows
from ome_writers.pages import paging
from ome_writers.placement_tiff import place_tiff
from ome_writers.plan import Plan
from ome_writers.tiffblocks import indices

MOST_PLANES: Final = 100_000
"""Above so many planes, documents that are soon replaced do not list them one by one."""
TOGETHER: Final = 8192
"""Planes that come at once."""
_ROWS: Final = 1 << 16
"""Rows of a plan that are gone through at once."""


@frozen(eq=False)
class Batch:
    """Some planes of one image."""

    places: list[int]
    """Places in the plan; only where metadata came with frames."""
    loops: dict[str, list[int]]
    """Index of each plane along `T`, `C` and `Z`."""
    numbers: list[int]
    """Number of each plane's page in its file."""
    gaps: dict[str, list[int]]
    """Index along `T`, `C` and `Z` of each plane that did not come."""
    blanks: list[int]
    """Number of the blank page that stands for each of these."""


@frozen(eq=False)
class Pages:
    """The planes of one image."""

    batches: Callable[[], Iterable[Batch]]
    """Makes them, some thousands at a time."""
    any: bool
    """Whether there are any."""
    blanks: NDArray[np.int64]
    """Numbers of the pages that stand for planes that did not come."""
    stretches: Sequence[tuple[int, str, int]] = ()
    """Instead of all these: number of a page, where `FirstT` and so on say it is, and how many follow in order."""


NO_PAGES: Final = Pages(tuple, any=False, blanks=np.empty(0, np.int64))


def pages_of(
    plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]], axes: Sequence[Axis]
) -> tuple[list[Pages], dict[str, tuple[int, ...]]]:
    """Return the planes of each array that came, or while the run lasts those that will.

    And for which arrays each file has to end with a blank page, if for any.
    """
    if outcome.placed and plan.settings.format.name == "ome-tiff":
        return _placed(plan, outcome, shapes, axes), {}
    rows, came = _rows(plan, outcome, shapes)
    paged = paging(plan, rows, shapes)
    by_array = np.argsort(rows["array"], kind="stable")
    ends = np.cumsum(np.bincount(rows["array"], minlength=len(shapes)))[:-1]
    roles = [axis.role for axis in axes[:-2]]
    bare = outcome.bare or outcome.verdict == "running"
    masks = paged_masks(plan, shapes)
    found = []
    for mask, blank, mine in zip(masks, paged.blanks.tolist(), np.split(by_array, ends), strict=True):
        index = rows["index"][mine]
        # Number of the page of each plane. The first axis is for images that have no other.
        numbers = np.where(mask[None], -1 if bare else blank, -1)
        numbers[np.zeros(len(mine), int), *index.T] = paged.numbers[mine]
        absent = numbers >= 0
        here = came[mine]
        absent[np.zeros(here.sum(), int), *index[here].T] = False
        if outcome.verdict == "running" and plan.frames is None:
            # Said often, of more and more planes: so in few words.
            found.append(_told_in_stretches(numbers[0], roles))
            continue
        gaps, blanks = np.argwhere(absent)[:, 1:], numbers[absent]
        planes = _Listed(roles, mine[here], index[here], paged.numbers[mine[here]], gaps, blanks)
        found.append(Pages(planes.batches, any=bool(here.any() or len(blanks)), blanks=blanks))
    return found, {} if bare else paged.behind


def _told_in_stretches(numbers: NDArray[np.int64], roles: Sequence[str]) -> Pages:
    """Return the planes of an image whose pages are `numbers`, told where pages follow each other as planes do."""
    flat = numbers.reshape(-1)
    starts = np.r_[0, np.flatnonzero(np.diff(flat) != 1) + 1]
    counts = np.diff(starts, append=len(flat)).tolist()
    index = indices(starts, numbers.shape) if roles else np.empty((len(starts), 0), np.int64)
    firsts = _loops(roles, index)
    columns = zip(flat[starts].tolist(), counts, *(firsts[role] for role in "CZT"), strict=True)
    told = [
        (page, attributes({"FirstC": c, "FirstZ": z, "FirstT": t}), count)
        for page, count, c, z, t in columns
        if page >= 0
    ]
    return evolve(NO_PAGES, any=bool(told), stretches=told)


@frozen(eq=False)
class _Listed:
    """Planes of an image in order of arrival."""

    roles: Sequence[str]
    places: NDArray[np.int64]
    index: NDArray[np.integer[Any]]
    numbers: NDArray[np.int64]
    gaps: NDArray[np.int64]
    """Indices of those that did not come."""
    blanks: NDArray[np.int64]

    def batches(self) -> Iterator[Batch]:
        for first in range(0, max(len(self.places), len(self.blanks)), TOGETHER):
            part = slice(first, first + TOGETHER)
            yield Batch(
                places=self.places[part].tolist(),
                loops=_loops(self.roles, self.index[part]),
                numbers=self.numbers[part].tolist(),
                gaps=_loops(self.roles, self.gaps[part]),
                blanks=self.blanks[part].tolist(),
            )


# ── planes that have their pages from the start ───────────────────────────────────────────────────────────────────────


def _placed(plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]], axes: Sequence[Axis]) -> list[Pages]:
    """Return the planes of each array where every one has its page, whether it came or not.

    While a run lasts that has no end, or very many planes, they are told in stretches, where the readers' order is the
    one in which they lie.
    """
    roles = [axis.role for axis in axes[:-2]]
    axis = next((axis for axis, size in enumerate(plan.layout.arrays[0].shape) if size is None), None)
    placement = place_tiff(plan) if outcome.verdict == "running" else None
    if placement and (prod(shapes[0][:axis]) == 1 if axis is not None else (plan.frames or 0) > MOST_PLANES):
        found = []
        for array, shape in enumerate(shapes):
            stretches = placement.stretches(array, None if axis is None else shape[axis])
            told = [
                (page, attributes({f"First{role}": turn * (axis == at) for role, at in _columns(roles)}), pages)
                for page, turn, pages in stretches
            ]
            found.append(evolve(NO_PAGES, any=True, stretches=told))
        return found
    came, places = _came(plan, outcome, shapes)
    running = outcome.verdict == "running"
    found = []
    every = planned_planes(plan, shapes)
    firsts = first_pages(plan, shapes, None if running else every)
    for array, (shape, mine, first, planned) in enumerate(zip(shapes, came, firsts, every, strict=True)):
        number: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None
        if placement and axis is not None:
            number = partial(placement.numbers_at, array)
        elif running:  # while it lasts, planes that are never planned have pages too
            number = partial(_in_storage_order, shape, first)
        absent = np.flatnonzero(~mine[planned])
        blanks = number(indices(planned[absent], shape[:-2])) if number else first + absent
        here = None if places is None else places[array]
        planes = _InOrder(roles, shape, mine, here, planned, first, number)
        found.append(Pages(planes.batches, any=bool(len(planned)), blanks=blanks))
    return found


def _in_storage_order(shape: tuple[int, ...], first: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
    steps = np.array([prod(shape[axis + 1 : -2]) for axis in range(len(shape) - 2)], np.int64)
    numbers: NDArray[np.int64] = first + (index * steps).sum(axis=1)
    return numbers


def _columns(roles: Sequence[str]) -> list[tuple[str, int]]:
    """Return the readers' axes, and which of the array's each is; -1 for none."""
    return [(role, roles.index(role) if role in roles else -1) for role in "CZT"]


@frozen(eq=False)
class _InOrder:
    """Planes of an image in storage order."""

    roles: Sequence[str]
    shape: tuple[int, ...]
    came: NDArray[np.bool_]
    places: NDArray[np.int64] | None
    planned: NDArray[np.int64]
    """Numbers of those that are planned, ascending."""
    first: int
    number: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None
    """Says on which pages planes lie that do not follow the first."""

    def batches(self) -> Iterator[Batch]:
        for begin in range(0, len(self.planned), TOGETHER):
            flat = self.planned[begin : begin + TOGETHER]
            here = self.came[flat]
            index = indices(flat, self.shape[:-2])
            numbers = self.first + begin + np.arange(len(flat)) if self.number is None else self.number(index)
            yield Batch(
                places=[] if self.places is None else self.places[flat[here]].tolist(),
                loops=_loops(self.roles, index[here]),
                numbers=numbers[here].tolist(),
                gaps=_loops(self.roles, index[~here]),
                blanks=numbers[~here].tolist(),
            )


def _came(
    plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]]
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.int64]] | None]:
    """Return for each array which of its planes came, in storage order; and their places, if anyone asks for these."""
    sizes = [prod(shape[:-2]) for shape in shapes]
    bounds = np.cumsum([0, *sizes])
    steps = np.array([[prod(shape[axis + 1 : -2]) for axis in range(len(shape) - 2)] for shape in shapes], np.int64)
    came = np.zeros(bounds[-1], bool)
    places = np.zeros(bounds[-1], np.int64) if outcome.records else None
    plan, stop = _told(plan, outcome, shapes)
    for first in range(0, stop, _ROWS):
        rows = plan.rows(first, min(first + _ROWS, stop))
        # Frames that did not come may lie beyond the arrays, which end with the last that did.
        here = np.flatnonzero(~inside(outcome.gaps, np.arange(first, first + len(rows))))
        array = rows["array"][here]
        flat = bounds[array] + (rows["index"][here] * steps[array]).sum(axis=1)
        came[flat] = True
        if places is not None:
            places[flat] = first + here
    return np.split(came, bounds[1:-1]), None if places is None else np.split(places, bounds[1:-1])


def _told(plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]]) -> tuple[Plan, int]:
    """Return the plan of the frames that are told of, from its first on, and how many they are."""
    if outcome.verdict != "running":
        return plan, outcome.cursor
    if plan.frames is None:
        endless = plan.settings.dimensions[0].name
        axis = plan.layout.arrays[0].dimension_names.index(endless)
        plan = plan.select(**{endless: slice(0, shapes[0][axis])})
    return plan, plan.frames or 0


def planned_planes(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.int64]]:
    """Return for each array the numbers of its planned planes, in storage order."""
    if not plan.settings.is_ragged:
        return [np.arange(prod(shape[:-2])) for shape in shapes]
    return [np.flatnonzero(mask) for mask in paged_masks(plan, shapes)]


def first_pages(
    plan: Plan, shapes: Sequence[tuple[int, ...]], planned: Sequence[NDArray[np.int64]] | None = None
) -> list[int]:
    """Return the number of each array's first page in the end, if pages were laid out before the frames came.

    Then they lie in storage order, one image of a file after the other; each plane has one, or each of the `planned`.
    """
    before: dict[str, int] = {}
    out = []
    for array, (spec, shape) in enumerate(zip(plan.layout.arrays, shapes, strict=True)):
        out.append(before.get(spec.path, 0))
        before[spec.path] = out[-1] + (prod(shape[:-2]) if planned is None else len(planned[array]))
    return out


def _loops(roles: Sequence[str], index: NDArray[np.integer[Any]]) -> dict[str, list[int]]:
    columns = dict(zip(roles, index.T.tolist(), strict=True))
    return {role: columns.get(role, [0] * len(index)) for role in "TCZ"}


def _rows(plan: Plan, outcome: Outcome, shapes: Sequence[tuple[int, ...]]) -> tuple[Rows, NDArray[np.bool_]]:
    """Return the rows that have a page of their own, from the first of the plan on, and which of them came."""
    plan, stop = _told(plan, outcome, shapes)
    if outcome.verdict != "running":
        stop = outcome.end
        return plan.rows(0, stop), ~inside(outcome.gaps, np.arange(stop))
    return plan.rows(0, stop), np.ones(stop, bool)
