"""Jagged acquisitions and several cameras at the edges: they are shown, drawn, validated, converted and prepared."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.cli.app import run
from ome_writers.display import html_of
from ome_writers.items import Camera
from ome_writers.readers import frame_metadata
from ome_writers.timeline import timeline

T = ow.Dimension(name="t", count=4, type="time", unit="s", scale=1)
C = ow.Dimension(name="c", coords=["DAPI", "GFP"], type="channel")
Z = ow.Dimension(name="z", count=3, type="space", unit="um", scale=2.0)
YX = [ow.Dimension(name=name, count=count, type="space", unit="um", scale=0.5) for name, count in (("y", 8), ("x", 6))]
CAMERAS = [Camera(name="left", pixel_size=0.1), Camera(name="right", shape=(4, 4), dtype="uint8")]
MIDDLE = {"where": {"c": "GFP"}, "unless": {"z": 1}}
PLACES = [ow.Position(name="A", counts={"z": 2}), ow.Position(name="B", coords={"z": [0.0, 1.0, 5.0]})]
CASES: dict[str, dict[str, Any]] = {
    "omit": {"dimensions": [T, C, Z, *YX], "omit": [MIDDLE]},
    "omit-split": {"dimensions": [T, C, Z, *YX], "omit": [MIDDLE], "holes": "split"},
    "third-compact": {"dimensions": [T, C, *YX], "omit": [{"c": 1, "t": [1, 2]}], "holes": "compact"},
    "counts": {"dimensions": [T, ow.Dimension(name="p", coords=PLACES, type="position"), C, Z, *YX]},
    "list": {"dimensions": [T, C, Z, *YX], "frames": [[0, 0, 0], [3, 1, 2], [1, 0, 1], [1, 1, 1], [2, 0, 0]]},
    "cameras": {
        "dimensions": [T, ow.Dimension(name="cam", coords=CAMERAS, type="camera"), C, *YX],
        "omit": [{"cam": "right", "c": "GFP"}],
    },
    "folded": {"dimensions": [T, C, ow.Dimension(name="cam", coords=["l", "r"], type="camera", fold=True), Z, *YX]},
}
FORMATS = [".ome.zarr", ".ome.tiff"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    caplog.set_level(logging.CRITICAL, "tifffile")  # it says so of planes that nobody planned


def settings_of(name: str, path: str) -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(root_path=path, dtype="uint16", **CASES[name])


def frame(plan: ow.Plan, place: int) -> np.ndarray:
    spec = plan.layout.arrays[int(plan.rows(place, place + 1)[0]["array"])]
    return np.full(spec.shape[-2:], place + 1, spec.dtype)


def written(name: str, path: str, *, part: bool) -> ow.Stream:
    """Return a stream that was closed after all frames, or with one missing, and before the last two."""
    with ow.create_stream(settings_of(name, path)) as stream:
        for place in range((stream.plan.frames or 0) - 2 * part):
            if part and place == 1:
                stream.skip()
            else:
                stream.append(frame(stream.plan, place), frame_metadata={"place": place, "exposure_time": 0.5 + place})
    return stream


def planes(path: str, settings: ow.AcquisitionSettings) -> list[np.ndarray]:
    cameras = settings.camera_dimension
    names = [None] if cameras is None or cameras.fold else [camera.name for camera in cameras.coords or ()]
    return [np.asarray(ow.open_view(path, camera=name)[...]) for name in names]


def told(path: str) -> list[tuple[int, float]]:
    return sorted((record["place"], record["exposure_time"]) for record in frame_metadata(path))


@pytest.mark.parametrize("part", [False, True], ids=["whole", "part"])
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_it_is_sound_and_can_be_converted_both_ways(name: str, suffix: str, *, part: bool) -> None:
    stream = written(name, f"a{suffix}", part=part)
    source, outcome = stream.plan.settings.output_path, stream.outcome
    assert outcome is not None
    assert ow.validate(source).failed == ()
    for to in FORMATS:
        made = ow.convert(source, f"b{to}")
        assert (made.verdict, made.frames) == (outcome.verdict, outcome.frames)
        assert made.missing.tolist() == outcome.missing.tolist() == [1] * part
        for one, other in zip(
            planes(source, stream.plan.settings), planes(made.root, stream.plan.settings), strict=True
        ):
            assert np.array_equal(one, other)
            assert one.any()
        assert told(made.root) == told(source)
        assert len(told(source)) == outcome.frames
        assert ow.validate(made.root).failed == ()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_every_edge_takes_it(name: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_of(name, f"a{suffix}")
    plan = ow.compile(settings)
    assert f"{plan.frames} of " in html_of(plan)
    ow.dump(settings, "a.toml")
    assert run(["plan", "a.toml", "--plot", "a.png"]) == 0
    assert f"frames    {plan.frames}" in capsys.readouterr().out
    ow.prepare(plan)
    assert ow.finish(settings.output_path).frames == plan.frames
    assert ow.validate(settings.output_path).failed == ()
    assert run(["info", settings.output_path]) == 0
    assert run(["watch", settings.output_path]) == 0
    assert run(["preview", settings.output_path, "-o", "sheet.png"]) == 0


def test_a_plan_names_cameras_and_their_frames(capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_of("cameras", "a.ome.zarr")
    plan = ow.compile(settings)
    ow.dump(settings, "a.toml")
    assert run(["plan", "a.toml"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    # 4 times 2 frames of 8 × 6 × 2 bytes, and 4 of 4 × 4
    assert "a frame 8 × 6 uint16, 96 B a frame 4 × 4 uint8, 16 B pixels 832 B" in said
    assert "path position camera axes shape" in said
    assert "0/0 0 left t c y x 4×2×8×6" in said
    assert "12 of 96 B and 16 B" in html_of(plan)
    assert timeline(plan, "frame").loops["cam"].high.tolist() == [0, 0, 1] * 4
    folded = timeline(ow.compile(settings_of("folded", "b.ome.zarr")), "frame").loops
    assert folded["cam"].high.tolist() == ([0] * 3 + [1] * 3) * 8
    assert folded["c"].high.tolist() == ([0] * 6 + [1] * 6) * 4


def test_frames_of_one_kind_are_not_those_of_cameras_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    ow.dump(settings_of("cameras", "a.ome.zarr"), "a.toml")
    np.save("frames.npy", np.zeros((12, 8, 6), "uint16"))
    assert run(["write", "a.toml", "--frames", "frames.npy", "--out", "a.ome.zarr"]) == 1
    assert "the cameras of the settings have frames of 4 × 4 uint8 and 8 × 6 uint16" in capsys.readouterr().err
    assert run(["bench", "a.toml"]) == 1
    assert "dimensions: must have frames of one size and dtype" in capsys.readouterr().err
    assert not Path("a.ome.zarr").exists()


def test_images_that_differ_for_no_known_reason_are_refused(tmp_path: Path) -> None:
    import tifffile

    with tifffile.TiffWriter("odd.ome.tif", ome=True) as tif:
        tif.write(np.zeros((3, 8, 6), "uint16"), photometric="minisblack", metadata={"axes": "TYX"})
        tif.write(np.zeros((3, 4, 4), "uint8"), photometric="minisblack", metadata={"axes": "TYX"})
    with pytest.raises(ValueError, match=r"those of image 0 are 8 × 6 uint16, those of image 1 4 × 4 uint8"):
        ow.convert("odd.ome.tif", "odd.ome.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.ome.tif"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_part_of_a_plan_is_not_taken_for_another(suffix: str) -> None:
    whole = ow.compile(ow.AcquisitionSettings(root_path=f"a{suffix}", dtype="uint16", dimensions=[T, C, Z, *YX]))
    part = whole.select(c="GFP")
    ow.write(part, (np.full((8, 6), 1 + place, "uint16") for place in range(12)))
    report = ow.validate(f"a{suffix}")
    assert report.failed == ()
    assert "a part of a plan was written" in str(report)
    with pytest.raises(ValueError, match=r"is a part of an acquisition \(12 of 24 frames"):
        ow.convert(f"a{suffix}", "b.ome.zarr")
    assert not Path("b.ome.zarr").exists()
