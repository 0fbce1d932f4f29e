"""Units of length and time: NGFF's names, OME-XML's symbols, and the spellings that people use.

NGFF 0.5, "axes" metadata, lists the names; OME-XML 2016-06 (`UnitsLength`, `UnitsTime`) the symbols. Settings hold
the NGFF name, OME-XML documents the symbol. This module holds tables and look-ups; it knows nothing of dimensions.
"""

from __future__ import annotations

from typing import Literal

Quantity = Literal["space", "time"]

_PREFIXES = {
    "yotta": "Y", "zetta": "Z", "exa": "E", "peta": "P", "tera": "T", "giga": "G", "mega": "M", "kilo": "k",
    "hecto": "h", "": "", "deci": "d", "centi": "c", "milli": "m", "micro": "µ", "nano": "n", "pico": "p",
    "femto": "f", "atto": "a", "zepto": "z", "yocto": "y",
}  # fmt: skip

LENGTH: dict[str, str] = {
    **{f"{prefix}meter": f"{symbol}m" for prefix, symbol in _PREFIXES.items()},
    "angstrom": "Å", "foot": "ft", "inch": "in", "mile": "mi", "parsec": "pc", "yard": "yd",
}  # fmt: skip
"""NGFF name of a unit of length -> OME symbol."""

TIME: dict[str, str] = {
    **{f"{prefix}second": f"{symbol}s" for prefix, symbol in _PREFIXES.items()},
    "minute": "min", "hour": "h", "day": "d",
}  # fmt: skip
"""NGFF name of a unit of time -> OME symbol."""

_OTHER_SPELLINGS = {
    "space": {"um": "micrometer", "u": "micrometer", "μm": "micrometer", "micron": "micrometer",
              "microns": "micrometer", "A": "angstrom", "\u212b": "angstrom"},
    "time": {"us": "microsecond", "μs": "microsecond", "usec": "microsecond", "µsec": "microsecond",
             "msec": "millisecond", "sec": "second", "hr": "hour"},
}  # fmt: skip

_NAMES: dict[str, dict[str, str]] = {
    quantity: {
        **{name: name for name in table},
        **{symbol: name for name, symbol in table.items()},
        **_OTHER_SPELLINGS[quantity],
    }
    for quantity, table in (("space", LENGTH), ("time", TIME))
}

METERS: dict[str, float] = {
    **{f"{prefix}meter": 10.0**power for prefix, power in zip(
        _PREFIXES, (24, 21, 18, 15, 12, 9, 6, 3, 2, 0, -1, -2, -3, -6, -9, -12, -15, -18, -21, -24), strict=True)},
    "angstrom": 1e-10, "foot": 0.3048, "inch": 0.0254, "mile": 1609.344, "parsec": 3.0856775814913673e16,
    "yard": 0.9144,
}  # fmt: skip
"""NGFF name of a unit of length -> its length in meters."""

SECONDS: dict[str, float] = {
    **{f"{name.removesuffix('meter')}second": size for name, size in METERS.items() if name.endswith("meter")},
    "minute": 60.0, "hour": 3600.0, "day": 86400.0,
}  # fmt: skip
"""NGFF name of a unit of time -> its length in seconds."""


def ngff_name(unit: str, quantity: Quantity) -> str | None:
    """Return NGFF's name of a unit of `quantity`, or `None` if it is none.

    Examples
    --------
    >>> ngff_name("um", "space"), ngff_name("Micrometer", "space"), ngff_name("ms", "time")
    ('micrometer', 'micrometer', 'millisecond')
    >>> ngff_name("ms", "space") is None
    True
    """
    names = _NAMES[quantity]
    # Symbols differ by case (`Mm`, `mm`); names do not.
    return names.get(unit) or names.get(unit.lower() if len(unit) > 2 else unit)  # noqa: PLR2004 - the longest symbol that case tells apart


def quantity_of(unit: str) -> Quantity | None:
    """Return whether `unit` measures space or time, or `None` if it is known as neither.

    Examples
    --------
    >>> quantity_of("um"), quantity_of("minute"), quantity_of("furlong")
    ('space', 'time', None)
    """
    for quantity in ("space", "time"):
        if ngff_name(unit, quantity):
            return quantity
    return None


def ome_symbol(name: str) -> str | None:
    """Return OME-XML's symbol for a unit by its NGFF name, `None` for names that are no unit of length or time.

    Examples
    --------
    >>> ome_symbol("micrometer"), ome_symbol("hour")
    ('µm', 'h')
    """
    return LENGTH.get(name) or TIME.get(name)
