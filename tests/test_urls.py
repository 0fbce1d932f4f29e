"""Datasets at URLs: what stands at one is never replaced, and one of a local file is a path like any other."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

import ome_writers as ow


def settings(root: str, frames: int, *, overwrite: bool) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": frames, "y": 4, "x": 5})
    return ow.AcquisitionSettings(root_path=root, dtype="uint8", dimensions=dims, overwrite=overwrite)


@pytest.mark.parametrize("writer", ["tensorstore", "zarr-python"])
def test_what_stands_at_a_url_is_not_replaced(writer: str) -> None:
    root = f"memory://{uuid.uuid4()}.ome.zarr"
    first = np.full((3, 4, 5), 7, "uint8")
    ow.write(ow.compile(settings(root, 3, overwrite=True)), first, writer)
    with pytest.raises(FileExistsError, match=rf"^overwrite: {root} exists, and only datasets on local disks are"):
        ow.write(ow.compile(settings(root, 2, overwrite=True)), first[:2], writer)
    with pytest.raises(FileExistsError, match=rf"^{root} exists; nothing was written"):
        ow.write(ow.compile(settings(root, 2, overwrite=False)), first[:2], writer)
    if writer == "zarr-python":
        import zarr

        np.testing.assert_array_equal(np.asarray(zarr.open_array(f"{root}/0", mode="r")), first)


@pytest.mark.parametrize("writer", ["direct", "tensorstore", "zarr-python", "acquire-zarr"])
def test_the_url_of_a_file_is_a_path(tmp_path: Path, writer: str) -> None:
    url = (tmp_path / "my cells.ome.zarr").as_uri()
    assert "%20" in url
    for frames in (3, 2):
        ow.write(ow.compile(settings(url, frames, overwrite=True)), np.full((frames, 4, 5), frames, "uint8"), writer)
    assert [entry.name for entry in tmp_path.iterdir()] == ["my cells.ome.zarr"]
    np.testing.assert_array_equal(np.asarray(ow.open_view(url)), np.full((2, 4, 5), 2, "uint8"))
