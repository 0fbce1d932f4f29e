"""Given a plan, this answers: which bytes keep it? And given bytes from anywhere: which plan do they keep, if any?

A plan file is an uncompressed `.npz` that numpy opens (`np.load(path)`, no pickles):

* `plan.json`: `{"ome_writers_plan": 1, "settings": {…}}`, the settings as in a settings file;
* `rows_0.npy`, `loops_0.npy`, `rows_1.npy`, …: the frame table, one pair for each segment. Row `r` of round
  `(i, j, …)` is `rows[r] + i * loops[0] + j * loops[1] + …` in every column, the last loop the fastest; `repeats` says
  how often each goes round, -1 without end.

Equal plans give equal bytes. Nothing that a file claims is believed before it is checked: no claim makes
`plan_from_npz` run code, reserve memory beyond the size of the file and its layout, or return a plan that points
outside its arrays.
"""

from __future__ import annotations

import ast
import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers import serial
from ome_writers.check import shown
from ome_writers.errors import Loc, PlanError, Problem, SettingsError
from ome_writers.layout import Layout, lay_out, roles_of
from ome_writers.order import Loop, Segment, row_dtype
from ome_writers.plan import Plan
from ome_writers.settings import AcquisitionSettings

Column = NDArray[np.integer[Any]]

VERSION: Final = 1
_MARK: Final = "ome_writers_plan"
_HEAD: Final = "plan.json"
_MOST_FRAMES: Final = 2**62
"""Rows that a plan may have, so that no sum of frame numbers leaves 64 bits."""
_MOST_INDEX: Final = 2**31
"""What the columns of a row can hold, along an axis without end."""


def plan_to_npz(plan: Plan) -> bytes:
    """Return the bytes of a plan file; equal plans give equal bytes.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 4, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> plan_from_npz(plan_to_npz(plan))
    <Plan: 4 frames in 1 array>
    """
    settings = serial.make_converter().unstructure(plan.settings)
    head = json.dumps({_MARK: VERSION, "settings": settings}, indent=1, allow_nan=False)
    members = {_HEAD: head.encode()}
    for number, segment in enumerate(plan.segments):
        members[f"rows_{number}.npy"] = _npy(segment.rows)
        members[f"loops_{number}.npy"] = _npy(_loop_table(segment, plan.layout))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            # A `ZipInfo` of its own carries the same date and the same system, wherever and whenever it is made.
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            archive.writestr(info, data)
    return buffer.getvalue()


def plan_from_npz(data: bytes) -> Plan:
    """Return the plan that the bytes of a plan file keep.

    Raises
    ------
    PlanError
        If they are no plan file, or one whose table does not fit its settings; each problem with the member it lies in.
    """
    members = _members(data)
    settings = _settings(members.pop(_HEAD))
    layout = lay_out(settings)
    segments = tuple(
        _segment(number, members, layout, last=2 * number + 2 == len(members)) for number in range(len(members) // 2)
    )
    return Plan(settings=settings, layout=layout, segments=segments)


def table_to_npy(plan: Plan) -> bytes:
    """Return the whole frame table of a plan as the bytes of a `.npy` file, for a hardware controller to read.

    Raises
    ------
    PlanError
        If the plan has no end.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 2, "z": 3, "y": 8, "x": 8})
    >>> data = table_to_npy(compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)))
    >>> np.load(io.BytesIO(data))["index"].tolist()
    [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    """
    if plan.frames is None:
        raise PlanError([Problem(("dimensions", 0, "count"), "unsupported", "a plan without end has no whole table")])
    return _npy(plan.table)


# ── members ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _loop_dtype(axes: int) -> np.dtype[np.void]:
    return np.dtype([("repeats", "<i8"), *row_dtype(axes).descr])


def _loop_table(segment: Segment, layout: Layout) -> NDArray[np.void]:
    rows = [
        (-1 if loop.repeats is None else loop.repeats, loop.frame, loop.position, loop.array, loop.index)
        for loop in segment.loops
    ]
    return np.array(rows, _loop_dtype(len(layout.arrays[0].shape) - 2))


def _npy(array: NDArray[np.void]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _refused(loc: Loc, message: str) -> PlanError:
    return PlanError([Problem(loc, "invalid_file", message)])


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of a plan file, which are there in full and are all that is there."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            # Members that are packed, or that share bytes, could be larger than the file.
            if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
                raise _refused((), "must not be compressed")
            if sum(info.file_size for info in infos) > len(data):
                raise _refused((), "claims more bytes than it has")
            names = [info.filename for info in infos]
            pairs = range(len(names) // 2)
            expected = [_HEAD, *(f"{kind}_{number}.npy" for number in pairs for kind in ("rows", "loops"))]
            if sorted(names) != sorted(expected):
                raise _refused((), f"must hold plan.json, rows_0.npy, loops_0.npy, …; got {shown(names)}")
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, struct.error, ValueError, EOFError, OSError, RuntimeError, LookupError) as error:
        if isinstance(error, PlanError):
            raise
        raise _refused((), f"is no plan file: {error}") from None


def _settings(data: bytes) -> AcquisitionSettings:
    """Return the settings of a plan file, which are ready to be laid out."""
    try:
        head = serial.parse(data.decode(), "json")
        if not isinstance(head, dict) or set(head) != {_MARK, "settings"}:
            raise _refused((_HEAD,), f"must be a mapping of '{_MARK}' and 'settings'")
        if head[_MARK] != VERSION:
            message = f"must be {VERSION}, the version that is understood; got {shown(head[_MARK])}"
            raise _refused((_HEAD, _MARK), message)
        settings = serial.settings_from(head["settings"])
        settings.validate_stream_ready()
        roles_of(settings)  # refuses too many images: each would be an object of its own
    except UnicodeDecodeError as error:
        raise _refused((_HEAD,), f"must be UTF-8 text: {error}") from None
    except SettingsError as error:
        raise PlanError(problem.under(_HEAD, "settings") for problem in error.problems) from None
    return settings


def _array(name: str, data: bytes, dtype: np.dtype[Any]) -> NDArray[np.void]:
    """Return the one-dimensional array of `dtype` that a member holds, without a copy and read-only."""
    # Version 1.0 of the format: magic, version, length of the header in two bytes, and the header, a Python literal.
    start = 10 + int.from_bytes(data[8:10], "little")
    try:
        header = ast.literal_eval(data[10:start].decode("latin-1").strip())
        described = header if isinstance(header, dict) else {}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        described = {}
    count = (len(data) - start) // dtype.itemsize
    expected = {"descr": dtype.descr, "fortran_order": False, "shape": (count,)}
    if data[:8] != b"\x93NUMPY\x01\x00" or described != expected or len(data) != start + count * dtype.itemsize:
        raise _refused((name,), f"must be a .npy file of version 1.0 that holds {shown(expected)}")
    return np.frombuffer(data, dtype, count, start)


# ── the table, checked against its layout ─────────────────────────────────────────────────────────────────────────────


def _segment(number: int, members: dict[str, bytes], layout: Layout, *, last: bool) -> Segment:
    axes = len(layout.arrays[0].shape) - 2
    names = f"rows_{number}.npy", f"loops_{number}.npy"
    rows = _array(names[0], members[names[0]], row_dtype(axes))
    table = _array(names[1], members[names[1]], _loop_dtype(axes))
    if not len(rows):
        raise _refused((names[0],), "must hold at least one row")
    loops = tuple(
        Loop(None if repeats == -1 else repeats, frame, position, array, tuple(index.tolist()))
        for repeats, frame, position, array, index in table.tolist()
    )
    for place, loop in enumerate(loops):
        endless = loop.repeats is None and last and place == 0
        if not endless and (loop.repeats is None or loop.repeats < 1):
            raise _refused((names[1], place, "repeats"), f"must be at least 1; got {table['repeats'][place]}")
    segment = Segment(rows, loops)
    _check_range(names, segment, layout)
    return segment


def _columns(segment: Segment, layout: Layout) -> Iterator[tuple[Loc, Column, list[int], int, bool]]:
    """Yield each column: its place, its values, what each loop adds, where it ends, and whether it may go on."""
    rows, loops = segment.rows, segment.loops
    yield ("frame",), rows["frame"], [loop.frame for loop in loops], _MOST_FRAMES, True
    yield ("array",), rows["array"], [loop.array for loop in loops], len(layout.arrays), False
    for axis, sizes in enumerate(zip(*(spec.shape[:-2] for spec in layout.arrays), strict=True)):
        ends = [size for size in sizes if size is not None]
        steps = [loop.index[axis] for loop in loops]
        yield ("index", axis), rows["index"][:, axis], steps, max(ends, default=_MOST_INDEX), not ends


def _check_range(names: tuple[str, str], segment: Segment, layout: Layout) -> None:
    """Refuse a segment that leaves the arrays of the layout."""
    rounds = [loop.repeats or 1 for loop in segment.loops]
    for loc, column, steps, limit, endless in _columns(segment, layout):
        for place, (step, loop) in enumerate(zip(steps, segment.loops, strict=True)):
            if step < 0 or (step and loop.repeats is None and not endless):
                raise _refused((names[1], place, *loc), f"leaves the arrays; got {step}")
        # Python's numbers hold what the file claims, whatever that comes to.
        least = int(column.min())
        most = int(column.max()) + sum(step * (count - 1) for step, count in zip(steps, rounds, strict=True))
        if least < 0 or most >= limit:
            raise _refused((names[0], *loc), f"must be from 0 to below {limit}; goes from {least} to {most}")
    if (segment.frames or 0) > _MOST_FRAMES:
        raise _refused((names[1], "repeats"), f"there may be at most {_MOST_FRAMES} rows")
    _check_positions(names, segment, layout)


def _check_positions(names: tuple[str, str], segment: Segment, layout: Layout) -> None:
    """Refuse a segment whose positions are not those of its arrays, or that comes back to an array in another round.

    Or that leaves an array that is smaller than the largest.
    """
    pairs, which = np.unique(segment.rows[["array", "position"]], return_inverse=True)
    array, position = pairs["array"].astype(np.int64), pairs["position"].astype(np.int64)
    furthest = np.zeros((len(pairs), segment.rows["index"].shape[1]), np.int64)
    np.maximum.at(furthest, which.reshape(-1), segment.rows["index"])
    for place, loop in enumerate(segment.loops):
        steps = np.array(loop.index, np.int64)
        if loop.repeats is None or not (loop.array or loop.position):
            furthest += steps * ((loop.repeats or 1) - 1)
            continue
        if loop.repeats * len(array) > len(layout.arrays):
            raise _refused((names[1], place, "repeats"), f"there are {len(layout.arrays)} arrays; goes through more")
        rounds = np.arange(loop.repeats)[:, None]
        array, position = (array + rounds * loop.array).ravel(), (position + rounds * loop.position).ravel()
        furthest = (furthest + (rounds * steps)[:, None]).reshape(len(array), len(steps))
    if (np.array([spec.position for spec in layout.arrays])[array] != position).any():
        raise _refused((names[0], "position"), "must be that of the array in each row")
    sizes = np.array([[_MOST_INDEX if size is None else size for size in spec.shape[:-2]] for spec in layout.arrays])
    beyond = (furthest >= sizes.reshape(len(sizes), -1)[array]).any(axis=1)
    if beyond.any():
        one = int(array[beyond][0])
        raise _refused((names[0], "index"), f"leaves array {one}, whose shape is {layout.arrays[one].shape}")
