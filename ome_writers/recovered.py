"""Given the path of a dataset whose run was interrupted, this brings it to its best final state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ome_writers.begin import Backend, standing
from ome_writers.datasets import read_dataset
from ome_writers.datasets.facts import facts_from
from ome_writers.documents import Outcome, Verdict
from ome_writers.errors import NotADataset
from ome_writers.journal import journal_folder
from ome_writers.lock import Lock
from ome_writers.manifest import MANIFEST
from ome_writers.readers import noted
from ome_writers.resumed import recovered
from ome_writers.target import absent, aside, put_back


def recover(path: str | os.PathLike[str], backend: Backend = None) -> Outcome:
    """Bring a dataset whose run was interrupted to its best final state, and return what it holds.

    While a run lasts, a journal beside the dataset (`cells.ome.zarr.journal`) says which frames came, with their
    metadata, and keeps those that rest in unfinished chunks. From it the pixels and documents are completed, and arrays
    are cut to what came. It can be interrupted and called again. A run that was stopped may be gone on with after that,
    with `create_stream(settings, resume=True)`. No other process may be writing. If the process was killed while it was
    replacing the dataset, the old one is put back.

    Parameters
    ----------
    path
        The dataset.
    backend
        The writer, if it was one of your own.

    Raises
    ------
    FileNotFoundError
        If there is no dataset, or it needs its journal and that is gone; the message says what can be done.
    FileExistsError
        If another stream is writing it.
    PlanError
        If the journal cannot be understood, or the writer is not installed.
    NotADataset
        If a document of the dataset cannot be understood; a `ValueError` that begins with its path.
    OSError
        If the disk fails; says where.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 3, "y": 8, "x": 8})
    >>> with TemporaryDirectory() as folder:
    ...     settings = AcquisitionSettings(root_path=f"{folder}/a.ome.zarr", dtype="uint8", dimensions=dims)
    ...     with create_stream(settings) as stream:
    ...         stream.append(np.ones((8, 8), "uint8"))
    ...     outcome = recover(f"{folder}/a.ome.zarr")
    >>> outcome.verdict, outcome.frames
    ('stopped', 1)
    """
    root = standing(path)
    _undo_replacing(root)
    claimed = None
    with suppress(OSError, ValueError):  # nothing that it could say, as of a run that did not end
        claimed = _as_it_says(root)
    outcome = recovered(root, backend, claimed)
    if outcome is not None:
        return outcome
    if not os.path.lexists(root):
        raise absent(path)
    return _as_it_says(root)


def _undo_replacing(root: str) -> None:
    """Put back what a process was replacing when it was killed: its journal tells of what never came to stand here."""
    if not aside(Path(root), "new") and (os.path.lexists(root) or not aside(Path(root), "replaced")):
        return
    lock = Lock(Path(root))
    try:
        put_back(root)
    finally:
        lock.release()


def _as_it_says(root: str) -> Outcome:
    """Return what a dataset without a journal says of itself."""
    said = _said(root)
    verdict: Verdict | None = said.get("verdict")
    if verdict in ("complete", "stopped", "failed"):
        # Numbers of frames are places in a plan that is whole; of another the journal stays.
        facts = facts_from(said)
        cursor, missing = (said["frames"], ()) if facts is None else (facts.cursor, facts.missing)
        return Outcome(verdict=verdict, cursor=cursor, missing=missing, error=said.get("error"), root=root)
    if verdict is None:
        raise FileNotFoundError(f"{root} does not say how its run ended, nor is there a journal: nothing to recover")
    raise FileNotFoundError(
        f"the run of {root} did not end, and its journal, {journal_folder(root).name}, is not beside it. The pixels "
        "can be read as they are; which frames came, and what rested in unfinished chunks, cannot be told without it"
    )


def _said(root: str) -> Mapping[str, Any]:
    """Return what the documents of a dataset say of its run."""
    if not Path(root, MANIFEST).is_file():
        read_dataset(root)  # which knows better why something is none
    said = noted(root)
    frames = said.get("frames")
    if said and (not isinstance(frames, int) or not isinstance(said.get("error"), str | None)):
        raise NotADataset(f"{root}: what its documents say of its run cannot be understood")
    return said
