"""Memory for blocks on their way to a writer, and the thread that hands them over; `buffered.py` puts them in.

1. The memory of the ring is taken, and touched, before the first frame; it is cut into slots of one block each.
2. A block is copied to the slot that was used last, whose memory is still near the processor, and put in line.
3. A thread hands what stands in line to the writer; several blocks at a time where they wait and are frames that may
   be written again. If that fails, they are handed over one by one, so that it is known which of them are stored.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ome_writers.errors import WriteError
from ome_writers.layout import ArraySpec
from ome_writers.writer import Block, Writer

_MOST: Final = 2**14
"""Slots of a ring, however small they are."""
_TOGETHER: Final = 8 * 2**20
"""Bytes that are handed over at once; more would keep room from the caller for longer, and saves nothing."""
_SOON: Final = 0.02
"""Seconds that blocks handed over together may take, so that a disk which is slow gets fewer of them."""
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


class Ring:
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
        self.most = max(1, min(self.count // 2, _TOGETHER // self.stride)) if again else 1
        """Blocks that are handed over at once, at most."""
        self.together = 1
        """As many as that by now: none of them counts as stored before the last one is."""
        self.free = list(range(self.count))
        self.line: deque[_Waiting] = deque()
        self.resizes: list[_Call] = []
        self.notes: list[_Call] = []
        self.fault: WriteError | None = None
        self.told = self.dropping = self.ending = False
        self.dropped: list[Block] = []
        """Blocks that were in line when it was to be let go of."""
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
        """Wait until a slot is free, or nothing is in line any more."""
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
        stored, begin = 0, time.monotonic()
        if self.fault is None and not self.dropping:
            try:
                self._store(batch)
                stored = len(batch)
            except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller
                stored, fault = self._one_by_one(batch, error)
                if fault is not None:
                    self.fault = fault if isinstance(fault, WriteError) else self._named(fault, batch[stored].block)
        soon = time.monotonic() - begin < _SOON
        self.together = min(2 * self.together, self.most) if soon else max(self.together // 2, 1)
        if self.dropping:
            self.dropped += [waiting.block for waiting in batch[stored:]]
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
