"""Given a prepared dataset whose pixels another program has written, this completes its documents.

It says what came, with the date and the UUIDs of the documents that `prepare` made, and cuts the arrays to that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
from attrs import evolve

from ome_writers.documents import Outcome, documents
from ome_writers.errors import Loc, PlanError, Problem
from ome_writers.files import load_plan
from ome_writers.gaps import ranges_of
from ome_writers.place_file import Finished, Prepared, described, prepared_from_json, prepared_to_json
from ome_writers.placement import Placement, place
from ome_writers.plan import Plan
from ome_writers.prepared import Shapes, beside, writer_of
from ome_writers.regular import MOST_DOCUMENT, problems_in, read_regular
from ome_writers.writers.files import located, replace_file


def finish(
    path: str | os.PathLike[str], *, frames: int | None = None, missing: Iterable[int] = (), remove: bool = False
) -> Outcome:
    """Say in the documents of a prepared dataset what came, and cut its arrays to that.

    What it did can be done again: with the same frames, with fewer, or with more as long as none of these was cut off.

    Parameters
    ----------
    path
        The dataset.
    frames
        How many frames of the table came, from its first on; by default all (or, if the dataset was finished before,
        what was said then). A plan without end has no default.
    missing
        Numbers of the frames among them that did not come.
    remove
        Whether to remove the files that `prepare` left beside the dataset (but no table elsewhere). Then it cannot be
        finished again.

    Raises
    ------
    FileNotFoundError
        If the dataset was not prepared, or the files beside it are gone.
    PlanError
        If these do not fit it, or there are not so many frames. Nothing has been changed.
    NotADataset
        If a document of the dataset cannot be understood. Nothing has been changed.
    OSError
        If the disk fails. What came is stored, and `finish` can be called again.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes, prepare
    >>> dims = dims_from_standard_axes({"t": 5, "y": 4, "x": 8})
    >>> with TemporaryDirectory() as folder:
    ...     root = f"{folder}/cells.ome.zarr"
    ...     made = prepare(compile(AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims)))
    ...     outcome = finish(root, missing=[2])
    >>> outcome.verdict, outcome.frames, outcome.missing.tolist()
    ('complete', 4, [2])
    """
    root = Path(path).expanduser()
    paths = beside(root)
    for needed in (root, paths.places, paths.plan):
        if not needed.exists():
            raise FileNotFoundError(f"{path} was not prepared, or not here: there is no {needed}")
    with problems_in(paths.places):
        said = prepared_from_json(read_regular(paths.places, MOST_DOCUMENT))
    plan = load_plan(paths.plan)
    placement = place(plan)
    shapes: Shapes = tuple(tuple(array["shape"]) for array in said.arrays)
    _require_fit(said, placement, shapes, root)
    told = _told(said, plan, frames, list(missing))
    outcome = Outcome(
        verdict="complete" if plan.frames in (None, told.frames) else "stopped",
        cursor=told.frames,
        missing=[(first, last + 1) for first, last in told.missing],
        writer="direct",
        placed=True,
        root=str(root),
    )
    final = documents(plan, said.stamp, outcome)
    writer = writer_of(plan)
    with located(root):
        writer.open(str(root), plan, (), attach=True)
        try:
            # Said before anything is cut off: if this is interrupted, it cannot be done again with more frames.
            replace_file(paths.places, prepared_to_json(evolve(said, finished=told)))
            for array, shape in enumerate(plan.shapes(told.frames)):
                if shape != shapes[array]:
                    writer.resize(array, shape)
            writer.close(final)
        finally:
            writer.abort()
    if remove:
        for one in (paths.table, paths.plan, paths.places):
            one.unlink(missing_ok=True)
    return outcome


# ── what came ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _require_fit(said: Prepared, placement: Placement, shapes: Shapes, root: Path) -> None:
    """Refuse a list that is not of this plan, and files that are not those that were prepared."""
    planned, name = described(placement, shapes), str(beside(root).places)
    if len(said.stamp.uuids) <= len(placement.plan.layout.files):
        _refuse((name, "stamp", "uuids"), "invalid_file", "must be one for each file, and one more")
    if len(said.arrays) != len(planned):
        _refuse((name, "arrays"), "invalid_file", f"must be {len(planned)}, as planned; got {len(said.arrays)}")
    for number, (listed, array) in enumerate(zip(said.arrays, planned, strict=True)):
        if other := [key for key in array if listed.get(key) != array[key]]:
            _refuse((name, "arrays", number, other[0]), "invalid_file", "is not that of the plan beside it")
    if said.finished is not None:
        return  # What was cut off then is missing now.
    for number, file in enumerate(said.files):
        path = root / file.key.partition("/")[2]  # the dataset may have another name by now
        size = path.stat().st_size if path.exists() else None
        if size != file.size:
            got = "is missing" if size is None else f"has {size} bytes"
            _refuse((name, "files", number), "invalid_file", f"{path} {got}; it was made with {file.size}")


def _told(said: Prepared, plan: Plan, frames: int | None, missing: list[int]) -> Finished:
    """Return what came, if it can be."""
    before = said.finished
    if frames is None and not missing and before is not None:
        return before
    if frames is None:
        frames = plan.frames
    if frames is None:
        _refuse(("frames",), "missing", "the plan has no end: say how many frames came")
    if not 0 <= frames <= said.frames:
        _refuse(("frames",), "invalid_value", f"must be from 0 to {said.frames}, as prepared; got {frames}")
    if before is not None and plan.shapes(max(frames, before.frames)) != plan.shapes(before.frames):
        message = f"was finished with {before.frames}, and what lay beyond was cut off; got {frames}"
        _refuse(("frames",), "conflict", message)
    numbers = plan.rows(0, frames)["frame"]
    absent = np.unique(np.array(missing, np.int64))
    if strange := np.setdiff1d(absent, numbers).tolist():
        _refuse(("missing",), "invalid_value", f"must be numbers of frames that were to come; got {strange[0]}")
    return Finished(frames, tuple(map(tuple, ranges_of(np.flatnonzero(np.isin(numbers, absent))).tolist())))


def _refuse(loc: Loc, kind: str, message: str) -> NoReturn:
    raise PlanError([Problem(loc, kind, message)])
