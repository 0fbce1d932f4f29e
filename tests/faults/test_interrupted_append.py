"""Ctrl-C in the middle of `append`, where the writer has the frame and nobody has counted it yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.testing import Way, ways

STORED = [way for way in ways() if way.persistent]
ONE_EACH = list({(way.writer, way.format.name): way for way in reversed(STORED)}.values())
EACH = pytest.mark.parametrize("way", ONE_EACH, ids=lambda way: way.name)
FRAMES = 12


def interrupted(way: Way, folder: Path, **more: Any) -> ow.Stream:
    """Return a stream that counts five frames, and whose writer has six."""
    dims = ow.dims_from_standard_axes({"t": FRAMES, "y": 16, "x": 16})
    stream = ow.create_stream(way.settings(folder, dims, dtype="uint16", **more), way.make())
    run: Any = stream._run  # noqa: SLF001 - there is no other way to hit this moment
    send(stream, *range(1, 6))
    stored, mark = run._stored, run._mark  # noqa: SLF001

    def stop(*given: Any) -> None:
        if mark is None:
            stored(*given)
        del run._stored  # noqa: SLF001 - the class has the right one
        raise KeyboardInterrupt

    run._stored = stop  # noqa: SLF001
    with pytest.raises(KeyboardInterrupt):
        send(stream, 6)
    assert stream.cursor == 5
    return stream


def send(stream: ow.Stream, *values: int) -> None:
    for value in values:
        stream.append(np.full((16, 16), value, "uint16"))


def read(way: Way, stream: ow.Stream) -> list[int]:
    assert stream.outcome is not None
    pixels = way.read(stream._run.writer, stream.outcome.root, stream.plan.layout.arrays[0])  # noqa: SLF001
    assert pixels is not None
    pixels = pixels.reshape(-1, 16 * 16)
    assert (pixels == pixels[:, :1]).all()
    return [int(value) for value in pixels[:, 0]]


@EACH
@pytest.mark.parametrize("ring", [0, 1 << 16], ids=["", "ring"])
def test_close_ends_before_it(tmp_path: Path, way: Way, ring: int) -> None:
    stream = interrupted(way, tmp_path, buffer_bytes=ring)
    stream.close()
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("stopped", 5)
    assert [value for value in read(way, stream) if value] == [1, 2, 3, 4, 5]


@EACH
@pytest.mark.parametrize("ring", [0, 1 << 16], ids=["", "ring"])
def test_who_goes_on_is_refused_or_has_every_frame_at_its_place(tmp_path: Path, way: Way, ring: int) -> None:
    stream = interrupted(way, tmp_path, buffer_bytes=ring)
    wanted = list(range(1, 6))
    if way.make().capabilities.order == "any":
        send(stream, *range(6, FRAMES + 1))
        wanted = list(range(1, FRAMES + 1))
    else:
        for step in (lambda: send(stream, 6), lambda: stream.skip(frames=1)):
            with pytest.raises(ow.WriteError, match=r"frame 5 .* was interrupted"):
                step()
    stream.close()
    assert stream.outcome is not None
    assert stream.outcome.frames == len(wanted)
    assert [value for value in read(way, stream) if value] == wanted
