"""Given a settings object, this answers: what are its fields, as plain values, or those of them that somebody chose?

Which fields that are is said as pydantic says it: by names, or by mappings of names (of items in a list by numbers, or
`"__all__"`) to `True` or to the same again for what lies below.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from attrs import fields, has

Choice = Collection[Any] | Mapping[Any, Any] | None
"""What is chosen; `None`: nobody said."""


def dumped(subject: Any, keep: Callable[[Any, str, Any], bool]) -> Any:
    """Return a value with all objects in it as mappings of those fields that `keep(object, name, value)` keeps.

    Lists are lists but for the dimensions, as in 0.3.
    """
    if isinstance(subject, tuple):
        return [dumped(item, keep) for item in subject]
    if not has(type(subject)):
        return subject
    found = {}
    for field in fields(type(subject)):
        # What was made without being checked may lack fields.
        if hasattr(subject, field.name) and keep(subject, field.name, value := getattr(subject, field.name)):
            plain = dumped(value, keep)
            found[field.name] = tuple(plain) if field.name == "dimensions" and isinstance(plain, list) else plain
    return found


def chosen(values: Any, include: Choice, exclude: Choice) -> Any:
    """Return of plain values those that are included, and not excluded.

    Examples
    --------
    >>> values = {"name": "a", "dimensions": [{"name": "t", "count": 3}, {"name": "y", "count": 8}]}
    >>> chosen(values, {"dimensions": {"__all__": {"name"}}}, {"dimensions": {-1}})
    {'dimensions': [{'name': 't'}]}
    """
    if isinstance(values, dict):
        keys: list[Any] = list(values)
        found: Any = {}
    elif isinstance(values, (list, tuple)):
        keys, found = list(range(len(values))), []
    else:
        return values
    for key in keys:
        wanted, unwanted = _of(include, key, len(keys)), _of(exclude, key, len(keys))
        if unwanted is True or (include is not None and wanted is None):
            continue
        item = chosen(values[key], None if wanted is True else wanted, unwanted)
        if isinstance(found, dict):
            found[key] = item
        else:
            found.append(item)
    return tuple(found) if isinstance(values, tuple) else found


def _of(choice: Choice, key: Any, count: int) -> Any:
    """Return what was chosen of the item `key` out of `count`: `True` for all of it, `None` for nothing."""
    if choice is None:
        return None
    said = dict(choice) if isinstance(choice, Mapping) else dict.fromkeys(choice, True)
    keys = [key, "__all__"] if isinstance(key, str) else [key, key - count, "__all__"]
    parts: list[Any] = [said[one] for one in keys if one in said and said[one] not in (None, False)]
    if any(part in (True, ...) for part in parts):
        return True
    merged: dict[Any, Any] = {}
    for part in parts:
        merged.update(part if isinstance(part, Mapping) else dict.fromkeys(part, True))
    return merged or None
