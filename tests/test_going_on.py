"""Datasets that are recovered or resumed: what is refused, and what has become of the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.journal import journal_folder, journal_of


def settings_in(folder: Path, **more: Any) -> ow.AcquisitionSettings:
    dims = ow.dims_from_standard_axes({"t": 4, "c": 2, "y": 6, "x": 7}, chunk_shapes=more.pop("chunks", None))
    return ow.AcquisitionSettings(
        **{"root_path": str(folder / "a.ome.zarr"), "dtype": "uint16", "dimensions": dims} | more
    )


def pixels(number: int) -> NDArray[Any]:
    return np.full((6, 7), number + 1, "uint16")


def send(stream: ow.Stream, frames: range) -> None:
    for number in frames:
        stream.append(pixels(number), frame_metadata={"exposure_time": 0.5, "number": number})


def abandoned(folder: Path, frames: int = 5, **more: Any) -> Path:
    """Return a dataset whose run did not end, and its journal."""
    stream = ow.create_stream(settings_in(folder, **more))
    send(stream, range(frames))
    stream._run.abort()  # noqa: SLF001 - as a process that dies
    return Path(stream.plan.settings.output_path)


def test_other_settings(tmp_path: Path) -> None:
    abandoned(tmp_path)
    dims = ow.dims_from_standard_axes({"t": 5, "c": 2, "y": 6, "x": 7})
    with pytest.raises(ow.PlanError, match=r"dimensions\.0\.count: is not what the dataset was begun with; got 5"):
        ow.create_stream(settings_in(tmp_path, dimensions=dims), resume=True)
    with pytest.raises(
        ow.PlanError, match="backend: must be 'direct', which the dataset was begun with; got 'zarr-python'"
    ):
        ow.create_stream(settings_in(tmp_path), "zarr-python", resume=True)
    with ow.create_stream(settings_in(tmp_path, buffer_bytes=4096, sync="never"), resume=True) as stream:
        assert stream.cursor == 5


def test_a_part_of_a_plan(tmp_path: Path) -> None:
    stream = ow.Stream(ow.compile(settings_in(tmp_path)).rest(2))
    send(stream, range(1))
    stream.close()
    with pytest.raises(ow.PlanError, match="begun with a part of this plan"):
        ow.create_stream(settings_in(tmp_path), resume=True)


def test_writers_that_cannot_go_on(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, root_path=str(tmp_path / "a.ome.tiff"))
    stream = ow.create_stream(settings, "tifffile")
    send(stream, range(2))
    stream._run.abort()  # noqa: SLF001 - as a process that dies
    with pytest.raises(ow.PlanError, match="tifffile cannot go on with a dataset that stands"):
        ow.create_stream(settings, resume=True)
    assert ow.recover(settings.output_path).frames == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.tiff"]


def test_frames_in_any_order_go_on_where_they_are_stored_at_once(tmp_path: Path) -> None:
    for chunks in (None, {"t": 4, "y": 2}):
        settings = settings_in(tmp_path, root_path=str(tmp_path / f"{bool(chunks)}.ome.zarr"), chunks=chunks)
        stream = ow.create_stream(settings)
        stream.put(pixels(5), t=2, c=1)
        assert stream.safe_frames == 1
        stream._run.abort()  # noqa: SLF001 - as a process that dies
        if chunks:
            with pytest.raises(ow.PlanError, match="direct cannot go on with frames in any order"):
                ow.create_stream(settings, resume=True)
            assert ow.recover(settings.output_path).missing.tolist() == [0, 1, 2, 3, 4]
            continue
        with ow.create_stream(settings, resume=True) as stream:
            with pytest.raises(ow.FrameError, match="its frame came before"):
                stream.put(pixels(5), t=2, c=1)
            for number in (7, 0, 1, 3, 2, 4, 6):
                stream.put(pixels(number), t=number // 2, c=number % 2)
        assert stream.outcome is not None
        assert stream.outcome.verdict == "complete"
        assert np.asarray(ow.open_view(settings.output_path))[..., 0, 0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with ow.create_stream(settings, resume=True) as stream:
        send(stream, range(8))
    with pytest.raises(ow.PlanError, match=r"cannot be resumed: there is no journal beside it"):
        ow.create_stream(settings, resume=True)
    with pytest.raises(ow.PlanError, match="only a dataset on a disk can be resumed"):
        ow.create_stream(settings_in(tmp_path, root_path="", format="scratch"), resume=True)
    assert (ow.recover(settings.output_path).verdict, ow.recover(settings.output_path).frames) == ("complete", 8)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        ow.recover(tmp_path / "nothing")


def test_the_journal_is_gone(tmp_path: Path) -> None:
    root = abandoned(tmp_path)
    shutil.rmtree(journal_folder(root))
    with pytest.raises(FileNotFoundError, match=r"its journal, a\.ome\.zarr\.journal, is not beside it"):
        ow.recover(root)


def test_the_dataset_is_gone(tmp_path: Path) -> None:
    root = abandoned(tmp_path)
    shutil.rmtree(root)
    with pytest.raises(ow.PlanError, match="is gone; its journal"):
        ow.create_stream(settings_in(tmp_path), resume=True)
    with ow.create_stream(settings_in(tmp_path)) as stream:
        send(stream, range(8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_it_is_stopped_again_before_it_has_caught_up(tmp_path: Path) -> None:
    """Frames of one chunk were stored, those of another before them were lost: none of those that came is lost then."""
    root = abandoned(tmp_path, chunks={"t": 2, "y": 3})
    journal = journal_of(root)
    assert journal is not None
    assert journal.marks().tolist()[:5] == [1, 1, 1, 1, 0]
    journal.mark(0, 0)
    journal.close()
    settings = settings_in(tmp_path, chunks={"t": 2, "y": 3})
    with ow.create_stream(settings, resume=True) as stream:
        assert stream.cursor == 0
        assert stream.safe_frames >= 0
        send(stream, range(1))
    assert stream.outcome is not None
    assert (stream.outcome.cursor, stream.outcome.missing.tolist()) == (4, [])
    assert np.asarray(ow.open_view(root))[..., 0, 0].tolist() == [[1, 2], [3, 4]]


def test_edits_survive(tmp_path: Path) -> None:
    stream = ow.create_stream(settings_in(tmp_path))
    send(stream, range(3))
    found = stream.get_metadata()
    found["."]["mine"] = [1, 2]
    stream.update_metadata(found)
    stream.set_global_metadata("lab", {"room": 3})
    stream._run.abort()  # noqa: SLF001 - as a process that dies
    ow.recover(tmp_path / "a.ome.zarr")
    with ow.create_stream(settings_in(tmp_path), resume=True) as stream:
        send(stream, range(3, 8))
    attributes = stream.get_metadata()["."]
    assert (attributes["mine"], attributes["lab"]) == ([1, 2], {"room": 3})


def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ome_writers.writers.placed.POSITIONED", False)
    abandoned(tmp_path)
    with ow.create_stream(settings_in(tmp_path), resume=True) as stream:
        send(stream, range(5, 8))
    assert np.asarray(ow.open_view(tmp_path / "a.ome.zarr"))[..., 0, 0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.mark.parametrize("chunks", [None, {"t": 2}])
def test_nothing_came(tmp_path: Path, chunks: Any) -> None:
    root = abandoned(tmp_path, 0, chunks=chunks)
    assert (ow.recover(root).frames, ow.recover(root).verdict) == (0, "stopped")
    with ow.create_stream(settings_in(tmp_path, chunks=chunks), resume=True) as stream:
        send(stream, range(8))
    assert np.asarray(ow.open_view(root))[..., 0, 0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_frames_in_a_ring_are_safe_when_they_are_stored(tmp_path: Path, compression: str | None) -> None:
    settings = settings_in(tmp_path, buffer_bytes=4096, compression=compression)
    stream = ow.create_stream(settings)
    send(stream, range(5))
    assert stream.safe_frames <= 5
    stream._run.writer.flush()  # noqa: SLF001 - what a view does
    assert stream.safe_frames == 5
    stream._run.abort()  # noqa: SLF001 - as a process that dies
    assert ow.recover(settings.output_path).frames == 5
    with ow.create_stream(settings, resume=True) as stream:
        send(stream, range(5, 8))
    assert np.asarray(ow.open_view(settings.output_path))[..., 0, 0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_scratch_says_itself_how_it_ended(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, root_path=str(tmp_path / "cells"), format="scratch")
    with ow.create_stream(settings) as stream:
        send(stream, range(8))
    assert (ow.recover(tmp_path / "cells").verdict, ow.recover(tmp_path / "cells").frames) == ("complete", 8)
    (tmp_path / "cells" / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match=r"manifest\.json: must be a JSON object; got a list"):
        ow.recover(tmp_path / "cells")
