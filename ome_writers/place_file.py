"""Given where the pixels of a dataset lie, this answers: which bytes tell another program? And the way back.

Two files tell it, beside the dataset. The table, `.placement.npy`, has one record a frame, little-endian and packed
(`PLACE_DTYPE`, 52 bytes), behind a header that ends at byte `10 + (bytes 8 and 9, little-endian)`:

    frame i8, array i4, file i8, offset i8, files i4, runs i4, run_bytes i8, run_stride i8

The list, `.placement.json`, says what these numbers stand for:

* `files[file]`: `path`, from the folder of the list on, and `size` in bytes. A file must keep its size.
* `arrays[array]`: `path`, `shape` (a frame has the last two sizes), `dtype` (pixels are little-endian), and how frames
  are cut: `parts`, `tiles`, `tile`, `padded`, `packed`, as in `Cut`.
* `dataset` and `table`: names of both; `frames`: number of records; `stamp`: what `finish` needs for its documents;
  `finished`: what it was told, if it was called already.

A frame whose `tile` is the whole of it, and not `packed`, goes to `offset` of `files[file]` as it lies in memory. Else
tile `(i, j)` of part `(a, b)` is run `i * tiles[1] + j` in file `file + a * parts[1] + b`, at `offset + run *
run_stride`. It holds, row by row, the `tile[0]` by `tile[1]` pixels from row `(a * tiles[0] + i) * tile[0]` and column
`(b * tiles[1] + j) * tile[1]` on. Those beyond the edge of the frame are zeros if it is `padded`, and else left out. If
`packed`, eight pixels are a byte.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, NoReturn

import numpy as np
from attrs import frozen

from ome_writers.cuts import PLACE_DTYPE, Cut, FileSpec
from ome_writers.documents import Stamp
from ome_writers.errors import Loc, Malformed, PlanError, Problem
from ome_writers.jsontext import object_in
from ome_writers.order import Rows
from ome_writers.placement import Placement

_MARK: Final = "ome_writers_placement"
_VERSION: Final = 1
_PLAIN: Final = ("tiles", "tile", "parts", "padded", "packed")


@frozen
class Finished:
    """What `finish` was told came of the frames."""

    frames: int
    """How many records of the table were gone through."""
    missing: tuple[tuple[int, int], ...]
    """Places among them whose frames did not come: ranges, first and last, ascending."""


@frozen
class Prepared:
    """A dataset whose pixels another program writes: what stands in the list beside it."""

    dataset: str
    """Name of the file or folder."""
    table: str
    """Path of the table, from the folder of the list on."""
    frames: int
    """Number of records in the table."""
    stamp: Stamp
    arrays: tuple[dict[str, Any], ...]
    """What `described` said of each array."""
    files: tuple[FileSpec, ...]
    """Names, from the folder of the list on, and sizes of the files that pixels go to."""
    finished: Finished | None = None


def table_head(frames: int) -> bytes:
    r"""Return what stands in a table before its first record.

    Examples
    --------
    >>> table_head(3)[:8], len(table_head(3)) % 64
    (b'\x93NUMPY\x01\x00', 0)
    """
    buffer = io.BytesIO()
    described: dict[str, Any] = {"descr": PLACE_DTYPE.descr, "fortran_order": False, "shape": (frames,)}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def is_table(head: bytes) -> bool:
    """Return whether a file that begins so is a table, whatever it has of records.

    Examples
    --------
    >>> is_table(table_head(3)), is_table(csv_head() + b"0,0"), is_table(b"frame,x,y")
    (True, True, False)
    """
    # What is before the columns says how long the header is, and what is after them, how many records there are.
    columns = table_head(0)[10:].partition(b"'shape'")[0]
    return head.startswith(csv_head()) or (head.startswith(table_head(0)[:8]) and head[10:].startswith(columns))


def csv_head() -> bytes:
    r"""Return the first line of a table in text.

    Examples
    --------
    >>> csv_head()
    b'frame,array,file,offset,files,runs,run_bytes,run_stride\n'
    """
    return (",".join(PLACE_DTYPE.names or ()) + "\n").encode()


def csv_rows(rows: Rows) -> bytes:
    """Return records of a table in text, a line each."""
    return "".join(",".join(map(str, row)) + "\n" for row in rows.tolist()).encode()


def described(placement: Placement, shapes: Sequence[Sequence[int]]) -> tuple[dict[str, Any], ...]:
    """Return for each array what another program must know of it, as plain JSON values.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, place
    >>> dims = dims_from_standard_axes({"t": 4, "y": 8, "x": 8}, chunk_shapes={"y": 4})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> described(place(plan), plan.first_shapes)[0]["parts"]
    [2, 1]
    """
    made = []
    for array, (spec, shape) in enumerate(zip(placement.plan.layout.arrays, shapes, strict=True)):
        cut = placement.cut(array)
        made.append({"path": spec.path, "shape": list(shape), "dtype": spec.dtype, **_plain(cut)})
    return tuple(made)


def _plain(cut: Cut) -> dict[str, Any]:
    values = {name: getattr(cut, name) for name in (*_PLAIN, "run_bytes", "run_stride")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def prepared_to_json(prepared: Prepared) -> bytes:
    """Return the bytes of a list; equal values give equal bytes."""
    finished = prepared.finished
    head = {
        _MARK: _VERSION,
        "dataset": prepared.dataset,
        "table": prepared.table,
        "frames": prepared.frames,
        "stamp": {"now": prepared.stamp.now.isoformat(), "uuids": list(prepared.stamp.uuids)},
        "finished": finished and {"frames": finished.frames, "missing": list(finished.missing)},
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    # An entry a line: there may be a million, and they are read by people too.
    files = [{"path": file.key, "size": file.size} for file in prepared.files]
    for key, values in (("arrays", prepared.arrays), ("files", files)):
        entries = ",\n".join(f"  {json.dumps(value)}" for value in values)
        lines.append(f" {json.dumps(key)}: [\n{entries}\n ]")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def prepared_from_json(data: bytes) -> Prepared:
    """Return what stands in a list.

    Raises
    ------
    PlanError
        If it is none, or one of another version.
    """
    try:
        values = object_in(data)
    except Malformed as error:
        _refuse((), f"is no list of places: {error}")
    if values.get(_MARK) != _VERSION:
        _refuse((_MARK,), f"must be {_VERSION}, the version that is understood")
    for key, kind in _KINDS.items():
        if not isinstance(values.get(key), kind) or isinstance(values[key], bool):
            _refuse((key,), "is missing, or of another type")
    for number, array in enumerate(values["arrays"]):
        if not isinstance(array, dict) or not _is_shape(array.get("shape")):
            _refuse(("arrays", number), "must say the shape of an array")
    return Prepared(
        dataset=values["dataset"],
        table=values["table"],
        frames=values["frames"],
        stamp=stamp_from(values["stamp"]),
        arrays=tuple(values["arrays"]),
        files=tuple(_file(number, file) for number, file in enumerate(values["files"])),
        finished=None if values["finished"] is None else _finished(values["finished"], values["frames"]),
    )


_KINDS: Final[dict[str, Any]] = {
    "dataset": str, "table": str, "frames": int, "stamp": dict, "arrays": list, "files": list,
    "finished": dict | None,
}  # fmt: skip


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(size, int) and size >= 0 for size in value)


def stamp_from(values: dict[str, Any]) -> Stamp:
    """Return a stamp that was written as JSON."""
    try:
        now, uuids = datetime.fromisoformat(values["now"]), tuple(map(str, values["uuids"]))
    except (KeyError, TypeError, ValueError) as error:
        _refuse(("stamp",), f"must hold a date and UUIDs: {error!r}")
    return Stamp(now, uuids)


def _file(number: int, values: Any) -> FileSpec:
    try:
        return FileSpec(str(values["path"]), int(values["size"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        _refuse(("files", number), f"must hold a path and a size: {error!r}")


def _finished(values: dict[str, Any], most: int) -> Finished:
    try:
        found = Finished(int(values["frames"]), tuple((int(first), int(last)) for first, last in values["missing"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        _refuse(("finished",), f"must hold frames and ranges of missing ones: {error!r}")
    # Ascending, or a few ranges could stand for more places than fit into any memory.
    ends = [-1, *(end for range_ in found.missing for end in range_), found.frames]
    if not 0 <= found.frames <= most or any(
        later < before + (number % 2 == 0) for number, (before, later) in enumerate(pairwise(ends))
    ):
        _refuse(("finished",), f"must be ascending ranges within {most} frames")
    return found


def _refuse(loc: Loc, message: str) -> NoReturn:
    raise PlanError([Problem(loc, "invalid_file", message)])
