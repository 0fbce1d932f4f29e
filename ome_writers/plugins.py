"""Writers that other packages bring: which there are, and what came of loading one.

A package names its writers in its own `pyproject.toml`, each with what makes it (a class, or a function without
arguments):

    [project.entry-points."ome_writers.writers"]
    hdf5 = "my_package:Hdf5Writer"

Then `"hdf5"` may stand wherever the name of a writer may, in settings too. The installed packages are looked at only
when a name is asked for that is none of this package's, and a writer is imported only when it is the one: one that is
broken disturbs no other. None is ever taken without being named, and none can take the name of one of this package's.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from ome_writers.errors import PlanError, Problem
from ome_writers.writer import WRITERS, Writer

GROUP: Final = "ome_writers.writers"
_UNKNOWN: Final = "unknown_writer"


def plugin_names() -> tuple[str, ...]:
    """Return the names of writers that other packages bring, in lower case.

    Examples
    --------
    >>> "direct" in plugin_names()  # which is our own
    False
    """
    return tuple(sorted({one.name.lower() for one in entry_points(group=GROUP)} - {*WRITERS, "auto"}))


def plugin(name: str) -> Writer:
    """Make the writer of that name that another package brings.

    Raises
    ------
    PlanError
        If none does, or several do, or if it cannot be loaded or is no writer; names the package.

    Examples
    --------
    >>> plugin("papyrus")
    Traceback (most recent call last):
    ome_writers.errors.PlanError: backend: must be one of ...
    """
    wanted = name.lower()
    found = [one for one in entry_points(group=GROUP) if one.name.lower() == wanted and wanted not in WRITERS]
    if not found:
        known = ", ".join(map(repr, (*WRITERS, *plugin_names())))
        raise _refused(_UNKNOWN, f"must be one of {known}; got {name!r}")
    if len({one.value for one in found}) > 1:
        packages = ", ".join(_package(one) for one in found)
        raise _refused("conflict", f"more than one package brings a writer {name!r}: {packages}; uninstall all but one")
    return _made(found[0])


def format_for(name: str, wanted: str) -> str | Problem | None:
    """Return the format that the word `name` stands for: `wanted`, if the writer of that name does it, else its own.

    `None` if there is no such writer; the problem, if it cannot be had.

    Examples
    --------
    >>> format_for("papyrus", "ome-zarr") is None
    True
    """
    try:
        formats = plugin(name).capabilities.formats
    except PlanError as error:
        return None if error.problems[0].kind == _UNKNOWN else error.problems[0]
    return wanted if wanted in formats else min(formats, default=wanted)


def _made(point: EntryPoint) -> Writer:
    try:
        writer = point.load()()
        able = writer.capabilities
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        message = f"the writer {point.name!r} of the package {_package(point)} cannot be loaded ({said})"
        raise _refused("broken_writer", f"{message}; repair or uninstall that package") from error
    if not isinstance(writer, Writer) or not hasattr(able, "formats"):
        members = ("capabilities", "open", "resize", "write", "read", "flush", "close", "abort")
        lacks = ", ".join(name for name in members if not hasattr(writer, name)) or "capabilities of the right type"
        message = f"the writer {point.name!r} of the package {_package(point)} is none: it lacks {lacks}"
        raise _refused("broken_writer", message)
    return writer


def _package(point: EntryPoint) -> str:
    return repr(point.dist.name if point.dist else point.value)


def _refused(kind: str, message: str) -> PlanError:
    return PlanError([Problem(("backend",), kind, message)])
