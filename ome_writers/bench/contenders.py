"""Given what shall be written, this answers: which writers of this machine can do it, and why not the others?

1. `dimensions_from` reads the short notation of the command line, `t:200,y:2048:256,x:2048:256`.
2. `variants` makes settings of it for each format that is to be measured.
3. `contenders` pairs them with writers. What cannot take part is told with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from ome_writers.errors import PlanError, Problem, SettingsError
from ome_writers.formats import Format
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings
from ome_writers.writer import WRITERS, unmet, writer_named

_FIELDS: Final = ("name", "count", "chunk_size", "shard_size_chunks")
_STEM: Final = "bench"


@frozen
class Contender:
    """Somebody who writes the frames."""

    name: str
    writer: str | None = None
    """Name of a writer; `None` is the floor, plain writes to one file."""
    settings: AcquisitionSettings | None = None
    """What is written, at a path relative to a folder that each run has for itself."""


FLOOR: Final = Contender("plain writes to one file")


@frozen
class Refused:
    """Somebody who cannot take part."""

    name: str
    reason: str


def dimensions_from(text: str, shards: str = "") -> list[dict[str, object]]:
    """Return the dimensions that a text stands for, as a settings file would have them.

    Parameters
    ----------
    text
        For each dimension `name:count:chunk:shard`, the slowest first: frames or pixels, then those in a chunk, then
        chunks in a shard. What is left out, or empty, is the default; no count means without end.
    shards
        `name:chunks` for some of them, for those who would rather say that apart.

    Raises
    ------
    SettingsError
        If it cannot be read. What is not a number stays as it is; that is for the rules of the settings to judge.

    Examples
    --------
    >>> dimensions_from("t:200,y:2048:256,x:2048", "t:100")[:2]
    [{'name': 't', 'count': 200, 'shard_size_chunks': 100}, {'name': 'y', 'count': 2048, 'chunk_size': 256}]
    >>> dimensions_from("t:9,y:64:32:2:1")
    Traceback (most recent call last):
    ome_writers.errors.SettingsError: dimensions.1: must be name:count:chunk:shard; got 'y:64:32:2:1'
    """
    problems: list[Problem] = []
    found: list[dict[str, object]] = []
    for number, part in enumerate(text.split(",")):
        values = part.strip().split(":")
        if len(values) > len(_FIELDS) or not values[0]:
            message = f"must be name:count:chunk:shard; got {part!r}"
            problems.append(Problem(("dimensions", number), "syntax", message))
        given = zip(_FIELDS, values, strict=False)
        found.append({field: _number(value) if field != "name" else value for field, value in given if value})
    by_name = {dimension.get("name"): dimension for dimension in found}
    for part in shards.split(",") if shards else ():
        name, _, chunks = part.strip().partition(":")
        if name not in by_name:
            message = f"names no dimension; they are {', '.join(map(str, by_name))}"
            problems.append(Problem(("shard", name), "invalid_value", message))
        elif "shard_size_chunks" in by_name[name]:
            problems.append(Problem(("shard", name), "conflict", "the dimensions say it, too; say it once"))
        else:
            by_name[name]["shard_size_chunks"] = _number(chunks)
    if problems:
        raise SettingsError(problems)
    return found


def _number(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        return text


def variants(
    settings: AcquisitionSettings,
    formats: Iterable[str] = (),
    *,
    compression: str | None = None,
    buffer_bytes: int | None = None,
) -> tuple[list[AcquisitionSettings], list[Refused]]:
    """Return the settings for each format, or for their own if none is given, and which formats cannot be.

    What is not `None` replaces what the settings say.

    Raises
    ------
    SettingsError
        If there is no format that can.
    """
    wanted: list[str | Format] = [*formats] or [settings.format]
    changes: dict[str, Any] = {"compression": compression, "buffer_bytes": buffer_bytes}
    changes = {name: value for name, value in changes.items() if value is not None}
    made: list[AcquisitionSettings] = []
    refused: list[Refused] = []
    problems: list[Problem] = []
    for format_ in wanted:
        suffix = {"ome-tiff": ".ome.tiff", "ome-zarr": ".ome.zarr"}.get(str(format_), "")
        try:
            one = evolve(settings, root_path=_STEM + suffix, format=format_, overwrite=False, **changes)
            compile(one)
        except SettingsError as error:
            problems += error.problems
            refused.append(Refused(str(format_), "; ".join(map(str, error.problems))))
        else:
            made.append(one)
    if not made:
        raise SettingsError(dict.fromkeys(problems))
    return made, refused


def contenders(
    settings: Iterable[AcquisitionSettings], writers: Sequence[str] | None = None
) -> tuple[list[Contender], list[Refused]]:
    """Return who writes each of the settings, and who cannot; without names, every writer that stores on disk.

    Raises
    ------
    PlanError
        If there is no writer of a name.

    Examples
    --------
    >>> from ome_writers import dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "y": 8, "x": 8})
    >>> endless = AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)
    >>> able, unable = contenders([endless], ["memory", "tifffile"])
    >>> [one.name for one in able], [(one.name, one.reason) for one in unable]
    (['memory, ome-zarr'], [('tifffile', "format: tifffile writes ome-tiff; got 'ome-zarr'")])
    """
    able: list[Contender] = []
    unable: list[Refused] = []
    plans = [compile(one) for one in settings]
    for name in WRITERS if writers is None else writers:
        suited = [plan for plan in plans if name in WRITERS and plan.settings.format.name in WRITERS[name].formats]
        # A writer that was asked for by name is told of in any case.
        for plan in suited or (plans[:1] if writers else []):
            who = f"{name}, {plan.settings.format.name}" if suited else name
            problems, kept = _hindrances(name, plan)
            if problems:
                unable.append(Refused(who, "; ".join(map(str, problems))))
            elif kept or writers:
                able.append(Contender(who, name, plan.settings))
    return able, unable


def _hindrances(name: str, plan: Plan) -> tuple[Sequence[Problem], bool]:
    """Return what keeps a writer from a plan, and whether anything of it would be kept on disk."""
    try:
        capabilities = writer_named(name).capabilities
    except PlanError as error:
        if any(problem.kind == "unknown_writer" for problem in error.problems):
            raise
        return error.problems, True
    return unmet(plan, capabilities), capabilities.persistent
