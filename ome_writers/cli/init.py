"""The commands `init` and `schema`: a first settings file, and what editors need to complete and check it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Parameter
from rich.prompt import Prompt
from rich.text import Text

from ome_writers.advice import DISKS, Disk, advise
from ome_writers.cli.console import out
from ome_writers.cli.show import say
from ome_writers.errors import Problem, SettingsError
from ome_writers.overview import frame_kinds
from ome_writers.plan import compile  # noqa: A004 - the verb of this library
from ome_writers.sights import size
from ome_writers.starter import Answers, advised, commented

T = TypeVar("T")


def init(  # noqa: PLR0913 - all but the first are named, and may be left out
    path: Path = Path("settings.toml"),
    /,
    *,
    to: Annotated[str | None, Parameter(("--to", "--out"))] = None,
    frame: str | None = None,
    dtype: str | None = None,
    pixel_size: str | None = None,
    times: str | None = None,
    interval: str | None = None,
    positions: str | None = None,
    channels: str | None = None,
    planes: str | None = None,
    step: str | None = None,
    disk: Literal["ssd", "hdd", "network", "object"] | None = None,
    compression: str | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a first settings file, with comments, and sizes of chunks and shards that suit the frames and the disk.

    In a terminal it asks for what no option says; elsewhere, what is not said has its default.

    Example: `ome-writers init cells.toml --to cells.ome.zarr --frame 2048x2048 --times 100 --channels DAPI,GFP`

    Parameters
    ----------
    path
        The file to write: .toml or .yaml.
    to
        Where the dataset will go; the suffix chooses the format.
    frame
        Height and width of a frame in pixels, such as 2048x2048.
    dtype
        Of the pixels, such as uint16.
    pixel_size
        In micrometers.
    times
        Number of time points, or endless.
    interval
        Seconds from one time point to the next.
    positions
        Number of stage positions.
    channels
        Names with commas between them.
    planes
        Number of planes of a stack.
    step
        Micrometers from one plane to the next.
    disk
        What the dataset will lie on: ssd, hdd, network, or object (a store of objects).
    compression
        Such as blosc-zstd.
    overwrite
        Replace a file that is there.
    """
    style = _style(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; --overwrite replaces it, or give another path")
    ask = _Asker()
    root_path = ask("to", to, "Where will the dataset go? (.ome.zarr or .ome.tiff)", f"{path.stem}.ome.zarr", str)
    height, width = ask("frame", frame, "Height x width of a frame, in pixels?", "2048x2048", _frame)
    kind = ask("dtype", dtype, "Which dtype have the pixels?", "uint16", str)
    pixel = ask("pixel_size", pixel_size, "Size of a pixel in µm, if known?", "", _length)
    points = ask("times", times, "How many time points? (endless, if nobody knows)", "1", _times)
    seconds = None if points == 1 else ask("interval", interval, "Seconds between them, if known?", "", _length)
    fields = ask("positions", positions, "How many stage positions?", "1", _count)
    names = ask("channels", channels, "Names of the channels, with commas?", "", _names)
    depth = ask("planes", planes, "How many planes in a stack?", "1", _count)
    distance = None if depth == 1 else ask("step", step, "µm between them, if known?", "", _length)
    asked = Answers(
        root_path=root_path, height=height, width=width, dtype=kind, pixel_size=pixel, times=points, interval=seconds,
        positions=fields, channels=names, planes=depth, step=distance, compression=compression,
    ).settings()  # fmt: skip
    chosen: Disk = "ssd"
    if asked.format.name == "ome-zarr":
        chosen = ask("disk", disk, f"What kind of disk? ({', '.join(DISKS)})", "ssd", _disk)
    advice = advise(asked, chosen)
    plan = compile(advised(asked, advice))  # before anything is written: what is wrong is said now
    path.write_text(commented(asked, advice, style), "utf-8")
    amount = "frames without end" if plan.frames is None else f"{plan.frames:,} frame{'s' * (plan.frames != 1)}"
    each = " and ".join(map(size, frame_kinds(plan).values()))
    say(out, f"\n{path}: {amount} of {each} to {plan.settings.output_path}")
    for reason in advice.reasons:
        out.print(Text(f"  {reason}"))
    say(out, f"Look into it: ome-writers plan {path}")


def schema(*, out_file: Annotated[Path | None, Parameter(("--out", "-o"))] = None) -> None:
    """Print the JSON Schema of settings files, by which editors complete and check TOML, YAML and JSON.

    A .toml names it in its first line (`#:schema ./ome-writers.schema.json`), a .yaml too
    (`# yaml-language-server: $schema=ome-writers.schema.json`), a .json under the key `$schema`.

    Example: `ome-writers schema -o ome-writers.schema.json`

    Parameters
    ----------
    out_file
        Where to save it, instead of printing it.
    """
    import inspect

    from ome_writers import formats, settings
    from ome_writers.plugins import plugin_names
    from ome_writers.schemas import schema as made

    sources = []
    for module in (settings, formats):
        try:
            sources.append(inspect.getsource(module))
        except OSError:  # an installation without sources has no docstrings of fields either
            continue
    text = json.dumps(made(sources, plugin_names()), indent=2, ensure_ascii=False)
    if out_file is None:
        sys.stdout.write(f"{text}\n")
        return
    out_file.write_text(f"{text}\n", "utf-8")
    say(out, f"{out_file}: the JSON Schema of settings files")


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Asker:
    """Asks in a terminal for what was not given; elsewhere takes the default."""

    def __init__(self) -> None:
        self.talks = sys.stdin.isatty() and out.is_terminal

    def __call__(self, option: str, given: str | None, question: str, default: str, read: Callable[[str], T]) -> T:
        if given is not None or not self.talks:
            return self._read(option, default if given is None else given, read)
        while True:
            said = Prompt.ask(Text(question), console=out, default=default, show_default=bool(default)).strip()
            try:
                return self._read(option, said, read)
            except SettingsError as error:
                out.print(Text(error.problems[0].message, style="yellow"))

    @staticmethod
    def _read(option: str, text: str, read: Callable[[str], T]) -> T:
        try:
            return read(text.strip())
        except ValueError as error:
            raise SettingsError([Problem((option,), "invalid_value", f"{error}; got {text!r}")]) from None


def _style(path: Path) -> Literal["toml", "yaml"]:
    styles: dict[str, Any] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}
    style = styles.get(path.suffix.lower())
    if style is None:
        message = f"must end with .toml or .yaml, which can hold comments; got {str(path)!r}"
        raise SettingsError([Problem(("path",), "invalid_value", message)])
    found: Literal["toml", "yaml"] = style
    return found


def _frame(text: str) -> tuple[int, int]:
    height, _, width = text.lower().replace("×", "x").partition("x")
    try:
        return _count(height), _count(width)
    except ValueError:
        raise ValueError("must be height x width in pixels, such as 2048x2048") from None


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError("must be a whole number of at least 1")
    return int(text)


def _times(text: str) -> int | None:
    return None if text.lower() in ("endless", "inf", "∞") else _count(text)


def _length(text: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = 0.0
    if value is not None and not 0 < value < float("inf"):
        raise ValueError("must be a number greater than 0, or nothing")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _disk(text: str) -> Disk:
    known: dict[str, Disk] = {"ssd": "ssd", "hdd": "hdd", "network": "network", "object": "object"}
    if text not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return known[text]
