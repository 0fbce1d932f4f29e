"""What is read of datasets: OME-XML without its planes says the same of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.datasets import read_dataset, tiff


@pytest.mark.parametrize("single", ["never", "always"])
@pytest.mark.parametrize("multi", ["redundant", "companion-file"])
def test_planes_say_nothing_of_a_dataset(
    single: str, multi: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dims = ow.dims_from_standard_axes({"t": 3, "p": 2, "c": ["DAPI", "GFP"], "y": 8, "x": 8})
    format_ = ow.OmeTiffFormat(multi_file_metadata=multi, prefer_single_file=single)
    path = str(tmp_path / "cells.ome.tiff")
    settings = ow.AcquisitionSettings(root_path=path, dtype="uint8", dimensions=dims, format=format_)
    with ow.create_stream(settings) as stream:
        for number in range(12):
            stream.append(np.ones((8, 8), "uint8"), frame_metadata={"exposure_time": 0.1, "note": f"<{number}>"})
    place = Path(stream.plan.settings.output_path)
    found = read_dataset(place)
    asked: list[str] = []
    monkeypatch.setattr(tiff, "_thinned", lambda xml: asked.append(xml) or xml)
    assert found == read_dataset(place)
    assert asked[0].count("<Plane ") == 12
    each = [tuple(file.name for file in place.glob(f"*{number}.ome.tiff")) for number in range(2)]
    assert [image.files for image in found.images] == each
    assert all(each) == place.is_dir()


def test_of_each_image_the_files_stay() -> None:
    blocks = [f'<TiffData IFD="{n}"><UUID FileName="{name}">u</UUID></TiffData>' for n, name in enumerate("aab")]
    planes = '<Plane TheZ="0"/><Plane TheZ="1"><AnnotationRef ID="x"/></Plane>'
    xml = (
        f'<OME><Pixels A="1">{"".join(blocks)}{planes}</Pixels><Pixels>{blocks[2]}<TiffData/><TiffData/></Pixels></OME>'
    )
    thin = f'<OME><Pixels A="1">{blocks[0]}{blocks[2]}</Pixels><Pixels>{blocks[2]}<TiffData/></Pixels></OME>'
    assert tiff._thinned(xml) == thin  # noqa: SLF001 - what is left for the reader
