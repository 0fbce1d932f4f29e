"""Several cameras, each with a cursor of its own: from as many threads, and none waits while another copies its frame.

A *lane* is a run through the part of the plan that is its camera's: it puts blocks together by itself. What cannot be
apart (which frames came, how long arrays without end are, the journal) belongs to the whole run, and is touched under
its lock. Whoever holds both has taken the lane's lock first, and never waits for another lane.

Where the writer writes single frames at their places, each lane has one of its own, attached to the same dataset; else
all lanes hand their blocks to the one that there is, in turn. Where that wants all frames in the order of the plan,
they wait for it as frames do that are put.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ome_writers.blocks import OpenBlock, OpenBlocks, fitted, recorded
from ome_writers.errors import WriteError
from ome_writers.journal_file import PASSED
from ome_writers.puts import Came, Puts
from ome_writers.records import Record
from ome_writers.run import Run
from ome_writers.writer import Block, Documents, Writer, writer_named

_NONE = np.empty((0, 0))


class Together:
    """The locks of all lanes and that of the run, as one."""

    def __init__(self, locks: Sequence[Any]) -> None:
        self._locks = tuple(locks)

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as locks have it
        """Take all of them, or none."""
        with ExitStack() as taken:
            for lock in self._locks:
                if not lock.acquire(blocking):
                    return False
                taken.callback(lock.release)
            taken.pop_all()
        return True

    def release(self) -> None:
        """Let go of all of them."""
        for lock in reversed(self._locks):
            lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Blocks(OpenBlocks):
    """The open blocks of a lane, whose frames have their places in the whole plan."""

    def begin(self, array: int, index: Sequence[int], buffer: int, flags: int) -> OpenBlock:
        """Open the block that the frame at `index` lies in."""
        block = super().begin(array, index, buffer, flags)
        self[buffer] = made = _Block(block.array, block.start, block.extent, block.pixels)
        return made


class _Block(OpenBlock):
    def add(self, number: int, place: int, slot: int, frame: NDArray[Any]) -> None:  # noqa: ARG002 - that in the lane
        """Copy a frame to its slot."""
        super().add(number, number, slot, frame)


class Lane(Run):
    """The frames of one camera. What others ask of a run is asked of the whole one."""

    def __init__(self, whole: Run, camera: int) -> None:
        self.whole = whole
        cameras = whole.plan.settings.camera_dimension
        name = "" if cameras is None else cameras.name
        own = _writer_of_its_own(whole)
        super().__init__(
            whole.plan.select(**{name: camera}), own or whole.writer, whole.root, whole.stamp, whole.journal
        )
        self._own = own
        self._open = _Blocks(self._assembly)
        self._mark = None
        if own is None:
            self._write = self._write_in_turn

    def take(self, frame: NDArray[Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Store the next frame, or have it wait where a writer takes all frames in the order of the plan only."""
        puts = self.whole.puts
        if puts is None or puts.spool is None:
            super().take(frame, metadata)
            return
        with self.lock:
            step = self._ahead[self._next] if self._next < len(self._ahead) else self._look_ahead()
            number, array, _, _, index, *_ = step
            fits = np.ascontiguousarray(fitted(self.plan, self.cursor, array, frame))
            record = recorded(self.plan, self.cursor, metadata) if metadata else None
            with self.whole.inner:
                self.whole.accept(Came(number, number, array, index, fits, record), puts)
            self._next += 1
            self.cursor += 1

    def _begin_forked(self) -> None:
        """Leave it to the whole run to come to rest before a fork."""

    def go_on_at(self, cursor: int) -> None:
        """Go on at a place of this part of the plan."""
        self.cursor = cursor
        self.reopen()

    def restore(self, block: OpenBlock) -> None:
        """Fill a block with what is stored of it."""
        with self.whole.inner:
            self.whole.restore(block)

    def end(self) -> None:
        """Hand over the blocks whose frames did not all come; the whole run holds all locks."""
        if self.whole.failure is None:
            self._hand_over_all()
        self._forget_ahead()
        if self._own is not None:
            self._own.abort()

    # ── what belongs to the whole ───────────────────────────────────────────────────────────────────────────────────

    def _write_in_turn(self, blocks: Sequence[Block]) -> None:
        with self.whole.inner:
            self.whole.writer.write(blocks)

    def _require_going_on(self) -> None:
        self.whole._require_going_on()  # noqa: SLF001 - a lane is a part of it
        super()._require_going_on()

    def _failed(self, error: Exception, place: int | None) -> WriteError:
        failure = super()._failed(error, place)
        with self.whole.inner:
            self.whole.fail_all(failure)
        return failure

    def _grow(self, array: int, index: tuple[int, ...]) -> None:
        with self.whole.inner:
            self.whole._grow(array, index)  # noqa: SLF001 - as above

    def _keep_record(self, number: int, place: int, array: int, index: tuple[int, ...], record: Record) -> None:  # noqa: ARG002 - that in the lane
        with self.whole.inner:
            self.whole._keep_record(number, number, array, index, record)  # noqa: SLF001 - as above

    def _watch(self) -> None:
        with self.whole.inner:
            self.whole._watch()  # noqa: SLF001 - as above

    def _taken(self, numbers: Sequence[int], places: Sequence[int]) -> None:
        with self.whole.inner:
            self.whole._taken(numbers, places)  # noqa: SLF001 - as above

    def _stored(self, buffer: int, flags: int, number: int) -> None:
        _, array, _, _, index, *_ = self._ahead[self._next]
        with self.whole.inner:
            self.whole.arrived(Came(number, number, array, index, _NONE, None))
        if buffer < 0:
            self._taken((number,), (number,))
        else:
            super()._stored(buffer, flags, number)

    def _counts(self, place: int) -> bool:
        return self.whole._counts(place)  # noqa: SLF001 - as above

    def _is_closing(self) -> bool:
        return self.whole._is_closing()  # noqa: SLF001 - a lane is a part of it

    def _kept_one(self, buffer: int) -> bool:
        with self.whole.inner:
            return super()._kept_one(buffer)

    def skip(self, frames: int = 1) -> None:
        """Go past frames that will not come."""
        with self.lock:
            first, journal, self.journal = self.cursor, self.journal, None
            try:
                super().skip(frames)
            finally:
                self.journal = journal
            numbers = self.plan.rows(first, self.cursor)["frame"].tolist()
            with self.whole.inner:
                self.whole.cursor = max(self.whole.cursor, numbers[-1] + 1)
                if journal is not None:
                    journal.mark_all(numbers, PASSED)


def lanes_of(run: Run) -> list[Lane]:
    """Return the lanes of a run, one for each camera; from then on its frames come through them.

    Raises
    ------
    ValueError
        If there are no cameras, or frames came in another way.
    """
    cameras = run.plan.settings.camera_dimension
    if cameras is None:
        raise ValueError("there is no dimension of type 'camera'")
    with run.lock:
        if not run.lanes:
            run.require_unused()
            in_turn = run.writer.capabilities.order == "planned"
            begin_lanes(run, run.puts_for_all() if in_turn else Puts(run.plan, None))
        return [lane for lane in run.lanes if isinstance(lane, Lane)]


def begin_lanes(run: Run, puts: Puts) -> list[Lane]:
    """Give a run a lane for each camera, and return them."""
    cameras = run.plan.settings.camera_dimension
    lanes = [Lane(run, camera) for camera in range(1 if cameras is None else cameras.count or 1)]
    run.begin_lanes(lanes, puts, Together([*(lane.lock for lane in lanes), run.inner]))
    return lanes


def _writer_of_its_own(run: Run) -> Writer | None:
    """Return a writer that a lane can use beside the others, `None` if there can be none."""
    able, arrays = run.writer.capabilities, run.plan.layout.arrays
    alone = able.positioned and able.attaches and able.ack == "append" and able.persistent
    if not alone or None in arrays[0].shape or run.plan.settings.compression or run.plan.settings.buffer_bytes:
        return None
    try:
        writer = writer_named(able.name)
    except ValueError:  # somebody's own
        return None
    if type(writer) is not type(run.writer):
        return None
    documents: Documents = ()
    writer.open(run.root, run.plan, documents, attach=True)
    return writer


class CameraStream:
    """What takes the frames of one camera; made by `Stream.camera`. Each may be used from a thread of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, Camera, Dimension, create_stream
    >>> settings = AcquisitionSettings(dtype="uint16", dimensions=[
    ...     Dimension(name="t", count=2),
    ...     Dimension(name="cam", coords=[Camera(name="left", shape=(8, 8)), Camera(name="right", shape=(4, 4))]),
    ...     Dimension(name="y"), Dimension(name="x")])
    >>> with create_stream(settings) as stream:
    ...     left, right = stream.camera("left"), stream.camera("right")
    ...     for value in (1, 2):
    ...         left.append(np.full((8, 8), value, "uint16"))
    ...     right.append(np.full((4, 4), 3, "uint16"))
    ...     print(left.cursor, right.cursor)
    2 1
    """

    def __init__(self, lane: Lane, name: str, tell: Sequence[Callable[[int], object]] = ()) -> None:
        self._lane, self.name, self._tell = lane, name, tell

    def __repr__(self) -> str:
        return f"<CameraStream {self.name!r}: {self.cursor} frames gone through>"

    @property
    def cursor(self) -> int:
        """How many frames of this camera came or were gone past."""
        return self._lane.cursor

    def append(
        self,
        frame: NDArray[Any],
        *,
        frame_metadata: Mapping[str, Any] | None = None,
        expect: Mapping[str, int | str] | None = None,
    ) -> None:
        """Take the next frame of this camera; as `Stream.append` otherwise."""
        with self._lane.lock:
            if expect is not None:
                self._lane.require_expected(expect)
            self._lane.take(frame, frame_metadata)
        for tell in self._tell:
            tell(self._lane.whole.steps)

    def skip(self, *, frames: int = 1) -> None:
        """Go past frames of this camera that will not come."""
        self._lane.skip(frames)
