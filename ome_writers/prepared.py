"""Given a plan, this makes the empty dataset for another program to put the pixels into.

1. Every file that pixels go to is made at full length, so that the dataset is valid and reads as zeros. Beside it lie
   the table and the list that tell where each frame goes (`place_file.py`), and the plan.
2. The other program writes pixels to these places, in any order. Whatever it does there, readers can open the dataset.
3. `finish` (`finished.py`) says what came, and cuts the arrays to that.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
from attrs import evolve, frozen

from ome_writers.cuts import FileSpec
from ome_writers.documents import Outcome, Stamp, documents
from ome_writers.errors import Loc, PlanError, Problem
from ome_writers.files import load_plan, save_plan
from ome_writers.lock import Lock
from ome_writers.order import Rows
from ome_writers.place_file import (
    Prepared,
    csv_head,
    csv_rows,
    described,
    is_table,
    prepared_from_json,
    prepared_to_json,
    table_head,
)
from ome_writers.placement import Placement, place
from ome_writers.plan import Plan
from ome_writers.regular import MOST_DOCUMENT, open_regular, read_regular
from ome_writers.space import require_space
from ome_writers.target import require_free, room_at
from ome_writers.writer import unmet
from ome_writers.writers.direct import DirectWriter
from ome_writers.writers.direct_tiff import DirectTiff
from ome_writers.writers.direct_zarr import DirectZarr
from ome_writers.writers.files import put_in_place, unfinished

Shapes = tuple[tuple[int, ...], ...]

_STRETCH: Final = 1 << 16
"""Rows of the table that are made at once."""
_TABLES: Final = (".npy", ".csv")
_HEAD: Final = 4096


@frozen
class Beside:
    """The files beside a dataset that is prepared for another program."""

    places: Path
    """The list of files and arrays, in JSON."""
    table: Path
    """Where each frame goes."""
    plan: Path
    """The plan, as `save_plan` keeps it."""


def beside(root: Path) -> Beside:
    """Return where these files are, unless the table was to lie elsewhere."""
    names = (".placement.json", ".placement.npy", ".plan.npz")
    return Beside(*(root.with_name(f"{root.name}{name}") for name in names))


def prepare(plan: Plan, *, frames: int | None = None, table: str | os.PathLike[str] | None = None) -> Beside:
    """Create the empty dataset of a plan, and beside it the table that says where another program puts the pixels.

    Parameters
    ----------
    plan
        Of uncompressed OME-Zarr or OME-TIFF.
    frames
        For how many frames there shall be room, if the plan has no end.
    table
        Where the table goes (`.npy`, or `.csv` for programs that read text); by default beside the dataset.

    Returns
    -------
    The paths of the files beside the dataset. What stands in them is described in `ome_writers.place_file`.

    Raises
    ------
    PlanError
        If the pixels have no places, or there is no room for them. Nothing has been created.
    FileExistsError
        If something stands at the output path and may not be replaced, or has the name of a file beside it and was not
        made by `prepare`.

    Examples
    --------
    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, finish, open_view
    >>> dims = dims_from_standard_axes({"t": 5, "y": 4, "x": 8}, chunk_shapes={"t": 1}, shard_shapes={"t": 5})
    >>> with TemporaryDirectory() as folder:
    ...     root = f"{folder}/cells.ome.zarr"
    ...     made = prepare(compile(AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims)))
    ...     files = json.loads(made.places.read_text())["files"]
    ...     for row in np.load(made.table)[:3]:  # any program that can read numbers and write bytes at a place
    ...         with open(f"{folder}/{files[row['file']]['path']}", "r+b") as file:
    ...             place = file.seek(row["offset"])
    ...             written = file.write(np.full((4, 8), row["frame"] + 1, "<u2"))
    ...     outcome = finish(root, frames=3)
    ...     outcome.verdict, np.asarray(open_view(root))[:, 0, 0].tolist()
    ('stopped', [1, 2, 3])
    """
    placement, stop = place(plan), _room_for(plan, frames)
    if problems := unmet(plan, DirectWriter().capabilities):
        raise PlanError(problems)
    settings = plan.settings
    root = Path(settings.output_path).expanduser()
    paths = beside(root) if table is None else evolve(beside(root), table=_table_path(table))
    stamp = Stamp(datetime.now(UTC), tuple(str(uuid.uuid4()) for _ in range(len(plan.layout.files) + 1)))
    require_space(plan, str(root), overwrite=settings.overwrite)
    if not settings.overwrite:
        require_free(str(root), overwrite=False)
    with (
        contextlib.closing(Lock(root)),
        room_at(str(root), overwrite=settings.overwrite) as room,
        _new_files(beside(root), paths) as fresh,
    ):
        files = _last_file(placement, stop) + 1
        shapes = _make(plan, room.at, stamp, stop, files)
        room.move_in()
        folder = root.parent
        there = Path(os.path.relpath(paths.table.absolute(), folder.absolute())) if table else Path(paths.table.name)
        said = Prepared(
            dataset=root.name,
            table=there.as_posix(),
            frames=stop,
            stamp=stamp,
            arrays=described(placement, shapes),
            files=tuple(_standing(root, placement, number) for number in range(files)),
        )
        _write_table(fresh.table, placement, stop)
        save_plan(plan, fresh.plan)
        fresh.places.write_bytes(prepared_to_json(said))
    return paths


# ── the empty dataset ─────────────────────────────────────────────────────────────────────────────────────────────────


def writer_of(plan: Plan) -> DirectZarr | DirectTiff:
    """Return what writes the files of a plan."""
    return DirectTiff() if plan.settings.format.name == "ome-tiff" else DirectZarr()


def _room_for(plan: Plan, frames: int | None) -> int:
    """Return how many frames there shall be room for."""
    if plan.frames is None:
        if frames is None:
            _refuse(("frames",), "missing", "the plan has no end: say for how many frames there shall be room")
        if frames < 1:
            _refuse(("frames",), "invalid_value", f"must be at least 1; got {frames}")
        return frames
    if frames not in (None, plan.frames):
        _refuse(("frames",), "conflict", f"the plan has {plan.frames} frames, and room is made for all; got {frames}")
    return plan.frames


def _make(plan: Plan, root: Path, stamp: Stamp, stop: int, files: int) -> Shapes:
    """Create the dataset with all files, and return the shapes of its arrays."""
    said = Outcome(writer="direct", root=str(root), placed=True)
    writer, shapes = writer_of(plan), plan.first_shapes
    writer.open(str(root), plan, documents(plan, stamp, said))
    try:
        if plan.frames is None:
            axis = plan.layout.arrays[0].shape.index(None)
            rounds = int(plan.rows(stop - 1, stop)["index"][0, axis]) + 1
            shapes = tuple((*old[:axis], plan.announced(rounds), *old[axis + 1 :]) for old in shapes)
            for array, shape in enumerate(shapes):
                writer.resize(array, shape)
            # OME-XML says how long the images are; as long as none came, all frames before the last are missing.
            said = evolve(said, cursor=stop - 1, missing=[(0, stop - 1)] if stop > 1 else ())
            writer.flush([one for one in documents(plan, stamp, said) if one.kind != "group"])
        if isinstance(writer, DirectZarr):  # a TIFF file is made with its pages
            writer.make(range(files))
    finally:
        writer.abort()
    return shapes


def _stretches(placement: Placement, stop: int) -> Iterable[Rows]:
    return (placement.rows(first, min(first + _STRETCH, stop)) for first in range(0, stop, _STRETCH))


def _last_file(placement: Placement, stop: int) -> int:
    return max((int((rows["file"] + rows["files"]).max()) - 1 for rows in _stretches(placement, stop)), default=-1)


def _standing(root: Path, placement: Placement, number: int) -> FileSpec:
    """Return the name of a file, from the folder of the dataset on, and its size as it stands."""
    key = placement.file(number).key
    name = f"{root.name}/{key}" if key else root.name
    return FileSpec(name, (root.parent / name).stat().st_size)


def _table_path(table: str | os.PathLike[str]) -> Path:
    path = Path(table).expanduser()
    if path.suffix.lower() not in _TABLES:
        _refuse(("table",), "unsupported", f"a table ends in {' or '.join(_TABLES)}; got {os.fspath(table)!r}")
    return path


def _write_table(path: Path, placement: Placement, stop: int) -> None:
    text = path.suffix.lower() == ".csv"
    put: Callable[[Rows], bytes] = csv_rows if text else np.ndarray.tobytes
    with path.open("wb") as file:
        file.write(csv_head() if text else table_head(stop))
        for rows in _stretches(placement, stop):
            file.write(put(rows))


@contextlib.contextmanager
def _new_files(usual: Beside, paths: Beside) -> Iterator[Beside]:
    """Have the files beside a dataset made, under other names; then they replace older ones of their kind.

    Raises
    ------
    FileExistsError
        If what has the name of one is not of its kind.
    """
    for path, is_ours in (
        (paths.places, _is_list),
        (usual.table, _is_table),
        (paths.table, _is_table),
        (paths.plan, _is_plan),
    ):
        if os.path.lexists(path) and not is_ours(path):
            message = f"{path} is in the way, and was not made by prepare; move it away, or give another path"
            raise FileExistsError(message)
    pairs = {path: unfinished(path) for path in (paths.table, paths.plan, paths.places)}
    try:
        yield Beside(places=pairs[paths.places], table=pairs[paths.table], plan=pairs[paths.plan])
        for path, fresh in pairs.items():
            put_in_place(fresh, path)
    finally:
        for fresh in pairs.values():
            fresh.unlink(missing_ok=True)
    if usual.table != paths.table:
        usual.table.unlink(missing_ok=True)  # it is that of an older dataset


def _is_list(path: Path) -> bool:
    with contextlib.suppress(OSError, PlanError):
        return bool(prepared_from_json(read_regular(path, MOST_DOCUMENT, links=False)))
    return False


def _is_table(path: Path) -> bool:
    with contextlib.suppress(OSError), open_regular(path, links=False) as file:
        return is_table(file.read(_HEAD))
    return False


def _is_plan(path: Path) -> bool:
    with contextlib.suppress(OSError, PlanError):
        return not path.is_symlink() and bool(load_plan(path).layout.arrays)
    return False


def _refuse(loc: Loc, kind: str, message: str) -> NoReturn:
    raise PlanError([Problem(loc, kind, message)])
