"""What a hardware controller is told of a plan: columns, cycles, changes, costs and files, on examples one can read."""

from __future__ import annotations

import csv
import re
import time
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from ome_writers import (
    AcquisitionSettings,
    Channel,
    Dimension,
    Plan,
    PlanError,
    Position,
    SettingsError,
    compile,
    cost,
    cycles,
    save_triggers,
)
from ome_writers.order import Loop, Segment

TIMES = Dimension(name="t", count=3, scale=250, unit="ms")
CHANNELS = Dimension(name="c", coords=["DAPI", "GFP"])
PLANES = Dimension(name="z", count=3, scale=0.5, translation=-0.5, unit="um")
FIELDS = Dimension(
    name="p",
    coords=[
        Position(name="A", x_coord=0, y_coord=0, z_coord=7),
        Position(name="B", x_coord=3, y_coord=4, z_coord=9),
        Position(name="C", x_coord=3, y_coord=100, z_coord=9),
    ],
)
FRAME = (Dimension(name="y", count=4, unit="um"), Dimension(name="x", count=4, unit="um"))


def plan_of(*dims: Dimension, root: str = "a.ome.zarr", frame: tuple[Dimension, ...] = FRAME) -> Plan:
    return compile(AcquisitionSettings(root_path=root, dtype="uint8", dimensions=[*dims, *frame]))


def columns(table: Any, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].tolist() for name in names), strict=True))


class TestTriggers:
    def test_every_column(self) -> None:
        table = plan_of(TIMES, FIELDS, CHANNELS, PLANES).triggers(exposure={"GFP": 0.2})
        expected = [
            (p, 0.25 * t, *[(0, 0), (3, 4), (3, 100)][p], (7, 9, 9)[p] - 0.5 + 0.5 * z, c, 0, (nan, 0.2)[c])
            for t in range(3)
            for p in range(3)
            for c in range(2)
            for z in range(3)
        ]
        names = ("position", "time", "x", "y", "z", "channel", "camera", "exposure")
        assert table["frame"].tolist() == list(range(54))
        # Not even the last bit is off: these are the numbers that a person would write.
        assert np.array_equal(np.array(columns(table, *names)), np.array(expected), equal_nan=True)

    def test_one_frame_of_which_nothing_is_known(self) -> None:
        table = plan_of().triggers()
        assert columns(table, "frame", "position", "channel", "camera") == [(0, 0, 0, 0)]
        assert all(isnan(table[0][name]) for name in ("time", "x", "y", "z", "exposure"))

    @pytest.mark.parametrize(("names", "unit"), [("yx", "mm"), ("xy", "nm")])
    def test_units_are_those_of_the_axes_by_their_names(self, names: str, unit: str) -> None:
        size = {"mm": 1000, "nm": 0.001}[unit]
        frame = tuple(Dimension(name=name, count=4, unit=unit if name == "x" else None) for name in names)
        table = plan_of(FIELDS, frame=frame).triggers()
        assert table["y"].tolist() == [0, 4, 100]
        assert table["x"].tolist() == [0, 3 * size, 3 * size]
        assert table["z"].tolist() == pytest.approx([7 * size, 9 * size, 9 * size])  # there is no axis of its own

    def test_depths_are_in_the_unit_of_the_planes(self) -> None:
        table = plan_of(FIELDS, evolve(PLANES, unit="nm", translation=0)).triggers()
        assert table["z"].tolist() == [0.007, 0.0075, 0.008, *[0.009, 0.0095, 0.01] * 2]

    def test_depths_of_planes_that_nobody_knows(self) -> None:
        assert np.isnan(plan_of(FIELDS, Dimension(name="z", count=2)).triggers()["z"]).all()
        assert plan_of(FIELDS, Dimension(name="z", count=1)).triggers()["z"].tolist() == [7, 9, 9]
        assert plan_of(Dimension(name="z", count=1, translation=5)).triggers()["z"].tolist() == [5]
        assert np.isnan(plan_of(Dimension(name="z", count=2, translation=5)).triggers()["z"]).all()

    def test_times_within_times_add_up(self) -> None:
        burst = Dimension(name="burst", type="time", coords=[0, 1, 5], unit="ms")
        assert plan_of(evolve(TIMES, count=2), burst).triggers()["time"].tolist() == [
            0,
            0.001,
            0.005,
            0.25,
            0.251,
            0.255,
        ]

    def test_a_million_steps_do_not_drift(self) -> None:
        plan = plan_of(Dimension(name="t", scale=0.1, unit="s"))
        assert plan.triggers(1_000_000, 1_000_001)["time"].tolist() == [100_000.0]
        assert sum([0.1] * 1_000_000) != 100_000.0

    def test_what_is_too_large_to_count_is_not_known(self) -> None:
        parsec = tuple(Dimension(name=name, count=4, unit="parsec") for name in "yx")
        assert np.isnan(plan_of(FIELDS, frame=parsec).triggers()["x"]).tolist() == [False, True, True]
        endless = plan_of(Dimension(name="t", scale=30, unit="day"))
        assert endless.triggers(1000, 1001)["time"].tolist() == [30_000 * 86_400]
        with pytest.raises(IndexError, match="146 years and 4,600 km, which 't' leaves"):
            endless.triggers(10_000_000, 10_000_001)

    def test_channels_without_end_are_no_channels(self) -> None:
        plan = plan_of(Dimension(name="c", type="channel"))
        assert plan.triggers(0, 3)["channel"].tolist() == [0, 0, 0]
        assert [cycle.repeats for cycle in plan.cycles()] == [None]

    def test_a_part_keeps_the_numbers_of_its_frames(self) -> None:
        plan = plan_of(TIMES, CHANNELS)
        assert columns(plan.select(c="GFP").triggers(), "frame", "time") == [(1, 0.0), (3, 0.25), (5, 0.5)]


class TestExposure:
    def test_one_for_all(self) -> None:
        assert plan_of(CHANNELS).triggers(exposure=0.1)["exposure"].tolist() == [0.1, 0.1]
        assert plan_of(CHANNELS).cycles(exposure=0.1)[0].rows["exposure"].tolist() == [0.1, 0.1]

    def test_channels_have_their_own(self) -> None:
        channels = evolve(CHANNELS, coords=[Channel(name="A", exposure_time=0.02, z_offset=100), "B"])
        field = evolve(FIELDS, coords=[Position(name="P", z_coord=7)], count=1)
        plan = plan_of(TIMES, field, channels, evolve(PLANES, unit="nm", translation=0, scale=10, count=2))
        table = plan.triggers()
        assert table["z"][:4].tolist() == [0.107, 0.117, 0.007, 0.017]
        assert np.array_equal(table["exposure"], [0.02, 0.02, nan, nan] * 3, equal_nan=True)
        assert plan.triggers(exposure={"A": 1})["exposure"][:2].tolist() == [1, 1]
        [cycle] = plan.cycles()
        assert (len(cycle.rows), cycle.repeats) == (4, 3)
        assert cost(plan).z_travel == pytest.approx(3 * (0.01 + 0.11 + 0.01) + 2 * 0.09)

    def test_what_a_list_says_goes_before(self) -> None:
        channels = evolve(
            CHANNELS, coords=[Channel(name="A", exposure_time=0.02), Channel(name="B", exposure_time=0.5)]
        )
        listed = {"index": [[0, 1], [0, 0], [1, 1]], "exposure_time": [0.1, None, None]}
        plan = compile(AcquisitionSettings(dtype="uint8", dimensions=[TIMES, channels, *FRAME], frames=listed))
        assert plan.triggers()["exposure"].tolist() == [0.1, 0.02, 0.5]

    def test_times_of_no_interval_can_be_looped(self) -> None:
        [cycle] = plan_of(Dimension(name="t", coords=[2] * 1000, unit="s"), CHANNELS).cycles()
        assert (cycle.rows["time"].tolist(), cycle.repeats, float(cycle.step["time"])) == ([2, 2], 1000, 0)

    def test_none_named(self) -> None:
        assert np.isnan(plan_of(Dimension(name="c", count=2)).triggers(exposure={})["exposure"]).all()

    @pytest.mark.parametrize(
        ("exposure", "said"),
        [
            ({"DAPI": 1, "RFP": 1}, "exposure.RFP: must be one of the channels ['DAPI', 'GFP']; got 'RFP'"),
            ({"DAPI": -1}, "exposure.DAPI: must be a number of seconds, at least 0; got -1"),
            (nan, "exposure: must be a number of seconds, at least 0; got nan"),
            ("long", "exposure: must be a number of seconds, at least 0; got 'long'"),
        ],
    )
    def test_what_cannot_be(self, exposure: Any, said: str) -> None:
        for ask in (plan_of(CHANNELS).triggers, plan_of(CHANNELS).cycles):
            with pytest.raises(PlanError, match=f"^{re.escape(said)}$"):
                ask(exposure=exposure)


class TestCycles:
    def test_a_time_lapse_is_its_first_time_point(self) -> None:
        [cycle] = plan_of(evolve(TIMES, count=1000), FIELDS, CHANNELS, PLANES).cycles()
        assert (len(cycle.rows), cycle.repeats) == (18, 1000)
        step = {name: cycle.step[name].item() for name in cycle.rows.dtype.names}
        still = dict.fromkeys(("position", "x", "y", "z", "channel", "camera"), 0)
        assert {**step, "exposure": 0} == {"frame": 18, "time": 0.25, "exposure": 0, **still}

    @pytest.mark.parametrize("most", [cycles._MOST, 4])  # noqa: SLF001 - rows that are written out to look for more
    def test_positions_that_are_watched_in_turn_are_a_cycle_each(
        self, most: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cycles, "_MOST", most)
        found = plan_of(FIELDS, evolve(TIMES, count=1000), CHANNELS, PLANES).cycles()
        assert [(len(cycle.rows), cycle.repeats, cycle.rows["x"][0]) for cycle in found] == [
            (6, 1000, 0.0),
            (6, 1000, 3.0),
            (6, 1000, 3.0),
        ]

    def test_an_even_stack_is_one_row(self) -> None:
        [cycle] = plan_of(evolve(PLANES, count=100)).cycles()
        assert (len(cycle.rows), cycle.repeats, cycle.step["z"]) == (1, 100, 0.5)

    @pytest.mark.parametrize("most", [cycles._MOST, 4])  # noqa: SLF001 - rows that are written out to look for more
    def test_two_long_stacks_are_two_rows(self, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cycles, "_MOST", most)
        found = plan_of(evolve(TIMES, count=2), evolve(PLANES, count=100)).cycles()
        assert [(cycle.rows["time"].tolist(), cycle.repeats) for cycle in found] == [([0.0], 100), ([0.25], 100)]

    def test_phases_of_a_time_lapse(self) -> None:
        times = Dimension(name="t", coords=[*range(10), *range(20, 100, 10)], unit="s")
        uneven = Dimension(name="z", coords=[0, 1, 5, 7, 20, 22, 50, 61], unit="um")
        found = plan_of(times, uneven).cycles()
        assert [(len(cycle.rows), cycle.repeats, cycle.step["time"]) for cycle in found] == [(8, 10, 1.0), (8, 8, 10.0)]

    def test_a_snake_is_two_rounds(self) -> None:
        uneven = Dimension(name="z", coords=[0, 1, 5, 7], unit="um", snake=True)
        [cycle] = plan_of(Dimension(name="t", scale=1, unit="s"), uneven).cycles()
        assert cycle.rows["z"].tolist() == [0, 1, 5, 7, 7, 5, 1, 0]
        assert (cycle.repeats, cycle.step["time"]) == (None, 2.0)
        assert columns(cycle.expanded(2)[8:10], "frame", "time", "z") == [(8, 2.0, 0.0), (9, 2.0, 1.0)]
        with pytest.raises(IndexError, match="say how many"):
            cycle.expanded()

    def test_rows_that_do_not_repeat_are_a_cycle_of_their_own(self) -> None:
        places = np.random.default_rng(0).uniform(0, 1000, (40, 2)).tolist()
        coords = [Position(name=str(number), x_coord=x, y_coord=y) for number, (x, y) in enumerate(places)]
        [cycle] = plan_of(Dimension(name="p", coords=coords)).cycles()
        assert (len(cycle.rows), cycle.repeats) == (40, 1)

    def test_a_body_that_each_turn_changes(self) -> None:
        # The positions of a turn are not those of the turn before, moved: the plan comes from somewhere else.
        plan = plan_of(
            evolve(FIELDS, coords=[*FIELDS.coords, Position(name="D", x_coord=-50, y_coord=1, z_coord=1)], count=4)
        )
        turned = evolve(plan, segments=(Segment(plan.table[:2], (Loop(2, 2, 2, 2, ()),)),))
        assert turned.table.tobytes() == plan.table.tobytes()
        assert np.concatenate([cycle.expanded() for cycle in turned.cycles()]).tobytes() == plan.triggers().tobytes()
        assert cost(turned) == cost(plan)

    def test_nothing_has_none(self) -> None:
        assert plan_of(TIMES).rest(3).cycles() == ()
        assert cost(plan_of(TIMES).rest(3)).frames == 0

    def test_ten_million_frames_take_no_time(self) -> None:
        plan = plan_of(evolve(TIMES, count=100_000), evolve(FIELDS), CHANNELS, evolve(PLANES, count=17))
        start = time.perf_counter()
        [cycle], found = plan.cycles(), cost(plan)
        assert time.perf_counter() - start < 1
        assert (len(cycle.rows), cycle.repeats) == (102, 100_000)
        assert (found.frames, found.channel_changes) == (10_200_000, 599_999)


class TestChanges:
    def test_what_moves(self) -> None:
        found = plan_of(evolve(TIMES, count=2), FIELDS, CHANNELS).changes()
        names = ("time", "x", "y", "z", "channel", "camera", "path", "travel")
        channel = (False, False, False, False, True, False, 0, 0)
        out = (False, True, True, True, True, False, 5, 2)
        on = (False, False, True, False, True, False, 96, 0)
        back = (True, True, True, True, True, False, pytest.approx(np.hypot(3, 100)), 2)
        nothing = (*[False] * 6, 0, 0)
        assert columns(found, *names) == [
            nothing, channel, out, channel, on, channel,
            back, channel, out, channel, on, channel,
        ]  # fmt: skip

    def test_places_that_nobody_knows_differ(self) -> None:
        plan = plan_of(evolve(FIELDS, coords=[Position(name="A", z_coord=1), Position(name="B"), Position(name="C")]))
        found = plan.changes()
        assert columns(found, "x", "y", "z") == [(False, False, False), (True, True, True), (True, True, False)]
        assert np.isnan(found["path"]).tolist() == [False, True, True]
        assert np.isnan(found["travel"]).tolist() == [False, True, False]

    def test_the_first_of_a_stretch_has_one_before_it(self) -> None:
        assert plan_of(CHANNELS).changes(1, 2)["channel"].tolist() == [True]
        assert plan_of(CHANNELS).changes(1, 1).tolist() == []


class TestCost:
    def test_orders_differ(self) -> None:
        by_channel, by_plane = plan_of(FIELDS, CHANNELS, PLANES), plan_of(FIELDS, PLANES, CHANNELS)
        assert (cost(by_channel).channel_changes, cost(by_plane).channel_changes) == (5, 17)
        assert cost(by_channel).stage_path == cost(by_plane).stage_path == 101
        # Up twice and down between, against up once; then to the next position.
        assert cost(by_channel).z_travel == 3 * (1 + 1 + 1) + abs(9 - 0.5 - 7.5) + 1
        assert cost(by_plane).z_travel == 3 * 1 + abs(9 - 0.5 - 7.5) + 1

    def test_as_text(self) -> None:
        unknown = evolve(FIELDS, coords=[Position(name="A", z_coord=1), Position(name="B", z_coord=2.5)], count=2)
        assert str(cost(plan_of(evolve(TIMES, count=100), unknown))).splitlines() == [
            "frames           200",
            "time points       99",
            "stage moves      199  of unknown length",
            "z moves          199  298.5 µm",
            "channel changes    0",
            "camera changes     0",
        ]

    def test_one_frame_of_an_unknown_place_costs_nothing(self) -> None:
        found = cost(plan_of(evolve(FIELDS, coords=[Position(name="A")], count=1), evolve(TIMES, count=5)))
        assert (found.stage_moves, found.stage_path) == (0, 0)


class TestFiles:
    def test_csv(self, tmp_path: Path) -> None:
        plan = plan_of(TIMES, FIELDS, CHANNELS)
        save_triggers(plan, tmp_path / "a.CSV", exposure={"DAPI": 0.01})
        with (tmp_path / "a.CSV").open(encoding="utf-8", newline="") as file:
            head, *lines = csv.reader(file)
        assert head[:4] == ["frame", "position", "time (s)", "x (µm)"]
        read = np.array([[float(cell or "nan") for cell in line] for line in lines])
        table = plan.triggers(exposure={"DAPI": 0.01})
        assert [name.partition(" ")[0] for name in head] == list(table.dtype.names)
        assert np.array_equal(read, np.array(table.tolist()), equal_nan=True)
        assert b"\r" not in (tmp_path / "a.CSV").read_bytes()

    def test_csv_of_many_rows(self, tmp_path: Path) -> None:
        plan = plan_of(evolve(TIMES, count=70_000))
        save_triggers(plan, tmp_path / "a.csv")
        lines = (tmp_path / "a.csv").read_text("utf-8").splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == [str(number) for number in range(70_000)]

    def test_npy(self, tmp_path: Path) -> None:
        plan = plan_of(TIMES, FIELDS, CHANNELS)
        save_triggers(plan, tmp_path / "a.npy", exposure=0.1)
        assert np.load(tmp_path / "a.npy").tobytes() == plan.triggers(exposure=0.1).tobytes()

    def test_what_cannot_be(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"ends in \.csv or \.npy; got .*a\.txt"):
            save_triggers(plan_of(TIMES), tmp_path / "a.txt")
        with pytest.raises(
            PlanError, match=r"^dimensions\.0\.count: a plan without end has no whole table of triggers"
        ):
            save_triggers(plan_of(evolve(TIMES, count=None)), tmp_path / "a.csv")
        with pytest.raises(PlanError, match="must be one of the channels"):
            save_triggers(plan_of(TIMES), tmp_path / "a.csv", exposure={"DAPI": 1})
        assert list(tmp_path.iterdir()) == []
