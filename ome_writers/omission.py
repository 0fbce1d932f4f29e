"""Which frames are never planned: rules by index, name or slice; and lists of frames, where there is no rule at all.

What a selector is says `selectors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from attrs import cmp_using, evolve, field, frozen
from numpy.typing import NDArray

from ome_writers import ragged_rules
from ome_writers.bridge import Bridged
from ome_writers.casts import as_tuple, as_whole
from ome_writers.frozen import FrozenDict, as_mapping
from ome_writers.selectors import Selector


def _selector(value: object) -> Any:
    if isinstance(value, slice):
        ends = ["" if end is None else str(as_whole(end)) for end in (value.start, value.stop)]
        return ":".join(ends if value.step is None else [*ends, str(as_whole(value.step))])
    items = as_tuple(list(value) if isinstance(value, range) else value)
    return tuple(_selector(item) for item in items) if isinstance(items, tuple) else as_whole(items)


def _selectors(value: object) -> Any:
    given = as_mapping(value)
    if not isinstance(given, FrozenDict):
        return given
    return FrozenDict({name: _selector(item) for name, item in given.items()})


@frozen(kw_only=True)
class Omit(Bridged):
    """A rule for frames that are never planned: those with these indices, save some of them.

    A plain mapping of names of dimensions stands for a rule that has only `where`.

    Examples
    --------
    GFP only in the middle one of five planes; the second channel only at every third time point:

    >>> Omit(where={"c": "GFP"}, unless={"z": 2}), Omit(where={"c": 1}, unless={"t": slice(None, None, 3)})
    (Omit(where={'c': 'GFP'}, unless={'z': 2}), Omit(where={'c': 1}, unless={'t': '::3'}))
    """

    _rules = ragged_rules.OMIT

    where: Mapping[str, Selector] = field(factory=FrozenDict, converter=_selectors)
    """Selector of each dimension that matters, all of which must apply."""
    unless: Mapping[str, Selector] = field(factory=FrozenDict, converter=_selectors)
    """The same, for those of them that are acquired nevertheless; without any there are none."""


PLANE_COLUMNS: Final = ("delta_t", "exposure_time", "position_x", "position_y", "position_z")
"""What a list of frames may say of each: in seconds, and in micrometers."""


_MOST_INNER: Final = 64
"""Elements of a loop that may be left out of a list of frames: cameras, mostly."""


def _index(value: object) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, np.ndarray)):
        value = list(value)
        if any(isinstance(item, Mapping) for item in value):
            return tuple(dict(item) if isinstance(item, Mapping) else item for item in value)
    try:
        given = np.asarray(value)
    except ValueError:
        return value
    if given.size == 0:  # no frame, or no loop, of which numpy thinks as floating-point numbers
        given = (given.reshape(0, 0) if given.ndim == 1 else given).astype(np.int64)
    if given.dtype.kind not in "iu":
        return value
    given = given.astype(np.int64, copy=True)
    given.flags.writeable = False
    return given


def _column(value: object) -> Any:
    if value is None:
        return None
    try:
        given = np.array([np.nan if item is None else item for item in value], np.float64)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return value
    given.flags.writeable = False
    return given


_SAME: Final[Any] = cmp_using(eq=lambda a, b: np.array_equal(a, b, equal_nan=a is not None and b is not None))


@frozen(kw_only=True)
class Frames(Bridged):
    """Exactly these frames, in the order in which they come, instead of all that the dimensions count.

    Examples
    --------
    >>> Frames(index=[[0, 0], [0, 1], [1, 1]], delta_t=[0, 0.1, 5.0]).index.shape
    (3, 2)
    """

    _rules = ragged_rules.FRAMES

    index: NDArray[np.int64] = field(converter=_index, eq=_SAME, hash=False)
    """Shape (frames, loops): index in each dimension but y and x, in their order. May be given as mappings of indices
    or names, by name of the dimension; a dimension that one does not name has the index 0. The innermost loops may be
    left out, and then run in full at each."""
    delta_t: NDArray[np.float64] | None = field(default=None, converter=_column, eq=_SAME, hash=False, repr=False)
    """When each is planned, in seconds from the beginning; NaN where it is not known, as in the others."""
    exposure_time: NDArray[np.float64] | None = field(default=None, converter=_column, eq=_SAME, hash=False, repr=False)
    """In seconds."""
    position_x: NDArray[np.float64] | None = field(default=None, converter=_column, eq=_SAME, hash=False, repr=False)
    """Of the stage, in micrometers."""
    position_y: NDArray[np.float64] | None = field(default=None, converter=_column, eq=_SAME, hash=False, repr=False)
    position_z: NDArray[np.float64] | None = field(default=None, converter=_column, eq=_SAME, hash=False, repr=False)


def with_inner_loops(frames: Frames, loops: Sequence[Any]) -> Frames:
    """Return frames with an index in every loop: those that they leave out, the innermost, run in full at each."""
    index = frames.index
    if not isinstance(index, np.ndarray) or index.ndim != 2 or not 0 < index.shape[1] < len(loops):  # noqa: PLR2004 - frames, loops
        return frames
    counts: list[Any] = [getattr(loop, "count", None) for loop in loops[index.shape[1] :]]
    if not all(isinstance(count, int) and 0 < count <= _MOST_INNER for count in counts):
        return frames  # a rule says what is wrong
    within = np.indices(counts).reshape(len(counts), -1).T
    times = len(within)
    told = {name: getattr(frames, name) for name in PLANE_COLUMNS}
    return evolve(
        frames,
        index=np.column_stack([np.repeat(index, times, axis=0), np.tile(within, (len(index), 1))]),
        **{name: None if column is None else np.repeat(column, times) for name, column in told.items()},
    )
