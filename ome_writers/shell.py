"""The two ways to write, `write(plan, frames, backend)` and `create_stream(settings)`: thin shells over one `Run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from math import prod
from typing import Any, Final

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.begin import Backend, begun
from ome_writers.blocks import fitted
from ome_writers.documents import Outcome
from ome_writers.ending import close_after
from ome_writers.errors import FrameError, PlanError, PlanExhausted
from ome_writers.places import checked
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.progress import display
from ome_writers.settings import AcquisitionSettings
from ome_writers.stream import Stream

__all__ = ["Backend", "Frames", "Stream", "create_stream", "write"]

_TOGETHER: Final = 16 << 20
"""Bytes of frames that are handed over together, if they come as one array."""
Frames = Iterable[NDArray[Any] | None] | NDArray[Any]


Places = Sequence[int | Mapping[str, int | str]] | NDArray[np.integer[Any]]


def write(
    plan: Plan, frames: Frames, backend: Backend = None, *, at: Places | None = None, progress: bool = False
) -> Outcome:
    """Write frames to where the plan says, and return what came of it.

    Parameters
    ----------
    plan
        From `compile`.
    frames
        Any iterable of 2-D arrays in the order of the plan, or an array of any shape that ends in y, x. `None` stands
        for a frame that did not come. Each frame is taken before the next one is asked for, so all may share one
        buffer.
    backend
        Name of a writer, or any object that satisfies `Writer`; by default what the settings say.
    at
        Where the frames go, if they come in another order than planned: for each its place in the plan, or an index
        or a name for each dimension (`{"t": 3, "c": "GFP"}`). Places that are not named are missing. Frame numbers, in
        messages and in the files, and the places in the outcome stay those of the plan, not of arrival.
    progress
        Whether to show, in a terminal or a notebook, frames, rate, bytes, back-pressure, missing frames and the time
        left; elsewhere a line at the end. Needs `rich`, and costs the loop nothing: a timer looks at the run.

    Raises
    ------
    PlanError
        If the writer cannot do the plan, also not in the order of `at`, or its library is missing; or if `at` names
        what is not planned, or one place twice. Nothing has been created.
    FileExistsError
        If something stands at the output path and may not be replaced.
    FrameError
        If a frame has another shape or dtype than planned. What came before it is stored.
    PlanExhausted
        If there are more frames than planned, or than places in `at`. What was planned is stored.
    WriteError
        If the disk, or whatever takes the pixels, fails.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 2, "c": 3, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(dtype="uint16", dimensions=dims))
    >>> outcome = write(plan, np.zeros((2, 3, 8, 8), "uint16"))
    >>> outcome.verdict, outcome.frames
    ('complete', 6)
    """
    places = None if at is None else _places(plan, at)
    order = plan if places is None else plan.reordered(places)
    coming, in_stacks = _checked(order, frames, None if places is None else len(places))
    shown = display(enabled=progress)
    run = begun(order, backend)
    if places is not None:
        run.due, run.may_go_on = int(places.max(initial=-1)) + 1, False
    take = run.take_all if in_stacks else run.take
    with shown(run):
        try:
            for frame in coming:
                if frame is None:
                    run.skip()
                else:
                    take(frame)
        except BaseException as error:
            close_after(run, error)
            raise
        outcome = run.close()
    return outcome if places is None else _as_planned(outcome, places)


def _places(plan: Plan, at: Places) -> NDArray[np.int64]:
    """Return the places that `at` names.

    Raises
    ------
    PlanError
        With the first thing that is wrong with it.
    """
    if isinstance(at, np.ndarray) or not any(isinstance(one, Mapping) for one in at):
        return checked(at, plan.frames)
    number = 0
    try:
        found: list[Any] = []
        for number, one in enumerate(at):  # noqa: B007 - told below
            found.append(plan.place(**one) if isinstance(one, Mapping) else one)
    except PlanError as error:
        raise PlanError([problem.under("at", number) for problem in error.problems]) from error
    return checked(found, plan.frames)


def _as_planned(outcome: Outcome, places: NDArray[np.int64]) -> Outcome:
    """Return the outcome of a plan whose rows were reordered, as one of the plan that it was made from."""
    rows = np.concatenate([places, np.setdiff1d(np.arange(outcome.cursor), places)])
    records = {int(rows[place]): record for place, record in outcome.records.items()}
    return evolve(outcome, missing=np.sort(rows[outcome.missing]), records=dict(sorted(records.items())))


def _numbered(coming: Iterable[NDArray[Any] | None], most: int) -> Iterator[NDArray[Any] | None]:
    """Yield the frames, of which there are as many as places at the most.

    Raises
    ------
    PlanExhausted
        If there are more.
    """
    for number, frame in enumerate(coming):
        if number == most:
            raise PlanExhausted(f"`at` names {most} places; more frames came")
        yield frame


def _checked(plan: Plan, frames: Frames, most: int | None) -> tuple[Iterable[NDArray[Any] | None], bool]:
    """Return the frames, once what can be seen of them is known to fit; nothing has been touched yet.

    They come one by one, or if the second value says so in stacks (frame, y, x) of frames that lie side by side. If
    they have places of their own, there are so many at the most.
    """
    if hasattr(frames, "shape") and hasattr(frames, "dtype"):
        array: Any = frames
        shape = _fitting(plan, array, most)
        if isinstance(frames, np.ndarray) and frames.flags.c_contiguous and frames.size:
            # Frames that lie side by side in memory may go to the disk together.
            stack = frames.reshape(-1, *shape[-2:])
            step = max(1, _TOGETHER // stack[0].nbytes)
            return (stack[first : first + step] for first in range(0, len(stack), step)), True
        return (np.asarray(array[index]) for index in np.ndindex(*shape[:-2])), False
    coming = iter(frames)
    first = list(islice(coming, 1))
    if first and first[0] is not None and plan.frames != 0:
        fitted(plan, 0, plan.locate(0).array, first[0])
    every = chain(first, coming)
    return every if most is None else _numbered(every, most), False


def _fitting(plan: Plan, array: Any, most: int | None) -> tuple[int, ...]:
    """Return the shape of an array whose frames, in C order, fit the plan."""
    shape = tuple(array.shape)
    leading = shape[:-2]
    if len(shape) < 2:  # noqa: PLR2004 - y and x
        raise FrameError(f"an array of frames ends in y, x; got the shape {shape}")
    count = prod(leading)
    if plan.frames is not None and count > plan.frames:
        raise PlanExhausted(f"{plan.frames} frames are planned; the array holds {count}")
    if most is not None and count > most:
        raise PlanExhausted(f"`at` names {most} places; the array holds {count} frames")
    loops = plan.settings.shape[:-2]
    if most is None and len(leading) == len(loops) > 1 and plan.frames == plan.settings.num_frames:
        planned = (loops[0] or leading[0], *loops[1:])
        # Fewer rounds of the outermost loop are an acquisition that was stopped; anything else is another order.
        if leading[0] > planned[0] or tuple(leading[1:]) != planned[1:]:
            names = ", ".join(dim.name for dim in plan.settings.dimensions[:-2])
            raise FrameError(f"the plan loops over ({names}) = {planned}; the array over {tuple(leading)}")
    if count:
        fitted(plan, 0, plan.locate(0).array, np.broadcast_to(np.empty((), array.dtype), shape[-2:]))
    return shape


def create_stream(
    settings: AcquisitionSettings, backend: Backend = None, *, progress: bool = False, resume: bool = False
) -> Stream:
    """Compile settings, create the dataset and return a stream that takes its frames.

    Parameters
    ----------
    settings
        What is acquired, and where it goes.
    backend
        As for `write`.
    progress
        As for `write`.
    resume
        Whether to go on with the dataset that stands there, if one does, at the first frame that did not come:
        `stream.cursor` is its place in the plan. It must have been begun with the same settings, and not be complete.

    Raises
    ------
    SettingsError
        With everything that is missing or cannot be stored.
    PlanError, FileExistsError
        As `write`; with `resume`, also if what stands there has other settings, or cannot be gone on with.
    NotADataset
        With `resume`, if a document of the dataset cannot be understood; a `ValueError` that begins with its path.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "y": 8, "x": 8})
    >>> with create_stream(AcquisitionSettings(dtype="uint16", dimensions=dims)) as stream:
    ...     for _ in range(3):
    ...         stream.append(np.zeros((8, 8), "uint16"))
    >>> stream.outcome.frames
    3
    """
    return Stream(compile(settings), backend, progress=progress, resume=resume)
