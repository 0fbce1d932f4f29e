"""Frames that other programs lost or misplaced: each of those faults, tried on every writer in each of its layouts.

What must be there stands in plain numpy arrays, filled by nested loops; what is there is read by others' libraries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.testing import Way, ways

EVERY = pytest.mark.parametrize("way", ways(), ids=lambda way: way.name)
Y, X = 6, 7
BLOCKS = pytest.mark.parametrize(
    ("chunks", "shards"),
    [({}, {}), ({"t": 3}, {}), ({"t": 2, "c": 2, "y": 4}, {"t": 2}), ({}, {"t": 4, "y": 1})],
    ids=["frames", "chunks", "shards", "frames in shards"],
)


def loops(t: int, p: int = 1, c: int = 1) -> Iterator[tuple[int, int, int]]:
    for i in range(t):
        for j in range(p):
            for k in range(c):
                yield i, j, k


def pixels(count: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return frames no two of which are alike, and none of which is blank."""
    number = np.arange(count * Y * X).reshape(count, Y, X) % 200 + 1 + np.arange(count)[:, None, None]
    if dtype == "bool":
        bits = np.random.default_rng(0).integers(0, 2, (count, Y, X)).astype(bool)
        bits[:, 0, 0] = True
        return bits
    return (number + 1j * number[:, ::-1] if dtype.startswith("complex") else number).astype(dtype)


def empty(t: int, p: int = 1, c: int = 1, dtype: str = "uint16") -> list[NDArray[Any]]:
    """Return the array of each position, blank."""
    return [np.zeros((t, c, Y, X), dtype) for _ in range(p)]


def opened(
    way: Way, folder: Path, sizes: dict[str, Any], *, chunks: Any = None, shards: Any = None, **more: Any
) -> tuple[ow.Stream, Any]:
    dims = ow.dims_from_standard_axes({**sizes, "y": Y, "x": X}, chunk_shapes=chunks, shard_shapes=shards)
    writer = way.make()
    return ow.Stream(ow.compile(way.settings(folder, dims, **({"dtype": "uint16"} | more))), writer), writer


def must_hold(way: Way, stream: ow.Stream, writer: Any, expected: Sequence[NDArray[Any]]) -> None:
    assert stream.outcome is not None
    arrays = stream.plan.layout.arrays
    assert len(arrays) == len(expected)
    for array, wanted in zip(arrays, expected, strict=True):
        found = way.read(writer, stream.outcome.root, array)
        if found is None:
            assert not wanted.any(), f"{array.path} is not mentioned"
            continue
        assert found.dtype == wanted.dtype
        assert found.size == wanted.size, f"{array.path}: {found.shape}, not {wanted.shape}"
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted, err_msg=array.path)


@EVERY
@BLOCKS
def test_a_caller_reuses_its_frame_buffer(tmp_path: Path, way: Way, chunks: Any, shards: Any) -> None:
    stream, writer = opened(way, tmp_path, {"t": 7, "p": 2, "c": 2}, chunks=chunks, shards=shards)
    frames, expected, buffer = pixels(28), empty(7, 2, 2), np.empty((Y, X), "uint16")
    with stream:
        for number, (t, p, c) in enumerate(loops(7, 2, 2)):
            expected[p][t, c] = buffer[:] = frames[number]
            stream.append(buffer)
            buffer[:] = 9999
    must_hold(way, stream, writer, expected)


@EVERY
def test_frames_of_wrong_shape_or_dtype_take_no_place(tmp_path: Path, way: Way) -> None:
    stream, writer = opened(way, tmp_path, {"t": 3, "c": 2}, chunks={"t": 2})
    frames, expected = pixels(6), empty(3, 1, 2)
    wrong: list[Any] = [
        np.ones((X, Y), "uint16"),
        np.ones((1, X), "uint16"),
        np.ones((Y, X + 1), "uint16"),
        np.ones((1, Y, X), "uint16"),
        np.ones((Y, X), "float64"),
        np.ones((Y, X), "int16"),
        np.uint16(1),
        None,
    ]
    with stream:
        for number, (t, _, c) in enumerate(loops(3, 1, 2)):
            for bad in wrong:
                with pytest.raises(ow.FrameError, match=rf"frame {number} \(t={t} c={c}\): expected \(6, 7\) uint16"):
                    stream.append(bad)
            stream.append(frames[number])
            expected[0][t, c] = frames[number]
        with pytest.raises(ow.PlanExhausted):
            stream.append(frames[0])
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("complete", 6)
    must_hold(way, stream, writer, expected)


@EVERY
@BLOCKS
@pytest.mark.parametrize("number", [1, 11, 20])
def test_stopping_early(tmp_path: Path, way: Way, chunks: Any, shards: Any, number: int) -> None:
    stream, writer = opened(way, tmp_path, {"t": 9, "p": 2, "c": 2}, chunks=chunks, shards=shards)
    frames = pixels(number)
    # The outermost loop ends where it stopped; each position had got that far, or one less.
    expected = empty(9, 2, 2)
    came = [0, 0]
    with stream:
        for frame, (t, p, c) in zip(frames, loops(9, 2, 2), strict=False):
            stream.append(frame)
            expected[p][t, c] = frame
            came[p] = t + 1
    assert stream.outcome is not None
    assert (stream.outcome.verdict, stream.outcome.frames) == ("stopped", number)
    must_hold(way, stream, writer, [array[: max(1, t)] for array, t in zip(expected, came, strict=True)])


@EVERY
@BLOCKS
@pytest.mark.parametrize("number", [0, 1, 17, 24])
def test_no_end_and_several_positions(tmp_path: Path, way: Way, chunks: Any, shards: Any, number: int) -> None:
    stream, writer = opened(way, tmp_path, {"t": None, "p": 3, "c": 2}, chunks=chunks, shards=shards)
    frames, expected, came = pixels(number), empty(9, 3, 2), [0, 0, 0]
    with stream:
        for frame, (t, p, c) in zip(frames, loops(9, 3, 2), strict=False):
            stream.append(frame)
            expected[p][t, c] = frame
            came[p] = t + 1
    assert stream.outcome is not None
    assert stream.outcome.frames == number
    must_hold(way, stream, writer, [array[: max(1, t)] for array, t in zip(expected, came, strict=True)])


@EVERY
@BLOCKS
@pytest.mark.parametrize(
    "missing", [{0}, {5}, {1, 2, 3}, {4, 5, 6, 7}, {*range(2, 14)}, {15}], ids=lambda missing: str(len(missing))
)
def test_skipping_inside_a_chunk(tmp_path: Path, way: Way, chunks: Any, shards: Any, missing: set[int]) -> None:
    stream, writer = opened(way, tmp_path, {"t": 8, "c": 2}, chunks=chunks, shards=shards)
    frames, expected = pixels(16), empty(8, 1, 2)
    with stream:
        for number, (t, _, c) in enumerate(loops(8, 1, 2)):
            if number in missing:
                stream.skip()
                continue
            stream.append(frames[number])
            expected[0][t, c] = frames[number]
    assert stream.outcome is not None
    assert stream.outcome.missing.tolist() == sorted(missing)
    must_hold(way, stream, writer, expected)


@EVERY
def test_a_skip_that_goes_too_far_eats_no_frames(tmp_path: Path, way: Way) -> None:
    stream, writer = opened(way, tmp_path, {"t": 4}, chunks={"t": 2})
    frames, expected = pixels(4), empty(4)
    with stream:
        stream.append(frames[0])
        with pytest.raises(ow.PlanExhausted):
            stream.skip(frames=4)
        for frame in frames[1:]:
            stream.append(frame)
    for (t, _, c), frame in zip(loops(4), frames, strict=True):
        expected[0][t, c] = frame
    must_hold(way, stream, writer, expected)


BACKWARDS = {"acquire-zarr"}
"""Writers that can only append, and say so."""


@EVERY
def test_a_storage_order_is_that_of_the_file_and_never_of_the_view(tmp_path: Path, way: Way) -> None:
    order = {"storage_order": ["c", "t", "y", "x"]}
    if way.writer in BACKWARDS:
        with pytest.raises(ow.PlanError, match="only appends"):
            opened(way, tmp_path, {"t": 3, "c": 2}, **order)
        assert list(tmp_path.iterdir()) == []
        return
    stream, writer = opened(way, tmp_path, {"t": 3, "c": 2}, **order)
    frames, expected = pixels(6), np.zeros((3, 2, Y, X), "uint16")
    with stream:
        view = stream.view()
        for number, (t, _, c) in enumerate(loops(3, 1, 2)):
            stream.append(frames[number])
            expected[t, c] = frames[number]
    np.testing.assert_array_equal(view[...], expected)
    # OME-TIFF names its axes T and C in XML, and tifffile gives them in the order of the pages.
    must_hold(way, stream, writer, [expected.swapaxes(0, 1)])


DTYPES = ("bool", "int64", "uint64", "float16", "float32", "float64", "complex64")
CANNOT = {
    "ome-tiff": {"int64", "uint64", "float16"},  # OME-XML 2016-06 has no names for them
    "acquire-zarr": {"bool", "float16", "complex64"},
}
"""By format or by writer."""


@EVERY
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_with_named_channels(tmp_path: Path, way: Way, dtype: str) -> None:
    sizes = {"t": 2, "p": ["A", "B"], "c": [ow.Channel(name="DAPI", color="blue"), "GFP <µ>"]}
    if dtype in CANNOT.get(way.format.name, set()) | CANNOT.get(way.writer, set()):
        with pytest.raises((ow.SettingsError, ow.PlanError), match=dtype):
            opened(way, tmp_path, sizes, dtype=dtype)
        assert list(tmp_path.iterdir()) == []
        return
    stream, writer = opened(way, tmp_path, sizes, dtype=dtype, chunks={"t": 2})
    frames, expected = pixels(8, dtype), empty(2, 2, 2, dtype)
    with stream:
        for number, (t, p, c) in enumerate(loops(2, 2, 2)):
            stream.append(frames[number])
            expected[p][t, c] = frames[number]
    must_hold(way, stream, writer, expected)
