"""Given settings, this answers everything that can be known before the first frame: which frame goes where.

`compile` is pure and deterministic. A `Plan` is a value; what happens in a run never changes it. A *place* is a row
of the plan, counted from 0; in a plan made by `compile` it is also the number of the frame. Parts of a plan
(`select`, `split`, `rest`) are plans over the same layout whose rows keep the frame numbers of the whole.
"""

from __future__ import annotations

import typing
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from ome_writers import growth
from ome_writers.beyond import Shown, ask
from ome_writers.errors import PlanError, Problem
from ome_writers.layout import Layout, Unit
from ome_writers.location import Location, location_of
from ome_writers.order import Rows, Segment, countable, cut, expand, reach, row_dtype
from ome_writers.parts import apart
from ome_writers.places import Places, checked, picked
from ome_writers.selection import Index, resolve, selected
from ome_writers.settings import AcquisitionSettings
from ome_writers.tabulation import tabulated

if typing.TYPE_CHECKING:
    from ome_writers.triggers import Cycle, Exposure, Triggers


@frozen(eq=False, slots=False)
class Plan(Shown):
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
        out = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, row_dtype(self._axes))])
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
        out = np.zeros((len(self.layout.arrays), self._axes), np.int64)
        for segment, a, b in self._within(0, self.stretch(0, cursor)):
            for piece in cut(segment, a, b):
                reach(piece, out)
        return out

    def shapes(self, cursor: int | None = None) -> tuple[tuple[int, ...], ...]:
        """Return the shape of each array once only `cursor` places were gone through.

        The outermost axis ends where its frames end, but not before 1, since readers stumble over empty arrays; the
        others are as planned.
        """
        outer = self.outermost_axis
        shapes = []
        for spec, reached in zip(self.layout.arrays, self.extent(cursor).tolist(), strict=True):
            shape = [size or 1 for size in spec.shape]
            if outer is not None:
                shape[outer] = max(reached[outer], 1)
            shapes.append(tuple(shape))
        return tuple(shapes)

    def announced(self, rounds: int) -> int:
        """Return how long an axis without end is said to be, once so many rounds of it are needed; see `growth.py`."""
        return self._lengths[bisect_left(self._lengths, rounds)]

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
        self.stretch(place, place + 1)
        return location_of(self.settings, self.layout, self.rows_at([place])[0], self.places.reading)

    def place(self, /, **indices: int | str) -> int:
        """Return the place of the frame with these indices or names in the loops; what `locate` is the inverse of.

        Every loop must be named, but those of a single element. After the first time it costs some microseconds.

        Raises
        ------
        PlanError
            If there is no such dimension, index or name, or no frame is planned there; or if a name means several.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
        >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8",
        ...     dimensions=dims_from_standard_axes({"t": 4, "p": ["A1", "B2"], "z": 5, "y": 8, "x": 8})))
        >>> plan.place(t=1, p="B2", z=2)
        17
        >>> plan.place(**plan.locate(17).coordinates)
        17
        """
        place = self.places.find(indices)
        if self.frames is None and place >= self._most_frames:
            message = f"indices are 32 bits wide, which lasts for {self._most_frames} frames of this plan"
            raise PlanError([Problem((self.settings.dimensions[0].name,), "unsupported", message)])
        return place

    def rows_at(self, places: Sequence[int] | NDArray[np.integer]) -> Rows:
        """Return the rows of any places, as `rows`, in the order in which they are given."""
        wanted = np.asarray(places, np.int64)
        if len(wanted):
            self.stretch(int(wanted.min()), int(wanted.max()) + 1)
        out = picked(self.segments, self._starts, wanted, row_dtype(self._axes))
        out.flags.writeable = False
        return out

    def reordered(self, places: Sequence[int] | NDArray[np.integer]) -> Plan:
        """Return the plan with the frames of these places first, in this order, then those of all others in their own.

        Its rows keep the frame numbers of this plan. Costs memory for the rows up to the furthest of `places`.

        Raises
        ------
        PlanError
            If there is no such place, or if one comes twice.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
        >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8",
        ...     dimensions=dims_from_standard_axes({"t": 2, "c": 3, "y": 8, "x": 8})))
        >>> plan.reordered([4, 1]).table["frame"].tolist()
        [4, 1, 0, 2, 3, 5]
        """
        first = checked(places, self.frames)
        end = int(first.max(initial=-1)) + 1
        if np.array_equal(first, np.arange(end)):
            return self
        between = np.setdiff1d(np.arange(end), first, assume_unique=True)
        rows = self.rows_at(np.concatenate([first, between]))
        return evolve(self, segments=(Segment(rows), *self.rest(end).segments))

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
        return evolve(self, segments=selected(self.segments, self.places.columns, wanted, self.places.reading))

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
        return tuple(evolve(self, segments=(Segment(rows),)) for rows in apart(self.table, self.layout, unit, parts))

    def rest(self, cursor: int) -> Plan:
        """Return the plan of what is left after `cursor` places."""
        self.stretch(0, cursor)
        pieces = []
        for segment, start in zip(self.segments, self._starts, strict=True):
            frames = segment.frames
            if frames is None or start + frames > cursor:
                pieces += cut(segment, max(cursor - start, 0), frames)
        return evolve(self, segments=tuple(pieces))

    def triggers(self, start: int = 0, stop: int | None = None, *, exposure: Exposure = None) -> Triggers:
        """Return what a hardware controller has to do at places `start` to `stop`, a record for each frame.

        `frame`, `position`, `time` (seconds), `x`, `y`, `z` (of the stage, in micrometers), `channel`, `camera` and
        `exposure` (seconds: a number, or numbers by names of channels). NaN stands where the settings do not say.
        """
        from ome_writers.triggers import triggers  # which needs plans itself

        return triggers(self, start, stop, exposure)

    def cycles(self, *, exposure: Exposure = None) -> tuple[Cycle, ...]:
        """Return the triggers in runs that a controller can loop; written out in turn they are `triggers()`."""
        from ome_writers.triggers import cycles  # as above

        return cycles(self, exposure)

    def changes(self, start: int = 0, stop: int | None = None) -> NDArray[np.void]:
        """Return which devices move before each of the places `start` to `stop`; before the first of the plan none do.

        `frame`, whether `time` (another time point), `x`, `y`, `z`, `channel` and `camera` change, and how far: `path`
        in x and y, `travel` in z, in micrometers, NaN where the settings do not say. `cost` sums them up.
        """
        from ome_writers.moves import changes  # as above

        return changes(self, start, stop)

    # ── how the table is kept ───────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def places(self) -> Places:
        """What finds places from indices and names."""
        return Places(self.settings, self.layout, self.segments)

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return growth.bounds(growth.step_rounds(self.layout))

    @cached_property
    def _axes(self) -> int:
        return len(self.layout.arrays[0].shape) - 2

    @cached_property
    def _starts(self) -> list[int]:
        """Place of the first row of each segment; only the last segment may have no end."""
        return [0, *accumulate(segment.frames or 0 for segment in self.segments)][: len(self.segments)]

    @cached_property
    def outermost_axis(self) -> int | None:
        """Storage axis of the outermost loop that is an axis, `None` if there is none."""
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
        return self._starts[-1] + countable(self.segments[-1])

    def _within(self, start: int, stop: int) -> Iterable[tuple[Segment, int, int]]:
        """Yield the segments that a stretch touches, and the stretch within each."""
        for segment, offset in zip(self.segments, self._starts, strict=True):
            frames = segment.frames
            a, b = max(start - offset, 0), stop - offset if frames is None else min(stop - offset, frames)
            if a < b:
                yield segment, a, b


def compile(settings: AcquisitionSettings | Iterable[typing.Any], **given: typing.Any) -> Plan:  # noqa: A001 - the verb of this library
    """Return the plan of an acquisition.

    Pure and deterministic: the same settings give the same plan, whatever is installed. Of settings, and of sequences
    that are loops, it costs the inner loops, not the frames; of events some microseconds each.

    Warns where a `storage_order` is asked for that OME-Zarr's rule for the order of axes forbids.

    Parameters
    ----------
    settings
        `AcquisitionSettings`. Or a `useq.MDASequence` (also of `useq.v2`), or any iterable of `useq.MDAEvent`, or of
        mappings of loops to indices (for `c` and `p` also names), one for each frame: `[{"t": 0, "c": "GFP"}, …]`.
        Frame `k` of the plan is the `k`-th event that takes an image.
    **given
        Fields of the settings to be changed. For sequences and events, what they do not know: `frame_shape`, (height,
        width) in pixels, and any field of `AcquisitionSettings` (`root_path`, `dtype`, `holes`, …); if it is known,
        `pixel_size_um`; `units`, `chunk_shapes` and `shard_shapes` as in `useq_to_acquisition_settings`; and `cameras`
        (names, or `Camera`), which take each event in turn, or only the one that `cam` in its index says. With
        `dimensions` (then without `frame_shape`) the loops are declared; an event outside them is a problem.

    Raises
    ------
    SettingsError
        With everything that is still missing, or that the format cannot hold; also where two events have one index,
        or events go on without end.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 1000, "p": ["A1", "B2"], "c": 4, "z": 25, "y": 512, "x": 512})
    >>> compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))
    <Plan: 200000 frames in 2 arrays>
    >>> events = [{"t": 0, "c": "DAPI"}, {"t": 0, "c": "GFP"}, {"t": 1, "c": "DAPI"}]
    >>> compile(events, root_path="a.ome.zarr", dtype="uint16", frame_shape=(512, 512))
    <Plan: 3 frames in 1 array>
    """
    if not isinstance(settings, AcquisitionSettings):
        settings = typing.cast(AcquisitionSettings, ask("useq.given", "settings_of", settings, given))
    elif given:
        settings = evolve(settings, **given)
    layout, segments = tabulated(settings)
    return Plan(settings=settings, layout=layout, segments=segments)
