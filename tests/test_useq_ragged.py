"""What settings say of useq sequences that are no regular loops: gaps, own lists of positions, and lists of frames."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import pytest
import useq
from attrs import evolve
from useq import v2

from ome_writers import AcquisitionSettings, Dimension, SettingsError, compile, useq_to_acquisition_settings
from ome_writers.items import Position
from ome_writers.omission import Omit

GRID = {"rows": 1, "columns": 2, "fov_width": 10, "fov_height": 10}
TIMES = {"interval": 1, "loops": 3}
PLANES = {"range": 2, "step": 1}


def converted(seq: Any = None, **given: Any) -> AcquisitionSettings:
    seq = useq.MDASequence(**given) if seq is None else seq
    return AcquisitionSettings(format="scratch", dtype="uint8", **useq_to_acquisition_settings(seq, 8, 4))


def sizes(settings: AcquisitionSettings) -> str:
    return " ".join(f"{dim.name}={dim.count}" for dim in settings.dimensions[:-2])


def own(settings: AcquisitionSettings) -> list[dict[str, Any]]:
    """Return the counts and lists of each position."""
    return [{**place.counts, **place.coords} for place in settings.positions]


def position(**sub: Any) -> useq.Position:
    return useq.Position(x=1, y=2, z=3, sequence=sub)


class TestGaps:
    """What channels leave out are rules; indices stay those of the events."""

    @pytest.mark.parametrize(
        ("channels", "rules"),
        [
            (["A", {"config": "B", "acquire_every": 2}], [Omit(where={"c": 1}, unless={"t": "::2"})]),
            (["A", {"config": "B", "do_stack": False}], [Omit(where={"c": 1}, unless={"z": 1})]),
            (
                [{"config": "A", "acquire_every": 2, "do_stack": False}, "B"],
                [Omit(where={"c": 0}, unless={"z": 1}), Omit(where={"c": 0}, unless={"t": "::2"})],
            ),
            (
                ["A", {"config": "B", "acquire_every": 2}, {"config": "C", "acquire_every": 2}],
                [Omit(where={"c": (1, 2)}, unless={"t": "::2"})],
            ),
            (
                [{"config": "A", "do_stack": False}, {"config": "B", "do_stack": False}],
                [Omit(unless={"z": 1})],
            ),
        ],
    )
    def test_rules(self, channels: list[Any], rules: list[Omit]) -> None:
        settings = converted(channels=channels, time_plan=TIMES, z_plan=PLANES)
        assert sizes(settings) == f"t=3 c={len(channels)} z=3"
        assert settings.omit == tuple(rules)

    def test_a_channel_that_is_never_acquired_has_no_more_gaps(self) -> None:
        channels = ["A", {"config": "B", "do_stack": False, "acquire_every": 2}]
        # There is one plane, and to useq the middle is the second.
        seq = useq.MDASequence(channels=channels, time_plan=TIMES, z_plan={"above": 0, "below": 1, "step": 2})
        assert compile(converted(seq)).frames == len(list(seq)) == 3

    def test_a_loop_of_one_item_has_no_gaps(self) -> None:
        channel = {"config": "A", "acquire_every": 2, "do_stack": False}
        assert converted(channels=["B", channel], z_plan={"range": 0, "step": 1}).omit == ()

    def test_a_channel_without_its_plane_is_never_acquired(self) -> None:
        # Where a sub-sequence has planes of its own, only the first of those around it is gone through.
        settings = converted(
            stage_positions=[(0, 0), position(z_plan=PLANES)],
            channels=["A", {"config": "B", "do_stack": False}],
            z_plan=PLANES,
        )
        assert settings.omit == (Omit(where={"p": [0], "c": 1}, unless={"z": 1}), Omit(where={"p": [1], "c": 1}))

    def test_time_without_end_stays_so(self) -> None:
        settings = converted(
            channels=["A", {"config": "B", "acquire_every": 2}], time_plan={"interval": 0, "duration": 1}
        )
        assert sizes(settings) == "t=None c=2"
        assert settings.omit == (Omit(where={"c": 1}, unless={"t": "::2"}),)
        plan = compile(settings)
        assert plan.frames is None
        assert plan.rows(0, 7)["index"].tolist() == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1], [3, 0], [4, 0]]

    def test_many_frames_take_no_time(self) -> None:
        seq = useq.MDASequence(
            channels=["A", "B", {"config": "C", "acquire_every": 3}, {"config": "D", "do_stack": False}],
            time_plan={"interval": 1, "loops": 500},
            z_plan={"range": 20, "step": 1},
            stage_positions=[(x, 0) for x in range(8)],
        )
        begin = time.perf_counter()
        plan = compile(seq, frame_shape=(4, 8), dtype="uint8", format="scratch")
        assert plan.frames == 8 * (500 * 2 * 21 + 167 * 21 + 500)
        assert time.perf_counter() - begin < 5  # useq takes 20 s to go through the events


class TestOwnLists:
    """Positions whose sub-sequences differ have counts and lists of their own."""

    def test_planes(self) -> None:
        settings = converted(stage_positions=[(0, 0, 7), position(z_plan=PLANES)], z_plan={"range": 6, "step": 1})
        assert (sizes(settings), own(settings)) == ("p=2 z=7", [{}, {"z": (-1, 0, 1)}])

    def test_fewer_of_the_same_planes(self) -> None:
        sub = {"z_plan": {"relative": [0, 1]}}
        settings = converted(stage_positions=[(0, 0), position(**sub)], z_plan={"relative": [0, 1, 5]})
        assert own(settings) == [{}, {"z": 2}]

    def test_planes_at_some_positions_only(self) -> None:
        settings = converted(stage_positions=[(0, 0, 7), position(z_plan=PLANES)])
        assert (sizes(settings), own(settings)) == ("p=2 z=3", [{"z": (0,)}, {}])

    def test_channels(self) -> None:
        settings = converted(
            stage_positions=[(0, 0), position(channels=["C", "A"], z_plan=PLANES)], channels=["A", "B"], z_plan=PLANES
        )
        assert [channel.name for channel in settings.dimensions[1].coords or ()] == ["A", "B", "C"]
        assert own(settings) == [{"c": 2}, {"c": ("C", "A")}]

    def test_channels_at_some_positions_only(self) -> None:
        settings = converted(stage_positions=[(0, 0), position(channels=["A"])], time_plan=TIMES)
        assert [channel.name for channel in settings.dimensions[-3].coords or ()] == ["current", "A"]
        assert own(settings) == [{"c": 1}, {"c": ("A",)}]

    def test_an_empty_sub_sequence(self) -> None:
        settings = converted(stage_positions=[(0, 0), position()], channels=["A", "B"])
        assert own(settings) == [{}, {"c": 1}]

    def test_times(self) -> None:
        other = {"interval": 5, "loops": 2}
        settings = converted(stage_positions=[position(time_plan=TIMES), position(time_plan=other)])
        assert (sizes(settings), own(settings)) == ("p=2 t=3", [{}, {"t": (0, 5)}])

    def test_what_a_channel_around_others_leaves_out(self) -> None:
        # At the second position one channel is replaced by two, which both take the middle plane only.
        seq = {
            "stage_positions": [(0, 0), position(channels=["B", "C"])],
            "channels": [{"config": "A", "do_stack": False}],
            "z_plan": PLANES,
        }
        settings = converted(**seq)
        assert settings.omit == (Omit(unless={"z": 1}),)
        assert compile(settings).frames == len(list(useq.MDASequence(**seq))) == 3


class TestLists:
    """Events that are no loops are listed one by one."""

    def test_columns(self) -> None:
        seq = useq.MDASequence(
            stage_positions=[useq.Position(x=1, y=2, z=3, name="A"), position(z_plan=PLANES)],
            channels=[{"config": "A", "exposure": 5}, "B"],
            axis_order="tpzc",
            z_plan={"relative": [0, 5]},
            time_plan=TIMES,
        )
        settings, events = converted(seq), list(copy.deepcopy(seq))
        assert settings.frames is not None
        assert sizes(settings) == "t=3 p=2 z=3 c=2"
        index = [[event.index[axis] for axis in "tpzc"] for event in events]
        assert settings.frames.index.tolist() == index
        assert settings.frames.delta_t.tolist() == [event.min_start_time for event in events]
        assert settings.frames.position_z.tolist() == [event.z_pos for event in events]
        exposed = [np.nan if event.exposure is None else event.exposure / 1000 for event in events]
        np.testing.assert_array_equal(settings.frames.exposure_time, exposed)
        assert [(place.name, place.x_coord) for place in settings.positions] == [("A", 1), ("1", 1)]
        assert (settings.dimensions[0].scale, own(settings)) == (1, [{"z": 2}, {}])

    @pytest.mark.parametrize("other", [{"exposure": 5}, {"z_offset": 1}])
    def test_a_channel_that_is_another_elsewhere(self, other: dict[str, Any]) -> None:
        sub = position(channels=[{"config": "A", **other}], z_plan=PLANES)
        seq = useq.MDASequence(stage_positions=[(0, 0), sub], channels=["A"], z_plan=PLANES)
        settings, events = converted(seq), list(copy.deepcopy(seq))
        assert settings.frames.position_z.tolist() == [event.z_pos for event in events]
        endless = useq.MDASequence(
            stage_positions=seq.stage_positions,
            channels=["A"],
            z_plan=PLANES,
            time_plan={"interval": 0, "duration": 1},
        )
        assert converted(endless).dimensions[2].coords[0].exposure_time is None

    def test_positions_without_times(self) -> None:
        settings = converted(stage_positions=[(0, 0), position(time_plan={"interval": 0, "loops": 2})])
        np.testing.assert_array_equal(compile(settings).triggers()["time"], [np.nan, 0, 0])

    def test_channels_that_are_exposed_as_those_before_them(self) -> None:
        # useq keeps the exposure of one channel of a sub-sequence for the next.
        sub = position(channels=[{"config": "A", "exposure": 5}, "B"], z_plan=PLANES)
        settings = converted(stage_positions=[sub])
        assert settings.frames.exposure_time.tolist() == [0.005] * 6

    def test_loops_within_loops_over_the_same_axis(self) -> None:
        settings = converted(stage_positions=[(0, 0), position(time_plan={"interval": 1, "loops": 2})], time_plan=TIMES)
        assert sizes(settings) == "repeat=3 t=3 p=2"
        assert compile(settings).frames == 3 + 3 * 2

    def test_one_place_twice(self) -> None:
        twice = position(z_plan={"relative": [4, 4]})
        settings = converted(stage_positions=[(0, 0), twice], z_plan=PLANES)
        assert settings.frames.position_z.tolist()[-2:] == [7, 7]
        assert own(settings) == [{}, {"z": 2}]

    def test_a_channel_is_the_same_wherever_it_has_its_name(self) -> None:
        settings = converted(
            stage_positions=[(0, 0), position(channels=["B"], time_plan={"interval": 1, "loops": 2})],
            channels=["A", "B"],
            time_plan=TIMES,
        )
        assert own(settings)[1]["c"] == ("B",)
        # What its events call channel 0 is that of its own list.
        assert {int(row["index"][-1]) for row in compile(settings).table if row["position"] == 1} == {0}

    @pytest.mark.filterwarnings("ignore:Unable to generate:UserWarning")
    def test_as_many_points_as_chance_finds_room_for(self) -> None:
        grid = {"num_points": 9, "fov_width": 5, "fov_height": 5, "max_width": 6, "max_height": 6}
        seq = useq.MDASequence(grid_plan={**grid, "allow_overlap": False}, channels=["A", "B"])
        settings = converted(seq)
        # useq remembers what it found.
        assert settings.num_frames == len(list(seq))

    def test_an_autofocus_plan_keeps_its_state(self) -> None:
        seq = useq.MDASequence(
            stage_positions=[(0, 0), position(z_plan=PLANES, autofocus_plan={"axes": ("c",)})],
            channels=["A", "B"],
            axis_order="pzc",
            z_plan={"relative": [0, 5]},
            autofocus_plan={"axes": ("p",)},
        )
        before = len(list(copy.deepcopy(seq)))
        converted(seq)
        assert len(list(seq)) == before

    def test_a_loop_within_all_others_runs_in_full(self) -> None:
        # As pymmcore-plus puts in for its cameras.
        settings = converted(stage_positions=[(0, 0), position(time_plan=TIMES)], time_plan=TIMES)
        dims = [*settings.dimensions[:-2], Dimension(name="cam", count=2, type="other"), *settings.dimensions[-2:]]
        seq = useq.MDASequence(stage_positions=[(0, 0), position(time_plan=TIMES)], time_plan=TIMES)
        found = dict(useq_to_acquisition_settings(seq, 8, 4)) | {"dimensions": dims}
        with_cameras = AcquisitionSettings(format="scratch", dtype="uint8", **found)
        assert with_cameras.num_frames == 2 * settings.num_frames
        assert with_cameras.frames.index[:2, -1].tolist() == [0, 1]

    def test_a_long_loop_cannot_be_left_out_of_a_list(self) -> None:
        dims = [Dimension(name="t", count=2), Dimension(name="z", count=65), *converted(channels=["A"]).dimensions[-2:]]
        with pytest.raises(SettingsError, match=r"frames\.index: must have an index for each loop \(t, z\); got 1"):
            AcquisitionSettings(dimensions=dims, frames=[[0], [1]])

    @pytest.mark.parametrize("order", ["pcgz", "cpz"])
    def test_loops_between_positions_and_points_of_grids(self, order: str) -> None:
        # Around both, between them and within them; around some positions, and within others.
        places = [(0, 0), (9, 9) if order == "pcgz" else position(channels=["A", "B"])]
        seq = useq.MDASequence(
            stage_positions=places,
            grid_plan=GRID if order == "pcgz" else None,
            channels=["A", "B"] if order == "pcgz" else ["A", "C"],
            z_plan=PLANES,
            axis_order=order,
        )
        assert compile(converted(seq)).frames == len(list(seq))

    def test_what_useq_cannot_run(self) -> None:
        # An autofocus plan looks for the planes of a sub-sequence among those around it.
        seq = useq.MDASequence(
            stage_positions=[(0, 0), position(z_plan=PLANES, autofocus_plan={"axes": ("z",)})],
            channels=["A", "B"],
            axis_order="pzc",
            z_plan={"relative": [0, 5]},
        )
        with pytest.raises(NotImplementedError, match=r"useq cannot run it: IndexError"):
            converted(seq)


class TestSecondVersion:
    """`useq.v2` is read like the first, but leaves more to those who write its axes."""

    def test_loops(self) -> None:
        settings = converted(
            v2.MDASequence(
                channels=["A", {"config": "B", "acquire_every": 2, "do_stack": False}],  # it does not heed these
                time_plan=TIMES,
                z_plan=PLANES,
                stage_positions=[(1, 2, 3), v2.Position(x=10, name="B")],
                grid_plan=GRID,
            )
        )
        assert (sizes(settings), settings.omit, settings.frames) == ("t=3 p=4 c=2 z=3", (), None)
        blank = {"grid_row": None, "grid_column": None}
        assert settings.positions[:3] == tuple(
            evolve(Position(name=name, x_coord=x, y_coord=y, z_coord=z), **blank)
            for name, x, y, z in [("0_g0000", -4, 2, 3), ("0_g0001", 6, 2, 3), ("B_g0000", 5, 0, None)]
        )

    def test_a_sequence_within(self) -> None:
        inner = v2.MDASequence(value=v2.Position(x=1, name="deep"), axes=(v2.ZRangeAround(**PLANES),))
        settings = converted(v2.MDASequence(stage_positions=[(0, 0), inner], channels=["A"]))
        assert (sizes(settings), own(settings)) == ("p=2 c=1 z=3", [{"z": 1}, {}])
        assert [place.name for place in settings.positions] == ["0", "deep"]

    def test_an_axis_of_somebody_else(self) -> None:
        class Odd(v2.SimpleValueAxis[int]):
            def should_skip(self, prefix: Any) -> bool:
                return prefix["q"][0] % 2 == 0

        settings = converted(v2.MDASequence(axes=(Odd(axis_key="q", values=[5, 6, 7, 8]),)))
        assert settings.frames.index.tolist() == [[1], [3]]

    def test_events_that_are_changed_when_they_are_made(self) -> None:
        class Twice:
            def __call__(self, event: Any, *, prev_event: Any, make_next_event: Any) -> list[Any]:
                return [event, event]

        seq = v2.MDASequence(time_plan=TIMES, transforms=(Twice(),))
        assert sizes(converted(seq)) == "repeat=2 t=3"

    @pytest.mark.parametrize("plan", [{"interval": 1}, {"interval": 0, "duration": 3}])
    def test_time_without_end(self, plan: dict[str, Any]) -> None:
        assert sizes(converted(v2.MDASequence(time_plan=v2.TIntervalDuration(**plan), channels=["A"]))) == "t=None c=1"

    def test_time_without_end_and_a_sequence_within(self) -> None:
        inner = v2.MDASequence(value=v2.Position(x=1), axes=(v2.ZRangeAround(**PLANES),))
        seq = v2.MDASequence(time_plan=v2.TIntervalDuration(interval=1), stage_positions=[inner])
        with pytest.raises(NotImplementedError, match=r"time_plan: has no end, .* a sequence within 'p'; give it a"):
            converted(seq)

    def test_an_axis_without_items(self) -> None:
        with pytest.raises(NotImplementedError, match="no event takes an image"):
            converted(v2.MDASequence(axes=(v2.SimpleValueAxis(axis_key="q", values=[]),)))

    def test_a_sequence_of_nothing_is_one_frame(self) -> None:
        assert converted(v2.MDASequence()).num_frames == len(list(v2.MDASequence())) == 1

    def test_events_that_take_no_image(self) -> None:
        class Never(v2.SimpleValueAxis[int]):
            def should_skip(self, prefix: Any) -> bool:
                return True

        with pytest.raises(NotImplementedError, match="events: none takes an image"):
            converted(v2.MDASequence(axes=(Never(axis_key="q", values=[1]),)))

    def test_what_only_its_events_know(self) -> None:
        class Builder(type(v2.MDASequence().event_builder)):  # type: ignore[misc]
            pass

        seq = v2.MDASequence(channels=["A"], event_builder=Builder())
        assert converted(seq).frames.index.tolist() == [[0]]
        points = v2.RandomPoints(num_points=3, random_seed=None)
        assert converted(v2.MDASequence(axes=(points,))).num_frames == 3
