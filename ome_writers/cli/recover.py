"""The command `recover`: what an interrupted acquisition left, brought to its best final state."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ome_writers.cli.console import out
from ome_writers.cli.show import say
from ome_writers.images import listed
from ome_writers.journal import journal_folder
from ome_writers.target import aside

_MOST_SHOWN = 20
"""Ranges of missing frames that are listed."""


def recover(path: Path, /) -> None:
    """Bring an interrupted dataset to its best final state, and say what it holds.

    What a program that was killed had sent is completed from the journal beside the dataset (`PATH.journal`): pixels,
    metadata of frames, and what the documents say. It can be interrupted and called again. No program may be writing.

    Example: `ome-writers recover cells.ome.zarr`

    Parameters
    ----------
    path
        The dataset.
    """
    from ome_writers.recovered import recover as recovered

    outcome = recovered(path)
    say(out, f"{path}: {outcome.verdict}, {outcome.frames} frames")
    missing = outcome.gaps
    if len(missing):
        shown = listed(missing[:_MOST_SHOWN] - np.array([0, 1]), ", ")
        more = f" and {len(missing) - _MOST_SHOWN} more ranges" if len(missing) > _MOST_SHOWN else ""
        say(out, f"missing, by their places in the plan: {shown}{more}")
    if outcome.error:
        say(out, f"why: {outcome.error}")
    for left in aside(path, "replaced"):
        say(out, f"{left.name} is what it was to replace: remove that when you need it no longer")
    if journal_folder(path).exists():
        say(
            out,
            f"It can be gone on with, `create_stream(settings, resume=True)`, as long as {journal_folder(path).name} "
            "is beside it; without that wish, that folder may be removed.",
        )
