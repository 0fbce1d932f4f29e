"""Given a useq sequence and a camera, this answers: what will be acquired, in the words of our settings?

Frame `k` of the plan that the settings compile to is the `k`-th event of the sequence that takes an image. Which loops
the events run through stands in `useq_loops`; here they become dimensions, channels, positions and a plate. `useq` is
imported when a sequence comes, not before.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np

from ome_writers.errors import Problem, SettingsError
from ome_writers.items import Channel
from ome_writers.settings import Dimension, Plate
from ome_writers.useq_loops import GRID, POSITION, IrregularSequenceError, Loop, Nest, Order, common_order, nests_of
from ome_writers.useq_positions import distinct, factor, plate_of, positions_of

if TYPE_CHECKING:
    import useq

__all__ = ["AcquisitionSettingsDict", "IrregularSequenceError", "dims_from_useq", "useq_to_acquisition_settings"]

UnitTuple = tuple[float, str]
"""The size of an element, and its unit: `(0.5, "um")`."""

_TYPES: Final = {"t": ("time", "second"), "c": ("channel", None), "z": ("space", "micrometer")}


class AcquisitionSettingsDict(TypedDict):
    """What a sequence says of an acquisition: keyword arguments of `AcquisitionSettings`."""

    dimensions: list[Dimension]
    plate: Plate | None


def useq_to_acquisition_settings(  # noqa: PLR0913 - the signature of 0.3
    seq: useq.MDASequence,
    image_width: int,
    image_height: int,
    *,
    units: Mapping[str, UnitTuple | None] | None = None,
    pixel_size_um: float | None = None,
    chunk_shapes: Mapping[str, int] | None = None,
    shard_shapes: Mapping[str, int] | None = None,
) -> AcquisitionSettingsDict:
    """Return the dimensions and the plate of a useq sequence, as keyword arguments of `AcquisitionSettings`.

    The dimensions stand in the order in which the events of the sequence run. Positions and the points of their grids
    make one dimension, with stage coordinates, grid cells and wells; a grid that only some positions have runs
    innermost there, which `Dimension.tours` tells. Coordinates that only chance knows (a `RandomPoints` grid without a
    seed) and those relative to wherever the stage may be (a plan of planes around no position) are left to the stage.
    A channel's `z_offset` corrects its focus, and moves no plane.

    Parameters
    ----------
    seq
        The sequence (`useq.MDASequence`). It is not changed, and its events are not iterated.
    image_width, image_height
        Size of a frame, in pixels.
    units
        By the name of an axis (`t`, `c`, `z`, `y`, `x`): size of an element and its unit, instead of what the sequence
        says (seconds and micrometers).
    pixel_size_um
        Size of a pixel, in micrometers; 0 means that it is not known.
    chunk_shapes
        By the name of an axis: elements in a chunk.
    shard_shapes
        By the name of an axis: chunks in a shard.

    Raises
    ------
    IrregularSequenceError
        If the events are no regular loops: channels that differ in their time points (`acquire_every`) or planes
        (`do_stack`), or positions whose sub-sequences differ in their loops. A `SettingsError`, which names the part
        of the sequence, and a `NotImplementedError`.
    SettingsError
        If `seq` is no sequence, or if a size or unit cannot be.

    Examples
    --------
    >>> import useq
    >>> seq = useq.MDASequence(channels=["DAPI", "GFP"], time_plan={"interval": 10, "loops": 5}, axis_order="tc")
    >>> found = useq_to_acquisition_settings(seq, image_width=512, image_height=256, pixel_size_um=0.1)
    >>> [(dim.name, dim.count, dim.scale, dim.unit) for dim in found["dimensions"]]
    [('t', 5, 10.0, 'second'), ('c', 2, None, None), ('y', 256, 0.1, 'micrometer'), ('x', 512, 0.1, 'micrometer')]
    """
    sequence = _sequence(seq)
    nests = nests_of(sequence)
    order = common_order(nests, sequence.axis_order)
    given = {name: pair for name, pair in (units or {}).items() if pair}
    chunks, shards = chunk_shapes or {}, shard_shapes or {}
    if pixel_size_um is not None and pixel_size_um < 0:
        warnings.warn(f"a pixel is larger than nothing; a size of {pixel_size_um} is left out", stacklevel=2)
    pixel = (pixel_size_um if pixel_size_um and pixel_size_um > 0 else None, "micrometer")
    dims = [
        *(_loop_words(axis, loop, given.get(axis)) for axis, loop in nests[0].axes.items()),
        {"name": "y", "type": "space", "count": image_height} | _scaled(given.get("y", pixel)),
        {"name": "x", "type": "space", "count": image_width} | _scaled(given.get("x", pixel)),
    ]
    made = [
        Dimension(**words, chunk_size=chunks.get(words["name"]), shard_size_chunks=shards.get(words["name"]))
        for words in dims
    ]
    plate = None
    if any(axis in nests[0].loops for axis in (POSITION, GRID)):
        visits = [visit for tour in order.tours for visit in tour]
        places = positions_of(visits, sequence, {dim.name: factor(dim.unit) for dim in made})
        plate = plate_of(sequence, visits)
        tours = [len(tour) for tour in order.tours]
        turns: dict[str, Any] = {"tours": tours, "tours_within": order.inner[-1]} if max(tours) > 1 else {}
        made.insert(_place(nests[0], order), Dimension(name="p", type="position", coords=places, **turns))
    # Loops over one item may stand anywhere, and only they can stand before one without end.
    made.sort(key=lambda dim: dim.count is not None)
    return {"dimensions": made, "plate": plate}


def dims_from_useq(  # noqa: PLR0913 - the signature of 0.3
    seq: useq.MDASequence,
    image_width: int,
    image_height: int,
    *,
    units: Mapping[str, UnitTuple | None] | None = None,
    pixel_size_um: float | None = None,
    chunk_shapes: Mapping[str, int] | None = None,
    shard_shapes: Mapping[str, int] | None = None,
) -> list[Dimension]:
    """Return the dimensions of a useq sequence (deprecated: the plate is lost).

    `useq_to_acquisition_settings` explains the parameters, and what is raised.

    Examples
    --------
    >>> import pytest, useq
    >>> with pytest.deprecated_call():
    ...     dims = dims_from_useq(useq.MDASequence(channels=["GFP"]), image_width=512, image_height=256)
    >>> [dim.name for dim in dims]
    ['c', 'y', 'x']
    """
    warnings.warn("use `useq_to_acquisition_settings(…)['dimensions']`", DeprecationWarning, stacklevel=2)
    return useq_to_acquisition_settings(
        seq,
        image_width,
        image_height,
        units=units,
        pixel_size_um=pixel_size_um,
        chunk_shapes=chunk_shapes,
        shard_shapes=shard_shapes,
    )["dimensions"]


def _sequence(seq: object) -> useq.MDASequence:
    message = f"must be a useq.MDASequence; got {type(seq).__name__}"
    try:
        from useq import MDASequence
    except ImportError:
        raise SettingsError([Problem(("seq",), "invalid_type", f"{message}, and useq is not installed")]) from None
    if not isinstance(seq, MDASequence):
        raise SettingsError([Problem(("seq",), "invalid_type", message)])
    return seq


# ── dimensions
# ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _place(nest: Nest, order: Order) -> int:
    """Return where among the other dimensions that of the positions stands: as in the sequence, if that may be."""
    before = next(number for number, axis in enumerate(nest.loops) if axis in (POSITION, GRID))
    if sum(map(len, order.tours)) == 1:
        return before
    names = list(nest.axes)
    earliest = max((names.index(axis) + 1 for axis in order.outer), default=0)
    latest = min((names.index(axis) for axis in order.inner), default=len(names))
    return min(max(before, earliest), latest)


def _scaled(given: tuple[float | None, str]) -> dict[str, Any]:
    return {"scale": given[0], "unit": given[1]}


def _loop_words(axis: str, loop: Loop, given: UnitTuple | None) -> dict[str, Any]:
    """Return what a loop over times, channels or depths is in the words of `Dimension`."""
    kind, unit = _TYPES[axis]
    words: dict[str, Any] = {"name": axis, "type": kind, "count": loop.count, "unit": unit}
    if axis == "c":
        words["coords"] = [Channel(name=name) for name in _channel_names(loop.items)]
    elif not loop.endless:
        words |= _spread(loop, factor(given[1] if given else unit))
    return words | _scaled(given) if given else words


def _spread(loop: Loop, unit: float) -> dict[str, Any]:
    """Return where the items of a loop lie: by scale and translation if evenly and upwards, else one by one."""
    places = [_clean(float(item) * unit) for item in loop.items]
    step = (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else (loop.step or 0.0) * unit
    if step > 0 and np.allclose(places, places[0] + step * np.arange(len(places)), rtol=1e-9, atol=1e-6 * step):
        return {"scale": _clean(step), "translation": places[0] or None}
    # Times without an interval are all 0, which tells nothing.
    return {"coords": places} if any(places) else {}


def _clean(value: float) -> float:
    """Return a sum without the noise of its last digits."""
    return float(f"{value:.12g}")


def _channel_names(channels: Sequence[useq.Channel]) -> list[str]:
    counts = Counter(channel.config for channel in channels)
    names = [chan.config if counts[chan.config] == 1 else f"{chan.config} ({chan.group})" for chan in channels]
    return distinct(names)
