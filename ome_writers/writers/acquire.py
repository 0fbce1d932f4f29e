"""OME-Zarr through acquire-zarr, a streaming engine of its own, which is handed frames and does all the rest.

1. The engine only appends: the frames of an array must come as nested loops over its axes bring them, the first axis
   outermost. Where frames did not come, and others follow, it is given the fill value.
2. It cuts every array into shards. So a chunk without a shard becomes a shard of one chunk, and the `zarr.json` of the
   array says so; that is the one thing that differs from what other writers leave.
3. It writes a `zarr.json` of its own for every array, as chunks are completed, and for every group when it ends. All
   are replaced by ours after that.
4. Nothing can be had back from it. What it has put on the disk by now is read there, shard by shard; of those that it
   still writes, nothing is seen.
5. Frames wait in the engine, as many as come, and no call makes it store them but the one that ends it. So whoever
   hands it frames waits while it holds too many, by what is on the disk (`backlog.py`). When a disk fails, the call
   that ends it tries every chunk again and again, or never returns. So a thread makes it, and there is an end to
   waiting for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import acquire_zarr as aqz
import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.documents import Document
from ome_writers.errors import WriteError
from ome_writers.journal_file import CAME, GIVEN
from ome_writers.layout import ArraySpec
from ome_writers.plan import Plan
from ome_writers.records import JSON
from ome_writers.regular import MOST_DOCUMENT, read_regular
from ome_writers.turns import nesting
from ome_writers.writer import Block, Capabilities, Documents, Selection
from ome_writers.writers.backlog import Backlog, in_time
from ome_writers.writers.files import replace_file, stands, sync_tree
from ome_writers.writers.shardfiles import lost_frames, read_whole, remove_torn
from ome_writers.writers.zarrtree import Shape, array_key, document_file, folders_beyond, stored_shape
from ome_writers.zarrjson import array_json, encode_json

_CODECS: Final = {
    "blosc-lz4": ("BLOSC1", "BLOSC_LZ4"),
    "blosc-zstd": ("BLOSC1", "BLOSC_ZSTD"),
    "zstd": ("ZSTD", "ZSTD"),
}
"""What the engine calls them: the compressor, and the codec in it."""

_DTYPES: Final = (
    *("int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64"),
)
_NO_EDGE: Final = 2**40
"""Longer than any axis."""


class AcquireZarrWriter:
    """Writes OME-Zarr 0.5 with acquire-zarr, to a folder.

    Beside the frames that wait the engine holds one layer of chunks: for each array all the frames that share a chunk,
    or a shard if they are compressed, along its first axis; and the one before it, which it stores.

    Parameters
    ----------
    in_flight_bytes
        The most bytes of frames that are on their way to the disk, beside those layers; the engine copies each.
    threads
        How many threads of the engine compress and store chunks; by default one for each core, but no more than 8.
    patience
        Seconds after which an engine that does not end is left alone: since it last stored anything, or, if frames have
        failed before, in all.
    """

    capabilities = Capabilities(
        name="acquire-zarr",
        formats=frozenset({"ome-zarr"}),
        ack="close",
        dtypes=frozenset(_DTYPES),
        codecs=frozenset(_CODECS),
        in_flight_bytes=400 * 2**20,
        append_only=True,
        attaches=False,
        urls=False,
        readable="late",
        live=False,
        may_hang=True,
    )

    def __init__(self, *, threads: int | None = None, patience: float = 60, in_flight_bytes: int = 128 * 2**20) -> None:
        self._threads = threads or min(os.cpu_count() or 1, 8)
        self._limit = in_flight_bytes
        self._backlogs: list[Backlog] = []
        self._looks: list[int] = []
        """How many frames of each array may have been taken before it is looked how many of them are held."""
        self._patience = patience
        self._folder = Path()
        self._stream: aqz.ZarrStream | None = None
        self._specs: tuple[ArraySpec, ...] = ()
        self._documents: Sequence[Document] = ()
        self._bodies: list[dict[str, JSON]] = []
        """What stands in the `zarr.json` of each array."""
        self._steps: list[Shape] = []
        """How many frames each array goes on by for one step along each of its axes but y and x."""
        self._taken: list[int] = []
        """How many frames the engine has been given for each array."""
        self._failed = self._startable = False
        self._plan: Plan
        self._last = -1
        """The number of the last frame that the engine was given."""
        self._lost: list[int] = []
        self._lock = threading.Lock()
        """Held while documents are written: two could do that, if the engine ends when it is no longer waited for."""

    # ── structure ───────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create every group and array; the engine starts with the first frame. With `attach` create nothing.

        Raises
        ------
        FileExistsError
            If anything stands at `root`, unless `attach`.
        FileNotFoundError
            If an array to attach to does not stand there.
        """
        self._folder, self._documents, self._failed = Path(root).absolute(), documents, False
        self._plan, self._last, self._lost = plan, -1, []
        self._specs = tuple(map(_in_shards, plan.layout.arrays))
        axes = nesting(plan)
        self._steps, self._taken = [_steps(spec, axes) for spec in self._specs], [0] * len(self._specs)
        limit = self._limit // len(self._specs)
        self._backlogs = [
            Backlog(self._folder, spec, step[0] if step else 1, limit)
            for spec, step in zip(self._specs, self._steps, strict=True)
        ]
        self._looks = [0] * len(self._specs)
        if attach:
            # After a crash, those that stand there are the engine's own.
            files = [read_regular(self._folder / array_key(spec), MOST_DOCUMENT) for spec in self._specs]
            shapes = [stored_shape(spec, data, root) for spec, data in zip(self._specs, files, strict=True)]
            self._bodies = [array_json(spec, shape) for spec, shape in zip(self._specs, shapes, strict=True)]
            # The engine goes on with nothing that stands; but where no frame is yet, it has nothing to go on with.
            self._startable = not any((self._folder / spec.path / "c").exists() for spec in self._specs)
            return
        if stands(self._folder):
            raise FileExistsError(f"{root} exists; nothing was written")
        self._bodies = [array_json(spec, tuple(size or 1 for size in spec.shape)) for spec in self._specs]
        self._startable = True
        self._folder.mkdir(parents=True, exist_ok=True)
        self._publish()

    def _start(self) -> None:
        """Start the engine, which leaves documents of its own; put back ours."""
        self._startable = False
        axes = nesting(self._plan)
        bodies = [array_json(spec, tuple(size or 1 for size in spec.shape)) for spec in self._specs]
        arrays = [_settings(spec, axes, body) for spec, body in zip(self._specs, bodies, strict=True)]
        self._stream = aqz.ZarrStream(
            aqz.StreamSettings(store_path=str(self._folder), arrays=arrays, max_threads=self._threads)
        )
        self._publish()

    def _publish(self) -> None:
        """Write all documents, those of the arrays too."""
        arrays = ((array_key(spec), encode_json(body)) for spec, body in zip(self._specs, self._bodies, strict=True))
        with self._lock:
            for key, data in (*map(document_file, self._documents), *arrays):
                path = self._folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, data)

    def resize(self, array: int, shape: Shape, /) -> None:
        """Give an array a new shape. Frames that were taken lie within it, so nothing is removed."""
        # The engine would write its own over a document that stood there now; ours follow when it has ended.
        self._bodies[array] = self._bodies[array] | {"shape": list(shape)}

    # ── pixels ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, blocks: Sequence[Block], /) -> None:
        """Take frames; waits while too many are on their way.

        Raises
        ------
        WriteError
            If one of the frames so far could not be stored.
        ValueError
            If a frame comes after a later one of its array, or after the engine has ended.
        """
        if self._startable and blocks:
            self._start()
        for block in blocks:
            place = sum(map(int.__mul__, block.start, self._steps[block.array]))
            ahead = place - self._taken[block.array]
            if self._stream is None or ahead < 0:
                why = "has ended" if self._stream is None else f"has {self._taken[block.array]} frames of the array"
                raise ValueError(f"acquire-zarr only appends, and {why}; got one for its place {place}")
            frame = block.data.reshape(block.data.shape[-2:])
            if ahead:
                blank = np.full_like(frame, self._specs[block.array].fill_value)
                for _ in range(ahead):
                    self._append(block, blank)
            self._append(block, frame)
            self._last = max(self._last, *block.frames)

    def _append(self, block: Block, frame: NDArray[Any]) -> None:
        if self._taken[block.array] >= self._looks[block.array]:
            self._make_room(block)
        try:
            self._stream.append(frame, self._specs[block.array].path)  # type: ignore[union-attr] # `write` has looked
        except RuntimeError as error:
            self._failed = True
            raise WriteError(f"frame {block.frames[0]}, or one before it: {error}", block.frames[0]) from error
        self._taken[block.array] += 1

    def _make_room(self, block: Block) -> None:
        """Wait while the engine holds too many frames of an array."""
        backlog, taken = self._backlogs[block.array], self._taken[block.array]
        try:
            self._looks[block.array] = taken + backlog.room(taken, self._patience)
        except TimeoutError as error:
            self._failed = True
            raise WriteError(f"frame {block.frames[0]}, or one before it: {error}", block.frames[0]) from error

    @property
    def lost(self) -> list[int]:
        """Numbers of the frames that were taken and are not stored. Asked after a failure, it ends the engine."""
        if self._failed:
            with contextlib.suppress(WriteError):
                self._end()
        return self._lost

    def recount(self, marks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what came, by what is stored: the process that gave frames to the engine has died with it."""
        for spec in self._specs:
            remove_torn(self._folder, spec)
        given = np.flatnonzero(marks == GIVEN)
        numbers = self._plan.rows_at(given)["frame"]
        lost = lost_frames(self._folder, self._plan, self._specs, int(numbers.max(initial=-1)))
        found = marks.copy()
        found[given] = np.where(np.isin(numbers, lost), 0, CAME)
        return found

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return the pixels of those shards that the engine has put on the disk, the fill value for all others."""
        spec = self._specs[array]
        # What goes on without end may be announced to be longer than it is here.
        shape = [size or _NO_EDGE for size in spec.shape]
        return read_whole(self._folder, spec, self._bodies[array] | {"shape": shape}, selection)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Replace the documents; without any, or with `durable`, end the engine, after which it takes no more frames.

        Raises
        ------
        WriteError
            If any frame could not be stored.
        """
        if documents is None or durable:
            self._end()
        self._documents = self._documents if documents is None else documents
        self._publish()
        if durable:
            sync_tree(self._folder)

    def _end(self) -> None:
        """End the engine, which leaves documents of its own; if that fails, put back those that stood before."""
        held, self._stream, self._startable = [self._stream], None, False
        if held[0] is None:
            return
        faults: list[Exception] = []
        left_alone = threading.Event()

        def end() -> None:
            try:
                held[0].close()  # type: ignore[union-attr] # looked at above
            except RuntimeError as error:
                # Its traceback would keep the engine alive, which writes to its files once more when it is let go of.
                faults.append(error.with_traceback(None))
            finally:
                held.clear()
            if left_alone.is_set():
                with contextlib.suppress(OSError):
                    self._publish()

        if not in_time(end, self._folder, self._patience, in_all=self._failed):
            left_alone.set()
            faults.append(TimeoutError(f"acquire-zarr does not end, after {self._patience:g} s of waiting"))
        self._failed = self._failed or bool(faults)
        if self._failed:
            # The engine does not tell which frames it lost, and what it wrote in part stands in the way of readers.
            for spec in self._specs:
                remove_torn(self._folder, spec)
            # The engine leaves documents of its own; if ours cannot be put back, they are what readers go by.
            with contextlib.suppress(OSError):
                self._publish()
            self._lost = lost_frames(self._folder, self._plan, self._specs, self._last)
        if faults:
            raise WriteError(f"not all frames could be stored: {faults[0]}") from faults[0]

    def close(self, documents: Documents, /) -> None:
        """End the engine and replace the documents.

        What fails only now is raised, and the documents stay as they were. After an error that has been raised before,
        the documents tell of it, and so they are written.
        """
        with contextlib.suppress(WriteError) if self._failed else contextlib.nullcontext():
            self._end()
            self._remove_beyond()
        self._documents = documents
        self._publish()

    def _remove_beyond(self) -> None:
        """Remove files of a frame that the engine was given and that did not count, as Ctrl-C came in between."""
        for spec, body in zip(self._specs, self._bodies, strict=True):
            shape: Shape = tuple(body["shape"])  # type: ignore[arg-type] # a list of numbers
            loops = shape[:-2]  # y and x never shrink
            if not loops or shape == spec.shape:
                continue
            found = (self._folder / spec.path / "c").glob("/".join("*" for _ in loops))
            keys = (path.relative_to(self._folder).as_posix() for path in found)
            for beyond in folders_beyond(keys, spec, shape):
                shutil.rmtree(self._folder / beyond)

    def abort(self) -> None:
        """End the engine, which stores what it was given if it can."""
        if self._stream is not None:
            with contextlib.suppress(Exception):
                self._end()
                self._publish()


def _in_shards(spec: ArraySpec) -> ArraySpec:
    return evolve(spec, shard_shape=spec.shard_shape or spec.chunk_shape, index_location="end")


def _steps(spec: ArraySpec, axes: tuple[int, ...]) -> Shape:
    steps = [0] * len(axes)
    for level, axis in enumerate(axes):
        steps[axis] = prod(spec.shape[inner] or 1 for inner in axes[level + 1 :])
    return tuple(steps)


def _settings(spec: ArraySpec, axes: tuple[int, ...], body: Any) -> aqz.ArraySettings:
    """Return an array as the engine wants to hear of it: its dimensions in the order of the loops, and how they lie."""
    frame = (len(axes), len(axes) + 1)
    shards = spec.shard_shape or spec.chunk_shape
    dimensions = [
        aqz.Dimension(
            # The engine has opinions on names. Ours stand in our document.
            name=f"axis{axis}",
            kind=aqz.DimensionType.SPACE if axis in frame else aqz.DimensionType.OTHER,
            array_size_px=spec.shape[axis] or 0,
            chunk_size_px=spec.chunk_shape[axis],
            shard_size_chunks=shards[axis] // spec.chunk_shape[axis],
        )
        for axis in (*axes, *frame)
    ]
    compression = None
    if spec.codec:
        compressor, codec = _CODECS[spec.codec.name]
        said = body["codecs"][0]["configuration"]["codecs"][1]["configuration"]
        shuffle = ("noshuffle", "shuffle", "bitshuffle").index(said.get("shuffle", "noshuffle"))
        level = said["clevel"] if "clevel" in said else said["level"]
        compression = aqz.CompressionSettings(
            compressor=getattr(aqz.Compressor, compressor),
            codec=getattr(aqz.CompressionCodec, codec),
            level=level,
            shuffle=shuffle,
        )
    return aqz.ArraySettings(
        output_key=spec.path,
        data_type=np.dtype(spec.dtype),
        dimensions=dimensions,
        # The engine counts three axes where there are two, and would miss one here.
        storage_dimension_order=[f"axis{axis}" for axis in range(len(spec.shape))] if axes else None,
        compression=compression,
    )
