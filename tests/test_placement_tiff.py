"""Where the frames of an OME-TIFF lie: files made from the placement alone are read with tifffile and with libtiff."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers import growth, tiffblocks
from ome_writers.placement import place
from ome_writers.placement_tiff import TiffPlacement
from ome_writers.tiffpages import description_at

DTYPES = "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64", "complex64", "complex128"
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one image": ({"t": 3, "c": 2}, {}),
    "one frame": ({}, {}),
    "a set": ({"t": 2, "p": ["a", "b", "c"], "z": 2}, {}),
    "a set of single frames": ({"p": ["a", "b"]}, {}),
    "one file for all": ({"t": 2, "p": ["a", "b", "c"], "z": 2}, {"prefer_single_file": "always"}),
    "stored in another order": ({"t": 3, "p": ["a", "b"], "c": 2}, {"storage_order": ["c", "t"]}),
}


def placed(
    sizes: dict[str, Any], dtype: str = "uint16", shape: tuple[int, int] = (5, 9), **options: Any
) -> TiffPlacement:
    dims = ow.dims_from_standard_axes(sizes | dict(zip("yx", shape, strict=True)))
    single = options.pop("prefer_single_file", "auto")
    if order := options.pop("storage_order", None):
        options["storage_order"] = [*(["p"] if "p" in sizes else []), *order, "y", "x"]
    settings = ow.AcquisitionSettings(
        root_path="a.ome.tiff",
        dtype=dtype,
        dimensions=dims,
        format=ow.OmeTiffFormat(prefer_single_file=single),
        **options,
    )
    placement = place(ow.compile(settings))
    assert isinstance(placement, TiffPlacement)
    return placement


def pixels(count: int, shape: tuple[int, int], dtype: str) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2 if dtype == "bool" else 100, (count, *shape))
    return (numbers + 1j * numbers[::-1] if dtype[0] == "c" else numbers).astype(dtype)


def empty_file(placement: TiffPlacement, number: int, blocks: int | None = None) -> bytearray:
    first = placement.first_blocks(number)
    blocks = blocks or first
    made = bytearray(placement.size(number, blocks - 1))
    for block in range(blocks):
        for at, data in placement.head(number, block):
            assert not any(made[at : at + len(data)]), "nothing is written twice"
            made[at : at + len(data)] = data
        if block >= first:
            at, table = placement.link(number, block)
            made[at : at + 8] = struct.pack("<Q", table)
    at, text = description_at(placement.page(number)), b"<words/>\0"
    made[at : at + 16] = struct.pack("<QQ", len(text), placement.room(number)[0])
    made[placement.room(number)[0] : placement.room(number)[0] + len(text)] = text
    assert len(made) == placement.size(number, blocks - 1)
    return made


def fill(made: bytearray, placement: TiffPlacement, array: int, offset: int, frame: NDArray[Any]) -> None:
    """Put the pixels of a frame where `cut` says, run by run."""
    cut = placement.cut(array)
    assert cut.parts == (1, 1)
    for run in range(cut.runs):
        rows = frame[run * cut.tile[0] : (run + 1) * cut.tile[0]]
        if cut.padded:
            rows = np.pad(rows, [(0, cut.tile[0] - rows.shape[0]), (0, cut.tile[1] - rows.shape[1])])
        data = np.packbits(rows, axis=1).tobytes() if cut.packed else rows.tobytes()
        at = offset + run * cut.run_stride
        assert not any(made[at : at + len(data)]), "nothing is written twice"
        made[at : at + len(data)] = data


def as_planned(placement: TiffPlacement) -> dict[int, list[tuple[int, tuple[int, ...]]]]:
    """Return for each file the array and the index of each page: image by image, each in storage order."""
    files: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for array, spec in enumerate(placement.plan.layout.arrays):
        pages = files.setdefault(placement.plan.layout.files.index(spec.path), [])
        pages += [(array, index) for index in np.ndindex(*(size or 0 for size in spec.shape[:-2]))]
    return files


def read(made: bytes) -> list[NDArray[Any]]:
    with tifffile.TiffFile(io.BytesIO(made), is_ome=False) as file:
        assert file.pages.first.description == "<words/>"
        return [page.asarray() for page in file.pages]


@pytest.mark.parametrize("shape", [(5, 9), (1, 33), (2, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_readers_find_every_frame(
    layout: str, dtype: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, options = LAYOUTS[layout]
    # Also where pages lie in several blocks, which end within images and between them.
    monkeypatch.setattr(tiffblocks, "_PAGES", {5: 3, 1: 2}.get(shape[0], 8192))
    placement = placed(sizes, dtype, shape, **options)
    table, rows = placement.plan.table, placement.rows()
    frames = pixels(len(table), shape, dtype)
    files = [empty_file(placement, number) for number in range(placement.file_count)]
    found = {}
    for row, where, number, frame in zip(table, rows, placement.numbers(table), frames, strict=True):
        array, index = int(row["array"]), tuple(row["index"].tolist())
        assert placement.at(array, index) == (where["file"], where["offset"])
        fill(files[where["file"]], placement, array, int(where["offset"]), frame)
        found[array, index] = int(number), frame
    for number, pages in as_planned(placement).items():
        seen = read(files[number])
        assert len(seen) == len(pages)
        for page, key in enumerate(pages):
            assert found[key][0] == page
            assert seen[page].dtype == dtype
            assert np.array_equal(seen[page], found[key][1])
            if not placement.cut(key[0]).packed:
                assert np.array_equal(imagecodecs.tiff_decode(bytes(files[number]), index=page), found[key][1])


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "set" in name])
def test_strips_in_a_set_do_not_touch(layout: str) -> None:
    sizes, options = LAYOUTS[layout]
    for shape in ((5, 9), (1, 16)):
        placement = placed(sizes, "uint16", shape, **options)
        for number in range(placement.file_count):
            with tifffile.TiffFile(io.BytesIO(empty_file(placement, number)), is_ome=False) as file:
                assert not any(page.is_contiguous for page in file.pages)


def test_a_long_frame_begins_at_a_sector() -> None:
    offsets = placed({"t": 4}, shape=(256, 256)).rows()["offset"]
    assert set(offsets % 4096) == {0}
    assert set(np.diff(offsets)) == {256 * 256 * 2}, "neighbours can be written together"


# ── without end ───────────────────────────────────────────────────────────────────────────────────────────────────────


def endless(placement: TiffPlacement, blocks: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the pages of a file that has all images, in the order that the module's docstring gives."""
    arrays = placement.plan.layout.arrays
    axis = arrays[0].shape.index(None)
    bounds = [0, *growth.bounds(growth.step_rounds(placement.plan.layout))]
    for first, last in pairwise(bounds[: blocks + 1]):
        for array, spec in enumerate(arrays):
            others = [size or 1 for size in spec.shape[:-2]]
            for turn in range(first, last):
                for index in np.ndindex(*others):
                    yield array, (*index[:axis], turn, *index[axis + 1 :])


@pytest.mark.parametrize("order", [["t", "c"], ["c", "t"]])
@pytest.mark.parametrize("positions", [["a"], ["a", "b"]])
def test_blocks_are_added_without_end(positions: list[str], order: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "STEP_BYTES", 200)
    sizes = {"t": None, "p": positions, "c": 2}
    placement = placed(sizes, "uint8", (3, 4), storage_order=order, prefer_single_file="always")
    pages = list(endless(placement, 3))
    made = empty_file(placement, 0, 3)
    frames = pixels(len(pages), (3, 4), "uint8")
    assert len(pages) == placement.page_count(0, 2)
    for (array, index), frame in zip(pages, frames, strict=True):
        fill(made, placement, array, placement.at(array, index)[1], frame)
    assert np.array_equal(read(made), frames)
    rows = placement.plan.rows(0, len(pages))
    wanted = [pages.index((int(row["array"]), tuple(row["index"].tolist()))) for row in rows]
    assert placement.numbers(rows).tolist() == wanted
    offsets = [placement.at(int(row["array"]), row["index"].tolist())[1] for row in rows]
    assert placement.rows(0, len(pages))["offset"].tolist() == offsets


def test_stretches_are_the_pages_of_an_image() -> None:
    placement = placed({"t": None, "p": ["a", "b"], "c": 2}, "uint8", (2, 8192), prefer_single_file="always")
    pages = list(endless(placement, 3))
    bounds = growth.bounds(growth.step_rounds(placement.plan.layout))
    for rounds in (1, bounds[0], bounds[0] + 1, bounds[2]):
        for array in (0, 1):
            numbers = [
                (first + k, (turn + k // 2, k % 2))
                for first, turn, count in placement.stretches(array, rounds)
                for k in range(count)
            ]
            assert [pages[number] for number, _ in numbers] == [(array, index) for _, index in numbers]
            assert [index for _, index in numbers] == list(np.ndindex(rounds, 2))


# ── what is left at the end ───────────────────────────────────────────────────────────────────────────────────────────


def left(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, tuple[int, ...]]]:
    return [(array, index) for array, shape in enumerate(shapes) for index in np.ndindex(*shape[:-2])]


CUTS: dict[str, tuple[dict[str, Any], list[str], list[tuple[int, ...]], bool]] = {
    "all of it": ({"t": 3, "c": 2}, ["t", "c"], [(3, 2)], True),
    "fewer rounds": ({"t": 3, "c": 2}, ["t", "c"], [(2, 2)], True),
    "one round": ({"t": 3, "c": 2}, ["t", "c"], [(1, 2)], True),
    "the faster axis": ({"t": 3, "c": 2}, ["c", "t"], [(2, 2)], False),
    "the faster axis, of one": ({"t": 3, "c": 1}, ["c", "t"], [(1, 2)], True),
    "all images": ({"t": 3, "p": ["a", "b"], "c": 2}, ["t", "c"], [(3, 2), (3, 2)], True),
    "part of the last image": ({"t": 3, "p": ["a", "b"], "c": 2}, ["t", "c"], [(3, 2), (2, 2)], True),
    "part of both": ({"t": 3, "p": ["a", "b"], "c": 2}, ["t", "c"], [(3, 2), (1, 2)][::-1], False),
    "half of each": (
        {"t": 4, "p": ["a", "b", "c"], "c": 2},
        ["c", "t"],
        [(2, 3), (2, 2), (2, 1)],
        False,
    ),
    "no end": ({"t": None, "c": 2}, ["t", "c"], [(17, 2)], True),
    "no end, the faster axis": ({"t": None, "c": 2}, ["c", "t"], [(2, 17)], False),
    "no end, several": ({"t": None, "p": ["a", "b"], "c": 2}, ["t", "c"], [(17, 2), (16, 2)], False),
    "no end, one block": ({"t": None, "p": ["a", "b"], "c": 2}, ["t", "c"], [(8, 2), (7, 2)], True),
    "no end, one block and more": ({"t": None, "p": ["a", "b"], "c": 2}, ["t", "c"], [(8, 2), (9, 2)], False),
}


@pytest.mark.parametrize("together", [1, 5, 8192])
@pytest.mark.parametrize("case", CUTS)
def test_pages_that_are_left_lie_in_order(case: str, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiffblocks, "_PAGES", together)
    monkeypatch.setattr(growth, "STEP_BYTES", 1)
    sizes, order, axes, cuts = CUTS[case]
    shapes = [(*shape, 3, 4) for shape in axes]
    if "one block" in case:
        monkeypatch.setattr(growth, "STEP_BYTES", 8 * 2 * 2 * 12)
    placement = placed(sizes, "uint8", (3, 4), storage_order=order, prefer_single_file="always")
    endless_ = any(size is None for size in placement.plan.layout.arrays[0].shape)
    axis = placement.plan.layout.arrays[0].shape.index(None) if endless_ else 0
    blocks = 1 + placement.block_at(0, max(shape[axis] for shape in shapes))
    made, pages = empty_file(placement, 0, blocks), left(shapes)
    frames = pixels(len(pages), (3, 4), "uint8")
    for (array, index), frame in zip(pages, frames, strict=True):
        fill(made, placement, array, placement.at(array, index)[1], frame)
    last = max(placement.at(array, index)[1] + 12 for array, index in pages)
    assert placement.pixels_end(0, shapes) == last
    stride = placement.stride(0)[0]
    used = [begin for first, stop in placement.used(0, shapes) for begin in range(first, stop, stride)]
    assert used == sorted(placement.at(array, index)[1] for array, index in pages)
    assert placement.in_order(0, shapes) is cuts
    if cuts:
        if len(pages) < placement.page_count(0, blocks - 1):
            at = placement.next_at(0, len(pages) - 1)
            made[at : at + 8] = bytes(8)
    else:
        at = len(made)
        for begin, data in placement.compact(0, shapes, at):
            assert begin == len(made)
            made += data
        assert len(made) == at + placement.compact_bytes(0, shapes)
        entry = description_at(placement.page(0), at)
        made[entry : entry + 16] = made[description_at(placement.page(0)) :][:16]
        made[8:16] = struct.pack("<Q", at)
    assert np.array_equal(read(made), frames)


def test_little_is_left_of_pages_that_never_came() -> None:
    placement = placed({"t": 100_000, "c": 2}, "uint8", (4, 4))
    end = placement.pixels_end(0, [(1000, 2, 4, 4)])
    assert end - placement.room(0)[0] - placement.room(0)[1] == 2000 * 16
    assert placement.room(0)[0] < 10_000 * 280
    assert placement.room(0)[1] <= (1 << 20) + 4096
    assert placement.size(0) > 200_000 * (16 + 280)


def test_a_hundred_thousand_pages_cost_little() -> None:
    placement = placed({"t": 50_000, "c": 2}, "uint8", (4, 4))
    size = sum(len(data) for _, data in placement.head(0))
    assert size < 300 * 100_000
    assert prod(placement.plan.layout.arrays[0].shape) == 1_600_000
    shapes = [(2, 50_000, 4, 4)]
    turned = placed({"t": 60_000, "c": 2}, "uint8", (4, 4), storage_order=["c", "t"])
    assert not turned.in_order(0, shapes)
    assert sum(len(data) for _, data in turned.compact(0, shapes, 1 << 40)) == turned.compact_bytes(0, shapes)
