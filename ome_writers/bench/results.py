"""Given what each round took, this answers: how fast is each contender, and how near to the floor?

Rounds are compared with the floor's own time in the same round, since a disk is not the same from one minute to the
next. A rate counts the pixels, whatever becomes of them on disk, over the whole way from creating to closing.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from attrs import asdict, frozen
from numpy.typing import NDArray

from ome_writers.bench.contenders import Contender, Refused


@frozen(kw_only=True)
class Measured:
    """What one contender took in one round; times in seconds, sizes in bytes, `None` where the system does not tell."""

    create: float
    """From the settings to the first frame that can come."""
    append: float
    """All frames together."""
    close: float
    p50: float
    """Of the time that a single `append` took: half of them took no longer."""
    p99: float
    worst: float
    clock: float
    """How much of each of these is due to looking at the clock."""
    libraries: int | None
    """Memory for the libraries that were loaded, and for two small frames."""
    memory: int | None
    """The most memory beyond that, and beyond the frames that were to be written."""
    files: int
    """How many were made."""
    stored: int
    """Their lengths together."""
    descriptors: int | None
    """The most that were seen open, beyond those that were open before."""
    synced: float | None = None
    """How long it took the system to bring everything to the device; of the floor only."""

    @property
    def seconds(self) -> float:
        """From the settings to the end."""
        return self.create + self.append + self.close


@frozen
class Result:
    """What came of a contender: a value for each round, or the error that ended it."""

    contender: Contender
    rounds: tuple[Measured, ...]
    error: str | None = None


@frozen(kw_only=True)
class Spread:
    """The middle, the least and the most of several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of values.

        Examples
        --------
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, least=1.0, most=3.0)
        """
        return cls(median=median(values), least=min(values), most=max(values))


@frozen(kw_only=True)
class Summary:
    """The rounds of a contender in few numbers: medians, unless it says otherwise."""

    rate: Spread
    """Bytes of pixels in a second."""
    ratio: Spread | None
    """Rate as a part of the floor's in the same round."""
    p50: float
    p99: float
    worst: float
    """The worst of all rounds."""
    create: float
    close: float
    libraries: int | None
    memory: int | None
    """The most of all rounds."""
    files: int
    stored: int
    descriptors: int | None
    """The most of all rounds."""
    synced: Spread | None
    """Rate with the time that the device took; of the floor only."""


@frozen(kw_only=True)
class Comparison:
    """Everything that was measured in one go."""

    shape: tuple[int, ...]
    """Of a frame."""
    dtype: str
    frames: int
    frame_bytes: int
    folder: str
    machine: dict[str, str]
    results: tuple[Result, ...]
    """The floor comes first."""
    refused: tuple[Refused, ...]

    @property
    def failed(self) -> bool:
        """Whether any contender failed."""
        return any(result.error is not None for result in self.results)


def latencies(nanoseconds: Sequence[int] | NDArray[np.int64]) -> dict[str, float]:
    """Return the quantiles of single times, in seconds; each is a time that was measured, none lies between two.

    Examples
    --------
    >>> latencies([1000] * 98 + [5000, 9000])
    {'p50': 1e-06, 'p99': 5e-06, 'worst': 9e-06}
    """
    p50, p99, worst = np.quantile(nanoseconds, [0.5, 0.99, 1], method="inverted_cdf").tolist()
    return {"p50": p50 / 1e9, "p99": p99 / 1e9, "worst": worst / 1e9}


def summary(result: Result, floor: Result, amount: int) -> Summary | None:
    """Return the rounds of a contender in few numbers; `amount` bytes were written in each. `None` without any."""
    rounds = result.rounds
    if not rounds:
        return None
    pairs = list(zip(floor.rounds, rounds, strict=False))
    synced = [amount / (one.seconds + one.synced) for one in rounds if one.synced is not None]
    return Summary(
        rate=Spread.of([amount / one.seconds for one in rounds]),
        ratio=Spread.of([base.seconds / one.seconds for base, one in pairs]) if pairs else None,
        p50=median(one.p50 for one in rounds),
        p99=median(one.p99 for one in rounds),
        worst=max(one.worst for one in rounds),
        create=median(one.create for one in rounds),
        close=median(one.close for one in rounds),
        libraries=_most(one.libraries for one in rounds),
        memory=_most(one.memory for one in rounds),
        files=max(one.files for one in rounds),
        stored=max(one.stored for one in rounds),
        descriptors=_most(one.descriptors for one in rounds),
        synced=Spread.of(synced) if synced else None,
    )


def _most(values: Any) -> int | None:
    return max((value for value in values if value is not None), default=None)


def summaries(comparison: Comparison) -> list[Summary | None]:
    """Return the summary of each result."""
    amount = comparison.frames * comparison.frame_bytes
    floor = comparison.results[0]
    return [summary(result, floor, amount) for result in comparison.results]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return all that was measured as plain values: seconds, bytes, and bytes in a second."""
    values = {name: getattr(comparison, name) for name in ("dtype", "frames", "frame_bytes", "folder", "machine")}
    values["shape"] = list(comparison.shape)
    values["contenders"] = [
        {
            "name": result.contender.name,
            "writer": result.contender.writer,
            "error": result.error,
            "summary": None if summed is None else asdict(summed),
            "rounds": [asdict(one) | {"seconds": one.seconds} for one in result.rounds],
        }
        for result, summed in zip(comparison.results, summaries(comparison), strict=True)
    ]
    values["refused"] = [asdict(one) for one in comparison.refused]
    return values
