"""Events: what listeners hear, when, in which thread; and what they cannot spoil."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ome_writers as ow
from ome_writers.events import CoordUpdate

FRAME: NDArray[Any] = np.zeros((3, 5), "uint16")
FRAME_AXES = [ow.Dimension(name="y", count=3), ow.Dimension(name="x", count=5)]


def stream_of(*dims: ow.Dimension) -> ow.Stream:
    return ow.create_stream(ow.AcquisitionSettings(dtype="uint16", dimensions=[*dims, *FRAME_AXES]))


def times(count: int | None = None) -> ow.Dimension:
    return ow.Dimension(name="t", count=count)


TPC = (
    times(3),
    ow.Dimension(name="p", coords=["A", "B"], type="position"),
    ow.Dimension(name="c", coords=["DAPI", ow.Channel(name="GFP")]),
)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.updates: list[CoordUpdate] = []
        self.threads: set[str] = set()

    def __call__(self, update: CoordUpdate) -> None:
        self.updates.append(update)
        self.threads.add(threading.current_thread().name)

    @property
    def frames(self) -> list[int]:
        return [update.frame_number for update in self.updates]


class TestWhatIsHeard:
    def test_every_frame(self) -> None:
        heard = Heard()
        with stream_of(*TPC) as stream:
            stream.on("coords_changed", heard)
            for _ in range(5):
                stream.append(FRAME)
        assert [dict(update.current_indices) for update in heard.updates] == [
            {"t": 0, "p": 0, "c": 0, "y": 0, "x": 0},
            {"t": 0, "p": 0, "c": 1, "y": 0, "x": 0},
            {"t": 0, "p": 1, "c": 0, "y": 0, "x": 0},
            {"t": 0, "p": 1, "c": 1, "y": 0, "x": 0},
            {"t": 1, "p": 0, "c": 0, "y": 0, "x": 0},
        ]
        assert heard.frames == [0, 1, 2, 3, 4]
        assert [update.is_high_water_mark for update in heard.updates] == [True, True, True, False, True]
        frame_axes = {"y": range(3), "x": range(5)}
        assert [update.max_coords for update in heard.updates] == [
            {"t": range(1), "p": ["A"], "c": ["DAPI"], **frame_axes},
            {"t": range(1), "p": ["A"], "c": ["DAPI", "GFP"], **frame_axes},
            {"t": range(1), "p": ["A", "B"], "c": ["DAPI", "GFP"], **frame_axes},
            {"t": range(1), "p": ["A", "B"], "c": ["DAPI", "GFP"], **frame_axes},
            {"t": range(2), "p": ["A", "B"], "c": ["DAPI", "GFP"], **frame_axes},
        ]

    def test_only_what_gets_further(self) -> None:
        heard = Heard()
        with stream_of(*TPC) as stream:
            stream.on("coords_expanded", heard)
            for _ in range(12):
                stream.append(FRAME)
        assert heard.frames == [0, 1, 2, 4, 8]
        assert all(update.is_high_water_mark for update in heard.updates)

    def test_what_is_skipped_is_one_event_if_something_gets_further(self) -> None:
        changed, expanded = Heard(), Heard()
        with stream_of(*TPC) as stream:
            stream.on("coords_changed", changed)
            stream.on("coords_expanded", expanded)
            stream.append(FRAME)
            stream.skip(frames=5)
            stream.skip(frames=2)
            stream.append(FRAME)
            stream.skip(frames=3)
        assert changed.frames == [0, 5, 8]
        assert expanded.frames == [0, 5, 8]
        assert dict(changed.updates[1].current_indices) == {"t": 1, "p": 0, "c": 1, "y": 0, "x": 0}
        assert changed.updates[1].max_coords["t"] == range(2)

    def test_an_axis_without_end(self) -> None:
        heard = Heard()
        with stream_of(times(), ow.Dimension(name="z", count=2)) as stream:
            stream.on("coords_expanded", heard)
            for _ in range(5):
                stream.append(FRAME)
        assert heard.frames == [0, 1, 2, 4]
        assert heard.updates[-1].max_coords["t"] == range(3)

    def test_a_snake_reaches_its_end_once(self) -> None:
        heard = Heard()
        with stream_of(times(2), ow.Dimension(name="z", count=3, snake=True)) as stream:
            stream.on("coords_changed", heard)
            for _ in range(6):
                stream.append(FRAME)
        assert [update.current_indices["z"] for update in heard.updates] == [0, 1, 2, 2, 1, 0]
        assert [update.is_high_water_mark for update in heard.updates] == [True, True, True, True, False, False]

    def test_who_comes_later_hears_what_happens_later(self) -> None:
        first, second = Heard(), Heard()
        with stream_of(times(6)) as stream:
            stream.on("coords_changed", first)
            for _ in range(3):
                stream.append(FRAME)
            stream.on("coords_changed", second)
            for _ in range(3):
                stream.append(FRAME)
        assert first.frames == [0, 1, 2, 3, 4, 5]
        assert second.frames == [3, 4, 5]

    def test_who_comes_late_knows_what_was_reached_before(self) -> None:
        heard = Heard()
        with stream_of(*TPC) as stream:
            for _ in range(6):
                stream.append(FRAME)
            stream.on("coords_expanded", heard)
            for _ in range(6):
                stream.append(FRAME)
        assert heard.frames == [8]
        assert heard.updates[0].max_coords["p"] == ["A", "B"]

    def test_an_event_that_there_is_not(self) -> None:
        with (
            stream_of(times(1)) as stream,
            pytest.raises(ValueError, match="must be one of 'coords_expanded', 'coords_changed'; got 'frame'"),
        ):
            stream.on("frame", print)  # type: ignore[arg-type]

    def test_many_frames_come_in_order(self) -> None:
        heard = Heard()
        with stream_of(times(5000)) as stream:
            stream.on("coords_changed", heard)
            for _ in range(5000):
                stream.append(FRAME)
        assert heard.frames == list(range(5000))


class TestThreads:
    def test_one_at_a_time_and_never_in_the_acquiring_thread(self) -> None:
        inside: list[int] = []
        overlaps: list[int] = []
        heard = Heard()

        def slow(update: CoordUpdate) -> None:
            overlaps.extend(inside)
            inside.append(update.frame_number)
            time.sleep(0.001)
            inside.remove(update.frame_number)

        with stream_of(times(20)) as stream:
            for listener in (slow, heard, slow):
                stream.on("coords_changed", listener)
            for _ in range(20):
                stream.append(FRAME)
        assert overlaps == []
        assert heard.threads == {"ome-writers-events"}

    def test_a_slow_listener_holds_nobody_up_and_close_waits_for_it(self) -> None:
        may_go_on = threading.Event()
        heard = Heard()

        def waits(update: CoordUpdate) -> None:
            may_go_on.wait()
            heard(update)

        stream = stream_of(times(10))
        stream.on("coords_changed", waits)
        for _ in range(10):
            stream.append(FRAME)
        assert heard.frames == []
        threading.Timer(0.05, may_go_on.set).start()
        stream.close()
        assert heard.frames == list(range(10))
        assert not [thread for thread in threading.enumerate() if thread.name == "ome-writers-events"]

    def test_a_listener_may_look_at_what_has_come(self) -> None:
        seen: list[int] = []
        stream = stream_of(times(10))
        view = stream.view()
        stream.on("coords_changed", lambda update: seen.append(int(view[update.frame_number].max())))
        for number in range(10):
            stream.append(FRAME + number)
        stream.close()
        assert seen == list(range(10))

    def test_a_listener_may_close_the_stream(self) -> None:
        heard = Heard()
        closed = threading.Event()
        stream = stream_of(times())

        def stops(update: CoordUpdate) -> None:
            heard(update)
            if update.frame_number == 1:
                stream.close()
                closed.set()

        stream.on("coords_changed", stops)
        stream.append(FRAME)
        stream.append(FRAME)
        assert closed.wait(10)
        with pytest.raises(ValueError, match="closed"):
            stream.append(FRAME)
        stream.close()
        assert heard.frames == [0, 1]

    def test_after_closing_nothing_is_heard(self) -> None:
        heard = Heard()
        stream = stream_of(times(2))
        stream.append(FRAME)
        stream.close()
        stream.on("coords_changed", heard)
        assert heard.frames == []

    def test_a_forgotten_stream_tells_its_listeners_and_ends_their_thread(self) -> None:
        heard = Heard()

        def forget() -> None:
            stream = stream_of(times(3))
            stream.on("coords_changed", heard)
            stream.append(FRAME)
            del stream
            gc.collect()

        with pytest.warns(ResourceWarning, match="was not closed"):
            forget()
        assert heard.frames == [0]
        assert not [thread for thread in threading.enumerate() if thread.name == "ome-writers-events"]


class TestListenersThatFail:
    @pytest.fixture
    def reported(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        found: list[Any] = []
        hook: Callable[[Any], object] = found.append
        monkeypatch.setattr(threading, "excepthook", hook)
        return found

    def test_what_they_raise_is_reported_and_the_rest_goes_on(self, reported: list[Any]) -> None:
        heard, other = Heard(), Heard()

        def fails(update: CoordUpdate) -> None:
            heard(update)
            raise RuntimeError(f"frame {update.frame_number}")

        with stream_of(times(3)) as stream:
            stream.on("coords_changed", fails)
            stream.on("coords_changed", other)
            for _ in range(3):
                stream.append(FRAME)
        assert heard.frames == other.frames == [0, 1, 2]
        assert [str(report.exc_value) for report in reported] == ["frame 0", "frame 1", "frame 2"]
        assert {report.exc_type for report in reported} == {RuntimeError}
        assert {report.thread.name for report in reported} == {"ome-writers-events"}
        assert stream.outcome is not None
        assert stream.outcome.verdict == "complete"
