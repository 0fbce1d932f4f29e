"""OME-Zarr, opened at its root, in napari's reader, ome-zarr-py, ngff-zarr and bioio."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

CHANNELS = [("DAPI nuclei", (0, 0, 1)), ("µ-GFP <2>", (0, 1, 16 / 255))]
UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
SCALES = {"t": 2.5, "z": 1.5, "y": 0.65, "x": 0.325}


@pytest.fixture(autouse=True)
def complaints(caplog, capfd):
    """Fail if anything is warned of or logged, but not for what libraries warn of when they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bioio_ome_zarr
        import napari.layers
        import napari_ome_zarr
        import ngff_zarr
        import ome_zarr.reader
    assert all((bioio_ome_zarr, napari.layers, napari_ome_zarr, ngff_zarr, ome_zarr.reader))
    caplog.set_level(logging.WARNING)
    capfd.readouterr()
    yield
    assert not caplog.records
    assert not capfd.readouterr().err


def axes_of(zarr):
    return [axis for axis in "tczyx" if axis in zarr.case.loops.lower() or axis in "yx"]


def expected_image(zarr, position):
    """Return the pixels of an image with the axes that it has."""
    array = zarr.image(position)
    return array.reshape([size for axis, size in zip("tczyx", array.shape, strict=True) if axis in axes_of(zarr)])


def expected_stage(zarr, position):
    """Return where an image lies, for each of its axes."""
    place = zarr.positions[position]
    known = {"x": place.x_coord, "y": place.y_coord, "z": place.z_coord} if place else {}
    return {axis: known.get(axis, 0) for axis in axes_of(zarr)}


def mosaic(zarr):
    """Return the first fields of all wells where they lie on the plate of 2 × 3 wells; the other wells are black."""
    first, third = expected_image(zarr, 0), expected_image(zarr, 2)
    made = np.zeros((*first.shape[:-2], 2 * first.shape[-2], 3 * first.shape[-1]), first.dtype)
    made[..., : first.shape[-2], first.shape[-1] : 2 * first.shape[-1]] = first
    made[..., first.shape[-2] :, : first.shape[-1]] = third
    return made


def test_napari(zarr):
    from napari_ome_zarr import napari_get_reader

    root = str(zarr.root)
    layers = napari_get_reader(root)(root)
    if zarr.case.plate:
        ((data, _, kind),) = layers
        assert kind == "image"
        np.testing.assert_array_equal(np.asarray(data[0]), mosaic(zarr))
        return
    assert len(layers) == len(zarr.positions)
    shown = [axis for axis in axes_of(zarr) if axis != "c"]
    for position, (data, told, kind) in enumerate(layers):
        assert kind == "image"
        np.testing.assert_array_equal(np.asarray(data[0]), expected_image(zarr, position))
        assert told["axis_labels"] == tuple(shown)
        assert told["units"] == tuple(UNITS[axis] for axis in shown)
        assert list(told["scale"]) == [SCALES[axis] for axis in shown]
        name = zarr.names[position]
        if "c" not in zarr.case.loops:
            assert told["name"] == f"{name}: Channel 0"
            continue
        assert told["channel_axis"] == axes_of(zarr).index("c")
        assert told["name"] == [f"{name}: {label}" for label, _ in CHANNELS]
        colors = [tuple(colormap.colors[-1][:3]) for colormap in told["colormap"]]
        np.testing.assert_allclose(colors, [color for _, color in CHANNELS], atol=1e-6)


def test_napari_does_not_know_translations(zarr):
    """Version 0.10 takes the first transformation of an image, by NGFF its scale, and so passes the stage over.

    Should this fail, it has learnt more, and `expected_stage` is what it should tell.
    """
    from napari_ome_zarr import napari_get_reader

    root = str(zarr.root)
    for _, told, _ in napari_get_reader(root)(root):
        assert not np.asarray(told["affine"])[:-1, -1].any()


def test_ome_zarr_py(zarr):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr.utils import find_multiscales

    if zarr.case.plate:
        nodes = list(Reader(parse_url(zarr.root))())
        np.testing.assert_array_equal(np.asarray(nodes[0].data[0]), mosaic(zarr))
        assert nodes[0].metadata["channel_names"] == [label for label, _ in CHANNELS]
        return
    if "p" in zarr.case.loops:  # it knows several images by what stands in OME/METADATA.ome.xml
        found = find_multiscales(zarr.root)
        assert [name for _, name, _ in found] == zarr.names
        paths = [Path(path) for path, *_ in found]
        assert paths == zarr.groups
    else:
        paths = [zarr.root]
    for position, path in enumerate(paths):
        (node,) = Reader(parse_url(path))()
        np.testing.assert_array_equal(np.asarray(node.data[0]), expected_image(zarr, position))
        told = node.metadata
        assert told["name"] == zarr.names[position]
        assert [(axis["name"], axis.get("unit")) for axis in told["axes"]] == [
            (axis, UNITS.get(axis)) for axis in axes_of(zarr)
        ]
        (steps,) = told["coordinateTransformations"]
        assert steps[0]["scale"] == [SCALES.get(axis, 1) for axis in axes_of(zarr)]
        stage = list(expected_stage(zarr, position).values())
        assert [step["translation"] for step in steps[1:]] == ([stage] if any(stage) else [])
        if "c" in zarr.case.loops:
            assert told["channel_names"] == [label for label, _ in CHANNELS]
            np.testing.assert_allclose([colormap[1] for colormap in told["colormap"]], [color for _, color in CHANNELS])


def check_ngff_zarr(multiscales, zarr, position):
    (image,) = multiscales.images
    assert list(image.dims) == axes_of(zarr)
    np.testing.assert_array_equal(np.asarray(image.data), expected_image(zarr, position))
    assert image.name == zarr.names[position]
    assert image.scale == {axis: SCALES.get(axis, 1) for axis in axes_of(zarr)}
    assert image.translation == expected_stage(zarr, position)
    assert image.axes_units == {axis: UNITS.get(axis) for axis in axes_of(zarr)}
    if "c" in zarr.case.loops:
        channels = [(channel.label, channel.color) for channel in multiscales.metadata.omero.channels]
        assert channels == [("DAPI nuclei", "0000FF"), ("µ-GFP <2>", "00FF10")]


def test_ngff_zarr(zarr):
    import ngff_zarr

    if zarr.case.plate:
        plate = ngff_zarr.from_hcs_zarr(str(zarr.root))
        assert (plate.name, len(plate.rows), len(plate.columns)) == ("screen 7", 2, 3)
        images = [
            plate.get_well(row, column).get_image(field) for row, column in (("A", "2"), ("B", "1")) for field in (0, 1)
        ]
        for position, multiscales in enumerate(images):
            check_ngff_zarr(multiscales, zarr, position)
        return
    if "p" in zarr.case.loops:  # at the root it says which images there are
        with pytest.raises(ValueError, match=f"container with {len(zarr.positions)} images"):
            ngff_zarr.from_ngff_zarr(zarr.root)
    for position, group in enumerate(zarr.groups):
        check_ngff_zarr(ngff_zarr.from_ngff_zarr(group, validate=True), zarr, position)


def test_bioio(zarr):
    from bioio_ome_zarr import Reader

    for position, group in enumerate(zarr.groups):  # it knows single images
        reader = Reader(group)
        assert reader.scenes == (zarr.names[position],)
        np.testing.assert_array_equal(reader.data, expected_image(zarr, position))
        assert reader.dims.order == "".join(axes_of(zarr)).upper()
        sizes = reader.physical_pixel_sizes
        assert (sizes.Y, sizes.X) == (0.65, 0.325)
        depth, interval = ((number if axis in axes_of(zarr) else None) for axis, number in (("z", 1.5), ("t", 2.5)))
        assert (sizes.Z, reader.time_interval) == (depth, interval)
        if "c" in zarr.case.loops:
            assert reader.channel_names == [label for label, _ in CHANNELS]
