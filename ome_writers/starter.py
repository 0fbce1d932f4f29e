"""Given a few answers about an acquisition, this answers: what would a good settings file be? With comments.

The sizes of chunks and shards are those of `advice.py`, and the reasons stand in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from attrs import evolve, frozen

from ome_writers.advice import Advice
from ome_writers.settings import AcquisitionSettings, Dimension

_WIDTH: Final = 100

Line = tuple[str, Any, str]


@frozen(kw_only=True)
class Answers:
    """What one has to know of an acquisition before it can be planned.

    Examples
    --------
    >>> asked = Answers(root_path="a.ome.zarr", height=512, width=512, times=None, channels=("DAPI", "GFP"), planes=5)
    >>> [(dim.name, dim.count) for dim in asked.settings().dimensions]
    [('t', None), ('c', 2), ('z', 5), ('y', 512), ('x', 512)]
    """

    root_path: str
    height: int
    width: int
    dtype: str = "uint16"
    pixel_size: float | None = None
    """In micrometers."""
    times: int | None = 1
    """Time points; `None`: without end."""
    interval: float | None = None
    """In seconds."""
    positions: int = 1
    channels: tuple[str, ...] = ()
    planes: int = 1
    step: float | None = None
    """Between planes, in micrometers."""
    compression: str | None = None

    def settings(self) -> AcquisitionSettings:
        """Return the settings, of whole frames in chunks of their own.

        Raises
        ------
        SettingsError
            With every problem.
        """
        dims = []
        if self.times != 1:
            dims.append(Dimension(name="t", count=self.times, type="time", unit="second", scale=self.interval))
        if self.positions > 1:
            dims.append(Dimension(name="p", count=self.positions, type="position"))
        if self.channels:
            dims.append(Dimension(name="c", coords=self.channels, type="channel"))
        if self.planes != 1:
            dims.append(Dimension(name="z", count=self.planes, type="space", unit="micrometer", scale=self.step))
        for name, count in (("y", self.height), ("x", self.width)):
            dims.append(Dimension(name=name, count=count, type="space", unit="micrometer", scale=self.pixel_size))
        return AcquisitionSettings(
            root_path=self.root_path, dtype=self.dtype, dimensions=dims, compression=self.compression
        )


def advised(settings: AcquisitionSettings, advice: Advice) -> AcquisitionSettings:
    """Return settings with the sizes of chunks and shards that are advised.

    Examples
    --------
    >>> asked = Answers(root_path="a.ome.zarr", height=8, width=8, times=4).settings()
    >>> advised(asked, Advice(chunks={"t": 2}, shards={"t": 2})).dimensions[0].shard_size_chunks
    2
    """
    dims = [
        evolve(dim, chunk_size=advice.chunks.get(dim.name), shard_size_chunks=advice.shards.get(dim.name))
        for dim in settings.dimensions
    ]
    return evolve(settings, dimensions=dims)


def commented(settings: AcquisitionSettings, advice: Advice, style: Literal["toml", "yaml"]) -> str:
    """Return a settings file, with the sizes that are advised, the reasons, and a comment on each line that needs one.

    Examples
    --------
    >>> asked = Answers(root_path="a.ome.zarr", height=8, width=8).settings()
    >>> print(commented(asked, Advice(), "yaml").splitlines()[6])
    root_path: "a.ome.zarr"  # where it goes; the suffix chooses OME-Zarr (.ome.zarr) or OME-TIFF (.ome.tiff)
    """
    wanted = advised(settings, advice)
    lines = [*_comments(_head(style)), "", *_top(wanted, style), ""]
    lines += _comments([_ABOUT_LOOPS, *advice.reasons])
    lines += [] if style == "toml" else ["dimensions:"]
    for dim in wanted.dimensions:
        lines += _dimension(dim, style)
    return "\n".join(lines) + "\n"


_ABOUT_LOOPS: Final = (
    "The loops of the acquisition, the slowest first; the last two dimensions are those of a frame. A chunk is what "
    "readers fetch at once (chunk_size, in frames or pixels), a shard a file of several chunks (shard_size_chunks, in "
    "chunks)."
)


def _head(style: str) -> Sequence[str]:
    with_schema = {
        "toml": "#:schema ./ome-writers.schema.json",
        "yaml": "# yaml-language-server: $schema=ome-writers.schema.json",
    }[style]
    return (
        "Settings of an acquisition, for ome-writers.",
        "ome-writers check FILE says what is wrong with it, ome-writers plan FILE what it would write.",
        "Editors can complete and check it: run ome-writers schema -o ome-writers.schema.json and begin with the line",
        with_schema,
    )


def _comments(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        line = "#"
        for word in text.split():
            if len(line) + len(word) >= _WIDTH:
                yield line
                line = "#"
            line += f" {word}"
        yield line


def _top(settings: AcquisitionSettings, style: str) -> Iterator[str]:
    path = "where it goes; the suffix chooses OME-Zarr (.ome.zarr) or OME-TIFF (.ome.tiff)"
    yield _line(("root_path", settings.root_path, path), style)
    yield _line(("dtype", settings.dtype, "of the pixels"), style)
    if settings.compression:
        yield _line(("compression", settings.compression, ""), style)
    elif settings.format.name != "scratch":
        codec = "blosc-zstd" if settings.format.name == "ome-zarr" else "zlib"
        yield f"# {_line(('compression', codec, 'smaller files, at the cost of the processor'), style)}"
    yield f"# {_line(('overwrite', True, 'replace a dataset that stands there'), style)}"


def _dimension(dim: Dimension, style: str) -> Iterator[str]:
    yield "" if style == "toml" else "  # " + _about(dim)
    if style == "toml":
        yield f"[[dimensions]]  # {_about(dim)}"
    lines = list(_fields(dim))
    for number, line in enumerate(lines):
        indent = "" if style == "toml" else "    " if number else "  - "
        yield indent + _line(line, style)


def _about(dim: Dimension) -> str:
    known = {"t": "time points", "p": "stage positions", "c": "channels", "z": "planes"}
    return known.get(dim.name, {"y": "rows of a frame", "x": "columns of a frame"}.get(dim.name, dim.name))


def _fields(dim: Dimension) -> Iterator[Line]:
    yield "name", dim.name, ""
    if dim.type == "channel":
        names = [getattr(coord, "name", coord) for coord in dim.coords or ()]
        yield "coords", names, "names, or objects with name, color, emission_wavelength_nm, …"
    elif dim.count is None:
        yield "type", dim.type, "without a count it goes on without end"
    else:
        yield (
            "count",
            dim.count,
            "or coords: names, or objects with name, x_coord, y_coord, …" * (dim.type == "position"),
        )
    if dim.unit and dim.scale is not None:
        yield "unit", dim.unit, ""
        yield "scale", dim.scale, {"t": "interval", "z": "distance of planes"}.get(dim.name, "size of a pixel")
    if dim.chunk_size is not None:
        yield "chunk_size", dim.chunk_size, ""
    if dim.shard_size_chunks is not None:
        yield "shard_size_chunks", dim.shard_size_chunks, ""


def _line(line: Line, style: str) -> str:
    name, value, comment = line
    # JSON's texts, numbers and lists are those of TOML and of YAML, but for one character.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{name}{' = ' if style == 'toml' else ': '}{text}{comment and f'  # {comment}'}"
