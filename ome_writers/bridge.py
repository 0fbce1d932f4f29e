"""The bridge for programs written for `ome-writers` 0.3, whose settings were models of pydantic.

They ask settings for `model_validate`, `model_dump` and `model_copy`. New programs need none of these: constructors
check, `attrs.evolve` makes changed copies, `ome_writers.loads` and `dumps` read and write files.

Where 0.3 differs: settings are frozen now, so that assigning to a field raises and says what to do instead; and a
copy is checked, so that `update` cannot make settings that could not have been made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Literal, NoReturn, Self

from attrs import asdict, fields_dict
from attrs.exceptions import FrozenInstanceError

from ome_writers.check import Checked, Draft, build
from ome_writers.errors import Problem, SettingsError


class Bridged(Checked):
    """A settings object that also answers to the names that pydantic gives its methods."""

    def __init_subclass__(cls) -> None:
        # The class that attrs makes refuses assignments already; now it also says what to do instead.
        if "__setattr__" in vars(cls):
            cls.__setattr__ = _refuse  # type: ignore[method-assign]

    @classmethod
    def model_validate(cls, obj: object) -> Self:
        """Return settings from a mapping of their fields; settings are returned as they are.

        Raises
        ------
        SettingsError
            With every problem, each with its path.

        Examples
        --------
        >>> from ome_writers import Dimension
        >>> Dimension.model_validate({"name": "z", "count": 5, "unit": "um"}).unit
        'micrometer'
        """
        built = build(cls, obj)
        if isinstance(built, Draft):
            raise SettingsError(built.problems)
        return built

    @classmethod
    def model_validate_json(cls, json_data: str | bytes) -> Self:
        """Return settings from a JSON object of their fields, as `model_dump_json` gives it.

        Raises
        ------
        SettingsError
            With every problem, or because it is no JSON.
        """
        try:
            values = json.loads(json_data)
        except (ValueError, RecursionError) as error:
            raise SettingsError([Problem((), "syntax", f"is no JSON: {error}")]) from None
        return cls.model_validate(values)

    def model_dump(
        self,
        *,
        mode: Literal["python", "json"] | str = "python",  # noqa: PYI051 - as there
        include: Collection[str] | None = None,
        exclude: Collection[str] = (),
        exclude_none: bool = False,
        exclude_defaults: bool = False,
    ) -> dict[str, Any]:
        """Return the fields as plain values, all the way down, from which `model_validate` makes equal settings.

        Parameters
        ----------
        mode
            `"json"`: lists instead of tuples.
        include, exclude
            Names of the outermost fields to return, or to leave out.
        exclude_none, exclude_defaults
            Whether fields that are `None`, or as they are by default, are left out.

        Examples
        --------
        >>> from ome_writers import Channel
        >>> Channel(name="GFP", color="lime").model_dump(exclude_none=True)
        {'name': 'GFP', 'color': '#00FF00'}
        """

        def kept(attribute: Any, value: object) -> bool:
            is_default = exclude_defaults and value == attribute.default
            return not (is_default or (exclude_none and value is None))

        values = asdict(self, filter=kept)  # type: ignore[arg-type]
        if mode == "json":
            values = json.loads(json.dumps(values))
        names = [name for name in values if (include is None or name in include) and name not in (exclude or ())]
        return {name: values[name] for name in names}

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the fields as JSON; takes the options of `model_dump`."""
        return json.dumps(self.model_dump(mode="json", **options), indent=indent)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002 - frozen
        """Return a copy with other values in some fields.

        What was inferred when the settings were made stays: with another `root_path` the format is the same, and with
        it the suffix of `output_path`.

        Raises
        ------
        SettingsError
            If the copy would not be valid.

        Examples
        --------
        >>> from ome_writers import AcquisitionSettings
        >>> settings = AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8")
        >>> settings.model_copy(update={"root_path": "b.zarr"}).output_path
        'b.ome.zarr'
        """
        values = {name: getattr(self, name) for name in fields_dict(type(self))}  # type: ignore[arg-type]
        return type(self).model_validate(values | dict(update or {}))


def _refuse(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001 - as `__setattr__` is called
    error = FrozenInstanceError()
    message = f"{type(self).__name__} is frozen: instead of assigning {name!r}, make a changed copy"
    error.args = (f"{message} with attrs.evolve(settings, {name}=…) or settings.model_copy(update={{{name!r}: …}})",)
    raise error
