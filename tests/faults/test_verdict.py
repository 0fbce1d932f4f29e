"""What came of a run stands in the dataset itself, as others read it: JSON in OME-Zarr, an annotation in OME-TIFF."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile

import ome_writers as ow
from ome_writers.testing.ways import backends
from ome_writers.writer import writer_named

FRAME = np.ones((8, 8), "uint16")


class Full:
    """A writer on a disk that has no more room after the first frame, but for documents."""

    def __init__(self, inner: ow.Writer) -> None:
        self.inner, self.room = inner, 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, blocks: Sequence[ow.Block], /) -> None:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        self.inner.write(blocks)


def on_disk(path: Path) -> tuple[str, int, list[int]]:
    """Return the verdict, how many frames came, and which were missed, without this library."""
    if path.is_dir():
        said = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]["ome_writers"]
        missing = [number for first, last in said.get("missing", ()) for number in range(first, last + 1)]
        return said["verdict"], said.get("frames", 0), missing
    with tifffile.TiffFile(path) as tif:
        notes = ome_types.from_xml(tif.ome_metadata or "").structured_annotations.map_annotations
    said = next(dict(note.value) for note in notes if note.namespace == "ome-writers/run")
    return said["verdict"], int(said.get("frames") or 0), json.loads(f"[{said.get('missing') or ''}]")


@pytest.mark.parametrize(("backend", "suffix"), backends("ome-tiff", "ome-zarr"))
def test_the_verdict_is_on_disk(tmp_path: Path, backend: str, suffix: str) -> None:
    def begun(name: str, given: Any = backend) -> tuple[Path, ow.Stream]:
        path = tmp_path / f"{name}{suffix}"
        dims = ow.dims_from_standard_axes({"t": 4, "y": 8, "x": 8})
        settings = ow.AcquisitionSettings(root_path=str(path), dtype="uint16", dimensions=dims)
        return path, ow.create_stream(settings, given)

    path, stream = begun("complete")
    with stream:
        stream.append(FRAME)
        if stream._run.writer.capabilities.live:  # noqa: SLF001 - whether others can read meanwhile
            assert on_disk(path)[0] == "running"
        for _ in range(3):
            stream.append(FRAME)
    assert on_disk(path) == ("complete", 4, [])

    path, stream = begun("stopped")
    with stream:
        stream.append(FRAME)
        stream.skip()
        stream.append(FRAME)
    assert on_disk(path) == ("stopped", 2, [1])

    path, stream = begun("failed", Full(writer_named(backend)))
    stream.append(FRAME)
    with pytest.raises(ow.WriteError, match="frame 1"):
        stream.append(FRAME)
    with pytest.raises(ow.WriteError, match="frame 1"):
        stream.close()
    assert on_disk(path)[:2] == ("failed", 1)
