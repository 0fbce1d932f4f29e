"""Both formats in viv, which shows images in a browser: here its loaders run under node, over HTTP."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

PACKAGES = ("@vivjs/loaders@0.21.0", "@xmldom/xmldom@0.9.8")
"""The second parses XML, which node leaves to browsers."""
DTYPES = {"Uint8": "uint8", "Uint16": "uint16", "Int16": "int16", "Float32": "float32", "Float64": "float64"}


def READS_TIFF(case):  # noqa: N802 - a setting
    """Of several images, viv knows those with a companion file; it knows neither bits nor zstd in TIFF."""
    return (
        case.dtype != "bool"
        and case.compression != "zstd"
        and ("p" not in case.loops or "companion-file" in case.format.values())
    )


def READS_ZARR(case):  # noqa: N802 - a setting
    return case.dtype != "bool"


@pytest.fixture(scope="session")
def viv(installed, placed, asked):
    for program in ("node", "npm"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program} on PATH")
    options = ["--no-audit", "--no-fund", "--no-update-notifier", "--prefix", "{folder}"]
    folder = installed("viv-0.21.0", shutil.which("npm"), "install", *options, *PACKAGES)
    # A module looks for others beside itself.
    probe = placed(folder / "probe.mjs", Path(__file__).with_name("probe.mjs").read_bytes())
    program = asked("node", str(probe))
    return lambda kind, path: program(json.dumps({"kind": kind, "path": path.as_posix()}))


def array_of(image):
    """Return the pixels of an image with axes t, c, z, y, x, and those planes that viv could not read."""
    *lead, height, width = image["shape"]
    lost = {np.unravel_index(n, lead) for n, plane in enumerate(image["planes"]) if isinstance(plane, str)}
    planes = [np.zeros(height * width) if isinstance(plane, str) else plane for plane in image["planes"]]
    array = np.array(planes).reshape(image["shape"]).astype(DTYPES[image["dtype"]])
    labels = image["labels"]
    missing = [axis for axis in "tczyx" if axis not in labels]
    array = array.reshape((1,) * len(missing) + array.shape)
    labels = missing + labels
    return array.transpose([labels.index(axis) for axis in "tczyx"]), lost


def test_ome_tiff(tiff, viv):
    companion = [path for path in tiff.files if path.name.endswith(".companion.ome")]
    case = tiff.case
    answer, said = viv("tiff", *(companion or [tiff.root]))
    assert not said
    assert "error" not in answer, answer
    assert [image["metadata"]["Name"] for image in answer["images"]] == tiff.names
    for position, image in zip(tiff.shown, answer["images"], strict=True):
        pixels, expected = image["metadata"]["Pixels"], tiff.image(position)
        found, lost = array_of(image)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        # Without a companion file viv does not look where pages are; those behind the last frame are as many as planes.
        assert not lost or (not companion and case.stop and len(lost) < expected[..., 0, 0].size - case.stop)
        sizes = {"x": {"size": 0.325, "unit": "µm"}, "y": {"size": 0.65, "unit": "µm"}}
        assert image["meta"]["physicalSizes"] == sizes | (
            {"z": {"size": 1.5, "unit": "µm"}} if "z" in case.loops else {}
        )
        if "c" in case.loops:
            told = [(channel["Name"], channel["Color"]) for channel in pixels["Channels"]]
            assert told == [("DAPI nuclei", [0, 0, 255, 255]), ("µ-GFP <2>", [0, 255, 16, 255])]


def test_ome_zarr(zarr, viv):
    for position, path in enumerate(zarr.groups):
        answer, said = viv("zarr", path)
        assert not said
        assert "error" not in answer, answer
        (image,) = answer["images"]
        found, lost = array_of(image)
        expected = zarr.image(position)
        assert not lost
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        (multiscale,) = image["metadata"]["multiscales"]
        assert multiscale["name"] == zarr.names[position]
        channels = [(channel["label"], channel["color"]) for channel in image["metadata"]["omero"]["channels"]]
        told = [("DAPI nuclei", "0000FF"), ("µ-GFP <2>", "00FF10")]
        assert channels == (told if "c" in zarr.case.loops else [("Channel 0", "FFFFFF")])
