"""XML as text: an element is made of its name, its attributes and the text of its children.

A document may have 100,000 rows, so there is no tree between values and text.

Bio-Formats destroys references by number, `&#181;`, before it parses a document: a unit that is written so costs it
the whole document. So characters stand for themselves (in UTF-8, as the XML declaration says), and marks are called by
name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAMES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
# A parser takes any line end for "\n" (XML 1.0, 2.11), and white space of an attribute for blanks (3.3.3). For these
# there are only numbers; Bio-Formats then shows the number.
_IN_TEXT: Final = _NAMES | {ord("\r"): "&#13;"}
_IN_ATTRIBUTE: Final = _IN_TEXT | {ord('"'): "&quot;", ord("\t"): "&#9;", ord("\n"): "&#10;"}
_is_plain = re.compile(r'[^&<>"\t\n\r]*').fullmatch


def escaped(value: str) -> str:
    """Return text as it may stand in an attribute.

    Examples
    --------
    >>> escaped('5 µm < "z"')
    '5 µm &lt; &quot;z&quot;'
    """
    return value if _is_plain(value) else value.translate(_IN_ATTRIBUTE)


def escaped_text(value: str) -> str:
    """Return text as it may stand between tags.

    Examples
    --------
    >>> escaped_text('{"depth": "5 µm"} & more')
    '{"depth": "5 µm"} &amp; more'
    """
    return value if _is_plain(value) else value.translate(_IN_TEXT)


def attributes(values: Mapping[str, object]) -> str:
    """Return attributes, each with a space before it; those that are `None` are left out.

    Examples
    --------
    >>> attributes({"SizeX": 512, "PhysicalSizeX": 0.5, "Name": None, "BigEndian": False})
    ' SizeX="512" PhysicalSizeX="0.5" BigEndian="false"'
    """
    return "".join([f' {name}="{_value(value)}"' for name, value in values.items() if value is not None])


def _value(value: object) -> str:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def element(name: str, values: Mapping[str, object], *children: str) -> str:
    """Return an element; `children` are text already.

    Examples
    --------
    >>> element("Plate", {"ID": "Plate:0"}, element("Well", {"ID": "Well:0"}))
    '<Plate ID="Plate:0"><Well ID="Well:0"/></Plate>'
    """
    content = "".join(children)
    return f"<{name}{attributes(values)}>{content}</{name}>" if content else f"<{name}{attributes(values)}/>"
