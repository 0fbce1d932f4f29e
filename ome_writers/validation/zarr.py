"""Given an OME-Zarr folder, this runs all checks that it can have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ome_writers.regular import MOST_DOCUMENT, read_regular
from ome_writers.validation.acquisition import check_run
from ome_writers.validation.official import check_schemas, check_xml, check_yaozarrs
from ome_writers.validation.words import Findings
from ome_writers.validation.zarrchunks import check_chunks
from ome_writers.validation.zarrtree import Tree, check_images, check_layout, read_tree


def validate_zarr(root: Path, found: Findings, advance: Callable[[int], None]) -> str:
    """Run all checks, and return what it is."""
    tree = read_tree(root, found)
    if tree is None:
        return "OME-Zarr"
    bare = tree.root.body.get("node_type") == "array"
    if not bare:
        check_images(tree, found)
        check_layout(root, tree, found)
        check_yaozarrs(root, found)
        check_schemas(tree, found)
        if texts := list(_xml(root, tree)):
            check_xml(texts, found)
    noted = tree.root.attributes.get("ome_writers")
    noted = noted if isinstance(noted, dict) else {}
    shapes = {array.key: tuple(array.body.get("shape") or ()) for _, levels in tree.images for array in levels}
    named = noted.get("arrays")
    arrays = [(str(key), shapes.get(str(key))) for key in named or ()]
    came = check_run(noted, arrays, "ome-zarr", found)
    check_chunks(root, tree, came, found, advance)
    return "zarr array" if bare else f"OME-Zarr {tree.version}".strip()


def _xml(root: Path, tree: Tree) -> Iterator[tuple[str, bytes]]:
    if any(node.key == "OME" for node in tree.groups) and (file := root / "OME" / "METADATA.ome.xml").is_file():
        yield "OME/METADATA.ome.xml", read_regular(file, MOST_DOCUMENT)
