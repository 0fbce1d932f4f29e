"""Given an array, this answers: what does it look like, cut into chunks and shards? As inline SVG.

As dask and zarr show their arrays: the last three axes are a box, those before it grids of two axes or a strip. Lines
lie where chunks and shards really meet. Along each axis lengths are to scale; y and x share one scale, unless one is
more than six times the other; the other axes have scales of their own, for ten planes beside 2048 pixels are no line.

All strokes and texts are of the `currentColor`, so that they are legible on light and on dark ground. The few other
colours are middling ones, which the style of a page may tune (`page.py`), where the page lets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from ome_writers.layout import ArraySpec
from ome_writers.markup import element, escaped_text

_LONG: Final = 132.0
"""Length of the longest edge, in pixels of the screen."""
_SHORT: Final = 22.0
_MOST_RATIO: Final = 6.0
_MOST_LINES: Final = 32
_DEPTH: Final = (0.62, -0.42)
"""How a step into the depth of the box is drawn."""
_ENDLESS: Final = 8
"""How many chunks, or shards, of an axis without end are drawn."""
_GAP: Final = 40.0
_TOP, _LEFT = 22.0, 46.0

Point = tuple[float, float]

_LOOKS: Final[dict[str, dict[str, str]]] = {
    "ground": {"fill": "#808080", "fill-opacity": ".13"},
    "first-chunk": {"fill": "#0f8b9c", "fill-opacity": ".55"},
    "first-shard": {"fill": "#c76a0a", "fill-opacity": ".22"},
    "chunk": {"fill": "none", "stroke": "currentColor", "stroke-width": ".8", "opacity": ".35"},
    "shard": {"fill": "none", "stroke": "#c76a0a", "stroke-width": "1.6"},
    "edge": {"fill": "none", "stroke": "currentColor"},
    "endless": {"fill": "none", "stroke": "currentColor", "stroke-dasharray": "3 3"},
}


@frozen
class Edge:
    """An axis as it is drawn: its length on the screen, and where on it chunks and shards meet."""

    name: str
    count: int | None
    length: float
    chunks: tuple[float, ...]
    shards: tuple[float, ...]
    chunk: float
    shard: float
    """Length of the first chunk, and of the first shard (0 without shards)."""

    @property
    def label(self) -> str:
        """Name and number of elements."""
        return f"{self.name} {'∞' if self.count is None else self.count}"


def array_svg(spec: ArraySpec) -> str:
    """Return a picture of an array.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 10, "z": 5, "y": 512, "x": 512})
    >>> spec = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims)).layout.arrays[0]
    >>> array_svg(spec).startswith("<svg ")
    True
    """
    edges = _edges(spec)
    box, before = edges[-3:], edges[:-3]
    first = len(before) % 2
    groups = [before[:1]] * first + [before[k : k + 2] for k in range(first, len(before), 2)]
    parts: list[str] = []
    at = _LEFT
    tallest = 0.0
    for group in groups:
        row = group[0] if len(group) > 1 else None
        parts += _grid((at, _TOP), row, group[-1])
        at += group[-1].length + _GAP + (0 if row is None else _SHORT)
        tallest = max(tallest, row.length if row else _SHORT)
    depth = box[0] if len(box) > 2 else None  # noqa: PLR2004 - beside y and x
    rise = -depth.length * _DEPTH[1] if depth else 0.0
    parts += _box((at, _TOP + rise), depth, box[-2], box[-1])
    width = at + box[-1].length + (depth.length * _DEPTH[0] if depth else 0.0) + 4 * len(box[-1].label)
    height = _TOP + max(tallest, rise + box[-2].length) + 24
    view = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": f"{width:.0f}", "height": f"{height:.0f}"}
    said = {"role": "img", "aria-label": f"array of {' × '.join(edge.label for edge in edges)}"}
    return element("svg", {**view, **said, "class": "ow-array"}, *parts)


def thinned(spec: ArraySpec) -> tuple[str, ...]:
    """Return the names of the axes that have more chunks than are drawn as lines."""
    return tuple(
        name
        for name, count, chunk in zip(spec.dimension_names, spec.shape, spec.chunk_shape, strict=True)
        if count is not None and -(-count // chunk) > _MOST_LINES
    )


# ── edges ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _edges(spec: ArraySpec) -> list[Edge]:
    shards = spec.shard_shape or (0,) * len(spec.shape)
    counts = [
        max(_ENDLESS * chunk, 2 * shard) if count is None else count
        for count, chunk, shard in zip(spec.shape, spec.chunk_shape, shards, strict=True)
    ]
    lengths = [_own(count, spec.shape[axis] is None) for axis, count in enumerate(counts[:-2])]
    height, width = counts[-2:]
    longest = max(height, width)
    lengths += [_LONG * max(side / longest, 1 / _MOST_RATIO) for side in (height, width)]
    return [
        Edge(
            name=name,
            count=given,
            length=length,
            chunks=_cuts(count, chunk, length),
            shards=_cuts(count, shard, length),
            chunk=length * min(chunk / count, 1),
            shard=length * min(shard / count, 1),
        )
        for name, given, count, chunk, shard, length in zip(
            spec.dimension_names, spec.shape, counts, spec.chunk_shape, shards, lengths, strict=True
        )
    ]


def _own(count: int, endless: bool) -> float:  # noqa: FBT001 - of an axis
    """Return the length of an axis that shares its scale with no other: the longer the more elements, within reason."""
    return _LONG if endless else min(_LONG, _SHORT + 9.0 * (count - 1))


def _cuts(count: int, block: int, length: float) -> tuple[float, ...]:
    """Return where blocks meet; if that is at very many places, every so manieth of them."""
    if not block:
        return ()
    every = -(-count // block // _MOST_LINES) or 1
    return tuple(length * at / count for at in range(block * every, count, block * every))


# ── drawing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _path(points: Sequence[Point], kind: str, *, closed: bool = False) -> str:
    d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")
    return element("path", {"d": d, "class": kind, **_LOOKS[kind]})


def _text(at: Point, text: str, anchor: str = "middle") -> str:
    looks = {"text-anchor": anchor, "fill": "currentColor", "font-size": "12"}
    return element("text", {"x": round(at[0], 1), "y": round(at[1], 1), **looks}, escaped_text(text))


def _face(origin: Point, down: Edge | None, across: Edge, *, along: Point = (1, 0), side: Point = (0, 1)) -> list[str]:
    """Return a parallelogram with its lines; `along` and `side` say where its two edges go."""
    thick = down.length if down else _SHORT

    def at(u: float, v: float) -> Point:
        return origin[0] + u * along[0] + v * side[0], origin[1] + u * along[1] + v * side[1]

    def lines(kind: str) -> Iterator[str]:
        for u in getattr(across, f"{kind}s"):
            yield _path([at(u, 0), at(u, thick)], kind)
        for v in getattr(down, f"{kind}s") if down else ():
            yield _path([at(0, v), at(across.length, v)], kind)

    def filled(u: float, v: float, kind: str) -> str:
        return _path([at(0, 0), at(u, 0), at(u, v), at(0, v)], kind, closed=True)

    parts = [filled(across.length, thick, "ground")]
    if across.shard:
        parts.append(filled(across.shard, down.shard if down else thick, "first-shard"))
    parts.append(filled(across.chunk, down.chunk if down else thick, "first-chunk"))
    parts += [*lines("chunk"), *lines("shard")]
    ends = [at(across.length, 0), at(across.length, thick)], [at(0, thick), at(across.length, thick)]
    endless = (across.count is None, down is not None and down.count is None)
    outline = [[at(0, 0), at(across.length, 0)], [at(0, 0), at(0, thick)]]
    return [*parts, *(_path(line, "edge") for line in outline), *(
        _path(end, "endless" if open_ else "edge") for end, open_ in zip(ends, endless, strict=True)
    )]  # fmt: skip


def _grid(origin: Point, down: Edge | None, across: Edge) -> list[str]:
    x, y = origin
    labels = [_text((x + across.length / 2, y - 7), across.label)]
    if down:
        labels.append(_text((x - 6, y + down.length / 2 + 4), down.label, "end"))
    return [*_face(origin, down, across), *labels]


def _box(origin: Point, depth: Edge | None, down: Edge, across: Edge) -> list[str]:
    x, y = origin
    parts: list[str] = []
    if depth:
        parts += _face(origin, depth, across, side=_DEPTH)
        right = (x + across.length, y)
        parts += _face(right, down, depth, along=_DEPTH)
        into = (x + depth.length * _DEPTH[0] / 2, y + depth.length * _DEPTH[1] / 2)
        parts.append(_text((into[0] - 6, into[1] + 1), depth.label, "end"))
    parts += _face(origin, down, across)
    parts.append(_text((x + across.length / 2, y + down.length + 16), across.label))
    parts.append(_text((x - 6, y + down.length / 2 + 4), down.label, "end"))
    return parts
