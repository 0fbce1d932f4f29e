"""Given where an OME-Zarr dataset lies, this reads its arrays, with tensorstore or with zarr-python."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.casts import is_url
from ome_writers.cube import Cube, Rectangle
from ome_writers.cube_facts import cube_from
from ome_writers.records import with_place
from ome_writers.regular import MOST_DOCUMENT, read_regular
from ome_writers.run import Run

_MOST_HANDLES: Final = 64
"""Arrays that are held open at once."""
_NEEDS: Final = (
    "reading OME-Zarr needs the library 'tensorstore' or 'zarr', and neither is installed: "
    "pip install 'ome-writers[tensorstore]'"
)


class ZarrArrays:
    """The arrays of an OME-Zarr dataset; each is opened when it is asked for."""

    def __init__(self, root: str, paths: list[str]) -> None:
        self._root, self._paths = root.rstrip("/"), paths
        self._handles: dict[int, Any] = {}

    def shape(self, array: int) -> tuple[int, ...]:
        """Return the shape of an array."""
        return tuple(self._handle(array).shape)

    def read(self, array: int, selection: Rectangle) -> NDArray[Any]:
        """Return the pixels in a rectangle."""
        return np.asarray(self._handle(array)[selection])

    def _handle(self, array: int) -> Any:
        if array not in self._handles:
            if len(self._handles) >= _MOST_HANDLES:
                del self._handles[next(iter(self._handles))]
            self._handles[array] = opened_array(self._root, self._paths[array])
        return self._handles[array]


def of_run(run: Run) -> ZarrArrays:
    """Return the arrays that a run has stored."""
    return ZarrArrays(run.root, [spec.path for spec in run.plan.layout.arrays])


def opened_array(root: str, path: str) -> Any:
    """Return an array of format 2 or 3, of which parts can be read by index.

    Raises
    ------
    ValueError
        If it cannot be opened, or no library is installed that could.
    """
    if importlib.util.find_spec("tensorstore") is not None:
        import tensorstore as ts

        version = "zarr3" if is_url(root) or Path(root, path, "zarr.json").exists() else "zarr"
        place = f"{_place(root)}{path}/" if path else _place(root)
        return ts.open({"driver": version, "kvstore": place}, open=True, read=True).result()
    if importlib.util.find_spec("zarr") is not None:
        import zarr

        return zarr.open_array(f"{root}/{path}", mode="r")
    raise ValueError(_NEEDS)


def opened_as(folder: Path, path: str, body: Mapping[str, Any]) -> Any:
    """Return an array that is what `body`, its `zarr.json`, says, whatever stands on the disk by now.

    Raises
    ------
    ValueError
        If no library is there that reads it.
    """
    if importlib.util.find_spec("tensorstore") is not None:
        import tensorstore as ts

        told = {"driver": "zarr3", "kvstore": f"{_place(str(folder))}{path}/", "metadata": dict(body)}
        return ts.open(told, open=True, read=True, assume_metadata=True).result()
    if importlib.util.find_spec("zarr") is not None:
        from zarr import Array
        from zarr.storage import LocalStore, StorePath

        return Array.from_dict(StorePath(LocalStore(folder, read_only=True), path), dict(body))
    raise ValueError(_NEEDS)


def _place(root: str) -> str:
    """Return a folder as the URL that tensorstore understands."""
    return f"{root}/" if is_url(root) else f"{Path(root).absolute().as_uri()}/"


def node(root: str, path: str) -> dict[str, Any] | None:
    """Return the `zarr.json` of a group or an array, `None` if there is none."""
    key = f"{path}/zarr.json".lstrip("/")
    if is_url(root):
        import tensorstore as ts

        found = ts.KvStore.open(_place(root.rstrip("/"))).result().read(key).result()
        text = found.value if found.state == "value" else None
    else:
        text = None
        with suppress(FileNotFoundError, NotADirectoryError):
            text = read_regular(Path(root, key), MOST_DOCUMENT)
    return None if text is None else json.loads(text)


def reopened(root: str, camera: str | int | None = None) -> tuple[Cube, ZarrArrays]:
    """Return the cube and the arrays of the dataset at `root`, or the cube of one of its cameras.

    Raises
    ------
    ValueError
        If it is no OME-Zarr, or its documents cannot be understood.
    """
    attributes = (node(root, "") or {}).get("attributes", {})
    facts = attributes.get("ome_writers", {})
    paths = [str(path) for path in facts.get("arrays") or _image_paths(root, attributes)]
    for path in paths:
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            raise ValueError(f"{root}: its documents name an array outside of it: {path!r}")
    arrays = ZarrArrays(root, paths)
    first = node(root, paths[0]) if paths else None
    if first is None:
        raise ValueError(f"{root}: is no OME-Zarr 0.5 dataset with images")
    nodes = [node(root, path) or first for path in paths]  # before a library reads them, whatever their size
    shapes = [arrays.shape(array) for array in range(len(paths))]
    if "dimensions" not in facts:
        facts = _in_storage_order([str(name) for name in first["dimension_names"]], len(paths))
    dtypes = [str(one["data_type"]) for one in nodes]
    return cube_from(facts, shapes, dtypes, camera), arrays


def _image_paths(root: str, attributes: dict[str, Any]) -> list[str]:
    """Return the paths of the full-resolution arrays of a dataset of another library, or an older one."""
    ome = attributes.get("ome", {})
    images = [""]
    if "plate" in ome:
        wells = [well["path"] for well in ome["plate"]["wells"]]
        images = [f"{well}/{one['path']}" for well in wells for one in _ome(root, well)["well"]["images"]]
    elif "multiscales" not in ome:
        images = _ome(root, "OME").get("series", [])
    found = [(image, _ome(root, image).get("multiscales")) for image in images]
    return [f"{image}/{scales[0]['datasets'][0]['path']}".lstrip("/") for image, scales in found if scales]


def _ome(root: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (node(root, path) or {}).get("attributes", {}).get("ome", {})
    return found


def _in_storage_order(names: list[str], images: int) -> dict[str, Any]:
    """Return what is known of the dimensions if nobody says in which order they were acquired."""
    axes = [{"name": name, "type": None, "count": None} for name in names]
    positions = [{"name": "p", "type": "position", "count": images}] if images > 1 else []
    return {"dimensions": positions + axes, "axes": names}


def noted(root: str) -> dict[str, Any]:
    """Return what the documents of a dataset say of its run, `{}` if this library did not write it."""
    found: dict[str, Any] = (node(root, "") or {}).get("attributes", {}).get("ome_writers", {})
    return found


def frame_metadata(root: str) -> list[dict[str, Any]]:
    """Return the metadata that came with frames, each with its `array` and `storage_index`.

    Raises
    ------
    ValueError
        If it is no OME-Zarr of this library.
    """
    facts = (node(root, "") or {}).get("attributes", {}).get("ome_writers")
    if facts is None:
        raise ValueError(f"{root}: is no OME-Zarr that ome-writers wrote")
    found = []
    for array, path in enumerate(facts.get("arrays") or ()):
        image = (node(root, path.rpartition("/")[0]) or {}).get("attributes", {}).get("ome_writers", {})
        found += [with_place(record, {"array": array}) for record in image.get("frame_metadata") or ()]
    return found
