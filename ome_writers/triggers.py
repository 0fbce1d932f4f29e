"""Given a plan, this answers: what does a hardware controller have to do for each frame, and in what runs?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers import cycles as runs
from ome_writers.check import is_finite, is_number, shown
from ome_writers.cycles import Run, Turns, Whole
from ome_writers.errors import PlanError, Problem
from ome_writers.physical import (
    CAMERA,
    CHANNEL,
    EXPOSURE,
    FRAME,
    FREE,
    NANO,
    PICO,
    POSITION,
    PUBLISHED,
    TIME,
    TIME_UNSAID,
    X,
    Y,
    Z,
    channels_of,
    parts,
    world_of,
)  # fmt: skip
from ome_writers.plan import Plan

Triggers = NDArray[np.void]
Exposure = float | Mapping[str, float] | None

DTYPE: Final = np.dtype(
    [
        *[("frame", "<i8"), ("position", "<i4"), ("time", "<f8"), ("x", "<f8"), ("y", "<f8"), ("z", "<f8")],
        *[("channel", "<i4"), ("camera", "<i4"), ("exposure", "<f8")],
    ]
)
HEAD: Final = "frame,position,time (s),x (µm),y (µm),z (µm),channel,camera,exposure (s)\n"
"""The first line of a CSV file of triggers."""


@frozen(eq=False)
class Cycle:
    """Rows that a controller can loop: row `k` of repeat `j` is `rows[k]`, moved by `j` steps.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, Dimension, compile
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=[
    ...     Dimension(name="t", count=60, scale=2, unit="s"), Dimension(name="c", coords=["DAPI", "GFP"]),
    ...     Dimension(name="y", count=8), Dimension(name="x", count=8)]))
    >>> [cycle] = plan.cycles()
    >>> cycle.rows["channel"].tolist(), cycle.repeats, float(cycle.step["time"])
    ([0, 1], 60, 2.0)
    """

    repeats: int | None
    """`None`: without end."""
    _run: Run
    _exposures: NDArray[np.float64]

    @property
    def rows(self) -> Triggers:
        """The rows of the first repeat, as those of `Plan.triggers`."""
        return _published(self._run.rows, self._exposures)

    @property
    def step(self) -> np.void:
        """How far each repeat is moved, by the names of the columns; 0 where nothing moves or nothing is known."""
        step: np.void = _published(self._run.step[None] * (np.arange(PUBLISHED) < FREE), np.zeros(1))[0]
        return step

    def expanded(self, repeats: int | None = None) -> Triggers:
        """Return the rows of all repeats, or of the first ones; of a cycle without end one must say how many.

        Exact, which adding up `step` in floating point is not.
        """
        if repeats is None and self.repeats is None:
            raise IndexError("a cycle without end has no last repeat; say how many")
        return _published(
            runs.expanded([evolve(self._run, repeats=self.repeats if repeats is None else repeats)]), self._exposures
        )


def triggers(plan: Plan, start: int = 0, stop: int | None = None, exposure: Exposure = None) -> Triggers:
    """Return what a controller has to do at places `start` to `stop`; see `Plan.triggers`."""
    exposures = _exposures(plan, exposure)
    return _published(world_of(plan).numbers(plan.rows(start, stop)), exposures)


def cycles(plan: Plan, exposure: Exposure = None) -> tuple[Cycle, ...]:
    """Return the triggers of a plan in runs that a controller can loop; see `Plan.cycles`."""
    exposures = _exposures(plan, exposure)
    found: list[Run] = []
    for body, around in parts(plan):
        columns = [_shortened(turns) for turns in around]
        found += runs.runs_of(body[:, :PUBLISHED], columns, FREE)
    return tuple(Cycle(run.repeats, run, exposures) for run in (runs.joined(found, FREE) if found else ()))


def csv_lines(table: Triggers) -> str:
    """Return the lines of a CSV file that rows make: numbers as short as they can be, nothing where nothing is known.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, Dimension, compile
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=[
    ...     Dimension(name="t", count=2, scale=100, unit="ms"), Dimension(name="y", count=8),
    ...     Dimension(name="x", count=8)]))
    >>> print(csv_lines(plan.triggers(exposure=0.01)), end="")
    0,0,0.0,,,,0,0,0.01
    1,0,0.1,,,,0,0,0.01
    """
    lines = (",".join(map(repr, row)) for row in table.tolist())
    return "".join(f"{line}\n" for line in lines).replace("nan", "")


def require_end(plan: Plan) -> None:
    """Refuse a plan without end, which has no whole table.

    Raises
    ------
    PlanError
        If the plan has no end.
    """
    if plan.frames is None:
        message = "a plan without end has no whole table of triggers; cycles() has its turns"
        raise PlanError([Problem(("dimensions", 0, "count"), "unsupported", message)])


def _shortened(turns: Turns) -> Turns:
    step = None if turns.step is None else turns.step[:PUBLISHED]
    return evolve(turns, step=step, shifts=turns.shifts[:, :PUBLISHED])


def _published(numbers: Whole, exposures: NDArray[np.float64]) -> Triggers:
    table = np.empty(len(numbers), DTYPE)
    for name, column in (("frame", FRAME), ("position", POSITION), ("channel", CHANNEL), ("camera", CAMERA)):
        table[name] = numbers[:, column]
    for name, column, size in (("time", TIME, NANO), ("x", X, PICO), ("y", Y, PICO), ("z", Z, PICO)):
        unsaid = numbers[:, column - TIME + TIME_UNSAID] != 0
        table[name] = np.where(unsaid, np.nan, numbers[:, column] / size)
    given, listed = exposures[numbers[:, CHANNEL]], numbers[:, EXPOSURE]
    table["exposure"] = np.where(np.isnan(given) & (listed > 0), (listed - 1) / NANO, given)
    return table


# ── exposure ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _exposures(plan: Plan, exposure: Exposure) -> NDArray[np.float64]:
    """Return the exposure of each channel in seconds, NaN where nobody says."""
    dim = channels_of(plan.settings.dimensions[:-2])
    count = (dim.count if dim else None) or 1
    if not isinstance(exposure, Mapping):
        return np.full(count, np.nan if exposure is None else _seconds((), exposure))
    names = [getattr(coord, "name", coord) for coord in (dim.coords if dim else None) or ()]
    problems = [
        Problem(("exposure", str(name)), "unknown", f"must be one of the channels {names}; got {shown(name)}")
        for name in exposure
        if name not in names
    ]
    if problems:
        raise PlanError(problems)
    out = np.full(count, np.nan)
    for name, value in exposure.items():
        out[names.index(name)] = _seconds((name,), value)
    return out


def _seconds(where: tuple[str, ...], value: object) -> float:
    if not is_number(value) or not is_finite(value) or value < 0:
        message = f"must be a number of seconds, at least 0; got {shown(value)}"
        raise PlanError([Problem(("exposure", *where), "invalid_value", message)])
    return float(value)
