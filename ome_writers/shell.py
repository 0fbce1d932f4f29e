"""The two ways to write, `write(plan, frames, backend)` and `create_stream(settings)`: thin shells over one `Run`."""

from __future__ import annotations

import os
import uuid
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ome_writers.documents import Outcome, Stamp, documents
from ome_writers.errors import FrameError, PlanError, PlanExhausted, Problem
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.progress import bar
from ome_writers.run import Run
from ome_writers.settings import AcquisitionSettings
from ome_writers.target import is_url, room_at
from ome_writers.writer import Writer, choose_writer, unmet, writer_named

Backend = str | Writer | None
Frames = Iterable[NDArray[Any] | None] | NDArray[Any]


def write(plan: Plan, frames: Frames, backend: Backend = None, *, progress: bool = False) -> Outcome:
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
    progress
        Whether to show a progress bar (needs `rich`).

    Raises
    ------
    PlanError
        If the writer cannot do the plan, or its library is missing. Nothing has been created.
    FileExistsError
        If something stands at the output path and may not be replaced.
    FrameError
        If a frame has another shape or dtype than planned. What came before it is stored.
    PlanExhausted
        If there are more frames than planned. What was planned is stored.
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
    stacked = _frames_of_array(frames)
    if stacked is not None and plan.frames is not None and len(stacked) > plan.frames:
        raise PlanExhausted(f"{plan.frames} frames are planned; the array holds {len(stacked)}")
    with ExitStack() as stack:
        advance = stack.enter_context(bar(plan.frames, shown=progress))
        run = _begun(plan, backend)
        take = run.take
        try:
            for frame in frames if stacked is None else stacked:
                if frame is None:
                    run.skip()
                else:
                    take(frame)
                if progress:
                    advance(run.cursor)
        except BaseException as error:
            _close_after(run, error)
            raise
        return run.close()


class _ArrayFrames:
    """The frames of an array that ends in y, x, in C order; each is read when its turn comes."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return int(np.prod(self.array.shape[:-2], dtype=np.int64))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for index in np.ndindex(tuple(self.array.shape[:-2])):
            yield np.asarray(self.array[index])


def _frames_of_array(frames: object) -> _ArrayFrames | None:
    shape = getattr(frames, "shape", None)
    if shape is None or not hasattr(frames, "dtype"):
        return None
    if len(shape) < 2:  # noqa: PLR2004 - y and x
        raise FrameError(f"an array of frames ends in y, x; got the shape {tuple(shape)}")
    return _ArrayFrames(frames)


def create_stream(settings: AcquisitionSettings, backend: Backend = None, *, progress: bool = False) -> Stream:
    """Compile settings, create the dataset and return a stream that takes its frames.

    Raises
    ------
    SettingsError
        With everything that is missing or cannot be stored.
    PlanError, FileExistsError
        As `write`.

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
    return Stream(compile(settings), backend, progress=progress)


class Stream:
    """Takes frames in the order of a plan, one at a time; as a context manager it closes at the end.

    Made by `create_stream`.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
    >>> stream = create_stream(AcquisitionSettings(dtype="uint8", dimensions=dims))
    >>> stream.append(np.ones((8, 8), "uint8"), frame_metadata={"exposure_time": 0.01})
    >>> stream.skip()
    >>> stream.close()
    >>> stream.outcome.verdict, stream.outcome.missing.tolist()
    ('stopped', [1])
    """

    def __init__(self, plan: Plan, backend: Backend = None, *, progress: bool = False) -> None:
        self._stack = ExitStack()
        self._advance = self._stack.enter_context(bar(plan.frames, shown=progress)) if progress else None
        try:
            self._run = _begun(plan, backend)
        except BaseException:
            self._stack.close()
            raise
        self._take = self._run.take
        self._forgotten = weakref.finalize(self, _close_forgotten, self._run)

    @property
    def plan(self) -> Plan:
        """The plan that the frames follow."""
        return self._run.plan

    @property
    def outcome(self) -> Outcome | None:
        """What came of the run; `None` until it is closed."""
        return self._run.outcome

    @property
    def closed(self) -> bool:
        """Whether the stream has been closed."""
        return self._run.outcome is not None

    def append(self, frame: NDArray[Any], *, frame_metadata: Mapping[str, Any] | None = None) -> None:
        """Take the next frame. When this returns, the caller may reuse its memory.

        Parameters
        ----------
        frame
            The shape (y, x) and dtype of the plan; byte order and memory layout may be any. Nothing is cast.
        frame_metadata
            Any JSON-like values, also numpy scalars and arrays, datetimes and paths. `delta_t` and `exposure_time`
            (seconds) and `position_x`, `position_y`, `position_z` (micrometers) go to their places in OME-XML.

        Raises
        ------
        FrameError
            If the frame or its metadata cannot be stored; it took no place, the next one may.
        PlanExhausted
            If all planned frames have come.
        WriteError
            If the disk fails, now or in an earlier frame that was still on its way.
        ValueError
            If the stream is closed.
        """
        self._take(frame, frame_metadata)
        if self._advance is not None:
            self._advance(self._run.cursor)

    def skip(self, *, frames: int = 1) -> None:
        """Go past frames that will not come; they read as the fill value, and the documents say that they are missing.

        Raises
        ------
        PlanExhausted
            If fewer are left; then none is skipped.
        """
        self._run.skip(frames)
        if self._advance is not None:
            self._advance(self._run.cursor)

    def close(self) -> None:
        """Store what is still on its way, write the final documents and let go of everything.

        Calling it again does nothing.

        Raises
        ------
        WriteError
            If any frame could not be stored.
        """
        self._close(None)

    def _close(self, error: BaseException | None) -> None:
        self._forgotten.detach()
        with self._stack:
            if error is None:
                self._run.close()
            else:
                _close_after(self._run, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(error)


def _close_after(run: Run, error: BaseException) -> None:
    """Close a run that `error` has ended; that is on its way to the caller, and what closing adds is noted in it."""
    try:
        run.close(error)
    except Exception as further:  # noqa: BLE001 - the first error is the one to see
        if further is not error:
            error.add_note(f"and at closing: {further}")


def _close_forgotten(run: Run) -> None:
    if run.outcome is None:
        warnings.warn("a stream was not closed; use it in a `with` statement", ResourceWarning, stacklevel=2)
        run.close()


def _begun(plan: Plan, backend: Backend) -> Run:
    """Create the dataset and return the run; until the writer has made it, nothing is lost or deleted."""
    writer = choose_writer(plan) if backend is None else writer_named(backend) if isinstance(backend, str) else backend
    if not isinstance(writer, Writer):
        raise PlanError(
            [Problem(("backend",), "invalid_type", f"must be a name or satisfy the Protocol Writer; got {backend!r}")]
        )
    if problems := unmet(plan, writer.capabilities):
        raise PlanError(problems)
    settings, stamp = plan.settings, _stamp(plan)
    root = os.path.expanduser(settings.output_path)  # noqa: PTH111 - may be a URL
    local = writer.capabilities.persistent and root and not is_url(root)
    with room_at(root, overwrite=settings.overwrite) if local else nullcontext():
        run = Run(plan, writer, root, stamp)
        writer.open(root, plan, documents(plan, stamp, Outcome(writer=writer.capabilities.name, root=root)))
    return run


def _stamp(plan: Plan) -> Stamp:
    return Stamp(now=datetime.now(UTC), uuids=tuple(str(uuid.uuid4()) for _ in range(len(plan.layout.files) + 1)))
