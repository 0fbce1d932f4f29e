"""Given a settings class, this answers: which JSON does it take?

Fields, types and choices are read off the class; further rules stand in `rules.py`, and say themselves what is wrong.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, has

_TYPES: Final[Mapping[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def json_schema(cls: type) -> dict[str, Any]:
    """Return the JSON schema of a settings class (draft 2020-12), what it holds written out in place.

    Examples
    --------
    >>> from ome_writers import Plate
    >>> schema = json_schema(Plate)
    >>> schema["required"], schema["properties"]["row_names"]
    (['row_names', 'column_names'], {'type': 'array', 'items': {'type': 'string'}})
    """
    hints = get_type_hints(cls)
    properties, required = {}, []
    for field in fields(cls):
        properties[field.name] = _of(hints[field.name])
        if field.default is NOTHING:
            required.append(field.name)
        else:
            properties[field.name]["default"] = list(field.default) if field.default == () else field.default
    schema: dict[str, Any] = {
        "type": "object",
        "title": cls.__name__,
        "description": (cls.__doc__ or "").split("\n")[0],
    }
    schema |= {"properties": properties, "additionalProperties": False}
    return schema | {"required": required} if required else schema


def _of(hint: Any) -> dict[str, Any]:
    """Return the schema of a type, with the shorthands that stand for it."""
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    if has(hint):
        # A channel or a position may be given by its name, a format by a word.
        short = getattr(hint, "_shorthand", None)
        return {"anyOf": [json_schema(hint), {"type": "string"}]} if short else json_schema(hint)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin is tuple:
        return {"type": "array", "items": _of(parts[0])}
    if origin in (Union, types.UnionType):
        several = {str(one): one for one in map(_of, parts)}
        if any("backend" in one.get("properties", ()) for one in several.values()):
            several["word"] = {"type": "string"}
        return {"anyOf": list(several.values())}
    raise TypeError(f"no JSON is known for {hint!r}")
