"""Given settings, this answers everything that can be known before the first frame: which frame goes where.

`compile` is pure and deterministic. A `Plan` is a value; what happens in a run never changes it. A *place* is a row
of the plan, counted from 0; in a plan made by `compile` it is also the number of the frame. Parts of a plan
(`select`, `split`, `rest`) are plans over the same layout whose rows keep the frame numbers of the whole.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate
from math import prod

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from ome_writers import acquisition_rules, growth
from ome_writers.check import require
from ome_writers.errors import PlanError, Problem
from ome_writers.layout import Layout, Unit, block_shape, fan_out, lay_out
from ome_writers.order import Rows, Segment, cut, expand, ordered, reach, row_dtype
from ome_writers.selection import Index, resolve, selected
from ome_writers.settings import AcquisitionSettings, by_ngff_rule


@frozen
class Location:
    """Where one frame goes; as text it says so to people.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "p": ["A1", "B2"], "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> plan.locate(3).path, plan.locate(3).index
    ('1/0', (1,))
    """

    frame: int
    position: int
    array: int
    path: str
    """Key of the array."""
    index: tuple[int, ...]
    """Storage index."""
    coordinates: dict[str, int] = field(hash=False)
    """Index in every loop, by the name of its dimension."""
    text: str

    def __str__(self) -> str:
        return self.text


@frozen(eq=False, slots=False)
class Plan:
    """A compiled acquisition: its settings, its layout and its frame table.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 2, "c": 3, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> plan
    <Plan: 6 frames in 1 array>
    """

    settings: AcquisitionSettings
    layout: Layout
    segments: tuple[Segment, ...]

    def __repr__(self) -> str:
        arrays = len(self.layout.arrays)
        frames = "frames without end" if self.frames is None else f"{self.frames} frame{'s' * (self.frames != 1)}"
        return f"<Plan: {frames} in {arrays} array{'s' * (arrays != 1)}>"

    @cached_property
    def frames(self) -> int | None:
        """Number of planned frames, `None` if there is no end."""
        counts = [segment.frames for segment in self.segments]
        return None if None in counts else sum(count for count in counts if count is not None)

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Return the rows of places `start` to `stop`, read-only.

        Costs the stretch asked for, not the plan. `stop=None` means the end, which an unbounded plan does not have.

        Returns
        -------
        A record array with `frame` (number in order of arrival), `position`, `array` (of `layout.arrays`) and `index`
        (storage index in that array, without y and x).

        Raises
        ------
        IndexError
            If the stretch leaves the plan.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
        >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8",
        ...     dimensions=dims_from_standard_axes({"t": 2, "c": 3, "y": 8, "x": 8})))
        >>> plan.rows(2, 5)["index"].tolist()
        [[0, 2], [1, 0], [1, 1]]
        """
        stop = self.stretch(start, stop)
        parts = [expand(segment, a, b) for segment, a, b in self._within(start, stop)]
        out = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, self._row_dtype)])
        out.flags.writeable = False
        return out

    @property
    def table(self) -> Rows:
        """All rows of a bounded plan."""
        return self.rows()

    def extent(self, cursor: int | None = None) -> NDArray[np.int64]:
        """Return how far each array reaches after `cursor` places.

        That is 1 + the largest index along each axis, 0 where nothing lies. The shape is (arrays, axes without y
        and x). Costs the segments, not the frames.
        """
        stop = self.stretch(0, cursor)
        out = np.zeros((len(self.layout.arrays), self._axes), np.int64)
        for segment, a, b in self._within(0, stop):
            for piece in cut(segment, a, b):
                reach(piece, out)
        return out

    def shapes(self, cursor: int | None = None) -> tuple[tuple[int, ...], ...]:
        """Return the shape of each array once only `cursor` places were gone through.

        The outermost axis ends where its frames end, but not before 1, since readers stumble over empty arrays; the
        others are as planned.
        """
        outer = self._outermost_axis
        shapes = []
        for spec, reached in zip(self.layout.arrays, self.extent(cursor).tolist(), strict=True):
            shape = [size or 1 for size in spec.shape]
            if outer is not None:
                shape[outer] = max(reached[outer], 1)
            shapes.append(tuple(shape))
        return tuple(shapes)

    def announced(self, rounds: int) -> int:
        """Return how long an axis without end is said to be, once so many rounds of it are needed; see `growth.py`."""
        lengths = growth.bounds(self._step_rounds)
        return lengths[bisect_left(lengths, rounds)]

    @property
    def first_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes that the arrays begin with; along an axis without end they are as long as is announced first.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
        >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16",
        ...     dimensions=dims_from_standard_axes({"t": None, "c": 2, "y": 2048, "x": 2048})))
        >>> plan.first_shapes
        ((4, 2, 2048, 2048),)
        """
        arrays = self.layout.arrays
        first = self.announced(1) if None in arrays[0].shape else 0
        return tuple(tuple(first if size is None else size for size in spec.shape) for spec in arrays)

    def locate(self, place: int) -> Location:
        """Return where the frame at `place` goes.

        Raises
        ------
        IndexError
            If the plan has no such place.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
        >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8",
        ...     dimensions=dims_from_standard_axes({"t": 4, "p": ["A1", "B2"], "z": 5, "y": 8, "x": 8})))
        >>> print(plan.locate(17))
        frame 17 (position 'B2', t=1 z=2)
        """
        row = self.rows(place, place + 1)[0]
        spec = self.layout.arrays[int(row["array"])]
        indices = dict(zip(spec.dimension_names, row["index"].tolist(), strict=False)) | dict(spec.fan)
        parts: list[str] = []
        coordinates = {}
        for dim in self.settings.dimensions[:-2]:
            if dim.type == "position":
                coordinates[dim.name] = spec.position
                parts.insert(0, f"position {self.settings.positions[spec.position].name!r},")
            else:
                coordinates[dim.name] = indices[dim.name]
                parts.append(f"{dim.name}={indices[dim.name]}")
        where = " ".join(parts).rstrip(",")
        text = f"frame {row['frame']} ({where})" if where else f"frame {row['frame']}"
        return Location(
            frame=int(row["frame"]),
            position=spec.position,
            array=int(row["array"]),
            path=spec.path,
            index=tuple(row["index"].tolist()),
            coordinates=coordinates,
            text=text,
        )

    def select(self, **indices: Index) -> Plan:
        """Return the part of the plan in which the named dimensions have the given indices or names.

        Raises
        ------
        PlanError
            If there is no such dimension, index or name, or if no end is named for a dimension without one.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
        >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8",
        ...     dimensions=dims_from_standard_axes({"t": 2, "c": ["DAPI", "GFP"], "z": 3, "y": 8, "x": 8})))
        >>> plan.select(c="GFP", z=slice(1, None)).table["frame"].tolist()
        [4, 5, 10, 11]
        """
        wanted = {name: resolve(self.settings, name, index) for name, index in indices.items()}
        return evolve(self, segments=selected(self.segments, self._columns, wanted, self._column))

    def split(self, parts: int, unit: Unit = "shard") -> tuple[Plan, ...]:
        """Return the plan cut into at most `parts` plans that share no block, of about equal size.

        Blocks (`unit`) go to the parts in the order in which they begin, so that parts follow each other in time
        where the chunking lets them. There are fewer parts only if there are fewer blocks.

        Raises
        ------
        PlanError
            If the plan has no end, or no part is asked for.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
        >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8",
        ...     dimensions=dims_from_standard_axes({"t": 6, "y": 8, "x": 8}, chunk_shapes={"t": 2})))
        >>> [part.table["frame"].tolist() for part in plan.split(2)]
        [[0, 1, 2, 3], [4, 5]]
        """
        if parts < 1:
            raise PlanError([Problem(("parts",), "invalid_value", f"must be at least 1; got {parts}")])
        if self.frames is None:
            raise PlanError([Problem(("dimensions", 0, "count"), "unsupported", "a plan without end cannot be split")])
        table = self.table
        shapes = np.array([block_shape(spec, unit)[:-2] for spec in self.layout.arrays], np.int64)
        keys = np.column_stack([table["array"], table["index"] // shapes[table["array"]]])
        _, first, block, sizes = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
        by_arrival = np.argsort(first)
        before = np.cumsum(sizes[by_arrival]) - sizes[by_arrival]
        parts = min(parts, len(first))
        number = np.arange(parts)
        # The block that each part begins with: the one nearest its share, but each part has one at least.
        begins = np.maximum.accumulate(np.searchsorted(before, number * len(table) / max(parts, 1)) - number) + number
        begins = np.minimum(begins, len(first) - parts + number)
        part = np.empty(len(first), np.int64)
        part[by_arrival] = np.searchsorted(begins, np.arange(len(first)), side="right") - 1
        return tuple(evolve(self, segments=(Segment(table[part[block.reshape(-1)] == k]),)) for k in range(parts))

    def rest(self, cursor: int) -> Plan:
        """Return the plan of what is left after `cursor` places."""
        self.stretch(0, cursor)
        pieces = []
        for segment, start in zip(self.segments, self._starts, strict=True):
            frames = segment.frames
            if frames is None or start + frames > cursor:
                pieces += cut(segment, max(cursor - start, 0), frames)
        return evolve(self, segments=tuple(pieces))

    # ── how the table is kept ───────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _axes(self) -> int:
        return len(self.layout.arrays[0].shape) - 2

    @cached_property
    def _row_dtype(self) -> np.dtype[np.void]:
        return row_dtype(self._axes)

    @cached_property
    def _step_rounds(self) -> int:
        return growth.step_rounds(self.layout)

    @cached_property
    def _starts(self) -> list[int]:
        """Place of the first row of each segment; only the last segment may have no end."""
        return [0, *accumulate(segment.frames or 0 for segment in self.segments)][: len(self.segments)]

    @cached_property
    def _outermost_axis(self) -> int | None:
        """Storage axis of the outermost loop that is an axis."""
        names = self.layout.arrays[0].dimension_names[:-2]
        return next((names.index(dim.name) for dim in self.settings.dimensions if dim.name in names), None)

    def stretch(self, start: int, stop: int | None) -> int:
        """Return the place where a stretch ends, once it is known to lie in the plan."""
        end = self.frames if stop is None else stop
        if end is None:
            raise IndexError("a plan without end has no last row; say where to stop")
        if self.frames is None and end > (limit := self._most_frames):
            raise IndexError(f"indices are 32 bits wide, which lasts for {limit} frames of this plan; got {end}")
        if not 0 <= start <= end or (self.frames is not None and end > self.frames):
            raise IndexError(
                f"the plan has {self.frames if self.frames is not None else 'endless'} rows; got {start} to {end}"
            )
        return end

    @cached_property
    def _most_frames(self) -> int:
        """How many frames of a plan without end have indices that fit their columns."""
        last = self.segments[-1]
        axis = int(np.argmax(last.loops[0].index))
        largest = int(last.rows["index"][:, axis].max())
        rounds = (np.iinfo(np.int32).max - largest) // last.loops[0].index[axis] + 1
        return self._starts[-1] + rounds * len(last.rows) * prod(loop.repeats or 1 for loop in last.loops[1:])

    def _within(self, start: int, stop: int) -> Iterable[tuple[Segment, int, int]]:
        """Yield the segments that a stretch touches, and the stretch within each."""
        for segment, offset in zip(self.segments, self._starts, strict=True):
            frames = segment.frames
            a, b = max(start - offset, 0), stop - offset if frames is None else min(stop - offset, frames)
            if a < b:
                yield segment, a, b

    @cached_property
    def _columns(self) -> dict[str, tuple[str, int]]:
        """Name of each loop -> the column that its index can be read from, and where in it."""
        names = self.layout.arrays[0].dimension_names[:-2]
        places = {name: ("index", axis) for axis, name in enumerate(names)}
        for dim in self.settings.dimensions[:-2]:
            places.setdefault(dim.name, ("position" if dim.type == "position" else "array", 0))
        return places

    def _column(self, rows: Rows, name: str) -> NDArray[np.int64]:
        column, axis = self._columns[name]
        if column == "index":
            index: NDArray[np.int64] = rows["index"][:, axis]
            return index
        if column == "position":
            position: NDArray[np.int64] = rows["position"]
            return position
        of_array = np.array([dict(spec.fan)[name] for spec in self.layout.arrays], np.int64)
        chosen: NDArray[np.int64] = of_array[rows["array"]]
        return chosen


def compile(settings: AcquisitionSettings) -> Plan:  # noqa: A001 - the verb of this library
    """Return the plan of an acquisition.

    Pure and deterministic: the same settings give the same plan, whatever is installed. Costs the inner loops, not
    the frames.

    Warns where a `storage_order` is asked for that OME-Zarr's rule for the order of axes forbids.

    Raises
    ------
    SettingsError
        With everything that is still missing, or that the format cannot hold.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 1000, "p": ["A1", "B2"], "c": 4, "z": 25, "y": 512, "x": 512})
    >>> compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))
    <Plan: 200000 frames in 2 arrays>
    """
    require(settings, (), acquisition_rules.READY)
    axes, fans = fan_out(settings)
    if settings.format.name == "ome-zarr" and axes != by_ngff_rule(axes):
        # NGFF 0.5, "axes": "MUST be ordered by type".
        message = "OME-Zarr 0.5 wants axes in the order time, channel, space; storage_order asks for"
        warnings.warn(f"{message} {', '.join(dim.name for dim in axes)}, which some readers will refuse", stacklevel=2)
    return Plan(settings=settings, layout=lay_out(settings), segments=ordered(settings.dimensions[:-2], fans, axes))
