"""What settings say of regular useq sequences, and the reasons for which a few are refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import useq
import zarr
from useq import v2

from ome_writers import AcquisitionSettings, Channel, Dimension, SettingsError, compile, write
from ome_writers.useq import IrregularSequenceError, dims_from_useq, useq_to_acquisition_settings

GRID = {"rows": 1, "columns": 2, "fov_width": 10, "fov_height": 10}
"""Points at x = -5 and x = 5."""


def dimensions(**given: Any) -> list[Dimension]:
    """Return the dimensions of a sequence, but not those of a frame."""
    return converted(useq.MDASequence(**given))["dimensions"][:-2]


def converted(seq: useq.MDASequence, **given: Any) -> dict[str, Any]:
    return dict(useq_to_acquisition_settings(seq, image_width=8, image_height=4, **given))


def sizes(dims: list[Dimension]) -> str:
    return " ".join(f"{dim.name}={dim.count}" for dim in dims)


def positions(**given: Any) -> list[dict[str, Any]]:
    """Return what is known of each position."""
    (places,) = [dim.coords for dim in dimensions(**given) if dim.type == "position"]
    fields = ("name", "plate_row", "plate_column", "grid_row", "grid_column", "x_coord", "y_coord", "z_coord")
    return [{f: getattr(p, f) for f in fields if getattr(p, f) is not None} for p in places or ()]


class TestLoops:
    """Dimensions stand in the order in which events run."""

    def test_order_is_that_of_the_sequence(self) -> None:
        dims = dimensions(
            axis_order="pctz",
            stage_positions=[(0, 0), (1, 1)],
            channels=["A", "B", "C"],
            time_plan={"interval": 1, "loops": 4},
            z_plan={"range": 4, "step": 1},
        )
        assert sizes(dims) == "p=2 c=3 t=4 z=5"

    def test_axes_that_are_not_gone_through_are_no_loops(self) -> None:
        assert sizes(dimensions(axis_order="tc", channels=["A"], stage_positions=[(0, 0)])) == "c=1"

    def test_the_dimensions_of_a_frame_come_last(self) -> None:
        found = converted(useq.MDASequence(channels=["A"]), pixel_size_um=0.25)
        told = [(dim.name, dim.count, dim.scale, dim.unit) for dim in found["dimensions"]]
        assert told[1:] == [("y", 4, 0.25, "micrometer"), ("x", 8, 0.25, "micrometer")]
        assert found["plate"] is None

    def test_a_common_grid_runs_where_the_sequence_says(self) -> None:
        dims = dimensions(stage_positions=[(0, 0), (9, 9)], grid_plan=GRID, channels=["A", "B"])
        assert (sizes(dims), dims[0].tours) == ("p=4 c=2", None)

    def test_the_grid_of_a_sub_sequence_runs_innermost(self) -> None:
        place = useq.Position(x=0, y=0, sequence={"grid_plan": GRID})
        assert sizes(dimensions(stage_positions=[place], channels=["A", "B"], z_plan={"range": 2, "step": 1})) == (
            "c=2 z=3 p=2"
        )

    def test_positions_with_and_without_a_grid_go_in_tours(self) -> None:
        places = [useq.Position(x=0, y=0), useq.Position(x=9, y=9, sequence={"grid_plan": GRID})]
        dims = dimensions(stage_positions=places, channels=["A", "B"], z_plan={"range": 2, "step": 1})
        assert (sizes(dims), dims[0].tours, dims[0].tours_within) == ("p=3 c=2 z=3", (1, 2), "z")

    def test_a_position_with_an_empty_sub_sequence_takes_the_first_channel_only(self) -> None:
        dims = dimensions(stage_positions=[useq.Position(x=0, sequence={})], channels=["A", "B"])
        assert dims[1] == Dimension(name="c", coords=["A"])

    def test_a_sub_sequence_may_bring_loops_of_its_own_if_all_have_the_same(self) -> None:
        sub = {"z_plan": {"relative": [1, 5]}, "channels": ["B", "A"], "axis_order": "zc"}
        places = [useq.Position(x=0, z=10, sequence=sub), useq.Position(x=1, z=20, sequence=sub)]
        dims = dimensions(stage_positions=places, channels=["X", "Y"])
        assert sizes(dims) == "p=2 z=2 c=2"
        assert [channel.name for channel in dims[2].coords or () if isinstance(channel, Channel)] == ["B", "A"]

    def test_a_time_plan_without_end(self) -> None:
        plans: list[Any] = [
            {"interval": 0, "duration": 5},
            [{"interval": 1, "loops": 3}, {"interval": 0, "duration": 5}],
        ]
        for plan in plans:
            dims = dimensions(time_plan=plan, channels=["A", "B"])
            assert sizes(dims) == "t=None c=2"
            assert dims[0].scale is None

    def test_one_without_end_is_the_first(self) -> None:
        endless = {"interval": 0, "duration": 5}
        assert sizes(dimensions(axis_order="cpt", channels=["A"], stage_positions=[(0, 0)], time_plan=endless)) == (
            "t=None c=1 p=1"
        )


class TestValues:
    """What is known of channels, times and planes."""

    @pytest.mark.parametrize(
        ("plan", "scale", "translation", "coords"),
        [
            ({"range": 4, "step": 2}, 2, -2, None),
            ({"above": 4, "below": 0, "step": 2}, 2, None, None),
            ({"bottom": 10, "top": 11, "step": 0.1}, 0.1, 10, None),
            ({"range": 4, "step": 2, "go_up": False}, None, None, (2, 0, -2)),
            ({"relative": [0, 1, 5]}, None, None, (0, 1, 5)),
            ({"absolute": [3.5, 4.5]}, 1, 3.5, None),
            ({"range": 0, "step": 2}, 2, None, None),
            ({"absolute": [7]}, None, None, (7,)),
        ],
    )
    def test_planes(
        self, plan: dict[str, Any], scale: float | None, translation: float | None, coords: tuple[float, ...] | None
    ) -> None:
        (dim,) = dimensions(z_plan=plan)
        assert (dim.scale, dim.translation, dim.coords, dim.unit) == (scale, translation, coords, "micrometer")

    @pytest.mark.parametrize(
        ("plan", "scale", "coords"),
        [
            ({"interval": 0.5, "loops": 3}, 0.5, None),
            ({"interval": 0, "loops": 3}, None, (0, 0, 0)),
            ({"duration": 6, "loops": 4}, 2, None),
            ({"interval": {"minutes": 1}, "loops": 1}, 60, None),
            ([{"interval": 1, "loops": 3}, {"interval": 10, "loops": 3}], None, (0, 1, 2, 12, 22)),
            ([{"interval": 2, "loops": 3}, {"interval": 2, "loops": 2}], 2, None),
        ],
    )
    def test_times(self, plan: Any, scale: float | None, coords: tuple[float, ...] | None) -> None:
        (dim,) = dimensions(time_plan=plan)
        assert (dim.scale, dim.coords, dim.unit) == (scale, coords, "second")

    def test_an_interval_that_goes_on_without_end(self) -> None:
        found = converted(v2.MDASequence(time_plan=v2.TIntervalDuration(interval=2)), units={"c": (1, "um")})
        assert (found["dimensions"][0].count, found["dimensions"][0].scale) == (None, 2)

    def test_times_of_no_interval_have_the_one_that_is_given(self) -> None:
        seq = useq.MDASequence(time_plan={"interval": 0, "loops": 3})
        time = converted(seq, units={"t": (50, "ms")})["dimensions"][0]
        assert (time.scale, time.unit, time.coords) == (50, "millisecond", None)

    def test_exposures_and_offsets_of_channels(self) -> None:
        channels = [{"config": "A", "exposure": 33.1, "z_offset": 1.5}, {"config": "B", "exposure": 20}, "C"]
        seq = useq.MDASequence(channels=channels, z_plan={"relative": [0, 2]}, stage_positions=[(0, 0, 10)])
        found = [
            {"name": "A", "exposure_time": 0.0331, "z_offset": 1500},
            {"name": "B", "exposure_time": 0.02},
            {"name": "C"},
        ]
        dims = converted(seq, units={"z": (2000, "nm")})["dimensions"]
        assert dims[1].coords == tuple(Channel(**one) for one in found)
        plan = compile(AcquisitionSettings(dtype="uint8", format="scratch", dimensions=dims))
        assert plan.triggers()["z"].tolist() == [event.z_pos for event in seq] == [11.5, 13.5, 10, 12, 10, 12]

    def test_offsets_are_of_planes(self) -> None:
        channel = {"config": "A", "z_offset": 1.5}
        assert dimensions(channels=[channel], stage_positions=[(0, 0, 10)])[1].coords == (Channel(name="A"),)

    def test_channels_of_one_name(self) -> None:
        found = dimensions(
            channels=[
                {"config": "A", "group": "Cube"},
                {"config": "A", "group": "Laser"},
                "B",
                {"config": "A", "group": "Cube", "exposure": 5},
            ]
        )
        assert [channel.name for channel in found[0].coords or () if isinstance(channel, Channel)] == [
            *("A (Cube)", "A (Laser)", "B", "A (Cube)_1")
        ]

    def test_units_are_the_callers(self) -> None:
        seq = useq.MDASequence(
            time_plan={"interval": 1, "loops": 2},
            z_plan={"relative": [0, 1, 5]},
            stage_positions=[(1, 2, 3)],
            axis_order="tpz",
        )
        units = {"t": (50, "ms"), "z": (1000, "nm"), "x": (65, "nm"), "y": None}
        t, p, z, y, x = converted(seq, units=units, pixel_size_um=0.1)["dimensions"]
        assert [(dim.scale, dim.unit) for dim in (t, z, y, x)] == [
            (50, "millisecond"),
            (1000, "nanometer"),
            (0.1, "micrometer"),
            (65, "nanometer"),
        ]
        # Coordinates are in the unit of their axis.
        assert z.coords == (0, 1000, 5000)
        assert (p.coords[0].x_coord, p.coords[0].y_coord, p.coords[0].z_coord) == (1000, 2, 3000)

    def test_chunks_and_shards(self) -> None:
        seq = useq.MDASequence(channels=["A", "B"], stage_positions=[(0, 0)])
        found = converted(seq, chunk_shapes={"c": 2, "y": 2, "p": 7}, shard_shapes={"x": 2})["dimensions"]
        assert [(dim.chunk_size, dim.shard_size_chunks) for dim in found] == [
            (None, None),
            (2, None),
            (2, None),
            (None, 2),
        ]

    @pytest.mark.parametrize("size", [None, 0, float("nan")])
    def test_a_pixel_size_that_nobody_knows(self, size: float | None) -> None:
        dims = converted(useq.MDASequence(channels=["A"]), pixel_size_um=size)["dimensions"]
        assert [dim.scale for dim in dims[1:]] == [None, None]

    def test_a_negative_pixel_size(self) -> None:
        with pytest.warns(UserWarning, match="-1 is left out"):
            found = converted(useq.MDASequence(channels=["A"]), pixel_size_um=-1)
        assert found["dimensions"][1].scale is None


class TestPositions:
    """Where positions are, and what they are called."""

    def test_stage_positions(self) -> None:
        assert positions(stage_positions=[(1, 2, 3), useq.Position(x=4, name="here")]) == [
            {"name": "0", "x_coord": 1, "y_coord": 2, "z_coord": 3},
            {"name": "here", "x_coord": 4},
        ]

    def test_names_that_come_again(self) -> None:
        places = [useq.Position(x=place, name=name) for place, name in enumerate(["A", "A", "A_1", "A"])]
        assert [place["name"] for place in positions(stage_positions=places)] == ["A", "A_2", "A_1", "A_3"]

    def test_absolute_planes_are_not_around_the_position(self) -> None:
        assert positions(stage_positions=[(1, 2, 3)], z_plan={"absolute": [7, 8]}) == [
            {"name": "0", "x_coord": 1, "y_coord": 2}
        ]

    def test_a_grid_around_positions(self) -> None:
        assert positions(stage_positions=[(100, 0), (200, 50)], grid_plan=GRID) == [
            {"name": "0", "grid_row": 0, "grid_column": 0, "x_coord": 95, "y_coord": 0},
            {"name": "0", "grid_row": 0, "grid_column": 1, "x_coord": 105, "y_coord": 0},
            {"name": "1", "grid_row": 0, "grid_column": 0, "x_coord": 195, "y_coord": 50},
            {"name": "1", "grid_row": 0, "grid_column": 1, "x_coord": 205, "y_coord": 50},
        ]

    def test_a_grid_alone(self) -> None:
        edges = useq.GridFromEdges(top=10, bottom=0, left=0, right=20, fov_width=10, fov_height=10)
        assert positions(grid_plan=edges) == [
            {"name": "0000", "grid_row": 0, "grid_column": 0, "x_coord": 5, "y_coord": 5},
            {"name": "0001", "grid_row": 0, "grid_column": 1, "x_coord": 15, "y_coord": 5},
        ]

    def test_random_points(self) -> None:
        seeded = useq.RandomPoints(num_points=2, random_seed=3, order=None)
        first, second = seeded
        assert positions(stage_positions=[(10, 20)], grid_plan=seeded) == [
            {"name": "0_g0000", "x_coord": 10 + first.x, "y_coord": 20 + first.y},
            {"name": "0_g0001", "x_coord": 10 + second.x, "y_coord": 20 + second.y},
        ]

    def test_points_of_chance_have_no_coordinates(self) -> None:
        places = [useq.Position(x=1, y=2, name="A"), useq.Position(x=3, y=4)]
        assert positions(stage_positions=places, grid_plan={"num_points": 1}) == [
            {"name": "A_p0000_g0000"},
            {"name": "1_p0001_g0000"},
        ]

    def test_a_well_plate(self) -> None:
        plan = useq.WellPlatePlan(
            plate="96-well", a1_center_xy=(0, 0), selected_wells=([0, 2], [0, 1]), well_points_plan=GRID
        )
        seq = useq.MDASequence(stage_positions=plan)
        plate = converted(seq)["plate"]
        assert (plate.row_names, plate.column_names[-1], plate.name) == (tuple("ABCDEFGH"), "12", "96-well")
        assert positions(stage_positions=plan) == [
            {"name": name, "plate_row": row, "plate_column": column, "grid_row": 0, "grid_column": cell,
             "x_coord": x, "y_coord": y, "z_coord": 0}
            for name, row, column, cell, x, y in [
                ("fov0", "A", "1", 0, -5, 0), ("fov1", "A", "1", 1, 5, 0),
                ("fov0", "C", "2", 0, 8995, -18000), ("fov1", "C", "2", 1, 9005, -18000),
            ]
        ]  # fmt: skip

    def test_a_well_that_is_visited_twice(self) -> None:
        plan = useq.WellPlatePlan(plate="6-well", a1_center_xy=(0, 0), selected_wells=([1, 1], [2, 2]))
        assert [(p["name"], p["plate_row"], p["plate_column"]) for p in positions(stage_positions=plan)] == [
            ("fov0", "B", "3"),
            ("fov1", "B", "3"),
        ]

    def test_rows_beyond_z(self) -> None:
        plan = useq.WellPlatePlan(plate="1536-well", a1_center_xy=(0, 0), selected_wells=([31], [47]))
        found = converted(useq.MDASequence(stage_positions=plan))
        assert found["plate"].row_names[25:28] == ("Z", "AA", "AB")
        assert found["dimensions"][0].coords[0].plate_row == "AF"

    def test_a_plate_that_only_the_positions_know_of(self) -> None:
        places = [useq.Position(x=0, plate_row=1, plate_col=0), useq.Position(x=1, plate_row=0, plate_col=2)]
        plate = converted(useq.MDASequence(stage_positions=places))["plate"]
        assert (plate.row_names, plate.column_names, plate.name) == (("A", "B"), ("1", "2", "3"), None)

    def test_no_plate_if_a_position_has_no_well(self) -> None:
        places = [useq.Position(x=0, plate_row=1, plate_col=0), useq.Position(x=1, plate_row=3)]
        assert converted(useq.MDASequence(stage_positions=places))["plate"] is None


REFUSED = [
    (
        {"channels": [{"config": "B", "do_stack": False}], "z_plan": {"range": 2, "step": 1}, "axis_order": "tc"},
        "z_plan: has no planes, or 'z' is not in axis_order, but a channel asks for one",
    ),
    (
        {"channels": ["A", "B"], "time_plan": {"interval": 0, "duration": 3}, "axis_order": "ct"},
        "axis_order: must begin with 't', since the time plan has no end",
    ),
    (
        {
            "stage_positions": [(0, 0), useq.Position(sequence={"time_plan": {"interval": 1, "loops": 2}})],
            "time_plan": {"interval": 0, "duration": 3},
        },
        "time_plan: has no end, which cannot be planned together with a sub-sequence loops over 't'",
    ),
    (
        {"time_plan": {"duration": 3, "loops": 1}},
        "time_plan: has a duration, but a single time point: useq cannot run it",
    ),
    (
        {"stage_positions": [useq.Position(x=1, sequence={"z_plan": {"range": 2, "step": 1}, "axis_order": "t"})]},
        "stage_positions: yield no frames",
    ),
    ({}, "no event takes an image, since no axis has items"),
    ({"channels": ["A"], "axis_order": "tz"}, "no event takes an image"),
]


class TestRefusals:
    """What nobody can plan is refused with the reason and its place."""

    @pytest.mark.parametrize(("given", "message"), REFUSED)
    def test_reasons(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(IrregularSequenceError) as caught:
            dimensions(**given)
        assert str(caught.value).startswith(message)
        assert len(caught.value.problems) == 1

    def test_callers_of_0_3_catch_what_they_caught(self) -> None:
        # pymmcore-plus goes on with a flat stack of frames then.
        with pytest.raises(NotImplementedError):
            dimensions(**REFUSED[0][0])
        assert issubclass(IrregularSequenceError, SettingsError)

    @pytest.mark.parametrize("strange", [None, [], {"channels": ["A"]}])
    def test_no_sequence(self, strange: Any) -> None:
        with pytest.raises(SettingsError, match=r"seq: must be a useq\.MDASequence; got"):
            converted(strange)

    def test_an_impossible_frame(self) -> None:
        with pytest.raises(SettingsError, match="count: must be at least 1; got 0"):
            useq_to_acquisition_settings(useq.MDASequence(channels=["A"]), image_width=0, image_height=4)


TOURS = [
    ({"tours": (1, 2)}, "tours: must hold every position once; got 3, count is 4"),
    ({"tours": (4, 0)}, "tours.1: must be at least 1; got 0"),
    ({"tours": 4}, "tours: must be a list of sizes; got 4"),
    ({"tours": (2, 2), "type": "other"}, "tours: only positions have tours; got a dimension of type 'other'"),
    ({"tours_within": "c"}, "tours: must be given together with tours_within"),
]


class TestTours:
    """Positions may take turns in tours."""

    @pytest.mark.parametrize(("given", "message"), TOURS)
    def test_tours_that_cannot_be(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(SettingsError) as caught:
            Dimension(**{"name": "p", "type": "position", "count": 4, **given})
        assert str(caught.value) == message

    def test_loops_that_tours_do_not_go_with(self) -> None:
        dims = [
            Dimension(name="t", count=2),
            Dimension(name="p", count=2, tours=(2,), tours_within="t"),
            Dimension(name="z", count=2, snake=True),
            *(Dimension(name=name, count=4) for name in "yx"),
        ]
        with pytest.raises(SettingsError) as caught:
            AcquisitionSettings(dimensions=dims, dtype="uint8")
        assert sorted(map(str, caught.value.problems)) == [
            "dimensions.1.tours_within: must name a loop that follows; got 't', they are ['z']",
            "dimensions.2.snake: must be False where positions have tours",
        ]

    def test_a_loop_that_is_put_within_all_others_stays_within(self) -> None:
        # As pymmcore-plus does with its cameras.
        places = [useq.Position(x=1), useq.Position(x=2, sequence={"grid_plan": GRID})]
        found = converted(useq.MDASequence(stage_positions=places, channels=["A", "B"]))["dimensions"]
        found.insert(-2, Dimension(name="cam", count=2, type="other"))
        plan = compile(AcquisitionSettings(format="scratch", dtype="uint8", dimensions=found))
        came = [(row["position"], *row["index"].tolist()) for row in plan.table]
        # Position, channel, camera.
        assert came == [
            *[(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)],
            *[(1, 0, 0), (1, 0, 1), (2, 0, 0), (2, 0, 1), (1, 1, 0), (1, 1, 1), (2, 1, 0), (2, 1, 1)],
        ]


def test_every_frame_lands_in_its_image(tmp_path: Any) -> None:
    places = [useq.Position(x=1, y=1), useq.Position(x=2, y=2, sequence={"grid_plan": GRID})]
    seq = useq.MDASequence(stage_positions=places, channels=["A", "B"], time_plan={"interval": 1, "loops": 2})
    root = tmp_path / "run.ome.zarr"
    settings = AcquisitionSettings(root_path=str(root), dtype="uint8", **converted(seq))
    write(compile(settings), (np.full((4, 8), number, "uint8") for number in range(12)))
    # By position, then time and channel; useq: t0 [p0: A B] [p1: A(left right) B(left right)] t1 …
    expected = [[[0, 1], [6, 7]], [[2, 4], [8, 10]], [[3, 5], [9, 11]]]
    assert [zarr.open_array(root / str(image) / "0", mode="r")[:, :, 0, 0].tolist() for image in range(3)] == expected


def test_dims_from_useq_is_as_it_was() -> None:
    seq = useq.MDASequence(channels=["A"], stage_positions=[(0, 0)])
    with pytest.warns(DeprecationWarning, match="useq_to_acquisition_settings"):
        assert dims_from_useq(seq, 8, 4, pixel_size_um=2) == converted(seq, pixel_size_um=2)["dimensions"]


def test_useq_is_imported_when_a_sequence_comes() -> None:
    subprocess.run([sys.executable, "-c", "import sys, ome_writers.useq; assert 'useq' not in sys.modules"], check=True)
