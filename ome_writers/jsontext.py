"""Given the bytes of a JSON document that may come from anywhere, this answers: what does it say?

What can be wrong with one is told in one way, so that whoever opened the file has only to say which it is. Text costs
at most some twenty times its length in memory, whatever it says.
"""

from __future__ import annotations

import json
from typing import Any

from ome_writers.errors import Malformed


def value_in(data: bytes | str) -> Any:
    """Return the value that a JSON document holds; `NaN` and `Infinity`, which some write, are understood.

    Raises
    ------
    Malformed
        If it is none; the message says why, and where in it.

    Examples
    --------
    >>> value_in(b'{"frames": 3}')
    {'frames': 3}
    >>> value_in(b'{"frames": 3')
    Traceback (most recent call last):
    ome_writers.errors.Malformed: is no JSON: Expecting ',' delimiter (at line 1, column 13)
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise Malformed(f"is no UTF-8 text: {error.reason} (at byte {error.start})") from None
    except json.JSONDecodeError as error:
        if not text.strip("\0 \t\r\n"):
            raise Malformed("holds nothing but zeros or blanks" if text else "is empty") from None
        raise Malformed(f"is no JSON: {error.msg} (at line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise Malformed("is no JSON that can be read: it is nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"is no JSON that can be read: {error}") from None  # a number of thousands of digits


def object_in(data: bytes | str) -> dict[str, Any]:
    """Return the JSON object that a document holds.

    Raises
    ------
    Malformed
        If it is none, or another value.

    Examples
    --------
    >>> object_in("[]")
    Traceback (most recent call last):
    ome_writers.errors.Malformed: must be a JSON object; got a list
    """
    value = value_in(data)
    if not isinstance(value, dict):
        raise Malformed(f"must be a JSON object; got {_KINDS.get(type(value), 'a number')}")
    return value


_KINDS = {list: "a list", str: "text", type(None): "null", bool: "true or false"}
