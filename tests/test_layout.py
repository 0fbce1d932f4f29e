"""Where arrays and groups lie, in the cases that laws do not pin."""

from __future__ import annotations

from typing import Any

import pytest

import ome_writers as ow

Y_X = [ow.Dimension(name="y", count=4), ow.Dimension(name="x", count=4)]


def layout_of(positions: list[Any], *more: ow.Dimension, **kwargs: Any) -> ow.Layout:
    dims = [ow.Dimension(name="p", coords=positions), *more, *Y_X]
    given = {"root_path": "data/scan.ome.zarr", "dtype": "uint8", "dimensions": dims} | kwargs
    return ow.compile(ow.AcquisitionSettings(**given)).layout


def at(name: str, row: int, column: int) -> ow.Position:
    return ow.Position(name=name, grid_row=row, grid_column=column)


NAMED = ow.OmeZarrFormat(group_names="position")


def test_one_position_is_the_root() -> None:
    layout = layout_of(["A"])
    assert (layout.groups, layout.arrays[0].path) == (("",), "0")


def test_positions_are_numbered() -> None:
    layout = layout_of(["A", "B"])
    assert layout.groups == ("", "OME", "0", "1")
    assert layout.files == ("0/0", "1/0")


def test_positions_name_the_groups_if_asked_to() -> None:
    layout = layout_of(["left", at("right", 0, 1)], format=NAMED)
    assert layout.files == ("left/0", "right_0_1/0")


def test_fields_of_wells_are_numbered() -> None:
    wells = [("A", "1"), ("B", "2"), ("A", "1")]
    positions = [
        ow.Position(name=name, plate_row=row, plate_column=column)
        for name, (row, column) in zip("ace", wells, strict=True)
    ]
    plate = ow.Plate(row_names=["A", "B"], column_names=["1", "2"])
    assert layout_of(positions, plate=plate).files == ("A/1/0/0", "B/2/0/0", "A/1/1/0")
    assert layout_of(positions, plate=plate).groups == ("", "A", "A/1", "B", "B/2", "A/1/0", "B/2/0", "A/1/1")
    assert layout_of(positions, plate=plate, format=NAMED).files == ("A/1/a/0", "B/2/c/0", "A/1/e/0")


@pytest.mark.parametrize(
    ("positions", "double"),
    [
        (["a", "A"], "a"),
        (["ome", "b"], "ome"),
        ([at("a", 0, 1), "a_0_1"], "a_0_1"),
        ([ow.Position(name="a", plate_row=row, plate_column="1") for row in "AB"], "a"),
    ],
)
def test_names_that_would_share_a_folder_are_refused(positions: list[Any], double: str) -> None:
    with pytest.raises(ow.SettingsError) as refused:
        layout_of(positions, format=NAMED)
    assert [problem.loc for problem in refused.value.problems] == [("format", "group_names")]
    assert f"would be called {double!r}" in str(refused.value)


def test_fields_that_would_share_a_folder_are_refused() -> None:
    positions = [
        ow.Position(name="a", plate_row="A", plate_column="1", grid_row=0, grid_column=column) for column in (0, 1)
    ]
    plate = ow.Plate(row_names=["A"], column_names=["1"])
    with pytest.raises(ow.SettingsError, match="a/1/a"):
        layout_of(positions, plate=plate, format=NAMED)


def test_loops_without_an_axis_choose_images() -> None:
    layout = layout_of(["A", "B"], ow.Dimension(name="angle", count=2), ow.Dimension(name="c", count=3))
    assert [(array.position, array.fan) for array in layout.arrays] == [
        (0, (("angle", 0),)),
        (0, (("angle", 1),)),
        (1, (("angle", 0),)),
        (1, (("angle", 1),)),
    ]
    assert layout.arrays[0].dimension_names == ("c", "y", "x")
    assert layout.files == ("0/0", "1/0", "2/0", "3/0")


def test_more_images_than_can_be_held_are_refused() -> None:
    loops = [ow.Dimension(name=name, count=2**20, type="other") for name in ("a", "b")]
    with pytest.raises(ow.SettingsError, match=r"dimensions: there may be at most 1000000 images; 'p', 'a', 'b' would"):
        layout_of(["A", "B"], *loops, ow.Dimension(name="c", count=1))


def test_files_of_a_set_are_called_after_their_folder() -> None:
    assert layout_of(["A", "B"], root_path="data/scan.ome.tif").files == ("scan_p000.ome.tif", "scan_p001.ome.tif")
    one = ow.OmeTiffFormat(prefer_single_file="always")
    assert layout_of(["A", "B"], root_path="data/scan", format=one).files == ("",)


def test_shards_are_whole_chunks() -> None:
    dims = [ow.Dimension(name="t", count=9, chunk_size=2, shard_size_chunks=3), *Y_X]
    settings = ow.AcquisitionSettings(root_path="a.zarr", dtype="uint8", dimensions=dims)
    array = ow.compile(settings).layout.arrays[0]
    assert (array.chunk_shape, array.shard_shape, array.index_location) == ((2, 4, 4), (6, 4, 4), "end")
