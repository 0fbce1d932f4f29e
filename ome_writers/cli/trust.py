"""The commands `validate` and `convert`: is a dataset sound, and how does it get into another format?"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from ome_writers.cli.console import err, out
from ome_writers.cli.show import near, say
from ome_writers.errors import NotADataset, PlanError, Problem
from ome_writers.validation import Report
from ome_writers.validation import validate as validated

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "not run": "dim"}


def validate(path: Path, /) -> int:
    """Check a dataset: structure, metadata, and that every chunk or page is present and can be decoded.

    Reads every pixel once and changes nothing. Knows OME-Zarr 0.4 and 0.5 and OME-TIFF, whoever wrote them. The exit
    code is 0 if nothing failed (warnings do not count), 1 if something did, and 2 if PATH is no dataset.

    Example: `ome-writers validate demo.ome.zarr`

    Parameters
    ----------
    path
        An OME-Zarr folder, a TIFF file, or a folder of OME-TIFF files.
    """
    try:
        report = validated(path, progress=out.is_terminal)
    except (FileNotFoundError, NotADataset) as error:
        say(err, str(error))
        return 2
    out.print(report_view(report))
    counts = {result: sum(check.result == result for check in report.checks) for result in _STYLES}
    told = [f"{count} {result}" for result, count in counts.items() if count and result != "ok"]
    say(out, f"{path}: {report.kind}, {'sound' if report.sound else 'not sound'}{''.join(f', {one}' for one in told)}")
    return 0 if report.sound else 1


def convert(  # noqa: PLR0913 - the flags of a command
    source: Path,
    target: str,
    /,
    *,
    axes: str | None = None,
    change: Annotated[tuple[str, ...], Parameter("--set", negative=())] = (),
    compression: str | None = None,
    backend: str | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a dataset or recorded images in another format, frame by frame, and keep what is known of them.

    SOURCE is OME-Zarr or OME-TIFF, whoever wrote it; or .npy, plain TIFF, a folder of images, a Micro-Manager stack, or
    a folder of NDTiff. The suffix of TARGET chooses the format. Ctrl-C leaves a valid dataset of the frames so far.

    Example: `ome-writers convert demo.ome.zarr demo.ome.tiff`

    Example: `ome-writers convert stack.tif stack.ome.zarr --axes tz --set dimensions.z.chunk_size=5`

    Parameters
    ----------
    source
        What is to be converted.
    target
        Where it goes.
    axes
        Names of the axes that the source does not name itself, the slowest first, such as tcz.
    change
        Another setting, such as dimensions.y.chunk_size=256; can be given several times.
    compression
        blosc-zstd, blosc-lz4, zstd or gzip for OME-Zarr; lzw, zlib or zstd for OME-TIFF.
    backend
        Name of the writer, such as tensorstore or tifffile.
    overwrite
        Replace a dataset that stands there.
    """
    from ome_writers.conversion import convert as converted

    options = dict(map(setting, change))
    options |= {"compression": compression} if compression else {}
    options |= {"overwrite": True} if overwrite else {}
    start = time.perf_counter()
    outcome = converted(source, target, axes=axes, backend=backend, progress=out.is_terminal, **options)
    seconds = time.perf_counter() - start
    root, absent = near(outcome.root), outcome.cursor - outcome.frames
    missing = f", {absent} missing" if absent else ""
    say(
        out,
        f"{root}: {outcome.verdict}, {outcome.frames} frames{missing} in {seconds:.1f} s ({outcome.writer})",
    )
    if outcome.error:
        say(err, outcome.error)


def setting(text: str) -> tuple[str, Any]:
    """Return the path and the value that a text gives; what is no JSON is text.

    Examples
    --------
    >>> setting("dimensions.z.chunk_size=4"), setting("compression=gzip")
    (('dimensions.z.chunk_size', 4), ('compression', 'gzip'))
    """
    path, equals, value = text.partition("=")
    if not equals:
        message = f"must be PATH=VALUE, such as dimensions.z.chunk_size=4; got {text!r}"
        raise PlanError([Problem(("set",), "invalid_value", message)])
    try:
        return path.strip(), json.loads(value)
    except ValueError:
        return path.strip(), value


def report_view(report: Report) -> Table:
    """Show what every check found."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for name in ("check", "result", "where", "what"):
        table.add_column(name, overflow="fold")
    for check in report.checks:
        table.add_row(check.name, Text(check.result, _STYLES[check.result]), Text(check.location), Text(check.message))
    return table
