"""A stream: what takes frames one at a time, and tells of them, while they come and after that."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from ome_writers import edits, lifetime
from ome_writers.begin import Backend, begun
from ome_writers.documents import Outcome
from ome_writers.ending import close_after, close_forgotten
from ome_writers.plan import Plan
from ome_writers.progress import display

if TYPE_CHECKING:
    from ome_writers.events import Callback, EventName, Events
    from ome_writers.lanes import CameraStream
    from ome_writers.view import StreamView


class Stream:
    """Takes the frames of a plan one at a time, in its order or any; as a context manager it closes at the end.

    Made by `create_stream`.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
    >>> stream = create_stream(AcquisitionSettings(dtype="uint8", dimensions=dims))
    >>> stream.append(np.ones((8, 8), "uint8"), frame_metadata={"exposure_time": 0.01})
    >>> stream.skip()
    >>> stream.close()
    >>> stream.outcome.verdict, stream.outcome.missing.tolist()
    ('stopped', [1])
    """

    def __init__(self, plan: Plan, backend: Backend = None, *, progress: bool = False, resume: bool = False) -> None:
        self._stack = ExitStack()
        self._after: list[Callable[[int], object]] = []
        """What is called with the cursor after each step."""
        shown = display(enabled=progress)
        if resume:
            from ome_writers.resumed import resumed  # few are

            self._run = resumed(plan, backend)
        else:
            self._run = begun(plan, backend)
        self._stack.enter_context(shown(self._run))
        self._take = self._run.take
        self._heard: list[Events] = []
        """The events, once somebody asked for them."""
        self._forgotten = weakref.finalize(self, close_forgotten, self._run, self._heard)
        lifetime.call_at_exit(self._forgotten)

    @property
    def plan(self) -> Plan:
        """The plan that the frames follow."""
        return self._run.plan

    @property
    def outcome(self) -> Outcome | None:
        """What came of the run; `None` until it is closed."""
        return self._run.outcome

    @property
    def cursor(self) -> int:
        """Place in the plan of the frame that `append` takes next; one behind the furthest, if frames are put."""
        return self._run.cursor

    @property
    def safe_frames(self) -> int:
        """How many of the frames that came survive the death of this process; other threads may ask at any time.

        `capabilities.ack` says when a frame does: when `append` returns, when its chunk (or shard) is stored, or at the
        end. Frames that rest in unfinished chunks go to the journal beside the dataset within a second, and are safe
        from then on.

        Examples
        --------
        >>> import numpy as np
        >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
        >>> dims = dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
        >>> with create_stream(AcquisitionSettings(root_path="safe.zarr", dtype="uint8", dimensions=dims)) as stream:
        ...     stream.append(np.ones((8, 8), "uint8"))
        ...     stream.safe_frames
        1
        """
        return self._run.safe_frames

    @property
    def closed(self) -> bool:
        """Whether the stream has been closed."""
        return self._run.outcome is not None

    def append(
        self,
        frame: NDArray[Any],
        *,
        frame_metadata: Mapping[str, Any] | None = None,
        expect: Mapping[str, int | str] | None = None,
    ) -> None:
        """Take the next frame. When this returns, the caller may reuse its memory.

        Parameters
        ----------
        frame
            The shape (y, x) and dtype of the plan; byte order and memory layout may be any. Nothing is cast.
        frame_metadata
            Any JSON-like values, also numpy scalars and arrays, datetimes and paths. `delta_t` and `exposure_time`
            (seconds) and `position_x`, `position_y`, `position_z` (micrometers) go to their places in OME-XML.
        expect
            What the caller believes that this frame is: an index or a name for any of the dimensions,
            `{"c": "GFP", "z": 5}`. Numbers are indices, also where the coordinates of a dimension are numbers.

        Raises
        ------
        FrameError
            If the frame or its metadata cannot be stored, or the plan has another one here than expected; it took no
            place, the next one may.
        PlanExhausted
            If all planned frames have come.
        WriteError
            If the disk fails, now or in an earlier frame that was still on its way.
        ValueError
            If the stream is closed.
        """
        if expect is None:
            self._take(frame, frame_metadata)
        else:
            with self._run.lock:
                self._run.require_expected(expect)
                self._take(frame, frame_metadata)
        for tell in self._after:
            tell(self._run.cursor)

    def camera(self, name: str | int) -> CameraStream:
        """Return what takes the frames of one of several cameras, by name or index: each has a cursor of its own.

        Each may be used from a thread of its own; the frames of the others are not waited for. From the first call on,
        all frames of the stream come in this way, and those of a camera in the order of its part of the plan.

        Raises
        ------
        PlanError
            If there is no such camera.
        ValueError
            If there are no cameras, or frames were appended or put before.
        """
        from ome_writers.lanes import CameraStream, lanes_of  # few have several cameras

        run = self._run
        lanes, cameras = lanes_of(run), run.plan.settings.camera_dimension
        (index,) = run.plan.places.indices(cameras.name if cameras else "", name)
        return CameraStream(lanes[index], run.plan.places.label(cameras.name if cameras else "", index), self._after)

    def put(
        self, frame: NDArray[Any], /, *, frame_metadata: Mapping[str, Any] | None = None, **indices: int | str
    ) -> None:
        """Take the frame of a place, in whatever order they come. When this returns, the caller may reuse its memory.

        A stream is used in one way: frames are appended, or they are put. Those that are not put until it is closed are
        missing, and with any of them the verdict is `"stopped"`.

        Where the writer takes single frames in any order (`memory`; `direct` without compression, but for small tiles
        in chunks of several frames), a frame goes to its place at once. For all others it waits, raw, in a temporary
        file beside the dataset until `close` writes them all in the order of the plan. So the disk needs room for the
        pixels twice, and a frame is out of the reach of a dying process only when `close` has returned, whatever
        `capabilities.ack` says.

        Parameters
        ----------
        frame, frame_metadata
            As for `append`.
        **indices
            An index or a name for each dimension, but those of a single element: `t=3, c="GFP", z=5`. Numbers are
            indices. Positions of one name in different wells are told apart by index only. What goes on without end
            gets as long as the largest index says.

        Raises
        ------
        FrameError
            If there is no such place, or its frame came before; if, in a plan without end, it is more than 2**20
            places behind all that came; or as for `append`. Nothing has moved.
        WriteError
            As for `append`. If there is no room for frames that wait for their turn, this one has not come, and all
            before it have.
        ValueError
            If the stream is closed, or frames were appended.

        Examples
        --------
        >>> import numpy as np
        >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
        >>> dims = dims_from_standard_axes({"t": 2, "c": ["DAPI", "GFP"], "y": 8, "x": 8})
        >>> with create_stream(AcquisitionSettings(dtype="uint8", dimensions=dims)) as stream:
        ...     for t, c in [(1, "GFP"), (0, "GFP"), (0, "DAPI")]:
        ...         stream.put(np.ones((8, 8), "uint8"), t=t, c=c)
        >>> stream.outcome.verdict, [str(stream.plan.locate(place)) for place in stream.outcome.missing]
        ('stopped', ['frame 2 (t=1 c=0)'])
        """
        self._run.put(frame, indices, frame_metadata)
        for tell in self._after:
            tell(self._run.steps)

    def skip(self, *, frames: int = 1) -> None:
        """Go past frames that will not come; they read as the fill value, and the documents say that they are missing.

        Raises
        ------
        PlanExhausted
            If fewer are left; then none is skipped.
        """
        self._run.skip(frames)
        for tell in self._after:
            tell(self._run.cursor)

    # ── what others see of it ───────────────────────────────────────────────────────────────────────────────────────

    def view(self, *, dynamic_shape: bool = True, strict: bool = False, camera: str | int | None = None) -> StreamView:
        """Return the acquisition as one array with its dimensions in order of acquisition, readable at any time.

        While the run lasts, the writer `acquire-zarr` (its `capabilities.readable` is `"late"`) lets be seen what its
        engine has put on the disk, whole chunks or shards; the frames of others read as the fill value until then.

        Parameters
        ----------
        dynamic_shape
            Whether shape and coordinates grow with what has come; else they are as planned.
        strict
            Whether an index beyond what has come raises `IndexError`. Else, as long as it is planned, it reads as the
            fill value. Without `dynamic_shape` this means nothing.

        Examples
        --------
        >>> import numpy as np
        >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
        >>> dims = dims_from_standard_axes({"t": 3, "c": ["DAPI", "GFP"], "y": 8, "x": 8})
        >>> with create_stream(AcquisitionSettings(dtype="uint8", dimensions=dims)) as stream:
        ...     view = stream.view()
        ...     for value in (7, 8, 9):
        ...         stream.append(np.full((8, 8), value, "uint8"))
        >>> view.shape, view[-1, :, 0, 0].tolist(), view.coords["c"]
        ((2, 2, 8, 8), [9, 0], ['DAPI', 'GFP'])
        """
        from ome_writers.view import view_of

        return view_of(self._run, self._events(), dynamic_shape=dynamic_shape, strict=strict, camera=camera)

    def on(self, event: EventName, callback: Callback) -> None:
        """Call `callback` with a `CoordUpdate` whenever something happens, from now on until the stream is closed.

        All callbacks run in one thread of their own, in order and one at a time, and never hold up the acquisition:
        however slow they are, they hear of every frame, and nothing is queued. `close` waits until they have heard of
        all. So a callback must not wait for the thread that closes. What it raises goes to `threading.excepthook`.

        Parameters
        ----------
        event
            `"coords_changed"`: with every frame. `"coords_expanded"`: when a dimension gets further than before.
            Frames that are skipped are one event of either kind, if a dimension gets further with them, else none.

        Raises
        ------
        ValueError
            If there is no such event.
        """
        self._events().on(event, callback)

    def get_metadata(self) -> Any:
        """Return a copy of the metadata documents, to be changed and given to `update_metadata`.

        Returns
        -------
        OME-Zarr: the attributes of each group that is an image, by its path (`"."` is the root). OME-TIFF: a model of
        `ome_types` for each file with pixels, by its number, and at -1 for a companion file. Otherwise `None`.
        """
        described = self._run.documents()
        name = self.plan.settings.format.name
        if name == "ome-zarr":
            return edits.attributes_of(self.plan, described)
        return edits.models_of(described) if name == "ome-tiff" else None

    def update_metadata(self, metadata: Any) -> None:
        """Replace metadata documents, in the form of `get_metadata`, where they stand.

        OME-Zarr: at any time. What differs from the documents as they are is kept to the end; all else, and what stands
        under `ome_writers`, goes on to follow the run. OME-TIFF: after closing, since the documents of a run that still
        goes on say what will be only then.

        Raises
        ------
        KeyError
            If there is no such group or file.
        TypeError, ValueError
            If something cannot be stored.
        RuntimeError
            If an OME-TIFF stream is not closed yet.
        """
        run, name = self._run, self.plan.settings.format.name
        if metadata is None:
            return
        if not isinstance(metadata, Mapping):
            raise TypeError(f"must be a mapping, as `get_metadata` returns it; got {type(metadata).__name__}")
        if name == "ome-tiff":
            if not self.closed:
                raise RuntimeError(
                    "the metadata of an OME-TIFF can be updated once the stream is closed; "
                    "`set_global_metadata` can be called at any time"
                )
            run.annotate(edits.with_models(run.edits, run.documents(), metadata), {})
            return
        with run.lock:
            run.annotate(
                edits.with_attributes(run.edits, edits.attributes_of(self.plan, run.generated()), metadata), {}
            )

    def set_global_metadata(self, namespace: str, metadata: Mapping[str, Any]) -> None:
        """Store metadata of the acquisition as a whole under a name; replaces what stood under it before.

        At any time, also after closing. OME-Zarr: an attribute `namespace` of the root group. OME-TIFF: a
        `MapAnnotation` with that `Namespace` in each document that describes the dataset, its values as JSON.

        Parameters
        ----------
        metadata
            As per-frame metadata: JSON-like values, also numpy scalars and arrays, datetimes and paths.

        Raises
        ------
        ValueError
            If the name is empty or reserved, or something cannot be stored.
        """
        edits.require_namespace(namespace)
        record = edits.normalised(namespace, metadata)
        run = self._run
        with run.lock:
            run.annotate(edits.with_annotation(run.edits, namespace, record), {namespace: record})

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

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
        lifetime.forget(self._forgotten)
        if self._run.disowned:
            return
        with self._stack:
            try:
                if error is None:
                    self._run.close()
                else:
                    close_after(self._run, error)
            finally:
                for events in self._heard:
                    events.close()

    def _events(self) -> Events:
        from ome_writers.events import Events

        with self._run.lock:
            if not self._heard:
                self._heard.append(Events(self._run, self._after))
            return self._heard[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(error)


OMEStream = Stream
"""As it was called in 0.3."""
