"""Cameras that go on with what an earlier run left, each where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow

COUNTS = {"left": 12, "right": 6}
SIZES = {"left": (16, 12), "right": (8, 6)}


def settings_in(folder: Path, suffix: str, **fields: Any) -> ow.AcquisitionSettings:
    cameras = [
        ow.Camera(name=name, shape=size, counts={} if name == "left" else {"t": 3}) for name, size in SIZES.items()
    ]
    dims = [
        ow.Dimension(name="t", count=6, chunk_size=fields.pop("chunk", 1)),
        ow.Dimension(name="cam", coords=cameras),
        ow.Dimension(name="z", count=2),
        ow.Dimension(name="y"),
        ow.Dimension(name="x"),
    ]
    return ow.AcquisitionSettings(root_path=str(folder / f"a{suffix}"), dimensions=dims, dtype="uint16", **fields)


def pixels(name: str, number: int) -> NDArray[Any]:
    return np.full(SIZES[name], (1000 if name == "left" else 2000) + number, "uint16")


def feed(stream: ow.Stream, name: str, stop: int) -> None:
    camera = stream.camera(name)
    for number in range(camera.cursor, stop):
        camera.append(pixels(name, number), frame_metadata={"number": number, "by": name})


WAYS = [
    ("direct", ".ome.zarr", {}),
    ("direct", ".ome.zarr", {"chunk": 4, "compression": "gzip"}),
    ("direct", ".ome.tiff", {}),
    ("tensorstore", ".ome.zarr", {"chunk": 4}),
    ("zarr-python", ".ome.zarr", {"chunk": 2}),
]


@pytest.mark.parametrize(("backend", "suffix", "fields"), WAYS)
@pytest.mark.parametrize("how", ["closed", "abandoned", "recovered"])
def test_each_goes_on_where_it_was(tmp_path: Path, backend: str, suffix: str, fields: Any, how: str) -> None:
    settings = settings_in(tmp_path, suffix, **fields)
    stream = ow.create_stream(settings, backend)
    feed(stream, "left", 5)
    feed(stream, "right", 3)
    if how == "closed":
        stream.close()
    else:
        stream._run._keep_all()  # noqa: SLF001 - as a second does
        stream._run.abort()  # noqa: SLF001 - as a process that ends
    if how == "recovered":
        assert ow.recover(settings.output_path).frames == 8
    stream = ow.create_stream(settings, resume=True)
    assert [stream.camera(name).cursor for name in SIZES] == [5, 3]
    with pytest.raises(ValueError, match=r"camera\(…\)"):
        stream.append(pixels("left", 0))
    with stream:
        for name, count in COUNTS.items():
            feed(stream, name, count)
    outcome = stream.outcome
    assert outcome is not None
    assert (outcome.verdict, outcome.frames, len(outcome.records)) == ("complete", 18, 18)
    for name, count in COUNTS.items():
        found = ow.open_view(settings.output_path, camera=name)
        first = 1000 if name == "left" else 2000
        assert found[..., 0, 0].ravel()[:count].tolist() == list(range(first, first + count))
    assert not ow.validate(settings.output_path).failed


def test_frames_that_came_behind_a_hole_may_come_again(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ".ome.zarr")
    stream = ow.create_stream(settings, "direct")
    for name, count in COUNTS.items():
        feed(stream, name, count)
    run = stream._run  # noqa: SLF001 - as below
    assert run.journal is not None
    lost = int(run.lanes[0].plan.rows(3, 4)["frame"][0])
    run.journal.mark(lost, 0)
    run.abort()
    with ow.create_stream(settings, resume=True) as stream:
        assert [stream.camera(name).cursor for name in SIZES] == [3, 6]
        feed(stream, "left", 6)
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("complete", 18)
