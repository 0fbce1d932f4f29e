"""Where a dataset stands, whatever the program does with its current folder, and however its path is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.testing import Way, ways

STORED = [way for way in ways() if way.persistent]
EVERY = pytest.mark.parametrize("way", STORED, ids=lambda way: way.name)
T, P = 3, 70  # more files than are open at a time


def settings_in(folder: Path, way: Way) -> ow.AcquisitionSettings:
    return way.settings(folder, ow.dims_from_standard_axes({"t": T, "p": P, "y": 8, "x": 8}), dtype="uint16")


def send(stream: ow.Stream, start: int, stop: int) -> None:
    for number in range(start, stop):
        stream.append(np.full((8, 8), number + 1, "uint16"))


def must_hold(way: Way, root: str, plan: ow.Plan) -> None:
    for number in (0, 1, P - 1):
        pixels = way.read(way.make(), root, plan.layout.arrays[number])
        assert pixels is not None
        assert pixels.reshape(T, -1)[:, 0].tolist() == [t * P + number + 1 for t in range(T)]


@EVERY
def test_the_program_goes_elsewhere(tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    stream = ow.create_stream(settings_in(Path(), way), way.make())
    assert not Path(stream.plan.settings.output_path).is_absolute()
    send(stream, 0, 5)
    monkeypatch.chdir(there)
    send(stream, 5, T * P)
    stream.close()
    assert stream.outcome is not None
    assert (stream.outcome.verdict, list(there.iterdir())) == ("complete", [])
    must_hold(way, str(here / stream.plan.settings.output_path), stream.plan)


@EVERY
def test_a_path_that_goes_up_behind_a_link_ends_where_the_system_says(tmp_path: Path, way: Way) -> None:
    (tmp_path / "far" / "off").mkdir(parents=True)
    try:
        (tmp_path / "link").symlink_to(tmp_path / "far" / "off", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    settings = settings_in(tmp_path / "link" / "..", way)
    with ow.create_stream(settings, way.make()) as stream:
        send(stream, 0, T * P)
    place = Path(settings.output_path)
    assert {one.name for one in (tmp_path / "far").iterdir()} == {place.name, "off"}
    must_hold(way, str(tmp_path / "far" / place.name), stream.plan)


@pytest.mark.parametrize("root", [".ome.tiff", "folder/.ome.tiff", ".ome.zarr"])
@pytest.mark.parametrize("positions", [1, 2])
def test_a_name_that_is_only_a_suffix_is_none(root: str, positions: int) -> None:
    dims = ow.dims_from_standard_axes({"p": positions, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(root_path=root, dtype="uint16", dimensions=dims)
    with pytest.raises(ow.SettingsError, match="root_path: must end in the name that the dataset shall have; got"):
        ow.compile(settings)


def test_a_name_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dims = ow.dims_from_standard_axes({"t": 1, "y": 8, "x": 8})
    settings = ow.AcquisitionSettings(root_path="~nobody-of-that-name.ome.zarr", dtype="uint16", dimensions=dims)
    with ow.create_stream(settings) as stream:
        stream.append(np.ones((8, 8), "uint16"))
    assert [path.name for path in tmp_path.iterdir()] == ["~nobody-of-that-name.ome.zarr"]
