"""Given an OME-Zarr folder, this checks its metadata and answers: which arrays do they speak of?

1. From the root down, each group and array that the metadata name must be there, and be readable.
2. What an image says (axes, scales, channels, levels) must fit its arrays; what a plate says, its wells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from ome_writers.datasets.zarr import read_node
from ome_writers.errors import NotADataset
from ome_writers.regular import understood
from ome_writers.validation.words import Findings

Json = dict[str, Any]
_BF2RAW: Final = "bioformats2raw.layout"


@frozen(eq=False)
class Node:
    """A group or an array."""

    key: str
    body: Json
    """In the words of zarr format 3."""

    @property
    def attributes(self) -> Json:
        """Its attributes."""
        found = self.body.get("attributes")
        return found if isinstance(found, dict) else {}

    @property
    def ome(self) -> Json:
        """What OME-Zarr says of it; in version 0.4 that stands among the attributes themselves."""
        found = self.attributes.get("ome", self.attributes)
        return found if isinstance(found, dict) else {}


@frozen(eq=False)
class Tree:
    """The groups and arrays of a dataset."""

    root: Node
    groups: tuple[Node, ...]
    images: tuple[tuple[Node, tuple[Node, ...]], ...]
    """Each image, and the arrays of its levels."""

    @property
    def version(self) -> str:
        """The version of OME-Zarr that the root names, or the first of its parts that does."""
        for node in (self.root, *self.groups):
            parts = [node.ome, node.ome.get("plate"), *(node.ome.get("multiscales") or ())]
            for part in parts:
                if isinstance(part, dict) and isinstance(part.get("version"), str):
                    return str(part["version"])
        return ""


def read_tree(root: Path, found: Findings) -> Tree | None:
    """Return the dataset's groups and arrays; `None` if there is no root to begin with."""
    with found.check("structure") as check:
        reader = _Reader(root, check)
        top = reader.node("")
        if top is None:
            return None
        if top.body.get("node_type") == "array":
            check.warn("", "is a bare zarr array, without OME metadata")
            return Tree(top, (), ((top, (top,)),))
        images = []
        for key in dict.fromkeys(_image_keys(top, reader)):
            group = top if key == "" else reader.node(key)
            if group is not None and (levels := _levels(group, check)):
                arrays = [reader.node(f"{key}/{level}".strip("/"), "array") for level in levels]
                images.append((group, tuple(array for array in arrays if array is not None)))
        if not images:
            check.fault("", "names no image that is there")
        groups = tuple(node for node in reader.seen.values() if node.body.get("node_type") != "array")
        check.summary = f"{len(images)} image{'s' * (len(images) != 1)}, {len(groups)} group{'s' * (len(groups) != 1)}"
        return Tree(top, groups, tuple(images))


class _Reader:
    """Reads nodes, and notes those that cannot be read."""

    def __init__(self, root: Path, check: Findings) -> None:
        self.root, self.check = root, check
        self.seen: dict[str, Node] = {}

    def node(self, key: str, kind: str = "group") -> Node | None:
        where = self.root / key
        try:
            with understood(where):
                outside = not where.resolve().is_relative_to(self.root.resolve())
            if outside:
                self.check.fault(key, "lies outside the dataset; nothing there is read")
                return None
            body = read_node(where)
        except (NotADataset, OSError) as error:
            self.check.fault(key, str(error))
            return None
        if body is None:
            self.check.fault(key, f"this {kind} is missing: there is no zarr.json (or .zgroup, .zarray)")
            return None
        if body.get("node_type") != kind and key:
            self.check.fault(key, f"must be a zarr {kind}; got {body.get('node_type')!r}")
            return None
        self.seen[key] = Node(key, body)
        return self.seen[key]


def _image_keys(top: Node, reader: _Reader) -> Iterator[str]:
    ome = top.ome
    if "multiscales" in ome:
        yield ""
    if isinstance(ome.get("plate"), dict):
        for well in _dicts(ome["plate"].get("wells")):
            key = str(well.get("path"))
            if (node := reader.node(key)) is not None:
                fields = _dicts((node.ome.get("well") or {}).get("images"))
                if not fields:
                    reader.check.fault(key, "this well lists no images")
                yield from (f"{key}/{field.get('path')}" for field in fields)
    elif _BF2RAW in ome or (reader.root / "OME").is_dir():
        series = reader.node("OME")
        listed = series.ome.get("series") if series else None
        if isinstance(listed, list):
            yield from map(str, listed)
        else:
            yield from _numbered(reader.root)


def _numbered(root: Path) -> Iterator[str]:
    number = 0
    while any((root / str(number) / name).is_file() for name in ("zarr.json", ".zgroup")):
        yield str(number)
        number += 1


def _dicts(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _levels(group: Node, check: Findings) -> list[str]:
    scales = _dicts(group.ome.get("multiscales"))
    levels = [str(level["path"]) for scale in scales for level in _dicts(scale.get("datasets")) if "path" in level]
    if not levels:
        check.fault(group.key, "should be an image, but its multiscales metadata names no array")
    return levels


# ── what the metadata say, against the arrays ─────────────────────────────────────────────────────────────────────────


def check_images(tree: Tree, found: Findings) -> None:
    """Check that what each image says fits its arrays."""
    with found.check("axes and shapes") as check:
        arrays = 0
        for group, levels in tree.images:
            for scale in _dicts(group.ome.get("multiscales")):
                _check_scale(group, levels, scale, check)
            if levels:
                _check_channels(group, levels[0], check)
            arrays += len(levels)
        check.summary = f"{arrays} array{'s' * (arrays != 1)}, as the metadata of the images say"


def _check_scale(group: Node, levels: tuple[Node, ...], scale: Json, check: Findings) -> None:
    names = [str(axis.get("name")) for axis in _dicts(scale.get("axes"))]
    said = {str(level.get("path")): level for level in _dicts(scale.get("datasets"))}
    before: list[int] | None = None
    for array in levels:
        shape = array.body.get("shape")
        if not (isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)):
            check.fault(array.key, f"must have a shape of whole numbers; got {shape!r}")
            continue
        if len(shape) != len(names):
            check.fault(array.key, f"has {len(shape)} axes, but its image names {len(names)}: {', '.join(names)}")
        called = array.body.get("dimension_names")
        if called is not None and called != names:
            check.fault(array.key, f"calls its axes {called}, but its image calls them {names}")
        level = said.get(array.key.removeprefix(group.key).strip("/"), {})
        for step in _dicts(level.get("coordinateTransformations")):
            for kind in ("scale", "translation"):
                if isinstance(step.get(kind), list) and len(step[kind]) != len(shape):
                    check.fault(array.key, f"its {kind} has {len(step[kind])} numbers, for {len(shape)} axes")
        if before is not None and any(map(int.__gt__, shape, before)):
            check.fault(array.key, f"is a smaller level, but its shape {shape} exceeds that of the one before {before}")
        before = shape


def _check_channels(group: Node, array: Node, check: Findings) -> None:
    shape = array.body.get("shape") or []
    channels = _dicts((group.ome.get("omero") or {}).get("channels"))
    axes = [axis.get("type") for axis in _dicts((group.ome.get("multiscales") or [{}])[0].get("axes"))]
    count = shape[axes.index("channel")] if "channel" in axes and len(axes) == len(shape) else 1
    if channels and len(channels) != count:
        check.fault(group.key, f"describes {len(channels)} channels, but its array has {count}")


def check_layout(root: Path, tree: Tree, found: Findings) -> None:
    """Check what the specification asks for in words only, and what readers stumble over."""
    with found.check("layout for readers") as check:
        plate = tree.root.ome.get("plate")
        if isinstance(plate, dict):
            if "version" not in plate:
                check.fault("", "plate: has no version, which OME-Zarr 0.5 says that it MUST have")
            for group, _ in tree.images:
                leaf = group.key.rpartition("/")[2]
                if not leaf.isalnum():
                    check.fault(group.key, f"the path of a field must be alphanumeric; got {leaf!r}")
        elif _BF2RAW in tree.root.ome:
            if not (root / "OME" / "METADATA.ome.xml").is_file():
                check.warn("OME", "has no METADATA.ome.xml: readers that look for it (napari's) fail on the root")
            for group, _ in tree.images:
                if not group.key.isdecimal():
                    check.warn(group.key, "is not a number: readers that count groups 0, 1, … do not find this image")
