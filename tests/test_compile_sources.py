"""What `compile` takes next to settings: sequences, events and lists of indices; and what is wrong with some."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import useq
import zarr
from useq import v2

import ome_writers as ow
from ome_writers.items import Camera
from ome_writers.useq import events

SHAPE = (4, 8)
DECLARED = [
    ow.Dimension(name="t", count=3),
    ow.Dimension(name="p", coords=["left", "right"]),
    ow.Dimension(name="c", coords=["DAPI", "GFP"]),
    ow.Dimension(name="y", count=4),
    ow.Dimension(name="x", count=8),
]


def compiled(source: Any, **given: Any) -> ow.Plan:
    return ow.compile(source, **{"frame_shape": SHAPE, "dtype": "uint8", "format": "scratch", **given})


def sizes(plan: ow.Plan) -> str:
    return " ".join(f"{dim.name}={dim.count}" for dim in plan.settings.dimensions[:-2])


def names(plan: ow.Plan, dim: str) -> list[str]:
    return [one.name for one in next(d for d in plan.settings.dimensions if d.name == dim).coords]


class TestSettings:
    def test_settings_are_compiled_as_ever(self) -> None:
        settings = ow.AcquisitionSettings(dimensions=DECLARED, dtype="uint8", format="scratch")
        assert ow.compile(settings).settings == settings
        assert ow.compile(settings, overwrite=True).settings.overwrite

    def test_nothing_is_loaded_that_settings_do_not_need(self) -> None:
        code = (
            "import sys, ome_writers as ow; dims = ow.dims_from_standard_axes({'t': 2, 'y': 4, 'x': 4});"
            "ow.compile(ow.AcquisitionSettings(root_path='a.ome.zarr', dtype='uint8', dimensions=dims));"
            "assert not {'useq', 'ome_writers.useq'} & {*sys.modules}"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestSequences:
    def test_what_a_sequence_does_not_know(self) -> None:
        seq = useq.MDASequence(channels=["A"], time_plan={"interval": 2, "loops": 3})
        plan = compiled(seq, pixel_size_um=0.5, chunk_shapes={"t": 3}, root_path="a.ome.zarr", format="auto")
        t, _, y, x = plan.settings.dimensions
        assert (t.scale, t.chunk_size, y.count, x.count, x.scale, x.unit) == (2, 3, 4, 8, 0.5, "micrometer")
        assert plan.settings.output_path == "a.ome.zarr"

    def test_its_holes_may_be_something_else(self) -> None:
        seq = useq.MDASequence(channels=["A", {"config": "B", "do_stack": False}], z_plan={"range": 2, "step": 1})
        assert [spec.shape[:-2] for spec in compiled(seq).layout.arrays] == [(2, 3)]
        assert sorted(spec.shape[:-2] for spec in compiled(seq, holes="split").layout.arrays) == [(1, 1), (1, 3)]

    @pytest.mark.parametrize("irregular", [False, True])
    def test_several_cameras(self, *, irregular: bool) -> None:
        planes = {"range": 2, "step": 1}
        sub = {"z_plan": planes} if irregular else {}
        places = [(0, 0), useq.Position(x=1, sequence=sub)] if irregular else [(0, 0), (1, 0)]
        seq = useq.MDASequence(stage_positions=places, channels=["A", "B"], z_plan=planes, axis_order="pzc")
        plan = compiled(seq, cameras=["left", Camera(name="right", shape=(2, 3), dtype="uint16")])
        events = list(seq)
        assert (plan.settings.frames is not None) is irregular
        assert plan.frames == 2 * len(events)
        specs = [plan.layout.arrays[row["array"]] for row in plan.table]
        assert [(spec.camera, spec.shape[-2:]) for spec in specs[:2]] == [(0, (4, 8)), (1, (2, 3))]
        assert plan.table["position"].tolist() == [event.index["p"] for event in events for _ in range(2)]

    def test_cameras_that_a_sequence_goes_through(self) -> None:
        loop = v2.SimpleValueAxis(axis_key="cam", values=["front", "back"])
        seq = v2.MDASequence(axes=(loop, v2.TIntervalLoops(interval=1, loops=3)))
        plan = compiled(seq, cameras=["left", "right"])
        assert sizes(plan) == "cam=2 t=3"
        assert [plan.layout.arrays[array].camera for array in plan.table["array"]] == [0, 0, 0, 1, 1, 1]
        with pytest.raises(ow.SettingsError, match=r"^cameras: must be as many as .* in its loop 'cam', 2; got 3"):
            compiled(seq, cameras=["left", "right", "top"])

    def test_a_negative_pixel_size(self) -> None:
        with pytest.warns(UserWarning, match="-1 is left out"):
            compiled(useq.MDASequence(channels=["A"]), pixel_size_um=-1)


class TestEvents:
    def test_indices_stand_as_they_came(self) -> None:
        index = [{"t": 0, "p": 1, "z": 4}, {"t": 2, "p": 0, "z": 0}, {"t": 2, "p": 1, "z": 3}]
        plan = compiled(index)
        assert sizes(plan) == "t=3 p=2 z=5"
        assert plan.table["position"].tolist() == [1, 0, 1]
        assert plan.table["index"].tolist() == [[0, 4], [2, 0], [2, 3]]

    def test_channels_and_positions_by_name(self) -> None:
        index = [{"p": "B", "c": "GFP"}, {"p": "A", "c": "DAPI"}, {"p": "A", "c": "GFP"}]
        plan = compiled(index)
        assert (names(plan, "p"), names(plan, "c")) == (["B", "A"], ["GFP", "DAPI"])
        assert plan.frames == 3

    def test_loops_of_any_name(self) -> None:
        plan = compiled([{"angle": 1, "t": 0}, {"angle": 0, "t": 0}])
        assert [(dim.name, dim.type) for dim in plan.settings.dimensions[:2]] == [("angle", "other"), ("t", "time")]

    def test_events_of_useq(self) -> None:
        seq = useq.MDASequence(channels=["A", "B"], time_plan={"interval": 2, "loops": 2}, stage_positions=[(1, 2, 3)])
        autofocus = useq.MDAEvent(index={"t": 0}, action=useq.HardwareAutofocus())
        for source in (list(seq), iter(list(seq)), [autofocus, *seq]):
            plan = compiled(source)
            assert sizes(plan) == "t=2 p=1 c=2"
            assert plan.frames == 4
            assert plan.settings.frames.delta_t.tolist() == [0, 0, 2, 2]
            assert plan.settings.dimensions[0].scale == 2

    def test_events_as_mappings(self) -> None:
        events = [event.model_dump(mode="json") for event in useq.MDASequence(channels=["A", "B"])]
        assert names(compiled(events), "c") == ["A", "B"]

    def test_events_without_any_index_are_a_series(self) -> None:
        plan = compiled([useq.MDAEvent(x_pos=place, min_start_time=place) for place in (3, 1, 2)])
        assert sizes(plan) == "t=3"
        assert plan.settings.frames.position_x.tolist() == [3, 1, 2]

    def test_channels_without_an_index_are_told_by_name(self) -> None:
        plan = compiled([useq.MDAEvent(index={"t": t}, channel=c) for t, c in [(0, "A"), (0, "B"), (1, "A")]])
        assert sizes(plan) == "t=2 c=2"
        assert plan.table["index"].tolist() == [[0, 0], [0, 1], [1, 0]]

    def test_a_channel_that_has_another_index_later(self) -> None:
        index = [(0, "A", 0), (0, "B", 1), (1, "B", 0)]
        plan = compiled([useq.MDAEvent(index={"t": t, "c": c}, channel=name) for t, name, c in index])
        assert names(plan, "c") == ["A", "B"]
        assert plan.table["index"].tolist() == [[0, 0], [0, 1], [1, 1]]

    @pytest.mark.parametrize("axis", ["t", "z", "p", "angle"])
    def test_the_cost_is_that_of_the_events_not_of_their_indices(self, axis: str) -> None:
        tracemalloc.start()
        plan = compiled([{axis: 0}, {axis: 2**31 - 2}])
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()
        assert plan.frames == 2
        assert sizes(plan) == ("p=2" if axis == "p" else f"{axis}=2147483647")

    def test_an_event_is_taken_by_the_camera_that_its_index_says_or_by_all(self) -> None:
        index = [{"t": 0, "p": 0}, {"t": 1, "cam": 1, "p": 1}, {"t": 1, "cam": 0, "p": 0}]
        plan = compiled(index, cameras=["left", "right"])
        assert sizes(plan) == "t=2 p=2 cam=2"
        assert plan.settings.frames.index.tolist() == [[0, 0, 0], [0, 0, 1], [1, 1, 1], [1, 0, 0]]
        assert sizes(compiled(index)) == "t=2 cam=2 p=2"  # without cameras it is a loop like others

    def test_numbers_that_nobody_knows(self) -> None:
        index = [{"index": {"t": t}, "x_pos": x} for t, x in enumerate([1, np.float32(2.5), None, np.nan, "NaN"])]
        np.testing.assert_array_equal(compiled(index).settings.frames.position_x, [1, 2.5, *[np.nan] * 3])

    def test_positions_that_share_a_grid(self) -> None:
        index = [{"p": p, "g": g} for p, g in [(0, 0), (0, 1), (1, 0)]]
        assert names(compiled(index), "p") == ["0_g0000", "0_g0001", "1_g0000"]

    @pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tiff"])
    def test_pixels(self, name: str, tmp_path: Path) -> None:
        index = [{"t": 1, "c": "GFP"}, {"t": 0, "c": "DAPI"}, {"t": 2, "c": "GFP"}]
        plan = compiled(index, root_path=str(tmp_path / name), format="auto")
        ow.write(plan, [np.full(SHAPE, number + 1, "uint8") for number in range(3)])
        path = tmp_path / name
        found = zarr.open_array(path / "0", mode="r") if name.endswith("zarr") else tifffile.imread(path)
        assert np.asarray(found)[..., 0, 0].tolist() == [[0, 2], [1, 0], [3, 0]]


BAD: list[tuple[Any, dict[str, Any], str]] = [
    ([{"t": 0}, {"t": 0}], {}, "frames.index.1: must come once; frame 0 has the indices [0] as well"),
    ([], {}, "events: none takes an image"),
    ([{"t": 0}, 7], {}, "events.1: must be a useq.MDAEvent, or a mapping of the names of loops to indices; got int"),
    ([{"t": 0}, {"t": -1}], {}, "events.1.t: must be an index, at least 0; got -1"),
    ([{"c": True}], {}, "events.0.c: must be an index, at least 0, or a name; got True"),
    ([{"t": 2**31 - 1}], {}, "events.0.t: must be less than 2147483647; got 2147483647"),
    ([{"c": 0}, {"c": 10**7}], {}, "events.1.c: must be less than 65536, or a name; got 10000000"),
    ([{"t": 0}, {"cam": 2}], {"cameras": ["left", "right"]}, "events.1.cam: must be one of 2 cameras, from 0; got 2"),
    ([{"t": 0}], {"cameras": ["left"], "dimensions": DECLARED}, "cameras: cannot be given next to dimensions"),
    ([{"index": {"t": 0}, "exposure": "long"}], {}, "events.0.exposure: must be a finite number; got 'long'"),
    (
        {"t": 0},
        {},
        "must be AcquisitionSettings, a useq.MDASequence, or a list of events or of mappings of indices; got",
    ),
    (7, {}, "must be AcquisitionSettings, a useq.MDASequence, or a list of events or of mappings of indices; got int"),
    (itertools.repeat({"t": 0}), {}, "events: go on after 1000 events, maybe without end"),
    ([{"t": 0}], {"frame_shape": None}, "frame_shape: must be given: (height, width) of a frame, in pixels"),
    ([{"t": 0}], {"dtype": ""}, "dtype: is required"),
    ([{"t": 0}], {"cameras": ["left", {"name": "right", "shape": (0, 4)}]}, "cameras.shape"),
]
UNDECLARED: list[tuple[Any, str]] = [
    ([{"t": 0, "p": 0, "c": "Cy5"}], "frames.index.0.c: must be one of the names of 'c' ('DAPI', 'GFP'); got 'Cy5'"),
    ([useq.MDAEvent(channel="Cy5")], "frames.index.0.c: must be one of the names of 'c' ('DAPI', 'GFP'); got 'Cy5'"),
    ([{"t": 0}, {"t": 3}], "frames.index.1: must be from 0 to 2 along 't'; got 3"),
    ([{"z": 0}], "frames.index.0.z: must be a loop of the acquisition: 't', 'p', 'c'; got 'z'"),
    ([{"t": 1}, {"t": 1, "c": "DAPI"}], "frames.index.1: must come once; frame 0 has the indices [1, 0, 0] as well"),
]


class TestBadInput:
    def test_all_problems_are_told(self) -> None:
        strange: list[Any] = [{"t": 0}, {"index": {"t": -1, "z": "top"}, "x_pos": "foo", "z_pos": float("inf")}, 7]
        with pytest.raises(ow.SettingsError) as caught:
            compiled(strange)
        assert [problem.loc for problem in caught.value.problems] == [
            *[("events", 1, name) for name in ("t", "z", "x_pos", "z_pos")],
            ("events", 2),
        ]

    @pytest.mark.parametrize(("source", "given", "message"), BAD)
    def test_problems_are_located(
        self, source: Any, given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "MOST_EVENTS", 1000)
        with pytest.raises(ow.SettingsError) as caught:
            compiled(source, **given)
        assert str(caught.value).startswith(message)

    @pytest.mark.parametrize(("source", "message"), UNDECLARED)
    def test_what_is_not_declared(self, source: Any, message: str) -> None:
        with pytest.raises(ow.SettingsError) as caught:
            ow.compile(source, dimensions=DECLARED, dtype="uint8", format="scratch")
        assert str(caught.value) == message

    def test_what_is_declared(self) -> None:
        source = [
            useq.MDAEvent(index={"t": 2}, channel="GFP", pos_name="right", x_pos=5),
            useq.MDAEvent(index={"t": 0, "c": 0}),
        ]
        plan = ow.compile(source, dimensions=DECLARED, dtype="uint8", format="scratch")
        assert plan.settings.frames.index.tolist() == [[2, 1, 1], [0, 0, 0]]
        assert plan.settings.frames.position_x[0] == 5
