"""What can be seen of a run of acquire-zarr while it lasts: whole frames, once they have reached the disk."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow


def seen(view: ow.StreamView, pixels: NDArray[Any]) -> int:
    """Return how many frames a view shows, once it is known that it shows nothing but whole frames."""
    found = np.asarray(view)
    there = [index for index in np.ndindex(found.shape[:-2]) if found[index].any()]
    for index in there:
        np.testing.assert_array_equal(found[index], pixels[index])
    return len(there)


@pytest.mark.parametrize("library", ["tensorstore", "zarr"])
@pytest.mark.parametrize(
    ("count", "compression", "shards"), [(6, None, None), (None, "zstd", 2), (6, "zstd", 2), (None, None, None)]
)
def test_a_view_sees_whole_frames_as_they_reach_the_disk(  # noqa: PLR0913, PLR0917 - a case
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    count: int | None,
    compression: str | None,
    shards: int | None,
) -> None:
    if library == "zarr":
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorstore" else find(name))
    dims = [
        ow.Dimension(name="p", count=2),
        ow.Dimension(name="c", count=2),
        ow.Dimension(name="y", count=8),
        # A frame is in two files.
        ow.Dimension(name="x", count=8, chunk_size=4 // (shards or 1), shard_size_chunks=shards),
    ]
    dims.insert(0 if count is None else 1, ow.Dimension(name="t", count=count, chunk_size=2, shard_size_chunks=shards))
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.zarr"),
        dtype="uint16",
        format="acquire-zarr",
        dimensions=dims,
        compression=compression,
        storage_order="acquisition",
    )
    shape = (6, 2, 2, 8, 8) if count is None else (2, 6, 2, 8, 8)
    pixels = np.random.default_rng(0).integers(1, 2**16, shape).astype("uint16")
    with ow.create_stream(settings) as stream:
        view = stream.view()
        for frame in pixels.reshape(-1, 8, 8):
            stream.append(frame)
            seen(view, pixels)
        assert view.shape == shape
        # The first frames of an array are complete, and somebody stores them; how soon is not ours to say.
        for _ in range(2000):
            if seen(view, pixels) >= 4:
                break
            sleep(0.01)
        else:
            pytest.fail("nothing has reached the disk")
    np.testing.assert_array_equal(view, pixels)
    np.testing.assert_array_equal(ow.open_view(settings.output_path), pixels)


def test_without_a_library_that_reads_a_view_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.zarr"),
        dtype="uint8",
        dimensions=ow.dims_from_standard_axes({"t": 1, "y": 4, "x": 4}),
    )
    with ow.create_stream(settings, "acquire-zarr") as stream:
        view = stream.view()
        stream.append(np.ones((4, 4), "uint8"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(ValueError, match="needs the library 'tensorstore' or 'zarr'"):
            view[0]
