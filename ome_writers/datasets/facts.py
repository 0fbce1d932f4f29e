"""Given what our documents say of an acquisition, this answers: in what order did its frames come, and which came?

Both formats keep the same facts: `verdict`, `frames`, `planned`, `missing`, and `dimensions` and `axes` as
`cube_facts.described` wrote them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers.errors import SettingsError
from ome_writers.gaps import Pairs, inside, joined
from ome_writers.images import ranges_in
from ome_writers.journal_file import MOST_PLACES, MOST_UNKNOWN
from ome_writers.jsontext import value_in
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.readers.tifftext import notes_in
from ome_writers.serial import settings_from
from ome_writers.settings import AcquisitionSettings, Dimension

_JSON = ("dimensions", "axes", "plate", "told", "held", "settings")
_ORDER = ("unit", "scale", "translation", "snake", "tours", "tours_within")


@frozen(eq=False)
class Facts:
    """What is noted of a run."""

    verdict: str
    frames: int
    planned: int | None
    """`None` without end."""
    missing: Pairs
    """Numbers of the frames that were gone past and did not come, as stretches; see `gaps.py`."""
    error: str | None
    dimensions: tuple[Dimension, ...]
    """In order of acquisition. Positions are numbered only: what is known of them, each image says."""
    axes: tuple[str, ...]
    """Those of the arrays, in storage order."""
    settings: AcquisitionSettings | None = None
    """What says of a jagged acquisition, or of several cameras, which frames there are; without a path."""

    @property
    def cursor(self) -> int:
        """How many frames the run went through."""
        return self.frames + self.absent

    @property
    def absent(self) -> int:
        """How many frames were gone past and did not come."""
        return int((self.missing[:, 1] - self.missing[:, 0]).sum())

    @property
    def ended(self) -> bool:
        """Whether the run came to an end that it could note."""
        return self.verdict != "running"


def facts_from(noted: Mapping[str, Any]) -> Facts | None:
    """Return the facts, from plain values; `None` if they are not all there or do not fit.

    Examples
    --------
    >>> dims = [{"name": "t", "type": "time", "count": 3}, {"name": "y", "type": "space", "count": 8},
    ...     {"name": "x", "type": "space", "count": 8}]
    >>> noted = {"verdict": "stopped", "frames": 1, "missing": [[0, 0]], "dimensions": dims, "axes": ["t", "y", "x"]}
    >>> facts_from(noted).cursor
    2
    """
    try:
        said = [(int(first), int(last) + 1) for first, last in noted.get("missing") or ()]
        if not all(0 <= first < end for first, end in said):
            return None
        facts = Facts(
            verdict=str(noted["verdict"]),
            frames=int(noted["frames"]),
            planned=None if noted.get("planned") is None else int(noted["planned"]),
            missing=joined(said, sys.maxsize),
            error=noted.get("error"),
            dimensions=tuple(map(_dimension, noted["dimensions"])),
            axes=tuple(map(str, noted["axes"])),
            settings=settings_from(noted["settings"]) if "settings" in noted else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, SettingsError):
        return None
    # Whoever goes through more of them does not come to an end, nor has the memory to write more missing ones out.
    return facts if facts.absent <= MOST_UNKNOWN and 0 <= facts.cursor <= MOST_PLACES else None


def _dimension(fact: Mapping[str, Any]) -> Dimension:
    given = {"name": fact["name"], "count": fact["count"], "type": fact["type"]}
    if fact["type"] != "position" and fact.get("coords") is not None:
        given["coords"] = tuple(fact["coords"])
    return Dimension(**given, **{name: fact[name] for name in _ORDER if fact.get(name) is not None})


def plan_of(facts: Facts, format_: Literal["ome-zarr", "ome-tiff"]) -> Plan:
    """Return the plan that the frames came by; its arrays are those of the dataset, without their names.

    Raises
    ------
    SettingsError
        If there is no such plan.
    """
    if facts.settings is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as below
            return compile(evolve(facts.settings, root_path="a", format=format_))
    names = [dim.name for dim in facts.dimensions]
    # The loops that are no axes choose arrays; where they stand in this order means nothing.
    order = tuple(name for name in names if name not in facts.axes) + facts.axes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever wrote it has been warned
        return compile(
            AcquisitionSettings(
                root_path="a", format=format_, dimensions=facts.dimensions, dtype="uint8", storage_order=order
            )
        )


def came(facts: Facts, plan: Plan) -> list[NDArray[np.bool_]]:
    """Return for each array which of its frames came, by storage index; a byte a frame.

    Raises
    ------
    IndexError
        If more came than were planned.
    """
    found = [np.zeros(shape[:-2], bool) for shape in plan.shapes(facts.cursor)]
    step = 65_536
    for first in range(0, facts.cursor, step):
        rows = plan.rows(first, min(first + step, facts.cursor))
        rows = rows[~inside(facts.missing, rows["frame"])]
        for array in np.unique(rows["array"]).tolist():
            found[array][tuple(rows["index"][rows["array"] == array].T)] = True
    return found


def run_noted(root: ET.Element) -> dict[str, Any]:
    """Return what is noted of the run, in the form that OME-Zarr has."""
    told = notes_in(root)
    if not told:
        return {}
    try:
        counts = {name: int(told[name]) for name in ("frames", "planned") if name in told}
        values = {name: value_in(told[name]) for name in _JSON if name in told}
        return told | counts | values | {"missing": ranges_in(told.get("missing", ""))}
    except ValueError:
        return {"verdict": told.get("verdict", "")}
