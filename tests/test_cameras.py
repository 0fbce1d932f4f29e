"""Several cameras by example: arrays of their own, documents of their own, views of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from lxml import etree

import ome_writers as ow
from ome_writers.cube_facts import cube_from, described

LEFT = ow.Camera(name="left", shape=(4, 6), dtype="uint16", pixel_size=0.065, model="Kinetix", serial_number="A7")
RIGHT = ow.Camera(name="right", shape=(2, 3), dtype="uint8", pixel_size=(0.2, 0.1), counts={"z": 1})
BOTH = ow.Dimension(name="cam", coords=[LEFT, RIGHT])
T, C, Z = (
    ow.Dimension(name="t", count=2),
    ow.Dimension(name="c", coords=["DAPI", "GFP"]),
    ow.Dimension(name="z", count=3),
)
YX = [ow.Dimension(name="y", count=4, unit="um", scale=1), ow.Dimension(name="x", count=6, unit="um", scale=1)]


def acquisition(*dims: ow.Dimension, **given: Any) -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(**{"root_path": "a.ome.zarr", "dtype": "uint8", "dimensions": [*dims, *YX]} | given)


def frames(plan: ow.Plan) -> list[np.ndarray[Any, Any]]:
    specs = [plan.layout.arrays[array] for array in plan.table["array"].tolist()]
    return [np.full(spec.shape[-2:], number + 1, spec.dtype) for number, spec in enumerate(specs)]


def test_each_has_arrays_of_its_own(tmp_path: Path) -> None:
    plan = ow.compile(acquisition(T, BOTH, Z, root_path=str(tmp_path / "a.ome.zarr")))
    assert [(spec.shape, spec.dtype) for spec in plan.layout.arrays] == [
        ((2, 3, 4, 6), "uint16"),
        ((2, 1, 2, 3), "uint8"),
    ]
    assert str(plan.locate(3)) == "frame 3 (camera 'right', t=0 z=0)"
    outcome = ow.write(plan, frames(plan), "direct")
    left, right = (zarr.open_array(Path(outcome.root, spec.path), mode="r")[...] for spec in plan.layout.arrays)
    assert left[..., 0, 0].tolist() == [[1, 2, 3], [5, 6, 7]]
    assert right[..., 0, 0].tolist() == [[4], [8]]
    facts = zarr.open_group(Path(outcome.root, "1"), mode="r").attrs.asdict()
    assert facts["ome_writers"]["camera"] == {"name": "right"}
    assert facts["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][-2:] == [0.2, 0.1]
    assert ow.open_view(outcome.root, camera="right")[1, 0].max() == 8
    assert ow.open_view(outcome.root, camera=0).shape == (2, 3, 4, 6)


@pytest.mark.parametrize("shard", [None, 1])
@pytest.mark.parametrize("name", ["direct", "tensorstore", "zarr-python"])
def test_chunks_of_several_frames_of_cameras_that_take_turns(tmp_path: Path, name: str, shard: int | None) -> None:
    # The outermost loop, so that blocks of one camera follow those of the other in the same buffers; its chunks end
    # beyond the array, and the frames of one are in tiles.
    cameras = ow.Dimension(
        name="cam", coords=[ow.Camera(name="small", shape=(1, 1)), ow.Camera(name="large", chunk_shape=(2, 3))]
    )
    channels = ow.Dimension(name="c", coords=["DAPI", "GFP"], chunk_size=2)
    z = ow.Dimension(name="z", count=3, chunk_size=2, shard_size_chunks=shard)
    plan = ow.compile(acquisition(cameras, channels, z, root_path=str(tmp_path / "a.ome.zarr")))
    root = ow.write(plan, frames(plan), name).root
    small, large = (zarr.open_array(Path(root, spec.path), mode="r")[...] for spec in plan.layout.arrays)
    assert small[..., 0, 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert large.tolist() == np.broadcast_to(np.arange(7, 13).reshape(2, 3, 1, 1), (2, 3, 4, 6)).tolist()


@pytest.mark.parametrize("camera", ["middle", 2, 1.5])
def test_one_that_there_is_not_cannot_be_seen(tmp_path: Path, camera: Any) -> None:
    settings = acquisition(T, BOTH, Z, root_path=str(tmp_path / "a.ome.zarr"))
    with ow.create_stream(settings) as stream:
        with pytest.raises(ValueError, match="say which one, camera="):
            stream.view()
        with pytest.raises((ValueError, ow.PlanError), match="cam"):
            stream.view(camera=camera)
        stream.skip(frames=8)
    with pytest.raises(ValueError, match="there is no camera"):
        ow.open_view(tmp_path / "a.ome.zarr", camera=camera)


def test_without_cameras_none_can_be_chosen(tmp_path: Path) -> None:
    settings = acquisition(T, root_path=str(tmp_path / "a.ome.zarr"))
    with ow.create_stream(settings) as stream:
        with pytest.raises(ValueError, match="there is no camera to choose"):
            stream.view(camera=0)
        stream.skip(frames=2)
    with pytest.raises(ValueError, match="none to choose from"):
        ow.open_view(tmp_path / "a.ome.zarr", camera=0)


def test_one_of_which_no_frame_was_planned_has_nothing_to_show(tmp_path: Path) -> None:
    cameras = ow.Dimension(name="cam", type="camera", coords=["a", "b"])
    settings = acquisition(T, cameras, omit={"cam": "b"}, holes="split", root_path=str(tmp_path / "a.ome.zarr"))
    with ow.create_stream(settings) as stream:
        stream.skip(frames=2)
    with pytest.raises(ValueError, match="no frame was planned for the camera 'b'"):
        ow.open_view(tmp_path / "a.ome.zarr", camera="b")


def test_those_that_are_channels_stand_side_by_side() -> None:
    cameras = ow.Dimension(name="cam", type="camera", coords=["left", "right"], fold=True)
    outer, inner, alone = (
        ow.compile(acquisition(*dims, root_path="a.ome.tiff"))
        for dims in ([cameras, C], [C, cameras], [ow.Dimension(name="c", count=1), cameras])
    )
    assert outer.layout.arrays[0].shape == (4, 4, 6)
    assert names(outer) == ["DAPI left", "GFP left", "DAPI right", "GFP right"]
    assert names(inner) == ["DAPI left", "DAPI right", "GFP left", "GFP right"]
    assert names(alone) == ["left", "right"]
    assert inner.place(c="GFP", cam="left") == 2
    assert ow.compile(acquisition(cameras, C, omit={"cam": 1, "c": 0}, holes="compact")).layout.arrays[0].elements == (
        ("c", (0, 1, 3)),
    )


def names(plan: ow.Plan) -> list[str]:
    from datetime import UTC, datetime

    (document,) = ow.documents(plan, ow.Stamp(datetime(2026, 1, 1, tzinfo=UTC), ("a", "b")))
    root = etree.fromstring(str(document.body).encode())
    return [channel.get("Name") for channel in root.iter("{*}Channel")]


def test_each_is_a_detector_in_ome_xml(tmp_path: Path) -> None:
    settings = acquisition(T, BOTH, Z, root_path=str(tmp_path / "a.ome.tiff"), format="ome-tiff")
    plan = ow.compile(settings)
    outcome = ow.write(plan, frames(plan), "tifffile")
    import tifffile

    first = Path(outcome.root)
    first = next(iter(sorted(first.rglob("*.ome.tiff")))) if first.is_dir() else first
    with tifffile.TiffFile(first) as file:
        root = etree.fromstring((file.ome_metadata or "").encode())
    detectors = [dict(one.attrib) for one in root.iter("{*}Detector")]
    assert [(one["Model"], one.get("SerialNumber")) for one in detectors] == [("Kinetix", "A7"), ("right", None)]
    told = [(one.get("SizeX"), one.get("Type"), one.get("PhysicalSizeY")) for one in root.iter("{*}Pixels")]
    assert told == [("6", "uint16", "0.065"), ("3", "uint8", "0.2")]


FOLD = {"name": "cam", "type": "camera", "fold": True}


@pytest.mark.parametrize(
    ("dims", "loc", "part"),
    [
        (
            [BOTH, ow.Dimension(name="cam2", type="camera", count=2), Z],
            "dimensions.1",
            "may be one dimension of cameras",
        ),
        ([ow.Dimension(name="t", count=2, fold=True)], "dimensions.0.fold", "only cameras can be folded"),
        ([ow.Dimension(**FOLD, count=2), T], "dimensions.0.fold", "no dimension of type 'channel'"),
        (
            [ow.Dimension(name="c", type="channel"), ow.Dimension(**FOLD, count=2)],
            "dimensions.1.fold",
            "without end",
        ),
        (
            [C, ow.Dimension(**FOLD, coords=[ow.Camera(name="a", counts={"z": 1}), "b"]), Z],
            "dimensions.1.coords.0.counts",
            "omit its frames instead",
        ),
        ([C, ow.Dimension(**FOLD, coords=[LEFT, "b"])], "dimensions.1.fold", "must have the same"),
        ([ow.Dimension(name="cam", coords=[ow.Camera(name="a", counts={"t": 9})]), T], "dimensions.0", "at most 2"),
    ],
)
def test_what_cameras_cannot_be_is_a_located_problem(dims: Any, loc: str, part: str) -> None:
    with pytest.raises(ow.SettingsError) as error:
        ow.compile(acquisition(*dims))
    assert {".".join(map(str, one.loc))[: len(loc)] for one in error.value.problems} == {loc}
    assert part in str(error.value)


@pytest.mark.parametrize(
    "given",
    [{"shape": (0, 4)}, {"shape": 4}, {"pixel_size": 0}, {"dtype": "uint17"}, {"chunk_shape": (4,)}, {"name": ""}],
)
def test_a_camera_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ow.SettingsError) as error:
        ow.Camera(**{"name": "a"} | given)
    assert error.value.problems[0].loc[0] == next(iter(given))


@pytest.mark.parametrize("camera", ["right", 1])
def test_one_of_equal_cameras_can_be_seen_alone(tmp_path: Path, camera: str | int) -> None:
    cameras = ow.Dimension(name="cam", type="camera", coords=["left", "right"])
    plan = ow.compile(acquisition(T, cameras, root_path=str(tmp_path / "a.ome.zarr")))
    outcome = ow.write(plan, frames(plan), "direct")
    assert ow.open_view(outcome.root)[:, :, 0, 0].tolist() == [[1, 2], [3, 4]]
    assert ow.open_view(outcome.root, camera=camera)[:, 0, 0].tolist() == [2, 4]


def test_documents_of_other_arrays_are_refused() -> None:
    plan = ow.compile(acquisition(T, BOTH, Z))
    facts = described(plan)
    with pytest.raises(ValueError, match="2 arrays are described, but there are 1"):
        cube_from(facts, [(2, 3, 4, 6)], ["uint16"])
    with pytest.raises(ValueError, match="there is no camera 'middle'"):
        cube_from(facts, plan.shapes(), ["uint16", "uint8"], "middle")
