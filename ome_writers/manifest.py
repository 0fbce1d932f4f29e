"""Given a plan and what happened, this answers: what does the manifest of a scratch dataset say?

The arrays lie beside it in plain files, `pos_0.dat`, `pos_1.dat`, …: nothing but numbers, little-endian, in C order.
A file's first axis is the one that may grow or end early (`file_axes`), so that a file only grows or is cut at its end;
mostly that is the first axis of the array as well.

`manifest.json` is one JSON object
    `version`, `verdict`, `frames` (that came), `planned` (absent without end), `missing` (frame numbers as ranges,
    first and last), `error`; `dtype`, and of each array `dtypes` if they differ; `dimensions` and `axes` (see
    `cube_facts.described`); `files`, one for each array, in the order of the positions, with their shapes in
    `position_shapes`, and `file_axes`, the numbers of the axes as they follow in the files; `settings`, as
    `serial.dumps` writes them; `global_metadata`; and `frame_metadata`, a list of what came with frames, each with its
    `frame`, its `array` and its `storage_index` (`_frame` and so on, if what came has such a key itself).

`frame_metadata.jsonl` has the metadata of frames from the moment when they were taken, one JSON object a line: what
came, and `_frame`, `_pos` (the array) and `_idx` (the storage index). A line that does not end is none. ome-writers 0.3
made such files too, without `_frame`, and manifests that `as_now` translates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ome_writers import serial
from ome_writers._version import __version__
from ome_writers.cube_facts import described
from ome_writers.documents import Document, Outcome
from ome_writers.errors import Malformed
from ome_writers.gaps import frames_in
from ome_writers.images import shapes_of
from ome_writers.jsontext import object_in
from ome_writers.plan import Plan
from ome_writers.records import JSON, Record, with_place

MANIFEST: Final = "manifest.json"
NOTES: Final = "frame_metadata.jsonl"

_PLACES: Final = {"frame": "frame", "pos": "array", "idx": "storage_index"}

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def file_name(array: int) -> str:
    """Return the name of the file of an array.

    Examples
    --------
    >>> file_name(2)
    'pos_2.dat'
    """
    return f"pos_{array}.dat"


def file_axes(plan: Plan) -> tuple[int, ...]:
    """Return the axes of the arrays as they follow in the files: the outermost loop first, then as they are stored.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"z": 3, "t": 2, "y": 8, "x": 8})
    >>> order = {"storage_order": ["t", "z", "y", "x"]}
    >>> plan = compile(AcquisitionSettings(dtype="uint8", dimensions=dims, format="scratch", **order))
    >>> plan.layout.arrays[0].dimension_names, file_axes(plan)
    (('t', 'z', 'y', 'x'), (1, 0, 2, 3))
    """
    names = plan.layout.arrays[0].dimension_names
    loops = [names.index(dim.name) for dim in plan.settings.dimensions if dim.name in names]
    return tuple(sorted(range(len(names)), key=lambda axis: axis != loops[0]))


def scratch_documents(plan: Plan, outcome: Outcome) -> tuple[Document, ...]:
    """Return the manifest of a scratch dataset.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 5, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(dtype="uint8", dimensions=dims, format="scratch"))
    >>> (manifest,) = scratch_documents(plan, Outcome(verdict="stopped", cursor=3))
    >>> manifest.path, manifest.body["verdict"], manifest.body["position_shapes"]
    ('manifest.json', 'stopped', [[3, 8, 8]])
    """
    body: Record = {"version": __version__, "verdict": outcome.verdict, "frames": outcome.frames}
    if plan.frames is not None:
        body["planned"] = plan.frames
    body["missing"] = frames_in(plan, outcome.gaps).tolist()
    if outcome.error is not None:
        body["error"] = outcome.error
    dtypes: list[JSON] = [spec.dtype for spec in plan.layout.arrays]
    body |= {"dtype": dtypes[0], **described(plan)}
    if len(set(dtypes)) > 1:
        body["dtypes"] = dtypes
    body |= {
        "files": [file_name(array) for array in range(len(plan.layout.arrays))],
        "position_shapes": [list(shape) for shape in shapes_of(plan, outcome)],
        "file_axes": list(file_axes(plan)),
        "settings": json.loads(serial.dumps(plan.settings)),
        "global_metadata": dict(outcome.globals),
        "frame_metadata": _frame_metadata(plan, outcome),
    }
    return (Document(MANIFEST, "json", body),)


def _frame_metadata(plan: Plan, outcome: Outcome) -> list[JSON]:
    places = np.array(sorted(outcome.records), np.int64)
    rows = plan.rows_at(places)
    where = zip(rows["frame"].tolist(), rows["array"].tolist(), rows["index"].tolist(), strict=True)
    return [
        with_place(outcome.records[place], {"frame": frame, "array": array, "storage_index": index})
        for place, (frame, array, index) in zip(places.tolist(), where, strict=True)
    ]


def noted(frame: int, array: int, index: Sequence[int], record: Record) -> bytes:
    r"""Return the line of a frame in `frame_metadata.jsonl`.

    Examples
    --------
    >>> noted(5, 1, (2,), {"exposure_time": 0.01})
    b'{"_frame":5,"_pos":1,"_idx":[2],"exposure_time":0.01}\n'
    """
    return (_encode(with_place(record, {"_frame": frame, "_pos": array, "_idx": list(index)})) + "\n").encode()


def read_notes(data: bytes) -> list[Record]:
    """Return the metadata of frames in `frame_metadata.jsonl`, as it stands in a manifest.

    Raises
    ------
    Malformed
        If a line is no JSON object.

    Examples
    --------
    >>> read_notes(noted(5, 1, (2,), {"exposure_time": 0.01}) + b'{"_frame":6,"_po')
    [{'frame': 5, 'array': 1, 'storage_index': [2], 'exposure_time': 0.01}]
    """
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = object_in(line)
        except Malformed as error:
            raise Malformed(f"line {number}: {error}") from None
        # The place comes first; a key that looks like one of its and comes later, or again, came with the frame.
        place: Record = {}
        for key in list(record):
            name = _PLACES.get(key.lstrip("_"), "") if key.startswith("_") else ""
            if not name or name in place:
                break
            place[name] = record.pop(key)
        found.append(with_place(record, place))
    return found


def as_now(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a manifest says in the words of today, if ome-writers 0.3 wrote it.

    There the arrays lie in storage order and each position has a length of its own. It does not say how the run ended,
    and while an acquisition without end lasts, not how far it has come: the files do.

    Examples
    --------
    >>> as_now({"version": "0.3.2", "dimensions": [{"name": "t", "count": None}, {"name": "y", "count": 4},
    ...     {"name": "x", "count": 5}], "position_shapes": [[1, 4, 5]]})["verdict"]
    'running'
    """
    if "file_axes" in said:
        return said
    dimensions = [
        {**dim, "type": dim.get("type"), "coords": [_label(label) for label in dim["coords"]]}
        if dim.get("coords")
        else {"type": None, **dim}
        for dim in said["dimensions"]
    ]
    shapes, order = said["position_shapes"], said.get("storage_order")
    names = [str(name) for name in order] if isinstance(order, list) else [dim["name"] for dim in dimensions]
    kinds = {dim["name"]: dim["type"] for dim in dimensions}
    return {
        **said,
        "verdict": "running" if None in [dim["count"] for dim in dimensions] else "complete",
        "dimensions": dimensions,
        "axes": [name for name in names if kinds[name] != "position"],
        "files": [file_name(array) for array in range(len(shapes))],
        "file_axes": list(range(len(shapes[0]))),
    }


def _label(label: Any) -> Any:
    return label["name"] if isinstance(label, Mapping) else label
