"""OME-Zarr through tensorstore, whole shards (or whole chunks) at a time, on a disk or an object store.

1. Every `zarr.json` is written by us, through tensorstore's key-value store, which replaces it as a whole. So to open a
   thousand arrays is to write a thousand small files; tensorstore's own handles are made when a block comes.
2. A block is copied, and filled up to whole chunks where the array's edge cuts it, so that no chunk is ever read,
   mended and written again. The handles know no edge, for the same reason.
3. Blocks on their way are counted in bytes, and `write` waits while there would be too many.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from ome_writers.casts import is_url
from ome_writers.errors import WriteError
from ome_writers.layout import ArraySpec
from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection
from ome_writers.writers.files import stands, sync_tree
from ome_writers.writers.inflight import InFlight
from ome_writers.writers.zarrtree import (
    Shape,
    array_file,
    array_key,
    cells,
    document_file,
    filled_up,
    folders_beyond,
    ranges,
    stored_shape,
    whole,
)
from ome_writers.zarrjson import array_json

_MOST_HANDLES: Final = 512
"""Arrays that tensorstore holds open at once."""
_LETTING_GO: Final = 0.01
"""Seconds after which a thread of the library that told of its work has let go of what it held for that."""
_NO_EDGE: Final = 2**40
"""An extent that no array reaches."""


@cache
def shared_context() -> ts.Context:
    """Return the threads that all writers of this process share: few, so that the acquisition keeps its cores."""
    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": min(os.cpu_count() or 1, 8)},
            "file_io_concurrency": {"limit": 4},
            # A frame survives the death of this process without it; `flush(durable=True)` is for that of the machine.
            "file_io_sync": False,
        }
    )


class TensorStoreWriter:
    """Writes OME-Zarr 0.5 with tensorstore.

    Parameters
    ----------
    in_flight_bytes
        The most bytes of pixels that are on their way to the disk when `write` returns. A larger block goes alone.
    context
        Limits and credentials for tensorstore; by default one for all writers of the process.
    """

    def __init__(self, *, in_flight_bytes: int = 256 * 2**20, context: ts.Context | None = None) -> None:
        self.capabilities = Capabilities(
            name="tensorstore",
            formats=frozenset({"ome-zarr"}),
            unit="shard",
            order="any",
            readable=True,
            atomic_replace=True,
            ack="block",
            in_flight_bytes=in_flight_bytes,
        )
        self.in_flight = InFlight(in_flight_bytes)
        """Blocks that are on their way."""
        self._context = context
        self._root = ""
        self._store: Any = None
        self._specs: tuple[ArraySpec, ...] = ()
        self._shapes: list[Shape] = []
        self._ends: list[Shape | None] = []
        """How far blocks were written along each axis; `None`: by others, not known."""
        self._handles: dict[int, Any] = {}
        self._resizing: dict[int, Any] = {}

    # ── structure ──────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create every group and array, as `zarr.json` files; with `attach` learn the shapes of those that stand.

        Raises
        ------
        FileExistsError
            If anything stands at `root`, unless `attach`.
        FileNotFoundError
            If an array to attach to does not stand there.
        """
        self._root, self._specs = root, plan.layout.arrays
        self._context = self._context or shared_context()
        local = Path(root).absolute()
        place = f"{root.rstrip('/')}/" if is_url(root) else {"driver": "file", "path": f"{local.as_posix()}/"}
        self._store = ts.KvStore.open(place, context=self._context).result()
        if attach:
            self._shapes = self._stored_shapes()
            self._ends = [None for _ in self._specs]
            return
        if bool(self._store.list().result()) if is_url(root) else stands(local):
            raise FileExistsError(f"{root} exists; nothing was written")
        if not is_url(root):
            local.mkdir(parents=True, exist_ok=True)
        self._shapes = list(plan.first_shapes)
        self._ends = [(0,) * len(spec.shape) for spec in self._specs]
        arrays = map(array_file, self._specs, self._shapes)
        self._put([*map(document_file, documents), *arrays])

    def _put(self, files: Iterable[tuple[str, bytes]]) -> None:
        _finish([self._store.write(key, data) for key, data in files])

    def _stored_shapes(self) -> list[Shape]:
        reads = [self._store.read(array_key(spec)) for spec in self._specs]
        found = [read.result() for read in reads]
        for spec, result in zip(self._specs, found, strict=True):
            if result.state != "value":
                raise FileNotFoundError(f"there is no array {spec.path!r} in {self._root} to attach to")
        return [stored_shape(spec, result.value, self._root) for spec, result in zip(self._specs, found, strict=True)]

    def resize(self, array: int, shape: Shape, /) -> None:
        """Give an array a new shape.

        Chunks beyond a smaller one are deleted. In a chunk that the new edge cuts, pixels beyond it are out of sight.
        """
        if any(map(int.__lt__, shape, self._shapes[array])):
            self.in_flight.wait(array)
            self._remove_beyond(array, shape)
        self._shapes[array] = shape
        if array in self._resizing:
            # Two documents of one array must not overtake each other.
            self._resizing.pop(array).result()
        self._resizing[array] = self._store.write(*array_file(self._specs[array], shape))

    def _remove_beyond(self, array: int, shape: Shape) -> None:
        spec, ends = self._specs[array], self._ends[array]
        if ends is not None and all(map(int.__le__, cells(ends, spec), cells(shape, spec))):
            return
        keys = self._store.list(_below(f"{spec.path}/c/")).result()
        doomed = folders_beyond((key.decode() for key in keys), spec, shape)
        _finish([self._store.delete_range(_below(folder)) for folder in doomed])
        self._ends[array] = shape if ends is None else tuple(map(min, ends, shape))

    # ── pixels ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, blocks: Sequence[Block], /) -> None:
        """Take whole blocks; waits while too many bytes are on their way.

        Raises
        ------
        WriteError
            If an earlier block could not be stored; names its first frame.
        ValueError
            If a block is no whole chunk (or shard) of its array.
        """
        for block in blocks:
            spec, ends = self._specs[block.array], self._ends[block.array]
            start = (*block.start, 0, 0)
            stop = tuple(map(int.__add__, start, block.data.shape))
            extent = whole(start, stop, self._shapes[block.array], spec)
            self.in_flight.make_room(prod(extent) * block.data.itemsize)
            cut = extent != block.data.shape
            pixels = filled_up(block.data, extent, spec.fill_value) if cut else block.data
            where = tuple(slice(first, first + size) for first, size in zip(start, extent, strict=True))
            # tensorstore makes the copy. It could refer to one of ours instead, but then takes some chunks that lie
            # in it in many pieces for empty ones, and drops them (0.1.86; a shard of (2, 4, 4, 4) in chunks of 2).
            written = self._handle(block.array)[where].write(pixels)
            written.copy.result()
            self.in_flight.add(written.commit, pixels.nbytes, block, spec)
            if ends is not None:
                self._ends[block.array] = tuple(map(max, ends, stop))

    def pending(self) -> list[int]:
        """Return the numbers of the frames that were taken and are not stored yet, or could not be."""
        return self.in_flight.pending()

    @property
    def lost(self) -> list[int]:
        """Numbers of the frames that were taken and could not be stored; waits for what is on its way."""
        self.in_flight.drop()
        return self.in_flight.lost

    def _handle(self, array: int) -> Any:
        handle = self._handles.get(array)
        if handle is None:
            if len(self._handles) >= _MOST_HANDLES:
                del self._handles[next(iter(self._handles))]
            spec = self._specs[array]
            description = {
                "driver": "zarr3",
                "kvstore": (self._store / f"{spec.path}/").spec().to_json(),
                "metadata": array_json(spec, (_NO_EDGE,) * len(spec.shape)),
                # Black frames are stored too, so that a chunk that is not there is known to be lost.
                "store_data_equal_to_fill_value": True,
            }
            handle = ts.open(description, open=True, assume_metadata=True, context=self._context).result()
            self._handles[array] = handle
        return handle

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return stored pixels, once those of this array that are on their way have arrived."""
        self.in_flight.wait(array)
        where = ranges(selection, self._shapes[array])
        return np.asarray(self._handle(array)[where].read().result())

    # ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────

    def rest(self) -> None:
        """Wait until no thread of the library is at work for this writer."""
        for future in tuple(self._resizing.values()):
            future.exception()
        self.in_flight.rest()
        time.sleep(_LETTING_GO)

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Wait until all blocks are stored, then replace the documents; `durable` costs a look at every file."""
        self.in_flight.wait()
        self._publish(documents or ())
        if durable and not is_url(self._root):
            sync_tree(Path(self._root))

    def _publish(self, documents: Documents) -> None:
        _finish(self._resizing.values())
        self._resizing.clear()
        self._put(map(document_file, documents))

    def close(self, documents: Documents, /) -> None:
        """Wait until all blocks are stored, then replace the documents.

        What fails only now is raised, and the documents stay as they were. After an error that has been raised before,
        the documents tell of it, and so they are written whatever else failed.
        """
        try:
            with contextlib.suppress(WriteError) if self.in_flight.failed else contextlib.nullcontext():
                self.in_flight.wait()
            self._publish(documents)
        finally:
            self.abort()

    def abort(self) -> None:
        """Wait for what is on its way, so that nothing is written after this, and let go of everything."""
        self.in_flight.drop()
        for future in self._resizing.values():
            future.exception()
        self._resizing.clear()
        self._handles.clear()


def _below(folder: str) -> Any:
    """Return the range of all keys in a folder, whose name ends in a slash."""
    return ts.KvStore.KeyRange(folder, folder[:-1] + chr(ord("/") + 1))


def _finish(futures: Iterable[Any]) -> None:
    """Wait for what is on its way.

    Raises
    ------
    OSError
        If the disk, or whatever takes it, fails; the library calls that a `ValueError`, and says where.
    """
    for future in futures:
        try:
            future.result()
        except ValueError as error:
            raise OSError(str(error)) from error
