"""Given a row of the frame table, this answers: which index has each loop there? And which rows have such indices?

A row says an array and a storage index. Along most axes that index is the loop's. Along some it numbers the elements
that the array holds (`ArraySpec.elements`); and two loops may share an axis, of which they are the digits:

    c = GFP, camera = right      code 1 · 2 + 1 = 3      rank of 3 among the elements of the array
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from ome_writers.layout import Layout, roles_of
from ome_writers.order import Rows, Weights
from ome_writers.settings import AcquisitionSettings


class Reading:
    """Reads the indices of loops off rows, and back.

    Parameters
    ----------
    loops
        Name of each loop, and its count.
    axes
        Name of each axis of the arrays, and how many elements it can have.
    weights
        See `order.Weights`.
    fans
        For each loop that is no axis: its index, by array.
    elements
        For each array: the elements that it holds, by name of the axis, where these are not simply all.
    """

    def __init__(
        self,
        loops: Mapping[str, int | None],
        axes: Mapping[str, int | None],
        weights: Weights,
        fans: Mapping[str, Sequence[int]],
        elements: Sequence[Mapping[str, Sequence[int]]],
    ) -> None:
        names = list(axes)
        self.loops, self.fans, self._elements = loops, fans, elements
        self.axes = {loop: names.index(axis) for loop, (axis, _) in weights.items()}
        """For each loop that is an axis, or part of one: which."""
        self._weights = {loop: weight for loop, (_, weight) in weights.items()}
        self._names, self._counts = names, list(axes.values())
        self.is_plain = not any(elements)
        """Whether every array holds all elements of its axes."""

    @property
    def is_regular(self) -> bool:
        """Whether each axis is a loop, and there is an array for each choice of the others, which holds all of them."""
        choices = prod(self.loops[name] or 1 for name in self.fans)
        return self.is_plain and choices == len(self._elements) and len(set(self.axes.values())) == len(self.axes)

    # ── from rows ───────────────────────────────────────────────────────────────────────────────────────────────────

    def indices(self, rows: Rows, name: str) -> NDArray[np.int64]:
        """Return the index of a loop in each row."""
        array = rows["array"]
        if name in self.fans:
            chosen: NDArray[np.int64] = np.array(self.fans[name], np.int64)[array]
            return chosen
        axis = self.axes[name]
        code = self._codes(array, rows["index"][:, axis].astype(np.int64), axis)
        found: NDArray[np.int64] = self._digit(name, code)
        return found

    def at(self, array: int, index: Sequence[int]) -> dict[str, int]:
        """Return the index in every loop of what lies in an array at an index."""
        elements = self._elements[array]
        codes = [elements[name][k] if name in elements else k for name, k in zip(self._names, index, strict=False)]
        return {
            name: self._digit(name, codes[self.axes[name]]) if name in self.axes else self.fans[name][array]
            for name in self.loops
        }

    def _digit(self, name: str, code):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - a number, or many
        weight, count = self._weights[name], self.loops[name]
        return code if count is None or count == self._counts[self.axes[name]] else code // weight % count

    def _codes(self, array: NDArray[np.int32], index: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
        table = self._tables[axis]
        if table is None:
            return index
        if isinstance(table, tuple):
            start, step = table
            codes: NDArray[np.int64] = start[array] + step[array] * index
            return codes
        found: NDArray[np.int64] = table[array, index]
        return found

    @cached_property
    def _tables(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]] | NDArray[np.int64] | None]:
        """For each axis the elements by array and index: all of them in order, or start and step, or a table."""
        out: list[tuple[NDArray[np.int64], NDArray[np.int64]] | NDArray[np.int64] | None] = []
        for name, count in zip(self._names, self._counts, strict=True):
            held = [elements.get(name) for elements in self._elements]
            if not any(elements is not None for elements in held):
                out.append(None)
            elif all(elements is None or isinstance(elements, range) for elements in held):
                ranges = [elements if isinstance(elements, range) else range(1) for elements in held]
                out.append((np.array([one.start for one in ranges]), np.array([one.step for one in ranges])))
            else:
                table = np.tile(np.arange(count or 0), (len(held), 1))
                for row, elements in zip(table, held, strict=True):
                    row[: len(elements or ())] = list(elements or ())
                out.append(table)
        return out

    # ── and back ────────────────────────────────────────────────────────────────────────────────────────────────────

    def places(self, at: Mapping[str, int]) -> list[tuple[int, list[int]]]:
        """Return the arrays, and the index in each, that hold what has these indices in the loops; 0 where none is."""
        codes = [0] * len(self._counts)
        for name, axis in self.axes.items():
            codes[axis] += at.get(name, 0) * self._weights[name]
        found = []
        for array in self._by_fan.get(tuple(at.get(name, 0) for name in self.fans), ()):
            index = [
                rank.get(code, -1) if isinstance(rank, dict) else code
                for rank, code in zip(self._ranks(array), codes, strict=True)
            ]
            if min(index, default=0) >= 0:
                found.append((array, index))
        return found

    @cached_property
    def _by_fan(self) -> dict[tuple[int, ...], list[int]]:
        found: dict[tuple[int, ...], list[int]] = {}
        for array in range(len(self._elements)):
            found.setdefault(tuple(indices[array] for indices in self.fans.values()), []).append(array)
        return found

    def _ranks(self, array: int) -> list[dict[int, int] | None]:
        if array not in self._known:
            elements = self._elements[array]
            self._known[array] = [
                {element: rank for rank, element in enumerate(elements[name])} if name in elements else None
                for name in self._names
            ]
        return self._known[array]

    @cached_property
    def _known(self) -> dict[int, list[dict[int, int] | None]]:
        return {}

    def reached(self, array: int, extent: Sequence[int]) -> dict[str, int]:
        """Return 1 + the largest index in every loop, once an array reaches so far along its axes; none where it is 0.

        Costs the elements of the array, not its frames.
        """
        found: dict[str, int] = {}
        if not all(extent):
            return found
        for name in self.loops:
            if name in self.fans:
                found[name] = self.fans[name][array] + 1
                continue
            axis = self.axes[name]
            elements = self._elements[array].get(self._names[axis])
            if elements is None and self._counts[axis] == self.loops[name]:
                found[name] = extent[axis]
            else:
                codes = np.arange(extent[axis]) if elements is None else np.array(elements[: extent[axis]])
                found[name] = int(self._digit(name, codes).max()) + 1
        return found


def reading_of(settings: AcquisitionSettings, layout: Layout) -> Reading:
    """Return what reads the rows of a plan."""
    roles = roles_of(settings)
    fans = {
        dim.name: tuple(
            {"position": spec.position, "camera": spec.camera}.get(str(dim.type), dict(spec.fan).get(dim.name, 0))
            for spec in layout.arrays
        )
        for dim in settings.dimensions[:-2]
        if dim.name not in roles.weights
    }
    return Reading(
        {dim.name: dim.count for dim in settings.dimensions[:-2]},
        {axis.name: axis.count for axis in roles.axes},
        roles.weights,
        fans,
        [dict(spec.elements) for spec in layout.arrays],
    )
