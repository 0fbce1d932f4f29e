"""Given any writer, this puts it behind a thread and a ring of buffers, so that `write` costs one copy of the pixels.

`write` puts blocks in line (see `ring.py`). Everything else happens in its turn: it waits until all that was put in
line before is through.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, cast

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.layout import Unit, block_shape
from ome_writers.lifetime import finalize
from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection, Writer, unit_for
from ome_writers.writers.ring import Ring


class BufferedWriter:
    """Stores blocks by another writer, in a thread; `write` copies them and returns.

    What fails in the thread is raised by the next call, and names the frames that it happened to. What comes
    after that is handed to the other writer at once.

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
        self.ring: Ring | None = None
        """Memory, blocks in line and a thread, as long as it is open."""
        self._lost: list[int] = []
        self.dropped: Sequence[Block] = ()
        """Blocks that waited when it was aborted: nobody else has them."""
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
        direct: Callable[..., Any] = cast("Any", self.inner).recount
        return direct

    @property
    def trim(self) -> Callable[..., None]:
        """As the other writer, if it has this, once all that was put in line is stored."""
        direct: Callable[..., None] = cast("Any", self.inner).trim

        def trimmed(places: int) -> None:
            if self.ring is not None and not self.ring.told:
                self._through()
            direct(places)

        return trimmed

    def rest(self) -> None:
        """Return when nothing is in line, and the other writer is at rest too."""
        with contextlib.suppress(Exception):  # whoever writes next is told
            self._through()
        getattr(self.inner, "rest", tuple)()

    def write(self, blocks: Sequence[Block], /) -> None:
        """Copy blocks and put them in line; waits while there is no room. After an error they are written at once.

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
            if ring is None or ring.told:
                self.inner.write((block,))
            elif block.data.nbytes > ring.stride:
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
            self.dropped = ring.dropped
        self.inner.abort()

    def _begin(self, plan: Plan) -> Ring | None:
        """Take the memory, if any blocks fit into it, and start the thread."""
        self._lost.clear()
        unit = unit_for(plan, self.inner.capabilities)
        sizes = _sizes(plan, unit)
        fitting = [size for size in sizes if size <= self.limit]
        if not fitting:
            return None
        again = unit == "frame" and self.inner.capabilities.order == "any"
        ring = self.ring = Ring(self.inner, max(fitting), self.limit, plan.layout.arrays, self._lost, again=again)
        # Not `self`: as long as the thread ran, it would never be collected.
        self._forgotten = finalize(self, _close_forgotten, ring)
        ring.thread.start()
        return ring

    def _end(self, ring: Ring) -> None:
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


def _close_forgotten(ring: Ring) -> None:
    """Store what is in line, at the latest when the interpreter exits: its thread would end there in mid-write."""
    ring.end()
    warnings.warn("a BufferedWriter was not closed", ResourceWarning, stacklevel=2)
    if ring.fault is not None and not ring.told:
        raise ring.fault
