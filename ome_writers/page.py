"""Given an overview, or settings that are not ready yet, this answers: how do they look in a notebook? As HTML.

A piece of a page, with a style that touches nothing else on it. Colours are those of the page around it, mixed with a
few tints that are legible on light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ome_writers.errors import Problem
from ome_writers.images import hues
from ome_writers.layout import ArraySpec
from ome_writers.markup import escaped
from ome_writers.overview import Concern, Overview, chunk_bytes, sizes
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.sights import size
from ome_writers.sketch import array_svg, thinned

_DRAWN: Final = 3
"""Kinds of arrays that are drawn; more are counted."""
_NAMED: Final = 6
"""Channels, or positions, that are named; more are counted."""

STYLE: Final = """
.ow {font: 13px/1.5 system-ui, sans-serif; color: inherit; max-width: 60em;
  --ow-tint: rgba(128,128,128,.13); --ow-line: rgba(128,128,128,.45); --ow-chunk: #0f7b8a; --ow-shard: #b85c00;
  --ow-warn: #9a5b00}
@media (prefers-color-scheme: dark) {.ow {--ow-chunk: #4cc3d4; --ow-shard: #f0a050; --ow-warn: #f0b860}}
[data-jp-theme-light="true"] .ow, .vscode-light .ow {--ow-chunk: #0f7b8a; --ow-shard: #b85c00; --ow-warn: #9a5b00}
[data-jp-theme-light="false"] .ow, .vscode-dark .ow {--ow-chunk: #4cc3d4; --ow-shard: #f0a050; --ow-warn: #f0b860}
.ow h4 {margin: 0 0 .5em; font-size: 1.1em; font-weight: 600}
.ow h4 small {font-weight: normal; opacity: .75; margin-left: .5em}
.ow .ow-strip {display: flex; flex-wrap: wrap; align-items: stretch; gap: .25em .4em; margin: 0 0 .8em}
.ow .ow-dim {background: var(--ow-tint); border-top: 3px solid var(--ow-hue); border-radius: 3px; padding: .2em .7em}
.ow .ow-dim b {margin-right: .4em}
.ow .ow-dim small {display: block; opacity: .8; font-size: .87em}
.ow .ow-then {align-self: center; opacity: .6}
.ow .ow-dot {display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin: 0 .25em 0 0;
  border: 1px solid var(--ow-line)}
.ow dl {display: grid; grid-template-columns: max-content 1fr; gap: .1em 1.2em; margin: 0 0 .8em}
.ow dt {opacity: .7; font-weight: normal} .ow dd {margin: 0}
.ow ul.ow-concerns {margin: 0 0 .8em; padding: 0; list-style: none}
.ow ul.ow-concerns li {border-left: 3px solid var(--ow-warn); padding: .1em .7em; margin: .3em 0;
  background: var(--ow-tint)}
.ow ul.ow-concerns b {color: var(--ow-warn)}
.ow .ow-arrays {display: flex; gap: 1em 2em; align-items: center; margin-bottom: .6em}
.ow .ow-arrays dl {min-width: 16em; margin: 0}
.ow svg {color: inherit; overflow: visible; flex: none}
.ow svg path.shard {stroke: var(--ow-shard)}
.ow svg path.first-chunk {fill: var(--ow-chunk)}
.ow svg path.first-shard {fill: var(--ow-shard)}
.ow .ow-key {display: inline-block; width: .8em; height: .8em; margin-right: .35em; vertical-align: -.05em}
"""

_HUES: Final = {"time": "#7a86e8", "channel": "#3fae6a", "position": "#d9822b", "camera": "#a259c4", "space": "#2b9fb3"}
_PAGED: Final = (".tif", ".tiff")
_SYMBOLS: Final = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s", "millisecond": "ms"}


def page_of(found: Overview) -> str:
    """Return a plan in HTML.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> from ome_writers.overview import overview
    >>> dims = dims_from_standard_axes({"t": 10, "y": 512, "x": 512})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims))
    >>> "10 frames in 1 array" in page_of(overview(plan, writer="direct", unit="frame", peak=0))
    True
    """
    settings = found.plan.settings
    body = [_strip(settings.dimensions, settings.dtype), _facts(found), _concerns(found.concerns)]
    frames, _, rest = repr(found.plan)[7:-1].partition(" ")
    title = f"{int(frames):,} {rest}" if frames.isdecimal() else f"{frames} {rest}"
    return _framed(title, settings.output_path, [*body, _arrays(found.plan.layout.arrays)])


def page_of_unready(settings: AcquisitionSettings, problems: Sequence[Problem]) -> str:
    """Return settings that cannot be compiled yet in HTML, with what is missing."""
    concerns = [Concern(".".join(map(str, problem.loc)) or "settings", problem.message) for problem in problems]
    return _framed(
        "settings, not ready to be compiled",
        settings.output_path,
        [_strip(settings.dimensions, settings.dtype), _concerns(concerns)],
    )


def _framed(title: str, path: str, body: Iterable[str]) -> str:
    where = f"<small>{escaped(path)}</small>" if path else ""
    return f'<div class="ow"><style>{STYLE}</style><h4>{escaped(title)}{where}</h4>{"".join(body)}</div>'


# ── dimensions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _strip(dims: Sequence[Dimension], dtype: str) -> str:
    if not dims:
        return ""
    boxes = [_dimension(dim) for dim in dims[:-2]]
    frame = sizes([dim.count for dim in dims[-2:]])
    names = " ".join(f"<b>{escaped(dim.name)}</b>" for dim in dims[-2:])
    boxes.append(_boxed("space", f"{names} {frame}", [escaped(dtype), _every(dims[-1])]))
    return '<div class="ow-strip">' + '<span class="ow-then">→</span>'.join(boxes) + "</div>"


def _dimension(dim: Dimension) -> str:
    count = "∞" if dim.count is None else str(dim.count)
    notes = [_elements(dim), _every(dim), "to and fro" if dim.snake else ""]
    return _boxed(str(dim.type), f"<b>{escaped(dim.name)}</b>{count}", notes)


def _boxed(type_: str, head: str, notes: Iterable[str]) -> str:
    lines = "".join(f"<small>{note}</small>" for note in notes if note)
    return f'<div class="ow-dim" style="--ow-hue: {_HUES.get(type_, "#999")}">{head}{lines}</div>'


def _every(dim: Dimension) -> str:
    if dim.scale is None:
        return ""
    unit = _SYMBOLS.get(dim.unit or "", dim.unit or "")
    return escaped(f"{'every ' if dim.type == 'time' else ''}{dim.scale:g} {unit}".rstrip())


def _elements(dim: Dimension) -> str:
    if dim.type == "channel" and dim.count is not None and dim.count <= _NAMED:
        return " ".join(
            f'<span class="ow-dot" style="background: {escaped(hue.color[:7])}"></span>{escaped(hue.name)}'
            for hue in hues(dim, dim.count)
        )
    if dim.type in ("position", "camera") and dim.coords and len(dim.coords) <= _NAMED:
        return escaped(", ".join(str(getattr(coord, "name", coord)) for coord in dim.coords))
    return {"channel": "channels", "position": "positions", "camera": "cameras", "time": "time points"}.get(
        str(dim.type), ""
    )


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _facts(found: Overview) -> str:
    plan = found.plan
    frames = (
        "without end" if plan.frames is None else f"{plan.frames:,} of {' and '.join(map(size, found.frames.values()))}"
    )
    codec = plan.layout.arrays[0].codec
    amount = "without end" if found.pixel_bytes is None else size(found.pixel_bytes)
    pixels = amount + (f" before compression ({codec.name})" if codec else "")
    facts = {"frames": frames, "pixels": pixels, "files": files_said(found), "memory": memory_said(found)}
    if found.writer:
        facts["writer"] = f"{found.writer}, a {found.unit} at a time"
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escaped(fact)}</dd>" for name, fact in facts.items()) + "</dl>"


def files_said(found: Overview) -> str:
    """Return how many files there will be, in words."""
    if found.files is None:
        return "without end"
    if not found.documents:
        return f"{found.files:,}" if found.files else "none"
    return f"{found.files + found.documents:,} ({found.files:,} with pixels, {found.documents:,} with metadata)"


def memory_said(found: Overview) -> str:
    """Return how much memory pixels will take, in words."""
    if not found.peak_bytes:
        return "none but the frame at hand"
    return f"at most {size(found.peak_bytes)} ({size(found.buffer_bytes)} to put blocks together)"


def _concerns(concerns: Iterable[Concern]) -> str:
    items = "".join(f"<li><b>{escaped(one.about)}</b> {escaped(one.reason)}</li>" for one in concerns)
    return f'<ul class="ow-concerns">{items}</ul>' if items else ""


# ── arrays ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _arrays(specs: Sequence[ArraySpec]) -> str:
    kinds: dict[object, list[ArraySpec]] = {}
    for spec in specs:
        kinds.setdefault((spec.shape, spec.chunk_shape, spec.shard_shape, spec.dtype), []).append(spec)
    shown = "".join(_kind(alike) for alike in list(kinds.values())[:_DRAWN])
    more = len(kinds) - _DRAWN
    return shown + (f"<p>… and {more} more kinds of arrays</p>" if more > 0 else "")


def _kind(alike: Sequence[ArraySpec]) -> str:
    spec = alike[0]
    where = spec.path or "the whole file"
    if alike[-1].path != spec.path:
        where += f" … {alike[-1].path}"
    piece = "page" if spec.path.endswith(_PAGED) or not spec.path else "chunk"
    facts = {
        "array" if len(alike) == 1 else f"{len(alike)} arrays": where,
        "axes": " ".join(spec.dimension_names),
        "shape": f"{sizes(spec.shape)}, {spec.dtype}",
        f'<span class="ow-key" style="background: var(--ow-chunk)"></span>{piece}': (
            f"{sizes(spec.chunk_shape)}, {size(chunk_bytes(spec))}"
        ),
    }
    if spec.shard_shape:
        chunks = [shard // chunk for shard, chunk in zip(spec.shard_shape, spec.chunk_shape, strict=True)]
        facts['<span class="ow-key" style="background: var(--ow-shard)"></span>shard'] = (
            f"{sizes(spec.shard_shape)}, of {sizes(chunks)} chunks"
        )
    if names := thinned(spec):
        facts["drawn"] = f"some of the lines along {', '.join(names)}, where there are too many"
    items = "".join(f"<dt>{name}</dt><dd>{escaped(fact)}</dd>" for name, fact in facts.items())
    return f'<div class="ow-arrays">{array_svg(spec)}<dl>{items}</dl></div>'
