"""What a plan answers, in the cases that laws do not pin: its words, its limits and its warnings."""

from __future__ import annotations

from typing import Any

import pytest

import ome_writers as ow

SIZES = {"t": 4, "c": ["DAPI", "GFP"], "z": 3, "y": 8, "x": 8}


def plan_of(sizes: dict[str, Any] = SIZES, **kwargs: Any) -> ow.Plan:
    given = {"root_path": "a.ome.zarr", "dtype": "uint8", "dimensions": ow.dims_from_standard_axes(sizes)}
    return ow.compile(ow.AcquisitionSettings(**given | kwargs))


class TestSelect:
    @pytest.mark.parametrize(
        ("index", "message"),
        [
            (4, "t: must be from -4 to 3; got 4"),
            (-5, "t: must be from -4 to 3; got -5"),
            (1.5, "t: must be an index, a name, a slice, or a list of those; got 1.5"),
            (None, "t: must be an index, a name, a slice, or a list of those; got None"),
            (True, "t: must be an index, a name, a slice, or a list of those; got True"),
            ("first", "t: must be one of []; got 'first'"),
        ],
    )
    def test_what_names_nothing_is_refused(self, index: Any, message: str) -> None:
        with pytest.raises(ow.PlanError) as refused:
            plan_of().select(t=index)
        assert str(refused.value) == message

    def test_an_unknown_dimension(self) -> None:
        with pytest.raises(ow.PlanError, match="p: must be a dimension of the plan: 't', 'c', 'z'"):
            plan_of().select(p=0)

    def test_without_end(self) -> None:
        endless = plan_of({**SIZES, "t": None})
        with pytest.raises(ow.PlanError, match="t: must be at least 0; got -1"):
            endless.select(t=-1)
        with pytest.raises(ow.PlanError, match="t: has no end, so a slice of it needs one"):
            endless.select(t=slice(2, None))
        assert endless.select(t=slice(1, 3), c="GFP", z=0).table["frame"].tolist() == [9, 15]
        assert endless.select(c="GFP", z=0).rows(0, 3)["frame"].tolist() == [3, 9, 15]


class TestLimits:
    def test_a_plan_is_cut_into_at_least_one_part(self) -> None:
        for parts in (0, -1):
            with pytest.raises(ow.PlanError, match=f"parts: must be at least 1; got {parts}"):
                plan_of().split(parts)

    def test_indices_without_end_end_with_their_columns(self) -> None:
        endless = plan_of({"t": None, "c": 2, "y": 8, "x": 8})
        last = 2 * 2**31 - 1
        assert endless.locate(last).coordinates == {"t": 2**31 - 1, "c": 1}
        with pytest.raises(IndexError, match=f"lasts for {last + 1} frames"):
            endless.locate(last + 1)

    def test_a_stretch_outside(self) -> None:
        with pytest.raises(IndexError, match="the plan has 24 rows; got 20 to 25"):
            plan_of().rows(20, 25)
        with pytest.raises(IndexError, match="without end has no last row"):
            plan_of({**SIZES, "t": None}).rows(5)


class TestStorageOrder:
    @pytest.mark.parametrize(
        ("order", "said"),
        [("acquisition", "z, c, t"), (["c", "t", "z", "y", "x"], "c, t, z")],
    )
    def test_what_ngff_forbids_is_done_with_a_warning(self, order: Any, said: str) -> None:
        with pytest.warns(
            UserWarning, match=f"in the order time, channel, space; storage_order asks for {said}, which"
        ):
            plan = plan_of({"z": 2, "c": 2, "t": 2, "y": 4, "x": 4}, storage_order=order)
        assert plan.layout.arrays[0].dimension_names[:-2] == tuple(said.split(", "))

    def test_what_it_allows_is_not_warned_of(self, recwarn: pytest.WarningsRecorder) -> None:
        plan_of(storage_order="acquisition")
        plan_of({"z": 2, "c": 2, "y": 4, "x": 4})
        plan_of({"z": 2, "t": 2, "y": 4, "x": 4}, storage_order="acquisition", root_path="a.ome.tiff")
        assert not recwarn.list


def test_a_trailing_slash_names_the_same_dataset() -> None:
    assert plan_of(root_path="data/a.ome.zarr/").settings.output_path == "data/a.ome.zarr"
    assert plan_of(root_path="data/a/").settings.output_path == "data/a.ome.zarr"
    assert ow.AcquisitionSettings(root_path="/").root_path == "/"


class TestPlaces:
    """Indices back to places, where the search has no short way; all others are in property_tests/test_places.py."""

    def test_two_long_loops_that_choose_the_array(self) -> None:
        sizes = {"p": 3, "q": 200, "c": 4, "z": 50}
        dims = [
            ow.Dimension(name="p", type="position", coords=["a", "b", "c"]),
            ow.Dimension(name="q", type="other", count=200),
            ow.Dimension(name="c", type="channel", count=4),
            ow.Dimension(name="z", type="space", count=50),
            ow.Dimension(name="y", type="space", count=2),
            ow.Dimension(name="x", type="space", count=2),
        ]
        plan = ow.compile(ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
        for indices in ((0, 0, 0, 0), (0, 199, 3, 49), (1, 0, 0, 0), (2, 17, 1, 30), (2, 199, 3, 49)):
            p, q, c, z = indices
            assert plan.place(**dict(zip(sizes, indices, strict=True))) == ((p * 200 + q) * 4 + c) * 50 + z

    def test_places_are_one_row_of_integers(self) -> None:
        dims = ow.dims_from_standard_axes({"t": 9, "y": 2, "x": 2})
        plan = ow.compile(ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
        for places in ([[1], [2, 3]], [0.5], [[1, 2]]):
            with pytest.raises(ow.PlanError, match="must be a sequence of places"):
                plan.reordered(places)  # type: ignore[arg-type]

    def test_an_endless_loop_lasts_as_long_as_its_indices_fit(self) -> None:
        dims = ow.dims_from_standard_axes({"t": None, "y": 2, "x": 2})
        plan = ow.compile(ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
        assert plan.place(t=2**31 - 1) == 2**31 - 1
        with pytest.raises(ow.PlanError, match=r"t: indices are 32 bits wide, which lasts for 2147483648 frames"):
            plan.place(t=2**31)
