"""Metadata documents as values: what they are made from, and what they are.

`documents(plan, stamp)` gives those that stand while the run lasts, `documents(plan, stamp, outcome)` the final ones;
one function makes both. The clock and the UUIDs come in through `Stamp`, so equal inputs give equal bytes. How
OME-Zarr and OME-TIFF say things stands in `ngff.py` and `omexml.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
from attrs import Factory, field, frozen
from numpy.typing import NDArray

from ome_writers.gaps import Pairs, as_stretches, places_in
from ome_writers.plan import Plan
from ome_writers.records import Record

Verdict = Literal["running", "complete", "stopped", "failed"]


_LONG: Final = 8 << 20
"""Characters above which a text is not held at once."""


@frozen(eq=False)
class Text:
    """A text that is too long to be held at once: it is made anew, piece by piece, whenever it is gone through.

    Examples
    --------
    >>> text = Text(lambda: iter(["<OME>", "</OME>"]))
    >>> [len(piece) for piece in text], str(text)
    ([5, 6], '<OME></OME>')
    """

    pieces: Callable[[], Iterator[str]]

    def __iter__(self) -> Iterator[str]:
        return self.pieces()

    def __str__(self) -> str:
        return "".join(self)


def text_of(pieces: Callable[[], Iterator[str]]) -> str | Text:
    """Return the text that pieces are; as `Text`, if it is long.

    Examples
    --------
    >>> text_of(lambda: iter(["<OME>", "</OME>"]))
    '<OME></OME>'
    """
    made, size = [], 0
    for piece in pieces():
        made.append(piece)
        size += len(piece)
        if size > _LONG:
            return Text(pieces)
    return "".join(made)


@frozen
class Document:
    """A metadata document: where it goes, and what it says.

    Examples
    --------
    >>> Document("OME", "group", {"series": ["0", "1"]}).kind
    'group'
    """

    path: str
    """`group`: POSIX key of the zarr group. `xml`, `json`: key of the file. `comment`: key of the TIFF file that holds
    it."""
    kind: Literal["group", "xml", "comment", "json"]
    body: Any
    """`group`: the attributes, plain JSON values; so `json`. `xml` and `comment`: OME-XML.

    Where each frame has its place (`Outcome.placed`), what is long is made while it is gone through: the OME-XML of an
    OME-TIFF is a `Text` then, and the list `frame_metadata` of a group a `PlacedRecords`."""
    blank_pages: tuple[int, ...] = ()
    """`comment`: numbers of arrays. For each the file has to have a page of its fill value behind those of its frames,
    which stands for planes that did not come."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """`comment`: where each planned frame has its page, the shapes of the images of the file, whose pages the text
    counts one after another, in storage order. Nothing while it counts them as they were planned."""


@frozen
class Stamp:
    """What documents need from the outer world: the time, and a UUID for each file.

    Examples
    --------
    >>> from datetime import timezone
    >>> Stamp(datetime(2026, 11, 22, tzinfo=timezone.utc), ("0b6c1d1e-3f0a-4c2e-9a3e-2f8f0c9c1a11",)).now.year
    2026
    """

    now: datetime
    """When the acquisition began, with its time zone."""
    uuids: tuple[str, ...]
    """Lower-case UUIDs without `urn:uuid:`, one for each of `plan.layout.files` and one more for a file that holds
    metadata."""


@frozen(kw_only=True)
class Outcome:
    """What happened in a run: everything that the final documents need beside the plan.

    Examples
    --------
    >>> Outcome(verdict="stopped", cursor=10, missing=np.array([3, 4])).frames
    8
    """

    verdict: Verdict = "running"
    cursor: int = 0
    """How many rows of the plan the run went through."""
    gaps: Pairs = field(alias="missing", default=(), converter=as_stretches, eq=False)
    """Places in the plan, below `cursor`, whose frames did not come: as ascending stretches, of shape (n, 2), each from
    its first place to that behind its last. Given as `missing`, one by one or as stretches."""
    records: Mapping[int, Record] = Factory(dict)
    """Metadata that came with frames, by place in the plan."""
    globals: Mapping[str, Record] = Factory(dict)
    """Metadata of the whole acquisition, by namespace."""
    error: str | None = None
    writer: str = ""
    """Name of the writer that stored the pixels."""
    placed: bool = False
    """Whether the writer has a place on disk for each planned frame before it comes (`Capabilities.positioned`)."""
    bare: bool = False
    """Whether planes that did not come have no blank pages, since the disk had no room for any."""
    root: str = ""
    """Path or URL of the dataset."""

    sync_seconds: float = 0.0
    """How long `close` waited for the device; see `AcquisitionSettings.sync`."""

    @property
    def frames(self) -> int:
        """Number of frames that came."""
        return self.cursor - int((self.gaps[:, 1] - self.gaps[:, 0]).sum())

    @property
    def missing(self) -> NDArray[np.int64]:
        """Places in the plan, below `cursor` and ascending, whose frames did not come."""
        return places_in(self.gaps)

    @property
    def end(self) -> int:
        """Place behind the last frame that came.

        >>> Outcome(cursor=10, missing=np.array([3, 8, 9])).end
        8
        """
        return int(self.gaps[-1, 0]) if len(self.gaps) and self.gaps[-1, 1] == self.cursor else self.cursor

    @property
    def told(self) -> int:
        """How many rows the documents tell of: all, but after a failure none behind the last frame that is stored."""
        return self.end if self.verdict == "failed" else self.cursor


def documents(plan: Plan, stamp: Stamp, outcome: Outcome | None = None) -> Sequence[Document]:
    """Return all metadata documents of a dataset; without an outcome those of a run that has just begun.

    They describe the plan while the outcome's verdict is `running`, and after that what came.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"t": 5, "y": 8, "x": 8})
    >>> plan = compile(AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims))
    >>> from datetime import datetime, timezone
    >>> stamp = Stamp(datetime(2026, 11, 22, tzinfo=timezone.utc), ("0b6c1d1e-3f0a-4c2e-9a3e-2f8f0c9c1a11",))
    >>> [(document.path, document.kind) for document in documents(plan, stamp)]
    [('', 'group')]
    """
    outcome = outcome or Outcome()
    format_name = plan.settings.format.name
    if format_name == "ome-zarr":
        from ome_writers.ngff import zarr_documents

        return zarr_documents(plan, stamp, outcome)
    if format_name == "ome-tiff":
        from ome_writers.omexml import tiff_documents

        return tiff_documents(plan, stamp, outcome)
    from ome_writers.manifest import scratch_documents

    return scratch_documents(plan, outcome)


_MOST_PLANES: Final = 50_000
"""Documents of more planes are not made only to see how long they are."""
_SAMPLE: Final = 1000
"""Planes that tell how long such documents are."""


def document_bytes(plan: Plan) -> int:
    """Return about how many bytes the OME-XML of an OME-TIFF dataset will have at the end, in all files together.

    In a set whose files each tell of all, that may be more than the pixels. What comes with frames is not counted.

    Examples
    --------
    >>> from ome_writers import AcquisitionSettings, OmeTiffFormat, compile, dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"p": [str(name) for name in range(100)], "t": 50, "y": 8, "x": 8})
    >>> settings = AcquisitionSettings(root_path="a.ome.tiff", dtype="uint8", dimensions=dims)
    >>> 50e6 < document_bytes(compile(settings)) < 200e6
    True
    >>> from attrs import evolve
    >>> document_bytes(compile(evolve(settings, format=OmeTiffFormat(multi_file_metadata="master-tiff")))) < 2e6
    True
    """
    files = len(plan.layout.files)
    told = files if getattr(plan.settings.format, "multi_file_metadata", None) == "redundant" else 1
    stamp = Stamp(datetime(2000, 1, 1, tzinfo=UTC), (f"{0:032}0000",) * (files + 1))
    if (plan.frames or 0) > _MOST_PLANES:
        outcomes = (Outcome(verdict="stopped", cursor=times * _SAMPLE, placed=True) for times in (1, 2))
        # The first tells of all images.
        few, more = (len(documents(plan, stamp, outcome)[0].body.encode()) for outcome in outcomes)
        return told * (plan.frames or 0) * (more - few) // _SAMPLE
    # While the run lasts, each file of such a set tells of itself only.
    each = documents(plan, stamp, Outcome(placed=True))
    return told * sum(len(document.body.encode()) for document in each)
