"""Given a flat stack whose frames say where they belong, this writes the n-dimensional dataset that they make.

For acquisitions that nobody could plan: events are decided upon while they run, and each frame is stored as it comes
(`flat`), with its index as metadata. When the run is over,

1. the metadata of its frames is read, and their indices become loops and a list of frames (`useq.events`);
2. these compile to a plan, as any settings do;
3. the frames are read one by one in the order of the plan, and written through the one engine.

The stack is not changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from ome_writers.begin import Backend
from ome_writers.casts import split_suffix
from ome_writers.datasets import NotADataset, read_dataset
from ome_writers.documents import Outcome
from ome_writers.errors import Problem, SettingsError
from ome_writers.manifest import MANIFEST
from ome_writers.omission import PLANE_COLUMNS, Frames
from ome_writers.plan import compile  # noqa: A004 - the verb of this library
from ome_writers.readers import frame_metadata, noted
from ome_writers.records import Record, placed_at
from ome_writers.regular import read_json, understood
from ome_writers.serial import loads
from ome_writers.settings import AcquisitionSettings
from ome_writers.stream import Stream
from ome_writers.useq.dims import cut
from ome_writers.useq.events import Event, measure, read
from ome_writers.useq.listing import listing
from ome_writers.view import StreamView, open_view

_EVENT: Final = ("mda_event", "event")
"""Keys under which programs keep the event of a frame, with its index."""
_OURS: Final = ("index", "channel", "array", "storage_index", "frame")
"""Keys of a record that say where a frame lies, in the stack or in the dataset."""
_MOST_NAMED: Final = 3


def arrange(  # noqa: PLR0913 - fields of its own, and all of the settings
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    backend: Backend = None,
    progress: bool = False,
    chunk_shapes: Mapping[str, int] | None = None,
    shard_shapes: Mapping[str, int] | None = None,
    **fields: Any,
) -> Outcome:
    """Write the n-dimensional dataset of a flat stack whose frames say where they belong.

    Each frame's metadata must have an `index`, a mapping of loops to indices (for `c` and `p` also names), as in
    `stream.append(frame, frame_metadata={"index": {"t": 0, "c": "GFP"}})`; or under `mda_event` the fields of a
    `useq.MDAEvent`. A `channel` may be named beside it. What else came with a frame goes with it. Frames that did not
    come, and places that nobody took, read as the fill value. One frame is read at a time.

    Parameters
    ----------
    path
        The stack: OME-Zarr, OME-TIFF or a scratch folder, as `flat` settings make it.
    out
        Where the dataset goes; the suffix chooses the format. By default beside the stack: `events.ome.zarr` becomes
        `events_arranged.ome.zarr`.
    backend
        Name of a writer, or a `Writer`.
    progress
        Whether to show a progress bar (needs `rich`).
    chunk_shapes, shard_shapes
        By the name of a dimension: elements in a chunk, chunks in a shard.
    **fields
        Other fields of `AcquisitionSettings`: `compression`, `holes`, `overwrite`, ….

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such stack, or it cannot be read.
    SettingsError
        If frames do not say where they belong, or two say the same. Nothing has been created.
    PlanError, FileExistsError, WriteError
        As `write`.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import arrange, compile, create_stream, flat, open_view
    >>> with create_stream(flat((8, 8), "uint8", root_path="events.ome.zarr")) as stream:
    ...     for number, (t, c) in enumerate([(0, "GFP"), (0, "DAPI"), (1, "GFP")]):
    ...         stream.append(np.full((8, 8), number, "uint8"), frame_metadata={"index": {"t": t, "c": c}})
    >>> arrange("events.ome.zarr", "cells.ome.zarr").frames
    3
    >>> open_view("cells.ome.zarr")[..., 0, 0].tolist()
    [[0, 1], [2, 0]]
    """
    view = open_view(path)
    _require_flat(view, path)
    records = _records(str(path), len(view))
    found, order = arrangement(records, _frame_of(str(path), view), chunk_shapes or {}, shard_shapes or {})
    target = arranged_path(path) if out is None else os.fspath(out)
    if Path(target).expanduser().resolve() == Path(path).expanduser().resolve():
        raise FileExistsError(f"{target} is the stack itself; give another path for what is arranged")
    plan = compile(AcquisitionSettings(root_path=target, dtype=view.dtype.name, **found, **fields))
    with Stream(plan, backend, progress=progress) as stream:
        for number in order:
            told = {key: value for key, value in records[number].items() if key not in _OURS}
            stream.append(view[number], frame_metadata=told or None)
    assert stream.outcome is not None, "a stream that is closed has an outcome"  # noqa: S101 - for type checkers
    return stream.outcome


def arranged_path(path: str | os.PathLike[str]) -> str:
    """Return where the dataset of a stack goes if nobody says.

    Examples
    --------
    >>> arranged_path("run/events.ome.zarr")
    'run/events_arranged.ome.zarr'
    """
    stem, suffix = split_suffix(os.fspath(path).rstrip("/\\"))
    return f"{stem}_arranged{suffix}"


def arrangement(
    records: Mapping[int, Record],
    frame: list[dict[str, Any]],
    chunk_shapes: Mapping[str, int],
    shard_shapes: Mapping[str, int],
) -> tuple[dict[str, Any], list[int]]:
    """Return dimensions and frames by what each says of itself, as settings; and the numbers of the frames in order.

    Raises
    ------
    SettingsError
        If frames do not say where they belong, or two say the same.
    """
    numbers = list(records)
    events = [_event(records[number], number) for number in numbers]
    found = listing(events, units={})
    # The slowest loop first: neighbours come one after the other, so that few chunks are open at a time.
    index = found.frames.index
    order = np.lexsort(index.T[::-1]) if index.shape[1] else np.zeros(1, int)
    _, first, which = np.unique(index, axis=0, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which.reshape(-1)] != np.arange(len(index)))
    if len(again):
        one, other = numbers[first[which.reshape(-1)[again[0]]]], numbers[again[0]]
        message = f"says that it belongs where frame {one} does: {_shown(events[again[0]])}"
        raise SettingsError([Problem(("frames", other), "repeated", message)])
    dims = cut([*found.dimensions, *frame], chunk_shapes, shard_shapes)
    columns = _columns(found.frames, [*records.values()])
    frames = Frames(index=index[order], **{name: column[order] for name, column in columns.items()})
    return {"dimensions": dims, "frames": frames}, [numbers[place] for place in order.tolist()]


def _shown(event: Event) -> str:
    return " ".join(f"{axis}={index}" for axis, index in event.index.items())


def _event(record: Record, number: int) -> Event:
    """Return what a record says, as an event."""
    event: Any = next((record[key] for key in _EVENT if isinstance(record.get(key), Mapping)), {})
    index = record.get("index", event.get("index"))
    fields = {**event, **{key: record[key] for key in ("channel",) if key in record}, "index": index, "action": None}
    problems: list[Problem] = []
    told: dict[str, float | None] = {
        key: measure(record[key], ("frames", number, key), problems) for key in PLANE_COLUMNS if key in record
    }
    try:
        (found,) = read([fields])
    except SettingsError as error:
        problems += [evolve(problem, loc=("frames", number, *problem.loc[2:])) for problem in error.problems]
    if problems:
        raise SettingsError(problems)
    x, y, z = (told.get(f"position_{axis}", getattr(found, axis)) for axis in "xyz")
    return evolve(found, x=x, y=y, z=z)


def _columns(found: Frames, records: Sequence[Record]) -> dict[str, NDArray[np.float64]]:
    """Return when and where frames were taken, and for how long: as they say themselves, else as their events do."""
    columns: dict[str, NDArray[np.float64]] = {}
    for name in PLANE_COLUMNS:
        known, told = getattr(found, name), np.array([record.get(name) for record in records], np.float64)
        told = told if known is None else np.where(np.isnan(told), known, told)
        if not np.isnan(told).all():
            columns[name] = told
    return columns


# ── the stack
# ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _require_flat(view: StreamView, path: object) -> None:
    if len(view.dims) != 3:  # noqa: PLR2004 - frames, y, x
        loops = ", ".join(view.dims[:-2]) or "none"
        message = (
            f"{path}: is no flat stack of frames, but has loops already ({loops}); arrange what `flat` settings made"
        )
        raise ValueError(message)


def _records(path: str, frames: int) -> dict[int, Record]:
    """Return what each frame says of itself, by its number in the stack.

    Raises
    ------
    SettingsError
        If any does not say where it belongs.
    """
    found = {int(placed_at(record, "storage_index")[0]): record for record in frame_metadata(path)}  # type: ignore[index,arg-type]
    missing = {number for first, last in noted(path).get("missing", ()) for number in range(first, last + 1)}
    silent = [
        number
        for number in range(frames)
        if number not in missing and not any(key in found.get(number, {}) for key in ("index", *_EVENT))
    ]
    if silent:
        more = f", and {len(silent) - _MOST_NAMED} others" if len(silent) > _MOST_NAMED else ""
        named = ", ".join(map(str, silent[:_MOST_NAMED])) + more
        example = "frame_metadata={'index': {'t': 0, 'c': 'GFP'}}"
        message = f"do not say where they belong ({named}); append each with {example}"
        raise SettingsError([Problem(("frames",), "missing", message)])
    return dict(sorted(found.items()))


def _frame_of(path: str, view: StreamView) -> list[dict[str, Any]]:
    """Return the dimensions of a frame in the words of `Dimension`, with the size of its pixels if that is known."""
    scales: dict[str, tuple[float | None, str | None]] = {}
    if Path(path, MANIFEST).is_file():
        manifest = Path(path, MANIFEST)
        with understood(manifest):
            said = loads(json.dumps(read_json(manifest)["settings"]))
        scales = {name: (dim.scale, dim.unit) for name, dim in zip("yx", said.frame_dimensions, strict=True)}
    else:
        with suppress(NotADataset):
            axes = read_dataset(Path(path)).images[0].axes
            scales = {axis.name: (axis.scale if axis.unit else None, axis.unit) for axis in axes}
    words = []
    for name, count in zip(view.dims[-2:], view.shape[-2:], strict=True):
        scale, unit = scales.get(name, (None, None))
        words.append({"name": name, "type": "space", "count": count, "scale": scale, "unit": unit})
    return words
