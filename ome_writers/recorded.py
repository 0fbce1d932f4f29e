"""Given recorded frames and a plan, this answers: in what order does the plan want them, and are they the right ones?

An axis that the source names (t, c, z, p) is followed by its name, whatever its place. What no axis names is taken to
be stored in order of arrival.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.order import Rows
from ome_writers.plan import Plan
from ome_writers.sources import COLOR, LETTERS, Frames, SourceError, size_text


def arranged(frames: Frames, plan: Plan) -> Frames:
    """Return the frames in the order of the plan.

    Raises
    ------
    SourceError
        If they are not as many, as large, or of the type that the plan wants.
    """
    spec = plan.layout.arrays[0]
    _require_one_kind(frames, plan)
    wanted = (spec.shape[-2] or 0, spec.shape[-1] or 0)
    faults = []
    if plan.frames is not None and plan.frames != len(frames):
        faults.append(f"holds {frames.summary}, but {plan.frames} frames are planned")
    if frames.frame_shape != wanted:
        faults.append(
            f"its frames are {size_text(frames.frame_shape)}, but the settings say {size_text(wanted)} (y × x)"
        )
    if frames.dtype != spec.dtype:
        faults.append(f"its dtype is {frames.dtype}, but the settings say {spec.dtype}")
    if faults:
        raise SourceError("\n".join(f"{frames.name}: {fault}" for fault in faults))
    loops = _loops(plan, plan.rows(0, len(frames)))
    if COLOR in dict(frames.axes):
        if "c" not in loops:
            raise SourceError(
                f"{frames.name}: its images have colours, but the settings have no dimension of type 'channel'"
            )
        frames = evolve(
            frames, axes=tuple(("c" if letter == COLOR else letter, length) for letter, length in frames.axes)
        )
    named = [letter for letter, length in frames.axes if letter != "?" and length > 1]
    if not named or any(letter not in loops for letter in named) or len(set(named)) < len(named):
        return frames
    return evolve(frames, order=_order(frames, loops))


def _require_one_kind(frames: Frames, plan: Plan) -> None:
    kinds = {(spec.shape[-2:], spec.dtype) for spec in plan.layout.arrays}
    if len(kinds) > 1:
        said = " and ".join(sorted(f"{size_text([side or 0 for side in shape])} {dtype}" for shape, dtype in kinds))
        raise SourceError(
            f"{frames.name}: its frames are alike, but the cameras of the settings have frames of {said}; write those "
            "of each camera by settings of its own"
        )


def _loops(plan: Plan, rows: Rows) -> dict[str, NDArray[Any]]:
    """Return the index of each row in each loop of the plan, by the loop's letter."""
    loops: dict[str, NDArray[Any]] = {}
    for dim in plan.settings.dimensions[:-2]:
        column = plan.places.reading.indices(rows, dim.name)
        letter = LETTERS.get(str(dim.type), dim.name)
        loops[dim.name if letter in loops else letter] = column
    return loops


def _order(frames: Frames, loops: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Return for each place in the plan the number of its frame in stored order."""
    named = [letter for letter, _ in frames.axes if letter in loops]
    for letter, length in frames.axes:
        if letter in loops and (planned := int(loops[letter].max()) + 1) != length:
            raise SourceError(f"{frames.name}: its axis {letter} has a length of {length}, but {planned} are planned")
    unnamed = tuple(length for letter, length in frames.axes if letter not in loops)
    # What no axis names is stored in order of arrival: number the combinations of the other loops as they first come.
    key = np.zeros(len(frames), np.int64)
    for letter, column in loops.items():
        if letter not in named:
            key = key * (int(column.max()) + 1) + column
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    arrival = np.argsort(np.argsort(first))[which]
    others = iter(np.unravel_index(arrival, unnamed) if unnamed else ())
    places = [loops[letter] if letter in loops else next(others) for letter, _ in frames.axes]
    return np.ravel_multi_index(places, [length for _, length in frames.axes])
