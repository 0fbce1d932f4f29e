"""A program that acquires, tells how many frames are safe, and waits for its end; it is run as a file.

It imports no more than a program that acquires would.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.serial import loads

Y, X = 6, 7
T, P, C = 4, 2, 2


def pixels(number: int) -> NDArray[Any]:
    """Return a frame."""
    return np.arange(Y * X, dtype="uint16").reshape(Y, X) + 100 * number + 1


def metadata(number: int) -> dict[str, Any]:
    """Return what comes with a frame."""
    return {"exposure_time": 0.5, "number": number}


def send(stream: ow.Stream, stop: int, passed: Collection[int] = (), *, put: bool = False) -> None:
    """Send the frames up to a number, from where a stream goes on, but for some that are skipped."""
    if not stream.cursor:
        stream.set_global_metadata("lab", {"room": 3})
    for number in range(stream.cursor, stop):
        if number in passed:
            stream.skip()
        elif put:
            t, p, c = number // (P * C), number // C % P, number % C
            stream.put(pixels(number), frame_metadata=metadata(number), t=t, p=p, c=c)
        else:
            stream.append(pixels(number), frame_metadata=metadata(number))


def live() -> None:
    """Acquire, in a process that is killed."""
    settings, writer, frames, passed, put, pause = json.loads(sys.argv[1])
    stream = ow.create_stream(loads(settings, "json"), writer)
    send(stream, frames, passed, put=put)
    time.sleep(pause)
    sys.stdout.write(f"{stream.safe_frames}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    live()
