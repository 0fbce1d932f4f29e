"""Given where an OME-Zarr dataset lies, this reads its arrays, with tensorstore or with zarr-python."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ome_writers.casts import is_url
from ome_writers.check import shown
from ome_writers.cube import Cube, Rectangle
from ome_writers.cube_facts import cube_from
from ome_writers.errors import Malformed, NotADataset
from ome_writers.jsontext import object_in
from ome_writers.records import with_place
from ome_writers.regular import read_json, understood
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
    NotADataset
        If it cannot be opened.
    ValueError
        If no library is installed that could.
    """
    if importlib.util.find_spec("tensorstore") is not None:
        import tensorstore as ts

        version = "zarr3" if is_url(root) or Path(root, path, "zarr.json").exists() else "zarr"
        place = f"{_place(root)}{path}/" if path else _place(root)
        with understood(_document(root, path)):
            return ts.open({"driver": version, "kvstore": place}, open=True, read=True).result()
    if importlib.util.find_spec("zarr") is not None:
        import zarr

        with understood(_document(root, path)):
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


def _key(path: str) -> str:
    return f"{path}/zarr.json".lstrip("/")


def _document(root: str, path: str = "") -> str:
    """Return the path, or the URL, of what a group or an array says of itself."""
    return f"{root.rstrip('/')}/{_key(path)}" if is_url(root) else str(Path(root, _key(path)))


def _attributes(root: str, path: str, name: str) -> dict[str, Any]:
    """Return what a group says of itself under a name, `{}` if nothing."""
    with understood(_document(root, path)):
        found = (node(root, path) or {}).get("attributes", {}).get(name, {})
        if not isinstance(found, dict):
            raise Malformed(f"attributes.{name}: must be an object; got {shown(found)}")
        return found


def node(root: str, path: str) -> dict[str, Any] | None:
    """Return the `zarr.json` of a group or an array, `None` if there is none.

    Raises
    ------
    NotADataset
        If it is no JSON object.
    """
    if is_url(root):
        import tensorstore as ts

        found = ts.KvStore.open(_place(root.rstrip("/"))).result().read(_key(path)).result()
        if found.state != "value":
            return None
        with understood(_document(root, path)):
            return object_in(found.value)
    with suppress(FileNotFoundError, NotADirectoryError):
        return read_json(_document(root, path))
    return None


def reopened(root: str, camera: str | int | None = None) -> tuple[Cube, ZarrArrays]:
    """Return the cube and the arrays of the dataset at `root`, or the cube of one of its cameras.

    Raises
    ------
    NotADataset
        If it is no OME-Zarr, or its documents cannot be understood.
    ValueError
        If it has no such camera, or no library is there that reads it.
    """
    facts = _attributes(root, "", "ome_writers")
    with understood(_document(root)):
        paths = [str(path) for path in facts.get("arrays") or _image_paths(root)]
    for path in paths:
        if path.startswith("/") or "\\" in path or ".." in path.split("/"):
            raise NotADataset(f"{_document(root)}: names an array outside of the dataset: {path!r}")
    first = node(root, paths[0]) if paths else None
    if first is None:
        raise NotADataset(f"{root}: is no OME-Zarr 0.5 dataset with images")
    # Before a library reads them, whatever their size.
    dtypes = [_dtype(root, path, node(root, path) or first) for path in paths]
    arrays = ZarrArrays(root, paths)
    shapes = [arrays.shape(array) for array in range(len(paths))]
    if "dimensions" not in facts:
        with understood(_document(root, paths[0])):
            facts = _in_storage_order([str(name) for name in first["dimension_names"]], len(paths))
    with understood(_document(root)):
        cube = cube_from(facts, shapes, dtypes)
    return cube if camera is None else cube_from(facts, shapes, dtypes, camera), arrays


def _dtype(root: str, path: str, said: Mapping[str, Any]) -> str:
    with understood(_document(root, path)):
        return str(said["data_type"])


def _image_paths(root: str) -> list[str]:
    """Return the paths of the full-resolution arrays of a dataset of another library, or an older one."""
    ome = _attributes(root, "", "ome")
    images = [""]
    if "plate" in ome:
        wells = [well["path"] for well in ome["plate"]["wells"]]
        images = [f"{well}/{one['path']}" for well in wells for one in _attributes(root, well, "ome")["well"]["images"]]
    elif "multiscales" not in ome:
        images = _attributes(root, "OME", "ome").get("series", [])
    found = [(image, _attributes(root, image, "ome").get("multiscales")) for image in images]
    return [f"{image}/{scales[0]['datasets'][0]['path']}".lstrip("/") for image, scales in found if scales]


def _in_storage_order(names: list[str], images: int) -> dict[str, Any]:
    """Return what is known of the dimensions if nobody says in which order they were acquired."""
    axes = [{"name": name, "type": None, "count": None} for name in names]
    positions = [{"name": "p", "type": "position", "count": images}] if images > 1 else []
    return {"dimensions": positions + axes, "axes": names}


def noted(root: str) -> dict[str, Any]:
    """Return what the documents of a dataset say of its run, `{}` if this library did not write it."""
    return _attributes(root, "", "ome_writers")


def frame_metadata(root: str) -> list[dict[str, Any]]:
    """Return the metadata that came with frames, each with its `array` and `storage_index`.

    Raises
    ------
    NotADataset
        If it is no OME-Zarr of this library, or its documents cannot be understood.
    """
    facts = _attributes(root, "", "ome_writers")
    if not facts:
        raise NotADataset(f"{root}: is no OME-Zarr that ome-writers wrote")
    with understood(_document(root)):
        images = [str(path).rpartition("/")[0] for path in facts.get("arrays") or ()]
    found = []
    for array, image in enumerate(images):
        said = _attributes(root, image, "ome_writers")
        with understood(_document(root, image)):
            found += [with_place(record, {"array": array}) for record in said.get("frame_metadata") or ()]
    return found
