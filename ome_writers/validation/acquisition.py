"""Given what a dataset notes of its run, this checks that the run came to its end, and that the arrays agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ome_writers.datasets.facts import Facts, came, facts_from, plan_of
from ome_writers.errors import SettingsError
from ome_writers.images import listed
from ome_writers.validation.words import Findings

Shape = tuple[int, ...]


def check_run(
    noted: Mapping[str, Any],
    arrays: Sequence[tuple[str, Shape | None]],
    format_: Literal["ome-zarr", "ome-tiff"],
    found: Findings,
) -> dict[str, NDArray[np.bool_]]:
    """Check what is noted of the run against the arrays (name and shape; `None`: not there).

    Returns
    -------
    Which frames of each array came, by its name; nothing where that is not known.
    """
    with found.check("acquisition") as check:
        if not noted.get("verdict"):
            check.not_run("nothing is noted of the run: this was not written by ome-writers 1.0 or later")
            return {}
        facts = facts_from(noted)
        if facts is None:
            check.fault("", "what is noted of the run cannot be understood")
            return {}
        _check_verdict(facts, check)
        told = _told(facts, format_, check)
        if told is None:
            return {}
        shapes, masks = told
        if len(shapes) != len(arrays):
            check.fault("", f"notes say that there are {len(shapes)} arrays; there are {len(arrays)}")
            return {}
        check.summary = f"{facts.verdict}: {facts.frames} frames came"
        if not facts.ended:
            return {}  # which frames have come by now, nobody has noted
        for (name, shape), planned in zip(arrays, shapes, strict=True):
            if shape is not None and shape[:-2] != planned[:-2]:
                check.fault(
                    name,
                    f"has {list(shape[:-2])} frames along its axes, but by what came there are {list(planned[:-2])}",
                )
        return {name: mask for (name, _), mask in zip(arrays, masks, strict=True)}


def _told(
    facts: Facts, format_: Literal["ome-zarr", "ome-tiff"], check: Findings
) -> tuple[tuple[Shape, ...], list[NDArray[np.bool_]]] | None:
    """Return the shapes that the arrays have by what came, and which frames of each came; `None` if nobody can say."""
    try:
        plan = plan_of(facts, format_)
        if facts.planned is not None and plan.frames is not None and facts.planned < plan.frames:
            check.not_run("a part of a plan was written, and which one is not noted: what came cannot be told")
            return None
        return plan.shapes(facts.cursor), came(facts, plan)
    except (SettingsError, IndexError, ValueError) as error:
        check.fault("", f"what is noted of the run contradicts itself: {error}")
        return None


def _check_verdict(facts: Facts, check: Findings) -> None:
    planned = "" if facts.planned is None else f" of {facts.planned}"
    if facts.verdict == "running":
        check.fault("", "the run has not ended, or its process was killed; what is there is not all that was planned")
    elif facts.verdict == "failed":
        check.fault("", f"the run failed after {facts.frames}{planned} frames: {facts.error or 'for no noted reason'}")
    elif facts.verdict == "stopped":
        check.warn("", f"the run was stopped: {facts.frames}{planned} frames came")
    elif facts.verdict != "complete":
        check.fault("", f"the verdict must be complete, stopped, failed or running; got {facts.verdict!r}")
    elif facts.planned is not None and facts.cursor != facts.planned:
        check.fault("", f"is said to be complete, with {facts.cursor}{planned} frames")
    if facts.absent:
        few = listed(facts.missing[:200] - np.array([0, 1]), ", ")
        check.warn("", f"{facts.absent} frames did not come: {few:.200}")
