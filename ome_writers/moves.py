"""Given a plan, this answers: what moves between one frame and the next, and what does the whole order cost?

A cost is summed up over the loops of a plan, not over its frames: that of a body, so many times, and that of the ways
back from the end of each turn to the beginning of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from attrs import evolve, fields, frozen
from numpy.typing import NDArray

from ome_writers.cycles import Turns, Whole
from ome_writers.physical import (
    CAMERA,
    CHANNEL,
    FRAME,
    PICO,
    PLANE,
    POSITION,
    TICK,
    X_UNSAID,
    Y_UNSAID,
    Z_UNSAID,
    X,
    Y,
    Z,
    parts,
    world_of,
)  # fmt: skip
from ome_writers.plan import Plan

Changes = NDArray[np.void]

DTYPE: Final = np.dtype(
    [
        ("frame", "<i8"),
        *[(name, "?") for name in ("time", "x", "y", "z", "channel", "camera")],
        *[("path", "<f8"), ("travel", "<f8")],
    ]
)


@frozen
class Cost:
    """What moves between the frames of a plan, summed up; as text a small table.

    The way to the first frame is not counted, since nobody knows where it begins. Of a plan without end, it is one
    turn of what repeats without end (two rounds, if a snake within goes back in every second one), with the way to
    the next.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, Dimension, Position, compile
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=[
    ...     Dimension(name="t", count=10), Dimension(name="p", coords=[
    ...         Position(name="A1", x_coord=0, y_coord=0), Position(name="A2", x_coord=9000, y_coord=0)]),
    ...     Dimension(name="c", count=2), Dimension(name="y", count=8), Dimension(name="x", count=8)]))
    >>> print(cost(plan))
    frames           40
    time points       9
    stage moves      19  171000 µm
    z moves           0  0 µm
    channel changes  39
    camera changes    0
    """

    frames: int
    """Frames that were counted."""
    time_points: int
    """How often the next frame belongs to another time point, for which a controller may have to wait."""
    stage_moves: int
    """Moves in x, y or both."""
    stage_path: float
    """Length of all moves in x and y, each along a straight line, in micrometers; NaN if some are not known."""
    z_moves: int
    z_travel: float
    """Length of all moves in z, in micrometers; NaN if some are not known."""
    channel_changes: int
    camera_changes: int

    def __str__(self) -> str:
        lengths = {"stage_moves": self.stage_path, "z_moves": self.z_travel}
        lines = []
        for name in (one.name for one in fields(Cost) if one.name not in ("stage_path", "z_travel")):
            length = lengths.get(name)
            said = "" if length is None else "  of unknown length" if np.isnan(length) else f"  {length:.10g} µm"
            lines.append(f"{name.replace('_', ' '):15}  {getattr(self, name):>{len(str(self.frames))}}{said}")
        return "\n".join(lines)


def changes(plan: Plan, start: int = 0, stop: int | None = None) -> Changes:
    """Return what moves before each of the places `start` to `stop`; see `Plan.changes`."""
    stop = plan.stretch(start, stop)
    numbers = world_of(plan).numbers(plan.rows(max(start - 1, 0), stop))
    if start == 0:
        numbers = np.concatenate([numbers[:1], numbers])  # before the first frame nothing is known to move
    return _between(numbers[:-1], numbers[1:])


def cost(plan: Plan) -> Cost:
    """Return what the order of a plan costs: which devices move how often, and how far.

    Costs the loops, not the frames.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> def changes_of_channel(sizes):
    ...     dims = dims_from_standard_axes({**sizes, "y": 8, "x": 8})
    ...     return cost(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)))
    >>> changes_of_channel({"t": 1000, "c": 4, "z": 50}).channel_changes
    3999
    >>> changes_of_channel({"t": 1000, "z": 50, "c": 4}).channel_changes
    199999
    """
    pieces = parts(plan)
    if plan.frames is None:
        pieces = pieces[-1:]
    sums = [_sum(body, around) for body, around in pieces]
    totals = [total for total, _, _ in sums]
    seams = [_total(_between(last[None], first[None])) for (_, _, last), (_, first, _) in pairwise(sums)]
    return _added([*totals, *seams])


def _sum(body: Whole, around: Sequence[Turns]) -> tuple[Cost, Whole, Whole]:
    """Return the cost of a body and its loops, and the first and the last row."""
    total = _total(_between(body[:-1], body[1:]), len(body))
    first, last = body[0], body[-1]
    for turns in reversed(around):
        if turns.step is not None:
            back = _total(_between(last[None], first[None] + turns.step))
            repeats = turns.repeats or 1
            backs = repeats - (turns.repeats is not None)
            total = _added([_often(total, repeats), _often(back, backs)])
            last = last + turns.step * (repeats - 1)
        else:
            shifts = turns.shifts
            back = _total(_between(last + shifts[:-1], first + shifts[1:]))
            total = _added([_often(total, len(shifts)), back])
            last = last + shifts[-1]
    return total, first, last


def _between(before: Whole, after: Whole) -> Changes:
    """Return what moves from rows to others."""
    out = np.empty(len(after), DTYPE)
    elsewhere = before[:, POSITION] != after[:, POSITION]
    out["frame"] = after[:, FRAME]
    for name, column in (("time", TICK), ("channel", CHANNEL), ("camera", CAMERA)):
        out[name] = before[:, column] != after[:, column]
    known = {}
    moved = after - before
    for name, column, unsaid in (("x", X, X_UNSAID), ("y", Y, Y_UNSAID), ("z", Z, Z_UNSAID)):
        unknown = np.column_stack([before[:, unsaid], after[:, unsaid]]) != 0
        known[name] = ~unknown.any(axis=1)
        if name == "z":  # channels are focused as far apart wherever the stage may be
            known[name] |= unknown.all(axis=1) & ~elsewhere & (moved[:, PLANE] == 0)
        # Of two depths that nobody knows only the planes can tell whether they differ.
        perhaps = elsewhere if name != "z" else (moved[:, PLANE] != 0) | (unknown[:, 0] != unknown[:, 1])
        out[name] = np.where(known[name], moved[:, column] != 0, perhaps)
    path = np.hypot(moved[:, X], moved[:, Y]) / PICO
    out["path"] = np.where(known["x"] & known["y"], path, np.where(elsewhere, np.nan, 0.0))
    out["travel"] = np.where(known["z"], np.abs(moved[:, Z]) / PICO, np.where(out["z"], np.nan, 0.0))
    return out


def _total(found: Changes, frames: int = 0) -> Cost:
    return Cost(
        frames=frames,
        time_points=int(found["time"].sum()),
        stage_moves=int((found["x"] | found["y"]).sum()),
        stage_path=float(found["path"].sum()),
        z_moves=int(found["z"].sum()),
        z_travel=float(found["travel"].sum()),
        channel_changes=int(found["channel"].sum()),
        camera_changes=int(found["camera"].sum()),
    )


def _often(one: Cost, times: int) -> Cost:
    return evolve(one, **{field.name: getattr(one, field.name) * times for field in fields(Cost)})


def _added(costs: Sequence[Cost]) -> Cost:
    return Cost(**{field.name: sum(getattr(one, field.name) for one in costs) for field in fields(Cost)})
