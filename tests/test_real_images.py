"""Real recorded microscope images, through the command line into both formats, read back by other people's software."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import skimage.data
import tifffile
import yaozarrs
import zarr
from ome_types import from_tiff
from ome_types.model import UnitsLength

from ome_writers.cli.app import run

SETTINGS = """
root_path = "anything.ome.zarr"
dtype = "uint8"

{loops}

[[dimensions]]
name = "y"
count = {height}
unit = "{unit}"
scale = {pixel}
chunk_size = 256

[[dimensions]]
name = "x"
count = {width}
unit = "{unit}"
scale = {pixel}
chunk_size = 256
"""
STAINS = """
[[dimensions]]
name = "c"
coords = [
    { name = "red channel", color = "#FF0000" },
    { name = "green channel", color = "lime" },
    { name = "blue channel", color = "blue", emission_wavelength_nm = 450 },
]
"""
CUTS = """
[[dimensions]]
name = "z"
count = 3
unit = "um"
scale = 1.5
"""
PHASE = """
[[dimensions]]
name = "c"
coords = ["phase contrast"]
"""


def ihc() -> np.ndarray:
    """Return colon tissue, immunohistochemically stained: 512 × 512 pixels of three colours."""
    return skimage.data.immunohistochemistry()


def write(settings: str, source: Path, to: str) -> None:
    Path("settings.toml").write_text(settings, "utf-8")
    assert run(["write", "settings.toml", "--frames", str(source), "--out", to]) == 0


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def npy(image: np.ndarray) -> Path:
    np.save("image.npy", image)
    return Path("image.npy")


def rgb_tiff(image: np.ndarray) -> Path:
    tifffile.imwrite("image.tif", image, photometric="rgb", compression="lzw")
    return Path("image.tif")


def planar_tiff(image: np.ndarray) -> Path:
    tifffile.imwrite("image.tif", np.moveaxis(image, -1, 0), photometric="rgb", planarconfig="separate")
    return Path("image.tif")


def png(image: np.ndarray) -> Path:
    imagecodecs.imwrite("image.png", image)
    return Path("image.png")


def folder(image: np.ndarray) -> Path:
    Path("images").mkdir()
    imagecodecs.imwrite("images/tissue.png", image)
    return Path("images")


def gray_folder(image: np.ndarray) -> Path:
    """Save each colour in a file of its own."""
    Path("images").mkdir()
    for number in range(3):
        tifffile.imwrite(f"images/colour{number}.tif", image[..., number])
    return Path("images")


SOURCES = [npy, rgb_tiff, planar_tiff, png, folder, gray_folder]
Save = Callable[[np.ndarray], Path]


@pytest.mark.parametrize("save", SOURCES)
def test_stained_tissue_into_zarr(save: Save) -> None:
    image = ihc()
    write(SETTINGS.format(loops=STAINS, height=512, width=512, unit="um", pixel=0.5), save(image), "tissue.ome.zarr")
    yaozarrs.validate_zarr_store("tissue.ome.zarr")
    group = zarr.open_group("tissue.ome.zarr", mode="r")
    np.testing.assert_array_equal(np.moveaxis(group["0"][:], 0, -1), image)
    described = yaozarrs.open_group("tissue.ome.zarr").ome_metadata()
    (multiscale,) = described.multiscales
    assert [(axis.name, axis.type) for axis in multiscale.axes] == [("c", "channel"), ("y", "space"), ("x", "space")]
    assert [axis.unit for axis in multiscale.axes[1:]] == ["micrometer", "micrometer"]
    assert multiscale.datasets[0].scale_transform.scale == [1.0, 0.5, 0.5]
    channels = described.omero.channels
    assert [channel.label for channel in channels] == ["red channel", "green channel", "blue channel"]
    assert [channel.color for channel in channels] == ["FF0000", "00FF00", "0000FF"]


@pytest.mark.parametrize("save", SOURCES)
def test_stained_tissue_into_tiff(save: Save) -> None:
    image = ihc()
    write(SETTINGS.format(loops=STAINS, height=512, width=512, unit="um", pixel=0.5), save(image), "tissue.ome.tiff")
    np.testing.assert_array_equal(np.moveaxis(tifffile.imread("tissue.ome.tiff"), 0, -1), image)
    pixels = from_tiff("tissue.ome.tiff").images[0].pixels
    assert (pixels.size_x, pixels.size_y, pixels.size_c, pixels.size_z, pixels.size_t) == (512, 512, 3, 1, 1)
    assert (pixels.physical_size_x, pixels.physical_size_x_unit) == (0.5, UnitsLength.MICROMETER)
    assert (pixels.physical_size_y, pixels.physical_size_y_unit) == (0.5, UnitsLength.MICROMETER)
    assert [channel.name for channel in pixels.channels] == ["red channel", "green channel", "blue channel"]
    assert [channel.color.as_hex(format="long") for channel in pixels.channels] == ["#ff0000", "#00ff00", "#0000ff"]
    assert pixels.channels[2].emission_wavelength == 450


def test_a_living_cell_into_both_formats() -> None:
    """A single gray image of odd size, with a unit of its own: 660 × 550 pixels, chunks of 256."""
    image = skimage.data.cell()
    settings = SETTINGS.format(loops=PHASE, height=660, width=550, unit="nm", pixel=107.5)
    tifffile.imwrite("cell.tif", image)
    write(settings, Path("cell.tif"), "cell.ome.zarr")
    write(settings, Path("cell.tif"), "cell.ome.tif")
    group = zarr.open_group("cell.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][0], image)
    assert group["0"].chunks == (1, 256, 256)
    described = yaozarrs.open_group("cell.ome.zarr").ome_metadata()
    assert [axis.unit for axis in described.multiscales[0].axes[1:]] == ["nanometer", "nanometer"]
    assert described.multiscales[0].datasets[0].scale_transform.scale == [1.0, 107.5, 107.5]
    assert [channel.label for channel in described.omero.channels] == ["phase contrast"]
    np.testing.assert_array_equal(tifffile.imread("cell.ome.tif"), image)
    pixels = from_tiff("cell.ome.tif").images[0].pixels
    assert (pixels.physical_size_y, pixels.physical_size_y_unit) == (107.5, UnitsLength.NANOMETER)
    assert [channel.name for channel in pixels.channels] == ["phase contrast"]


def test_a_stack_of_coloured_images_with_channels_outermost() -> None:
    """Three images of tissue as a stack, although the settings acquire one channel after the other."""
    images = np.stack([ihc(), ihc()[::-1], ihc()[:, ::-1]])
    tifffile.imwrite("stack.tif", images, photometric="rgb")
    settings = SETTINGS.format(loops=STAINS + CUTS, height=512, width=512, unit="um", pixel=0.5)
    write(settings, Path("stack.tif"), "tissue.ome.zarr")
    write(settings, Path("stack.tif"), "tissue.ome.tiff")
    expected = images.transpose(3, 0, 1, 2)  # z y x c, to c z y x
    np.testing.assert_array_equal(zarr.open_group("tissue.ome.zarr", mode="r")["0"][:], expected)
    with tifffile.TiffFile("tissue.ome.tiff") as tif:
        axes = tif.series[0].axes
        read = tif.series[0].asarray()
    np.testing.assert_array_equal(np.moveaxis(read, [axes.index(axis) for axis in "CZYX"], range(4)), expected)
    assert from_tiff("tissue.ome.tiff").images[0].pixels.physical_size_z == 1.5


def test_there_and_back_again() -> None:
    """From zarr into TIFF and from TIFF into zarr: our own files are sources, too."""
    image = ihc()
    settings = SETTINGS.format(loops=STAINS, height=512, width=512, unit="um", pixel=0.5)
    write(settings, npy(image), "a.ome.zarr")
    write(settings, Path("a.ome.zarr"), "b.ome.tiff")
    write(settings, Path("b.ome.tiff"), "c.ome.zarr")
    np.testing.assert_array_equal(np.moveaxis(zarr.open_group("c.ome.zarr", mode="r")["0"][:], 0, -1), image)
