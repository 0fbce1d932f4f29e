"""The documents of an OME-Zarr dataset in a folder, and the shapes of its arrays, where no zarr library keeps them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from attrs import evolve

from ome_writers.errors import Malformed
from ome_writers.layout import ArraySpec
from ome_writers.regular import read_json, understood
from ome_writers.writer import Documents
from ome_writers.writers.files import located, put_whole, stands
from ome_writers.writers.zarrtree import Shape, array_file, array_key, document_file, document_pieces, folders_beyond
from ome_writers.zarrjson import array_json, sizes_in

_STORAGE: Final = ("data_type", "chunk_grid", "chunk_key_encoding", "codecs")
"""What in an array's document says how its chunks are stored."""


class ZarrFolder:
    """A folder with a `zarr.json` for each group and each array.

    Parameters
    ----------
    root
        The folder.
    specs
        Its arrays.
    """

    def __init__(self, root: str, specs: Sequence[ArraySpec]) -> None:
        self.path = Path(root).absolute()
        self.specs = list(specs)
        self.shapes: list[Shape] = []
        """What the arrays say of themselves by now."""
        self._said: dict[str, int] = {}
        """Hash of what stands in each file, so that those of a thousand groups that did not change are left alone."""

    def create(self, shapes: Iterable[Shape], documents: Documents) -> None:
        """Make all documents.

        Raises
        ------
        FileExistsError
            If anything stands there.
        """
        if stands(self.path):
            raise FileExistsError(f"{self.path} exists; nothing was written")
        self.shapes = list(shapes)
        folders: set[str] = set()
        for key, data in chain(map(document_file, documents), self._arrays()):
            path = f"{self.path}/{key}"
            folder = path.rpartition("/")[0]
            if folder not in folders:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - a third of the time for thousands of them
                folders.add(folder)
            # Nobody looks for a dataset that is being made; to write beside and rename would take twice as long.
            with located(path), open(path, "xb", buffering=0) as file:  # noqa: PTH123 - as above
                file.write(data)
            self._said[key] = hash(data)

    def _arrays(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the arrays' documents; arrays that are alike have one in common."""
        made: dict[ArraySpec, bytes] = {}
        for spec, shape in zip(self.specs, self.shapes, strict=True):
            alike = evolve(spec, path="", image=0, position=0, fan=())
            if alike not in made:
                made[alike] = array_file(spec, shape)[1]
            yield array_key(spec), made[alike]

    def attach(self, *others: Sequence[ArraySpec]) -> None:
        """Learn the shapes of the arrays that stand there, and in which of several ways they are stored.

        Raises
        ------
        FileNotFoundError
            If one does not.
        NotADataset
            If its document cannot be understood, or its chunks are stored in another way than planned.
        """
        found = [self._stored(*specs) for specs in zip(self.specs, *others, strict=True)]
        self.specs, self.shapes = [spec for spec, _ in found], [shape for _, shape in found]

    def _stored(self, *specs: ArraySpec) -> tuple[ArraySpec, Shape]:
        path = self.path / array_key(specs[0])
        if not path.exists():
            raise FileNotFoundError(f"there is no array {specs[0].path!r} in {self.path} to attach to")
        stored = read_json(path)
        with understood(path):
            shape = sizes_in(stored, "shape", len(specs[0].shape))
            differ = []
            for spec in specs:
                planned = array_json(spec, shape)
                differ = [key for key in _STORAGE if stored.get(key) != planned[key]]
                if not differ:
                    return spec, shape
            raise Malformed(f"has another {differ[0]} than planned")

    def restate(self, array: int, spec: ArraySpec) -> None:
        """Say that the chunks of an array are stored in another way."""
        self.specs[array] = spec
        self._put(*array_file(spec, self.shapes[array]))

    def put(self, documents: Documents) -> None:
        """Write documents, each in the place of what stood there."""
        for key, pieces in map(document_pieces, documents):
            first = next(pieces)
            if (second := next(pieces, None)) is None:
                self._put(key, first)
            else:
                self._said.pop(key, None)
                put_whole(self.path / key, chain((first, second), pieces), self.path)

    def _put(self, key: str, data: bytes) -> None:
        if self._said.get(key) != hash(data):
            put_whole(self.path / key, data, self.path)
            self._said[key] = hash(data)

    def lost_by(self, array: int, shape: Shape) -> list[Path]:
        """Return the folders that hold nothing but what a new, smaller shape of an array leaves out."""
        smaller = [axis for axis, size in enumerate(shape) if size < self.shapes[array][axis]]
        if not smaller:
            return []
        # Names from the last axis on that became smaller tell nothing.
        spec = self.specs[array]
        found = (self.path / spec.path / "c").glob("/".join("*" * (smaller[-1] + 1)))
        keys = (path.relative_to(self.path).as_posix() for path in found)
        return [self.path / folder for folder in folders_beyond(keys, spec, shape)]

    def resize(self, array: int, shape: Shape) -> None:
        """Give an array a new shape; what lies beyond a smaller one is deleted, and must not be open."""
        for folder in self.lost_by(array, shape):
            shutil.rmtree(folder)
        self.shapes[array] = shape
        self._put(*array_file(self.specs[array], shape))
