"""Jagged acquisitions by example: what is planned, what is told of it, and what cannot be meant."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

import ome_writers as ow
from ome_writers import holdings, images, layout, sieve
from ome_writers.omission import Frames, Omit
from ome_writers.order import Segment
from ome_writers.plan_file import plan_from_npz, plan_to_npz
from ome_writers.testing.jagged import planned

YX = [ow.Dimension(name="y", count=4), ow.Dimension(name="x", count=4)]
T = ow.Dimension(name="t", count=4, scale=2, unit="s")
C = ow.Dimension(name="c", coords=["DAPI", "GFP", "Cy5"])
Z = ow.Dimension(name="z", count=5, scale=0.5, unit="um")


def acquisition(*dims: ow.Dimension, **given: Any) -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(**{"root_path": "a.ome.zarr", "dtype": "uint8", "dimensions": [*dims, *YX]} | given)


def positions(*items: Any) -> ow.Dimension:
    return ow.Dimension(name="p", coords=[ow.Position(**item) for item in items])


def said(error: pytest.ExceptionInfo[ow.SettingsError]) -> list[tuple[str, str, str]]:
    return [(".".join(map(str, one.loc)), one.kind, one.message) for one in error.value.problems]


FAULTS: dict[str, tuple[list[ow.Dimension], dict[str, Any], list[tuple[str, str, str]]]] = {
    "a rule of nothing": ([T, C], {"omit": {}}, [("omit.0", "missing", "every frame")]),
    "a rule that is a number": ([T, C], {"omit": [{"where": 3}]}, [("omit.0.where", "invalid_type", "mapping")]),
    "no rules": ([T, C], {"omit": 3}, [("omit", "invalid_type", "rules")]),
    "an unknown loop": ([T, C], {"omit": {"w": 0}}, [("omit.0.where.w", "unknown", "'t', 'c'")]),
    "no loops": ([], {"omit": {"w": 0}}, [("omit.0.where.w", "unknown", "there is none")]),
    "an undeclared channel": ([T, C], {"omit": {"c": "mCherry"}}, [("omit.0.where.c", "invalid_value", "'DAPI'")]),
    "a name of no name": ([T, C], {"omit": {"t": "first"}}, [("omit.0.where.t", "invalid_value", "it has none")]),
    "an index beyond": ([T, C], {"omit": {"t": 4}}, [("omit.0.where.t", "invalid_value", "from -4 to 3")]),
    "an index that is none": ([T, C], {"omit": {"t": 1.5}}, [("omit.0.where.t", "invalid_value", "1.5")]),
    "backwards": ([T, C], {"omit": {"t": "3::-1"}}, [("omit.0.where.t", "invalid_value", "forwards")]),
    "an empty slice": ([T, C], {"omit": {"t": "3:1"}}, [("omit.0.where.t", "invalid_value", "no element")]),
    "rules and frames": (
        [T, C],
        {"omit": {"t": 0}, "frames": [[0, 0]]},
        [("omit", "conflict", "'frames' lists what is planned")],
    ),
    "too many": (
        [positions({"name": "A", "counts": {"z": 6}}), Z],
        {},
        [("dimensions.0.coords.0.counts.z", "conflict", "at most 5")],
    ),
    "a count of no axis": (
        [positions({"name": "A", "counts": {"w": 6}}), Z],
        {},
        [("dimensions.0.coords.0.counts.w", "unknown", "'z'")],
    ),
    "a list of no axis": (
        [positions({"name": "A", "coords": {"w": [1]}})],
        {},
        [("dimensions.0.coords.0.coords.w", "unknown", "there is none")],
    ),
    "a ragged dimension without end": (
        [ow.Dimension(name="t", count=None), positions({"name": "A", "counts": {"t": 6}, "coords": {"t": [0]}})],
        {},
        [
            ("dimensions.1.coords.0.counts.t", "unsupported", "give it a count"),
            ("dimensions.1.coords.0.coords.t", "unsupported", "without end"),
        ],
    ),
    "a count and a list": (
        [positions({"name": "A", "counts": {"z": 1}, "coords": {"z": [0]}}), Z],
        {},
        [("dimensions.0.coords.0.coords.z", "conflict", "'counts' as well")],
    ),
    "a long list": (
        [positions({"name": "A", "coords": {"z": range(6)}}), Z],
        {},
        [("dimensions.0.coords.0.coords.z", "conflict", "at most 5")],
    ),
    "a plane twice, and one of no number": (
        [positions({"name": "A", "coords": {"z": [1, 1, "top"]}}), Z],
        {},
        [
            ("dimensions.0.coords.0.coords.z", "conflict", "more than once"),
            ("dimensions.0.coords.0.coords.z.2", "invalid_type", "number"),
        ],
    ),
    "an undeclared channel of a position": (
        [positions({"name": "A", "coords": {"c": ["mCherry"]}}), C],
        {},
        [("dimensions.0.coords.0.coords.c.0", "unknown", "'DAPI', 'GFP', 'Cy5'")],
    ),
    "frames that are none": ([T, C], {"frames": "all"}, [("frames.index", "invalid_type", "list of the indices")]),
    "uneven frames": ([T, C], {"frames": [[0], [0, 1]]}, [("frames.index", "invalid_type", "list of the indices")]),
    "no frames": ([T, C], {"frames": []}, [("frames.index", "invalid_value", "a frame at least")]),
    "some mappings": (
        [T, C],
        {"frames": [{"t": 0}, 3]},
        [("frames.index.1", "invalid_type", "mapping like the others")],
    ),
    "mappings of nothing known": (
        [T, C],
        {"frames": [{"w": 0}, {"c": "mCherry"}, {"c": 1.5}]},
        [
            ("frames.index.0.w", "unknown", "'t', 'c'"),
            ("frames.index.1.c", "unknown", "'DAPI'"),
            ("frames.index.2.c", "invalid_type", "1.5"),
        ],
    ),
    "a name of several": (
        [
            positions(
                {"name": "f", "plate_row": "A", "plate_column": "1"},
                {"name": "f", "plate_row": "A", "plate_column": "2"},
            )
        ],
        {"frames": [{"p": "f"}], "plate": ow.Plate(row_names=["A"], column_names=["1", "2"])},
        [("frames.index.0.p", "ambiguous", "several")],
    ),
    "too many loops": ([T], {"frames": [[0, 0]]}, [("frames.index", "conflict", "each loop (t)")]),
    "a list without end": (
        [ow.Dimension(name="t", count=None)],
        {"frames": [[0]]},
        [("dimensions.0.count", "missing", "needs a count")],
    ),
    "a frame beyond": ([T, C], {"frames": [[0, 0], [4, 0]]}, [("frames.index.1", "unknown", "from 0 to 3")]),
    "a frame twice": (
        [T, C],
        {"frames": [[0, 0], [1, 0], [0, 0]]},
        [("frames.index.2", "repeated", "frame 0 has the indices [0, 0]")],
    ),
    "columns": (
        [T],
        {"frames": {"index": [[0], [1]], "delta_t": [0], "position_x": 3, "position_y": [0, float("inf")]}},
        [
            ("frames.delta_t", "conflict", "1 for 2"),
            ("frames.position_x", "invalid_type", "list of numbers"),
            ("frames.position_y.1", "invalid_value", "infinity"),
        ],
    ),
    "other holes": ([T], {"holes": "none"}, [("holes", "invalid_value", "dense")]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_meant_is_a_located_problem(name: str) -> None:
    dims, given, problems = FAULTS[name]
    with pytest.raises(ow.SettingsError) as error:
        ow.compile(acquisition(*dims, **given))
    found = said(error)
    assert [one[0] for one in found] == [one[0] for one in problems], found
    for (_, kind, message), (_, expected, part) in zip(found, problems, strict=True):
        assert (kind, part in message) == (expected, True), message


ENDLESS = ow.Dimension(name="t", count=None)


@pytest.mark.parametrize(
    ("dims", "given", "loc", "part"),
    [
        ([T, C], {"omit": [{"c": 0}, {"c": "DAPI"}]}, "omit.1.where", "no frame that is planned without it"),
        ([T, C], {"omit": [{"where": {"c": 0}, "unless": {"c": 1}}]}, "omit.0.unless", "none of the frames"),
        ([T, C], {"omit": [{"where": {"c": 0}, "unless": {"c": 0}}]}, "omit.0.unless", "omits nothing"),
        ([T, C], {"omit": {"c": "0:"}}, "omit", "leave no frame"),
        ([ENDLESS, C], {"omit": {"t": "5:"}}, "omit", "has no end; give a count"),
        ([ENDLESS, C], {"omit": {"t": "-5:"}}, "omit.0.where.t", "cannot count from its end"),
        ([ENDLESS, C], {"omit": {"t": -1}}, "omit.0.where.t", "at least 0"),
        ([ENDLESS, C], {"omit": {"t": 20_000}}, "omit", "first 10000 rounds"),
        ([ENDLESS, C], {"omit": [{"t": "::101"}, {"t": "::103"}]}, "omit", "alike again only after 10403"),
        ([ENDLESS, C], {"omit": {"t": 5}, "holes": "split"}, "holes", "rounds are not alike"),
        ([positions({"name": "A", "counts": {"z": 1}}), Z], {"frames": [[0, 1]]}, "frames.index.0", "no element 1"),
    ],
)
def test_rules_that_contradict_each_other_are_located(dims: Any, given: Any, loc: str, part: str) -> None:
    with pytest.raises(ow.SettingsError) as error:
        ow.compile(acquisition(*dims, **given))
    assert [one[0] for one in said(error)] == [loc]
    assert part in str(error.value)


def test_slices_ranges_and_lists_are_told_alike() -> None:
    rules = [Omit(where={"t": slice(0, 3)}), Omit(where={"t": range(3)}), Omit(where={"t": "0:3"})]
    tables = [ow.compile(acquisition(T, C, omit=rule)).table for rule in rules]
    assert tables[0]["frame"].tolist() == list(range(3))
    for table in tables:
        np.testing.assert_array_equal(table, tables[0])
    assert ow.compile(acquisition(ENDLESS, C, omit={"t": "2:5"})).rows(0, 9)["index"][:, 0].tolist() == [
        *[0, 0, 0, 1, 1, 1, 5, 5, 5]
    ]


def test_tours_and_counts() -> None:
    fields = [{"name": str(number), "counts": {"z": number + 1}} for number in range(3)]
    tour = ow.Dimension(name="p", coords=[ow.Position(**one) for one in fields], tours=(2, 1))
    settings = acquisition(tour, ow.Dimension(name="z", count=3))
    plan = ow.compile(settings)
    assert [plan.locate(k).coordinates for k in range(plan.frames or 0)] == [one.loops for one in planned(settings)]


def test_frames_name_their_loops_and_inner_ones_run_in_full() -> None:
    listed = ow.compile(acquisition(T, C, frames=[{"t": 1, "c": "GFP"}, {"t": 0}]))
    assert listed.table["index"].tolist() == [[1, 1], [0, 0]]
    inner = ow.compile(acquisition(T, C, frames={"index": [[3], [1]], "delta_t": [0, None]}))
    assert inner.table["index"].tolist() == [[3, 0], [3, 1], [3, 2], [1, 0], [1, 1], [1, 2]]
    assert inner.triggers()["time"][:3].tolist() == [0, 0, 0]


def test_frames_are_equal_if_their_indices_and_columns_are() -> None:
    one = Frames(index=[[0], [1]], delta_t=[0, None])
    assert one == Frames(index=[[0], [1]], delta_t=[0, float("nan")])
    assert one != Frames(index=[[0], [1]])
    assert Frames(index=[[]]).index.shape == (1, 0)


def test_what_a_list_says_of_its_frames_reaches_triggers_and_ome_xml(tmp_path: Path) -> None:
    listed = {"index": [[0, 0], [1, 2]], "exposure_time": [0.01, None], "position_x": [7, None], "delta_t": [None, 4.5]}
    settings = acquisition(T, C, frames=listed, root_path=str(tmp_path / "a.ome.tiff"))
    plan = ow.compile(settings)
    assert plan.triggers()["exposure"].tolist()[0] == 0.01
    assert np.isnan(plan.triggers()["exposure"][1])
    assert plan.triggers(exposure=0.5)["exposure"].tolist() == [0.5, 0.5]
    assert plan.cycles()[0].rows["exposure"][0] == 0.01
    with ow.create_stream(settings) as stream:
        stream.append(np.ones((4, 4), "uint8"), frame_metadata={"position_x": 8.0, "laser": 3})
        stream.append(np.ones((4, 4), "uint8"))
    import tifffile
    from lxml import etree

    with tifffile.TiffFile(tmp_path / "a.ome.tiff") as file:
        planes = etree.fromstring((file.ome_metadata or "").encode()).findall(".//{*}Plane")
    assert [(plane.get("PositionX"), plane.get("ExposureTime"), plane.get("DeltaT")) for plane in planes] == [
        ("8.0", "0.01", "0.0"),  # what came goes before the list, which goes before the dimension
        (None, None, "4.5"),
    ]


def test_expectations_and_puts_know_what_is_planned() -> None:
    settings = acquisition(T, C, Z, omit=Omit(where={"c": "GFP"}, unless={"z": 2}), root_path="", format="scratch")
    with ow.create_stream(settings) as stream:
        stream.put(np.full((4, 4), 9, "uint8"), t=1, c="GFP", z=2)
        with pytest.raises(ow.FrameError, match="no frame is planned at t=1 c=1 z=3"):
            stream.put(np.ones((4, 4), "uint8"), t=1, c="GFP", z=3)
        assert stream.view()[1, 1, 2].max() == 9
    with ow.create_stream(settings) as stream:
        for z in range(5):
            stream.append(np.ones((4, 4), "uint8"), expect={"c": "DAPI", "z": z})
        with pytest.raises(ow.FrameError, match="z"):  # of GFP there is the middle plane only
            stream.append(np.ones((4, 4), "uint8"), expect={"c": "GFP", "z": 0})
        stream.append(np.ones((4, 4), "uint8"), expect={"c": "GFP", "z": 2})


def test_selecting_and_costs_count_planned_frames_only() -> None:
    plan = ow.compile(acquisition(T, C, Z, omit=Omit(where={"c": "GFP"}, unless={"z": 2})))
    assert plan.frames == 4 * 11
    assert plan.select(c="GFP").frames == 4
    assert ow.cost(plan).channel_changes == int(plan.changes()["channel"].sum())


def test_a_reader_of_what_is_planned_needs_no_acquisition_to_be_jagged() -> None:
    settings = acquisition(T, omit={"t": 0})
    assert sieve.planned(settings)[0].digits[0].tolist() == [1]
    mask = np.array([[True, True], [True, False]])
    assert [[axis.tolist() for axis in box] for box in holdings.boxes(mask)] == [[[0], [0, 1]], [[1], [0]]]
    assert [list(holdings.boxes(np.zeros(shape, bool))) for shape in ((), (2,), (2, 3))] == [[], [], []]


def test_an_axis_that_is_thinned_unevenly_keeps_its_gaps_unless_it_is_split() -> None:
    rule = Omit(where={"c": "GFP", "z": 1})
    both = {holes: ow.compile(acquisition(C, Z, omit=[rule, {"z": 3}], holes=holes)) for holes in ("compact", "split")}
    assert [spec.shape[:2] for spec in both["compact"].layout.arrays] == [(3, 5)]
    shapes = {spec.shape[:2]: spec for spec in both["split"].layout.arrays}
    assert sorted(shapes) == [(1, 3), (2, 4)]
    (depth,) = [axis for axis in images.axes_of(both["split"], shapes[1, 3]) if axis.name == "z"]
    assert [depth.place(k) for k in range(3)] == [0, 1, 2]
    (depth,) = [axis for axis in images.axes_of(both["split"], shapes[2, 4]) if axis.name == "z"]
    assert depth.coords == (0, 0.5, 1, 2)


def test_a_long_acquisition_is_split_in_no_time() -> None:
    dims = [evolve(T, count=3000), C, evolve(Z, count=30)]
    begin = time.perf_counter()
    plan = ow.compile(acquisition(*dims, omit=Omit(where={"c": "GFP"}, unless={"t": "::3"}), holes="split"))
    assert time.perf_counter() - begin < 5  # 14 s if each element goes through all frames
    assert sorted(spec.shape[:3] for spec in plan.layout.arrays) == [(1000, 1, 30), (3000, 2, 30)]


def test_rounds_that_go_to_arrays_in_no_even_steps_are_written_out() -> None:
    fields = positions(*({"name": name} for name in "abc"))
    settings = acquisition(fields, C, Z, omit={"p": "a", "c": 0, "z": 0}, holes="split")
    plan = ow.compile(settings)
    assert [spec.position for spec in plan.layout.arrays] == [0, 0, 1, 2]
    roles = layout.roles_of(settings)
    found = layout.holdings_of(settings, roles, sieve.planned(settings))
    finder = holdings.Finder(settings.dimensions[:-2], roles.fans, roles.axes, roles.weights, found)
    part = sieve.Part(np.array([[0, 1, 0]]), 3, 1)
    rows = np.concatenate([segment.rows for segment in holdings.tabled(settings, [part], finder)])
    assert [plan.layout.arrays[array].position for array in rows["array"]] == [0, 1, 2]


def test_channels_need_an_axis_for_cameras_to_be_folded_into() -> None:
    endless = ow.Dimension(name="w", type="other")
    cameras = ow.Dimension(name="cam", type="camera", count=2, fold=True)
    with pytest.raises(ow.SettingsError, match="no axis of channels"):
        ow.compile(acquisition(endless, cameras, C))


def test_a_plan_file_that_leaves_a_small_array_is_refused() -> None:
    plan = ow.compile(acquisition(positions({"name": "a"}, {"name": "b", "counts": {"z": 2}}), Z))
    assert plan_from_npz(plan_to_npz(plan)).table["index"].tolist() == plan.table["index"].tolist()
    rows = plan.table.copy()
    rows["index"][-1] = 4
    with pytest.raises(ow.PlanError, match=r"rows_0.npy.index: leaves array 1, whose shape is \(2, 4, 4\)"):
        plan_from_npz(plan_to_npz(evolve(plan, segments=(Segment(rows),))))


def test_a_faulty_dimension_is_the_only_problem_of_frames_that_name_it() -> None:
    with pytest.raises(ow.SettingsError) as error:
        ow.AcquisitionSettings(dimensions=[{"name": "t", "count": -1}, *YX], frames=[{"t": 0}])
    assert [one[0] for one in said(error)] == ["dimensions.0.count"]


def test_what_is_thinned_in_chunks_opens_and_closes_whole_ones() -> None:
    dims = [ow.Dimension(name="t", chunk_size=2), ow.Dimension(name="p", count=2, snake=True)]
    plan = ow.compile(acquisition(*dims, omit={"t": 0}))
    steps = ow.assemble(plan, "chunk").rows(0, 8)
    assert plan.rows(0, 8)["index"][:, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert steps["flags"].tolist()[:6] == [15, 15, 5, 5, 2, 2]


def test_the_rest_of_what_is_thinned_may_be_a_single_round() -> None:
    dims = [ow.Dimension(name="t", count=7, chunk_size=2), ow.Dimension(name="p", count=2, snake=True)]
    plan = ow.compile(acquisition(*dims, omit={"t": 0}))
    rest = plan.rest(8)
    assert rest.table["index"][:, 0].tolist() == [5, 5, 6, 6]
    assert ow.assemble(rest, "chunk").rows()["slot"].tolist() == [1, 1, 0, 0]


def test_a_channel_is_selected_in_arrays_that_do_not_hold_the_same_ones() -> None:
    fields = positions(*({"name": name} for name in "abcdef"))
    plan = ow.compile(acquisition(fields, C, omit={"p": "::2", "c": "DAPI"}, holes="compact"))
    assert plan.select(c="GFP").table["frame"].tolist() == [0, 3, 5, 8, 10, 13]
    assert {plan.locate(frame).coordinates["c"] for frame in (0, 3, 5, 8, 10, 13)} == {1}


def test_what_has_no_end_is_compact_without_end() -> None:
    plan = ow.compile(acquisition(ENDLESS, C, omit={"c": "GFP"}, holes="compact"))
    assert plan.layout.arrays[0].shape == (None, 2, 4, 4)
    assert [plan.locate(frame).coordinates["c"] for frame in range(3)] == [0, 2, 0]


def test_depths_are_those_of_the_dimension_where_a_position_has_no_list() -> None:
    plan = ow.compile(acquisition(positions({"name": "a", "coords": {"z": [3, 7]}}, {"name": "b"}), Z))
    assert plan.triggers()["z"].tolist() == [3, 7, 0, 0.5, 1, 1.5, 2]


def test_uneven_elements_are_read_back_by_selection() -> None:
    rule = Omit(where={"c": "GFP", "z": 1})
    plan = ow.compile(acquisition(C, Z, omit=[rule, {"z": 3}], holes="split"))
    assert [plan.locate(frame).coordinates for frame in plan.select(z=2).table["frame"].tolist()] == [
        {"c": channel, "z": 2} for channel in range(3)
    ]
    assert [image.name for image in images.images_of(plan, plan.shapes(11))] == [
        "a c=DAPI,Cy5 z=0,1,2,4",
        "a c=GFP z=0:5:2",
    ]


def test_an_array_without_frames_has_reached_nothing() -> None:
    plan = ow.compile(acquisition(ENDLESS, C))
    assert plan.places.reading.reached(0, (0, 3)) == {}
    assert plan.places.reading.reached(0, (2, 3)) == {"t": 2, "c": 3}


def test_what_settings_hold_is_not_changed() -> None:
    position = ow.Position(name="A", counts={"z": 2})
    with pytest.raises(TypeError, match="part of frozen settings"):
        position.counts["z"] = 3  # type: ignore[index]
    assert position.counts == {"z": 2}


def test_long_inner_loops_of_listed_frames_must_be_named() -> None:
    with pytest.raises(ow.SettingsError, match="an index for each loop"):
        acquisition(T, ow.Dimension(name="z", count=65), frames=[[0]]).validate_stream_ready()
