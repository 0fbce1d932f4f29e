"""`convert` from what others wrote: .npy, TIFF stacks, ImageJ, OME-TIFF, OME-Zarr, Micro-Manager and NDTiff."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.conversion import recording_at
from ome_writers.sources import SourceError


def pixels(*shape: int) -> NDArray[Any]:
    return np.random.default_rng(0).integers(1, 999, shape).astype("uint16")


def converted(source: Path, **options: Any) -> tuple[ow.Outcome, dict[str, Any], NDArray[Any]]:
    """Convert to OME-Zarr; return the outcome, the root's attributes, and the cube."""
    outcome = ow.convert(source, source.parent / "converted.ome.zarr", **options)
    assert ow.validate(outcome.root).failed == ()
    attributes = json.loads(Path(outcome.root, "zarr.json").read_text("utf-8"))["attributes"]
    return outcome, attributes, np.asarray(ow.open_view(outcome.root)[...])


def scales(attributes: dict[str, Any]) -> dict[str, tuple[float, str | None]]:
    scale = attributes["ome"]["multiscales"][0]
    (step,) = [one["scale"] for one in scale["datasets"][0]["coordinateTransformations"] if "scale" in one]
    return {axis["name"]: (size, axis.get("unit")) for axis, size in zip(scale["axes"], step, strict=True)}


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_an_array_of_numpy_whose_axes_are_named(tmp_path: Path, suffix: str):
    data = pixels(2, 3, 8, 6)
    np.save(tmp_path / "a.npy", data)
    outcome = ow.convert(tmp_path / "a.npy", tmp_path / f"b{suffix}", axes="zc")
    # Microscopes go through the channels first, so that is the order of acquisition.
    view = ow.open_view(outcome.root)
    assert view.dims == ("c", "z", "y", "x")
    assert np.array_equal(view[...], data.swapaxes(0, 1))


def test_axes_that_cannot_be_guessed_are_asked_for(tmp_path: Path):
    np.save(tmp_path / "a.npy", pixels(2, 2, 2, 2, 8, 6))
    with pytest.raises(SourceError, match=r"has 4 axes that nothing names, of the lengths \[2, 2, 2, 2\]"):
        ow.convert(tmp_path / "a.npy", tmp_path / "b.ome.zarr")
    with pytest.raises(SourceError, match="got 'tt'"):
        ow.convert(tmp_path / "a.npy", tmp_path / "b.ome.zarr", axes="tt")
    outcome = ow.convert(tmp_path / "a.npy", tmp_path / "b.ome.zarr", axes="tpcz")
    assert (outcome.verdict, outcome.frames) == ("complete", 16)


def test_a_plain_stack_and_a_folder_of_images(tmp_path: Path):
    data = pixels(4, 8, 6)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    assert np.array_equal(converted(tmp_path / "a.tif", axes="z")[2], data)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(data):
        tifffile.imwrite(folder / f"im{number}.tif", image)
    options = {"dimensions.t.chunk_size": 4, "compression": "zstd", "overwrite": True}
    outcome, attributes, cube = converted(folder, **options)
    assert np.array_equal(cube, data)
    array = zarr.open_array(f"{outcome.root}/0", mode="r")
    assert array.chunks == (4, 8, 6)
    assert attributes["ome_writers"]["dimensions"][0]["name"] == "t"


def test_colours_are_channels(tmp_path: Path):
    data = pixels(2, 8, 6, 3).astype("uint8")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb")
    assert np.array_equal(converted(tmp_path / "a.tif")[2], np.moveaxis(data, -1, 1))


def test_a_hyperstack_of_imagej_keeps_its_calibration(tmp_path: Path):
    data = pixels(2, 3, 4, 8, 6)
    said = {"axes": "TZCYX", "spacing": 2.5, "unit": "um", "finterval": 3.0}
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, resolution=(4, 2), metadata=said)
    _, attributes, cube = converted(tmp_path / "a.tif")
    assert np.array_equal(cube, data.swapaxes(1, 2))
    um = "micrometer"
    assert scales(attributes) == {
        "t": (3.0, "second"),
        "c": (1.0, None),
        "z": (2.5, um),
        "y": (0.5, um),
        "x": (0.25, um),
    }


def test_an_ome_tiff_of_others_keeps_what_its_xml_says(tmp_path: Path):
    data = pixels(2, 3, 8, 6)
    said = {
        "axes": "TCYX",
        "PhysicalSizeX": 300.0,
        "PhysicalSizeXUnit": "nm",
        "TimeIncrement": 2.0,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["DAPI", "GFP", "RFP"], "EmissionWavelength": [460.0, 510.0, 590.0], "Color": [255, -1, 1]},
        "Plane": {
            "DeltaT": list(np.arange(6.0)),
            "DeltaTUnit": ["ms"] * 6,
            "PositionX": [7.0] * 6,
            "PositionXUnit": ["µm"] * 6,
        },
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata=said)
    _, attributes, cube = converted(tmp_path / "a.ome.tif")
    assert np.array_equal(cube, data)
    assert scales(attributes)["x"] == (300.0, "nanometer")
    assert scales(attributes)["t"] == (2.0, "minute")
    channels = attributes["ome"]["omero"]["channels"]
    assert [(one["label"], one["color"]) for one in channels] == [
        ("DAPI", "000000"),
        ("GFP", "FFFFFF"),
        ("RFP", "000000"),
    ]
    assert [one["emission_wavelength_nm"] for one in attributes["ome_writers"]["channels"]] == [460.0, 510.0, 590.0]
    came = {tuple(one["storage_index"]): one for one in attributes["ome_writers"]["frame_metadata"]}
    assert came[1, 1] == {"delta_t": pytest.approx(0.004), "position_x": 7.0, "storage_index": [1, 1]}


def test_an_ome_zarr_of_others(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ngff_zarr

        data = pixels(2, 16, 12)
        image = ngff_zarr.to_ngff_image(
            data,
            dims=["z", "y", "x"],
            scale={"z": 2.0, "y": 0.5, "x": 0.5},
            axes_units=dict.fromkeys("zyx", "micrometer"),
        )
        scaled = ngff_zarr.to_multiscales(image, scale_factors=[2])
        ngff_zarr.to_ngff_zarr(str(tmp_path / "a.ome.zarr"), scaled, version="0.4")
    _, attributes, cube = converted(tmp_path / "a.ome.zarr")
    assert np.array_equal(cube, data)
    assert scales(attributes) == {"z": (2.0, "micrometer"), "y": (0.5, "micrometer"), "x": (0.5, "micrometer")}
    bare = zarr.create_array(tmp_path / "bare.zarr", data=data, chunks=(1, 8, 6))
    assert np.array_equal(converted(tmp_path / "bare.zarr", axes="t", overwrite=True)[2], np.asarray(bare))


# ── Micro-Manager ─────────────────────────────────────────────────────────────────────────────────────────────────────

STAGE = {
    "Label": "here",
    "DefaultXYStage": "XY",
    "DefaultZStage": "Z",
    "DevicePositions": [{"Device": "XY", "Position_um": [10.5, -3.0]}, {"Device": "Z", "Position_um": [7.0]}],
}
SUMMARY = {
    "MicroManagerVersion": "2.0.0",
    "Frames": 2,
    "Channels": 2,
    "Slices": 3,
    "Positions": 1,
    "TimeFirst": False,
    "SlicesFirst": False,
    "PixelSize_um": 0.325,
    "z-step_um": 1.5,
    "Interval_ms": 2000.0,
    "ChNames": ["DAPI", "GFP"],
    "ChColors": [-16776961, -16711936],
    "StagePositions": [STAGE],
}


def mm_stack(path: Path, data: NDArray[Any]) -> None:
    """Write frames (t, c, z, y, x) as Micro-Manager 2.0 does: TIFF with a header of its own, an index, tags."""
    summary = json.dumps(SUMMARY).encode()
    body = bytearray(
        struct.pack("<2sHI", b"II", 42, 0) + bytes(24) + struct.pack("<2I", 2355492, len(summary)) + summary
    )
    index, link = [], 4
    height, width = data.shape[-2:]
    for t, c, z in np.ndindex(data.shape[:3]):
        body += bytes(-len(body) % 4)
        here = len(body)
        struct.pack_into("<I", body, link, here)
        frame = data[t, c, z].tobytes()
        said = {"ElapsedTime-ms": 1000.0 * t + z, "Exposure-ms": 20, "ZPositionUm": 1.5 * z, "Camera": "Andor"}
        note = json.dumps(said).encode() + b"\0"
        after = here + 162 + len(frame)
        tags = [
            *[(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)],
            *[(273, 4, 1, here + 162), (277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, len(frame))],
            *[(282, 5, 1, after), (283, 5, 1, after), (296, 3, 1, 3), (51123, 2, len(note), after + 8)],
        ]
        body += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
        link = len(body) - 4
        body += frame + struct.pack("<2I", 1, 1) + note
        index += [c, z, t, 0, here]
    struct.pack_into("<2I", body, 8, 54773648, len(body))
    body += struct.pack("<2I", 3453623, len(index) // 5) + struct.pack(f"<{len(index)}I", *index)
    path.write_bytes(body)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
def test_a_stack_of_micro_manager(tmp_path: Path, suffix: str):
    data = pixels(2, 2, 3, 8, 6)
    mm_stack(tmp_path / "cells_MMStack.ome.tif", data)
    outcome = ow.convert(tmp_path / "cells_MMStack.ome.tif", tmp_path / f"a{suffix}")
    view = ow.open_view(outcome.root)
    assert view.dims == ("t", "c", "z", "y", "x")
    assert np.array_equal(view[...], data)
    assert ow.validate(outcome.root).failed == ()
    found = recording_at(outcome.root)
    dims = {dim.name: dim for dim in found.settings.dimensions}
    assert (dims["x"].scale, dims["z"].scale, dims["t"].scale) == (0.325, 1.5, 2.0)
    assert [(one.name, one.color) for one in dims["c"].coords or ()] == [("DAPI", "#0000FF"), ("GFP", "#00FF00")]
    _, record = found.frame({"t": 1, "c": 0, "z": 2})
    assert record == {"delta_t": 1.002, "exposure_time": 0.02, "position_z": 3.0, "Camera": "Andor"}


# ── NDTiff ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ndtiff(folder: Path, *, gap: bool = False) -> Path:
    """Write 2 times, 2 positions, 2 channels, 3 planes with the library of Micro-Manager."""
    import ndstorage

    summary = {"PixelSize_um": 0.5, "z-step_um": 2.0}
    data = ndstorage.NDTiffDataset(str(folder), name="run", summary_metadata=summary, writable=True)
    for t, p, c, z in np.ndindex(2, 2, 2, 3):
        if gap and (t, p, c, z) == (1, 0, 1, 2):
            continue
        axes = {"time": t, "position": p, "channel": ("DAPI", "GFP")[c], "z": z}
        image = np.full((8, 6), 1000 * t + 100 * p + 10 * c + z + 1, "uint16")
        data.put_image(axes, image, {"ElapsedTime-ms": 500.0 * t, "XPositionUm": 40.0 * p, "Laser": {"power": c}})
    data.finish()
    data.close()
    return next(folder.iterdir())


# The writer of ndstorage does not close the file that it reads back.
@pytest.mark.filterwarnings("ignore:.*_io.FileIO.*NDTiffStack:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tiff"])
@pytest.mark.parametrize("gap", [False, True])
def test_a_folder_of_ndtiff(tmp_path: Path, suffix: str, gap: bool):  # noqa: FBT001 - a parameter of a test
    source = ndtiff(tmp_path / "nd", gap=gap)
    outcome = ow.convert(source, tmp_path / f"a{suffix}")
    assert outcome.frames == 24 - gap
    assert ow.validate(outcome.root).failed == ()
    view = ow.open_view(outcome.root)
    assert view.dims == ("t", "p", "c", "z", "y", "x")
    for t, p, c, z in np.ndindex(2, 2, 2, 3):
        expected = 0 if gap and (t, p, c, z) == (1, 0, 1, 2) else 1000 * t + 100 * p + 10 * c + z + 1
        assert view[t, p, c, z, 0, 0] == expected
    found = recording_at(outcome.root)
    assert [dim.scale for dim in found.settings.dimensions] == [None, None, None, 2.0, 0.5, 0.5]
    assert found.frame({"t": 1, "p": 1, "c": 1, "z": 0})[1] == {
        "delta_t": 0.5,
        "position_x": 40.0,
        "Laser": {"power": 1},
    }


def test_what_holds_no_images_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no image", "utf-8")
    with pytest.raises(SourceError, match=r"notes\.txt"):
        ow.convert(tmp_path / "notes.txt", tmp_path / "a.ome.zarr")
    with pytest.raises(FileNotFoundError, match="no such file"):
        ow.convert(tmp_path / "absent", tmp_path / "a.ome.zarr")
    assert not (tmp_path / "a.ome.zarr").exists()
