"""Given names of libraries, this answers: are they installed, and if not, what does a user do?"""

from __future__ import annotations

import importlib.util


def require(*libraries: str, what: str, extra: str) -> None:
    """Say which extra installs a library that is missing.

    Raises
    ------
    ModuleNotFoundError
        If one of them is.

    Examples
    --------
    >>> require("papyrus", what="a scroll", extra="plot")
    Traceback (most recent call last):
    ModuleNotFoundError: a scroll needs the library 'papyrus', which is not installed: pip install 'ome-writers[plot]'
    """
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            message = f"{what} needs the library {name!r}, which is not installed: pip install 'ome-writers[{extra}]'"
            raise ModuleNotFoundError(message, name=name)
