"""Given the settings classes, this answers: which documents stand for settings? As a JSON Schema, for editors.

Types, defaults and required fields are read off the classes, names of writers and codecs off the tables of the rules;
so a new field or writer is in the schema at once. What a constructor takes beside the type of its field (a string for
a channel, three numbers for a colour) and limits of numbers are listed here. A schema knows one field at a time: what
`loads` refuses because two fields are at odds may pass.

Descriptions are the docstrings of classes and fields. Those of fields are in no object of a running program, so the
text of the modules is passed in.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from attrs import NOTHING, fields, fields_dict, has

from ome_writers.acquisition_rules import BACKENDS, COMPRESSIONS
from ome_writers.items import Camera, Channel, Position
from ome_writers.omission import PLANE_COLUMNS
from ome_writers.settings import AcquisitionSettings

Json = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_PLAIN: Final[dict[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}

_SHORT: Final[dict[type, Json]] = {
    Channel: {"type": "string", "minLength": 1, "description": "Name of a channel that has only a name."},
    Position: {"type": "string", "minLength": 1, "description": "Name of a position that has only a name."},
    Camera: {"type": "string", "minLength": 1, "description": "Name of a camera that has only a name."},
}
"""What may stand for an object of a class."""

_WORDS: Final = {"ome-zarr": ("ome-zarr", "zarr"), "ome-tiff": ("ome-tiff", "tiff"), "scratch": ("scratch",)}

_DTYPES: Final = sorted({np.dtype(code).name for code in "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]})

_COLOR: Final[Json] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 255}, "minItems": 3, "maxItems": 4},
        {"type": "null"},
    ],
    "examples": ["lime", "#00FF00"],
}

_LIMITS: Final[dict[tuple[str, str], Json]] = {
    ("Channel", "name"): {"minLength": 1},
    ("Channel", "excitation_wavelength_nm"): {"exclusiveMinimum": 0},
    ("Channel", "emission_wavelength_nm"): {"exclusiveMinimum": 0},
    ("Channel", "exposure_time"): {"exclusiveMinimum": 0},
    ("Position", "name"): {"minLength": 1},
    ("Camera", "name"): {"minLength": 1},
    ("Position", "grid_row"): {"minimum": 0},
    ("Position", "grid_column"): {"minimum": 0},
    ("Dimension", "name"): {"minLength": 1},
    ("Dimension", "count"): {"minimum": 1},
    ("Dimension", "coords"): {"minItems": 1},
    ("Dimension", "chunk_size"): {"minimum": 1},
    ("Dimension", "shard_size_chunks"): {"minimum": 1},
    ("Dimension", "scale"): {"minimum": 0},
    ("Dimension", "unit"): {"examples": ["um", "micrometer", "nm", "s", "ms", "second"]},
    ("AcquisitionSettings", "compression_level"): {"minimum": 0, "maximum": 22},
    ("AcquisitionSettings", "buffer_bytes"): {"minimum": 0},
    ("ScratchFormat", "max_memory_bytes"): {"minimum": 0},
}

_SELECTORS: Final[Json] = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": ["integer", "string"]},
            {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 1},
        ]
    },
    "examples": [{"c": "GFP", "z": [0, 1, 3, 4]}, {"t": "1::3"}],
}
_COLUMN: Final[Json] = {"type": ["array", "null"], "items": {"type": ["number", "null"]}}
_RAGGED: Final[dict[tuple[str, str], Json]] = {
    ("Omit", "where"): _SELECTORS,
    ("Omit", "unless"): _SELECTORS,
    ("AcquisitionSettings", "omit"): {
        "anyOf": [
            _SELECTORS,
            {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Omit"}, _SELECTORS]}},
            {"type": "null"},
        ]
    },
    ("AcquisitionSettings", "frames"): {
        "anyOf": [
            {"$ref": "#/$defs/Frames"},
            {"type": "array", "items": {"type": ["array", "object"]}, "minItems": 1},
            {"type": "null"},
        ]
    },
    ("Frames", "index"): {"type": "array", "items": {"type": ["array", "object"]}, "minItems": 1},
    **{("Frames", name): _COLUMN for name in PLANE_COLUMNS},
    ("Camera", "pixel_size"): {
        "anyOf": [
            {"type": ["number", "null"]},
            {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        ]
    },
}
"""What jagged acquisitions take: short forms, and columns of numbers."""

Notes = Mapping[tuple[str, str], str]


def schema(sources: Sequence[str] = (), plugins: Sequence[str] = ()) -> Json:
    """Return the JSON Schema of a settings document.

    Parameters
    ----------
    sources
        The text of the modules that hold the settings classes, for descriptions of fields.
    plugins
        Names of writers that other packages bring.

    Examples
    --------
    >>> made = schema()
    >>> made["required"], made["$defs"]["Dimension"]["required"]
    ([], ['name'])
    >>> made["$defs"]["Dimension"]["properties"]["type"]["enum"]
    ['space', 'time', 'channel', 'position', 'camera', 'other', None]
    """
    notes = {key: text for source in sources for key, text in _notes(source)}
    classes = list(_reached(AcquisitionSettings))
    made = {cls.__name__: _object(cls, notes, plugins) for cls in classes}
    top = made.pop(AcquisitionSettings.__name__)
    top["properties"] = {"$schema": {"type": "string", "description": "This schema, for editors."}, **top["properties"]}
    return {
        "$schema": DIALECT,
        "title": "Settings of an acquisition, for ome-writers",
        **top,
        **_codecs(),
        "$defs": made,
    }


def schema_of(cls: type) -> Json:
    """Return the JSON Schema of one settings class, with what it holds written out in place.

    Raises
    ------
    TypeError
        If a field has a type that no JSON is known for.

    Examples
    --------
    >>> from ome_writers import Plate
    >>> schema_of(Plate)["properties"]["row_names"]
    {'type': 'array', 'items': {'type': 'string'}}
    """
    made = {one.__name__: _object(one, {}, ()) for one in _reached(cls)}
    written: Json = _written_out({"title": cls.__name__, **made[cls.__name__]}, made)
    return written


def _written_out(value: Any, made: Mapping[str, Json]) -> Any:
    if isinstance(value, list):
        return [_written_out(item, made) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _written_out(made[value["$ref"].rpartition("/")[2]], made)
    return {name: _written_out(item, made) for name, item in value.items()}


def _reached(cls: type) -> Iterator[type]:
    """Yield a class and all that its fields hold, each once."""
    seen: dict[type, None] = {}
    ahead = [cls]
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen[one] = None
            ahead += [part for hint in get_type_hints(one).values() for part in _parts(hint) if has(part)]
    yield from seen


def _parts(hint: Any) -> Iterator[Any]:
    if arguments := get_args(hint):
        for argument in arguments:
            yield from _parts(argument)
    elif isinstance(hint, type):
        yield hint


def _object(cls: type, notes: Notes, plugins: Sequence[str]) -> Json:
    hints = get_type_hints(cls)
    properties = {}
    required = []
    for field in fields(cls):
        found = _special(cls, field.name, plugins) or _of(hints[field.name])
        found = {**found, **_LIMITS.get((cls.__name__, field.name), {})}
        if text := notes.get((cls.__name__, field.name)):
            found["description"] = text
        if field.default is NOTHING:
            required.append(field.name)
        elif field.default is None or isinstance(field.default, (str, int, float)):
            found["default"] = field.default
        properties[field.name] = found
    return {
        "description": _summary(cls.__doc__ or ""),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _of(hint: Any) -> Json:
    """Return the schema of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _either([_of(argument) for argument in arguments])
    if origin is tuple:
        return {"type": "array", "items": _of(arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _of(arguments[1])}
    return _of_name(hint)


def _of_name(hint: Any) -> Json:
    """Return the schema of a type that is not made of others."""
    if hint is Any:
        return {}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if not has(hint):
        raise TypeError(f"no JSON is known for {hint!r}")
    reference = {"$ref": f"#/$defs/{hint.__name__}"}
    return {"anyOf": [_SHORT[hint], reference]} if hint in _SHORT else reference


def _either(kinds: Sequence[Json]) -> Json:
    """Return the schema of what is of any of some kinds, as shortly as can be: editors show it."""
    if all(set(kind) == {"type"} for kind in kinds):
        return {"type": [kind["type"] for kind in kinds]}
    if all(set(kind) == {"enum"} or kind == {"type": "null"} for kind in kinds):
        return {"enum": [value for kind in kinds for value in kind.get("enum", [None])]}
    if len(kinds) == 2 and set(kinds[0]) == {"type", "items"} and kinds[1] == {"type": "null"}:  # noqa: PLR2004 - a list, or nothing
        return {**kinds[0], "type": ["array", "null"]}
    flat = [part for kind in kinds for part in kind.get("anyOf", [kind])]
    return {"anyOf": flat}


# ── what is more than a type says ────────────────────────────────────────────────────────────────────────────────────


def _special(cls: type, name: str, plugins: Sequence[str]) -> Json | None:  # noqa: PLR0911 - a list of cases
    if name == "color":
        return _COLOR
    if name == "dtype":
        short = {
            "type": "string",
            "pattern": "^[<>=|]?([?]|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32))$",
            "description": "As numpy writes it.",
        }
        return {"anyOf": [{"enum": [*_DTYPES, ""]}, short]}
    if name == "prefer_single_file":
        return {"enum": ["auto", "always", "never", True, False]}
    if (found := _RAGGED.get((cls.__name__, name))) is not None:
        return found
    if cls is AcquisitionSettings and name == "format":
        writers = [writer for names in BACKENDS.values() for writer in names]
        words = dict.fromkeys(["auto", *(word for words in _WORDS.values() for word in words), *writers, *plugins])
        described = [{"$ref": f"#/$defs/{format_.__name__}"} for format_ in get_args(get_type_hints(cls)["format"])]
        return {"anyOf": [{"enum": list(words)}, *described]}
    format_name = fields_dict(cls)["name"].default if "name" in fields_dict(cls) else None
    if format_name not in BACKENDS:
        return None
    names = BACKENDS[format_name]
    named = {
        "name": [*_WORDS[format_name], *(one for one in names if one != "auto")],
        "backend": [*names, *plugins],
    }
    return {"enum": named[name]} if name in named else None


def _codecs() -> Json:
    """Return the rule of `compression`: of scratch arrays it takes any name, as it is not used."""
    words = [*_WORDS["scratch"], *(name for name in BACKENDS["scratch"] if name != "auto")]
    scratch = [{"enum": words}, {"type": "object", "properties": {"name": {"enum": words}}, "required": ["name"]}]
    codecs = dict.fromkeys(name for names in COMPRESSIONS.values() for name in names)
    return {
        "if": {"properties": {"format": {"anyOf": scratch}}, "required": ["format"]},
        "then": {},
        "else": {"properties": {"compression": {"enum": [*codecs, None]}}},
    }


# ── descriptions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _notes(source: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield class and name of each field that is followed by a text, and that text."""
    for cls in ast.parse(source).body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for field, text in zip(cls.body, cls.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                yield (cls.name, field.target.id), " ".join(text.value.value.split())


def _summary(doc: str) -> str:
    """Return the prose of a docstring, without its sections."""
    for section in ("Raises", "Examples"):
        doc = doc.partition(f"\n    {section}\n    ---")[0]
    return " ".join(doc.split())
