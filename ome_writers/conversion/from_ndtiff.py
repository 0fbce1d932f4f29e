"""Given a folder of NDTiff (Micro-Manager, Pycro-Manager), this answers what was recorded there, with `ndstorage`."""

from __future__ import annotations

import contextlib
import io
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.conversion.micromanager import mm_dimensions, mm_record
from ome_writers.conversion.recording import Recording
from ome_writers.items import Channel
from ome_writers.records import Record
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.sources import Frames, SourceError

INDEX: Final = "NDTiff.index"
_KNOWN: Final = {"time": ("t", "time"), "position": ("p", "position"), "channel": ("c", "channel"), "z": ("z", "space")}


def ndtiff_recording(folder: Path) -> Recording:
    """Return what was recorded in a folder."""
    import ndstorage  # type: ignore[import-untyped]

    with contextlib.redirect_stdout(io.StringIO()):  # it prints how far it has read its index
        data = ndstorage.Dataset(str(folder))
    if data.image_width is None or not data.axes:
        raise SourceError(f"{folder}: holds no images")

    keys = [dict(key) for key in data.get_image_coordinates_list()]
    axes = {name: list(values) for name, values in data.axes.items()}
    names = sorted(axes, key=lambda name: (list(_KNOWN).index(name) if name in _KNOWN else 1.5, name))
    dims = [_dimension(name, axes[name]) for name in names]
    height, width = int(data.image_height), int(data.image_width)
    dims += [Dimension(name="y", type="space", count=height), Dimension(name="x", type="space", count=width)]
    dtype = np.dtype(data.dtype).name
    lengths = [len(axes[name]) for name in names]

    def named(number: int) -> dict[str, Any]:
        where = np.unravel_index(number, lengths) if lengths else ()
        return {name: axes[name][int(index)] for name, index in zip(names, where, strict=True)}

    def read(number: int) -> NDArray[Any] | None:
        place = named(number)
        return np.asarray(data.read_image(**place)) if data.has_image(**place) else None

    def tell(image: int, number: int) -> Record | None:  # noqa: ARG001 - there is one
        return mm_record(data.read_metadata(**named(number)) or {})

    weakref.finalize(read, data.close)
    first: Mapping[str, Any] = data.read_metadata(**keys[0]) or {}
    described = mm_dimensions(dims, data.summary_metadata or {}, first)
    letters = tuple((dim.name, length) for dim, length in zip(dims, lengths, strict=False))
    return Recording(
        name=str(folder),
        settings=AcquisitionSettings(dimensions=described, dtype=dtype),
        parts=(Frames(str(folder), (height, width), dtype, letters, read),),
        axes={dim.name: dim.name for dim in dims[:-2]},
        tell=tell,
    )


def _dimension(name: str, values: list[Any]) -> Dimension:
    short, type_ = _KNOWN.get(name, (name, "other"))
    if type_ == "channel" and all(isinstance(value, str) for value in values):
        return Dimension(name=short, type="channel", coords=tuple(Channel(name=value) for value in values))
    if type_ == "other":
        return Dimension(name=short, type="other", coords=tuple(map(str, values)))
    return Dimension(name=short, type=type_, count=len(values))  # type: ignore[arg-type]
