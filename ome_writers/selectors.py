"""Given a selector, this answers: which elements of a dimension does it mean?

A *selector* is an index (from the end if negative), a name, a slice as text (`"::3"`: every third) or a list of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Selector = int | str | tuple[int | str, ...]

_SLICE: Final = re.compile(r"\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?")


@frozen
class Elements:
    """Elements of a dimension: from `start` to `stop` (`None`: the end) in steps."""

    start: int
    stop: int | None
    step: int

    def among(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the indices are meant."""
        found: NDArray[np.bool_] = (indices >= self.start) & ((indices - self.start) % self.step == 0)
        return found if self.stop is None else found & (indices < self.stop)


def is_slice(text: str) -> bool:
    """Return whether text has the form of a slice.

    Examples
    --------
    >>> is_slice("::3"), is_slice("1:-1"), is_slice("GFP")
    (True, True, False)
    """
    return _SLICE.fullmatch(text) is not None


def elements(selector: Selector, count: int | None, names: Mapping[str, tuple[int, ...]]) -> tuple[Elements, ...]:
    """Return which elements a selector means of a dimension with so many (`None`: without end), some of them named.

    Raises
    ------
    ValueError
        With what is wrong with it.

    Examples
    --------
    >>> elements(("DAPI", -1), 3, {"DAPI": (0,)})
    (Elements(start=0, stop=1, step=1), Elements(start=2, stop=3, step=1))
    """
    if isinstance(selector, tuple):
        return tuple(one for item in selector for one in elements(item, count, names))
    if isinstance(selector, str):
        if selector in names:
            return tuple(Elements(index, index + 1, 1) for index in names[selector])
        if is_slice(selector):
            return _slice(selector, count)
        known = ", ".join(map(repr, list(names)[:12])) or "it has none"
        raise ValueError(f"must be one of its names ({known}), an index or a slice such as '::3'; got {selector!r}")
    if not isinstance(selector, int) or isinstance(selector, bool):
        raise ValueError(f"must be an index, a name, a slice, or a list of those; got {selector!r:.80}")  # noqa: TRY004 - the value is the user's
    index = selector + (count or 0) if selector < 0 else selector
    if index < 0 or (count is not None and index >= count):
        allowed = "at least 0" if count is None else f"from {-count} to {count - 1}"
        raise ValueError(f"must be {allowed}; got {selector}")
    return (Elements(index, index + 1, 1),)


def _slice(text: str, count: int | None) -> tuple[Elements, ...]:
    found = _SLICE.fullmatch(text)
    parts = [int(part) if part and part != "-" else None for part in (found.groups() if found else ())]
    start, stop, step = parts
    if step is not None and step < 1:
        raise ValueError(f"a slice must go forwards; got {text!r}")
    if count is None:
        if (start or 0) < 0 or (stop is not None and stop < 0):
            raise ValueError(f"a slice of a dimension without end cannot count from its end; got {text!r}")
        return (Elements(start or 0, stop, step or 1),) if stop is None or (start or 0) < stop else ()
    begin, end, by = slice(start, stop, step).indices(count)
    return (Elements(begin, end, by),) if begin < end else ()
