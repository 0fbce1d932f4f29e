"""Given a plan, this draws it with matplotlib: its loops, its open blocks, its memory, and the way of the stage.

What is drawn is made by `timeline.py`; here are only lines and colours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.display import overview_of
from ome_writers.errors import PlanError, Problem
from ome_writers.items import Position
from ome_writers.overview import Overview
from ome_writers.plan import Plan
from ome_writers.settings import AcquisitionSettings, Dimension, Plate
from ome_writers.sights import size
from ome_writers.timeline import Band, Timeline, block_spans, timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ZOOM: Final = 150
"""Frames that are shown one by one, beside the whole."""
_NAMED: Final = 8
"""Names that fit beside an axis."""
_LABELLED: Final = 24
_MOST_FIELDS: Final = 2000
"""More fields are drawn as points."""
_MOST_BARS: Final = 40
_HUES: Final = {"time": "#5b67d8", "channel": "#2f9e5b", "position": "#d07a1f", "camera": "#8e44ad", "space": "#1f93a8"}
_BLOCKS, _MEMORY = "#b85c00", "#0f7b8a"


def plot(plan: Plan | AcquisitionSettings) -> Figure:
    """Draw an acquisition, frame by frame: its loops, the blocks that open and close, the memory, and the stage's way.

    A long one is drawn as a whole, in bins, and beside it its first frames one by one. That costs the loops of a plan,
    not its frames; what was put together is said in the figure.

    Parameters
    ----------
    plan
        A plan, or settings that can be compiled.

    Returns
    -------
    A figure of matplotlib, which no window shows: it shows itself in a notebook, and `savefig` writes it.

    Raises
    ------
    PlanError
        If matplotlib is not installed (`pip install 'ome-writers[plot]'`).

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 10, "c": 2, "y": 64, "x": 64}, chunk_shapes={"t": 5})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> figure = plot(plan)
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['t', 'c', 'open chunks', 'memory']
    >>> figure.savefig("plan.png")
    """
    _require_matplotlib()
    if isinstance(plan, AcquisitionSettings):
        from ome_writers.plan import compile  # noqa: A004 - the verb of this library

        plan = compile(plan)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = overview_of(plan)
    whole = timeline(plan, found.unit)
    parts = [whole]
    if whole.note and whole.frames > _ZOOM:
        parts.append(timeline(plan, found.unit, stop=_ZOOM))
    dims = plan.settings.dimensions[:-2]
    places = _places(plan.settings)
    panels = len(dims) + 2
    height = max(1.0 + 1.0 * panels, 5.0 if places is not None else 3.0)
    figure = Figure(figsize=(12.5 if len(parts) > 1 or places is not None else 9.5, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [*([1.6, 1.0] if len(parts) > 1 else [1.6]), *([1.2] if places is not None else [])]
    grid = figure.add_gridspec(panels, len(ratios), width_ratios=ratios)
    for column, part in enumerate(parts):
        first: Axes | None = None
        for row, dim in enumerate(dims):
            axes = first = figure.add_subplot(grid[row, column], sharex=first)
            _loop(axes, dim, part, named=column == 0)
        axes = first = figure.add_subplot(grid[panels - 2, column], sharex=first)
        _blocks(axes, plan, part, named=column == 0)
        axes = figure.add_subplot(grid[panels - 1, column], sharex=first)
        _memory(axes, part, found, named=column == 0)
        axes.set_xlabel("frame" if part is whole else f"the first {part.frames} frames, one by one")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    if places is not None:
        _stage(figure.add_subplot(grid[:, -1]), plan, whole, *places)
    _title(figure, plan, whole)
    _teach_notebook()
    return figure


def _require_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        message = "plots need the library matplotlib, which is not installed: pip install 'ome-writers[plot]'"
        raise PlanError([Problem(("plot",), "missing_library", message)])


def _teach_notebook() -> None:
    """Let IPython show figures that were not made by pyplot, as it does once pyplot has made one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and getattr(shell, "kernel", None) is not None:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})  # type: ignore[no-untyped-call]


def _title(figure: Figure, plan: Plan, whole: Timeline) -> None:
    frames = "frames without end" if plan.frames is None else f"{plan.frames:,} frames"
    figure.suptitle(f"{frames}  {plan.settings.output_path}".rstrip(), x=0.01, ha="left", fontweight="bold")
    if whole.note:
        figure.supxlabel(whole.note, x=0.01, ha="left", fontsize=9, color="0.35")


# ── over time ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _drawn(axes: Axes, part: Timeline, band: Band, color: str, *, filled: bool = False) -> None:
    """Draw a band, or the steps of a line where it is thin everywhere."""
    edges = part.edges
    high = np.append(band.high, band.high[-1:])
    low = np.append(band.low, band.low[-1:])
    if filled:
        axes.fill_between(edges, high, step="post", color=color, alpha=0.3, linewidth=0)
    elif (high != low).any():
        axes.fill_between(edges, low, high, step="post", facecolor=color, edgecolor=color, alpha=0.5, linewidth=1.2)
        return
    axes.step(edges, high, where="post", color=color, linewidth=1.2)
    if filled and (high != low).any():
        axes.step(edges, low, where="post", color=color, linewidth=0.6)


def _loop(axes: Axes, dim: Dimension, part: Timeline, *, named: bool) -> None:
    _drawn(axes, part, part.loops[dim.name], _HUES.get(str(dim.type), "0.4"))
    axes.set_xlim(0, part.frames)
    highest = int(part.loops[dim.name].high.max())
    axes.set_ylim(-0.6, highest + 0.6)
    axes.tick_params(labelbottom=False)
    if named:
        axes.set_ylabel(dim.name, rotation=0, ha="right", va="center", fontweight="bold")
    names = [str(getattr(coord, "name", coord)) for coord in dim.coords or ()] if _has_names(dim) else []
    if names and len(names) <= _NAMED:
        axes.set_yticks(range(len(names)), [name[:14] for name in names], fontsize=8)
    else:
        axes.set_yticks(sorted({0, highest}))


def _has_names(dim: Dimension) -> bool:
    return dim.type in ("channel", "position", "camera")


def _blocks(axes: Axes, plan: Plan, part: Timeline, *, named: bool) -> None:
    """Draw the open blocks: each as a bar where there are few, else how many there are."""
    from matplotlib.ticker import MaxNLocator

    kind = "shards" if plan.layout.arrays[0].shard_shape else "chunks"
    spans = block_spans(plan, part.frames) if not part.note else np.empty(0, [("lane", "<i8")])
    if len(spans) and spans["lane"].max() < _MOST_BARS:
        width = spans["last"] - spans["first"] + 1
        arrays = spans["array"] % 10
        axes.barh(
            spans["lane"], width, left=spans["first"], height=0.8, linewidth=0.8, edgecolor="white",
            color=[f"C{array}" for array in arrays] if len(plan.layout.arrays) > 1 else _BLOCKS,
        )  # fmt: skip
        axes.set_ylim(-0.6, spans["lane"].max() + 0.6)
        axes.invert_yaxis()
        axes.set_yticks([0, spans["lane"].max()], ["1", str(spans["lane"].max() + 1)])
    elif int(part.open.high.max(initial=0)) <= 1 and not len(spans) and plan.frames != 1 and _by_itself(plan):
        axes.set_yticks([])
        axes.text(
            0.02,
            0.5,
            f"a frame fills its {kind}, so none stays open",
            transform=axes.transAxes,
            va="center",
            fontsize=9,
        )
    else:
        _drawn(axes, part, part.open, _BLOCKS, filled=True)
        axes.set_ylim(0, int(part.open.high.max(initial=1)) * 1.15)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(labelbottom=False)
    if named:
        axes.set_ylabel(f"open {kind}", rotation=0, ha="right", va="center")


def _by_itself(plan: Plan) -> bool:
    """Return whether a block holds one frame."""
    spec = plan.layout.arrays[0]
    return set((spec.shard_shape or spec.chunk_shape)[:-2]) <= {1}


def _memory(axes: Axes, part: Timeline, found: Overview, *, named: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    most = int(part.memory.high.max(initial=0))
    if most:
        _drawn(axes, part, part.memory, _MEMORY, filled=True)
        axes.set_ylim(0, most * 1.15)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
    else:
        axes.set_yticks([])
        said = f"{found.writer or 'the writer'} puts no blocks together"
        axes.text(0.02, 0.5, said, transform=axes.transAxes, va="center", fontsize=9)
    axes.ticklabel_format(axis="x", style="plain")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if named:
        axes.set_ylabel("memory", rotation=0, ha="right", va="center")


# ── over the plate ───────────────────────────────────────────────────────────────────────────────────────────────────


def _places(settings: AcquisitionSettings) -> tuple[NDArray[np.float64], str] | None:
    """Return where positions lie (x, y), and on what; `None` if there is one, or if nobody says."""
    positions = settings.positions
    if len(positions) < 2:  # noqa: PLR2004 - no way from one to the same
        return None
    along = settings.frame_dimensions[1].unit or "micrometer"
    if all(one.x_coord is not None and one.y_coord is not None for one in positions):
        return np.array([[one.x_coord, one.y_coord] for one in positions], float), along
    if settings.plate is not None:
        return np.array([_on_plate(settings.plate, one) for one in positions], float), "plate"
    if all(one.grid_row is not None for one in positions):
        return np.array([[one.grid_column, one.grid_row] for one in positions], float), "grid"
    return None


def _on_plate(plate: Plate, one: Position) -> tuple[int, int]:
    return plate.column_names.index(str(one.plate_column)), plate.row_names.index(str(one.plate_row))


def _stage(axes: Axes, plan: Plan, whole: Timeline, at: NDArray[np.float64], kind: str) -> None:
    settings = plan.settings
    way = at[whole.tour]
    if kind == "plate" and settings.plate is not None:
        _wells(axes, settings.plate.row_names, settings.plate.column_names)
    elif kind not in ("plate", "grid"):
        _fields(axes, settings, at)
    _way(axes, way)
    if len(at) <= _LABELLED and kind != "plate":
        for (x, y), one in zip(at, settings.positions, strict=True):
            axes.annotate(one.name, (x, y), (4, 4), textcoords="offset points", fontsize=8)
    axes.set_aspect("equal", adjustable="box")
    axes.margins(0.12)
    axes.invert_yaxis()
    if kind == "grid":
        axes.set(xlabel="column of the grid", ylabel="row of the grid")
    elif kind != "plate":
        unit = {"micrometer": "µm", "millimeter": "mm"}.get(kind, kind)
        axes.set(xlabel=f"stage x ({unit})", ylabel=f"stage y ({unit})")
        axes.tick_params(labelsize=8)
    stops = "1 stop" if len(way) == 1 else f"{len(way)} stops"
    axes.set_title(f"way of the stage: {stops}, first to last", fontsize=10)


def _way(axes: Axes, way: NDArray[np.float64]) -> None:
    from matplotlib.collections import LineCollection

    legs = np.stack([way[:-1], way[1:]], axis=1)
    lines: Any = LineCollection(list(legs), cmap="viridis", array=np.arange(len(legs)), linewidths=1.6, zorder=2)
    axes.add_collection(lines)
    points = axes.scatter(
        way[:, 0], way[:, 1], c=np.arange(len(way)), cmap="viridis", s=14 if len(way) < _MOST_FIELDS else 2, zorder=3
    )
    for drawn in (lines, points):
        drawn.set_clim(0, 1.2 * max(len(way) - 1, 1))  # the yellow end of the map is too pale for white paper
    axes.scatter(
        way[0, 0], way[0, 1], marker="o", s=90, facecolors="none", edgecolors="#c0392b", linewidths=1.8, zorder=4
    )
    axes.annotate("start", way[0], (7, -14), textcoords="offset points", color="#c0392b", fontsize=9)
    axes.autoscale_view()


def _wells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    x, y = (part.reshape(-1) for part in np.meshgrid(np.arange(len(columns)), np.arange(len(rows))))
    axes.scatter(x, y, s=min(220.0, 40_000 / len(x)), facecolors="none", edgecolors="0.75", linewidths=0.8, zorder=1)
    every = (-(-len(rows) // 16), -(-len(columns) // 12))
    axes.set_yticks(range(0, len(rows), every[0]), list(rows[:: every[0]]), fontsize=8)
    axes.set_xticks(range(0, len(columns), every[1]), list(columns[:: every[1]]), fontsize=8)
    axes.set(xlim=(-0.8, len(columns) - 0.2), ylim=(-0.8, len(rows) - 0.2))
    axes.xaxis.tick_top()


def _fields(axes: Axes, settings: AcquisitionSettings, at: NDArray[np.float64]) -> None:
    """Draw the fields to scale, about their positions."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    down, across = settings.frame_dimensions
    if not (across.scale and down.scale) or len(at) > _MOST_FIELDS:
        return
    width, height = (across.count or 1) * across.scale, (down.count or 1) * down.scale
    boxes = [Rectangle((x - width / 2, y - height / 2), width, height) for x, y in at]
    axes.add_collection(PatchCollection(boxes, facecolor="0.5", edgecolor="0.5", alpha=0.2, zorder=1))
