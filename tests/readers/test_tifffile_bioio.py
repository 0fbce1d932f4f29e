"""OME-TIFF in tifffile, and in bioio, which reads with it."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import tifffile

CLOSED = "reading array from closed file"


def ordered(array, axes):
    """Return an array with axes t, c, z, y, x."""
    missing = [axis for axis in "TCZYX" if axis not in axes]
    axes = [*missing, *axes]
    array = array.reshape((1,) * len(missing) + array.shape)
    return array.transpose([axes.index(axis) for axis in "TCZYX"])


def openable(tiff):
    """Return the files of a set that hold all of its OME-XML; neither library looks for it elsewhere."""
    layout = tiff.case.format.get("multi_file_metadata")
    if tiff.root.is_file() or layout == "redundant":
        return tiff.files
    return tiff.files[:1] if layout == "master-tiff" else []


def lone_pages_elsewhere(tiff):
    """Return whether images of one page lie in other files: of these tifffile warns whoever wrote them (see below)."""
    return len(tiff.files) > 1 and tiff.image(0)[..., 0, 0].size == 1


@pytest.fixture
def complaints(caplog):
    """What is warned of or logged, with `CLOSED` once only."""
    caplog.set_level(logging.WARNING)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        # bioio asks of ome-types what that no longer does.
        warnings.filterwarnings("ignore", "As of version 0.4.0, the parser argument is ignored", DeprecationWarning)

        def complaints():
            said = [str(one.message) for one in warned] + [record.getMessage() for record in caplog.records]
            return {CLOSED if CLOSED in text else text for text in said}

        yield complaints


def test_tifffile(tiff, complaints):
    for file in openable(tiff):
        with tifffile.TiffFile(file) as opened:
            assert opened.is_ome
            assert [series.name for series in opened.series] == tiff.names
            for position, series in zip(tiff.shown, opened.series, strict=True):
                expected = tiff.image(position)
                assert series.dtype == expected.dtype
                np.testing.assert_array_equal(ordered(series.asarray(), series.axes), expected)
    assert complaints() == ({CLOSED} if openable(tiff) and lone_pages_elsewhere(tiff) else set())


def test_tifffile_by_file(tiff, complaints):
    """Each file of a set by itself: the pages that came, as the resolution tags say how large."""
    for file in tiff.files:
        if file.suffix == ".ome":
            continue
        with tifffile.TiffFile(file, is_ome=False) as opened:
            assert opened.pages.first.resolution == pytest.approx((1e4 / 0.325, 1e4 / 0.65))
            assert opened.pages.first.resolutionunit == tifffile.RESUNIT.CENTIMETER
            assert {page.shape for page in opened.pages} == {tiff.image(0).shape[-2:]}
    assert complaints() == set()


def test_tifffile_warns_of_lone_pages_in_other_sets_too(tmp_path, complaints):
    """A set as small as can be, with compressed pages and without anything of ours."""
    uuids = [f"urn:uuid:00000000-0000-4000-8000-00000000000{number}" for number in range(2)]
    images = "".join(
        f'<Image ID="Image:{n}"><Pixels ID="Pixels:{n}" DimensionOrder="XYZCT" Type="uint8"'
        f' SizeX="4" SizeY="3" SizeZ="1" SizeC="1" SizeT="1"><Channel ID="Channel:{n}:0" SamplesPerPixel="1"/>'
        f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{n}.ome.tif">{uuid}</UUID></TiffData></Pixels></Image>'
        for n, uuid in enumerate(uuids)
    )
    for n, uuid in enumerate(uuids):
        xml = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">{images}</OME>'
        image = np.full((3, 4), n, "uint8")
        tifffile.imwrite(tmp_path / f"{n}.ome.tif", image, description=xml, compression="zlib", metadata=None)
    with tifffile.TiffFile(tmp_path / "0.ome.tif") as opened:
        assert [int(series.asarray().max()) for series in opened.series] == [0, 1]
    assert complaints() == {CLOSED}


def test_bioio(tiff, complaints):
    from bioio_ome_tiff import Reader

    for file in openable(tiff):
        reader = Reader(file)
        # bioio numbers scenes of one name.
        assert len(reader.scenes) == len(tiff.shown)
        for number, position in enumerate(tiff.shown):
            reader.set_scene(number)
            expected = tiff.image(position)
            found = ordered(reader.data, reader.dims.order)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
            assert reader.metadata.images[number].name == tiff.names[number]
            sizes = reader.physical_pixel_sizes
            assert (sizes.Y, sizes.X) == (0.65, 0.325)
            if "z" in tiff.case.loops:
                assert sizes.Z == 1.5
            if "c" in tiff.case.loops:
                assert reader.channel_names == ["DAPI nuclei", "µ-GFP <2>"]
    assert complaints() == ({CLOSED} if openable(tiff) and lone_pages_elsewhere(tiff) else set())
