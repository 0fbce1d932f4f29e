"""What a run knows, what it says of that, and how the arrays grow: everything about it but the moving of frames.

All that it knows beside its plan is a cursor, the places whose frames did not come, and the blocks that are open. If
frames come in any order (`put`), it is the places whose frames came; the cursor stands behind the furthest of them.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, overload

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.assembly import assemble
from ome_writers.blocks import OpenBlock, OpenBlocks
from ome_writers.cube import Cube, Rectangle, reached
from ome_writers.documents import Document, Outcome, Stamp, Verdict, documents
from ome_writers.edits import Edits, edited
from ome_writers.errors import PlanExhausted, StreamClosedError, WriteError
from ome_writers.gaps import Pairs, joined
from ome_writers.journal import Journal
from ome_writers.journal_file import edits_to_json
from ome_writers.layout import block_shape
from ome_writers.plan import Plan
from ome_writers.puts import Puts
from ome_writers.recordfile import Records
from ome_writers.records import Record
from ome_writers.writer import Writer, grows_in_steps, unit_for

Step = tuple[int, int, tuple[int, ...], np.dtype[Any], tuple[int, ...], int, int, int]
"""frame, array, shape and dtype of its frames, index, buffer, slot, flags"""


class Stretches(Sequence[range]):
    """Ranges, in 16 bytes each: very many frames may be gone past one by one.

    Examples
    --------
    >>> stretches = Stretches()
    >>> stretches.append(range(3, 5))
    >>> len(stretches), stretches[-1]
    (1, range(3, 5))
    """

    def __init__(self) -> None:
        self._firsts, self._stops = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._stops)

    @overload
    def __getitem__(self, number: int) -> range: ...
    @overload
    def __getitem__(self, number: slice) -> list[range]: ...
    def __getitem__(self, number: int | slice) -> range | list[range]:
        if isinstance(number, slice):
            return list(map(range, self._firsts[number], self._stops[number]))
        return range(self._firsts[number], self._stops[number])

    def append(self, stretch: range) -> None:
        """Add a range, of steps of 1."""
        self._firsts.append(stretch.start)
        self._stops.append(stretch.stop)

    def pairs(self) -> Pairs:
        """Return them as an array, (n, 2)."""
        count = len(self._stops)  # last in `append`, which another thread may be at
        return np.column_stack([np.array(self._firsts[:count], np.int64), np.array(self._stops[:count], np.int64)])


class RunState:
    """A run of a plan through a writer that has been opened, without what takes its frames."""

    def __init__(self, plan: Plan, writer: Writer, root: str, stamp: Stamp, journal: Journal | None = None) -> None:
        arrays = plan.layout.arrays
        self.plan, self.writer, self.root, self.stamp = plan, writer, root, stamp
        self.journal = journal
        self.may_go_on = writer.capabilities.attaches
        """Whether another run can go on with the dataset when this one has stopped."""
        self._write = writer.write
        self._note = getattr(writer, "note", None)
        self.cursor = 0
        """How many places of the plan the run has gone through; other threads may read it at any time."""
        self.records = Records() if journal is None else journal.records
        self.disowned = False
        """Whether the run is that of another process, of which this one is a fork."""
        self._process = os.getpid()
        self.globals: dict[str, Record] = {}
        """Metadata of the whole acquisition, by namespace."""
        self.edits = Edits()
        self.outcome: Outcome | None = None
        self.skipped = Stretches()
        """Places that were gone past, a stretch for each call."""
        self.due = 0
        """Places that count as gone past when the run ends, whether their frames came or not."""
        self.puts: Puts | None = None
        """What came, if frames are put; what of that did not come is not `skipped`."""
        self._in_turn = True
        """Whether frames are taken in the order of the plan; those that were spooled are in the end."""
        self._assembly = assemble(plan, unit_for(plan, writer.capabilities))
        self._open = OpenBlocks(self._assembly)
        able = writer.capabilities
        self._together = (able.order, able.ack, self._assembly.unit) == ("any", "append", "frame")
        """Whether several frames may be handed over together: to write one again changes nothing."""
        self._blocks = [block_shape(spec, self._assembly.unit) for spec in arrays]
        self._in_steps = grows_in_steps(plan, writer.capabilities)
        """Whether all arrays are made longer together, by more than is needed yet."""
        self._shapes = [
            tuple(
                size or (first if self._in_steps else block)
                for size, first, block in zip(spec.shape, firsts, blocks, strict=True)
            )
            for spec, firsts, blocks in zip(arrays, plan.first_shapes, self._blocks, strict=True)
        ]
        self._endless = next((axis for axis, size in enumerate(arrays[0].shape) if size is None), None)
        self._frame_shapes = [shape[-2:] for shape in self._shapes]
        self._dtypes = [np.dtype(spec.dtype) for spec in arrays]
        self._lead = (None,) * (len(arrays[0].shape) - 2)
        self._failure: WriteError | None = None
        self.inner = threading.RLock()
        """What guards all that belongs to the whole run, however many lanes it has."""
        self.lock: Any = self.inner
        """What whoever asks for a step of the run has to hold."""
        self.lanes: list[Any] = []
        """The ways in which frames come, if each camera has its own; see `lanes.py`."""
        self._ahead: list[Step] = []
        self._next = 0
        """Which of the steps ahead comes next."""

    # ── what others ask while frames come, and after that ───────────────────────────────────────────────────────────

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape that an array has by now."""
        return self._shapes[array] if self._waiting is None else self._waiting.shape(array)

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        """Return pixels that were taken, whether stored or in a block that is still open."""
        with self.lock:
            self._require_own()
            if self._failure is not None:
                raise WriteError(f"nothing can be read after this: {self._failure}", self._failure.frame)
            if self._waiting is not None:
                return self._waiting.read(array, selection)
            pixels = self.writer.read(array, selection)
            for block in self._every_open():
                if block.array == array:
                    pixels = block.seen_through(selection, pixels)
            return pixels

    @property
    def readable(self) -> bool:
        """Whether `read` works while the run lasts."""
        return bool(self.writer.capabilities.readable) or self._waiting is not None

    @property
    def steps(self) -> int:
        """How many frames came or were gone past, one by one; other threads may ask at any time."""
        return self.cursor if self.puts is None else len(self.puts.order)

    @property
    def reach(self) -> int:
        """How many places of the plan this run has gone through, or one before it."""
        return self.cursor

    def reached(self, cube: Cube) -> tuple[int, ...]:
        """Return how far each dimension has come: 1 + the largest index."""
        if self.lanes:
            each = [reached(lane.plan, cube, lane.cursor) for lane in self.lanes]
            return tuple(max(sizes) for sizes in zip(*each, strict=True))
        if self.puts is None:
            return reached(self.plan, cube, self.cursor)
        far = dict(zip((dim.name for dim in self.plan.settings.dimensions), self.puts.reached, strict=False))
        return (*(far[name] for name in cube.dims[:-2]), *(count or 0 for count in cube.counts[-2:]))

    @property
    def _waiting(self) -> Puts | None:
        """The frames that came and are not in the writer's hands yet, if there are any such."""
        return self.puts if self.puts is not None and self.puts.spool is not None and self.outcome is None else None

    def generated(self) -> Sequence[Document]:
        """Return the documents as they are by now, but for what users changed."""
        outcome = self.outcome or evolve(self.so_far(), records={})
        if self._waiting is not None and not self._in_turn:
            outcome = evolve(outcome, cursor=0, missing=())
        return documents(self.plan, self.stamp, outcome)

    def documents(self) -> Sequence[Document]:
        """Return the documents as they are by now."""
        return edited(self.generated(), self.edits)

    def so_far(self) -> Outcome:
        """Return what came of the run, or has by now."""
        with self.inner:
            return self.outcome or self._said("running", None)

    def annotate(self, edits: Edits, more: Mapping[str, Record]) -> None:
        """Replace the documents where they stand by ones with these edits, and with more metadata.

        Metadata of single frames is only written when the run ends.
        """
        with self.lock:
            self._require_own()
            self._remember(edits, more)
            self.edits, self.globals = edits, {**self.globals, **more}
            if self.outcome is not None:
                self.outcome = evolve(self.outcome, globals=self.globals)
            described = self.documents()
            if self.outcome is not None:
                self.writer.open(self.root, self.plan, described, attach=True)
                self.writer.close(described)
            elif self._failure is None:
                try:
                    self.writer.flush(described)
                except Exception as error:  # noqa: BLE001 - what is raised says more
                    raise (failure := self._failed(error, None)) from failure.__cause__

    def _remember(self, edits: Edits, more: Mapping[str, Record]) -> None:
        """Have the journal keep what is said of the acquisition as a whole."""
        if self.journal is None or not (more or edits != self.edits):
            return
        value: Record = {"globals": dict(more)} if more else {}
        try:
            self.journal.say(value | ({"edits": edits_to_json(edits)} if edits != self.edits else {}))
        except OSError as error:
            if self.outcome is None:
                raise (failure := self._failed(error, None)) from failure.__cause__
            raise

    # ── how arrays grow ─────────────────────────────────────────────────────────────────────────────────────────────

    def _grown(self, array: int, index: tuple[int, ...]) -> None:
        try:
            self._grow(array, index)
        except Exception as error:  # noqa: BLE001 - what is raised says more
            raise (failure := self._failed(error, self.cursor)) from failure.__cause__

    def _grow(self, array: int, index: tuple[int, ...]) -> None:
        """Make the axis without end long enough for the block at `index`."""
        axis, shape = self._endless, self._shapes[array]
        if axis is None or index[axis] < shape[axis]:
            return
        if not self._in_steps:
            step = self._blocks[array][axis]
            self._resize(array, (*shape[:axis], (index[axis] // step + 1) * step, *shape[axis + 1 :]))
            return
        length = self.plan.announced(index[axis] + 1)
        for number, old in enumerate(self._shapes):
            self._resize(number, (*old[:axis], length, *old[axis + 1 :]))
        # Groups do not say how long their arrays are; OME-XML does.
        self.writer.flush([document for document in self.documents() if document.kind != "group"])

    def _cut(self, cursor: int) -> None:
        """Cut the arrays to what came up to `cursor`; after a failure as far as that can be done."""
        for number, shape in enumerate(self.plan.shapes(cursor)):
            if shape != self._shapes[number]:
                with suppress(Exception) if self._failure is not None else nullcontext():
                    self._resize(number, shape)

    def _resize(self, array: int, shape: tuple[int, ...]) -> None:
        self.writer.resize(array, shape)
        self._shapes[array] = shape

    # ── what does not fit ───────────────────────────────────────────────────────────────────────────────────────────

    def _exhausted(self, wish: str) -> PlanExhausted:
        return PlanExhausted(
            f"cannot {wish}: all {self.plan.frames} planned frames would be exceeded, {self.cursor} came before; "
            "count=None in the first dimension plans frames without end"
        )

    def _failed(self, error: Exception, place: int | None) -> WriteError:
        """Return the failure, after which no more frames are taken."""
        self._forget_ahead()
        if isinstance(error, WriteError):
            self._failure = error
        else:
            where = f"{self.plan.locate(place)}" if place is not None else f"after {self.cursor} frames"
            frame = None if place is None else int(self.plan.rows(place, place + 1)["frame"][0])
            self._failure = WriteError(f"{where}: {type(error).__name__}: {error}", frame)
            self._failure.__cause__ = error
        return self._failure

    def _said(self, verdict: Verdict, reason: BaseException | None) -> Outcome:
        # After a failure, what lies in open blocks is lost, though it was taken; so is what the writer could not store.
        lost = [place for block in self._every_open() for place in block.places] if self._failure else []
        if self._failure and len(gone := getattr(self.writer, "lost", ())):
            lost += np.flatnonzero(np.isin(self.plan.rows(0, self.cursor)["frame"], gone)).tolist()
        put = None if self._in_turn else self.puts
        absent = self.skipped.pairs() if put is None else put.gaps(self.cursor)
        gaps = joined(np.concatenate([absent, [(place, place + 1) for place in lost] or absent[:0]]), self.cursor)
        # Ctrl-C has no words.
        error = f"{type(reason).__name__}: {reason}".removesuffix(": ") if reason is not None else None
        return Outcome(
            verdict=verdict,
            cursor=self.cursor,
            missing=gaps,
            records=self.records.below(self.cursor),
            globals=self.globals,
            error=error,
            writer=self.writer.capabilities.name,
            placed=self.writer.capabilities.positioned,
            root=self.root,
        )

    def _require_going_on(self) -> None:
        """Refuse to take anything once the run has ended, or failed."""
        self._require_own()
        if self.outcome is not None:
            raise StreamClosedError("the stream is closed; nothing can be written to it")
        if self._failure is not None:
            raise WriteError(
                f"no more frames are taken after this: {self._failure}", self._failure.frame
            ) from self._failure

    def _require_own(self) -> None:
        """Refuse what would touch the files of another process."""
        if self.disowned:
            raise WriteError(
                f"the stream to {self.root or 'memory'} belongs to process {self._process}, and this one was forked "
                "from it: hand the frames over to that process, or create a stream of its own at another path"
            )

    def _every_open(self) -> list[OpenBlock]:
        return [block for lane in (self, *self.lanes) for block in list(lane._open.values())]  # noqa: SLF001 - they are runs as well

    def _forget_ahead(self) -> None:
        """Make the next step look whether it may be taken at all."""
        self._ahead, self._next = [], 0
