"""The command `bench`: what it takes, and how what it measured looks in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from attrs import asdict
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ome_writers.cli.console import out
from ome_writers.errors import Problem, SettingsError
from ome_writers.files import load
from ome_writers.serial import settings_from
from ome_writers.settings import AcquisitionSettings
from ome_writers.sights import size

if TYPE_CHECKING:
    from ome_writers.bench.overhead import Figure
    from ome_writers.bench.results import Comparison, Spread

Count = Annotated[int, Parameter(validator=Number(gte=1))]

_USUAL = "t:128,y:1024,x:1024"
_BOTH = ("ome-zarr", "ome-tiff")


def bench(  # noqa: PLR0913 - all but the first are named, and may be left out
    settings: Path | None = None,
    /,
    *,
    dimensions: Annotated[str | None, Parameter(name=("--dimensions", "-d"))] = None,
    dtype: str | None = None,
    shard: str = "",
    format: Literal["ome-zarr", "ome-tiff"] | None = None,  # noqa: A002 - the word that users know
    compression: str | None = None,
    buffer_bytes: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    writers: str | None = None,
    frames: Count | None = None,
    repeats: Count = 3,
    folder: Path | None = None,
    overhead: Annotated[bool, Parameter(negative=())] = False,
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Measure the writers on this machine against the bare disk: plain writes of the same frames to one file.

    Each writer has a process of its own in each round, they take turns in going first, and the disk is synchronised
    before each. What they write is removed again.

    Example: `ome-writers bench -d t:200,y:2048:256,x:2048:256 --shard t:100,y:8,x:8 --folder . --repeats 5`

    Parameters
    ----------
    settings
        A .json, .toml or .yaml file that says what to write; or say it with -d.
    dimensions
        For each dimension name:count:chunk:shard, the slowest first, by default t:128,y:1024,x:1024. Chunks are counted
        in frames or pixels, shards in chunks; what is left out is the default.
    dtype
        Of the pixels; uint16 by default.
    shard
        name:chunks for the dimensions that have shards, if -d does not say it.
    format
        By default that of the settings file, or else both.
    compression
        Such as blosc-lz4, or none.
    buffer_bytes
        Write behind a ring of buffers of so many bytes, so that `append` does not wait for the disk.
    writers
        Names with commas between them; by default all that are installed and can do it.
    frames
        No more than so many are written (with --overhead: go through `write` and `append`).
    repeats
        How many rounds.
    folder
        A folder on the disk to measure; by default the one for temporary files.
    overhead
        Measure what a frame costs where none reaches a disk, instead.
    json
        Where to save all that was measured.
    plot
        Where to draw it: a .png, .svg or .pdf.
    """
    _require_writable(json, plot)
    if overhead:
        return _overhead(frames or 100_000, json)
    from ome_writers.bench import chart
    from ome_writers.bench.contenders import contenders, variants
    from ome_writers.bench.race import compare
    from ome_writers.bench.results import as_json

    wanted = _wanted(settings, dimensions, dtype, shard)
    formats = (format,) if format else () if settings else _BOTH
    ready, impossible = variants(wanted, formats, compression=compression, buffer_bytes=buffer_bytes)
    able, unable = contenders(ready, [name.strip() for name in writers.split(",")] if writers else None)
    if not able:
        for one in unable:
            out.print(Text(f"{one.name}: {one.reason}"))
        return 1
    with out.status("measuring") if out.is_terminal else nullcontext() as status:
        tell: Callable[[str], Any] = str if status is None else status.update
        compared = compare(able, [*impossible, *unable], folder=folder, rounds=repeats, frames=frames, tell=tell)
    out.print(comparison_view(compared))
    _save(json, as_json(compared))
    if plot is not None:
        chart.draw(compared, plot)
    return int(compared.failed)


def _wanted(file: Path | None, dimensions: str | None, dtype: str | None, shard: str) -> AcquisitionSettings:
    from ome_writers.bench.contenders import dimensions_from

    if file is None:
        found = dimensions_from(dimensions or _USUAL, shard)
        return settings_from({"root_path": "bench.ome.zarr", "dtype": dtype or "uint16", "dimensions": found})
    given = {"dimensions": dimensions, "dtype": dtype, "shard": shard}
    problems = [
        Problem((name,), "conflict", f"is what {file} says; give one or the other") for name in given if given[name]
    ]
    if problems:
        raise SettingsError(problems)
    return load(file)


def _overhead(frames: int, json: Path | None) -> int:
    from ome_writers.bench.overhead import overhead

    with out.status("measuring") if out.is_terminal else nullcontext():
        measured = list(overhead(frames))
    out.print(figures_view(measured))
    _save(json, [asdict(figure) for figure in measured])
    return 0


def _require_writable(json: Path | None, plot: Path | None) -> None:
    """Say at once what would be a pity to hear of after minutes of measuring."""
    for path in (json, plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    if plot is not None and find_spec("matplotlib") is None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")


def _save(path: Path | None, values: Any) -> None:
    if path is not None:
        path.write_text(dumps(values, indent=2) + "\n", "utf-8")


# ── how it looks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def duration(seconds: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> duration(2.5e-6), duration(0.0123), duration(75)
    ('2.5 µs', '12 ms', '75 s')
    """
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            value = seconds * factor
            break
    return f"{value:.{0 if value >= 10 else 1}f} {unit}"  # noqa: PLR2004 - two digits


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show how fast each contender was, and who could not take part."""
    from ome_writers.bench.results import summaries

    height, width = comparison.shape
    amount = size(comparison.frames * comparison.frame_bytes)
    title = f"{comparison.frames} frames of {height} × {width} {comparison.dtype}, {amount}, on {comparison.folder}"
    rates = _table("", "MB/s", "× floor", "append: half", "99 %", "worst")
    means = _table("", "create", "close", "memory", "library", "files", "stored", "open")
    failed: list[Text] = []
    summed = summaries(comparison)
    for result, row in zip(comparison.results, summed, strict=True):
        name = Text(result.contender.name)
        if row is not None:
            ratio = None if result.contender.writer is None else row.ratio
            waits = (duration(value) for value in (row.p50, row.p99, row.worst))
            rates.add_row(name, _spread(row.rate, 1e-6, 0), _spread(ratio, 1, 2), *waits)
            times = (duration(value) for value in (row.create, row.close))
            opened = "-" if row.descriptors is None else str(row.descriptors)
            means.add_row(
                name, *times, _size(row.memory), _size(row.libraries), str(row.files), _size(row.stored), opened
            )
        if result.error is not None:
            failed.append(Text(f"{result.contender.name} failed: {result.error}", style="red"))
    notes = [Text(f"{one.name} cannot: {one.reason}", style="dim") for one in comparison.refused]
    floor = summed[0]
    if floor is not None and floor.synced is not None:
        notes.insert(0, Text(f"\nthe floor with an fsync: {_spread(floor.synced, 1e-6, 0)} MB/s", style="dim"))
    return Group(Text(title, style="bold"), rates, means, *notes, *failed)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _size(count: int | None) -> str:
    return "-" if count is None else size(count)


def _spread(spread: Spread | None, factor: float, digits: int) -> str:
    if spread is None:
        return ""
    middle, least, most = (f"{value * factor:.{digits}f}" for value in (spread.median, spread.least, spread.most))
    return middle if least == most else f"{middle} ({least}–{most})"


def figures_view(measured: Iterable[Figure]) -> Table:
    """Show measured numbers, each beside the one that it should not exceed."""
    table = Table(box=None, header_style="bold")
    table.add_column("measured", overflow="fold")
    table.add_column("", justify="right")
    table.add_column("goal", justify="right")
    for figure in measured:
        table.add_row(
            Text(figure.what),
            f"{figure.value:,.{0 if figure.value >= 100 else 2}f} {figure.unit}",  # noqa: PLR2004 - three digits
            "" if figure.goal is None else f"≤ {figure.goal:g} {figure.unit}",
        )
    return table
