"""OME-Zarr through zarr-python with the codecs of zarrs, which are written in Rust and store the chunks themselves.

zarrs writes into the file that the chunk will be: readers may find it empty, and a killed process leaves half of it.
Here it is given the name of a file beside that one, which is renamed when it is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zarr.abc.codec import CodecPipeline
from zarr.abc.store import Store
from zarr.core.buffer import NDBuffer
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import LocalStore, StorePath
from zarrs import ZarrsCodecPipeline

from ome_writers.writer import Capabilities
from ome_writers.writers.files import put_in_place, unfinished
from ome_writers.writers.zarr_python import ZarrWriter


class _WholeFiles(ZarrsCodecPipeline):
    """zarrs, with another name for a file until it is whole."""

    store: LocalStore

    async def write(
        self, batch_info: Iterable[tuple[Any, ...]], value: NDBuffer, drop_axes: tuple[int, ...] = ()
    ) -> None:
        """Encode and store chunks."""
        batch = list(batch_info)
        pairs = [(unfinished(path), path) for path in (Path(self.store.root, target.path) for target, *_ in batch)]
        names = [source.relative_to(self.store.root).as_posix() for source, _ in pairs]
        renamed = [(StorePath(self.store, name), *rest) for name, (_, *rest) in zip(names, batch, strict=True)]
        try:
            await super().write(renamed, value, drop_axes)
            for source, target in pairs:
                # It stores no chunk that is black throughout, whatever it is told.
                if source.exists():
                    put_in_place(source, target)
                else:
                    target.unlink(missing_ok=True)
        except BaseException:
            for source, _ in pairs:
                with contextlib.suppress(OSError):
                    source.unlink(missing_ok=True)
            raise


class ZarrsWriter(ZarrWriter):
    """Writes OME-Zarr 0.5 with zarr-python and zarrs, to a folder."""

    capabilities = Capabilities(
        name="zarrs-python",
        formats=frozenset({"ome-zarr"}),
        unit="shard",
        order="any",
        readable=True,
        atomic_replace=True,
        ack="block",
        block_copies=3,
        urls=False,
    )

    def _pipeline(self, metadata: ArrayV3Metadata, store: Store) -> CodecPipeline:
        pipeline: CodecPipeline = _WholeFiles.from_array_metadata_and_store(metadata, store)
        return pipeline
