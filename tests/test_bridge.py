"""What programs written for 0.3 ask of settings."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest

import ome_writers as ow
from ome_writers.deprecated import PositionDimension
from ome_writers.schemas import schema_of


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
        assert values["plate"]["row_names"] == ["A", "B"]
        assert isinstance(values["dimensions"], tuple)
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


DIMS = [{"name": "t", "count": 3}, {"name": "y", "count": 8}, {"name": "x", "count": 9}]
"""Settings of which parts are asked for below."""


class TestParts:
    """What is included and excluded, as pydantic's documentation says ("Advanced include and exclude")."""

    @pytest.mark.parametrize(
        ("include", "exclude", "left"),
        [
            ({"dtype"}, None, {"dtype": "uint8"}),
            (["dtype", "other"], [], {"dtype": "uint8"}),
            ({"format": {"name"}}, None, {"format": {"name": "scratch"}}),
            ({"format": {"name": True, "suffix": False}}, None, {"format": {"name": "scratch"}}),
            ({"format": True}, {"format": {"name", "max_memory_bytes", "spill_to_disk"}}, None),
            ({"dimensions": {0: {"name", "count"}}}, None, {"dimensions": ({"name": "t", "count": 3},)}),
            ({"dimensions": {-1: {"name"}}}, None, {"dimensions": ({"name": "x"},)}),
            (
                {"dimensions": {"__all__": {"name"}, 0: {"count"}}},
                None,
                {"dimensions": ({"name": "t", "count": 3}, {"name": "y"}, {"name": "x"})},
            ),
            ({"dimensions": {-1: {"name"}, 0: {"name"}}}, {"dimensions": {0: ...}}, {"dimensions": ({"name": "x"},)}),
            ({"dtype": {"name"}}, None, {"dtype": "uint8"}),
            ({"dimensions": {0: {"name"}}}, {"dimensions": {0: {}}}, {"dimensions": ({"name": "t"},)}),
        ],
    )  # fmt: skip
    def test_of_parts(self, include: Any, exclude: Any, left: Any) -> None:
        settings = ow.AcquisitionSettings(dtype="uint8", dimensions=DIMS)
        left = {"format": {"backend": "scratch", "suffix": ""}} if left is None else left
        assert settings.model_dump(include=include, exclude=exclude) == left

    def test_what_was_not_given(self) -> None:
        settings = ow.AcquisitionSettings(
            root_path="a.zarr", dtype="u1", overwrite=False, dimensions=[ow.Dimension(**one) for one in DIMS]
        )
        assert settings.model_fields_set == {"root_path", "dtype", "overwrite", "dimensions", "format"}
        values = settings.model_dump(exclude_unset=True)
        assert values["format"] == {"name": "ome-zarr", "suffix": ".zarr"}
        assert values["dimensions"][1] == {"name": "y", "count": 8, "type": "space"}
        assert not values["overwrite"]
        assert "overwrite" not in settings.model_dump(exclude_defaults=True)
        for left in (values, settings.model_dump(exclude_defaults=True)):
            assert ow.AcquisitionSettings.model_validate(left) == settings
        # A copy in another process does not know what was given, but what differs.
        again = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own
        assert again.model_fields_set == {"root_path", "dtype", "dimensions", "format"}

    def test_of_a_copy_what_was_changed_counts_as_given(self) -> None:
        channel = ow.Channel(name="a").model_copy(update={"color": None})
        assert channel.model_fields_set == {"name", "color"}


class TestClasses:
    def test_fields(self) -> None:
        found = ow.Channel.model_fields
        optics = ["excitation_wavelength_nm", "emission_wavelength_nm", "fluorophore", "color"]
        assert list(found) == ["name", *optics, "exposure_time", "z_offset"]
        assert [name for name, one in found.items() if one.is_required()] == ["name"]
        assert (found["color"].default, found["name"].annotation) == (None, str)
        assert ow.Channel(name="a").model_fields == found

    def test_construct_checks_nothing(self) -> None:
        channel = ow.Channel.model_construct(color="nonsense", other=3)
        assert (channel.color, channel.fluorophore, channel.model_fields_set) == ("nonsense", None, {"color"})
        assert channel.model_dump(exclude_none=True) == {"color": "nonsense"}
        assert ow.Channel.model_construct({"name"}, name="a") == ow.Channel(name="a")

    @pytest.mark.parametrize("cls", [ow.AcquisitionSettings, ow.Channel, ow.Position, ow.OmeTiffFormat])
    def test_the_schema_takes_what_is_dumped_and_no_other_field(self, cls: Any) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        schema = cls.model_json_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        given = {"name": "a"} if "name" in schema.get("required", ()) else {}
        dumped = (
            full().model_dump(mode="json") if cls is ow.AcquisitionSettings else cls(**given).model_dump(mode="json")
        )
        jsonschema.validate(dumped, schema)
        with pytest.raises(jsonschema.ValidationError, match="'strange' was unexpected"):
            jsonschema.validate(dumped | {"strange": 1}, schema)

    def test_the_schema_takes_shorthands(self) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        schema = ow.AcquisitionSettings.model_json_schema()
        short = {"format": "tensorstore", "dimensions": [{"name": "c", "coords": ["DAPI", {"name": "GFP"}]}]}
        jsonschema.validate(short, schema)
        for wrong in (
            {"dtype": 3},
            {"plate": "96"},
            {"dimensions": [{"count": 3}]},
            {"dimensions": [{"name": "t", "type": "tyme"}]},
        ):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, schema)

    def test_a_type_without_json_is_an_error(self) -> None:
        @attrs.frozen
        class Strange:
            field: complex

        with pytest.raises(TypeError, match="no JSON is known for <class 'complex'>"):
            schema_of(Strange)


class TestFieldsOfOtherModels:
    def test_settings_in_a_model_of_pydantic(self) -> None:
        pydantic = pytest.importorskip("pydantic")

        class Experiment(pydantic.BaseModel):
            title: str = ""
            settings: ow.AcquisitionSettings
            channels: list[ow.Channel] = []  # noqa: RUF012 - pydantic copies it

        made = Experiment(settings={"root_path": "a.zarr", "dtype": "u2", "dimensions": DIMS}, channels=["DAPI"])
        assert made.settings.dimensions[0] == ow.Dimension(name="t", count=3)
        assert made.channels == [ow.Channel(name="DAPI")]
        assert Experiment(settings=full()).settings is not None
        assert Experiment.model_validate(made.model_dump()) == made
        assert Experiment.model_validate_json(made.model_dump_json()) == made
        assert made.model_dump(include={"settings": {"dtype"}}) == {"settings": {"dtype": "uint16"}}
        assert made.model_dump(exclude_unset=True)["channels"] == [{"name": "DAPI"}]
        assert "dtype" in Experiment.model_json_schema()["properties"]["settings"]["properties"]
        with pytest.raises(pydantic.ValidationError, match=r"dimensions.0.count: must be at least 1; got 0"):
            Experiment(settings={"dimensions": [{"name": "t", "count": 0}]})


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
            ("GFP", "must be a mapping of AcquisitionSettings's fields; got 'GFP'"),
        ],
    )
    def test_every_problem_has_its_path(self, values: Any, words: str) -> None:
        with pytest.raises(ow.SettingsError) as refused:
            ow.AcquisitionSettings.model_validate(values)
        assert str(refused.value).startswith(words)

    def test_unknown_and_missing_fields_of_a_constructor_have_theirs_too(self) -> None:
        with pytest.raises(ow.SettingsError) as refused:
            ow.Dimension(nmae="t", count=0)
        assert (
            str(refused.value) == "nmae: is no field of Dimension\nname: is required\ncount: must be at least 1; got 0"
        )
        with pytest.raises(TypeError, match="positional"):
            ow.Dimension("t")

    def test_a_name_stands_for_a_channel_or_a_position(self) -> None:
        assert ow.Channel.model_validate("GFP", strict=True) == ow.Channel(name="GFP")
        assert ow.Position.model_validate("A1") == ow.Position(name="A1")

    @pytest.mark.parametrize(("given", "held"), [(1, True), (0, False), (np.True_, True), (False, False)])
    def test_flags(self, given: Any, held: bool) -> None:  # noqa: FBT001 - what is expected
        assert ow.AcquisitionSettings(overwrite=given).overwrite is held
        assert ow.Dimension.model_validate({"name": "t", "snake": given}).snake is held

    @pytest.mark.parametrize("given", [2, "yes", None, np.array([1, 0])])
    def test_what_is_no_flag(self, given: Any) -> None:
        with pytest.raises(ow.SettingsError, match="overwrite: must be one of True, False"):
            ow.AcquisitionSettings(overwrite=given)

    def test_decimals_and_fractions_are_numbers(self) -> None:
        assert ow.Position(name="a", x_coord=Decimal("1.5"), y_coord=Fraction(1, 4)) == ow.Position(
            name="a", x_coord=1.5, y_coord=0.25
        )

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
