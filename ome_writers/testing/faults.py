"""Given a way to store an acquisition, this puts it through a program that is to be killed, and looks at what is left.

`python -m ome_writers.testing.faults '{"way": "direct-zarr", …}'` is the program: it writes frames and says
`acknowledged n` after each. What `sent` says a frame holds, and `Case.place` where it lies, are plain numpy and loops.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from attrs import asdict, frozen
from numpy.typing import NDArray

from ome_writers.plan import compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings
from ome_writers.shorthand import dims_from_standard_axes
from ome_writers.stream import Stream
from ome_writers.testing.ways import Way, ways

_BASE: Final = np.arange(1, 4093, dtype=np.uint16)


def sent(number: int, y: int = 32, x: int = 32) -> NDArray[Any]:
    """Return what the frame of that number holds; no two are alike, and no pixel is 0.

    Examples
    --------
    >>> sent(3, 1, 4).tolist()
    [[2788, 2789, 2790, 2791]]
    """
    begin = number * 2293 % len(_BASE)
    return np.resize(np.roll(_BASE, -begin), (y, x))


@frozen(kw_only=True)
class Case:
    """An acquisition of t, p, c in this order, in one of the ways, and how it is to end."""

    way: str
    folder: str
    t: int | None = 40
    p: int = 1
    c: int = 1
    y: int = 128
    x: int = 128
    chunks: Mapping[str, int] | None = None
    shards: Mapping[str, int] | None = None
    settings: Mapping[str, Any] = {}
    frames: int = 40
    """How many are sent."""
    then: str = "close"
    """`"close"`, `"leave"` (the interpreter ends with the stream open), or `"wait"` for a signal after that."""
    fork: int | None = None
    """After which frame the program forks a child, which tries to write and ends as a program ends."""

    @property
    def stored_in(self) -> Way:
        """The way, by its name."""
        return next(way for way in ways() if way.name == self.way)

    def acquisition(self) -> AcquisitionSettings:
        """Return its settings."""
        dims = dims_from_standard_axes(
            {"t": self.t, "p": self.p, "c": self.c, "y": self.y, "x": self.x},
            chunk_shapes=None if self.chunks is None else dict(self.chunks),
            shard_shapes=None if self.shards is None else dict(self.shards),
        )
        return self.stored_in.settings(self.folder, dims, **{"dtype": "uint16", **self.settings})

    def place(self, number: int) -> tuple[int, int, int]:
        """Return t, p, c of a frame."""
        return number // (self.p * self.c), number // self.c % self.p, number % self.c

    def arrays(self) -> list[NDArray[Any] | None]:
        """Return what others read of each position, with the axes t, c, y, x."""
        plan, way = compile(self.acquisition()), self.stored_in
        found: list[NDArray[Any] | None] = []
        for spec in plan.layout.arrays:
            try:
                found.append(way.read(way.make(), plan.settings.output_path, spec))
            except FileNotFoundError:  # where no page came, there is no file
                found.append(None)
        shape = (-1, self.c, self.y, self.x)
        return [None if pixels is None else pixels.reshape(shape) for pixels in found]

    def look(self, number: int, arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
        """Return what stands at the place of a frame, `None` if there is no such place."""
        t, p, c = self.place(number)
        pixels = arrays[p]
        return None if pixels is None or t >= len(pixels) else np.asarray(pixels[t, c])

    def there(self) -> list[int]:
        """Return the numbers of the frames that others find whole.

        Raises
        ------
        AssertionError
            If any pixel was not sent: one that is neither blank nor that of its frame.
        """
        arrays, whole = self.arrays(), []
        length = max((len(pixels) for pixels in arrays if pixels is not None), default=0)
        for number in range(length * self.p * self.c):
            seen = self.look(number, arrays)
            if seen is None or not seen.any():
                continue
            wanted = sent(number, self.y, self.x)
            strange = (seen != wanted) & (seen != 0)
            if number >= self.frames or strange.any():
                raise AssertionError(f"frame {number} has pixels that were not sent: {seen[strange][:5]}")
            if (seen == wanted).all():
                whole.append(number)
        return whole


@contextmanager
def running(case: Case, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start the program; it is gone at the end, whatever happens."""
    command = [sys.executable, "-W", "ignore", "-m", "ome_writers.testing.faults", json.dumps(asdict(case))]
    process = subprocess.Popen(  # noqa: S603 - ourselves
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def acknowledged(process: subprocess.Popen[str], until: int | None = None) -> int:
    """Return how many frames a program says are taken, once it has said so of as many as asked for, or has ended."""
    taken = 0
    for line in process.stdout or ():
        if not line.endswith("\n"):
            break  # it was killed in the middle of saying so
        word, _, number = line.partition(" ")
        if word == "acknowledged":
            taken = int(number)
            if until is not None and taken >= until:
                break
    return taken


def run(case: Case) -> None:
    """Write the frames of a case, and say so."""

    def say(*words: object) -> None:
        print(*words, flush=True)  # noqa: T201 - the parent listens

    stream = Stream(compile(case.acquisition()), case.stored_in.make())
    say("acknowledged", 0)
    if case.then == "close":
        with stream:
            _send(case, stream, say)
    else:
        _send(case, stream, say)
    if case.then == "wait":
        sys.stdin.read()
    if stream.outcome is not None:
        say("outcome", stream.outcome.verdict, stream.outcome.frames)


def _send(case: Case, stream: Stream, say: Callable[..., None]) -> None:
    for number in range(case.frames):
        stream.append(sent(number, case.y, case.x), frame_metadata={"number": number})
        say("acknowledged", number + 1)
        if number == case.fork:
            _fork(stream, say)


def _fork(stream: Stream, say: Callable[..., None]) -> None:
    child = os.fork()
    if child:
        say("child", os.waitpid(child, 0)[1])
        return
    try:
        stream.append(np.zeros((1, 1), "uint16"))
    except OSError:
        stream.close()
        sys.exit(7)
    sys.exit(1)


if __name__ == "__main__":
    run(Case(**json.loads(sys.argv[1])))
