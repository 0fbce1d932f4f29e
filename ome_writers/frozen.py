"""A mapping that does not change: what frozen settings hold where users write names and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NoReturn, TypeVar

V = TypeVar("V")


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("this mapping is part of frozen settings; make a changed copy of them with attrs.evolve")


class FrozenDict(dict[str, V], Generic[V]):
    """A `dict` that cannot be changed, and so can be hashed.

    Examples
    --------
    >>> FrozenDict(z=5) == {"z": 5}, hash(FrozenDict(a=1, b=2)) == hash(FrozenDict(b=2, a=1))
    (True, True)
    """

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict[V]], tuple[dict[str, V]]]:
        return FrozenDict, (dict(self),)


def as_mapping(value: object) -> Any:
    """Cast a mapping to one that cannot be changed, and its lists to tuples; `None` to an empty one."""
    if value is None:
        return FrozenDict()
    if not isinstance(value, Mapping):
        return value
    return FrozenDict({name: tuple(item) if isinstance(item, list) else item for name, item in value.items()})
