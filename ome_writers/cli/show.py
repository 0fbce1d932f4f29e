"""Given a value of the library, this answers how it looks in a terminal: as a rich table, tree or text.

Names and paths come from users and files, so they are `Text`, never markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ome_writers.datasets import Axis, Dataset, Image
from ome_writers.datasets.zarr import read_node
from ome_writers.display import overview_of
from ome_writers.documents import document_bytes
from ome_writers.errors import Problem
from ome_writers.moves import cost
from ome_writers.overview import Overview, sizes
from ome_writers.page import files_said, memory_said
from ome_writers.plan import Plan
from ome_writers.settings import Dimension
from ome_writers.sights import size
from ome_writers.writer import Writer

_MANY: Final = 12
"""More images, arrays or files than these are summed up."""
_MUCH: Final = 64 << 20
"""Fewer bytes of metadata are not worth a line."""
_SYMBOLS: Final = {
    "micrometer": "µm",
    "nanometer": "nm",
    "millimeter": "mm",
    "second": "s",
    "millisecond": "ms",
    "minute": "min",
}


def problems(found: Iterable[Problem], name: str) -> Text:
    """Show every problem in a line of its own, with its path."""
    listed = list(found)
    lines = [f"{name}: {len(listed)} problem{'s' * (len(listed) != 1)}", *(f"  {problem}" for problem in listed)]
    return Text("\n".join(lines))


# ── a plan ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan_view(plan: Plan, writer: Writer, rows: int) -> RenderableType:
    """Show what would be written, and the first rows of the plan."""
    found = overview_of(plan, writer)
    return Group(_summary(found), _concerns(found), _arrays(plan), _moves(plan), _rows(plan, rows))


def _summary(found: Overview) -> Table:
    plan = found.plan
    settings, frames = plan.settings, plan.frames
    table = _grid()
    loops = ", ".join(f"{dim.name} {'∞' if dim.count is None else dim.count}" for dim in settings.dimensions[:-2])
    table.add_row("acquired", f"{loops or 'one frame'} (slowest first)")
    table.add_row("frames", "without end" if frames is None else str(frames))
    for kind, nbytes in found.frames.items():
        table.add_row("a frame", f"{kind}, {size(nbytes)}")
    codec = plan.layout.arrays[0].codec
    amount = "without end" if found.pixel_bytes is None else size(found.pixel_bytes)
    table.add_row("pixels", amount + (f" before compression ({codec.name})" if codec else ""))
    table.add_row("files", files_said(found))
    if settings.format.name == "ome-tiff" and (metadata := document_bytes(plan)) > _MUCH:
        table.add_row("metadata", f"about {size(metadata)} of OME-XML in all files together")
    table.add_row("writer", f"{found.writer}, a {found.unit} at a time")
    table.add_row("memory", memory_said(found))
    table.add_row("goes to", settings.output_path or "memory")
    return table


def _concerns(found: Overview) -> Text:
    text = Text()
    for concern in found.concerns:
        text.append(f"\n! {concern.about}: ", style="bold yellow").append(concern.reason)
    return text


def _arrays(plan: Plan) -> Table:
    table = Table(title="\narrays", title_justify="left", box=None, header_style="bold", title_style="bold")
    positions, cameras = plan.settings.positions, plan.settings.camera_dimension
    separate = bool(cameras and not cameras.fold)
    for column in ("path", "position", *["camera"] * separate, "axes", "shape", "chunks", "shards"):
        table.add_column(column)
    for spec in plan.layout.arrays[:_MANY]:
        table.add_row(
            Text(spec.path or Path(plan.settings.output_path).name),
            Text(positions[spec.position].name),
            *[Text(_camera(cameras, spec.camera))] * separate,
            Text(" ".join(spec.dimension_names)),
            _tight(spec.shape),
            _tight(spec.chunk_shape),
            _tight(spec.shard_shape) if spec.shard_shape else "-",
        )
    _sum_up(table, len(plan.layout.arrays))
    return table


def _camera(cameras: Dimension | None, index: int) -> str:
    names = [str(getattr(coord, "name", coord)) for coord in (cameras.coords if cameras else None) or ()]
    return names[index] if index < len(names) else str(index)


def _tight(shape: Sequence[int | None]) -> str:
    return sizes(shape).replace(" ", "")


def _moves(plan: Plan) -> Text:
    """Show what the order of the frames costs, so that orders can be compared."""
    found = cost(plan)
    each = f" in each turn of {found.frames} frames" if plan.frames is None else ""
    _, *lines = str(found).splitlines()  # the first says how many frames there are
    return Text("\n").append(f"moves{each}\n", style="bold").append("\n".join(lines))


def _rows(plan: Plan, count: int) -> RenderableType:
    stop = count if plan.frames is None else min(count, plan.frames)
    if stop < 1:
        return Text()
    table = Table(title=f"\nfirst {stop} rows", title_justify="left", box=None, header_style="bold", title_style="bold")
    names = plan.layout.arrays[0].dimension_names[:-2]
    rows, cameras = plan.rows(0, stop), plan.settings.camera_dimension
    taken = plan.places.reading.indices(rows, cameras.name).tolist() if cameras else [0] * stop
    for column in ("frame", "position", *["camera"] * bool(cameras), "array", *names):
        table.add_column(Text(column), justify="right")
    for row, camera in zip(rows, taken, strict=True):
        own = [_camera(cameras, camera)] if cameras else []
        numbers = (row["frame"], row["position"], *own, row["array"], *row["index"])
        table.add_row(*(Text(str(value)) for value in numbers))
    return table


# ── a dataset ────────────────────────────────────────────────────────────────────────────────────────────────────────


def dataset_view(dataset: Dataset, *, every: bool = False) -> RenderableType:
    """Show what a dataset holds; of many images the first ones, unless `every` one is asked for."""
    table = _grid()
    table.add_row("path", Text(dataset.path))
    table.add_row("kind", Text(dataset.kind))
    if dataset.verdict:
        frames = f", {dataset.frames} frames came" if dataset.frames is not None else ""
        table.add_row("run", Text(dataset.verdict + frames))
    shown = dataset.images if every else dataset.images[:_MANY]
    parts: list[RenderableType] = [table, *(_image(image) for image in shown)]
    if len(shown) < len(dataset.images):
        parts.append(Text(f"\n… and {len(dataset.images) - len(shown)} more images (--all shows them)"))
    return Group(*parts)


def _image(image: Image) -> RenderableType:
    where = ", ".join(image.files) or image.path
    name = Text(image.name or "an image without a name", style="bold")
    title = Text("\n") + name + Text(f"  {where}" if where else "", style="dim")
    table = _grid()
    names = Text(" ".join(axis.name for axis in image.axes))
    table.add_row("  axes", names)
    table.add_row("  shape", f"{sizes(image.shape)} {image.dtype}")
    if image.chunks:
        table.add_row(
            "  chunks", sizes(image.chunks) + (f" in shards of {sizes(image.shards)}" if image.shards else "")
        )
    if image.levels > 1:
        table.add_row("  levels", str(image.levels))
    if spacing := [_spacing(axis) for axis in image.axes if axis.scale is not None and axis.type != "channel"]:
        table.add_row("  scale", Text(", ".join(spacing)))
    if any(axis.translation for axis in image.axes):
        places = [f"{axis.name} {axis.translation:g} {_unit(axis)}".rstrip() for axis in image.axes if axis.translation]
        table.add_row("  begins at", Text(", ".join(places)))
    if image.channels:
        table.add_row("  channels", _channels(image))
    return Group(title, table)


def _spacing(axis: Axis) -> str:
    return f"{axis.name} {axis.scale:g} {_unit(axis)}".rstrip()


def _unit(axis: Axis) -> str:
    return _SYMBOLS.get(axis.unit or "", axis.unit or "")


def _channels(image: Image) -> Text:
    text = Text()
    for number, (name, color) in enumerate(image.channels):
        text.append(", " if number else "")
        if color:
            text.append("■ ", style=f"#{color.lstrip('#')[:6]}")
        text.append(name or f"channel {number}")
    return text


# ── what was written ─────────────────────────────────────────────────────────────────────────────────────────────────


def tree(path: Path) -> Tree:
    """Show the groups, arrays and files below a path."""
    root = Tree(Text(path.name + "/" * path.is_dir(), style="bold"))
    if path.is_dir():
        _grow(root, path)
    else:
        root.label = Text(f"{path.name}  {size(path.stat().st_size)}")
    return root


def _grow(branch: Tree, folder: Path) -> None:
    entries = sorted(folder.iterdir(), key=lambda entry: (entry.is_dir(), entry.name))
    for entry in entries[:_MANY]:
        if not entry.is_dir():
            branch.add(
                Text(f"{entry.name}  {size(entry.stat().st_size)}", style="dim" if entry.suffix == ".json" else "")
            )
            continue
        node = read_node(entry)
        if node and node.get("node_type") == "array":
            branch.add(_leaf(entry, node))
        else:
            _grow(branch.add(Text(f"{entry.name}/")), entry)
    if len(entries) > _MANY:
        branch.add(Text(f"… and {len(entries) - _MANY} more"))


def _leaf(folder: Path, node: dict[str, Any]) -> Text:
    """Sum up the files of an array, of which there may be very many."""
    files = [
        file
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(".z") and file.name != "zarr.json"
    ]
    amount = size(sum(file.stat().st_size for file in files))
    return Text(f"{folder.name}/  array {sizes(node['shape'])} in {len(files)} files, {amount}")


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _sum_up(table: Table, count: int) -> None:
    if count > _MANY:
        table.add_row(f"… and {count - _MANY} more")


def near(path: str) -> Path:
    """Return a path as people write it: from the current folder, if it lies in that."""
    whole = Path(path)
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def say(console: Console, text: str) -> None:
    """Print text as it is: no markup, and no line breaks within a path."""
    console.print(text, markup=False, soft_wrap=True)
