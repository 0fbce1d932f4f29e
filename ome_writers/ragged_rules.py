"""The rules of what makes an acquisition jagged: counts and lists of single positions, cameras, omitted frames.

As in `rules.py`, they are tables of rule functions that read attributes, whatever holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from ome_writers.check import Draft, Rule, choice, listed, readable, repeated, shown
from ome_writers.errors import Problem
from ome_writers.selectors import elements

Loc = tuple[str | int, ...]

# ── one rule, one list of frames ────────────────────────────────────────────────────────────────────────────────────


def _mapping(name: str) -> Rule:
    def rule(subject: Any) -> Iterator[Problem]:
        value = getattr(subject, name)
        if not isinstance(value, Mapping):
            message = f"must be a mapping of dimensions to indices, names or slices; got {shown(value)}"
            yield Problem((name,), "invalid_type", message)

    return rule


def _says_something(omit: Any) -> Iterator[Problem]:
    if not omit.where and not omit.unless:
        yield Problem((), "missing", "names no dimension, so that it would omit every frame")


OMIT: Final[tuple[Rule, ...]] = (_mapping("where"), _mapping("unless"), _says_something)


def _index(frames: Any) -> Iterator[Problem]:
    index = frames.index
    if isinstance(index, tuple):
        for number, item in enumerate(index):
            if not isinstance(item, Mapping):
                yield Problem(
                    ("index", number), "invalid_type", f"must be a mapping like the others; got {shown(item)}"
                )
    elif not isinstance(index, np.ndarray) or index.ndim != 2:  # noqa: PLR2004 - frames, loops
        message = "must be a list of the indices of each frame, as many as there are loops, or of mappings of them"
        yield Problem(("index",), "invalid_type", f"{message}; got {shown(index)}")
    elif not len(index):
        yield Problem(("index",), "invalid_value", "must list a frame at least")


def _column(name: str) -> Rule:
    def rule(frames: Any) -> Iterator[Problem]:
        values, index = getattr(frames, name), frames.index
        if values is None:
            return
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            yield Problem((name,), "invalid_type", f"must be a list of numbers; got {shown(values)}")
        elif len(values) != len(index):
            yield Problem((name,), "conflict", f"must have a value for each frame; got {len(values)} for {len(index)}")
        elif np.isinf(values).any():
            yield Problem((name, int(np.isinf(values).argmax())), "invalid_value", "must be finite; got an infinity")

    return rule


FRAMES: Final[tuple[Rule, ...]] = (
    _index,
    *map(_column, ("delta_t", "exposure_time", "position_x", "position_y", "position_z")),
)

# ── a whole acquisition ─────────────────────────────────────────────────────────────────────────────────────────────


def _parts(settings: Any) -> Iterator[tuple[Loc, Any, dict[str, Any]]]:
    """Yield each position and camera with its path, and the loops that it may have counts and lists of, by name."""
    dimensions = settings.dimensions
    others = {
        dim.name: dim
        for _, dim in readable(dimensions[:-2], "name", "type", "count", "coords")
        if dim.type not in ("position", "camera")
    }
    for number, dim in readable(dimensions[:-2], "type", "coords"):
        if dim.type in ("position", "camera"):
            for index, item in enumerate(dim.coords or ()):
                yield ("dimensions", number, "coords", index), item, others


def _counts(settings: Any) -> Iterator[Problem]:
    for loc, item, others in _parts(settings):
        for _, part in readable((item,), "counts"):
            for name, count in part.counts.items():
                where = (*loc, "counts", name)
                if name not in others:
                    yield _no_loop(where, name, others)
                elif others[name].count is None:
                    yield _endless(where, name)
                elif count > others[name].count:
                    message = f"must be at most {others[name].count}, the count of {name!r}; got {count}"
                    yield Problem(where, "conflict", message)


def _no_loop(where: Loc, name: str, others: Mapping[str, Any]) -> Problem:
    known = ", ".join(map(repr, others)) or "there is none"
    return Problem(where, "unknown", f"must be a dimension that is an axis ({known}); got {name!r}")


def _endless(where: Loc, name: str) -> Problem:
    message = f"{name!r} goes on without end, so that no position or camera can have a count or a list of its own"
    return Problem(where, "unsupported", f"{message}; give it a count")


def _lists(settings: Any) -> Iterator[Problem]:
    for loc, item, others in _parts(settings):
        for _, part in readable((item,), "counts", "coords") if not _is_camera(item) else ():
            for name, own in part.coords.items():
                where = (*loc, "coords", name)
                if name not in others:
                    yield _no_loop(where, name, others)
                elif others[name].count is None:
                    yield _endless(where, name)
                elif name in part.counts:
                    yield Problem(where, "conflict", f"{name!r} has a count in 'counts' as well; give one of them")
                else:
                    yield from _list_faults(where, own, others[name])


def _is_camera(item: object) -> bool:
    return hasattr(item, "serial_number")


def _list_faults(where: Loc, own: tuple[Any, ...], dim: Any) -> Iterator[Problem]:
    names = [getattr(coord, "name", coord) for coord in dim.coords or ()]
    if len(own) > dim.count:
        yield Problem(where, "conflict", f"must have at most {dim.count} elements, the count of {dim.name!r}")
    for double in repeated(map(str, own)):
        yield Problem(where, "conflict", f"must name each element once; got {double!r} more than once")
    for number, value in enumerate(own):
        if dim.type in ("space", "time"):
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                yield Problem((*where, number), "invalid_type", f"must be a number; got {shown(value)}")
        elif value not in names:
            known = ", ".join(map(repr, names[:12])) or "it has no names"
            yield Problem((*where, number), "unknown", f"must be one of {dim.name!r}: {known}; got {shown(value)}")


def _omit(settings: Any) -> Iterator[Problem]:
    rules, dimensions = settings.omit, settings.dimensions
    if rules and settings.frames is not None:
        yield Problem(("omit",), "conflict", "'frames' lists what is planned already; give one of them")
    loops = {dim.name: dim for _, dim in readable(dimensions[:-2], "name", "count", "coords")}
    for number, rule in readable(rules, "where", "unless"):
        for part in ("where", "unless"):
            for name, selector in getattr(rule, part).items():
                where = ("omit", number, part, name)
                if name not in loops:
                    known = ", ".join(map(repr, loops)) or "there is none"
                    yield Problem(where, "unknown", f"must be a loop of the acquisition: {known}; got {name!r}")
                    continue
                try:
                    found = elements(selector, loops[name].count, names_of(loops[name]))
                except ValueError as error:
                    yield Problem(where, "invalid_value", str(error))
                else:
                    if not found:
                        yield Problem(where, "invalid_value", f"means no element of {name!r}; got {shown(selector)}")


def names_of(dim: Any) -> dict[str, tuple[int, ...]]:
    """Return the indices of a dimension by name; fields of different wells may share one."""
    found: dict[str, tuple[int, ...]] = {}
    for index, coord in enumerate(dim.coords or ()):
        label = getattr(coord, "name", coord)
        if isinstance(label, str):
            found[label] = (*found.get(label, ()), index)
    return found


def _frames(settings: Any) -> Iterator[Problem]:
    frames, dimensions = settings.frames, settings.dimensions
    if frames is None or not dimensions:
        return
    index, loops = frames.index, dimensions[:-2]
    if isinstance(index, tuple):  # mappings that could not be turned into indices say why, or a loop does
        yield from () if any(isinstance(dim, Draft) for dim in loops) else frames_faults(index, loops)
        return
    if index.shape[1] != len(loops):
        names = ", ".join(dim.name for dim in loops) or "there is none"
        yield Problem(
            ("frames", "index"), "conflict", f"must have an index for each loop ({names}); got {index.shape[1]}"
        )
        return
    for column, dim in readable(loops, "name", "count"):
        if dim.count is None:
            message = f"frames are listed one by one, so that {dim.name!r} needs a count"
            yield Problem(("dimensions", column, "count"), "missing", message)
            continue
        wrong = np.flatnonzero((index[:, column] < 0) | (index[:, column] >= dim.count))
        if len(wrong):
            message = f"must be from 0 to {dim.count - 1} along {dim.name!r}; got {index[wrong[0], column]}"
            yield Problem(("frames", "index", int(wrong[0])), "unknown", message)
    _, first, which = np.unique(index, axis=0, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which.reshape(-1)] != np.arange(len(index)))
    if len(again):
        before = int(first[which.reshape(-1)][again[0]])
        message = f"must come once; frame {before} has the indices {index[again[0]].tolist()} as well"
        yield Problem(("frames", "index", int(again[0])), "repeated", message)


def frames_faults(index: tuple[Any, ...], loops: Any) -> Iterator[Problem]:
    """Yield what is wrong with frames that are given as mappings of dimensions to indices or names."""
    known = {dim.name: dim for _, dim in readable(loops, "name", "count", "coords")}
    for number, item in enumerate(index):
        for name, value in item.items() if isinstance(item, Mapping) else ():  # it says itself that it is none
            where = ("frames", "index", number, str(name))
            if name not in known:
                listing = ", ".join(map(repr, known)) or "there is none"
                yield Problem(where, "unknown", f"must be a loop of the acquisition: {listing}; got {name!r}")
            elif isinstance(value, str):
                found = names_of(known[name])
                if value not in found:
                    listing = ", ".join(map(repr, list(found)[:12])) or "it has none"
                    yield Problem(where, "unknown", f"must be one of the names of {name!r} ({listing}); got {value!r}")
                elif len(found[value]) > 1:
                    yield Problem(where, "ambiguous", f"{value!r} is the name of several; give the index")
            elif not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                yield Problem(where, "invalid_type", f"must be an index or a name; got {shown(value)}")


def numbered(index: tuple[Mapping[str, Any], ...], loops: Any) -> Any:
    """Return frames that are given as mappings as an array of their indices, or as they came if they are at fault."""
    if any(not isinstance(item, Mapping) for item in index) or any(isinstance(dim, Draft) for dim in loops):
        return index
    if any(True for _ in frames_faults(index, loops)):
        return index
    names = {dim.name: names_of(dim) for dim in loops}
    rows = [
        [names[dim.name][value][0] if isinstance(value := item.get(dim.name, 0), str) else int(value) for dim in loops]
        for item in index
    ]
    return np.array(rows, np.int64).reshape(len(index), len(loops))


def _cameras(settings: Any) -> Iterator[Problem]:
    dimensions = settings.dimensions
    cameras = [(index, dim) for index, dim in readable(dimensions[:-2], "type", "coords", "fold")]
    cameras = [(index, dim) for index, dim in cameras if dim.type == "camera"]
    for index, _ in cameras[1:]:
        message = f"there may be one dimension of cameras; dimensions.{cameras[0][0]} is one already"
        yield Problem(("dimensions", index), "conflict", message)
    for index, dim in readable(dimensions[:-2], "type", "fold"):
        if dim.fold and dim.type != "camera":
            message = f"only cameras can be folded into the channels; got a dimension of type {dim.type!r}"
            yield Problem(("dimensions", index, "fold"), "conflict", message)
    for index, dim in cameras:
        if dim.fold:
            yield from _fold(index, dim, dimensions)


def _fold(index: int, dim: Any, dimensions: Any) -> Iterator[Problem]:
    channels = [other for _, other in readable(dimensions[:-2], "type", "count") if other.type == "channel"]
    if not channels:
        message = "there is no dimension of type 'channel'; give the cameras that type instead of 'camera'"
        yield Problem(("dimensions", index, "fold"), "conflict", message)
    elif channels[0].count is None:
        yield Problem(("dimensions", index, "fold"), "unsupported", "the channels go on without end")
    for field in ("shape", "dtype", "pixel_size", "chunk_shape"):
        values = {getattr(camera, field) for _, camera in readable(dim.coords, field)}
        if len(values) > 1:
            said = ", ".join(sorted(map(str, values)))
            message = f"cameras that are channels must have the same {field}; got {said}"
            yield Problem(("dimensions", index, "fold"), "conflict", message)
    for number, camera in readable(dim.coords, "counts"):
        if camera.counts:
            loc: Loc = ("dimensions", index, "coords", number, "counts")
            yield Problem(loc, "conflict", "a camera that is a channel has no counts; omit its frames instead")


ACQUISITION: Final[tuple[Rule, ...]] = (
    choice("holes", ("dense", "compact", "split")),
    listed("omit", "rules"),
    _counts,
    _lists,
    _omit,
    _frames,
    _cameras,
)
"""Those that `acquisition_rules.ACQUISITION` ends with."""
