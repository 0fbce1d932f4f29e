"""What can go wrong, said so that the reader knows whose fault it is and where.

`SettingsError`, `PlanError` and `FrameError` are the caller's to mend; `WriteError` is the world's. The first two carry
a list of `Problem`s, because the second mistake in a settings file should not have to wait for the first one.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

Loc = tuple[str | int, ...]
"""Where in a settings object a problem lies: `("dimensions", 2, "chunk_size")`."""


@frozen
class Problem:
    """One thing that is wrong, and where.

    Examples
    --------
    >>> print(Problem(("dimensions", 2, "chunk_size"), "invalid_value", "must be at least 1; got 0"))
    dimensions.2.chunk_size: must be at least 1; got 0
    """

    loc: Loc
    kind: str
    """A word for programs: `missing`, `invalid_type`, `invalid_value`, `unknown_field`, `conflict`, `unsupported`, …"""
    message: str
    """A sentence for people: the rule, then what came."""

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.loc)
        return f"{where}: {self.message}" if where else self.message

    def under(self, *prefix: str | int) -> Problem:
        """Return the same problem, seen from the object that holds this one at `prefix`."""
        return evolve(self, loc=(*prefix, *self.loc))


class _ProblemsError(ValueError):
    """An error that carries every problem that was found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
        self.subject: object = None

    def __reduce__(self) -> tuple[type, tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class SettingsError(_ProblemsError):
    """You described an acquisition that cannot be; `problems` lists every reason.

    Examples
    --------
    >>> from ome_writers import Dimension, SettingsError
    >>> try:
    ...     Dimension(name="t", count=0, scale=-1)
    ... except SettingsError as error:
    ...     print(error)
    count: must be at least 1; got 0
    scale: must be greater than 0; got -1
    """


class PlanError(_ProblemsError):
    """A writer cannot do a plan (said before anything is created); `problems` lists every reason.

    Examples
    --------
    >>> from ome_writers import PlanError
    >>> from ome_writers.writer import writer_named
    >>> try:
    ...     writer_named("hdf5")
    ... except PlanError as error:
    ...     print(error.problems[0].kind)
    unknown_writer
    """


class NotADataset(ValueError):  # noqa: N818 - says what the path is
    """There is no dataset at a path, or one of its documents cannot be understood; the message begins with which.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from ome_writers import open_view
    >>> with TemporaryDirectory() as folder:
    ...     document = Path(folder, "zarr.json")
    ...     _ = document.write_text("[]")
    ...     try:
    ...         open_view(folder)
    ...     except NotADataset as error:
    ...         print(str(error).replace(str(document), "…/zarr.json"))
    …/zarr.json: must be a JSON object; got a list
    """


class Malformed(ValueError):  # noqa: N818 - as above
    """What was read is not what it should be; in which file, whoever opened it says (`regular.understood`)."""


class FrameError(ValueError):
    """A frame, or its metadata, does not fit the plan; it took no place, and the next one may.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, FrameError, compile, dims_from_standard_axes, write
    >>> plan = compile(AcquisitionSettings(dtype="uint8", dimensions=dims_from_standard_axes({"t": 2, "y": 8, "x": 8})))
    >>> try:
    ...     write(plan, [np.zeros((8, 9), "uint8")])
    ... except FrameError as error:
    ...     print("refused")
    refused
    """


class PlanExhausted(IndexError):  # noqa: N818 - says what is, as `StopIteration` does
    """More frames came than were planned.

    Examples
    --------
    >>> import numpy as np
    >>> from ome_writers import AcquisitionSettings, PlanExhausted, compile, dims_from_standard_axes, write
    >>> plan = compile(AcquisitionSettings(dtype="uint8", dimensions=dims_from_standard_axes({"t": 2, "y": 8, "x": 8})))
    >>> try:
    ...     write(plan, np.zeros((3, 8, 8), "uint8"))
    ... except PlanExhausted:
    ...     print("one too many")
    one too many
    """


class StreamClosedError(ValueError, RuntimeError):
    """Something came after the stream was closed; 0.3 raised a `RuntimeError` here.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, create_stream, dims_from_standard_axes
    >>> stream = create_stream(AcquisitionSettings(dtype="u1", dimensions=dims_from_standard_axes({"y": 8, "x": 8})))
    >>> stream.close()
    >>> try:
    ...     stream.skip()
    ... except RuntimeError as error:
    ...     print(error)
    the stream is closed; nothing can be written to it
    """


class WriteError(OSError):
    """The world failed (a full disk, a lost connection): the writer's own error is the `__cause__`.

    `frame` is the number of the first frame that is known to be affected, `None` where there is no such frame.

    Examples
    --------
    >>> WriteError("no space left on device", frame=17).frame
    17
    """

    def __init__(self, message: str, frame: int | None = None) -> None:
        super().__init__(message)
        self.frame = frame

    def __reduce__(self) -> tuple[type, tuple[str, int | None]]:
        return type(self), (str(self), self.frame)
