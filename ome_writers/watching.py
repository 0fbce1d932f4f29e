"""Given the path of a dataset, this answers how far its run is, from what stands on the disk alone.

1. The documents say how the run ended, how many frames came and how many are missing.
2. While it goes on, they do not count. A frame that has come has pixels other than the fill value, and frames come in
   the order of acquisition: so the last one is found by going ahead in growing steps, and then by halving.

3. Beside a run that goes on there is a journal, usually: it says exactly which frames came. And the lock on the
   dataset says whether anyone writes it still: if nobody does, the run was killed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from attrs import evolve

from ome_writers.check import shown
from ome_writers.datasets.facts import facts_from
from ome_writers.documents import Verdict
from ome_writers.errors import Malformed, NotADataset
from ome_writers.journal import marks_beside
from ome_writers.journal_file import CAME, GIVEN, PASSED, WAITS, absent
from ome_writers.lock import is_locked
from ome_writers.overview import all_bytes
from ome_writers.plan import compile  # noqa: A004 - the verb of this library
from ome_writers.readers import noted
from ome_writers.regular import understood
from ome_writers.sights import WINDOW, Sight
from ome_writers.view import StreamView, open_view

_LOOKED_AT: Final = 1 << 20
"""Bytes of a frame that are looked at: a band in its middle."""
_GAP: Final = 8
"""Frames in a row that may be missing without the run seeming to end before them."""
_FAILURES: Final = 20
"""Looks in a row at a run that goes on which may fail: its files are replaced and cut while they are read."""
_SHARE: Final = 0.2
"""Of the time, at most this much is spent looking, whatever a look costs."""


def state_of(path: str | os.PathLike[str], before: Sight | None = None) -> Sight:
    """Return how far the run of a dataset is; `before` is where it was when it was asked for the last time.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    NotADataset
        If it is no dataset that this library wrote, or its documents cannot be understood.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 5, "y": 8, "x": 8})
    >>> with create_stream(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)) as stream:
    ...     stream.append(np.ones((8, 8), "uint8"))
    ...     while_it_runs = state_of("a.ome.zarr")
    >>> while_it_runs.verdict, while_it_runs.frames, while_it_runs.planned
    ('running', 1, 5)
    >>> state_of("a.ome.zarr").verdict
    'stopped'
    """
    said = noted(os.fspath(path))
    if "verdict" not in said:
        raise NotADataset(f"{path}: does not say how its acquisition went; `ome-writers info` tells what is in it")
    with understood(path):
        return _state(path, said, before)


def _state(path: str | os.PathLike[str], said: Mapping[str, Any], before: Sight | None) -> Sight:
    planned, verdict, gone = said.get("planned"), said["verdict"], False
    if verdict not in get_args(Verdict):
        raise Malformed(f"verdict: must be one of {', '.join(get_args(Verdict))}; got {shown(verdict)}")
    missing: int | None = None
    if verdict != "running":
        frames, missing = int(said["frames"]), sum(last - first + 1 for first, last in said.get("missing", ()))
    elif (marks := marks_beside(path, planned)) is None:
        frames = _seen(path, said, before.frames if before is not None else 0)
    else:
        gone = is_locked(Path(path).expanduser()) is False
        if gone and noted(os.fspath(path)).get("verdict") != "running":
            return state_of(path, before)  # it has ended in between, and said how
        frames = int(np.isin(marks, (CAME, WAITS, GIVEN)).sum())
        # While it goes on, a place that nobody spoke of may be another camera's, or come later.
        missing = len(absent(marks)) if gone else int((marks == PASSED).sum())
    return Sight(
        at=time.monotonic(),
        frames=frames,
        planned=planned,
        nbytes=_nbytes(path, said, frames),
        missing=missing,
        exact=missing is not None,
        verdict=verdict,
        gone=gone,
    )


def _cameras(said: Mapping[str, Any]) -> list[Any]:
    """Return which views are to be asked for, as the frames of several cameras may differ."""
    dims = said.get("dimensions", ())
    uneven = any(dim.get("type") == "camera" for dim in dims) and "held" in said
    folded = any(dim.get("fold") for dim in said.get("settings", {}).get("dimensions", ()))
    cameras = next((dim.get("count", 0) for dim in dims if dim.get("type") == "camera"), 0)
    return list(range(cameras)) if uneven and not folded else [None]


def _seen(path: str | os.PathLike[str], said: Mapping[str, Any], least: int) -> int:
    """Return how many frames have come, by their pixels."""
    views = [open_view(path, camera=camera) for camera in _cameras(said)]
    return sum(_reached(view, least // len(views)) for view in views)


def _nbytes(path: str | os.PathLike[str], said: Mapping[str, Any], frames: int) -> int:
    """Return the size of so many frames; of several cameras, of as many of each as are planned."""
    views = [open_view(path, camera=camera) for camera in _cameras(said)]
    sizes = [prod(view.shape[-2:]) * view.dtype.itemsize for view in views]
    if len(sizes) == 1 or (facts := facts_from(said)) is None or facts.settings is None:
        return frames * sizes[0]
    plan = compile(evolve(facts.settings, root_path="a", format="ome-zarr"))
    return all_bytes(plan, frames if plan.frames is None else min(frames, plan.frames))


def kept(seen: tuple[Sight, ...], sight: Sight) -> tuple[Sight, ...]:
    """Return what was seen lately, with one more."""
    return (*([old for old in seen if sight.at - old.at <= WINDOW] or seen[-1:]), sight)


def follow(
    path: str | os.PathLike[str], every: float, sleep: Callable[[float], object] = time.sleep
) -> Iterator[tuple[Sight, ...]]:
    """Yield what was seen of a run in the last seconds, again and again until it has ended.

    Raises
    ------
    FileNotFoundError, ValueError
        As `state_of`, at the first look, or if nothing could be read for long.
    """
    seen: tuple[Sight, ...] = ()
    failed = 0
    while not (seen and seen[-1].final):
        start = time.monotonic()
        try:
            sight = state_of(path, seen[-1] if seen else None)
            failed = 0
        except Exception:  # whatever a library says of a file that is being replaced
            failed += 1
            if not seen or failed == _FAILURES:
                raise
        else:
            seen = kept(seen, sight)
            yield seen
        if not (seen and seen[-1].final):
            sleep(max(every, (time.monotonic() - start) / _SHARE))


def _reached(view: StreamView, least: int) -> int:
    """Return how many frames have come, at least `least`."""
    total = prod(view.shape[:-2])
    low, step = min(least, total), 1
    # `low` frames have come; whether more have is not known.
    while low < total:
        last = _last_from(view, low + step - 1, total)
        if last is None:
            break
        low, step = last + 1, 2 * step
    high = min(low + step - 1, total)
    while low < high:
        middle = (low + high) // 2
        last = _last_from(view, middle, high)
        low, high = (low, middle) if last is None else (last + 1, high)
    return low


def _last_from(view: StreamView, frame: int, end: int) -> int | None:
    """Return a frame from `frame` on that has come, if there is one near."""
    return next((near for near in range(frame, min(frame + _GAP, end)) if _has_come(view, near)), None)


def _has_come(view: StreamView, frame: int) -> bool:
    height, width = view.shape[-2:]
    rows = max(1, min(height, _LOOKED_AT // max(1, width * view.dtype.itemsize)))
    first = (height - rows) // 2
    where: tuple[Any, ...] = (*np.unravel_index(frame, view.shape[:-2]), slice(first, first + rows))
    return bool(view[where].any())
