"""What `validate` finds: a check has a name, a result, a place and a sentence; a report is all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from attrs import frozen

Result = Literal["ok", "warning", "failed", "not run"]

_MOST: Final = 50
"""Rows of one result that a check may have; a report of a million lost chunks would help nobody."""


@frozen
class Check:
    """What one check found, at one place.

    Examples
    --------
    >>> Check("chunks", "failed", "0/c/3/0", "is missing, though its frames came").result
    'failed'
    """

    name: str
    result: Result
    location: str
    """Key of the group, array, chunk or file below the dataset; `""` is the dataset as a whole."""
    message: str


@frozen
class Report:
    """All that `validate` found.

    Examples
    --------
    >>> Report("a.ome.zarr", "OME-Zarr", (Check("chunks", "ok", "", "60 of 60 decoded"),)).sound
    True
    """

    path: str
    kind: str
    """`OME-Zarr`, `OME-TIFF` or `TIFF`."""
    checks: tuple[Check, ...]
    """In the order in which they ran. A check that found nothing wrong has one row, others one for each find."""

    @property
    def sound(self) -> bool:
        """Whether nothing failed. Warnings, and checks that were not run, do not count."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """What failed."""
        return tuple(check for check in self.checks if check.result == "failed")


class Findings:
    """Collects what one check after the other finds."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self._name = ""
        self._beyond: dict[Result, int] = {}
        self.summary = ""
        """What the check says if it finds nothing wrong."""

    @contextmanager
    def check(self, name: str, summary: str = "") -> Iterator[Findings]:
        """Begin a check; without a find it is `ok`."""
        self._name, self.summary, self._beyond = name, summary, {}
        first = len(self.checks)
        yield self
        for result, more in self._beyond.items():
            self.checks.append(Check(name, result, "", f"and {more} more"))
        if len(self.checks) == first:
            self.checks.append(Check(name, "ok", "", self.summary))

    def fault(self, location: str, message: str) -> None:
        """Note what is wrong."""
        self._add("failed", location, message)

    def warn(self, location: str, message: str) -> None:
        """Note what a reader may stumble over."""
        self._add("warning", location, message)

    def not_run(self, reason: str) -> None:
        """Note why the check could not run."""
        self._add("not run", "", reason)

    def _add(self, result: Result, location: str, message: str) -> None:
        if sum(check.name == self._name and check.result == result for check in self.checks[-2 * _MOST :]) >= _MOST:
            self._beyond[result] = self._beyond.get(result, 0) + 1
        else:
            self.checks.append(Check(self._name, result, location, message))
