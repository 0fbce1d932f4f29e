"""The beginning of a run: a writer is chosen and asked whether it can, room is made, and the dataset is created."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ome_writers.casts import is_url
from ome_writers.documents import Outcome, Stamp, documents
from ome_writers.errors import PlanError, Problem
from ome_writers.journal import new_journal
from ome_writers.journal_file import Begun
from ome_writers.plan import Plan
from ome_writers.run import Run
from ome_writers.writer import Documents, Writer, choose_writer, unmet, writer_named
from ome_writers.writers.files import located

Backend = str | Writer | None


def begun(plan: Plan, backend: Backend) -> Run:
    """Create the dataset and return the run; until the writer has made it, nothing is lost or deleted."""
    writer, stamp = writer_for(plan, backend), _stamp(plan)
    root = standing(plan.settings.output_path)
    with located(root):
        if writer.capabilities.persistent and root and not is_url(root):
            run = _created(plan, writer, root, stamp)
        else:
            run = Run(plan, writer, root, stamp)
            with _room_at_url(root, overwrite=plan.settings.overwrite):
                writer.open(root, plan, _described(run))
        run.begin_syncing()
    return run


def standing(path: str | os.PathLike[str]) -> str:
    """Return a path that means the same wherever the program goes from here; a URL, or no path, stays as it is."""
    given = os.fspath(path)
    if not given or is_url(given):
        return given
    whole = Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 - a name may begin so where there is no such user
    # Not all libraries know what `..` means, and behind a link it is not what stands before it in the path.
    return str(Path(os.path.realpath(whole.parent), whole.name) if ".." in whole.parts else whole)


def writer_for(plan: Plan, backend: Backend) -> Writer:
    """Return what stores a plan, behind a ring of buffers if the settings say so.

    Raises
    ------
    PlanError
        If there is none, or it cannot do the plan.
    """
    writer = choose_writer(plan) if backend is None else writer_named(backend) if isinstance(backend, str) else backend
    if not isinstance(writer, Writer):
        raise PlanError(
            [Problem(("backend",), "invalid_type", f"must be a name or satisfy the Protocol Writer; got {backend!r}")]
        )
    if problems := unmet(plan, writer.capabilities):
        raise PlanError(problems)
    if plan.settings.buffer_bytes:
        from ome_writers.writers.buffered import BufferedWriter

        writer = BufferedWriter(writer, plan.settings.buffer_bytes)
    return writer


@contextmanager
def _room_at_url(root: str, *, overwrite: bool) -> Iterator[None]:
    """Say of what stands at a URL that it is never replaced.

    There is no renaming in a store of objects: the old dataset would have to go before the new one stands.
    """
    try:
        yield
    except FileExistsError as error:
        if not overwrite or not is_url(root):
            raise
        message = f"overwrite: {root} exists, and only datasets on local disks are replaced"
        raise FileExistsError(f"{message}; nothing was changed: remove it yourself, or give another path") from error


def _created(plan: Plan, writer: Writer, root: str, stamp: Stamp) -> Run:
    """Create the dataset at a path, with a journal beside it; the run holds the lock on it."""
    from ome_writers.lock import Lock
    from ome_writers.space import nothing_reserved, require_space
    from ome_writers.target import put_back, require_free, room_at

    overwrite, able = plan.settings.overwrite, writer.capabilities
    require_space(plan, root, overwrite=overwrite)
    if not overwrite:
        require_free(root, overwrite=False)
    lock = Lock(Path(root))
    try:
        if overwrite:
            put_back(root)
        with (
            room_at(root, overwrite=overwrite) as room,
            new_journal(root, plan, Begun(able.name, stamp)) as journal,
        ):
            run = Run(plan, writer, root, stamp, journal)
            if not room.replaces:
                writer.open(root, plan, _described(run))
            else:
                with nothing_reserved():
                    writer.open(str(room.at), plan, _described(run))
                # Where a file is open, it cannot be renamed.
                writer.abort()
                room.move_in()
                writer.open(root, plan, _described(run), attach=True)
    except BaseException:
        lock.release()
        raise
    run.held = lock
    return run


def _described(run: Run) -> Documents:
    able = run.writer.capabilities
    return documents(run.plan, run.stamp, Outcome(writer=able.name, root=run.root, placed=able.positioned))


def _stamp(plan: Plan) -> Stamp:
    import uuid

    return Stamp(now=datetime.now(UTC), uuids=tuple(str(uuid.uuid4()) for _ in range(len(plan.layout.files) + 1)))
