"""What the documents and the outcome say when the disk is full: what is stored, all of it, and nothing else."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import ome_writers as ow
from ome_writers.testing import Way, ways
from ome_writers.writers.memory import MemoryWriter
from ome_writers.writers.tensorstore import TensorStoreWriter

resource = pytest.importorskip("resource")
Y = X = 64
FRAMES = np.random.default_rng(0).integers(1, 2**16, (40, Y, X)).astype("uint16")
STORED = [way for way in ways() if way.persistent and way.name != "acquire-zarr"]


@contextmanager
def largest_file(nbytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fail(stream: ow.Stream, limit: int) -> ow.Outcome:
    """Append frames until the disk is full, close there, and return the outcome, which must tell of a failure."""
    with largest_file(limit), pytest.raises(ow.WriteError):
        try:
            for frame in FRAMES:
                stream.append(frame)
        finally:
            stream.close()
    assert stream.outcome is not None
    assert stream.outcome.verdict == "failed"
    return stream.outcome


def settings(root: Path, inner: dict[str, Any], count: int | None, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": count, **inner, "y": Y, "x": X})
    return ow.AcquisitionSettings(root_path=str(root), dtype="uint16", dimensions=dims, **more)


# The directories of an endless direct one are laid out in steps, behind which the first frame would find no room.
@pytest.mark.parametrize(("writer", "count"), [("tifffile", 40), ("tifffile", None), ("direct", 40)])
@pytest.mark.parametrize("buffer_bytes", [0, 2**20])
def test_a_tiff_ends_with_the_last_frame_that_is_stored(
    tmp_path: Path, writer: str, count: int | None, buffer_bytes: int
) -> None:
    root = tmp_path / "a.ome.tiff"
    stream = ow.create_stream(settings(root, {}, count, buffer_bytes=buffer_bytes), writer)
    outcome = fail(stream, 100_000)
    assert 3 <= outcome.frames <= 12
    assert outcome.missing.tolist() == list(range(outcome.frames, outcome.cursor))
    for found in (np.asarray(ow.open_view(root)), tifffile.imread(root)):
        np.testing.assert_array_equal(found, FRAMES[: outcome.frames])


def test_blank_pages_for_which_there_is_no_room_are_not_named(tmp_path: Path) -> None:
    root = tmp_path / "a.ome.tiff"
    stream = ow.create_stream(settings(root, {"c": 4}, 10), "tifffile")
    outcome = fail(stream, 70_000)
    # It ends in the middle of a round, and what is left of that has no room.
    assert outcome.frames % 4 != 0
    with tifffile.TiffFile(root) as file:
        assert len(file.pages) == outcome.frames
        (series,) = file.series
        found = series.asarray()
    assert found.shape == (-(-outcome.frames // 4), 4, Y, X)
    found = found.reshape(-1, Y, X)
    np.testing.assert_array_equal(found[: outcome.frames], FRAMES[: outcome.frames])
    assert not found[outcome.frames :].any()
    np.testing.assert_array_equal(np.asarray(ow.open_view(root)).reshape(-1, Y, X), found)


@pytest.mark.parametrize("way", STORED, ids=lambda way: way.name)
@pytest.mark.parametrize("count", [20, None])
def test_every_format_ends_there(tmp_path: Path, way: Way, count: int | None) -> None:
    class Full:
        """As the writer itself, until there is no room for frame 7."""

        def __init__(self) -> None:
            self.inner: Any = way.make()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def write(self, blocks: Sequence[ow.Block], /) -> None:
            if any(frame >= 7 for block in blocks for frame in block.frames):
                raise OSError(errno.ENOSPC, "No space left on device")
            self.inner.write(blocks)

    dims = ow.dims_from_standard_axes({"t": count, "p": 2, "y": 4, "x": 4})
    plan, writer = ow.compile(way.settings(tmp_path, dims, dtype="uint16")), Full()
    stream = ow.Stream(plan, writer)
    with pytest.raises(ow.WriteError):
        for frame in FRAMES[:10, :4, :4]:
            stream.append(frame)
    with pytest.raises(ow.WriteError):
        stream.close()
    outcome = stream.outcome
    assert outcome is not None
    assert outcome.frames == 7
    found = np.asarray(ow.open_view(outcome.root))
    assert found.shape == (4, 2, 4, 4)
    np.testing.assert_array_equal(found.reshape(-1, 4, 4)[:7], FRAMES[:7, :4, :4])
    assert not found[3, 1].any()


def test_of_an_array_that_is_written_at_once_what_fits_counts(tmp_path: Path) -> None:
    class Small(MemoryWriter):
        capabilities = ow.Capabilities(
            name="small",
            formats=frozenset({"ome-zarr"}),
            order="any",
            ack="append",
            persistent=False,
            readable=True,
        )

        def write(self, blocks: Sequence[ow.Block], /) -> None:
            if any(frame >= 5 for block in blocks for frame in block.frames):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(blocks)

    writer = Small()
    plan = ow.compile(settings(tmp_path / "a.zarr", {}, 40))
    with pytest.raises(ow.WriteError, match=r"^frame 5 \(t=5\)"):
        ow.write(plan, FRAMES, writer)
    np.testing.assert_array_equal(writer.arrays[0][:5], FRAMES[:5])


def test_a_writer_that_fails_only_when_it_is_closed_still_says_so_in_its_documents(tmp_path: Path) -> None:
    class Once(TensorStoreWriter):
        failed = False

        def close(self, documents: Sequence[ow.Document], /) -> None:
            if not self.failed:
                self.failed = True
                raise OSError(errno.EIO, "Input/output error")
            super().close(documents)

    root = tmp_path / "a.ome.zarr"
    stream = ow.Stream(ow.compile(settings(root, {}, 2)), Once())
    stream.append(FRAMES[0])
    with pytest.raises(ow.WriteError, match="Input/output error"):
        stream.close()
    facts = json.loads((root / "zarr.json").read_bytes())["attributes"]["ome_writers"]
    assert (facts["verdict"], facts["frames"]) == ("failed", 1)
    assert "Input/output error" in facts["error"]
