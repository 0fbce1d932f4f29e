"""Contact sheets: which plane stands where, in which colour and contrast, at what cost of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from attrs import evolve
from PIL import Image

import ome_writers as ow
from ome_writers import sheet as module
from ome_writers.cli.app import run
from ome_writers.datasets import NotADataset
from ome_writers.gallery import gallery_of, plane

SIDE = 96


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings_of(suffix: str = ".ome.zarr", **more: Any) -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(
        root_path=f"cells{suffix}",
        dtype="uint16",
        dimensions=[
            ow.Dimension(name="t", count=3, type="time"),
            ow.Dimension(name="p", coords=["upper µ", "lower"], type="position"),
            ow.Dimension(
                name="c", coords=[ow.Channel(name="DAPI", color="#0000FF"), ow.Channel(name="GFP", color="#00FF00")]
            ),
            ow.Dimension(name="z", count=5, type="space"),
            ow.Dimension(name="y", count=SIDE, type="space"),
            ow.Dimension(name="x", count=SIDE, type="space"),
        ],
        **more,
    )


def acquired() -> np.ndarray:
    """Return t, p, c, z, y, x: in the middle plane a bright quarter, another one for each channel and position."""
    frames = np.full((3, 2, 2, 5, SIDE, SIDE), 100, "uint16")
    for p in range(2):
        for c in range(2):
            y, x = (half * SIDE // 2 for half in (p, c))
            frames[1, p, c, 2, y : y + SIDE // 2, x : x + SIDE // 2] = 4000 * (c + 1)
    return frames


def tiles(sheet: Image.Image, rows: int, columns: int, side: int) -> list[list[np.ndarray]]:
    """Find the tiles of a sheet, which stand in columns of 8 pixels between them, below lines of text."""
    pixels = np.asarray(sheet).astype(int)
    font, small = max(15, 320 // 14), max(13, 320 // 18)
    assert font > small
    line = int(font * 1.6)
    return [
        [
            pixels[3 * line + row * (side + line) :, 16 + column * (side + 8) :][:side, :side]
            for column in range(columns)
        ]
        for row in range(rows)
    ]


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_each_tile_shows_its_plane_in_its_colour(suffix: str) -> None:
    plan = ow.compile(settings_of(suffix))
    ow.write(plan, acquired())
    sheet = ow.preview(plan.settings.output_path)
    side = 3 * SIDE  # small images are made larger, by whole pixels
    for p, row in enumerate(tiles(sheet, 2, 3, side)):
        for c, tile in enumerate(row[:2]):
            color = [(0, 0, 255), (0, 255, 0)][c]
            lit = np.zeros((side, side), bool)
            y, x = (half * side // 2 for half in (p, c))
            lit[y : y + side // 2, x : x + side // 2] = True
            np.testing.assert_array_equal(tile, np.where(lit[..., None], color, 0))
        np.testing.assert_array_equal(row[2], row[0] + row[1])


def test_of_a_run_that_goes_on_the_rounds_that_came_are_shown() -> None:
    frames = acquired()
    frames[0] = frames[1]
    with ow.create_stream(settings_of()) as stream:
        for frame in frames.reshape(-1, SIDE, SIDE)[:23]:
            stream.append(frame)
        running = ow.preview("cells.ome.zarr")
    for p, row in enumerate(tiles(running, 2, 3, 3 * SIDE)):
        for c, tile in enumerate(row[:2]):
            assert tile.max() == 255, (p, c)


def test_a_few_hot_pixels_do_not_darken_the_rest() -> None:
    rng = np.random.default_rng(1)
    frames = rng.normal(1000, 50, acquired().shape).astype("uint16")
    frames[..., 3, 3] = 65535
    ow.write(ow.compile(settings_of()), frames)
    shown = tiles(ow.preview("cells.ome.zarr"), 2, 3, 3 * SIDE)[0][0][..., 2]
    assert 100 < np.median(shown) < 160
    assert np.mean(shown == 255) < 0.02
    assert np.mean(shown == 0) < 0.03


def test_large_planes_are_read_in_bands() -> None:
    side = 2400
    dims = ow.dims_from_standard_axes({"t": 1, "y": side, "x": side})
    settings = ow.AcquisitionSettings(root_path="large.ome.zarr", dtype="uint16", dimensions=dims)
    image = np.add.outer(np.arange(side), np.arange(side)).astype("uint16")
    ow.write(ow.compile(settings), image[None])
    gallery = gallery_of("large.ome.zarr")
    sizes = []

    class Watched:
        def read(self, number: int, selection: Any) -> Any:
            part = gallery.arrays.read(number, selection)
            sizes.append(part.nbytes)
            return part

    small = plane(evolve(gallery, arrays=Watched()), 0, (0,), 300)
    assert max(sizes) <= 8 << 20 < sum(sizes)
    np.testing.assert_allclose(small, image.reshape(300, 8, 300, 8).mean((1, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "side"), [(1, 1, 10), (7, 100, 10), (33, 17, 16), (10, 10, 10), (5, 300, 7)]
)
def test_planes_of_any_size_are_made_smaller(height: int, width: int, side: int) -> None:
    dims = ow.dims_from_standard_axes({"t": 1, "y": height, "x": width})
    settings = ow.AcquisitionSettings(root_path="odd.ome.zarr", dtype="uint8", dimensions=dims)
    image = np.random.default_rng(0).integers(1, 255, (height, width), "uint8")
    ow.write(ow.compile(settings), image[None])
    small = plane(gallery_of("odd.ome.zarr"), 0, (0,), side)
    step = -(-max(height, width) // side)
    for y, x in np.ndindex(small.shape):
        block = image[y * step : (y + 1) * step, x * step : (x + 1) * step]
        assert small[y, x] == pytest.approx(block.mean())
    assert max(small.shape) <= side
    assert min(small.shape) >= 1


def test_many_positions_stand_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ow.AcquisitionSettings(
        root_path="many.ome.zarr", dtype="uint8", dimensions=ow.dims_from_standard_axes({"p": 60, "y": 8, "x": 8})
    )
    ow.write(ow.compile(settings), np.full((60, 8, 8), 9, "uint8"))
    sheet = ow.preview("many.ome.zarr")
    assert 0.5 < sheet.width / sheet.height < 2
    monkeypatch.setattr(module, "_MOST", 6)
    assert ow.preview("many.ome.zarr").height < sheet.height


def test_datasets_of_others() -> None:
    array = zarr.create_array("other.zarr", shape=(2, 32, 32), dtype="float32", chunks=(1, 32, 32))
    array[:] = np.random.default_rng(0).normal(size=(2, 32, 32))
    assert np.asarray(ow.preview("other.zarr")).max() == 255
    tifffile.imwrite("other.tif", np.zeros((2, 8, 8), "uint8"))
    with pytest.raises(NotADataset, match="TIFF without OME metadata, one image; only OME-Zarr and OME-TIFF"):
        ow.preview("other.tif")
    tifffile.imwrite("other.ome.tif", np.zeros((2, 8, 8), "uint8"), metadata={"axes": "TYX"})
    with pytest.raises(NotADataset, match="does not say in which order it was acquired"):
        ow.preview("other.ome.tif")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ow.preview("nowhere")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"a preview needs .* 'PIL'.*pip install 'ome-writers\[plot\]'"):
        ow.preview("nowhere")
    assert run(["preview", "nowhere"]) == 1
    assert "pip install 'ome-writers[plot]'" in capsys.readouterr().err


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    ow.write(ow.compile(settings_of()), acquired())
    assert run(["preview", "cells.ome.zarr", "-o", "sheet.png"]) == 0
    with Image.open("sheet.png") as sheet:
        assert f"sheet.png: {sheet.width} × {sheet.height} pixels" in capsys.readouterr().out
        np.testing.assert_array_equal(np.asarray(sheet), np.asarray(ow.preview("cells.ome.zarr")))
    assert run(["preview", "cells.ome.zarr"]) == 0
    assert Path("cells.preview.png").exists()
    assert run(["preview", "nowhere"]) == 1
    assert "nowhere: there is no such file or folder" in capsys.readouterr().err.replace("\n", "")
