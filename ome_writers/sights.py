"""Given how far a run was at a few moments, this answers what those who watch it want to know.

The same whether it is watched from within (`progress.py`) or from another process (`watching.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from ome_writers.documents import Verdict

WINDOW: Final = 10.0
"""Seconds over which a rate is taken: so long sights are kept."""


@frozen(kw_only=True)
class Sight:
    """How far a run was at a moment.

    Examples
    --------
    >>> Sight(at=12.5, frames=40, planned=100, nbytes=40 << 20).verdict
    'running'
    """

    at: float = 0.0
    """Seconds, of any clock that does not go back."""
    frames: int = 0
    """How many came."""
    planned: int | None = None
    """How many will, `None` without end or if nobody knows."""
    nbytes: int = 0
    """Their size in memory."""
    missing: int | None = 0
    """How many did not come and will not; `None` if nobody knows."""
    pressure: float | None = None
    """How hard the writer is pressed, from 0 to 1: how full the buffer is, or without one how much of the time whoever
    brings the frames waits for the writer. `None` if nobody knows."""
    exact: bool = True
    """Whether the frames were counted, or read off the pixels."""
    verdict: Verdict = "running"
    gone: bool = False
    """Whether the process that wrote it has ended, and could not say how it went."""

    @property
    def final(self) -> bool:
        """Whether nothing more will change."""
        return self.verdict != "running" or self.gone


def rate(sights: Sequence[Sight]) -> float | None:
    """Return how many frames a second came between the first and the last; `None` if that cannot be said.

    Examples
    --------
    >>> rate([Sight(at=0, frames=0), Sight(at=2, frames=50)])
    25.0
    """
    first, last = sights[0], sights[-1]
    seconds = last.at - first.at
    return (last.frames - first.frames) / seconds if seconds > 0 else None


def columns(sights: Sequence[Sight]) -> tuple[str, ...]:
    """Return what is shown of a run: frames, rate, bytes, back-pressure, missing frames, and the time left or verdict.

    What is not known is left out.

    Examples
    --------
    >>> columns([Sight(at=0, planned=9000), Sight(at=10, frames=1000, planned=9000, nbytes=2 << 30, pressure=0.4)])
    ('1000/9000 frames', '100/s', '2.1 GB', 'back-pressure 40 %', '0 missing', '0:01:20 left')
    >>> columns([Sight(frames=7, missing=None, exact=False)])
    ('about 7 frames', '0 B')
    """
    last = sights[-1]
    speed = rate(sights)
    about = "" if last.exact else "about "
    of = "" if last.planned is None else f"/{last.planned}"
    shown = [f"{about}{last.frames}{of} frames"]
    if speed is not None:
        shown.append(f"{speed:.{0 if speed >= 10 or speed == 0 else 2}f}/s")  # noqa: PLR2004 - two digits
    shown.append(size(last.nbytes))
    if last.pressure is not None:
        shown.append(f"back-pressure {last.pressure:.0%}".replace("%", " %"))
    if last.missing is not None:
        shown.append(f"{last.missing} missing")
    if last.final:
        shown.append("interrupted" if last.gone else last.verdict)
    elif last.planned is not None and speed:
        left = last.planned - last.frames - (last.missing or 0)
        shown.append(f"{span(left / speed)} left")
    return tuple(shown)


def share(sight: Sight) -> float | None:
    """Return how much of a run is over, from 0 to 1; `None` if it has no end.

    Examples
    --------
    >>> share(Sight(frames=30, missing=10, planned=80))
    0.5
    """
    return (sight.frames + (sight.missing or 0)) / sight.planned if sight.planned else None


def span(seconds: float) -> str:
    """Return a time as hours, minutes and seconds.

    Examples
    --------
    >>> span(80), span(7325.2)
    ('0:01:20', '2:02:05')
    """
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def size(count: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> size(999), size(104_857_600), size(2.5e12), size(3e15)
    ('999 B', '104.9 MB', '2.5 TB', '3.0 PB')
    """
    if count < 1000:  # noqa: PLR2004 - the next unit
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 1000:  # noqa: PLR2004 - the next unit
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} PB"
