"""What can be said of a dataset: its images, their arrays, axes and channels."""

from __future__ import annotations

from collections.abc import Sized

from attrs import frozen


@frozen
class Axis:
    """One axis of an image."""

    name: str
    type: str | None = None
    unit: str | None = None
    """In NGFF's spelling."""
    scale: float | None = None
    translation: float | None = None


@frozen
class Image:
    """An image: its full-resolution array, and what the metadata say of it."""

    path: str
    """Key of its zarr group below the root."""
    name: str
    array: str
    """Key of its full-resolution array; for TIFF the number of the series."""
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[Axis, ...]
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    levels: int = 1
    """Number of resolutions."""
    channels: tuple[tuple[str, str | None], ...] = ()
    """Name and colour (`RRGGBB`) of each channel."""
    files: tuple[str, ...] = ()
    """Names of the TIFF files that hold it."""


@frozen
class Dataset:
    """What lies at a path."""

    path: str
    kind: str
    """In words, such as `OME-Zarr 0.5, plate of 8 × 12 wells`."""
    images: tuple[Image, ...]
    verdict: str | None = None
    """What this library noted about the run that made it: `complete`, `stopped`, …"""
    frames: int | None = None
    """How many frames came, as noted."""


def counted(images: Sized) -> str:
    """Return how many images there are, in words."""
    return "one image" if len(images) == 1 else f"{len(images)} images"
