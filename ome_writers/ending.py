"""How a run ends that its caller does not close: by an error, or because nobody holds it any more."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

from ome_writers.run import Run
from ome_writers.writer import THREADS

if TYPE_CHECKING:
    from ome_writers.events import Events


def close_after(run: Run, error: BaseException) -> None:
    """Close a run that `error` has ended; that is on its way to the caller, and what closing adds is noted in it."""
    try:
        outcome = run.close(error)
        error.add_note(f"{run.root or 'the stream'} holds {outcome.frames} frames ({outcome.verdict})")
    except Exception as further:  # noqa: BLE001 - the first error is the one to see
        if further is not error:
            error.add_note(f"and at closing: {further}")


def close_forgotten(run: Run, heard: list[Events]) -> None:
    """Close a run that nobody holds any more, and say so."""
    if run.outcome is not None or run.disowned:
        return

    def end() -> None:
        try:
            run.close()
        finally:
            for events in heard:
                events.close()

    try:
        if threading.current_thread().name.startswith(THREADS):
            # Garbage may be collected in a thread that closing waits for.
            threading.Thread(target=end, name="closing").start()
        else:
            end()
    finally:
        warnings.warn("a stream was not closed; use it in a `with` statement", ResourceWarning, stacklevel=2)
