"""The commands `watch`, `preview` and `view`: they look at a dataset, while it is written or later."""

from __future__ import annotations

import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ome_writers.cli.console import err, out
from ome_writers.cli.show import say
from ome_writers.sights import columns

_NO_DATASET = 2
_INTERRUPTED = 130
"""What shells say of a program that Ctrl-C ended."""


def watch(
    path: Path,
    /,
    *,
    every: Annotated[float, Parameter(validator=Number(gt=0))] = 1.0,
    progress: bool | None = None,
) -> int:
    """Follow an acquisition that another program writes, until it has ended.

    Shows how many frames came, how fast, and how long it will take. While it goes on, its journal counts the frames;
    where there is none they are found by their pixels: the last one that is not all zeros. Exits with 0 if all that was
    planned came, 1 if it was stopped or failed or its program was killed, 2 if there is no dataset, 130 after Ctrl-C,
    which ends nothing but the watching.

    Example: `ome-writers watch cells.ome.zarr`

    Parameters
    ----------
    path
        The folder or file.
    every
        Seconds between two looks, at least.
    progress
        Show it while it lasts also where the output is no terminal, a line for each look; or not even in a terminal.
    """
    from ome_writers.progress import Terminal
    from ome_writers.watching import follow

    lines = progress is True and not out.is_terminal
    verdict, gone = None, False
    with ExitStack() as stack:
        shown = None
        try:
            for seen in follow(path, every):
                verdict, gone = seen[-1].verdict, seen[-1].gone
                if shown is None and (out.is_terminal if progress is None else progress) and not lines:
                    shown = Terminal(out)
                    stack.callback(shown.end)
                if shown is not None:
                    shown.show(seen)
                elif lines or seen[-1].final:
                    say(out, f"{path}: {'  '.join(columns(seen))}")
        except (FileNotFoundError, ValueError) as error:
            say(err, str(error))
            return _NO_DATASET
        except KeyboardInterrupt:
            say(err, f"no longer watched: {path}" + (f", which was {verdict}" if verdict else ""))
            return _INTERRUPTED
    if gone:
        say(err, f"{path}: the process that wrote it is gone; `ome-writers recover {path}` completes it by its journal")
    return int(verdict != "complete")


def preview(path: Path, /, *, to: Annotated[Path | None, Parameter(("--out", "-o"))] = None) -> int:
    """Make a contact sheet: a row for each position, a column for each channel, in their colours.

    Each tile is a plane from the middle of its image; the contrast of a channel is the same in all rows.

    Example: `ome-writers preview cells.ome.zarr -o sheet.png`

    Parameters
    ----------
    path
        The folder or file.
    to
        Where the sheet goes; by default beside the dataset, `cells.preview.png`.
    """
    from ome_writers.casts import split_suffix
    from ome_writers.sheet import preview as made

    path = path.resolve()
    place = to or path.with_name(f"{split_suffix(path.name)[0]}.preview.png")
    try:
        sheet = made(path, place)
    except ValueError as error:
        say(err, str(error))
        return 1
    say(out, f"{place}: {sheet.width} × {sheet.height} pixels")
    return 0


def view(
    path: Path,
    /,
    *,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    browser: bool = True,
) -> int:
    """Show a dataset in the browser, also while it is written, until Ctrl-C.

    Serves the folder on this machine alone, below an address that nobody can guess, and opens a page with the viewer
    viv, which comes along: no network is needed. While the dataset is written, the page follows it. Other viewers read
    the files from the address below `data/`.

    Example: `ome-writers view cells.ome.zarr`

    Parameters
    ----------
    path
        An OME-Zarr, or an OME-TIFF that this library wrote.
    port
        By default one that is free.
    browser
        Open the page; or only say where it is.
    """
    from ome_writers.serve import Server

    try:
        server = Server(path, port)
    except ValueError as error:
        say(err, str(error))
        return 1
    except OSError as error:
        if not port or isinstance(error, FileNotFoundError):
            raise
        say(err, f"port {port} cannot be used ({error.strerror}); without --port one that is free is found")
        return 1
    with server:
        try:
            say(out, f"{path} is shown at {server.url} until Ctrl-C")
            if browser:
                webbrowser.open(server.url)
            server.serve_forever()
        except KeyboardInterrupt:
            say(out, "no longer shown")
    return 0
