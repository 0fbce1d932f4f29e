"""Given the values of a settings object, this answers: what is wrong with them?

A rule is a generator function: it takes the object and yields a `Problem` for each thing that it finds. Rules run over
values as they came, good or bad; a rule that asks for a value in which an earlier rule found a fault is skipped (and
only that rule), so no problem hides another and none is reported twice. `settings.py` runs the rules of its own
object in every constructor, `compile` adds those of `acquisition_rules.READY`.

Here are the runner and the rules of one value, made to measure; `rules.py` says which rules each class has.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Final, TypeGuard, TypeVar

from attrs import NOTHING, asdict, fields_dict

from ome_writers.casts import as_plain
from ome_writers.errors import Problem, SettingsError

Rule = Callable[[Any], Iterable[Problem]]
T = TypeVar("T")

MISSING: Final[Any] = type("Missing", (), {"__repr__": lambda _: "nothing"})()
"""Stands in for a required value that did not come."""


class _Brief(reprlib.Repr):
    """A `repr` that stays short, whatever it is given: nested without end, a picture, a number of many pages."""

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= _PRINTED_BITS else f"a number of {x.bit_length()} bits"


_PRINTED_BITS = 1024
_MOST_SHOWN = 300
_BRIEF = _Brief()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlong = 3, 120, 120, 120


def shown(value: object) -> str:
    """Return `value` as a message shows it: its `repr`, cut short where it is long.

    Examples
    --------
    >>> shown("um"), shown(["t"] * 1000)
    ("'um'", "['t', 't', 't', 't', 't', 't', ...]")
    """
    text = _BRIEF.repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


class _FaultyInput(Exception):  # noqa: N818 - a signal between rule and runner, never seen outside
    """A rule asked for a value that is known to be wrong."""


class Draft:
    """What came for an object that could not be built: its values, read like attributes, and their problems."""

    def __init__(self, subject: object, problems: Iterable[Problem] = ()) -> None:
        self._subject = subject
        self.problems = list(problems)

    def __getattr__(self, name: str) -> Any:
        # A fault of a child (a longer path) is the child's; it leaves the field that holds the child readable.
        if any(problem.loc in ((), (name,)) for problem in self.problems):
            raise _FaultyInput
        return getattr(self._subject, name)

    def __repr__(self) -> str:
        return repr(self._subject)


def problems_of(subject: object, fields: Iterable[str], rules: Iterable[Rule]) -> list[Problem]:
    """Return everything that is wrong with `subject`: its children's problems, then what `rules` find."""
    draft = Draft(subject)
    for name in fields:
        value = getattr(subject, name)
        items = [((name,), value)] if not isinstance(value, tuple) else [((name, i), v) for i, v in enumerate(value)]
        for loc, item in items:
            if isinstance(item, Draft):
                draft.problems += [problem.under(*loc) for problem in item.problems]
    for rule in rules:
        try:
            found = list(rule(draft))
        except _FaultyInput:
            continue
        draft.problems += found
    return draft.problems


def require(subject: object, fields: Iterable[str], rules: Iterable[Rule]) -> None:
    """Raise all the problems of `subject` at once.

    Raises
    ------
    SettingsError
        If there are any; its `subject` is the object that was refused.
    """
    if problems := problems_of(subject, fields, rules):
        error = SettingsError(problems)
        error.subject = subject
        raise error


def readable(items: object, *names: str) -> Iterator[tuple[int, Any]]:
    """Yield the numbered `items` that have all the named attributes, free of faults."""
    for number, item in enumerate(items if isinstance(items, tuple) else ()):
        try:
            for name in names:
                getattr(item, name)
        except (_FaultyInput, AttributeError):
            continue
        yield number, item


# ── rules of one value, made to measure ─────────────────────────────────────────────────────────────────────────────

_NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What is no `Char` in XML 1.0 (section 2.2), and so can be stored in no OME-XML document."""


def text_fault(value: object) -> tuple[str, str] | None:
    """Return the kind and the message of what is wrong with `value` as a text, if anything is."""
    if not isinstance(value, str):
        return "invalid_type", f"must be text; got {shown(value)}"
    if bad := _NOT_IN_XML.search(value):
        return (
            "invalid_value",
            f"must not hold the character {bad.group()!r}, which XML cannot store; got {shown(value)}",
        )
    return None


_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that stand for devices on Windows, whatever follows a dot."""
_LONGEST_NAME: Final = 200
"""Bytes of UTF-8; file systems take 255, and some names get a prefix while they are written."""


def file_name_fault(name: str) -> str | None:
    """Return why a text cannot be the name of a file or folder on every system, `None` if it can.

    Examples
    --------
    >>> file_name_fault("A1"), file_name_fault("com1.x")
    (None, 'stands for a device on Windows')
    """
    if name in ("", ".", "..") or re.search(r"[/\\]", name):
        return "is a path, not a name"
    if bad := re.search(r"[<>:\"|?*\x00-\x1f\x7f]", name):
        return f"holds {bad.group()!r}, which Windows allows in no name"
    if name[-1] in ". ":
        return "ends in a dot or a space, which Windows drops"
    if _RESERVED.fullmatch(name):
        return "stands for a device on Windows"
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} bytes"
    return None


def text(name: str, *, optional: bool = False, empty: bool = False) -> Rule:
    """Make the rule that `name` is text that OME-XML can store."""

    def rule(subject: Any) -> Iterator[Problem]:
        value = getattr(subject, name)
        if value is MISSING:
            yield Problem((name,), "missing", "is required")
        elif value is None and optional:
            return
        elif fault := text_fault(value):
            yield Problem((name,), *fault)
        elif not value and not empty:
            yield Problem((name,), "invalid_value", "must not be empty")

    return rule


def whole(name: str, *, at_least: int, at_most: int = 2**31 - 1) -> Rule:
    """Make the rule that `name` is `None` or a whole number, by default one that an index of a frame can be."""

    def rule(subject: Any) -> Iterator[Problem]:
        value = getattr(subject, name)
        if value is None:
            return
        if not isinstance(value, Integral) or isinstance(value, bool):
            yield Problem((name,), "invalid_type", f"must be a whole number; got {shown(value)}")
        elif int(value) < at_least:
            yield Problem((name,), "invalid_value", f"must be at least {at_least}; got {shown(value)}")
        elif int(value) > at_most:
            yield Problem((name,), "invalid_value", f"must be at most {at_most}; got {shown(value)}")

    return rule


def is_number(value: object) -> TypeGuard[Real]:
    """Return whether `value` is a real number (`True` and `False` are not)."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Return whether a number is finite, and small enough for a float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def number(name: str, *, positive: bool = False) -> Rule:
    """Make the rule that `name` is `None` or a finite number."""

    def rule(subject: Any) -> Iterator[Problem]:
        value = getattr(subject, name)
        if value is None:
            return
        if not is_number(value):
            yield Problem((name,), "invalid_type", f"must be a number; got {shown(value)}")
        elif not is_finite(value):
            yield Problem((name,), "invalid_value", f"must be finite; got {shown(value)}")
        elif positive and value <= 0:
            yield Problem((name,), "invalid_value", f"must be greater than 0; got {shown(value)}")

    return rule


def choice(name: str, allowed: Collection[object], *, optional: bool = False) -> Rule:
    """Make the rule that `name` is one of `allowed`."""

    def rule(subject: Any) -> Iterator[Problem]:
        value = getattr(subject, name)
        if not (value is None and optional) and not any(type(value) is type(one) and value == one for one in allowed):
            listed = ", ".join(map(repr, allowed))
            yield Problem((name,), "invalid_value", f"must be one of {listed}; got {shown(value)}")

    return rule


def flag(name: str) -> Rule:
    """Make the rule that `name` is true or false."""
    return choice(name, (True, False))


def listed(name: str, what: str, *, optional: bool = False) -> Rule:
    """Make the rule that `name` is a list."""

    def rule(subject: Any) -> Iterator[Problem]:
        value = getattr(subject, name)
        if value is MISSING:
            yield Problem((name,), "missing", "is required")
        elif not (value is None and optional) and not isinstance(value, tuple):
            yield Problem((name,), "invalid_type", f"must be a list of {what}; got {shown(value)}")

    return rule


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that come more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


# ── objects that are checked when they are made ─────────────────────────────────────────────────────────────────────


def build(cls: type[T], value: object, shorthand: str | None = None) -> T | Draft:
    """Build a settings object from a mapping of its fields, or say in a `Draft` why it cannot be built.

    `shorthand` names the field that a plain string stands for.
    """
    if isinstance(value, (cls, Draft)):
        return value
    if isinstance(value, str) and shorthand:
        value = {shorthand: value}
    if not isinstance(value, Mapping):
        return Draft(
            value, [Problem((), "invalid_type", f"must be a mapping of {cls.__name__}'s fields; got {shown(value)}")]
        )
    known = {name: attribute for name, attribute in fields_dict(cls).items() if attribute.init}  # type: ignore[arg-type]
    strange = [
        Problem((str(name),), "unknown_field", f"is no field of {cls.__name__}") for name in value if name not in known
    ]
    absent = {name: MISSING for name, attribute in known.items() if attribute.default is NOTHING and name not in value}
    try:
        built = cls(**absent, **{name: item for name, item in value.items() if name in known})
    except SettingsError as error:
        return Draft(error.subject, [*strange, *error.problems])
    return Draft(built, strange) if strange else built


class Checked:
    """A settings object that raises all its problems when it is made."""

    _rules: ClassVar[tuple[Rule, ...]]

    def __attrs_post_init__(self) -> None:
        for name, value in asdict(self, recurse=False).items():  # type: ignore[arg-type]
            if isinstance(value, (str, tuple)):
                self._set(**{name: as_plain(value)})
        require(self, fields_dict(type(self)), self._rules)  # type: ignore[arg-type]

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)
