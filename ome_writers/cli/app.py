"""The commands of `ome-writers`: what they take, and which part of the library answers them.

No logic stands here: a command reads its arguments, asks the library, and hands the answer to `show`. Errors that tell
people what to do are printed as text, on stderr; others are mistakes of this package and keep their traceback.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from numpy.typing import NDArray
from rich.progress import track

from ome_writers import __version__
from ome_writers.cli import show
from ome_writers.cli.arrange import arrange
from ome_writers.cli.bench import bench
from ome_writers.cli.console import err, out
from ome_writers.cli.demo import demo_frames, demo_settings
from ome_writers.cli.init import init, schema
from ome_writers.cli.prepare import finish, prepare, redirected
from ome_writers.cli.recover import recover
from ome_writers.cli.trust import convert, validate
from ome_writers.cli.watch import preview, view, watch
from ome_writers.datasets import NotADataset, read_dataset
from ome_writers.errors import FrameError, PlanError, PlanExhausted, Problem, SettingsError, WriteError
from ome_writers.files import load
from ome_writers.overview import all_bytes
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.recorded import arranged
from ome_writers.shell import write as write_frames
from ome_writers.sights import size
from ome_writers.sources import SourceError, frames_from
from ome_writers.writer import choose_writer

Flag = Annotated[bool, Parameter(negative=())]
Size = Annotated[int, Parameter(validator=Number(gte=1))]
Count = Annotated[int, Parameter(validator=Number(gte=0))]

READABLE = (SettingsError, PlanError, FrameError, PlanExhausted, WriteError, SourceError, NotADataset, OSError)
"""Errors whose message is all that a user needs."""

_EXTRAS = {
    "tensorstore": "tensorstore",
    "tifffile": "tifffile",
    "imagecodecs": "tifffile",
    "ome_types": "tifffile",
    "yaml": "cli",
    "matplotlib": "plot",
    "PIL": "plot",
    "ndstorage": "ndtiff",
}
"""Library -> the extra of this package that installs it."""

app = App(
    name="ome-writers",
    help="Stream camera frames into OME-Zarr and OME-TIFF.",
    version=f"ome-writers {__version__}",
    help_format="markdown",
    console=out,
    error_console=err,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


@app.command(sort_key=1)
def demo(  # noqa: PLR0913 - all but the first are named, and may be left out
    path: str = "demo.ome.zarr",
    /,
    *,
    size: Size = 512,
    times: Size = 10,
    backend: str | None = None,
    overwrite: Flag = False,
    progress: bool | None = None,
) -> None:
    """Simulate a time-lapse of fluorescent cells and stream it to disk.

    Two positions, two channels, five planes and ten time points: 200 frames, about 100 MB. The suffix of PATH
    chooses the format.

    Example: `ome-writers demo cells.ome.tiff`

    Parameters
    ----------
    path
        Where it goes.
    size
        Height and width of a frame, in pixels.
    times
        Number of time points.
    backend
        Name of the writer, such as tensorstore or tifffile.
    overwrite
        Replace a dataset that stands there.
    progress
        Show how it goes; by default if the output is a terminal.
    """
    plan = compile(demo_settings(path, size=size, times=times, overwrite=overwrite))
    _require_room(plan)
    # The cells are simulated first, so that the rate is that of writing.
    quiet = not (out.is_terminal if progress is None else progress)
    try:
        frames = list(track(demo_frames(plan), "simulating", plan.frames, console=out, disable=quiet))
    except KeyboardInterrupt as interrupt:
        interrupt.add_note("nothing was written yet: the cells were still being simulated")
        raise
    root = _stream(plan, frames, backend, progress=progress)
    out.print(show.tree(root))
    show.say(out, f"\nLook into it: ome-writers info {root}")


@app.command(sort_key=2)
def write(  # noqa: PLR0913 - all but the first are named, and may be left out
    settings: Path,
    /,
    *,
    frames: Path,
    to: Annotated[str, Parameter("--out")],
    backend: str | None = None,
    overwrite: Flag = False,
    progress: bool | None = None,
) -> None:
    """Stream recorded frames through a settings file.

    Frames come from a .tif, .ome.tif, .npy or .zarr, or from a folder of images; the colours of an image count as
    channels. Their number, shape and dtype are compared with the settings before anything is written.

    Example: `ome-writers write cells.toml --frames recorded/ --out cells.ome.zarr`

    Parameters
    ----------
    settings
        A .json, .toml or .yaml file.
    frames
        The recorded images.
    to
        Where they go; the suffix chooses the format.
    backend
        Name of the writer, such as tensorstore or tifffile.
    overwrite
        Replace a dataset that stands there.
    progress
        Show how it goes; by default if the output is a terminal.
    """
    plan = compile(redirected(load(settings), to, overwrite=overwrite))
    _require_apart(frames, Path(plan.settings.output_path))
    _require_room(plan)
    source = arranged(frames_from(frames, _frame_shape(plan)), plan)
    _stream(plan, source, backend, progress=progress)


@app.command(sort_key=3)
def check(settings: Path, /) -> int:
    """List every problem of a settings file, each with its path; exit with 1 if there are any.

    Example: `ome-writers check cells.toml`

    Parameters
    ----------
    settings
        A .json, .toml or .yaml file.
    """
    try:
        plan = compile(load(settings))
        writer = choose_writer(plan)
    except (SettingsError, PlanError) as error:
        err.print(show.problems(error.problems, str(settings)), soft_wrap=True)
        return 1
    frames = "frames without end" if plan.frames is None else f"{plan.frames} frames"
    arrays = f"{len(plan.layout.arrays)} array{'s' * (len(plan.layout.arrays) != 1)}"
    show.say(out, f"{settings}: no problems; {frames} in {arrays}, written by {writer.capabilities.name}")
    return 0


@app.command(sort_key=4)
def plan(settings: Path, /, *, rows: Count = 10, plot: Path | None = None) -> None:
    """Show what a settings file would write: frames, arrays, files, bytes, memory, and the first rows of the plan.

    Example: `ome-writers plan cells.toml --plot plan.png`

    Parameters
    ----------
    settings
        A .json, .toml or .yaml file.
    rows
        How many rows of the plan to show.
    plot
        A .png, .svg or .pdf to draw it in: what comes when, open blocks, memory, and the way of the stage.
    """
    kinds = (".png", ".svg", ".pdf")
    if plot is not None and plot.suffix.lower() not in kinds:
        message = f"must end with {', '.join(kinds)}; got {str(plot)!r}"
        raise PlanError([Problem(("plot",), "invalid_value", message)])
    compiled = compile(load(settings))
    out.print(show.plan_view(compiled, choose_writer(compiled), rows))
    if plot is not None:
        from ome_writers.drawing import plot as drawn

        drawn(compiled).savefig(plot, dpi=120)
        show.say(out, f"\n{plot}: the plan, drawn")


@app.command(sort_key=5)
def info(path: Path, /, *, every: Annotated[bool, Parameter("--all", negative=())] = False) -> None:
    """Say what is in a dataset: OME-Zarr or OME-TIFF, whoever made it.

    Example: `ome-writers info demo.ome.zarr`

    Parameters
    ----------
    path
        The folder or file.
    every
        Show every image, not only the first ones.
    """
    out.print(show.dataset_view(read_dataset(path), every=every))


app.command(watch, sort_key=6)
app.command(view, sort_key=6)
app.command(preview, sort_key=6)
app.command(validate, sort_key=7)
app.command(convert, sort_key=7)
app.command(recover, sort_key=7)
app.command(bench, sort_key=8)
app.command(prepare, sort_key=9)
app.command(finish, sort_key=10)
app.command(init, sort_key=0)
app.command(schema, sort_key=11)
app.command(arrange, sort_key=10)


# ── what commands share ──────────────────────────────────────────────────────────────────────────────────────────────


def _frame_shape(plan: Plan) -> tuple[int, ...]:
    return tuple(dim.count or 1 for dim in plan.settings.frame_dimensions)


def _require_apart(source: Path, target: Path) -> None:
    """Refuse to write over the frames that are to be read, before anything makes room."""
    here, there = source.expanduser().resolve(), target.expanduser().resolve()
    if here == there or there in here.parents:
        raise FileExistsError(f"the frames come from {source}, and {target} would overwrite them; give another --out")


def _require_room(plan: Plan) -> None:
    """Say at once, and in the words of the command line, that something is in the way."""
    path = Path(plan.settings.output_path).expanduser()
    if path.exists() and not plan.settings.overwrite:
        raise FileExistsError(f"{path} exists; --overwrite replaces it, or give another path")


def _stream(plan: Plan, frames: Iterable[NDArray[Any] | None], backend: str | None, *, progress: bool | None) -> Path:
    """Write frames, say where they went and how fast, and return the place."""
    start = time.perf_counter()

    def timed() -> Iterator[NDArray[Any] | None]:
        # From the first frame on: loading a library is no part of the rate.
        nonlocal start
        start = time.perf_counter()
        yield from frames

    outcome = write_frames(plan, timed(), backend, progress=out.is_terminal if progress is None else progress)
    seconds = time.perf_counter() - start
    pixels = all_bytes(plan, outcome.frames)
    rate = f"{outcome.frames / seconds:.0f} frames/s, {size(pixels / seconds)}/s"
    root = show.near(outcome.root)
    show.say(out, f"{root}: {outcome.frames} frames, {size(pixels)} in {seconds:.2f} s ({outcome.writer}): {rate}")
    return root


def _where(error: FileNotFoundError) -> str:
    """Say which file is not there, and what makes one."""
    if error.filename is None:
        return str(error)
    settings = Path(error.filename).suffix.lower() in (".toml", ".yaml", ".yml", ".json")
    hint = f"; ome-writers init {error.filename} makes a first one" if settings else ""
    return f"{error.filename}: there is no such file or folder{hint}"


def run(arguments: Sequence[str]) -> int:
    """Run a command and return the exit code."""
    try:
        return app(list(arguments), exit_on_error=False) or 0
    except CycloptsError:
        # Cyclopts has said why.
        command = next((f" {word}" for word in arguments[:1] if word in app), "")
        show.say(err, f"How it goes, with an example: ome-writers{command} --help")
        return 2
    except (SettingsError, PlanError) as error:
        err.print(show.problems(error.problems, "refused"), soft_wrap=True)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(str(error.name).partition(".")[0])
        if extra is None:
            raise
        show.say(
            err, f"this needs the library {error.name!r}, which is not installed: pip install 'ome-writers[{extra}]'"
        )
    except FileNotFoundError as error:
        show.say(err, _where(error))
    except READABLE as error:
        show.say(err, "\n".join([str(error), *getattr(error, "__notes__", ())]))
    except KeyboardInterrupt as error:
        show.say(err, "\n".join(["interrupted", *getattr(error, "__notes__", ())]))
    return 1
