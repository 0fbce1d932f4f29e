"""XML as text: an element is made of its name, its attributes and the text of its children.

All text is ASCII; other characters become references, which every reader of a TIFF's ImageDescription takes as they
are meant. A document may have 100,000 rows, so there is no tree between values and text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# What a reader would take for markup, or would change: XML 1.0, 2.11 and 3.3.3, turns line ends and tabs into others.
_REFERENCES: Final = {ord(mark): f"&#{ord(mark)};" for mark in "&<>\"'\t\n\r"}
_is_plain = re.compile("[ !#-%(-;=?-~]*").fullmatch


def escaped(text: str) -> str:
    """Return text as it may stand in an attribute or between tags.

    Examples
    --------
    >>> escaped('5 µm < "z"')
    '5 &#181;m &#60; &#34;z&#34;'
    """
    if not _is_plain(text):
        text = text.translate(_REFERENCES)
        if not text.isascii():
            text = text.encode("ascii", "xmlcharrefreplace").decode("ascii")
    return text


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
