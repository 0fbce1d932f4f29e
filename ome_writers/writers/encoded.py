"""Compressed OME-Zarr with nothing but a codec: chunks are encoded by a few threads, and stored as soon as they are.

1. A block (whole chunks along the leading axes, all pixels in y and x) is cut into its chunks while it is copied, in
   portions of about two megabytes, so that a single large block keeps all threads busy too.
2. A thread encodes a portion and stores it: appended to its shard, whose index is at its start (`shardlog.py`), or,
   without shards, each chunk as a file of its own. What is stored can be read by others at once. `close` repeats the
   index at the end of the shard, with its checksum, so that in the end the files are like those of other writers.
3. Portions on their way are counted in bytes. While there would be too many, the caller encodes and stores too, instead
   of waiting, and without a copy where it can. So it does with blocks that take less time to encode than to hand over.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.errors import WriteError
from ome_writers.plan import Plan
from ome_writers.writer import THREADS, Block, Documents, Selection
from ome_writers.writers.chunkcut import Cut, Tile, cuts
from ome_writers.writers.files import put_whole, sync_tree
from ome_writers.writers.inflight import IN_FLIGHT, InFlight
from ome_writers.writers.shardlog import ShardLog
from ome_writers.writers.zarrfolder import ZarrFolder
from ome_writers.writers.zarrtree import Shape, ranges, whole

_PORTION: Final = 2**21
"""Bytes of pixels that are worth a thread's while."""
_SMALL: Final = 2**16
"""Bytes of a block up to which it is encoded by the caller."""
Bytes = NDArray[np.uint8]


class EncodedZarr:
    """Stores compressed OME-Zarr in a folder; has the methods of a `Writer` that wants chunks, in any order.

    Parameters
    ----------
    in_flight_bytes
        The most bytes of pixels that are on their way to the disk when `write` returns. Beside them there is what
        threads have encoded and not stored yet, a portion each.
    threads
        How many threads encode; by default one for each core, but no more than 4.
    """

    def __init__(self, *, in_flight_bytes: int = IN_FLIGHT, threads: int | None = None) -> None:
        self.in_flight = InFlight(in_flight_bytes)
        """Portions that are on their way."""
        self._buffers = _Buffers(in_flight_bytes)
        self._threads = threads or min(os.cpu_count() or 1, 4)
        self._pool: ThreadPoolExecutor | None = None
        self._busy: dict[tuple[int, Shape, int], Future[None]] = {}
        """What is on its way, by array, start of the block, and number of the portion."""
        self._folder = ZarrFolder("", ())
        self._cuts: list[Cut] = []
        self._shards = ShardLog(self._folder.path)

    # ── structure ───────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create every group and array, as `zarr.json` files; with `attach` learn the shapes of those that stand.

        Raises
        ------
        PlanError
            If the library of a codec is missing.
        FileExistsError
            If anything stands at `root`, unless `attach`.
        FileNotFoundError
            If an array to attach to does not stand there.
        NotADataset
            If its document cannot be understood, or its chunks are stored in another way than planned.
        """
        self._finished = plan.layout.arrays
        """The arrays as they are in the end, with the indices of shards at their end."""
        self._growing = [evolve(spec, index_location=spec.index_location and "start") for spec in self._finished]
        self._cuts, self._folder = cuts(plan.layout.arrays, _PORTION), ZarrFolder(root, self._growing)
        self._shards = ShardLog(self._folder.path)
        if attach:
            self._folder.attach(self._finished)
        else:
            self._folder.create(plan.first_shapes, documents)
        self._pool = ThreadPoolExecutor(self._threads, f"{THREADS}-encode")

    def resize(self, array: int, shape: Shape, /) -> None:
        """Give an array a new shape.

        Files beyond a smaller one are deleted. In a file that the new edge cuts, pixels beyond it are out of sight.
        """
        if any(map(int.__lt__, shape, self._folder.shapes[array])):
            self.in_flight.wait(array)
            self._shards.close(self._path(self._cuts[array], ""))
        self._folder.resize(array, shape)

    # ── pixels ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, blocks: Sequence[Block], /) -> None:
        """Take whole blocks; takes its time while too many bytes are on their way.

        Raises
        ------
        WriteError
            If an earlier block could not be stored; names its first frame.
        OSError
            If the disk fails.
        ValueError
            If a block is no whole chunk of its array.
        """
        for block in blocks:
            if self._folder.specs[block.array] is not self._growing[block.array]:
                # The index at the start was kept; from now on it is the one that counts again.
                self._folder.restate(block.array, self._growing[block.array])
            cut = self._cuts[block.array]
            start = (*block.start, 0, 0)
            stop = tuple(map(int.__add__, start, block.data.shape))
            extent = whole(start, stop, self._folder.shapes[block.array], cut.chunks)
            if extent[:-2] != cut.spec.chunk_shape[:-2]:
                raise ValueError(f"a block holds one chunk along the leading axes; got {block.data.shape}")
            small = prod(extent) * cut.dtype.itemsize <= _SMALL
            for number, tiles in enumerate(cut.portions):
                key, nbytes = (block.array, block.start, number), len(tiles) * cut.chunk_bytes
                if (earlier := self._busy.get(key)) is not None:
                    earlier.exception()  # The same chunks come again, and must not be overtaken by themselves.
                if self.in_flight.has_room(nbytes) and not small:
                    self._hand_over(block, key, nbytes)
                else:
                    # Of all ways to wait until there is room, this is the most useful.
                    self._store(cut, block.start, tiles, cut.gathered(block.data, tiles))

    def _hand_over(self, block: Block, key: tuple[int, Shape, int], nbytes: int) -> None:
        cut = self._cuts[block.array]
        tiles = cut.portions[key[-1]]
        buffer = self._buffers.take(nbytes, self.in_flight.held_bytes)
        pixels = cut.gathered(block.data, tiles, buffer)
        future = self._workers.submit(self._work, cut, block.start, tiles, pixels, buffer)
        self._busy[key] = future
        future.add_done_callback(lambda _: self._busy.pop(key, None))
        self.in_flight.add(future, nbytes, block, cut.spec)

    @property
    def _workers(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise ValueError("nothing is open")
        return self._pool

    def _work(self, cut: Cut, start: Shape, tiles: Sequence[Tile], pixels: NDArray[Any], buffer: Bytes) -> None:
        try:
            self._store(cut, start, tiles, pixels)
        finally:
            self._buffers.give_back(buffer)

    def _store(self, cut: Cut, start: Shape, tiles: Sequence[Tile], pixels: NDArray[Any]) -> None:
        """Encode and store the tiles of a block that starts there."""
        parts = [cut.codec.encode(chunk) for chunk in pixels]
        file, place = cut.lead(start)
        if cut.spec.shard_shape is None:
            for tile, part in zip(tiles, parts, strict=True):
                put_whole(Path(self._path(cut, (*file, *tile.file))), part, self._folder.path)
        else:
            path = self._path(cut, (*file, *tiles[0].file))
            self._shards.append(path, cut.file_chunks, [place + tile.place for tile in tiles], parts)

    def _path(self, cut: Cut, file: Iterable[object]) -> str:
        """Return the path of a file, by its index (none: how all of them begin)."""
        return f"{self._folder.path}/{cut.spec.path}/c/{'/'.join(map(str, file))}"

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return stored pixels, once those of this array that are on their way have arrived."""
        self.in_flight.wait(array)
        cut, where = self._cuts[array], ranges(selection, self._folder.shapes[array])
        spans = [range(part, part + 1) if isinstance(part, int) else range(part.start, part.stop) for part in where]
        out = np.full([len(span) for span in spans], cut.spec.fill_value, cut.spec.dtype)
        if out.size:
            steps = list(zip(spans, cut.spec.chunk_shape, strict=True))
            for index in product(*(range(span.start // step, -(-span.stop // step)) for span, step in steps)):
                pixels = self._chunk(cut, index)
                if pixels is not None:
                    first = [max(at * step, span.start) for at, (span, step) in zip(index, steps, strict=True)]
                    last = [min((at + 1) * step, span.stop) for at, (span, step) in zip(index, steps, strict=True)]
                    chunk = [at * step for at, (_, step) in zip(index, steps, strict=True)]
                    out[_slices(first, last, [span.start for span in spans])] = pixels[_slices(first, last, chunk)]
        return out[tuple(0 if isinstance(part, int) else slice(None) for part in where)]

    def _chunk(self, cut: Cut, index: Shape) -> NDArray[Any] | None:
        file, place = cut.locate(index)
        path = self._path(cut, file)
        if cut.spec.shard_shape is not None:
            encoded = self._shards.read(path, cut.file_chunks, place)
        else:
            encoded = Path(path).read_bytes() if Path(path).exists() else None
        if encoded is None:
            return None
        return np.frombuffer(cut.codec.decode(encoded), cut.dtype).reshape(cut.spec.chunk_shape)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def pending(self) -> list[int]:
        """Return the numbers of the frames that were taken and are not stored yet, or could not be."""
        return self.in_flight.pending()

    @property
    def lost(self) -> list[int]:
        """Numbers of the frames that were taken and could not be stored; waits for what is on its way."""
        self.in_flight.drop()
        return sorted(set(self.in_flight.lost))

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Wait until all blocks are stored, then replace the documents; `durable` costs a look at every file."""
        self.in_flight.wait()
        self._folder.put(documents or ())
        if durable:
            sync_tree(self._folder.path)

    def close(self, documents: Documents, /) -> None:
        """Wait until all blocks are stored, then replace the documents.

        What fails only now is raised, and the documents stay as they were. After an error that has been raised before,
        the documents tell of it, and so they are written whatever else failed.
        """
        try:
            with contextlib.suppress(WriteError) if self.in_flight.failed else contextlib.nullcontext():
                self.in_flight.wait()
            with contextlib.suppress(OSError):  # as on a full disk; then the indices at the start go on to count
                self._finish()
            self._folder.put(documents)
        finally:
            self.abort()

    def _finish(self) -> None:
        """Repeat the index of each shard at its end, where some readers look for it and nowhere else."""
        for array, (spec, cut) in enumerate(zip(self._finished, self._cuts, strict=True)):
            if spec.shard_shape is None or self._folder.specs[array] is not self._growing[array]:
                continue
            for folder, _, names in os.walk(self._path(cut, ())):
                for name in names:
                    self._shards.finish(os.path.join(folder, name), cut.file_chunks)  # noqa: PTH118 - a key in a dict
            self._folder.restate(array, spec)

    def abort(self) -> None:
        """Wait for what is on its way, so that nothing is written after this, and let go of everything."""
        self.in_flight.drop()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
        self._buffers.clear()
        with contextlib.suppress(OSError):
            self._shards.close()


class _Buffers:
    """Memory that is used again, since memory that is new costs as much as the copy into it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: dict[int, list[Bytes]] = {}
        self._idle_bytes = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int, held: int) -> Bytes:
        """Return memory, of which so many bytes are held elsewhere."""
        with self._lock:
            if idle := self._idle.get(nbytes):
                self._idle_bytes -= nbytes
                return idle.pop()
            if held + self._idle_bytes + nbytes > self._limit:
                self._idle, self._idle_bytes = {}, 0
        return np.empty(nbytes, np.uint8)

    def give_back(self, buffer: Bytes) -> None:
        with self._lock:
            self._idle.setdefault(buffer.nbytes, []).append(buffer)
            self._idle_bytes += buffer.nbytes

    def clear(self) -> None:
        with self._lock:
            self._idle, self._idle_bytes = {}, 0


def _slices(first: Sequence[int], last: Sequence[int], origin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a - o, b - o) for a, b, o in zip(first, last, origin, strict=True))
