"""What the lower floors ask of those above them, by name, since they may not import them.

A value that Jupyter shows is asked for its picture itself, and settings have to know which writers there are. Neither
can be had without what only the upper floors know: the machine, and what is installed. So that a floor above is not
reached in secret, all such questions go through `ask`; tests/test_floors.py lists who may put them.
"""

from __future__ import annotations

import importlib
from typing import Any


def ask(module: str, question: str, *values: object) -> Any:
    """Return the answer of a function of this package.

    Examples
    --------
    >>> ask("units", "ngff_name", "um", "space")
    'micrometer'
    """
    return getattr(importlib.import_module(f"ome_writers.{module}"), question)(*values)


class Shown:
    """A value that shows itself in Jupyter, and in whatever else asks for `_repr_html_`."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(ask("display", "html_of", self))
