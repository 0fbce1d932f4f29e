"""Given settings of a jagged acquisition, this answers: what would nested loops with `if` statements do?

The oracle of the tests, as `model.py` is where nothing is jagged; it imports nothing of the planner either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.testing.model import Arrival, axes_and_fans, image_numbers, turns


def planned(settings: AcquisitionSettings) -> Iterator[Arrival]:
    """Yield the frames of an acquisition as they come, with image and index as with `holes="dense"`.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, dims_from_standard_axes
    >>> settings = AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", omit={"c": "GFP", "z": [0, 2]},
    ...     dimensions=dims_from_standard_axes({"c": ["DAPI", "GFP"], "z": 3, "y": 8, "x": 8}))
    >>> [arrival.loops for arrival in planned(settings)]
    [{'c': 0, 'z': 0}, {'c': 0, 'z': 1}, {'c': 0, 'z': 2}, {'c': 1, 'z': 1}]
    """
    axes, fans = axes_and_fans(settings)
    dims = {dim.name: dim for dim in settings.dimensions[:-2]}
    cameras = next((dim for dim in fans if dim.type == "camera" and dim.fold), None)
    fans = [dim for dim in fans if dim is not cameras]
    images = image_numbers(fans)
    frame = 0
    for loops in _listed(settings) if settings.frames is not None else turns(settings):
        here, places = _acquired(loops, dims)
        if here is None or any(_omitted(rule, here, dims) for rule in settings.omit):
            continue
        if cameras is not None:
            _fold(places, here, dims, cameras)
        yield Arrival(
            frame=frame,
            loops=here,
            position=next((here[dim.name] for dim in fans if dim.type == "position"), 0),
            image=images[tuple(here[dim.name] for dim in fans)],
            index=tuple(places[dim.name] for dim in axes),
        )
        frame += 1


def _listed(settings: AcquisitionSettings) -> Iterator[dict[str, int]]:
    names = [dim.name for dim in settings.dimensions[:-2]]
    for row in settings.frames.index.tolist() if settings.frames is not None else ():
        loops = dict(zip(names, row, strict=True))
        for dim in settings.dimensions[:-2]:
            if dim.type == "position":  # a list names elements of the dimension, a loop counts those of the position
                for name, own in dim.coords[loops[dim.name]].coords.items():  # type: ignore[index]
                    if isinstance(own[0], str):
                        other = next(other for other in settings.dimensions if other.name == name)
                        loops[name] = own.index(_names(other)[loops[name]])
        yield loops


def _names(dim: Dimension) -> list[Any]:
    return [getattr(coord, "name", coord) for coord in dim.coords or ()]


def _acquired(loops: dict[str, int], dims: Mapping[str, Dimension]) -> tuple[dict[str, int] | None, dict[str, int]]:
    """Return the elements that the turns of the loops mean, `None` if there are none, and their places in the image."""
    here = dict(loops)
    for dim in dims.values():
        if dim.type in ("position", "camera"):
            item: Any = dim.coords[loops[dim.name]]  # type: ignore[index]
            for name, count in item.counts.items():
                if loops[name] >= count:
                    return None, loops
            for name, own in getattr(item, "coords", {}).items():
                if loops[name] >= len(own):
                    return None, loops
                if isinstance(own[0], str):
                    here[name] = _names(dims[name]).index(own[loops[name]])
    return here, dict(loops)


def _omitted(rule: Any, here: dict[str, int], dims: Mapping[str, Dimension]) -> bool:
    if not all(_means(selector, dims[name], here[name]) for name, selector in rule.where.items()):
        return False
    return not rule.unless or not all(
        _means(selector, dims[name], here[name]) for name, selector in rule.unless.items()
    )


def _means(selector: Any, dim: Dimension, index: int) -> bool:
    """Return whether a selector means an index of a dimension."""
    if isinstance(selector, tuple):
        return any(_means(one, dim, index) for one in selector)
    if isinstance(selector, int):
        return index in (selector, selector + (dim.count or 0))
    if selector in _names(dim):
        return bool(_names(dim)[index] == selector)
    ends = [int(part) if part else None for part in selector.split(":")]
    return index in range(dim.count or 10**9)[slice(*ends)]


def _fold(places: dict[str, int], here: dict[str, int], dims: Mapping[str, Dimension], cameras: Dimension) -> None:
    channels = next(dim for dim in dims.values() if dim.type == "channel")
    names = list(dims)
    if names.index(cameras.name) < names.index(channels.name):
        places[channels.name] = here[cameras.name] * (channels.count or 1) + here[channels.name]
    else:
        places[channels.name] = here[channels.name] * (cameras.count or 1) + here[cameras.name]
