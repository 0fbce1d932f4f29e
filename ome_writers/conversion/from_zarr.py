"""Given an OME-Zarr of any origin, this answers what was recorded there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import evolve

from ome_writers.conversion.recording import Recording, Tell, colors_as_channels, jagged, letters_of, silent
from ome_writers.datasets import read_dataset
from ome_writers.datasets.facts import Facts, facts_from
from ome_writers.datasets.words import Dataset, Image
from ome_writers.datasets.zarr import read_node
from ome_writers.items import Channel, Position
from ome_writers.ngff import OPTICS
from ome_writers.records import Record
from ome_writers.settings import AcquisitionSettings, Dimension, Plate
from ome_writers.sources import Frames, images_from

_OURS: Final = ("ome", "ome_writers", "multiscales", "omero", "plate", "bioformats2raw.layout", "_creator")


def zarr_recording(path: Path) -> Recording:
    """Return what was recorded in a zarr folder."""
    dataset, parts = read_dataset(path), [colors_as_channels(part) for part in images_from(path)]
    attributes = (read_node(path) or {}).get("attributes") or {}
    noted = attributes.get("ome_writers") or {}
    facts = facts_from(noted)
    if facts is not None:
        dataset, parts = _as_noted(dataset, parts, noted)
    known = None if facts is None else jagged(facts, parts, "ome-zarr")
    return Recording(
        name=str(path),
        parts=parts,
        tell=_records(path, dataset, parts),
        globals={key: value for key, value in attributes.items() if key not in _OURS and isinstance(value, dict)},
        **(_even(path, dataset, parts, attributes, facts) if known is None else known),
        **of_run(facts),
    )


def _as_noted(dataset: Dataset, parts: list[Frames], noted: Mapping[str, Any]) -> tuple[Dataset, list[Frames]]:
    """Return images in the order in which our notes list their arrays."""
    listed, here = noted.get("arrays"), [image.array for image in dataset.images]
    if not isinstance(listed, list) or sorted(map(str, listed)) != sorted(here):
        return dataset, parts
    order = [here.index(str(path)) for path in listed]
    return evolve(dataset, images=tuple(dataset.images[k] for k in order)), [parts[k] for k in order]


def _even(
    path: Path, dataset: Dataset, parts: list[Frames], attributes: Mapping[str, Any], facts: Facts | None
) -> dict[str, Any]:
    """Return what a recording says of images that are alike."""
    noted = attributes.get("ome_writers") or {}
    places = [_place(path, image) for image in dataset.images]
    if facts is None:
        dims = _plain_dimensions(dataset, parts)
        fans: tuple[str, ...] = ("p",) if len(parts) > 1 else ()
    else:
        dims = facts.dimensions
        fans = fans_of(facts)
    each = max(1, len(parts) // max(1, next((dim.count or 1 for dim in dims if dim.type == "position"), 1)))
    dims = tuple(
        evolve(dim, coords=_positions(dataset, dim.count or 1, places, each)) if dim.type == "position" else dim
        for dim in dims
    )
    dims = with_channels(dims, _channels(dataset, noted, fans, dims, each), told=_told(noted))
    return {
        "settings": AcquisitionSettings(
            dimensions=_with_chunks(dims, dataset.images[0]), dtype=parts[0].dtype, plate=_plate(attributes)
        ),
        "axes": letters_of(parts, dims[:-2], fans),
        "fans": fans,
    }


def of_run(facts: Facts | None) -> dict[str, Any]:
    """Return what a recording says of its run."""
    if facts is None:
        return {}
    if not facts.ended:
        return {"planned": facts.planned, "fault": "the source was still being written, or its process was killed"}
    fault = f"the source failed: {facts.error}" if facts.verdict == "failed" else facts.error
    return {"cursor": facts.cursor, "missing": facts.missing, "planned": facts.planned, "fault": fault}


def fans_of(facts: Facts) -> tuple[str, ...]:
    """Return the dimensions that choose an array, the slowest first."""
    loops = [dim for dim in facts.dimensions[:-2] if dim.name not in facts.axes]
    return tuple(dim.name for dim in sorted(loops, key=lambda dim: dim.type != "position"))


def with_channels(dims: Sequence[Dimension], channels: Sequence[Channel], *, told: bool) -> tuple[Dimension, ...]:
    """Return dimensions that say what is known of the channels; `told`: the channels had names of their own."""
    made = []
    for dim in dims:
        fits = dim.type == "channel" and len(channels) == dim.count
        made.append(evolve(dim, coords=tuple(channels)) if fits and told else dim)
    return tuple(made)


def _told(noted: Mapping[str, Any]) -> bool:
    dims = noted.get("dimensions") or ()
    return not dims or any(dim.get("type") == "channel" and dim.get("coords") for dim in dims)


def _place(path: Path, image: Image) -> dict[str, Any]:
    found = ((read_node(path / image.path) or {}).get("attributes") or {}).get("ome_writers") or {}
    return found.get("position") or {}


def _plain_dimensions(dataset: Dataset, parts: Sequence[Frames]) -> tuple[Dimension, ...]:
    image = dataset.images[0]
    dims = [Dimension(name="p", type="position", count=len(parts))] if len(parts) > 1 else []
    lengths = [max(one.shape[axis] for one in dataset.images) for axis in range(len(image.shape))]
    for number, (axis, length) in enumerate(zip(image.axes, lengths, strict=True)):
        name = axis.name if axis.name != "?" else "tczyx"[-len(lengths) :][number]
        type_: Any = axis.type if axis.type in ("space", "time", "channel") else None if axis.type is None else "other"
        scale = axis.scale if axis.unit or axis.scale != 1 else None
        measured = type_ not in ("channel", "other")
        dims.append(
            Dimension(
                name=name,
                type=type_,
                count=length,
                unit=axis.unit if measured else None,
                scale=scale if measured else None,
                translation=(axis.translation or None) if measured and not (len(parts) > 1 and name in "yx") else None,
            )
        )
    return tuple(dims)


def _positions(dataset: Dataset, count: int, places: Sequence[Mapping[str, Any]], each: int) -> tuple[Position, ...]:
    found = []
    for number, (image, place) in enumerate(zip(dataset.images[::each], places[::each], strict=True)):
        if place:
            found.append(Position(**place))
            continue
        well = image.path.split("/") if image.path.count("/") == 2 else None  # noqa: PLR2004 - row, column, field
        stage = {axis.name: axis.translation for axis in image.axes[-2:] if axis.translation}
        found.append(
            Position(
                name=well[2] if well else image.name if _names_differ(dataset) else str(number),
                plate_row=well[0] if well else None,
                plate_column=well[1] if well else None,
                x_coord=stage.get("x"),
                y_coord=stage.get("y"),
            )
        )
    return tuple(found[:count])


def _names_differ(dataset: Dataset) -> bool:
    names = [image.name for image in dataset.images]
    return all(names) and len(set(names)) == len(names)


def _channels(
    dataset: Dataset, noted: Mapping[str, Any], fans: Sequence[str], dims: Sequence[Dimension], each: int
) -> list[Channel]:
    dim = next((dim for dim in dims if dim.type == "channel"), None)
    if dim is None:
        return []
    shown = list(dataset.images[0].channels)
    if dim.name in fans:  # each image has one of them, the later loops being faster
        inner = 1
        for name in fans[fans.index(dim.name) + 1 :]:
            inner *= next(one.count or 1 for one in dims if one.name == name)
        shown = [image.channels[0] for image in dataset.images[: each : max(1, inner)] if image.channels]
        shown = shown[: dim.count]
    optics = noted.get("channels") or [{}] * len(shown)
    made = []
    for number, ((label, color), known) in enumerate(zip(shown, optics, strict=False)):
        facts = {name: known[name] for name in OPTICS if name in known}
        made.append(Channel(name=label or f"Channel {number}", color=f"#{color}" if color else None, **facts))
    return made


def _with_chunks(dims: Sequence[Dimension], image: Image) -> tuple[Dimension, ...]:
    """Return dimensions with chunks and shards as they are stored."""
    names = [axis.name for axis in image.axes]
    made = []
    for dim in dims:
        if image.chunks and dim.name in names:
            axis = names.index(dim.name)
            shards = image.shards[axis] // image.chunks[axis] if image.shards else None
            size = min(image.chunks[axis], dim.count) if dim.count and not shards else image.chunks[axis]
            made.append(evolve(dim, chunk_size=size, shard_size_chunks=shards))
        else:
            made.append(dim)
    return tuple(made)


def _plate(attributes: Mapping[str, Any]) -> Plate | None:
    said = attributes.get("ome", attributes).get("plate")
    if not said:
        return None
    return Plate(
        name=said.get("name"),
        row_names=[row["name"] for row in said["rows"]],
        column_names=[column["name"] for column in said["columns"]],
    )


def _records(path: Path, dataset: Dataset, parts: Sequence[Frames]) -> Tell:
    """Return what came with frames, as our groups list it."""
    found: dict[tuple[int, int], Record] = {}
    for image, (described, part) in enumerate(zip(dataset.images, parts, strict=True)):
        noted = ((read_node(path / described.path) or {}).get("attributes") or {}).get("ome_writers") or {}
        lengths = [size for _, size in part.axes]
        for record in noted.get("frame_metadata") or ():
            index = record.get("storage_index")
            if isinstance(index, list) and len(index) == len(lengths):
                number = int(np.ravel_multi_index(index, lengths)) if lengths else 0
                found[image, number] = {key: value for key, value in record.items() if key != "storage_index"}
    return (lambda image, number: found.get((image, number))) if found else silent
