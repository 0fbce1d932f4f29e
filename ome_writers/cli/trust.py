"""The commands `validate` and `convert`: is a dataset sound, and how does it get into another format?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from ome_writers.cli.console import err, out
from ome_writers.cli.show import say
from ome_writers.datasets.words import NotADataset
from ome_writers.validation import Report, validate as validated

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


def report_view(report: Report) -> Table:
    """Show what every check found."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for name in ("check", "result", "where", "what"):
        table.add_column(name, overflow="fold")
    for check in report.checks:
        table.add_row(check.name, Text(check.result, _STYLES[check.result]), Text(check.location), Text(check.message))
    return table
