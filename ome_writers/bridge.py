"""The bridge for programs written for `ome-writers` 0.3, whose settings were models of pydantic.

They ask settings for `model_validate`, `model_dump`, `model_copy` and what belongs to these, and hold them in models of
their own. New programs need none of this: constructors check, `attrs.evolve` makes changed copies,
`ome_writers.loads` and `dumps` read and write files.

Where 0.3 differs: settings are frozen now, so that assigning to a field raises and says what to do instead; and a
copy is checked, so that `update` cannot make settings that could not have been made.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar, Literal, NoReturn, Self, get_type_hints

from attrs import NOTHING, Attribute, asdict, fields_dict, frozen, has
from attrs.exceptions import FrozenInstanceError

from ome_writers.beyond import ask
from ome_writers.check import Checked, Draft, build
from ome_writers.dumping import Choice, chosen, dumped
from ome_writers.errors import Problem, SettingsError


@frozen
class FieldInfo:
    """What pydantic's `FieldInfo` tells of a field."""

    annotation: Any
    default: Any = None
    description: str | None = None

    def is_required(self) -> bool:
        """Return whether it has no default."""
        return self.default is NOTHING


class _PerClass:
    """Something that is asked of a class, or of its objects."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer

    def __get__(self, subject: object, cls: type) -> Any:
        # `help` asks the classes that have no fields yet as well.
        return self.answer(cls) if has(cls) else {}


def _fields(cls: type) -> dict[str, FieldInfo]:
    hints = get_type_hints(cls)
    return {name: FieldInfo(hints[name], field.default) for name, field in fields_dict(cls).items()}


class Bridged(Checked):
    """A settings object that also answers to the names that pydantic gives its methods."""

    _shorthand: ClassVar[str | None] = None
    """Which field a plain string stands for."""
    model_fields: ClassVar[Mapping[str, FieldInfo]] = _PerClass(_fields)  # type: ignore[assignment]
    """The fields by name, each with its `annotation`, its `default` and `is_required()`."""
    model_config: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "frozen": True}
    model_extra: ClassVar[None] = None

    def __init_subclass__(cls) -> None:
        # The class that attrs makes refuses assignments already; now it also says what to do instead.
        if "__setattr__" in vars(cls):
            cls.__setattr__ = _refuse  # type: ignore[method-assign]
            cls.__init__ = _locating(cls.__init__)  # type: ignore[method-assign]

    @property
    def model_fields_set(self) -> set[str]:
        """Names of the fields that were given when it was made, or have another value than by default."""
        known: dict[str, Attribute[Any]] = fields_dict(type(self))  # type: ignore[arg-type]
        given: set[str] = vars(self).get("_given", set())
        return {
            name
            for name, field in known.items()
            if name in given or getattr(self, name, field.default) != field.default
        }

    @classmethod
    def model_validate(cls, obj: object, **options: Any) -> Self:  # noqa: ARG003 - `strict`, `context`, … mean nothing here
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
        built = build(cls, obj, cls._shorthand)
        if isinstance(built, Draft):
            raise SettingsError(built.problems)
        return built

    @classmethod
    def model_validate_json(cls, json_data: str | bytes, **options: Any) -> Self:
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
        return cls.model_validate(values, **options)

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:
        """Return settings of values that nobody checks; for those that are known to be good."""
        made = object.__new__(cls)
        known: dict[str, Attribute[Any]] = fields_dict(cls)  # type: ignore[arg-type]
        made._set(**{name: field.default for name, field in known.items() if field.default is not NOTHING})
        made._set(**{name: value for name, value in values.items() if name in known})
        vars(made)["_given"] = set(values if _fields_set is None else _fields_set)
        return made

    @classmethod
    def model_json_schema(cls, **options: Any) -> dict[str, Any]:  # noqa: ARG003 - there is but one
        """Return the JSON schema of the fields."""
        schema: dict[str, Any] = ask("schemas", "schema_of", cls)
        return schema

    def model_dump(  # noqa: PLR0913 - as there
        self,
        *,
        mode: Literal["python", "json"] | str = "python",  # noqa: PYI051 - as there
        include: Choice = None,
        exclude: Choice = None,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
        **options: Any,  # noqa: ARG002 - `by_alias`, `round_trip`, `warnings`, … mean nothing here
    ) -> dict[str, Any]:
        """Return the fields as plain values, all the way down, from which `model_validate` makes equal settings.

        Parameters
        ----------
        mode
            `"json"`: nothing but what JSON has.
        include, exclude
            Names of fields to return, or to leave out; or for parts of fields mappings of these
            (`{"dimensions": {0: {"name"}}}`).
        exclude_unset, exclude_defaults, exclude_none
            Whether fields are left out that were not given, that are as they are by default, that are `None`.

        Examples
        --------
        >>> from ome_writers import Channel
        >>> Channel(name="GFP", color="lime").model_dump(exclude_none=True)
        {'name': 'GFP', 'color': '#00FF00'}
        """

        def kept(subject: Any, name: str, value: object) -> bool:
            if exclude_unset and name not in subject.model_fields_set:
                return False
            if exclude_defaults and value == fields_dict(type(subject))[name].default:
                return False
            return not (exclude_none and value is None)

        values: dict[str, Any] = chosen(dumped(self, kept), include, exclude)
        return json.loads(json.dumps(values)) if mode == "json" else values

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the fields as JSON; takes the options of `model_dump`."""
        between = (",", ":") if indent is None else None
        return json.dumps(
            self.model_dump(mode="json", **options), indent=indent, separators=between, ensure_ascii=False
        )

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
        copy = type(self).model_validate(asdict(self, recurse=False) | dict(update or {}))  # type: ignore[arg-type]
        vars(copy)["_given"] = self.model_fields_set | set(update or ())
        return copy

    # ── what pydantic asks of the type of a field, in a model of somebody else ──────────────────────────────────────

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        # Whoever asks has imported it.
        core_schema = importlib.import_module("pydantic_core").core_schema
        dump = core_schema.plain_serializer_function_ser_schema(_serialized, info_arg=True)
        return core_schema.no_info_plain_validator_function(cls.model_validate, serialization=dump)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return cls.model_json_schema()


def _serialized(settings: Bridged, info: Any) -> dict[str, Any]:
    names = ("mode", "include", "exclude", "exclude_unset", "exclude_defaults", "exclude_none")
    return settings.model_dump(**{name: getattr(info, name) for name in names})


def _locating(init: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that says of unknown and missing fields what it says of all others: where, and why."""

    @wraps(init)
    def construct(self: Any, *args: Any, **values: Any) -> None:
        cls = type(self)
        if not args and _misfits(cls, values):
            cls.model_validate(values)
        init(self, *args, **values)
        vars(self)["_given"] = set(values)

    return construct


def _misfits(cls: type, values: Mapping[str, Any]) -> bool:
    """Return whether fields are unknown, or missing."""
    known: dict[str, Attribute[Any]] = fields_dict(cls)
    return not values.keys() <= known.keys() or any(
        field.default is NOTHING and name not in values for name, field in known.items()
    )


def _refuse(self: object, name: str, value: object) -> NoReturn:  # noqa: ARG001 - as `__setattr__` is called
    error = FrozenInstanceError()
    message = f"{type(self).__name__} is frozen: instead of assigning {name!r}, make a changed copy"
    error.args = (f"{message} with attrs.evolve(settings, {name}=…) or settings.model_copy(update={{{name!r}: …}})",)
    raise error
