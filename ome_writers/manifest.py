"""Given a plan and what happened, this answers: what does the manifest of a scratch dataset say?

The arrays lie beside it in plain files, `pos_0.dat`, `pos_1.dat`, …: nothing but numbers, little-endian, in C order.
A file's first axis is the one that may grow or end early (`file_axes`), so that a file only grows or is cut at its end;
mostly that is the first axis of the array as well.

`manifest.json` is one JSON object
    `version`, `verdict`, `frames` (that came), `planned` (absent without end), `missing` (frame numbers as ranges,
    first and last), `error`; `dtype`; `dimensions` and `axes` (see `cube.described`); `files`, one for each array, in
    the order of the positions, with their shapes in `position_shapes`, and `file_axes`, the numbers of the axes as they
    follow in the files; `settings`, as `serial.dumps` writes them; `global_metadata`; and `frame_metadata`, a list of
    what came with frames, each with its `frame`, its `array` and its `storage_index`.
"""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from ome_writers import serial
from ome_writers._version import __version__
from ome_writers.cube import described
from ome_writers.documents import Document, Outcome
from ome_writers.images import ranges, rows_at, shapes_of
from ome_writers.plan import Plan
from ome_writers.records import JSON, Record

MANIFEST: Final = "manifest.json"


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
    body["missing"] = [[first, last] for first, last in ranges(rows_at(plan, outcome.missing)["frame"])]
    if outcome.error is not None:
        body["error"] = outcome.error
    body |= {"dtype": plan.layout.arrays[0].dtype, **described(plan)}
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
    rows = rows_at(plan, places)
    where = zip(rows["frame"].tolist(), rows["array"].tolist(), rows["index"].tolist(), strict=True)
    return [
        {**outcome.records[place], "frame": frame, "array": array, "storage_index": index}
        for place, (frame, array, index) in zip(places.tolist(), where, strict=True)
    ]
