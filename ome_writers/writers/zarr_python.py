"""OME-Zarr through zarr-python, whole shards (or whole chunks) at a time; `zarrs_python.py` is the same in Rust.

1. Every `zarr.json` is written by us. zarr is given the arrays as those documents describe them.
2. Each array has a codec pipeline of its own, so nobody's `zarr.config` is touched: that is one for the whole process,
   and a value that is set for a moment reaches the arrays that others open in that moment.
3. A block is filled up to whole chunks where the array's edge cuts it, and the arrays know no edge. So no chunk is ever
   read, mended and written again.
4. `write` returns when the block is stored. zarr encodes and stores the chunks of a block at the same time; to have
   several blocks on their way as well was measured to gain nothing, and would cost a copy of each.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.codec import CodecPipeline
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.core.metadata import ArrayV3Metadata
from zarr.core.sync import collect_aiterator, sync
from zarr.storage import FsspecStore, LocalStore, StorePath

from ome_writers.casts import is_url
from ome_writers.errors import PlanError, Problem
from ome_writers.layout import ArraySpec
from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection
from ome_writers.writers.files import put_whole, stands, sync_tree
from ome_writers.writers.zarrtree import (
    Shape,
    array_file,
    array_key,
    cells,
    document_file,
    filled_up,
    folders_beyond,
    grid,
    ranges,
    stored_shape,
    whole,
)
from ome_writers.zarrjson import array_json

_NO_EDGE: Final = 2**40
"""An extent that no array reaches."""


class _WholeShards(BatchedCodecPipeline):
    """zarr's own pipeline without its way to change a part of a shard, which reads even one that is to be replaced."""

    @property
    def supports_partial_encode(self) -> bool:
        return False


class ZarrWriter:
    """Writes OME-Zarr 0.5 with zarr-python, to a folder or to whatever `fsspec` has a URL for."""

    capabilities = Capabilities(
        name="zarr-python",
        formats=frozenset({"ome-zarr"}),
        unit="shard",
        order="any",
        readable=True,
        atomic_replace=True,
        ack="block",
        block_copies=3,
    )

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._store: Store
        self._specs: tuple[ArraySpec, ...] = ()
        self._shapes: list[Shape] = []
        self._ends: list[Shape | None] = []
        """How far blocks were written along each axis; `None`: by others, not known."""
        self._arrays: dict[int, zarr.Array[Any]] = {}

    def _pipeline(self, metadata: ArrayV3Metadata, store: Store) -> CodecPipeline:  # noqa: ARG002 - others need it
        """Return what encodes and decodes the chunks of an array."""
        return _WholeShards.from_codecs(metadata.codecs, batch_size=1)

    # ── structure ───────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create every group and array, as `zarr.json` files; with `attach` learn the shapes of those that stand.

        Raises
        ------
        PlanError
            If the root is a URL, and the library `fsspec` is missing.
        FileExistsError
            If anything stands at `root`, unless `attach`.
        FileNotFoundError
            If an array to attach to does not stand there.
        """
        self._specs, self._arrays = plan.layout.arrays, {}
        self._folder = None if is_url(root) else Path(root).absolute()
        self._store = LocalStore(self._folder) if self._folder else _store_at(root)
        if attach:
            self._shapes = [self._stored_shape(spec, root) for spec in self._specs]
            self._ends = [None for _ in self._specs]
            return
        if stands(self._folder) if self._folder else not sync(self._store.is_empty("")):
            raise FileExistsError(f"{root} exists; nothing was written")
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._shapes = list(plan.first_shapes)
        self._ends = [(0,) * len(spec.shape) for spec in self._specs]
        self._put([*map(document_file, documents), *map(array_file, self._specs, self._shapes)])

    def _put(self, files: Iterable[tuple[str, bytes]]) -> None:
        for key, data in files:
            if self._folder:
                put_whole(self._folder / key, data, self._folder)
            else:
                sync(self._store.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    def _stored_shape(self, spec: ArraySpec, root: str) -> Shape:
        found = sync(self._store.get(array_key(spec), default_buffer_prototype()))
        if found is None:
            raise FileNotFoundError(f"there is no array {spec.path!r} in {root} to attach to")
        return stored_shape(spec, found.to_bytes(), root)

    def resize(self, array: int, shape: Shape, /) -> None:
        """Give an array a new shape.

        Chunks beyond a smaller one are deleted. In a chunk that the new edge cuts, pixels beyond it are out of sight.
        """
        if any(map(int.__lt__, shape, self._shapes[array])):
            self._remove_beyond(array, shape)
        self._shapes[array] = shape
        self._put([array_file(self._specs[array], shape)])

    def _remove_beyond(self, array: int, shape: Shape) -> None:
        spec, ends = self._specs[array], self._ends[array]
        if ends is not None and all(map(int.__le__, cells(ends, spec), cells(shape, spec))):
            return
        keys = collect_aiterator(self._store.list_prefix(f"{spec.path}/c/"))
        for folder in folders_beyond(keys, spec, shape):
            sync(self._store.delete_dir(folder))
        self._ends[array] = shape if ends is None else tuple(map(min, ends, shape))

    # ── pixels ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, blocks: Sequence[Block], /) -> None:
        """Store whole blocks.

        Raises
        ------
        OSError
            If the disk, or the object store, fails.
        ValueError
            If a block is no whole chunk (or shard) of its array.
        """
        for block in blocks:
            spec, ends, pixels = self._specs[block.array], self._ends[block.array], block.data
            start = (*block.start, 0, 0)
            stop = tuple(map(int.__add__, start, pixels.shape))
            extent = whole(start, stop, self._shapes[block.array], spec)
            if extent != pixels.shape:
                pixels = filled_up(pixels, extent, spec.fill_value)
            where = tuple(slice(first, first + size) for first, size in zip(start, extent, strict=True))
            try:
                self._array(block.array).set_basic_selection(where, pixels)
            except BaseException:
                if ends is not None:
                    self._remove(spec, where)
                raise
            if ends is not None:
                self._ends[block.array] = tuple(map(max, ends, stop))

    def _remove(self, spec: ArraySpec, where: Sequence[slice]) -> None:
        """Remove what was stored of a block: part of a chunk stands in the way of readers, no chunk reads as blank."""
        steps = zip(where, grid(spec), strict=True)
        for cell in product(*(range(part.start // step, part.stop // step) for part, step in steps)):
            with contextlib.suppress(Exception):  # what went wrong before is on its way to the caller
                sync(self._store.delete("/".join(map(str, (spec.path, "c", *cell)))))

    def _array(self, number: int) -> zarr.Array[Any]:
        array = self._arrays.get(number)
        if array is None:
            spec = self._specs[number]
            described: Any = array_json(spec, (_NO_EDGE,) * len(spec.shape))
            metadata = ArrayV3Metadata.from_dict(described)
            place = StorePath(self._store, spec.path)
            # Black frames are stored too, so that a chunk that is not there is known to be lost.
            core = zarr.AsyncArray(metadata, place, {"order": "C", "write_empty_chunks": True})
            # zarr has no argument for it: it makes the pipeline that its configuration names.
            object.__setattr__(core, "codec_pipeline", self._pipeline(metadata, self._store))
            array = self._arrays[number] = zarr.Array(core)
        return array

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return stored pixels."""
        return np.asarray(self._array(array)[ranges(selection, self._shapes[array])])

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Replace the documents; pixels can be read already. `durable` costs a look at every file."""
        self._put(map(document_file, documents or ()))
        if durable and self._folder:
            sync_tree(self._folder)

    def close(self, documents: Documents, /) -> None:
        """Replace the documents and let go of everything."""
        try:
            self.flush(documents)
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go of everything; what was written is stored."""
        self._arrays = {}


def _store_at(url: str) -> Store:
    if importlib.util.find_spec("fsspec") is None:
        message = f"zarr-python writes to {url!r} with the library 'fsspec', which is not installed: pip install fsspec"
        raise PlanError([Problem(("root_path",), "missing_library", message)])
    return FsspecStore.from_url(url)
