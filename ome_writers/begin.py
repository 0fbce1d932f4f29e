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
from ome_writers.plan import Plan
from ome_writers.run import Run
from ome_writers.writer import Documents, Writer, choose_writer, unmet, writer_named

Backend = str | Writer | None


def begun(plan: Plan, backend: Backend) -> Run:
    """Create the dataset and return the run; until the writer has made it, nothing is lost or deleted."""
    writer = choose_writer(plan) if backend is None else writer_named(backend) if isinstance(backend, str) else backend
    if not isinstance(writer, Writer):
        raise PlanError(
            [Problem(("backend",), "invalid_type", f"must be a name or satisfy the Protocol Writer; got {backend!r}")]
        )
    if problems := unmet(plan, writer.capabilities):
        raise PlanError(problems)
    if plan.settings.buffer_bytes:
        from ome_writers.writers.ring import BufferedWriter

        writer = BufferedWriter(writer, plan.settings.buffer_bytes)
    settings, stamp = plan.settings, _stamp(plan)
    root = os.path.expanduser(settings.output_path)  # noqa: PTH111 - may be a URL
    run = Run(plan, writer, root, stamp)
    able = writer.capabilities
    described = documents(plan, stamp, Outcome(writer=able.name, root=root, placed=able.positioned))
    if able.persistent and root and not is_url(root):
        _create(run, described)
    else:
        with _room_at_url(root, overwrite=settings.overwrite):
            writer.open(root, plan, described)
    return run


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


def _create(run: Run, described: Documents) -> None:
    """Create the dataset at a path, and have the run hold the lock on it."""
    from ome_writers.lock import Lock
    from ome_writers.space import nothing_reserved, require_space
    from ome_writers.target import require_free, room_at

    plan, writer, root, overwrite = run.plan, run.writer, run.root, run.plan.settings.overwrite
    require_space(plan, root, overwrite=overwrite)
    if not overwrite:
        require_free(root, overwrite=False)
    lock = Lock(Path(root))
    try:
        with room_at(root, overwrite=overwrite) as room:
            if not room.replaces:
                writer.open(root, plan, described)
            else:
                with nothing_reserved():
                    writer.open(str(room.at), plan, described)
                # Where a file is open, it cannot be renamed.
                writer.abort()
                room.move_in()
                writer.open(root, plan, described, attach=True)
    except BaseException:
        lock.release()
        raise
    run.held = lock


def _stamp(plan: Plan) -> Stamp:
    import uuid

    return Stamp(now=datetime.now(UTC), uuids=tuple(str(uuid.uuid4()) for _ in range(len(plan.layout.files) + 1)))
