"""Given a zarr folder, this answers what is in it, from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ome_writers.check import shown
from ome_writers.datasets.words import Axis, Dataset, Image, counted
from ome_writers.errors import Malformed, NotADataset
from ome_writers.regular import read_json, understood
from ome_writers.zarrjson import sizes_in

_V2_TYPES = {"b1": "bool", "f2": "float16", "f4": "float32", "f8": "float64"} | {
    f"{kind}{size}": f"{name}{8 * size}" for kind, name in (("u", "uint"), ("i", "int")) for size in (1, 2, 4, 8)
}


def _document(path: Path) -> Path:
    """Return the file that says what a group or an array is."""
    old = (path / name for name in (".zattrs", ".zgroup", ".zarray"))
    return next((file for file in old if file.is_file()), path / "zarr.json")


def read_node(path: Path) -> dict[str, Any] | None:
    """Return the metadata of a zarr group or array of either format, in the words of format 3, or `None`."""
    if (path / "zarr.json").is_file():
        return read_json(path / "zarr.json")
    for name, kind in ((".zarray", "array"), (".zgroup", "group")):
        if (path / name).is_file():
            attributes = read_json(path / ".zattrs") if (path / ".zattrs").is_file() else {}
            return {**read_json(path / name), "node_type": kind, "attributes": attributes}
    return None


def read_zarr(path: Path, node: dict[str, Any]) -> Dataset:
    """Return what is in the zarr folder `path`, whose own metadata is `node`."""
    with understood(_document(path)):
        return _bare_array(path, node) if node.get("node_type") == "array" else _ome_zarr(path, node)


def _bare_array(path: Path, node: dict[str, Any]) -> Dataset:
    shape, dtype, chunks, shards = _array(path, node)
    axes = tuple(Axis(str(name or "?")) for name in node.get("dimension_names") or [None] * len(shape))
    image = Image(path="", name=path.name, array="", shape=shape, dtype=dtype, axes=axes, chunks=chunks, shards=shards)
    return Dataset(str(path), f"zarr array of format {node.get('zarr_format', '?')}, without OME metadata", (image,))


def _ome_zarr(path: Path, node: dict[str, Any]) -> Dataset:
    attributes = node.get("attributes") or {}
    ome = attributes.get("ome", attributes)
    groups = list(_image_groups(path, ome))
    if not groups:
        raise NotADataset(f"{path}: is a zarr group without OME-Zarr images")
    images = tuple(_image(path, key) for key in groups)
    what = counted(images)
    if "plate" in ome:
        what = f"plate of {len(ome['plate']['rows'])} × {len(ome['plate']['columns'])} wells, {what}"
    version = ome.get("version") or _version_of(_ome(path, groups[0]))
    run = attributes.get("ome_writers") or {}
    verdict, frames = run.get("verdict"), run.get("frames")
    return Dataset(
        str(path),
        f"OME-Zarr {version}, {what}",
        images,
        verdict if isinstance(verdict, str) else None,
        frames if isinstance(frames, int) else None,
    )


def _ome(root: Path, key: str) -> dict[str, Any]:
    with understood(_document(root / key)):
        attributes = (read_node(root / key) or {}).get("attributes") or {}
        ome = attributes.get("ome", attributes)
        if not isinstance(ome, dict):
            raise Malformed(f"attributes.ome: must be an object; got {shown(ome)}")
        return ome


def _version_of(ome: dict[str, Any]) -> str:
    """Return the version that OME-Zarr 0.4 notes in each part of its metadata."""
    return str(ome.get("version") or (ome.get("multiscales") or [{}])[0].get("version", "of unknown version"))


def _image_groups(root: Path, ome: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of the groups that hold images: one, fields of wells, or the series of a bioformats2raw layout."""
    if "multiscales" in ome:
        yield ""
    elif "plate" in ome:
        for well in ome["plate"].get("wells", ()):
            said = _ome(root, str(well["path"]))
            with understood(_document(root / str(well["path"]))):
                fields = [str(field["path"]) for field in said.get("well", {}).get("images", ())]
            yield from (f"{well['path']}/{field}" for field in fields)
    elif series := _ome(root, "OME").get("series"):
        with understood(_document(root / "OME")):
            yield from list(map(str, series))
    elif "bioformats2raw.layout" in ome:
        number = 0
        while read_node(root / str(number)):
            yield str(number)
            number += 1


def _image(root: Path, key: str) -> Image:
    ome = _ome(root, key)
    with understood(_document(root / key)):
        return _described(root, key, ome)


def _described(root: Path, key: str, ome: dict[str, Any]) -> Image:
    if not ome.get("multiscales"):
        raise Malformed("should be that of an image, but has no multiscales metadata")
    multiscales = ome["multiscales"][0]
    level = multiscales["datasets"][0]
    array = f"{key}/{level['path']}".strip("/")
    node = read_node(root / array)
    if node is None:
        raise NotADataset(f"{root / array}: the array of image {key or '/'!r} is missing")
    shape, dtype, chunks, shards = _array(root / array, node)
    channels = (ome.get("omero") or {}).get("channels") or ()
    return Image(
        path=key,
        name=str(multiscales.get("name") or ""),
        array=array,
        shape=shape,
        dtype=dtype,
        axes=_axes(multiscales, level, len(shape)),
        chunks=chunks,
        shards=shards,
        levels=len(multiscales["datasets"]),
        channels=tuple((str(one.get("label") or ""), _text(one.get("color"))) for one in channels),
    )


def _axes(multiscales: dict[str, Any], level: dict[str, Any], ndim: int) -> tuple[Axis, ...]:
    values: dict[str, list[float]] = {"scale": [1.0] * ndim, "translation": [0.0] * ndim}
    # NGFF 0.4 and 0.5: what stands at the multiscales is applied after what stands at its datasets.
    for steps in (level.get("coordinateTransformations"), multiscales.get("coordinateTransformations")):
        for step in steps or ():
            if "scale" in step:
                values = {
                    kind: [a * b for a, b in zip(old, step["scale"], strict=False)] for kind, old in values.items()
                }
            if "translation" in step:
                values["translation"] = [
                    a + b for a, b in zip(values["translation"], step["translation"], strict=False)
                ]
    return tuple(
        Axis(str(axis["name"]), _text(axis.get("type")), _text(axis.get("unit")), scale, translation)
        for axis, scale, translation in zip(multiscales["axes"], values["scale"], values["translation"], strict=False)
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _array(
    path: Path, node: dict[str, Any]
) -> tuple[tuple[int, ...], str, tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return shape, dtype, shape of chunks and shape of shards of a zarr array."""
    old = node.get("zarr_format") == 2  # noqa: PLR2004 - of the formats
    with understood(path / (".zarray" if old else "zarr.json")):
        if old:
            dtype = str(node["dtype"])
            return sizes_in(node, "shape"), _V2_TYPES.get(dtype[1:], dtype), sizes_in(node, "chunks"), None
        if node.get("node_type") != "array":
            raise Malformed(f"node_type: must be 'array'; got {shown(node.get('node_type'))}")
        shape, grid = sizes_in(node, "shape"), sizes_in(node["chunk_grid"]["configuration"], "chunk_shape")
        for codec in node.get("codecs", ()):
            if codec["name"] == "sharding_indexed":
                return shape, str(node["data_type"]), sizes_in(codec["configuration"], "chunk_shape"), grid
        return shape, str(node["data_type"]), grid, None
