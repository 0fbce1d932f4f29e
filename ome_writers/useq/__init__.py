"""Given a useq sequence and a camera, this answers: what will be acquired, in the words of our settings?

Frame `k` of the plan that the settings compile to is the `k`-th event of the sequence that takes an image.

1. `loops` finds the nested loops that a sequence runs through, at each position (`second` those of `useq.v2`);
2. `dims` makes dimensions, own counts and lists of positions, and rules for omitted frames of them, `positions` says
   where positions lie, in which well and grid cell;
3. where there are no loops, `events` goes through the events of a copy, and lists them frame by frame;
4. `given` puts settings together, for `ome_writers.compile`, which asks for it by name (`beyond.py`).

`useq` is imported when a sequence comes, not before.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from ome_writers.errors import Problem, SettingsError
from ome_writers.items import Camera
from ome_writers.omission import Frames, Omit
from ome_writers.settings import Dimension, Plate
from ome_writers.useq import events, first, listing, second
from ome_writers.useq.dims import UnitTuple, cut, scaled
from ome_writers.useq.loops import IrregularSequenceError, NoLoops

if TYPE_CHECKING:
    import useq

__all__ = [
    "AcquisitionSettingsDict",
    "IrregularSequenceError",
    "dims_from_useq",
    "sequence_in",
    "useq_to_acquisition_settings",
]


class AcquisitionSettingsDict(TypedDict):
    """What a sequence says of an acquisition: keyword arguments of `AcquisitionSettings`."""

    dimensions: list[Dimension]
    plate: Plate | None
    omit: NotRequired[tuple[Omit, ...]]
    """Rules for frames that are never planned, where there are any."""
    frames: NotRequired[Frames]
    """The frames one by one, where they follow no rule."""


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
    """Return what a useq sequence says of an acquisition, as keyword arguments of `AcquisitionSettings`.

    The dimensions stand in the order in which the events of the sequence run, and indices are those of the events.
    Positions and the points of their grids make one dimension, with stage coordinates, grid cells and wells; a grid
    that only some positions have runs innermost there, which `Dimension.tours` tells. What channels leave out
    (`acquire_every`, `do_stack`) are rules in `omit`; positions whose sub-sequences differ have counts and lists of
    their own. Events that are no such loops are listed in `frames`, each with its time, place and exposure.

    Coordinates that only chance knows (a `RandomPoints` grid without a seed) and those relative to wherever the stage
    may be (a plan of planes around no position) are left to the stage. Channels keep their exposure and, where there
    are planes, their `z_offset`; those that differ from position to position make a list of the events. A channel that
    is named "current" stands for none, where a sequence names one elsewhere.

    Parameters
    ----------
    seq
        The sequence (`useq.MDASequence`, also that of `useq.v2`). It is not changed; its events are gone through, at
        100 µs each, only if they are no loops.
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
        If there is nothing to plan: no event takes an image, or the time plan has no end, within other loops. A
        `SettingsError`, which names the part of the sequence, and a `NotImplementedError`.
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
    sequence = sequence_in(seq)
    if sequence is None:
        message = f"must be a useq.MDASequence; got {type(seq).__name__}"
        installed = "" if "useq" in sys.modules else ", and useq is not imported"
        raise SettingsError([Problem(("seq",), "invalid_type", f"{message}{installed}")])
    if pixel_size_um is not None and pixel_size_um < 0:
        warnings.warn(f"a pixel is larger than nothing; a size of {pixel_size_um} is left out", stacklevel=2)
    frame = frame_dims(image_height, image_width, pixel_size_um, units or {})
    return described(sequence, frame, units=units, chunk_shapes=chunk_shapes, shard_shapes=shard_shapes)


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


def sequence_in(seq: object) -> Any:
    """Return a useq sequence as it came, `None` for anything else."""
    # Whoever has a sequence has imported useq; its second version may not be there.
    useq, v2 = sys.modules.get("useq"), sys.modules.get("useq.v2")
    kinds = tuple(module.MDASequence for module in (useq, v2) if module is not None)
    return seq if isinstance(seq, kinds) else None


def frame_dims(
    height: int, width: int, pixel_size_um: float | None, units: Mapping[str, UnitTuple | None]
) -> list[dict[str, Any]]:
    """Return the two dimensions of a frame in the words of `Dimension`."""
    pixel = (pixel_size_um if pixel_size_um and pixel_size_um > 0 else None, "micrometer")
    return [
        {"name": name, "type": "space", "count": count} | scaled(units.get(name) or pixel)
        for name, count in (("y", height), ("x", width))
    ]


def described(  # noqa: PLR0913 - as of the public function
    seq: Any,
    frame: list[dict[str, Any]],
    *,
    units: Mapping[str, UnitTuple | None] | None = None,
    chunk_shapes: Mapping[str, int] | None = None,
    shard_shapes: Mapping[str, int] | None = None,
    cameras: tuple[Camera, ...] = (),
) -> AcquisitionSettingsDict:
    """Return what a sequence says; `frame` are the dimensions of a frame, `cameras` take each event in turn.

    Raises
    ------
    IrregularSequenceError
        If there is nothing to plan.
    """
    given = {name: pair for name, pair in (units or {}).items() if pair}
    factors = first.factors_of(given, frame)
    version = first if type(seq).__module__.split(".")[:2] != ["useq", "v2"] else second
    try:
        found = version.nested(seq, given, factors)
    except NoLoops as reason:
        version.require_end(seq, str(reason))
        found = listed(seq, version, given, factors, cameras)
    else:
        if cameras:
            take_turns(found.words, cameras)
    made = cut([*found.words, *frame], chunk_shapes or {}, shard_shapes or {})
    if found.frames is None:
        # Loops over one item may stand anywhere, and only they can stand before one without end.
        made.sort(key=lambda dim: dim.count is not None)
    result: AcquisitionSettingsDict = {"dimensions": made, "plate": found.plate}
    if found.omit:
        result["omit"] = found.omit
    if found.frames is not None:
        result["frames"] = found.frames
    return result


def take_turns(words: list[dict[str, Any]], cameras: tuple[Camera, ...]) -> None:
    """Let cameras take each event in turn, or where a loop of the sequence chooses them, as that says.

    Raises
    ------
    SettingsError
        If there are not as many cameras as the sequence goes through.
    """
    loop: dict[str, Any] = {"name": listing.CAMERA, "type": "camera", "coords": cameras}
    places = [place for place, word in enumerate(words) if word["name"] == listing.CAMERA]
    if not places:
        words.append(loop)
        return
    count = words[places[0]]["count"]
    if count != len(cameras):
        message = f"must be as many as the sequence goes through in its loop 'cam', {count}; got {len(cameras)}"
        raise SettingsError([Problem(("cameras",), "conflict", message)])
    words[places[0]] = loop


def listed(
    seq: Any, version: Any, given: Mapping[str, UnitTuple], factors: Mapping[str, float], cameras: tuple[Camera, ...]
) -> first.Found:
    """Return what the events of a sequence say, one by one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # useq says what it thinks of a sequence when it runs
        try:
            # Going through a sequence changes its autofocus plans.
            came = events.read(list(copy.deepcopy(seq)))
        except (ZeroDivisionError, LookupError) as error:
            raise IrregularSequenceError([Problem((), "unsupported", f"useq cannot run it: {error!r}")]) from error
        except SettingsError as error:
            raise IrregularSequenceError(error.problems) from None
    found = listing.listing(
        came,
        order=version.axes_of(seq),
        units=given,
        places=lambda sites: version.places(seq, sites, factors),
        cameras=cameras,
    )
    return first.Found(found.dimensions, version.plate(seq, found.sites), (), found.frames)
