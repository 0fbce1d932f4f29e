"""Given any writer, this puts it behind a thread and a ring of buffers, so that `write` costs one copy of the pixels.

1. The memory of the ring is taken, and touched, before the first frame; it is cut into slots of one block each.
2. `write` copies a block to the slot that was used last, whose memory is still near the processor, and puts it in line.
3. A thread hands what stands in line to the writer; several blocks at a time where they wait and are frames that may
   be written again. If that fails, they are handed over one by one, so that it is known which of them are stored.
4. Everything else happens in its turn: it waits until all that was put in line before is through.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, NamedTuple, cast

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.errors import WriteError
from ome_writers.layout import ArraySpec, Unit, block_shape
from ome_writers.lifetime import finalize
from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection, Writer, unit_for

_MOST: Final = 2**14
"""Slots of a ring, however small they are."""
_TOGETHER: Final = 8 * 2**20
"""Bytes that are handed over at once; more would keep room from the caller for longer, and saves nothing."""
_ALIGNED: Final = 64

_Call = tuple[Any, ...]


class _Waiting(NamedTuple):
    """A block in line."""

    slot: int
    block: Block
    resizes: Sequence[_Call]
    """What must be done before it."""
    notes: Sequence[_Call]
    """What is said of blocks before it."""


class BufferedWriter:
    """Stores blocks by another writer, in a thread; `write` copies them and returns.

    What fails in the thread is raised by the next call, and names the frames that it happened to. After that nothing is
    handed to the other writer but the final documents.

    Parameters
    ----------
    inner
        What stores the blocks. It is only called by one thread at a time.
    limit
        The most bytes of pixels that wait in memory. While there is no room, `write` waits. A block that is larger is
        stored by `write` itself, once all before it are.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, write
    >>> from ome_writers.writers.memory import MemoryWriter
    >>> dims = dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(dtype="uint8", dimensions=dims))
    >>> writer = BufferedWriter(MemoryWriter(), limit=2**20)
    >>> write(plan, np.ones((3, 8, 8), "uint8"), writer).frames
    3
    >>> int(writer.inner.arrays[0].sum())
    192
    """

    def __init__(self, inner: Writer, limit: int) -> None:
        self.inner, self.limit = inner, limit
        self._plan: Plan | None = None
        self.ring: _Ring | None = None
        """Memory, blocks in line and a thread, as long as it is open."""
        self._lost: list[int] = []
        self._forgotten: weakref.finalize[..., Any] | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Those of the other writer, but that a frame is not safe when `write` returns."""
        can = self.inner.capabilities
        return evolve(
            can,
            ack="block" if can.ack == "append" else can.ack,
            in_flight_bytes=can.in_flight_bytes + self.limit,
            parallel=False,
        )

    def pending(self) -> list[int]:
        """Return the numbers of the frames that `write` took and that are not stored yet, or could not be."""
        # In this order: what is taken out of line is in the hands of the other writer before that.
        line = tuple(self.ring.line) if self.ring is not None else ()
        inner: Sequence[int] = getattr(self.inner, "pending", tuple)()
        return [*self._lost, *(frame for waiting in line for frame in waiting.block.frames), *inner]

    @property
    def fill(self) -> float | None:
        """How full the ring is, from 0 to 1; `None` where there is none. Other threads may ask at any time."""
        ring = self.ring
        return None if ring is None else 1 - len(ring.free) / ring.count

    @property
    def lost(self) -> list[int]:
        """Numbers of the frames that `write` took and that could not be stored."""
        return sorted({*self._lost, *getattr(self.inner, "lost", ())})

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """As the other writer; also takes the memory, with `attach` only when the first block comes."""
        self._plan = plan
        if attach:
            self.inner.open(root, plan, documents, attach=True)
            return
        # Before anything exists: there may not be so much memory, or one more thread.
        ring = self._begin(plan)
        try:
            self.inner.open(root, plan, documents)
        except BaseException:
            if ring is not None:
                self._end(ring)
            raise

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Have an array resized before the next block is stored."""
        if self.ring is None or self.ring.told:
            # After a failure nothing is in line, and arrays are cut to what came.
            self.inner.resize(array, shape)
        else:
            self.ring.check()
            self.ring.resizes.append((array, shape))

    @property
    def note(self) -> Callable[..., None]:
        """As the other writer, if it has this, once the blocks before it are stored."""
        direct: Callable[..., None] = cast("Any", self.inner).note
        ring = self.ring
        return direct if ring is None else lambda *said: ring.notes.append(said)

    @property
    def recount(self) -> Callable[..., Any]:
        """As the other writer, if it has this."""
        return cast("Any", self.inner).recount  # type: ignore[no-any-return] # a method

    def rest(self) -> None:
        """Return when nothing is in line, and the other writer is at rest too."""
        with contextlib.suppress(Exception):  # whoever writes next is told
            self._through()
        getattr(self.inner, "rest", tuple)()

    def write(self, blocks: Sequence[Block], /) -> None:
        """Copy blocks and put them in line; waits while there is no room.

        Raises
        ------
        WriteError
            If an earlier block could not be stored; names its first frame. Of these blocks, none is in line that was
            not before.
        """
        ring = self.ring
        if ring is None and self._plan is not None:
            ring = self._begin(self._plan)
        for block in blocks:
            if ring is None or block.data.nbytes > ring.stride:
                self._through()
                self.inner.write((block,))
            else:
                ring.put(block)

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """As the other writer, once all that was put in line is stored."""
        self._through()
        return self.inner.read(array, selection)

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """As the other writer, once all that was put in line is stored."""
        self._through()
        self.inner.flush(documents, durable=durable)

    def close(self, documents: Documents, /) -> None:
        """As the other writer, once all that was put in line is stored; then let go of the memory.

        An error that comes to light only now is raised, and the other writer is not closed. One that has been raised
        before is what the documents tell of, so they are written.
        """
        ring = self.ring
        if ring is not None:
            if not ring.told:
                ring.through()
            self._end(ring)
        self.inner.close(documents)

    def abort(self) -> None:
        """Forget what is in line, wait for what is being stored, and let go of everything."""
        ring = self.ring
        if ring is not None:
            ring.dropping = True
            self._end(ring)
        self.inner.abort()

    def _begin(self, plan: Plan) -> _Ring | None:
        """Take the memory, if any blocks fit into it, and start the thread."""
        self._lost.clear()
        unit = unit_for(plan, self.inner.capabilities)
        sizes = _sizes(plan, unit)
        fitting = [size for size in sizes if size <= self.limit]
        if not fitting:
            return None
        again = unit == "frame" and self.inner.capabilities.order == "any"
        ring = self.ring = _Ring(self.inner, max(fitting), self.limit, plan.layout.arrays, self._lost, again=again)
        # Not `self`: as long as the thread ran, it would never be collected.
        self._forgotten = finalize(self, _close_forgotten, ring)
        ring.thread.start()
        return ring

    def _end(self, ring: _Ring) -> None:
        ring.end()
        self.ring = None
        if self._forgotten is not None:
            self._forgotten.detach()

    def _through(self) -> None:
        if self.ring is not None:
            self.ring.through()


def _sizes(plan: Plan, unit: Unit) -> set[int]:
    """Return the sizes of whole blocks, in bytes."""
    return {prod(block_shape(spec, unit)) * np.dtype(spec.dtype).itemsize for spec in plan.layout.arrays}


def _close_forgotten(ring: _Ring) -> None:
    """Store what is in line, at the latest when the interpreter exits: its thread would end there in mid-write."""
    ring.end()
    warnings.warn("a BufferedWriter was not closed", ResourceWarning, stacklevel=2)
    if ring.fault is not None and not ring.told:
        raise ring.fault


class _Ring:
    """Slots of memory, blocks in line, and the thread that stores them.

    The caller takes slots and puts blocks in line; the thread gives slots back and takes blocks out of line. Each of
    these is one step of the interpreter, so an interrupt finds a block in line or not, never half of it. A slot that it
    makes the caller forget is found again when nothing is in line. The two locks are bells: one that is released has
    been rung, and whoever waits for it looks again.
    """

    def __init__(  # noqa: PLR0913 - what a ring is made of
        self, inner: Writer, size: int, limit: int, specs: Sequence[ArraySpec], lost: list[int], *, again: bool
    ) -> None:
        self.inner, self.specs, self.lost = inner, specs, lost
        self.note: Callable[..., None] = getattr(inner, "note", _nothing_to_say)
        self.stride = -(-size // _ALIGNED) * _ALIGNED
        self.count = min(max(1, limit // self.stride), _MOST)
        self.memory = np.empty(self.count * self.stride, np.uint8)
        self.memory.fill(0)  # Pages that are only reserved would be made one by one, in the middle of `write`.
        self.together = max(1, min(self.count // 2, _TOGETHER // self.stride)) if again else 1
        """Blocks that are handed over at once, at most."""
        self.free = list(range(self.count))
        self.line: deque[_Waiting] = deque()
        self.resizes: list[_Call] = []
        self.notes: list[_Call] = []
        self.fault: WriteError | None = None
        self.told = self.dropping = self.ending = False
        self.work, self.room = threading.Lock(), threading.Lock()
        self.work.acquire()
        self.room.acquire()
        # An interpreter that exits must not wait for it before it calls what closes forgotten streams.
        self.thread = threading.Thread(target=self._store_all, name="ome-writers-ring", daemon=True)

    # ── in the thread of the caller ────────────────────────────────────────────────────────────────────────────────

    def put(self, block: Block) -> None:
        """Copy a block and put it in line."""
        if self.fault is not None:
            self.check()
        if not self.free:
            self.make_room()
        frames, array, start, data = block
        slot = self.free.pop()
        held = np.ndarray(data.shape, data.dtype, self.memory, slot * self.stride)
        held[...] = data
        resizes, notes = tuple(self.resizes), tuple(self.notes)
        self.line.append(_Waiting(slot, Block(tuple(frames), array, start, held), resizes, notes))
        if resizes or notes:
            # After an interrupt before this, they are done again, which changes nothing.
            self.resizes, self.notes = [], []
        if self.work.locked():
            _ring_bell(self.work)

    def check(self) -> None:
        """Raise what has gone wrong, once all that it has cost is known."""
        if self.fault is not None:
            self._wait_for(lambda: not self.line)
            self.told = True
            raise self.fault

    def through(self) -> None:
        """Wait until all that is in line is stored, and do what else was put off."""
        self._wait_for(lambda: not self.line)
        self.check()
        resizes, notes = self.resizes, self.notes
        self.resizes, self.notes = [], []
        for call in resizes:
            self.inner.resize(*call)
        for call in notes:
            self.note(*call)

    def end(self) -> None:
        """Let the thread go through what is in line, and end; what the collector calls in that thread cannot wait."""
        self.ending = True
        _ring_bell(self.work)
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.thread.join()

    def make_room(self) -> None:
        self._wait_for(lambda: bool(self.free) or not self.line)
        self.check()
        if not self.free:
            self.free[:] = range(self.count)

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if threading.current_thread() is self.thread:
                raise RuntimeError("the thread that stores blocks cannot wait for itself")
            if not self.thread.is_alive():
                raise RuntimeError("the thread that stores blocks is gone; was this process forked?")
            # Whoever put the last block in line may have been interrupted before the bell.
            _ring_bell(self.work)
            self.room.acquire()
            if condition():
                _ring_bell(self.room)  # for others that wait

    # ── in the thread of its own ───────────────────────────────────────────────────────────────────────────────────

    def _store_all(self) -> None:
        while not (self.ending and not self.line):
            self.work.acquire()
            while self.line:
                self._store_some()

    def _store_some(self) -> None:
        line = self.line
        batch = [line[0]]
        for number in range(1, min(len(line), self.together)):
            if line[number].resizes:
                break
            batch.append(line[number])
        stored = 0
        if self.fault is None and not self.dropping:
            try:
                self._store(batch)
                stored = len(batch)
            except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller
                stored, fault = self._one_by_one(batch, error)
                if fault is not None:
                    self.fault = fault if isinstance(fault, WriteError) else self._named(fault, batch[stored].block)
        self.lost += [frame for waiting in batch[stored:] for frame in waiting.block.frames]
        for waiting in batch:
            # In this order: where nothing is in line, every slot is free.
            self.free.append(waiting.slot)
            line.popleft()
        _ring_bell(self.room)

    def _one_by_one(self, batch: Sequence[_Waiting], error: BaseException) -> tuple[int, BaseException | None]:
        """Return how many blocks can be stored, of those that together cannot, and why the next one cannot."""
        if len(batch) == 1:
            return 0, error
        for stored, waiting in enumerate(batch):
            try:
                self._store([waiting])
            except BaseException as fault:  # noqa: BLE001 - raised in the thread of the caller
                return stored, fault
        return len(batch), None

    def _store(self, batch: Sequence[_Waiting]) -> None:
        for call in batch[0].resizes:
            self.inner.resize(*call)
        self.inner.write([waiting.block for waiting in batch])
        for waiting in batch:
            for call in waiting.notes:
                self.note(*call)

    def _named(self, error: BaseException, block: Block) -> WriteError:
        frames, spec = block.frames, self.specs[block.array]
        what = f"frame {frames[0]}" if len(frames) == 1 else f"frames {frames[0]} to {frames[-1]}"
        place = " ".join(f"{name}={index}" for name, index in zip(spec.dimension_names, block.start, strict=False))
        where = f"{what if frames else 'a block'} ({f'array {spec.path!r} {place}'.strip()})"
        fault = WriteError(f"{where}: {type(error).__name__}: {error}", min(frames, default=None))
        fault.__cause__ = error
        return fault


def _nothing_to_say(*said: Any) -> None:
    """Stand in for a `note` that the writer does not have, and nobody calls."""


def _ring_bell(bell: threading.Lock) -> None:
    if bell.locked():
        with contextlib.suppress(RuntimeError):  # Somebody else may ring it in between.
            bell.release()
