"""Work on its way: counted, bounded, and asked for its errors."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.writers.inflight import InFlight

DIMS = ow.dims_from_standard_axes({"t": 9, "y": 2, "x": 2})
SPEC = ow.compile(ow.AcquisitionSettings(root_path="a.zarr", dtype="uint8", dimensions=DIMS)).layout.arrays[0]


def block(frame: int, array: int = 0) -> ow.Block:
    return ow.Block((frame,), array, (frame,), np.zeros((1, 2, 2), "uint8"))


class Slow(Future[None]):
    """Work that ends when someone waits for it."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.waited_for = False

    def exception(self, timeout: float | None = None) -> Any:
        self.waited_for = True
        return self.error


def test_room_is_made_by_waiting_for_the_oldest() -> None:
    flight, work = InFlight(limit=100), [Slow() for _ in range(3)]
    for number, (future, size) in enumerate(zip(work, [40, 50, 30], strict=True)):
        flight.make_room(size)
        flight.add(future, size, block(number), SPEC)
    assert flight.held_bytes == 80
    assert [future.waited_for for future in work] == [True, False, False]
    flight.make_room(1000)
    assert flight.held_bytes == 0


def test_small_blocks_are_counted_too() -> None:
    flight, work = InFlight(limit=10**9), [Slow() for _ in range(300)]
    for number, future in enumerate(work):
        flight.make_room(1)
        flight.add(future, 1, block(number), SPEC)
    assert flight.held_bytes == 256
    assert sum(future.waited_for for future in work) == 44


def test_an_error_comes_to_light_at_the_next_call_wherever_it_stands_in_the_queue() -> None:
    flight, failed = InFlight(limit=10**9), Slow(OSError("disk full"))
    flight.add(Slow(), 1, block(0), SPEC)
    flight.add(failed, 1, block(7), SPEC)
    flight.add(Slow(), 1, block(8), SPEC)
    flight.make_room(1)
    failed.set_result(None)
    with pytest.raises(ow.WriteError, match=r"^frame 7 \(array '0' t=7\): disk full$") as caught:
        flight.make_room(1)
    assert caught.value.frame == 7
    assert isinstance(caught.value.__cause__, OSError)
    assert (flight.held_bytes, flight.failed) == (2, True)
    flight.wait()
    assert flight.held_bytes == 0


def test_of_several_errors_the_first_is_told() -> None:
    flight = InFlight(limit=10**9)
    for frame in (3, 4):
        flight.add(Slow(OSError(f"number {frame}")), 1, block(frame), SPEC)
    assert flight.lost == []
    with pytest.raises(ow.WriteError, match="number 3"):
        flight.wait()
    assert flight.lost == [3, 4]
    flight.wait()


def test_one_array_can_be_waited_for() -> None:
    flight, work = InFlight(limit=10**9), [Slow(), Slow(), Slow()]
    for array, future in zip([0, 1, 0], work, strict=True):
        flight.add(future, 5, block(0, array), SPEC)
    flight.wait(array=1)
    assert [future.waited_for for future in work] == [False, True, False]
    assert flight.held_bytes == 10


def test_a_block_without_frames_has_no_number() -> None:
    flight = InFlight(limit=10**9)
    flight.add(Slow(OSError("full")), 1, block(2)._replace(frames=()), SPEC)
    with pytest.raises(ow.WriteError, match=r"^a block \(array '0' t=2\): full$") as caught:
        flight.wait()
    assert caught.value.frame is None


def test_dropping_waits_and_forgets_errors() -> None:
    flight, work = InFlight(limit=10**9), [Slow(OSError("full")), Slow()]
    for future in work:
        flight.add(future, 1, block(0), SPEC)
    flight.drop()
    assert all(future.waited_for for future in work)
    assert flight.held_bytes == 0
