"""The direct writer: either format, with nothing but the standard library and numpy (and a codec, for compression).

The plan says where every pixel will lie. So there is little to decide here but which of three ways a plan takes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from ome_writers.plan import Plan
from ome_writers.writer import Block, Capabilities, Documents, Selection
from ome_writers.writers.inflight import IN_FLIGHT


class DirectWriter:
    """Writes OME-Zarr and OME-TIFF, each frame to the place that the plan names for it.

    Uncompressed frames are in the hands of the operating system when `write` returns. Compressed chunks of OME-Zarr are
    encoded by a few threads, and appended to their shards.

    Examples
    --------
    >>> DirectWriter().capabilities.ack
    'append'
    """

    def __init__(self) -> None:
        codecs, hint = {"gzip"}, "pip install 'ome-writers[numcodecs]' for more"
        if importlib.util.find_spec("numcodecs") is not None:
            codecs, hint = codecs | {"blosc-zstd", "blosc-lz4", "zstd"}, ""
        self.capabilities = Capabilities(
            name="direct",
            formats=frozenset({"ome-zarr", "ome-tiff"}),
            order="any",
            urls=False,
            readable=True,
            positioned=True,
            atomic_replace=True,
            ack="append",
            in_flight_bytes=IN_FLIGHT,
            block_copies=3,
            codecs={"ome-zarr": frozenset(codecs), "ome-tiff": frozenset()},
            hint=hint,
        )
        self._way: Way | None = None
        self._ended = False
        """Whether files are let go of as soon as they have been read."""

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Create the dataset, or with `attach` go on with the one that stands."""
        way = _way(plan)
        way.open(root, plan, documents, attach=attach)
        self._way, self._ended = way, False

    @property
    def _opened(self) -> Way:
        if self._way is None:
            raise ValueError("nothing is open")
        return self._way

    def pending(self) -> Sequence[int]:
        """Return the numbers of the frames that were taken and are not stored yet, or could not be."""
        ask = getattr(self._way, "pending", None)
        return ask() if ask is not None else ()

    @property
    def lost(self) -> Sequence[int]:
        """Numbers of the frames that were taken and could not be stored."""
        return getattr(self._way, "lost", ())

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Give an array a new shape; what lies beyond a smaller one is removed."""
        self._opened.resize(array, shape)

    def write(self, blocks: Sequence[Block], /) -> None:
        """Store blocks."""
        self._opened.write(blocks)

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return stored pixels, zeros where nothing came yet; also after `close`."""
        try:
            return self._opened.read(array, selection)
        finally:
            if self._ended:
                self._opened.abort()

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Return when all that was written can be read by others."""
        self._opened.flush(documents, durable=durable)

    def close(self, documents: Documents, /) -> None:
        """Replace the documents by the final ones and let go of everything."""
        self._ended = True
        self._opened.close(documents)

    def abort(self) -> None:
        """Let go of everything; what was written is stored."""
        self._ended = True
        if self._way is not None:
            self._way.abort()


class Way(Protocol):
    """What there is of a writer but its capabilities; see `Writer`."""

    def open(self, root: str, plan: Plan, documents: Documents, /, *, attach: bool = False) -> None:
        """Begin."""

    def resize(self, array: int, shape: tuple[int, ...], /) -> None:
        """Make an array longer or shorter."""

    def write(self, blocks: Sequence[Block], /) -> None:
        """Store blocks."""

    def read(self, array: int, selection: Selection, /) -> NDArray[Any]:
        """Return pixels."""

    def flush(self, documents: Documents | None = None, /, *, durable: bool = False) -> None:
        """Let others see what was written."""

    def close(self, documents: Documents, /) -> None:
        """End well."""

    def abort(self) -> None:
        """End."""


def _way(plan: Plan) -> Way:
    if plan.settings.format.name == "ome-tiff":
        from ome_writers.writers.direct_tiff import DirectTiff

        return DirectTiff()
    if plan.settings.compression:
        from ome_writers.writers.encoded import EncodedZarr

        return EncodedZarr()
    from ome_writers.writers.direct_zarr import DirectZarr

    return DirectZarr()
