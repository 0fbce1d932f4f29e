"""The command line `ome-writers`: `app.py` runs it if its libraries are installed; if not, this says what to do."""

from __future__ import annotations

import importlib.util
import signal
import sys
from typing import NoReturn

_LIBRARIES = ("cyclopts", "rich")


def main() -> int:
    """Run the command line and return its exit code: 0 well, 1 problems were found or the run failed, 2 wrong usage."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        # Written before any of them is imported, since this is all that can be said without them.
        sys.stderr.write(f"The command line needs {' and '.join(missing)}: pip install 'ome-writers[cli]'\n")
        return 1
    from ome_writers.cli.app import run

    # Who ends the program politely (a service manager, the shutdown of the machine) ends a run as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    return run(sys.argv[1:])


def _interrupt(number: int, frame: object) -> NoReturn:  # noqa: ARG001 - as handlers are called
    raise KeyboardInterrupt
