"""The command `arrange`: an n-dimensional dataset of frames that were stored as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ome_writers.arranging import arrange as arrange_frames
from ome_writers.arranging import arranged_path
from ome_writers.cli.console import out
from ome_writers.cli.show import near, say
from ome_writers.errors import SettingsError


def arrange(
    path: Path,
    /,
    *,
    to: Annotated[str | None, Parameter(("--out", "-o"))] = None,
    holes: Literal["dense", "compact", "split"] = "dense",
    backend: str | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make the n-dimensional dataset of a flat stack of frames, each of which says where it belongs.

    For acquisitions that nobody could plan: `ome_writers.flat` stores frames as they come, each with its index as
    metadata, such as {"index": {"t": 0, "c": "GFP", "z": 3}}. The stack is not changed.

    Example: `ome-writers arrange events.ome.zarr -o cells.ome.zarr`

    Parameters
    ----------
    path
        The stack: OME-Zarr, OME-TIFF or a scratch folder.
    to
        Where the dataset goes; the suffix chooses the format. By default beside the stack, as …_arranged.
    holes
        What becomes of places that no frame took: dense (they read as zeros), compact, or split.
    backend
        Name of the writer, such as tensorstore or tifffile.
    overwrite
        Replace a dataset that stands there.
    """
    target = arranged_path(path) if to is None else to
    if Path(target).expanduser().exists() and not overwrite:
        raise FileExistsError(f"{target} exists; --overwrite replaces it, or give another --out")
    try:
        outcome = arrange_frames(
            path, target, backend=backend, progress=out.is_terminal, holes=holes, overwrite=overwrite
        )
    except ValueError as error:
        if isinstance(error, SettingsError):
            raise
        raise OSError(str(error)) from error  # a stack that cannot be read
    say(out, f"{near(outcome.root)}: {outcome.frames} frames ({outcome.writer})")
