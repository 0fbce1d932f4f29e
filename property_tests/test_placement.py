"""Laws of placement: where pixels lie in files. What says so is nested loops, and what other people's readers find."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice, pairwise, product
from math import lcm, log, prod
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ome_writers import AcquisitionSettings, Plan, compile, dims_from_standard_axes, growth
from ome_writers.checksum import crc32c
from ome_writers.cuts import Cut
from ome_writers.errors import PlanError
from ome_writers.growth import bounds
from ome_writers.placement import Placement, place
from ome_writers.placement_zarr import place_zarr
from ome_writers.testing import arrivals, expected_arrays, frame_pixels, settings
from ome_writers.zarrjson import array_json, encode_json

PLAIN = settings(formats=["ome-zarr"], codecs=[])
EITHER = settings(formats=["ome-zarr", "ome-tiff"], codecs=[])
NUMBER = 24
"""Frames of a plan without end that are looked at."""


def looked_at(plan: Plan) -> int:
    return NUMBER if plan.frames is None else plan.frames


def runs(cut: Cut, row: np.void, height: int) -> list[tuple[int, int, int, int, int]]:
    """Return each run of a frame: its file, where in that it begins and ends, its first row and column of pixels."""
    found = []
    (rows, columns), (down, across), (deep, wide) = cut.parts, cut.tiles, cut.tile
    for part, (r, c) in enumerate(product(range(rows), range(columns))):
        for run, (i, j) in enumerate(product(range(down), range(across))):
            begin = int(row["offset"]) + run * cut.run_stride
            place = (r * down + i) * deep, (c * across + j) * wide
            # Strips of TIFF end with the frame, tiles of Zarr are whole.
            lines = deep if cut.padded else min(deep, height - place[0])
            found.append((int(row["file"]) + part, begin, begin + cut.run_bytes // deep * lines, *place))
    return found


def files_of(placement: Placement, frames: Sequence[NDArray[Any]]) -> dict[str, bytearray]:
    """Return the files that hold these frames, made of what a placement says, byte by byte and without a writer."""
    files: dict[int, bytearray] = {}
    for row, pixels in zip(placement.rows(0, len(frames)), frames, strict=True):
        cut = placement.cut(int(row["array"]))
        for number, begin, _, top, left in runs(cut, row, len(pixels)):
            if number not in files:
                files[number] = bytearray(placement.file(number).size)
                for at, data in placement.head(number):
                    files[number][at : at + len(data)] = data
            for line in range(cut.tile[0]):
                data = pixels[top + line, left : left + cut.tile[1]].tobytes() if top + line < len(pixels) else b""
                at = begin + line * cut.tile[1] * pixels.itemsize
                files[number][at : at + len(data)] = data
    return {placement.file(number).key: data for number, data in files.items()}


def read_by_both(root: Path, path: str) -> NDArray[Any]:
    found = np.asarray(zarr.open_array(f"{root}/{path}", mode="r")[...])
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/{path}/"}}
    np.testing.assert_array_equal(found, np.asarray(ts.open(spec).result().read().result()))
    return found


class TestFiles:
    """Files made of what the placement says are what other people's readers call the acquisition."""

    @given(settings=PLAIN, missing=st.sets(st.integers(0, 30)))
    def test_readers_find_the_model(
        self, tmp_path_factory: pytest.TempPathFactory, settings: AcquisitionSettings, missing: set[int]
    ) -> None:
        plan, root = compile(settings), tmp_path_factory.mktemp("run")
        height, width = (dim.count or 1 for dim in settings.frame_dimensions)
        frames = [frame_pixels(frame, (height, width), settings.dtype) for frame in range(looked_at(plan))]
        # One that does not come is zeros, wherever it lies.
        came = [None if frame in missing else pixels for frame, pixels in enumerate(frames)]
        zeros = np.zeros((height, width), settings.dtype)
        expected = expected_arrays(settings, came)
        for key, data in files_of(place(plan), [zeros if pixels is None else pixels for pixels in came]).items():
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(data)
        for array in plan.layout.arrays:
            wanted = expected[array.image]
            (root / array.path).mkdir(parents=True, exist_ok=True)
            (root / array.path / "zarr.json").write_bytes(encode_json(array_json(array, wanted.shape)))
            np.testing.assert_array_equal(read_by_both(root, array.path), wanted)

    @given(settings=EITHER)
    def test_no_two_runs_overlap_and_none_leaves_its_file(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        placement, height = place(plan), settings.frame_dimensions[0].count or 1
        taken: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for row in placement.rows(0, looked_at(plan)):
            for number, begin, end, *_ in runs(placement.cut(int(row["array"])), row, height):
                taken[number].append((begin, end))
        for number, stretches in taken.items():
            stretches += [(at, at + len(data)) for at, data in placement.head(number)]
            stretches.sort()
            assert stretches[0][0] >= 0
            assert all(end <= begin for (_, end), (begin, _) in pairwise(stretches))
            if plan.frames is not None:
                assert stretches[-1][1] <= placement.file(number).size

    @given(settings=PLAIN)
    def test_a_file_that_the_array_fills_has_no_gaps(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        placement, height = place(plan), settings.frame_dimensions[0].count or 1
        used: dict[int, int] = defaultdict(int)
        for row in placement.rows(0, looked_at(plan)):
            for number, begin, end, *_ in runs(placement.cut(int(row["array"])), row, height):
                used[number] += end - begin
        for array in plan.layout.arrays:
            file = array.shard_shape or array.chunk_shape
            whole = [range((size or 0) // step) for size, step in zip(array.shape, file, strict=True)]
            filled = {"/".join([array.path, "c", *map(str, cell)]) for cell in product(*whole)}
            for number, size in used.items():
                spec = placement.file(number)
                if spec.key in filled:
                    assert size + sum(len(data) for _, data in placement.head(number)) == spec.size

    @given(settings=settings(formats=["ome-zarr"], codecs=[], unbounded=False))
    def test_every_file_of_a_shape_has_a_number(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        placement = place(plan)
        keys = []
        for array in plan.layout.arrays:
            file = array.shard_shape or array.chunk_shape
            cells = [range(-(-(size or 0) // step)) for size, step in zip(array.shape, file, strict=True)]
            keys += ["/".join([array.path, "c", *map(str, cell)]) for cell in product(*cells)]
        assert placement.file_count == len(keys)
        assert [placement.file(number).key for number in range(len(keys))] == keys
        for beyond in (-1, len(keys)):
            with pytest.raises(IndexError):
                placement.file(beyond)

    @given(settings=PLAIN)
    def test_what_follows_lies_behind_along_the_outermost_loop(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        placement = place_zarr(plan)
        names = plan.layout.arrays[0].dimension_names[:-2]
        outer = next((names.index(dim.name) for dim in settings.dimensions if dim.name in names), None)
        for number in range(placement.file_count or NUMBER):
            key, following = placement.file(number).key, placement.following(number)
            spec = next(array for array in plan.layout.arrays if key.startswith(f"{array.path}/c/"))
            cell = [int(part) for part in key.removeprefix(f"{spec.path}/c/").split("/")]
            wanted = None
            if outer is not None:
                cell[outer] += 1
                size = spec.shape[outer]
                if size is None or cell[outer] * (spec.shard_shape or spec.chunk_shape)[outer] < size:
                    wanted = "/".join([spec.path, "c", *map(str, cell)])
            assert (following if following is None else placement.file(following).key) == wanted

    @pytest.mark.parametrize("order", [["t", "c"], ["c", "t"]])
    @pytest.mark.parametrize("length", range(1, 8))
    @pytest.mark.filterwarnings("ignore:OME-Zarr 0.5 wants axes")
    def test_a_shard_that_is_cut_off_ends_with_its_last_chunk(
        self, tmp_path: Path, order: list[str], length: int
    ) -> None:
        sizes = {"t": 7, "c": 3, "y": 4, "x": 4}
        dims = dims_from_standard_axes(sizes, chunk_shapes={"y": 2}, shard_shapes={"t": 3, "c": 2, "y": 2})
        plan = compile(
            AcquisitionSettings(root_path="a.zarr", dtype="uint8", dimensions=dims, storage_order=[*order, "y", "x"])
        )
        placement, (spec,) = place_zarr(plan), plan.layout.arrays
        shape = tuple(length if name == "t" else sizes[name] for name in spec.dimension_names)
        frames = [frame_pixels(number, (4, 4), "uint8") for number in range(21)]
        files = files_of(placement, frames)
        cut = {key: (size, index) for key, size, index in placement.cut_off(0, shape)}
        for key, data in files.items():
            size, index = cut.get(key, (len(data), b""))
            assert size <= len(data)
            data[size - len(index) : size] = index
            (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / key).write_bytes(data[:size])
        (tmp_path / spec.path / "zarr.json").write_bytes(encode_json(array_json(spec, shape)))
        wanted = np.array(frames).reshape(7, 3, 4, 4)[:length]
        found = read_by_both(tmp_path, spec.path)
        np.testing.assert_array_equal(found, wanted if order[0] == "t" else wanted.swapaxes(0, 1))


class TestPlaces:
    """A frame has one place, whoever asks for it and in whatever part of a plan."""

    @given(settings=EITHER)
    def test_one_at_a_time_as_many_together(self, settings: AcquisitionSettings) -> None:
        plan = compile(settings)
        placement = place(plan)
        rows = placement.rows(0, looked_at(plan))
        for row, arrival in zip(rows, islice(arrivals(settings), len(rows)), strict=True):
            assert (row["frame"], row["array"]) == (arrival.frame, arrival.image)
            assert placement.at(arrival.image, arrival.index) == (row["file"], row["offset"])
            cut = placement.cut(arrival.image)
            assert (row["files"], row["runs"]) == (prod(cut.parts), prod(cut.tiles))
            assert (row["run_bytes"], row["run_stride"]) == (cut.run_bytes, cut.run_stride)

    @given(EITHER, st.data())
    def test_batches_concatenate(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        placement, number = place(plan), looked_at(plan)
        ends = sorted(data.draw(st.lists(st.integers(0, number), max_size=3)))
        stretches = zip([0, *ends], [*ends, number], strict=True)
        parts = np.concatenate([placement.rows(start, stop) for start, stop in stretches])
        np.testing.assert_array_equal(parts, placement.rows(0, number))

    @given(EITHER, st.data())
    def test_parts_of_a_plan_lie_where_the_whole_does(self, settings: AcquisitionSettings, data: st.DataObject) -> None:
        plan = compile(settings)
        whole = place(plan).rows(0, looked_at(plan))
        parts = [plan.rest(data.draw(st.integers(0, len(whole))))]
        if plan.frames is not None:
            parts += plan.split(data.draw(st.integers(1, 3)))
        if named := [dim for dim in settings.dimensions[:-2] if dim.count]:
            dim = data.draw(st.sampled_from(named))
            parts.append(plan.select(**{dim.name: [data.draw(st.integers(0, (dim.count or 1) - 1))]}))
        for part in parts:
            rows = place(part).rows(0, 1 if part.frames is None else part.frames)
            rows = rows[rows["frame"] < len(whole)]
            np.testing.assert_array_equal(rows, whole[rows["frame"]])


class TestRefusals:
    """Pixels whose place nobody can know have none."""

    @given(settings().filter(lambda drawn: drawn.compression or drawn.format.name == "scratch"))
    def test_no_place(self, settings: AcquisitionSettings) -> None:
        with pytest.raises(PlanError, match=r"no place before they come|only OME-Zarr and OME-TIFF"):
            place(compile(settings))


class TestGrowth:
    """What an array without end says of its length is enough, whole, never less than before, and seldom changed."""

    @given(
        settings(formats=["ome-zarr"], unbounded=True),
        st.sampled_from([1, 1000, 64 << 20]),
        st.lists(st.integers(1, 2**31 - 1) | st.integers(1, 1000), min_size=1),
    )
    def test_announced(self, settings: AcquisitionSettings, step_bytes: int, rounds: list[int]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(growth, "STEP_BYTES", step_bytes)
            plan = compile(settings)
            said = [plan.announced(needed) for needed in sorted(rounds)]
        assert said == sorted(said)
        spec = plan.layout.arrays[0]
        axis = spec.shape.index(None)
        whole = lcm(spec.chunk_shape[axis], (spec.shard_shape or spec.chunk_shape)[axis])
        step = plan.announced(1)
        assert [shape[axis] for shape in plan.first_shapes] == [step] * len(plan.layout.arrays)
        for needed, length in zip(sorted(rounds), said, strict=True):
            assert length >= needed
            assert length % whole == 0
            # Never more than a step, or a quarter, beyond what is needed.
            assert length < needed + max(step, needed / 4 + 1)

    @given(st.integers(1, 100_000))
    def test_few_steps(self, step: int) -> None:
        lengths = bounds(step)
        assert lengths[-1] >= 2**31 - 1
        # Eight steps to where a quarter is worth it, and then each is an eighth longer at least.
        assert len(lengths) <= 8 + log(2**31 / step) / log(9 / 8)


class TestChecksum:
    """The checksum is the one of Google's library."""

    @given(st.binary(max_size=200))
    def test_short(self, data: bytes) -> None:
        assert crc32c(data) == google_crc32c.value(data)

    @given(st.integers(0, 20_000), st.integers(0, 2**32 - 1))
    def test_of_any_length(self, size: int, seed: int) -> None:
        data = np.random.default_rng(seed).bytes(size)
        assert crc32c(data) == google_crc32c.value(data)

    @pytest.mark.parametrize("size", [4095, 4096, 4097, 5119, 5120, 8191, 8192, 8193, 1 << 20, (1 << 22) + 5])
    def test_at_the_edges_of_its_lanes(self, size: int) -> None:
        data = np.random.default_rng(size).bytes(size)
        assert crc32c(data) == google_crc32c.value(data)
        assert crc32c(bytes(size)) == google_crc32c.value(bytes(size))
