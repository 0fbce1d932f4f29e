"""The one Protocol that everything which stores frames satisfies, and the table of writers by name.

The shell (`shell.py`) walks the plan and hands over `Block`s; a writer stores them. A writer never decides where a
frame goes, never counts frames and never makes a document: it gets all that as values.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ome_writers.assembly import peak_bytes
from ome_writers.casts import is_url
from ome_writers.documents import Document
from ome_writers.errors import PlanError, Problem
from ome_writers.layout import ArraySpec, Unit, block_shape
from ome_writers.plan import Plan
from ome_writers.turns import comes_in_turn, layer_bytes

THREADS: Final = "ome-writers"
"""How the names of threads begin that `close` waits for."""

Documents = Sequence[Document]
Selection = tuple[int | slice, ...]
"""One index or slice with a step of 1 for each axis of an array."""


class Block(NamedTuple):
    """Pixels for one rectangular piece of an array: a frame, a chunk or a shard, cut off at the array's edge.

    Examples
    --------
    >>> import numpy as np
    >>> block = Block(frames=[6, 7], array=0, start=(3, 0), data=np.zeros((1, 2, 8, 8), "uint8"))
    >>> block.data.nbytes
    128
    """

    frames: Sequence[int]
    """Numbers of the frames in it that came."""
    array: int
    """`plan.layout.arrays[array]`."""
    start: tuple[int, ...]
    """Index of its first element along each axis but y and x."""
    data: NDArray[Any]
    """Shape: the block's extent along each axis of the array; C-contiguous, in the machine's byte order."""


@frozen(kw_only=True)
class Capabilities:
    """What a writer can do, as data.

    Examples
    --------
    >>> Capabilities(name="mine", formats=frozenset({"ome-zarr"}), unit="chunk").resizable
    True
    """

    name: str
    formats: frozenset[str]
    """Of `"ome-zarr"`, `"ome-tiff"`, `"scratch"`."""
    unit: Unit = "frame"
    """What blocks it wants. `"shard"` means whole shards where there are any, else whole chunks."""
    order: Literal["planned", "any"] = "planned"
    """Whether blocks must come in the order of the plan."""
    append_only: bool = False
    """Whether the frames of an array must come as nested loops over its axes bring them, the first axis outermost."""
    persistent: bool = True
    """Whether it stores at the root that it is given, so that room must be made there."""
    urls: bool = True
    """Whether the root may be a URL. If not, a path is all that it takes."""
    resizable: bool = True
    """Whether arrays can grow, as plans without end need."""
    readable: bool | Literal["late"] = False
    """Whether `read` works while the run lasts; `"late"`: it sees of what was written only what is on the disk."""
    positioned: bool = False
    """Whether each frame goes to the place on disk that `place` names. Then `unit_for` says what the unit is; and where
    that is no frame, `ack` is `"block"`, and bytes may be in flight."""
    atomic_replace: bool = False
    """Whether documents are replaced as a whole, so that no reader sees half of one."""
    ack: Literal["append", "block", "close"] = "block"
    """When a frame is out of the reach of a dying process: when `append` returns, when its block is complete, or at
    the end."""
    attaches: bool = True
    """Whether it can go on with a dataset that stands, so that a run can be resumed."""
    parallel: bool = False
    """Whether `write` may run at the same time for different arrays."""
    dtypes: frozenset[str] | None = None
    """`None`: every dtype of the format."""
    codecs: frozenset[str] | Mapping[str, frozenset[str]] | None = None
    """For all formats, or by format. `None`: every codec of the format; plain storage is always possible."""
    hint: str = ""
    """How to get codecs that it could do, and that are not installed."""
    in_flight_bytes: int = 0
    """The most bytes that it holds on to after `write` has returned; as many again if it compresses them."""
    block_copies: int = 0
    """How many copies of a block there are while it is stored: its chunks, encoded, and the shard that they make."""
    live: bool = True
    """Whether other programs can read the dataset at every moment of the run, and after the process was killed."""
    may_hang: bool = False
    """Whether the library underneath may never return when a disk fails. `"auto"` takes no such writer."""


@runtime_checkable
class Writer(Protocol):
    """Something that stores blocks.

    Calls come one at a time, from any thread, in this order: `open`; any number of `write`, `resize`, `read` and
    `flush`; then `close` or `abort`. (With `capabilities.parallel`, `write` may run at the same time for different
    arrays.) What a writer raises is raised in the caller's thread as `WriteError`. After that only `close` or `abort`
    follow, and before these once more what is left in blocks: a disk that failed may work again. Documents that change
    after the end come through another `open(attach=True)` and `close`.

    A block's memory belongs to the writer until `write` returns; by then it has stored, copied or encoded the pixels.

    Some more members are used if a writer has them. `pending()`: the numbers of the frames that `write` took and that
    are not stored yet, or could not be; without it, all are stored when `write` returns. `lost` (a sequence, asked for
    after an error): the numbers of the frames that `write` took and that could not be stored. `note(frame, array,
    index, record)`: called with the metadata of each frame that has some, once `write` has its pixels. `rest()`: called
    before the process is forked; returns when no thread of a library is at work, since a child that inherits a
    half-done piece of work may never end. `recount(marks)`: called after a crash, when the dataset was opened with
    `attach`, with a byte for each place of the plan (see `ome_writers.journal_file`); returns what the dataset itself
    says of them. `trim(places)`: called before `close` if a run is not whole; what frames behind so many places of the
    plan have left is not counted.

    Examples
    --------
    >>> from ome_writers.writers.memory import MemoryWriter
    >>> isinstance(MemoryWriter(), Writer)
    True
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the writer can do."""

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create every array and document below `root` (a path, or a URL), where nothing stands yet.

        An axis without end begins with the extent of one block. With `attach` the structure exists, and nothing is
        created.
        """

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Give an array a new shape; what lies beyond a smaller one is removed."""

    def write(self, blocks: Sequence[Block], /) -> None:
        """Store blocks.

        Waits while too many bytes are in flight. May raise the error of an earlier block.
        """

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return pixels as they are stored, the fill value where nothing came yet (if `capabilities.readable`)."""

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Return when all that was written can be read by others.

        Replaces the documents, if any are given; with `durable` everything has reached the device.
        """

    def close(self, documents: Documents, /) -> None:
        """Drain, replace the documents by the final ones and let go of everything. Raises what went wrong before."""

    def abort(self) -> None:
        """Let go of everything without finishing. Never raises; what was flushed stays readable."""


def unmet(plan: Plan, capabilities: Capabilities) -> tuple[Problem, ...]:
    """Return everything that a writer cannot do with a plan, before anything exists on disk.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> able = Capabilities(name="mine", formats=frozenset({"ome-zarr"}), resizable=False)
    >>> [str(problem) for problem in unmet(plan, able)]
    ['dimensions.0.count: mine needs to know where the acquisition ends']
    """
    settings, arrays = plan.settings, plan.layout.arrays
    name, problems = capabilities.name, []
    if settings.format.name not in capabilities.formats:
        can = ", ".join(sorted(capabilities.formats))
        problems.append(Problem(("format",), "unsupported", f"{name} writes {can}; got {settings.format.name!r}"))
    if settings.is_unbounded and not capabilities.resizable:
        problems.append(
            Problem(("dimensions", 0, "count"), "unsupported", f"{name} needs to know where the acquisition ends")
        )
    if is_url(settings.output_path) and not capabilities.urls:
        message = f"{name} writes to a local path; got {settings.output_path!r}"
        problems.append(Problem(("root_path",), "unsupported", message))
    if capabilities.append_only and not comes_in_turn(plan):
        message = (
            f"{name} only appends to an array: its first axis, {arrays[0].dimension_names[0]!r}, must be its outermost "
            "loop, and no loop may go backwards"
        )
        problems.append(Problem(("storage_order",), "unsupported", message))
    for dtype in sorted({array.dtype for array in arrays}):
        if capabilities.dtypes is not None and dtype not in capabilities.dtypes:
            can = ", ".join(sorted(capabilities.dtypes))
            problems.append(Problem(("dtype",), "unsupported", f"{name} stores {can}; got {dtype!r}"))
    for codec in sorted({array.codec.name for array in arrays if array.codec}):
        codecs = capabilities.codecs
        if isinstance(codecs, Mapping):
            codecs = codecs.get(settings.format.name)
        if codecs is not None and codec not in codecs:
            can = ", ".join(sorted(codecs)) or "nothing compressed"
            hint = f" ({capabilities.hint})" if capabilities.hint and codecs else ""
            problems.append(Problem(("compression",), "unsupported", f"{name} can do {can}; got {codec!r}{hint}"))
    return tuple(problems)


def unit_for(plan: Plan, capabilities: Capabilities) -> Unit:
    """Return what blocks a writer is handed in a run of a plan.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 8, "y": 8, "x": 8}, chunk_shapes={"t": 4})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> unit_for(plan, Capabilities(name="mine", formats=frozenset({"ome-zarr"}), unit="chunk"))
    'chunk'
    """
    if not capabilities.positioned:
        return capabilities.unit
    from ome_writers.placement import best_unit

    return best_unit(plan)


def ack_for(plan: Plan, capabilities: Capabilities) -> str:
    """Return when a frame is out of the reach of a dying process: see `Capabilities.ack`.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 8, "y": 8, "x": 8})
    >>> direct = Capabilities(name="mine", formats=frozenset({"ome-zarr"}), positioned=True, ack="append")
    >>> settings = AcquisitionSettings(root_path="a.zarr", dtype="uint8", dimensions=dims, compression="gzip")
    >>> ack_for(compile(settings), direct)
    'block'
    """
    held = capabilities.positioned and unit_for(plan, capabilities) != "frame"
    # A ring delays what a writer says; it does not have one say more.
    return "block" if capabilities.ack == "append" and (plan.settings.buffer_bytes or held) else capabilities.ack


def peak_bytes_for(plan: Plan, capabilities: Capabilities) -> int:
    """Return the most memory that the pixels of a run take: in open blocks, in the ring, and on their way to the disk.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 8, "y": 8, "x": 8}, chunk_shapes={"t": 4})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> peak_bytes_for(plan, Capabilities(name="mine", formats=frozenset({"ome-zarr"}), unit="chunk"))
    256
    """
    unit = unit_for(plan, capabilities)
    if capabilities.positioned and unit == "frame":
        return peak_bytes(plan, unit) + plan.settings.buffer_bytes
    held = capabilities.in_flight_bytes
    # Pixels that cannot be compressed take as much room once more.
    held *= 2 if any(spec.codec for spec in plan.layout.arrays) and not capabilities.append_only else 1
    # Who only appends puts blocks together by itself: it holds one layer of them, and stores another.
    held += 2 * layer_bytes(plan) if capabilities.append_only else 0
    held += capabilities.block_copies * max(_block_bytes(spec, unit) for spec in plan.layout.arrays)
    return peak_bytes(plan, unit) + held + plan.settings.buffer_bytes


def _block_bytes(spec: ArraySpec, unit: Unit) -> int:
    return prod(block_shape(spec, unit)) * np.dtype(spec.dtype).itemsize


def grows_in_steps(plan: Plan, capabilities: Capabilities) -> bool:
    """Return whether a writer's arrays are said to be longer than is needed yet, since room costs nothing there.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": None, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> grows_in_steps(plan, Capabilities(name="mine", formats=frozenset({"ome-zarr"})))
    True
    """
    if None not in plan.layout.arrays[0].shape or not capabilities.persistent:
        return False
    return plan.settings.format.name != "scratch"


@frozen
class Entry:
    """A writer that can be had by name."""

    target: str
    """`module:class`; imported when it is asked for."""
    formats: tuple[str, ...]
    requires: str | None
    """The library that must be installed."""
    extra: str | None
    """The extra of this package that installs it."""


WRITERS: Final[dict[str, Entry]] = {
    "direct": Entry("ome_writers.writers.direct:DirectWriter", ("ome-zarr", "ome-tiff"), None, None),
    "tensorstore": Entry(
        "ome_writers.writers.tensorstore:TensorStoreWriter", ("ome-zarr",), "tensorstore", "tensorstore"
    ),
    "zarrs-python": Entry("ome_writers.writers.zarrs_python:ZarrsWriter", ("ome-zarr",), "zarrs", "zarrs-python"),
    "zarr-python": Entry("ome_writers.writers.zarr_python:ZarrWriter", ("ome-zarr",), "zarr", "zarr-python"),
    "acquire-zarr": Entry(
        "ome_writers.writers.acquire:AcquireZarrWriter", ("ome-zarr",), "acquire_zarr", "acquire-zarr"
    ),
    "tifffile": Entry("ome_writers.writers.tiff:TiffWriter", ("ome-tiff",), "tifffile", "tifffile"),
    "scratch": Entry("ome_writers.writers.scratch:ScratchWriter", ("scratch",), None, None),
    "memory": Entry("ome_writers.writers.memory:MemoryWriter", ("scratch", "ome-zarr", "ome-tiff"), None, None),
}
"""The writers of this package; for each format the best comes first."""


def writer_named(name: str) -> Writer:
    """Make the writer of that name, of this package or of another one (see `plugins.py`).

    Raises
    ------
    PlanError
        If there is none, or its library is not installed (the message names the extra that installs it).
    """
    entry = WRITERS.get(name)
    if entry is None:
        from ome_writers.plugins import plugin  # which needs the Protocol

        return plugin(name)
    if not _installed(entry):
        hint = f"pip install 'ome-writers[{entry.extra}]'"
        message = f"{name} needs the library {entry.requires!r}, which is not installed: {hint}"
        raise PlanError([Problem(("backend",), "missing_library", message)])
    module, _, cls = entry.target.partition(":")
    made: Writer = getattr(importlib.import_module(module), cls)()
    return made


def _installed(entry: Entry) -> bool:
    return entry.requires is None or importlib.util.find_spec(entry.requires) is not None


def choose_writer(plan: Plan) -> Writer:
    """Make the writer that the settings name, or the best one that is installed and can do the plan.

    Raises
    ------
    PlanError
        If there is none; says for each why not.
    """
    format_ = plan.settings.format
    if format_.backend != "auto":
        # As a word for a format, "memory" is another one for "scratch".
        named = writer_named("scratch" if (format_.name, format_.backend) == ("scratch", "memory") else format_.backend)
        if missing := unmet(plan, named.capabilities):
            raise PlanError(missing)
        return named
    problems: list[Problem] = []
    for name, entry in WRITERS.items():
        if format_.name not in entry.formats or name == "memory":
            continue
        try:
            writer = writer_named(name)
        except PlanError as error:
            problems += error.problems
            continue
        missing = unmet(plan, writer.capabilities)
        if not missing and not writer.capabilities.may_hang:
            return writer
        if not missing:
            message = f"{name} can do it, but may hang when a disk fails; it must be asked for by name"
            missing = (Problem(("backend",), "unsupported", message),)
        problems += missing
    raise PlanError(problems)
