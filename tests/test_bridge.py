"""What programs written for 0.3 ask of settings."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from typing import Any

import attrs
import pytest

import ome_writers as ow
from ome_writers.deprecated import PositionDimension


def full() -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(
        root_path="cells.ome.zarr",
        dtype="uint16",
        dimensions=[
            ow.Dimension(name="t"),
            ow.Dimension(name="p", coords=[ow.Position(name="A1", plate_row="A", plate_column="1", x_coord=1.5)]),
            ow.Dimension(name="c", coords=["DAPI", ow.Channel(name="GFP", color="lime")]),
            ow.Dimension(name="z", coords=[0, 0.5, 2], unit="um"),
            ow.Dimension(name="y", count=8, scale=0.1, unit="um"),
            ow.Dimension(name="x", count=8, chunk_size=4),
        ],
        compression="zstd",
        plate=ow.Plate.from_standard_wells(6),
        overwrite=True,
    )


class TestDump:
    def test_plain_values_all_the_way_down(self) -> None:
        values = full().model_dump()
        assert values["format"] == {
            "name": "ome-zarr",
            "backend": "auto",
            "suffix": ".ome.zarr",
            "group_names": "number",
        }
        assert values["dimensions"][0]["count"] is None
        assert values["dimensions"][1]["coords"][0]["x_coord"] == 1.5
        assert values["dimensions"][2]["coords"][1]["color"] == "#00FF00"
        assert values["plate"]["row_names"] == ("A", "B")
        assert set(values) >= {
            "root_path",
            "dimensions",
            "dtype",
            "format",
            "compression",
            "storage_order",
            "overwrite",
        }

    def test_and_back(self) -> None:
        assert ow.AcquisitionSettings.model_validate(full().model_dump()) == full()
        assert ow.AcquisitionSettings.model_validate_json(full().model_dump_json()) == full()
        for dim in full().dimensions:
            assert ow.Dimension.model_validate(dim.model_dump()) == dim

    def test_as_json(self) -> None:
        values = full().model_dump(mode="json")
        assert json.loads(json.dumps(values)) == values
        assert values["plate"]["row_names"] == ["A", "B"]
        assert json.loads(full().model_dump_json(indent=2)) == values

    def test_less_than_everything(self) -> None:
        channel = ow.Channel(name="GFP")
        assert channel.model_dump(exclude_none=True) == channel.model_dump(exclude_defaults=True) == {"name": "GFP"}
        assert channel.model_dump(include={"name"}) == {"name": "GFP"}
        assert "name" not in channel.model_dump(exclude={"name"})

    def test_objects_may_stand_among_plain_values(self) -> None:
        # So pymmcore-plus puts together what the user wants and what the sequence says.
        bare = ow.AcquisitionSettings(root_path="a.ome.zarr", overwrite=True)
        made = ow.AcquisitionSettings.model_validate(
            {**bare.model_dump(), "dimensions": list(full().dimensions), "dtype": "uint8", "plate": None}
        )
        assert made.dimensions == full().dimensions
        assert (made.dtype, made.overwrite, made.output_path) == ("uint8", True, "a.ome.zarr")


class TestValidate:
    def test_settings_stay_as_they_are(self) -> None:
        settings = full()
        assert ow.AcquisitionSettings.model_validate(settings) is settings

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"dtype": "uint17", "color": 1}, "color: is no field of AcquisitionSettings\ndtype: must be the name"),
            ({"dimensions": [{"name": "t", "count": 0}]}, "dimensions.0.count: must be at least 1; got 0"),
            (3, "must be a mapping of AcquisitionSettings's fields; got 3"),
        ],
    )
    def test_every_problem_has_its_path(self, values: Any, words: str) -> None:
        with pytest.raises(ow.SettingsError) as refused:
            ow.AcquisitionSettings.model_validate(values)
        assert str(refused.value).startswith(words)

    def test_what_is_no_json(self) -> None:
        with pytest.raises(ow.SettingsError, match="is no JSON: Expecting"):
            ow.Channel.model_validate_json("{")

    def test_a_format_by_its_class(self) -> None:
        assert ow.OmeTiffFormat.model_validate({"prefer_single_file": True}).prefer_single_file == "always"


class TestCopy:
    # The three lines that 0.3.2 answers in the same way.
    @pytest.mark.parametrize(
        ("root", "output"), [("b.zarr", "b.ome.zarr"), ("b.ome.tiff", "b.ome.zarr"), ("b", "b.ome.zarr")]
    )
    def test_with_another_path_the_format_stays(self, root: str, output: str) -> None:
        settings = ow.AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=full().dimensions)
        copy = settings.model_copy(update={"root_path": root})
        assert (copy.root_path, copy.format, copy.output_path) == (root, settings.format, output)
        assert settings.root_path == "a.ome.zarr"

    def test_of_a_dimension(self) -> None:
        dim = full().dimensions[-1].model_copy(update={"chunk_size": 2, "shard_size_chunks": 2})
        assert (dim.name, dim.count, dim.chunk_size, dim.shard_size_chunks) == ("x", 8, 2, 2)

    def test_without_update(self) -> None:
        assert full().model_copy(deep=True) == full()

    def test_it_is_checked(self) -> None:
        with pytest.raises(ow.SettingsError, match="chunk_size: must be at least 1; got 0"):
            full().dimensions[0].model_copy(update={"chunk_size": 0})
        with pytest.raises(ow.SettingsError, match="chunks: is no field of Dimension"):
            full().dimensions[0].model_copy(update={"chunks": 2})


class TestFrozen:
    @pytest.mark.parametrize(
        "settings",
        [full(), *full().dimensions[:3], full().plate, full().format, ow.OmeTiffFormat(), ow.Channel(name="c")],
    )
    def test_an_assignment_says_what_to_do_instead(self, settings: Any) -> None:
        name = attrs.fields(type(settings))[0].name
        words = rf"{type(settings).__name__} is frozen: .* settings.model_copy\(update={{'{name}': …}}\)"
        with pytest.raises(AttributeError, match=words):
            setattr(settings, name, "other")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            settings.new = 1
        assert settings == deepcopy(settings) == pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own
        assert len({settings, deepcopy(settings)}) == 1


class TestDeprecated:
    def test_position_dimension(self) -> None:
        with pytest.warns(DeprecationWarning, match="write Dimension"):
            dim = PositionDimension(positions=["A1", ow.Position(name="B2")])
        assert dim == ow.Dimension(name="p", type="position", coords=["A1", "B2"])
        with pytest.warns(DeprecationWarning, match="write Dimension"):
            assert PositionDimension(name="where", count=2).coords == (ow.Position(name="0"), ow.Position(name="1"))
