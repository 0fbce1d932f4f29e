"""The memory writer, driven directly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.writers.memory import MemoryWriter


def plan_of(sizes: dict[str, Any], dtype: str = "uint16") -> ow.Plan:
    return ow.compile(ow.AcquisitionSettings(dtype=dtype, dimensions=ow.dims_from_standard_axes(sizes)))


def opened(sizes: dict[str, Any], dtype: str = "uint16") -> MemoryWriter:
    writer = MemoryWriter()
    writer.open("", plan_of(sizes, dtype), [ow.Document("a", "xml", "<running/>")])
    return writer


def block(array: int, start: tuple[int, ...], data: Any) -> ow.Block:
    return ow.Block((0,), array, start, np.asarray(data))


def test_it_is_a_writer() -> None:
    assert isinstance(MemoryWriter(), ow.Writer)


def test_blocks_of_any_size_land_where_they_say_in_any_order() -> None:
    writer = opened({"t": 4, "p": 2, "c": 3, "y": 5, "x": 6})
    expected = np.zeros((2, 4, 3, 5, 6), "uint16")
    rng = np.random.default_rng(0)
    for array, start, extent in [(1, (2, 1), (2, 2)), (0, (3, 0), (1, 1)), (1, (0, 0), (1, 3))]:
        data = rng.integers(1, 9, (*extent, 5, 6)).astype("uint16")
        expected[array, start[0] : start[0] + extent[0], start[1] : start[1] + extent[1]] = data
        writer.write([block(array, start, data)])
        data[:] = 99  # the caller reuses its memory
    assert len(writer.arrays) == 2
    for array in (0, 1):
        assert np.array_equal(writer.arrays[array], expected[array])


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "complex128"])
def test_what_never_came_is_the_fill_value(dtype: str) -> None:
    writer = opened({"t": 2, "y": 3, "x": 4}, dtype)
    assert writer.arrays[0].dtype == dtype
    assert not writer.arrays[0].any()


def test_an_array_without_end_grows_and_shrinks() -> None:
    writer = opened({"t": None, "c": 2, "y": 2, "x": 3})
    assert writer.arrays[0].shape == (1, 2, 2, 3)
    for t in range(50):
        writer.resize(0, (t + 1, 2, 2, 3))
        writer.write([block(0, (t, 1), np.full((1, 1, 2, 3), t + 1, "uint16"))])
    assert writer.arrays[0].shape == (50, 2, 2, 3)
    assert writer.arrays[0][:, 1, 0, 0].tolist() == list(range(1, 51))
    assert not writer.arrays[0][:, 0].any()
    writer.resize(0, (3, 2, 2, 3))
    writer.resize(0, (6, 2, 2, 3))
    assert writer.arrays[0][:, 1, 1, 2].tolist() == [1, 2, 3, 0, 0, 0], "what lies beyond is gone"


def test_reading_returns_a_copy() -> None:
    writer = opened({"t": 2, "y": 3, "x": 4})
    writer.write([block(0, (1,), np.full((1, 3, 4), 7, "uint16"))])
    seen = writer.read(0, (1, slice(0, 2), slice(None)))
    assert seen.tolist() == [[7] * 4] * 2
    seen[:] = 0
    assert writer.read(0, (1, 2, 3)) == 7
    assert writer.read(0, (1, 0, 0)) == 7


def test_documents_are_replaced_by_path() -> None:
    writer = opened({"y": 3, "x": 4})
    assert writer.documents == {"a": "<running/>"}
    writer.flush([ow.Document("a", "xml", "<more/>"), ow.Document("b", "xml", "<b/>")])
    writer.flush(durable=True)
    writer.close([ow.Document("a", "xml", "<complete/>")])
    assert writer.documents == {"a": "<complete/>", "b": "<b/>"}


def test_it_attaches_to_what_it_holds() -> None:
    writer = opened({"t": 2, "y": 3, "x": 4})
    writer.write([block(0, (1,), np.full((1, 3, 4), 7, "uint16"))])
    writer.abort()
    writer.open("", plan_of({"t": 2, "y": 3, "x": 4}), [], attach=True)
    assert writer.arrays[0][:, 0, 0].tolist() == [0, 7]
    assert writer.documents == {"a": "<running/>"}
