"""Frames of which the caller says what they are: one that the plan does not expect is refused."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.writers.memory import MemoryWriter


def dims(**sizes: Any) -> list[ow.Dimension]:
    return ow.dims_from_standard_axes(
        sizes or {"t": 3, "p": ["A1", "B2"], "c": ["DAPI", "GFP"], "z": 2, "y": 8, "x": 6}, {"t": 2}
    )


def pixels(value: int) -> NDArray[Any]:
    return np.full((8, 6), value + 1, "uint16")


def indices() -> list[dict[str, int | str]]:
    """Return what each frame is called, in the order of the loops."""
    return [
        {"t": t, "p": p, "c": c, "z": z} for t, p, c, z in product(range(3), ("A1", "B2"), ("DAPI", "GFP"), range(2))
    ]


def stream_of(writer: Any = None, **sizes: Any) -> ow.Stream:
    settings = ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint16", dimensions=dims(**sizes))
    return ow.create_stream(settings, writer or MemoryWriter())


def test_expect() -> None:
    writer = MemoryWriter()
    with stream_of(writer) as stream:
        for place, names in enumerate(indices()):
            believed = names if place % 2 else {"c": names["c"]}
            stream.append(pixels(place), expect=believed, frame_metadata={"own": place})
    assert stream.outcome is not None
    assert stream.outcome.verdict == "complete"
    assert {place: record["own"] for place, record in stream.outcome.records.items()} == {n: n for n in range(24)}


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"c": "GFP", "z": 0}, r"frame 1 \(position 'A1', t=0 c=0 z=1\) is what the plan says; .*\(c='GFP', z=0\)"),
        ({"t": 1}, r"frame 1 .* the caller expected \(t=1\)"),
        ({"c": "Cy5"}, r"frame 1 .* c: must be one of 'DAPI', 'GFP'; got 'Cy5'"),
        ({"q": 0}, r"frame 1 .* q: must be a dimension of the plan"),
        ({"z": "top"}, r"frame 1 .* z: has no names"),
    ],
)
def test_expect_something_else(expect: dict[str, Any], message: str) -> None:
    writer = MemoryWriter()
    with stream_of(writer) as stream:
        stream.append(pixels(0))
        with pytest.raises(ow.FrameError, match=message):
            stream.append(pixels(9), expect=expect)
        stream.append(pixels(1), expect={"z": 1, "p": "A1"})
    assert stream.outcome is not None
    assert stream.outcome.cursor == 2
    assert writer.arrays[0][0, 0, :, 0, 0].tolist() == [1, 2]


def test_expect_of_numbers_means_indices() -> None:
    z = ow.Dimension(name="z", type="space", coords=[10, 11.5], unit="um")
    settings = ow.AcquisitionSettings(dtype="uint16", dimensions=[z, *dims(y=8, x=6)])
    with ow.create_stream(settings, MemoryWriter()) as stream:
        stream.append(pixels(0), expect={"z": 0})
        with pytest.raises(ow.FrameError, match=r"z: must be an index, for it has no names; got 11\.5"):
            stream.append(pixels(1), expect={"z": 11.5})
        with pytest.raises(ow.FrameError, match="z: must be from 0 to 1; got 10"):
            stream.append(pixels(1), expect={"z": 10})
        stream.append(pixels(1), expect={"z": 1})


def test_expect_when_all_came() -> None:
    with stream_of(t=1, y=8, x=6) as stream:
        stream.append(pixels(0), expect={"t": 0})
        with pytest.raises(ow.PlanExhausted):
            stream.append(pixels(0), expect={"t": 0})
    with pytest.raises(ValueError, match="closed"):
        stream.append(pixels(0), expect={"t": 0})
