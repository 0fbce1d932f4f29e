"""A disk that takes half a frame: others find nothing of it, nor a file that is shorter than it is said to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.testing import Way, ways

resource = pytest.importorskip("resource")
AT_ONCE = [way for way in ways() if way.writer in ("direct", "scratch") and way.persistent]
T, Y = 6, 64
FRAME = Y * Y * 2


@contextmanager
def limit(size: int) -> Iterator[None]:
    """Let no file be written beyond `size`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def frame(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    return np.full((Y, Y), number + 1, "uint16")


@pytest.mark.parametrize("way", AT_ONCE, ids=lambda way: way.name)
@pytest.mark.parametrize("how", ["append", "write"])
def test_a_frame_of_which_half_was_written_reads_as_zeros(tmp_path: Path, way: Way, how: str) -> None:
    dims = ow.dims_from_standard_axes(
        {"t": T // 2, "z": 2, "y": Y, "x": Y}, shard_shapes={"t": T // 2, "z": 2} if way.name == "direct-zarr" else None
    )
    settings = way.settings(tmp_path, dims, dtype="uint16")
    plan = ow.compile(settings)
    third = 3 * FRAME if way.writer == "scratch" else int(ow.place(plan).rows(3, 4)["offset"][0])
    stream = ow.create_stream(settings, way.make())
    stream.append(frame(0))
    with limit(third + FRAME // 2), pytest.raises(ow.WriteError, match=r"frame 3 .*File too large"):
        if how == "write":
            stream._run.take_all(np.array([frame(number) for number in range(1, T)]))  # noqa: SLF001 - as `write` does
        else:
            for number in range(1, T):
                stream.append(frame(number))
    with pytest.raises(ow.WriteError):
        stream.close()
    for _ in range(2):
        pixels = way.read(way.make(), settings.output_path, plan.layout.arrays[0])
        assert pixels is not None
        found = pixels.reshape(-1, Y, Y)
        np.testing.assert_array_equal(found[:3], [frame(number) for number in range(3)])
        assert not found[3:].any()
        assert ow.recover(settings.output_path, way.make()).frames == 3


def test_scratch_files_are_as_long_as_their_manifest_says(tmp_path: Path) -> None:
    dims = ow.dims_from_standard_axes({"t": 1, "z": 4, "y": Y, "x": Y})
    settings = ow.AcquisitionSettings(root_path=tmp_path / "cells", dtype="uint16", dimensions=dims, format="scratch")
    stream = ow.create_stream(settings)
    stream.append(frame(0))
    # What is made longer than the limit cannot be so again, until there is room.
    with limit(FRAME + 100), pytest.raises(ow.WriteError, match=r"frame 1 .*File too large"):
        stream.append(frame(1))
    with pytest.raises(ow.WriteError):
        stream.close()
    said = json.loads((tmp_path / "cells" / "manifest.json").read_text("utf-8"))
    (shape,) = said["position_shapes"]
    assert (tmp_path / "cells" / "pos_0.dat").stat().st_size == np.prod(shape) * 2
