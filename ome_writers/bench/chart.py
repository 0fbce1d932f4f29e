"""Given a comparison, this draws it: rates beside the floor's, and how long a single `append` took."""

from __future__ import annotations

import os

from ome_writers.bench.results import Comparison, summaries


def draw(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write a picture (by its suffix: `.png`, `.svg`, `.pdf`).

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    shown = [
        (result, summed)
        for result, summed in zip(comparison.results, summaries(comparison), strict=True)
        if summed is not None
    ]
    names = [result.contender.name for result, _ in shown]
    amount = comparison.frames * comparison.frame_bytes
    figure = Figure(figsize=(11, 1.6 + 0.45 * len(shown)), layout="constrained")
    rates, waits = figure.subplots(1, 2, sharey=True)
    height, width = comparison.shape
    figure.suptitle(f"{comparison.frames} frames of {height} × {width} {comparison.dtype} on {comparison.folder}")
    for row, (result, summed) in enumerate(shown):
        floor = row == 0
        rates.barh(row, summed.rate.median / 1e6, color="0.75" if floor else "tab:blue")
        rounds = [amount / one.seconds / 1e6 for one in result.rounds]
        rates.plot(rounds, [row] * len(rounds), ".", color="black", markersize=4)
        if summed.ratio is not None and not floor:
            rates.text(max(rounds), row, f"  × {summed.ratio.median:.2f}", va="center")
        stages = [1e3 * value for value in (summed.p50, summed.p99, summed.worst)]
        waits.plot(stages, [row] * len(stages), "-", color="0.75")
        for value, marker in zip(stages, "o|x", strict=True):
            waits.plot(value, row, marker, color="tab:blue", markersize=8)
    rates.set_yticks(range(len(names)), names)
    rates.invert_yaxis()
    rates.set_xlabel("MB/s: median, and each round")
    waits.set_xscale("log")
    waits.set_xlabel("ms for one append: ● half, | 99 %, × the worst")
    figure.savefig(path, dpi=150)
