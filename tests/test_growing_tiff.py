"""An OME-TIFF without end whose pages are appended: at every moment others can read most of what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import ome_writers as ow

FRAMES = np.random.default_rng(0).integers(1, 2**16, (60, 4, 5)).astype("uint16")


def settings(root: Path, inner: dict[str, Any], **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": None, **inner, "y": 4, "x": 5})
    return ow.AcquisitionSettings(root_path=str(root), dtype="uint16", dimensions=dims, **more)


def read(path: Path, series: int) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        return np.asarray(file.series[series].asarray(squeeze=False))


LAYOUTS = [
    ({}, {"compression": "zstd"}, 1),
    ({"c": 2, "z": 2}, {"compression": "lzw"}, 4),
    ({"z": 2, "c": 2}, {"storage_order": ["t", "c", "z", "y", "x"]}, 4),
    ({"p": 2, "c": 2}, {}, 4),
    ({"p": 2}, {"format": ow.OmeTiffFormat(prefer_single_file="always")}, 2),
]


@pytest.mark.parametrize(("inner", "more", "each"), LAYOUTS)
def test_most_of_what_came_is_named_at_every_moment(
    tmp_path: Path, inner: dict[str, Any], more: dict[str, Any], each: int
) -> None:
    plan = ow.compile(settings(tmp_path / "a.ome.tiff", inner, **more))
    count = inner.get("p", 1)
    loops = [inner[name] for name in inner if name != "p"]
    root = Path(plan.settings.output_path)
    with ow.Stream(plan, "tifffile") as stream:
        for number, frame in enumerate(FRAMES):
            stream.append(frame)
            rounds = (number + 1) // each
            if rounds < 1:
                continue
            for position in range(count):
                path = root / plan.layout.files[position] if len(plan.layout.files) > 1 else root
                found = read(path, position)
                # The axes of length 1 that tifffile adds are left out again.
                wanted = FRAMES[: rounds * each].reshape(rounds, count, *loops, 4, 5)[:, position]
                if "storage_order" in more:
                    wanted = wanted.swapaxes(1, 2)
                found = found.reshape(-1, *wanted.shape[1:])
                assert found.shape[0] * 3 >= (rounds - 1) * 2, (number, position)
                np.testing.assert_array_equal(found, wanted[: len(found)])
        assert ow.open_view(root).shape[0] * 3 >= (len(FRAMES) // each - 1) * 2
    np.testing.assert_array_equal(
        np.asarray(ow.open_view(root)).reshape(-1, 4, 5), FRAMES.reshape(-1, 4, 5)
    )  # in order of acquisition


@pytest.mark.parametrize("mode", ["master-tiff", "companion-file"])
def test_so_it_is_where_one_file_tells_of_all(tmp_path: Path, mode: Any) -> None:
    format_ = ow.OmeTiffFormat(multi_file_metadata=mode)
    plan = ow.compile(settings(tmp_path / "a.ome.tiff", {"p": 2}, format=format_, compression="zstd"))
    with ow.Stream(plan, "tifffile") as stream:
        for number, frame in enumerate(FRAMES[:20]):
            stream.append(frame)
            if number >= 1:
                found = np.asarray(ow.open_view(plan.settings.output_path))
                assert len(found) * 3 >= ((number + 1) // 2 - 1) * 2
                np.testing.assert_array_equal(found, FRAMES[: 2 * len(found)].reshape(-1, 2, 4, 5))


def test_frames_that_were_skipped_and_have_no_pages_yet_are_not_named(tmp_path: Path) -> None:
    root = tmp_path / "a.ome.tiff"
    with ow.create_stream(settings(root, {"c": 2}), "tifffile") as stream:
        for number in range(5):
            stream.append(FRAMES[number])
        stream.skip(frames=9)
        stream.set_global_metadata("note", {"said": "in between"})
        # Two rounds are complete; of the third, one frame came, and nothing has come after it.
        np.testing.assert_array_equal(read(root, 0).reshape(-1, 4, 5), FRAMES[:4])
        stream.append(FRAMES[14])
        stream.set_global_metadata("note", {"said": "again"})
        found = read(root, 0).reshape(-1, 4, 5)
        np.testing.assert_array_equal(found, np.r_[FRAMES[:5], np.zeros((9, 4, 5), "uint16")])


def test_behind_a_ring_what_is_named_is_stored(tmp_path: Path) -> None:
    root = tmp_path / "a.ome.tiff"
    with ow.create_stream(settings(root, {"c": 2}, buffer_bytes=400), "tifffile") as stream:
        for number in range(9):
            stream.append(FRAMES[number])
        stream.set_global_metadata("note", {"said": "all before it"})
        np.testing.assert_array_equal(read(root, 0).reshape(-1, 4, 5), FRAMES[:8])


def test_no_more_is_said_the_longer_it_lasts(tmp_path: Path) -> None:
    root = tmp_path / "a.ome.tiff"
    sizes = []
    with ow.create_stream(settings(root, {"c": 2, "z": 3}, compression="zlib"), "tifffile") as stream:
        for number in range(600):
            stream.append(FRAMES[number % 60])
            if number in (30, 599):
                with tifffile.TiffFile(root) as file:
                    sizes.append(len(file.pages.first.description))
    assert sizes[1] <= sizes[0] + 10
