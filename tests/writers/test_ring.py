"""A writer behind a thread and a ring of buffers: order, bounds, errors and ends."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import ome_writers as ow
from ome_writers.testing import Failing, check_writer, expected_arrays, frame_pixels, read_tiff, read_zarr
from ome_writers.writer import writer_named
from ome_writers.writers import ring
from ome_writers.writers.buffered import BufferedWriter
from ome_writers.writers.memory import MemoryWriter
from ome_writers.writers.tensorstore import TensorStoreWriter

FRAME = 64
"""Bytes of the frames of most tests: 8 x 8 uint8."""


def plan_of(frames: int | None = 40, **more: Any) -> ow.Plan:
    dims = ow.dims_from_standard_axes({"t": frames, "y": 8, "x": 8})
    return ow.compile(ow.AcquisitionSettings(dtype="uint8", dimensions=dims, **more))


def block(t: int, size: int = 1) -> ow.Block:
    return ow.Block(tuple(range(t, t + size)), 0, (t,), np.full((size, 8, 8), t + 1, "uint8"))


class Held(MemoryWriter):
    """A slow disk: stores nothing until `go` is set, and says when the first block has come."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.come = threading.Event(), threading.Event()
        self.calls: list[list[int]] = []
        self.seen: list[ow.Block] = []

    def write(self, blocks: Sequence[ow.Block], /) -> None:
        self.come.set()
        self.go.wait()
        super().write(blocks)
        self.calls.append([frame for block in blocks for frame in block.frames])
        self.seen += blocks


def opened(inner: Any, slots: int, frames: int | None = 40) -> BufferedWriter:
    writer = BufferedWriter(inner, slots * FRAME)
    writer.open("", plan_of(frames), [])
    return writer


def ring_of(writer: BufferedWriter) -> Any:
    assert writer.ring is not None
    return writer.ring


def first_values(writer: Any) -> list[int]:
    return writer.arrays[0][:, 0, 0].tolist()


# ── what is stored ─────────────────────────────────────────────────────────────────────────────────────────────────


def read_memory(writer: Any, _: str, array: Any) -> Any:
    return writer.arrays[array.image]


WRITERS = {
    "memory": ("", "memory", read_memory),
    "tensorstore": ("a.ome.zarr", "tensorstore", read_zarr),
    "tifffile": ("a.ome.tiff", "tifffile", read_tiff),
}


@pytest.mark.parametrize("frames_fit", [0.5, 1, 3, 1000])
@pytest.mark.parametrize(("path", "name", "read"), WRITERS.values(), ids=WRITERS)
def test_frames_in_one_buffer_arrive_in_their_places(tmp_path, path, name, read, frames_fit) -> None:
    dims = ow.dims_from_standard_axes({"t": 6, "p": 2, "c": 3, "y": 16, "x": 12})
    root = str(tmp_path / path) if path else ""
    settings = ow.AcquisitionSettings(
        root_path=root, dtype="uint16", dimensions=dims, buffer_bytes=int(frames_fit * 384)
    )
    writer: Any = writer_named(name)
    came: list[Any] = []
    buffer = np.empty((16, 12), "uint16")
    with ow.create_stream(settings, writer) as stream:
        for number in range(30):
            if number in (4, 5, 17):
                stream.skip()
                came.append(None)
                continue
            came.append(frame_pixels(number, buffer.shape, "uint16"))
            buffer[:] = came[-1]
            stream.append(buffer)
            buffer[:] = 7
    assert stream.outcome is not None
    assert (stream.outcome.frames, stream.outcome.missing.tolist()) == (27, [4, 5, 17])
    for array in stream.plan.layout.arrays:
        found, wanted = read(writer, stream.outcome.root, array), expected_arrays(settings, came)[array.image]
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


@pytest.mark.parametrize("make", [MemoryWriter, TensorStoreWriter])
def test_an_array_without_end_grows_and_is_seen_while_it_does(tmp_path, make) -> None:
    inner = make()
    dims = ow.dims_from_standard_axes({"t": None, "c": 2, "y": 8, "x": 8}, chunk_shapes={"t": 2})
    settings = ow.AcquisitionSettings(
        root_path=str(tmp_path / "a.ome.zarr"), dtype="uint8", dimensions=dims, buffer_bytes=1024
    )
    with ow.create_stream(settings, inner) as stream:
        view = stream.view()
        for number in range(15):
            stream.append(np.full((8, 8), number + 1, "uint8"))
            assert view[number // 2, number % 2, 3, 3] == number + 1
            assert view.shape[0] == number // 2 + 1
        assert view[:, 0, 0, 0].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    again = ow.open_view(settings.root_path)[:, 1, 0, 0] if make is TensorStoreWriter else inner.arrays[0][:, 1, 0, 0]
    assert again.tolist() == [2, 4, 6, 8, 10, 12, 14, 0]


@pytest.mark.parametrize("limit", [1, 64, 200, 10**6])
def test_it_keeps_the_rules_of_writers_over_memory(limit) -> None:
    check_writer(
        lambda: BufferedWriter(MemoryWriter(), limit),
        lambda writer, _, array: writer.inner.arrays[array.image],
        examples=6,
    )


def test_it_keeps_the_rules_of_writers_over_tensorstore() -> None:
    check_writer(lambda: BufferedWriter(TensorStoreWriter(), 500), read_zarr, examples=6)


# ── the ring ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_disk_makes_the_caller_wait_and_memory_stays_bounded(monkeypatch) -> None:
    inner = Held()
    writer = opened(inner, slots=3)
    ring, waits = ring_of(writer), []
    make_room = ring.make_room

    def waiting() -> None:
        waits.append(len(ring.line))
        inner.go.set()
        make_room()

    monkeypatch.setattr(ring, "make_room", waiting)
    try:
        for t in range(3):
            writer.write([block(t)])
        assert inner.calls == waits == [], "three blocks fit"
        writer.write([block(3)])
        assert waits == [3], "the fourth waits until one of the three is stored"
    finally:
        inner.go.set()
    for t in range(4, 40):
        writer.write([block(t)])
    writer.close([])
    assert [frame for call in inner.calls for frame in call] == list(range(40))
    assert first_values(inner) == list(range(1, 41))
    assert all(np.shares_memory(one.data, ring.memory) for one in inner.seen)
    assert ring.memory.nbytes == 3 * FRAME


def test_blocks_that_wait_are_handed_over_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_SOON", 1e9)
    inner = Held()
    writer = opened(inner, slots=8)
    writer.write([block(0)])
    inner.come.wait()
    writer.write([block(t) for t in range(1, 7)])
    writer.resize(0, (30, 8, 8))
    writer.write([block(7)])
    inner.go.set()
    writer.flush()
    assert inner.calls == [[0], [1, 2], [3, 4, 5, 6], [7]], "at most half of the slots; a resize comes in its turn"
    assert first_values(inner) == [*range(1, 9), *[0] * 22]
    writer.close([])


def test_a_block_that_does_not_fit_goes_alone_in_its_turn() -> None:
    inner = Held()
    dims = ow.dims_from_standard_axes({"t": 40, "y": 8, "x": 8})
    writer = BufferedWriter(inner, 2 * FRAME)
    writer.open("", ow.compile(ow.AcquisitionSettings(dtype="uint8", dimensions=dims)), [])
    inner.go.set()
    large = block(2, size=3)
    writer.write([block(0), block(1), large, block(5)])
    writer.close([])
    assert [frame for call in inner.calls for frame in call] == [0, 1, 2, 3, 4, 5]
    assert [one.data is large.data for one in inner.seen] == [False, False, True, False], "without a copy"
    small = BufferedWriter(MemoryWriter(), FRAME - 1)
    small.open("", plan_of(), [])
    small.write([block(0)])
    assert small.ring is None, "no thread where nothing would ever pass through it"
    assert first_values(small.inner)[0] == 1
    small.close([])


def test_notes_are_said_in_their_turn() -> None:
    class Noting(Held):
        def note(self, *said: Any) -> None:
            self.calls.append(list(said))

    inner = Noting()
    writer = opened(inner, slots=8)
    writer.write([block(0)])
    inner.come.wait()
    writer.note(0, "a")
    writer.write([block(1)])
    writer.note(1, "b")
    inner.go.set()
    writer.flush()
    assert inner.calls == [[0], [1], [0, "a"], [1, "b"]]
    writer.close([])
    assert not hasattr(BufferedWriter(MemoryWriter(), 1), "note")


def test_what_it_can_do_is_what_the_other_can_but_for_safety_and_memory() -> None:
    class Safe(MemoryWriter):
        capabilities = ow.Capabilities(
            name="safe", formats=frozenset({"scratch"}), ack="append", parallel=True, in_flight_bytes=5
        )

    can = BufferedWriter(Safe(), 1000).capabilities
    assert (can.name, can.ack, can.in_flight_bytes, can.parallel) == ("safe", "block", 1005, False)
    assert BufferedWriter(MemoryWriter(), 1).capabilities.ack == "close"
    assert isinstance(BufferedWriter(MemoryWriter(), 1), ow.Writer)


# ── what goes wrong ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_in_the_thread_is_raised_by_the_next_call_and_names_its_frame() -> None:
    inner = Failing(MemoryWriter(), at=2)
    writer = opened(inner, slots=1)
    for t in range(3):
        writer.write([block(t)])
    # There is one slot: the next block waits for the third one to be stored.
    with pytest.raises(ow.WriteError, match=r"^frame 2 \(array '0' t=2\): OSError: .*No space left") as caught:
        writer.write([block(3)])
    assert caught.value.frame == 2
    assert type(caught.value.__cause__) is OSError
    for call in (writer.flush, lambda: writer.read(0, (0,))):
        with pytest.raises(ow.WriteError, match=r"^frame 2 "):
            call()
    assert (inner.stored, inner.writes, writer.lost) == ([0, 1], 3, [2])
    # What is left goes to the other writer at once, which may work again.
    with pytest.raises(OSError, match="No space left"):
        writer.write([block(4)])
    inner.at = None
    writer.write([block(5)])
    assert (inner.stored, writer.lost) == ([0, 1, 5], [2])
    writer.close([ow.Document("a", "xml", "<failed/>")])
    assert inner.writer.documents == {"a": "<failed/>"}


def test_after_an_error_nothing_more_is_handed_on_and_all_that_is_lost_is_known() -> None:
    held = Held()
    inner = Failing(held, at=1)
    writer = opened(inner, slots=8)
    writer.write([block(0)])
    held.come.wait()
    writer.write([block(t) for t in range(1, 7)])
    held.go.set()
    with pytest.raises(ow.WriteError, match=r"^frame 1 \(array '0' t=1\)") as caught:
        writer.flush()
    # Frames 1 to 4 were handed over together, and then the first of them alone.
    assert (caught.value.frame, inner.writes, writer.lost) == (1, 3, [1, 2, 3, 4, 5, 6])
    writer.abort()


def test_a_slow_disk_is_given_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored counts at once: nobody knows of frames handed over together before the last one is."""
    monkeypatch.setattr(ring, "_SOON", 0)
    inner = Held()
    writer = opened(inner, slots=8)
    writer.write([block(0)])
    inner.come.wait()
    writer.write([block(t) for t in range(1, 7)])
    inner.go.set()
    writer.flush()
    assert inner.calls == [[t] for t in range(7)]
    writer.close([])


def test_of_frames_that_are_handed_over_together_those_that_fit_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_SOON", 1e9)

    class Small(Held):
        def write(self, blocks: Sequence[ow.Block], /) -> None:
            if sum(len(call) for call in self.calls) + len(blocks) > 4:
                raise OSError("full")
            super().write(blocks)

    inner = Small()
    writer = opened(inner, slots=8)
    writer.write([block(0)])
    inner.come.wait()
    writer.write([block(t) for t in range(1, 7)])
    inner.go.set()
    with pytest.raises(ow.WriteError, match=r"^frame 4 \(array '0' t=4\): OSError: full"):
        writer.flush()
    assert (inner.calls, writer.lost) == ([[0], [1, 2], [3]], [4, 5, 6])
    writer.abort()


def test_an_error_that_names_its_frame_comes_as_it_is() -> None:
    class Knowing(MemoryWriter):
        fault = ow.WriteError("frame 17: gone", 17)
        lost = (17,)

        def write(self, blocks: Sequence[ow.Block], /) -> None:
            raise self.fault

    writer = opened(Knowing(), slots=2)
    writer.write([block(3)])
    with pytest.raises(ow.WriteError) as caught:
        writer.close([])
    assert caught.value is Knowing.fault
    assert writer.lost == [3, 17]
    writer.abort()


def test_aborting_forgets_what_waits_and_ends_the_thread() -> None:
    inner = Held()
    writer = opened(inner, slots=8)
    ring = ring_of(writer)
    writer.write([block(0)])
    inner.come.wait()
    writer.write([block(t) for t in range(1, 7)])
    aborting = threading.Thread(target=writer.abort)
    aborting.start()
    while not ring.ending:
        pass
    inner.go.set()
    aborting.join()
    assert inner.calls == [[0]]
    assert not ring.thread.is_alive()
    assert writer.lost == [1, 2, 3, 4, 5, 6]


def test_an_interrupt_while_waiting_loses_nothing(monkeypatch) -> None:
    inner = Held()
    writer = opened(inner, slots=1)
    ring = ring_of(writer)
    make_room = ring.make_room

    def interrupted() -> None:
        monkeypatch.undo()
        _thread.interrupt_main()
        make_room()

    writer.write([block(0)])
    monkeypatch.setattr(ring, "make_room", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.write([block(1)])
    inner.go.set()
    writer.write([block(1), block(2)])
    writer.flush()
    # A slot that an interrupt made the caller forget is found again.
    ring.free.pop()
    writer.write([block(3)])
    writer.close([])
    assert inner.calls == [[0], [1], [2], [3]]
    assert first_values(inner)[:5] == [1, 2, 3, 4, 0]


def test_nothing_is_left_if_the_writer_cannot_open() -> None:
    class Closed(MemoryWriter):
        def open(self, *_: Any, **__: Any) -> None:
            raise FileExistsError("it stands")

    writer = BufferedWriter(Closed(), 10 * FRAME)
    before = threading.active_count()
    with pytest.raises(FileExistsError):
        writer.open("", plan_of(), [])
    assert threading.active_count() == before
    assert writer.ring is None


def test_it_attaches_and_takes_memory_when_a_block_comes() -> None:
    inner = MemoryWriter()
    writer = opened(inner, slots=2)
    writer.write([block(0)])
    writer.close([])
    writer.open("", plan_of(), [], attach=True)
    assert writer.ring is None
    writer.write([block(1)])
    assert ring_of(writer).count == 2
    assert writer.read(0, (slice(0, 3), 0, 0)).tolist() == [1, 2, 0]
    writer.close([])


def test_a_writer_that_is_forgotten_ends_its_thread_with_a_warning() -> None:
    inner = MemoryWriter()
    writer = opened(inner, slots=4)
    thread = ring_of(writer).thread
    writer.write([block(t) for t in range(20)])
    with pytest.warns(ResourceWarning, match="a BufferedWriter was not closed"):
        del writer
    assert not thread.is_alive()
    assert first_values(inner)[:21] == [*range(1, 21), 0]
