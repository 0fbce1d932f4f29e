"""Streams without end that are gone on with: what came before stays, however much that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers import growth
from ome_writers.testing import Way, ways

ABLE = [way for way in ways() if way.persistent and way.make().capabilities.attaches]
T, P, Z = 11, 2, 2


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have arrays be said to be two or three time points longer each time, as those of large frames are."""
    monkeypatch.setattr(growth, "STEP_BYTES", 2 * P * Z * 8 * 8 * 2)


def settings_in(folder: Path, way: Way, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes(
        {"t": None, "p": P, "z": Z, "y": 8, "x": 8}, chunk_shapes=more.pop("chunks", None)
    )
    return way.settings(folder, dims, dtype="uint16", **more)


def send(stream: ow.Stream, stop: int) -> None:
    for number in range(stream.cursor, stop):
        stream.append(np.full((8, 8), number + 1, "uint16"))


def stored(way: Way, stream: ow.Stream) -> list[list[int]]:
    """Return what others find in the image of each position, a number a frame."""
    assert stream.outcome is not None
    found = []
    for array in stream.plan.layout.arrays:
        pixels = way.read(stream._run.writer, stream.outcome.root, array)  # noqa: SLF001
        assert pixels is not None
        frames = pixels.reshape(-1, 64)
        assert (frames == frames[:, :1]).all()
        found.append(frames[:, 0].tolist())
    return found


@pytest.mark.parametrize("way", ABLE, ids=lambda way: way.name)
@pytest.mark.parametrize("how", ["killed", "recovered", "stopped"])
@pytest.mark.parametrize(("frames", "chunks"), [(26, {}), (41, {"t": 3}), (3, {"t": 3})], ids=str)
@pytest.mark.usefixtures("short_steps")
def test_what_came_before_is_all_there(tmp_path: Path, way: Way, how: str, frames: int, chunks: dict[str, int]) -> None:
    settings = settings_in(tmp_path, way, chunks=chunks, sync="never")
    stream = ow.create_stream(settings, way.make())
    assert stream.plan.announced(1) < 4
    send(stream, frames)
    if how == "stopped":
        with pytest.raises(RuntimeError, match="enough"), stream:
            raise RuntimeError("enough")
    else:
        stream._run._keep_all()  # noqa: SLF001 - as time does
        stream._run.abort()  # noqa: SLF001 - as a process that dies
    if how == "recovered":
        assert ow.recover(settings.output_path, way.make()).frames == frames
    with ow.create_stream(settings, way.make(), resume=True) as stream:
        assert stream.cursor <= frames
        send(stream, T * P * Z)
    numbers = np.arange(1, T * P * Z + 1).reshape(T, P, Z)
    assert stored(way, stream) == [numbers[:, p].ravel().tolist() for p in range(P)]
