"""An acquisition as one array, read when it is indexed: while it is written, after that, and later from its path.

Nothing is tracked: how far the acquisition has come, and where in which array a frame lies, are asked of the plan and
the run's cursor (`cube.py`). What was taken but not yet stored is seen in the blocks that are still open.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ome_writers.casts import as_path
from ome_writers.cube import Cube, Rectangle, cube_of, pieces, reads, resolve
from ome_writers.events import Events
from ome_writers.run import Run

F = TypeVar("F", bound=Callable[[], object])

_READERS: Final = {
    "ome-zarr": "ome_writers.readers.zarr",
    "ome-tiff": "ome_writers.readers.tiff",
    "scratch": "ome_writers.readers.scratch",
}
"""The modules that read stored pixels; imported on use, since they need libraries for that."""


class Source(Protocol):
    """The arrays of an acquisition, and how far it has come."""

    def extent(self) -> tuple[int, ...]:
        """Return how far each dimension has come."""

    def listen(self, emit: Callable[[], None]) -> None:
        """Call `emit` whenever a dimension gets further."""

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape that an array has by now."""

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        """Return the pixels in a rectangle that lies within the shape."""


class Signal:
    """Calls what is connected to it; has the names that other libraries give to these methods."""

    def __init__(self, begin: Callable[[Callable[[], None]], None]) -> None:
        self._begin: Callable[[Callable[[], None]], None] | None = begin
        self._callbacks: list[Callable[[], object]] = []

    def connect(self, callback: F) -> F:
        """Call `callback`, without arguments, from now on; returns it."""
        self._callbacks = [*self._callbacks, callback]
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin(self.emit)
        return callback

    def disconnect(self, callback: Callable[[], object]) -> None:
        """Stop calling `callback`.

        Raises
        ------
        ValueError
            If it is not connected.
        """
        callbacks = list(self._callbacks)
        callbacks.remove(callback)
        self._callbacks = callbacks

    def emit(self) -> None:
        """Call all that is connected."""
        for callback in self._callbacks:
            callback()


class StreamView:
    """An acquisition as one array that can be read; made by `Stream.view` and `open_view`.

    Its dimensions are those of the settings, in order of acquisition, whatever the order of storage. It is indexed like
    a numpy array, with integers, slices and `...`; each time, what was asked for is read, and no more. What did not
    come (yet) reads as the fill value. A run that goes on waits while it is read from, so ask for little at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "y": 8, "x": 8})
    >>> with create_stream(AcquisitionSettings(dtype="uint8", dimensions=dims)) as stream:
    ...     view = stream.view()
    ...     stream.append(np.full((8, 8), 7, "uint8"))
    ...     print(view.dims, view.shape, view[0, 3, 3])
    ('t', 'y', 'x') (1, 8, 8) 7
    """

    def __init__(self, cube: Cube, source: Source, *, dynamic_shape: bool, strict: bool) -> None:
        self._cube, self._source = cube, source
        self._dynamic_shape, self._strict = dynamic_shape, strict
        self._coords_changed = Signal(source.listen if dynamic_shape else _ignore)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions, in order of acquisition."""
        return self._cube.dims

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension: how far it has come, or without `dynamic_shape` as planned.

        A dimension without end is always as long as it has come.
        """
        if self._dynamic_shape:
            return self._source.extent()
        counts = self._cube.counts
        extent = self._source.extent() if None in counts else (0,) * len(counts)
        return tuple(size if count is None else count for count, size in zip(counts, extent, strict=True))

    @property
    def coords(self) -> Mapping[str, Sequence[Any]]:
        """Coordinates of each dimension, as many as it is long: names where there are any, else a range of numbers."""
        return self._cube.coordinates(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return np.dtype(self._cube.dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.dims)

    @property
    def dynamic_shape(self) -> bool:
        """Whether shape and coordinates grow with what has come."""
        return self._dynamic_shape

    @property
    def strict(self) -> bool:
        """Whether an index beyond what has come raises, though it is planned."""
        return self._strict

    @property
    def coords_changed(self) -> Signal:
        """Calls what is connected to it when shape and coordinates grow, in the thread of the stream's events."""
        return self._coords_changed

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        sizes = " ".join(f"{name}={size}" for name, size in zip(self.dims, self.shape, strict=True))
        return f"<StreamView: {sizes}, {self.dtype}>"

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return pixels, by numpy's rules for integers, slices and `...`.

        Raises
        ------
        IndexError
            If an index is out of bounds, or something else than these.
        """
        cube = self._cube
        wanted = resolve(key, cube, self.shape, beyond=self._dynamic_shape and not self._strict)
        lengths = [len(one) for one in wanted if isinstance(one, range)]
        out = np.full(lengths, cube.fill_value, cube.dtype)
        for piece in pieces(cube, wanted):
            where: tuple[Any, ...] = (*piece.target, ...)
            part = out[where].transpose(piece.order)
            for read in reads(piece.wanted, self._source.shape(piece.array)):
                part[(*read.target, ...)] = self._source.read(piece.array, read.selection)[(*read.turn, ...)]
        return out

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001 - as numpy calls it
        """Return all pixels; mind how many there may be."""
        if copy is False:
            raise ValueError(
                "a view cannot become an array without a copy: its pixels are read when they are asked for"
            )
        return self[...].astype(dtype or self.dtype, copy=False)


def view_of(
    run: Run, events: Events, *, dynamic_shape: bool, strict: bool, camera: str | int | None = None
) -> StreamView:
    """Return the view of a run, live and after its end."""
    cube = _even(cube_of(run.plan, camera))
    return StreamView(cube, _Running(run, events, cube), dynamic_shape=dynamic_shape, strict=strict)


def _even(cube: Cube) -> Cube:
    if cube.is_uneven:
        raise ValueError("the cameras differ in the size or type of their frames: say which one, camera=…")
    return cube


def open_view(path: str | os.PathLike[str], *, camera: str | int | None = None) -> StreamView:
    """Return a dataset that this library wrote as one array, from its path alone; of several cameras, one's part.

    Its dimensions are in order of acquisition, with the names that the documents have. Needs a library that reads the
    format: tensorstore or zarr for OME-Zarr, tifffile for OME-TIFF, none for scratch folders.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If what is there is no OME-Zarr, OME-TIFF or scratch folder, or one of its documents cannot be understood (says
        which); if it has no such camera, or if its cameras differ in their frames and none was named.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, write
    >>> dims = dims_from_standard_axes({"z": 3, "t": 2, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="cells.ome.zarr", dtype="uint8", dimensions=dims))
    >>> outcome = write(plan, np.arange(6 * 64, dtype="uint8").reshape(3, 2, 8, 8))
    >>> view = open_view("cells.ome.zarr")
    >>> view.dims, view.shape, view[1, 1, 0, :3].tolist()
    (('z', 't', 'y', 'x'), (3, 2, 8, 8), [192, 193, 194])
    """
    cube, arrays = importlib.import_module("ome_writers.readers").reopened(as_path(path), camera)
    return StreamView(_even(cube), _Stored(cube, arrays), dynamic_shape=False, strict=False)


def _ignore(emit: Callable[[], None]) -> None:
    """Never call `emit`."""


class _Stored:
    """A dataset that nobody writes any more."""

    def __init__(self, cube: Cube, arrays: Any) -> None:
        self._cube = cube
        self.shape, self.read = arrays.shape, arrays.read

    def extent(self) -> tuple[int, ...]:
        return tuple(count or 0 for count in self._cube.counts)

    def listen(self, emit: Callable[[], None]) -> None:
        _ignore(emit)


class _Running:
    """A run: read through its writer while it lasts, and if that cannot read any more through the files."""

    def __init__(self, run: Run, events: Events, cube: Cube) -> None:
        self._run, self._events, self._cube = run, events, cube
        self._files: Any = None

    def extent(self) -> tuple[int, ...]:
        return self._run.reached(self._cube)

    def listen(self, emit: Callable[[], None]) -> None:
        self._events.on("coords_expanded", lambda _: emit())

    def shape(self, array: int) -> tuple[int, ...]:
        return self._run.shape(array) if self._through_writer else self._stored().shape(array)

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        with self._run.lock:
            if self._through_writer:
                return self._run.read(array, selection)
        pixels: NDArray[Any] = self._stored().read(array, selection)
        return pixels

    @property
    def _through_writer(self) -> bool:
        run = self._run
        capabilities = run.writer.capabilities
        return run.readable and (run.outcome is None or capabilities.positioned or not capabilities.persistent)

    def _stored(self) -> Any:
        run, format_ = self._run, self._run.plan.settings.format.name
        capabilities = run.writer.capabilities
        if not capabilities.persistent or format_ not in _READERS:
            raise ValueError(f"what {capabilities.name} has stored cannot be read")
        if run.outcome is None and format_ != "ome-tiff":
            raise ValueError(f"{capabilities.name} cannot be read from while it writes; close the stream before")
        if self._files is None:
            self._files = importlib.import_module(_READERS[format_]).of_run(run)
        return self._files
