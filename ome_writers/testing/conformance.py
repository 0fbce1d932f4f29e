"""Given a writer and somebody else's reader, this answers: does the writer keep the rules of the Protocol?

`check_writer` lets a hypothesis state machine write random acquisitions through the public stream: frames in all memory
layouts, in a buffer that is used again at once, wrong frames, skipped frames, a disk that fails, an early end. What the
reader then finds must be what nested loops (`model.py`) would have left there, and the `Outcome` must tell the truth.

To check a writer of your own, give what makes it, and a function that reads an array back without its help:

>>> from ome_writers.testing import check_writer
>>> from ome_writers.writers.memory import MemoryWriter
>>> check_writer(MemoryWriter, lambda writer, root, array: writer.arrays[array.image], examples=5)

For OME-Zarr `read_zarr` is such a function, for OME-TIFF `read_tiff`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from hypothesis import HealthCheck, Phase
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import DataObject, SearchStrategy
from numpy.typing import NDArray

from ome_writers import Stream, create_stream
from ome_writers.documents import Outcome
from ome_writers.errors import FrameError, PlanError, PlanExhausted, WriteError
from ome_writers.layout import ArraySpec
from ome_writers.plan import compile  # noqa: A004 - the verb of this library
from ome_writers.settings import AcquisitionSettings
from ome_writers.testing import strategies
from ome_writers.testing.failing import Failing
from ome_writers.testing.model import arrivals, expected_arrays, frame_pixels
from ome_writers.writer import Capabilities, Writer, unmet

ReadArray = Callable[[Any, str, ArraySpec], NDArray[Any] | None]
"""Given the writer (after its `close`), the root and an array, returns what is stored.

Axes of length 1 may be left out. `None` stands for an array that is not mentioned anywhere, as no frame of it came."""


def check_writer(
    make_writer: Callable[[], Writer],
    read_array: ReadArray,
    *,
    settings: SearchStrategy[AcquisitionSettings] | None = None,
    examples: int | None = None,
    phases: Collection[Phase] = tuple(Phase),
) -> None:
    """Run random acquisitions through a writer, and compare what a reader finds with plain nested loops.

    Parameters
    ----------
    make_writer
        Makes a new writer: a class, or a function without arguments.
    read_array
        Reads an array back, if possible with another library than the one that wrote it.
    settings
        What acquisitions to try; by default all that the writer's capabilities allow.
    examples
        How many to try; by default what hypothesis' current profile says.
    phases
        What hypothesis does, from remembering what went wrong to shortening it; by default all of it.

    Raises
    ------
    AssertionError
        With the shortest acquisition that went wrong, and the calls that led there.
    """
    drawn = within(make_writer().capabilities) if settings is None else settings
    acquisition: Any = partial(_Acquisition, make_writer, read_array, drawn)  # a class, or what is called like one
    run_state_machine_as_test(
        acquisition,
        settings=how(
            max_examples=examples or how().max_examples,
            stateful_step_count=25,
            phases=phases,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def within(capabilities: Capabilities) -> SearchStrategy[AcquisitionSettings]:
    """Return a strategy of settings that a writer of these capabilities can do."""
    by_format = []
    for name in sorted(capabilities.formats):
        codecs = capabilities.codecs
        if isinstance(codecs, Mapping):
            codecs = codecs.get(name)
        can = strategies.DTYPES.get(name, strategies.DTYPES["ome-zarr"])
        dtypes = [dtype for dtype in can if capabilities.dtypes is None or dtype in capabilities.dtypes]
        by_format.append(
            strategies.settings(
                formats=[name],
                dtypes=dtypes,
                codecs=None if codecs is None else sorted(codecs),
                unbounded=None if capabilities.resizable else False,
            )
        )
    return st.one_of(by_format)


class _Acquisition(RuleBasedStateMachine):
    """One acquisition: what was done to the stream, and what has to come of it."""

    def __init__(
        self, make_writer: Callable[[], Writer], read_array: ReadArray, drawn: SearchStrategy[AcquisitionSettings]
    ) -> None:
        super().__init__()
        self.writer = Failing(make_writer())
        self.read_array, self.drawn = read_array, drawn
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.stream: Stream
        self.opened = False
        self.came: list[NDArray[Any] | None] = []
        self.failed = False

    @property
    def taking(self) -> bool:
        """Whether the stream is there to take frames."""
        return self.opened and not self.failed and not self.stream.closed

    @property
    def left(self) -> int:
        """How many frames may still come; some, if there is no end."""
        frames = self.settings.num_frames
        return 100 if frames is None else frames - len(self.came)

    @initialize(data=st.data())
    def open(self, data: DataObject) -> None:
        drawn = data.draw(self.drawn, label="settings")
        root = str(Path(self.folder.name, drawn.root_path)) if drawn.root_path else ""
        self.settings = evolve(drawn, root_path=root)
        height, width = (dim.count or 1 for dim in drawn.frame_dimensions)
        self.shape = height, width
        if unmet(compile(self.settings), self.writer.capabilities):
            _raises(PlanError, lambda: create_stream(self.settings, self.writer))
            _must(not list(Path(self.folder.name).iterdir()), "a plan that the writer cannot do must leave no files")
        else:
            self.stream = create_stream(self.settings, self.writer)
            self.opened = True

    @precondition(lambda self: not self.opened)
    @rule()
    def leave_it(self) -> None:
        """Do nothing, with a plan that the writer cannot do."""

    @precondition(lambda self: self.taking)
    @rule(memory=st.sampled_from(["plain", "fortran", "strided", "swapped"]), metadata=st.booleans())
    def append(self, memory: str, metadata: bool) -> None:  # noqa: FBT001 - a choice of hypothesis
        number = len(self.came)
        pixels = frame_pixels(number, self.shape, self.settings.dtype)
        frame = _in_memory(pixels, memory)
        record = {"delta_t": np.float32(number / 4), "stage": {"ok": True}} if metadata else None
        if not self.left:
            _raises(PlanExhausted, lambda: self.stream.append(frame, frame_metadata=record))
            return
        try:
            self.stream.append(frame, frame_metadata=record)
        except WriteError as error:
            self._must_have_failed(error)
            return
        self.came.append(pixels)
        # The camera takes its memory back.
        frame[...] = frame_pixels(number + 77, self.shape, self.settings.dtype)

    @precondition(lambda self: self.taking)
    @rule(frames=st.integers(1, 4))
    def skip(self, frames: int) -> None:
        if frames > self.left:
            _raises(PlanExhausted, lambda: self.stream.skip(frames=frames))
            return
        try:
            self.stream.skip(frames=frames)
        except WriteError as error:
            self._must_have_failed(error)
            return
        self.came += [None] * frames

    @precondition(lambda self: self.taking and self.left)
    @rule(fault=st.sampled_from(["taller", "flat", "deep", "other dtype", "list", "metadata"]))
    def append_what_does_not_fit(self, fault: str) -> None:
        pixels = frame_pixels(len(self.came), self.shape, self.settings.dtype)
        record = {"callback": print} if fault == "metadata" else None
        height, width = self.shape
        other = np.dtype("uint16" if self.settings.dtype != "uint16" else "float32")
        frame: Any = {
            "taller": np.zeros((height + 1, width), pixels.dtype),
            "flat": pixels.reshape(-1),
            "deep": pixels[None],
            "other dtype": pixels.real.astype(other),
            "list": [["no", "pixels"]],
            "metadata": pixels,
        }[fault]
        _raises(FrameError, lambda: self.stream.append(frame, frame_metadata=record))

    @precondition(lambda self: self.taking)
    @rule()
    def fill_the_disk(self) -> None:
        self.writer.at = self.writer.writes

    @precondition(lambda self: self.failed)
    @rule()
    def append_after_a_failure(self) -> None:
        frame = frame_pixels(0, self.shape, self.settings.dtype)
        _raises((WriteError, ValueError), lambda: self.stream.append(frame))

    @precondition(lambda self: self.taking and self.writer.capabilities.readable is True)
    @rule()
    def read_what_was_written(self) -> None:
        for array in compile(self.settings).layout.arrays:
            whole = tuple(slice(0, size) for size in expected_arrays(self.settings, self.came)[array.image].shape)
            self._must_hold_what_was_stored(array, self.writer.read(array.image, whole))

    @precondition(lambda self: self.opened)
    @rule()
    def close(self) -> None:
        if self.stream.closed:
            self.stream.close()
            _raises(ValueError, lambda: self.stream.append(frame_pixels(0, self.shape, self.settings.dtype)))
            return
        try:
            self.stream.close()
        except WriteError as error:
            self._must_have_failed(error)
        self._must_tell_the_truth()

    def teardown(self) -> None:
        """Close what is still open, and look at what there is."""
        try:
            if self.opened and not self.stream.closed:
                self.close()
        finally:
            self.folder.cleanup()

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────────────

    def _must_have_failed(self, error: WriteError) -> None:
        _must(self.writer.at is not None, f"no write had failed when this was raised: {error!r}")
        causes = [error.__cause__, getattr(error.__cause__, "__cause__", None)]
        _must(any(type(cause) is OSError for cause in causes), f"the cause of {error!r} must be kept")
        self.failed = True

    def _must_tell_the_truth(self) -> None:
        outcome = self.stream.outcome or Outcome()
        # A `skip` that fails has gone past some of its frames.
        self.came += [None] * (outcome.cursor - len(self.came))
        # After a failure, frames of blocks that were never stored are lost, though they were taken.
        lost = {number for number in range(len(self.came)) if self.failed and number not in self.writer.stored}
        missing = [number for number, frame in enumerate(self.came) if frame is None or number in lost]
        _must(outcome.missing.tolist() == missing, f"{missing} did not come; the outcome says {outcome.missing}")
        stored = len(self.came) - len(missing)
        _must(outcome.frames == stored, f"{stored} frames came; the outcome says {outcome.frames}")
        done = self.settings.num_frames in (None, len(self.came))
        verdict = "failed" if self.failed else "complete" if done else "stopped"
        _must(outcome.verdict == verdict, f"the verdict must be {verdict}; got {outcome.verdict}")
        _must((outcome.error is not None) == self.failed, f"the run {verdict}; the outcome's error is {outcome.error}")
        for array in compile(self.settings).layout.arrays:
            self._must_be_as_loops_leave_it(array, self.read_array(self.writer.writer, outcome.root, array))

    def _must_be_as_loops_leave_it(self, array: ArraySpec, found: NDArray[Any] | None) -> None:
        wanted = expected_arrays(self.settings, self.came)[array.image]
        if found is None:
            _must(not wanted.any(), f"array {array.path!r} is not there")
            return
        _must(found.dtype == array.dtype, f"array {array.path!r} has the dtype {found.dtype}, not {array.dtype}")
        if self.failed:
            self._must_hold_what_was_stored(array, found)
            return
        _must(found.size == wanted.size, f"array {array.path!r} has the shape {found.shape}, not {wanted.shape}")
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted, err_msg=f"array {array.path!r}")

    def _must_hold_what_was_stored(self, array: ArraySpec, found: NDArray[Any]) -> None:
        """Check that every frame whose write returned is there, and that nothing else is but frames in their places."""
        # After a failure, arrays may end with the last frame that is stored.
        ends = [len(self.came), max(self.writer.stored, default=-1) + 1]
        shapes = [expected_arrays(self.settings, self.came[:end])[array.image].shape for end in ends]
        found = found.reshape(next((shape for shape in shapes if found.size == np.prod(shape)), found.shape))
        for arrival, frame in zip(arrivals(self.settings), self.came, strict=False):
            if arrival.image != array.image:
                continue
            within = bool(np.less(arrival.index, found.shape[:-2]).all())
            pixels = found[arrival.index] if within else np.zeros_like(found, shape=found.shape[-2:])
            if frame is None or not np.array_equal(pixels, frame):
                _must(arrival.frame not in self.writer.stored, f"frame {arrival.frame} is not where it was stored")
                _must(not pixels.any(), f"frame {arrival.frame} is neither stored nor blank")


def _must(holds: bool, message: str) -> None:  # noqa: FBT001 - a condition, as of `assert`, which `python -O` leaves out
    if not holds:
        raise AssertionError(message)


def _in_memory(pixels: NDArray[Any], memory: str) -> NDArray[Any]:
    """Return a copy of a frame that lies in memory as cameras and their drivers may have it."""
    if memory == "fortran":
        return np.asfortranarray(pixels).copy("F")
    if memory == "strided":
        return np.repeat(np.repeat(pixels, 2, axis=0), 3, axis=1)[::2, ::3]
    if memory == "swapped":
        return pixels.astype(pixels.dtype.newbyteorder("S"))
    return pixels.copy()


def _raises(kind: type[Exception] | tuple[type[Exception], ...], call: Callable[[], object]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"must raise {kind}")
