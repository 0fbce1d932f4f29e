"""A progress bar for those who watch a run in a terminal."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ome_writers.errors import PlanError, Problem


@contextmanager
def bar(total: int | None, *, shown: bool, what: str = "frames") -> Iterator[Callable[[int], None]]:
    """Show how far a run has come; yields the function to tell it the number of frames (or `what`) that are done.

    Raises
    ------
    PlanError
        If it shall be shown and `rich` is not installed.
    """
    if not shown:
        yield _ignore
        return
    if importlib.util.find_spec("rich") is None:
        message = "a progress bar needs the library 'rich', which is not installed: pip install 'ome-writers[cli]'"
        raise PlanError([Problem(("progress",), "missing_library", message)])
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(what, total=total, rate="")

        def advance(done: int) -> None:
            speed = progress.tasks[task].speed
            progress.update(task, completed=done, rate=f"{speed:.0f}/s" if speed else "")

        yield advance


def _ignore(done: int) -> None:
    """Show nothing."""
