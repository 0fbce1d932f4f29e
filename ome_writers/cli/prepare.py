"""The commands `prepare` and `finish`: a dataset whose pixels another program writes; and another path for settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from attrs import evolve
from cyclopts import Parameter
from cyclopts.validators import Number

from ome_writers.casts import split_suffix
from ome_writers.cli.console import out
from ome_writers.cli.show import say
from ome_writers.errors import PlanError, Problem
from ome_writers.files import load
from ome_writers.formats import resolve
from ome_writers.plan import compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings

Count = Annotated[int, Parameter(validator=Number(gte=0))]


def prepare(
    settings: Path,
    /,
    *,
    to: Annotated[str | None, Parameter(("--to", "--out"))] = None,
    frames: Count | None = None,
    table: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Create an empty dataset, and a table that tells another program where each frame goes.

    The dataset is uncompressed OME-Zarr or OME-TIFF, valid, and reads as zeros. Every file that pixels go to is there;
    each must keep its size. Beside it (never in it) lie

    * `PATH.placement.npy`: a record of 52 bytes for each frame, little-endian: frame (8 bytes), array (4), file (8),
      offset (8), files (4), runs (4), run_bytes (8), run_stride (8);
    * `PATH.placement.json`: the files and arrays that these numbers stand for;
    * `PATH.plan.npz`: what `ome-writers finish PATH` needs once the pixels are written.

    A frame that is not cut into tiles goes to `offset` of `files[file]`, as it lies in memory.
    `ome_writers/place_file.py` says how tiles are numbered.

    Example: `ome-writers prepare cells.toml --to cells.ome.zarr`

    Parameters
    ----------
    settings
        A .json, .toml or .yaml file.
    to
        Where the dataset goes, if not to where the settings say; the suffix chooses the format.
    frames
        For how many frames there shall be room, if the settings have no end.
    table
        Where the table goes: .npy, or .csv for programs that read text.
    overwrite
        Replace a dataset that stands there.
    """
    from ome_writers.prepared import prepare as prepared

    wanted = load(settings)
    wanted = redirected(wanted, to or wanted.output_path, overwrite=overwrite)
    made = prepared(compile(wanted), frames=frames, table=table)
    say(out, f"{wanted.output_path}: empty, and ready for the pixels")
    say(out, f"{made.table}: where each frame goes")
    say(out, f"{made.places}: files and arrays")
    say(out, f"Once they are written: ome-writers finish {wanted.output_path}")


def finish(
    path: Path,
    /,
    *,
    frames: Count | None = None,
    missing: str = "",
    remove_table: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Complete the metadata of a prepared dataset, once another program has written its pixels.

    Arrays are cut to what came. It can be called again, with the same frames or fewer.

    Example: `ome-writers finish cells.ome.zarr --frames 120 --missing 3-5,9`

    Parameters
    ----------
    path
        The dataset.
    frames
        How many frames of the table came, from its first on; by default all.
    missing
        Numbers of frames among them that did not come.
    remove_table
        Remove the table, the list and the plan beside the dataset.
    """
    from ome_writers.finished import finish as finished

    with out.status("finishing") if out.is_terminal else nullcontext():
        outcome = finished(path, frames=frames, missing=list(numbers(missing)), remove=remove_table)
    say(out, f"{path}: {outcome.verdict}, {outcome.frames} frames, {outcome.cursor - outcome.frames} missing")


def numbers(text: str) -> Iterator[int]:
    """Yield the numbers that a text lists.

    Examples
    --------
    >>> list(numbers("3-5, 9"))
    [3, 4, 5, 9]
    """
    for part in text.split(",") if text.strip() else ():
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or "0").isdecimal()) or part.strip().endswith("-"):
            message = f"must be numbers and ranges, such as 3-5,9; got {text!r}"
            raise PlanError([Problem(("missing",), "invalid_value", message)])
        yield from range(int(first), int(last or first) + 1)


def redirected(settings: AcquisitionSettings, to: str, *, overwrite: bool) -> AcquisitionSettings:
    """Return the settings with another output path. Its suffix, if it has one, chooses the format.

    Examples
    --------
    >>> redirected(AcquisitionSettings(root_path="a.ome.zarr"), "b.ome.tif", overwrite=False).output_path
    'b.ome.tif'
    """
    suffix, format_ = split_suffix(to)[1], settings.format
    by_path = resolve("auto", to)
    if format_.name == "scratch" or (suffix and format_.name != by_path.name):
        format_ = by_path
    elif suffix:
        format_ = evolve(format_, suffix=suffix)
    return evolve(settings, root_path=to, format=format_, overwrite=overwrite or settings.overwrite)
