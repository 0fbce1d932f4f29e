"""Given recorded images of any kind, this writes them as OME-Zarr or OME-TIFF, frame by frame, with their metadata.

1. A *recording* says what is there: settings (loops, scales, channels, positions), and frames by their indices.
2. Its settings, with another path and whatever shall be changed, are compiled to a plan.
3. The frames go through a stream, in the order of the plan. What did not come there does not come here either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from ome_writers.begin import Backend
from ome_writers.conversion.recording import Recording
from ome_writers.datasets.tiff import tiff_of_folder
from ome_writers.datasets.zarr import read_node
from ome_writers.documents import Outcome
from ome_writers.errors import NotADataset, PlanError, Problem
from ome_writers.gaps import inside
from ome_writers.plan import Plan, compile  # noqa: A004 - the verb of this library
from ome_writers.regular import STRANGE
from ome_writers.serial import dumps, loads
from ome_writers.settings import AcquisitionSettings, Dimension
from ome_writers.sources import SourceError, size_text
from ome_writers.stream import Stream
from ome_writers.target import absent

__all__ = ["convert", "recording_at"]

_STEP = 4096
"""Rows of the plan that are looked up together."""
_TIFF = (".tif", ".tiff")


class SourceBrokenError(SourceError):
    """A source did not come to its end, so neither does what is made from it."""


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    axes: str | None = None,
    backend: Backend = None,
    progress: bool = False,
    **options: Any,
) -> Outcome:
    """Write recorded images as OME-Zarr or OME-TIFF, frame by frame, and keep what is known of them.

    Kept are pixel sizes, units, origins, names, colours and wavelengths of channels, positions and where the stage
    stood, plates, what came with frames, and which frames did not come. A source that failed, or that had not ended,
    makes a target that is `stopped`, and says why. Memory is bounded: frames come one at a time.

    Parameters
    ----------
    source
        OME-Zarr or OME-TIFF of any origin, `.npy`, plain TIFF, a folder of images, a Micro-Manager stack, or a folder
        of NDTiff (needs `ome-writers[ndtiff]`).
    target
        Where it goes; the suffix chooses the format.
    axes
        Names of the axes that the source does not name itself, the slowest first: letters of `t`, `p`, `c`, `z`.
    backend
        Name of a writer, or any `Writer`; by default the best that is installed.
    progress
        Whether to show a progress bar (needs `rich`).
    **options
        Other settings: `compression="blosc-zstd"`, `overwrite=True`, … A path says what lies deeper, a dimension by its
        name: `**{"dimensions.z.chunk_size": 4}`.

    Raises
    ------
    SourceError
        If the source cannot be read.
    SettingsError, PlanError, FileExistsError, WriteError
        As `write`.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/stack.npy", np.zeros((5, 16, 16), "uint16"))
    ...     outcome = convert(f"{folder}/stack.npy", f"{folder}/stack.ome.zarr", axes="z")
    >>> outcome.verdict, outcome.frames
    ('complete', 5)
    """
    recording = recording_at(source, axes=axes)
    _require_alike(recording)
    plan = compile(settings_for(recording, target, options))
    _require_whole(recording, plan)
    _require_apart(Path(source), Path(plan.settings.output_path))
    stream = None
    try:
        with Stream(plan, backend, progress=progress) as stream:
            _copy(recording, plan, stream)
            for namespace, values in recording.globals.items():
                stream.set_global_metadata(namespace, values)
            if recording.fault is not None:
                raise SourceBrokenError(recording.fault)  # noqa: TRY301 - it ends the stream, in its own words
    except SourceBrokenError:
        pass
    outcome = stream.outcome if stream is not None else None
    if outcome is None:
        raise RuntimeError("the stream was not closed")
    return outcome


def recording_at(source: str | os.PathLike[str], *, axes: str | None = None) -> Recording:
    """Return what was recorded at a path; no pixel is read yet.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    SourceError
        If it cannot be read.
    """
    from ome_writers.conversion import from_plain, from_tiff, from_zarr
    from ome_writers.conversion.from_ndtiff import INDEX, ndtiff_recording

    path = Path(source).expanduser()
    if not path.exists():
        raise absent(source)
    try:
        if (path / INDEX).is_file():
            return ndtiff_recording(path)
        if path.is_dir() and (node := read_node(path)) is not None:
            described = node.get("node_type") != "array"
            return from_zarr.zarr_recording(path) if described else from_plain.plain_recording(path, axes)
        file = _tiff(path)
        if file is not None and axes is None and not _is_micromanager(file):
            found = from_tiff.ome_tiff_recording(file, str(path))
            if found is not None:
                return found
        return from_plain.plain_recording(file if file and file.name.lower().endswith(_MM) else path, axes)
    except (SourceError, FileNotFoundError):
        raise
    except (OSError, *STRANGE) as error:
        raise SourceError(f"{source}: cannot be read: {error}") from error


_MM = ("mmstack.ome.tif",)


def _tiff(path: Path) -> Path | None:
    """Return the TIFF file to begin with, if there is one that may describe others."""
    if path.is_file():
        return path if path.suffix.lower() in _TIFF else None
    try:
        return tiff_of_folder(path)
    except NotADataset:
        return None


def _is_micromanager(file: Path) -> bool:
    """Return whether a file is a Micro-Manager stack with its index: that says more than its OME-XML."""
    import tifffile

    with tifffile.TiffFile(file) as tif:
        return bool(tif.series) and tif.series[0].kind == "mmstack"


# ── the target ────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings_for(
    recording: Recording, target: str | os.PathLike[str], options: Mapping[str, Any]
) -> AcquisitionSettings:
    """Return the settings of what a recording shall become.

    Raises
    ------
    SettingsError
        If the options are none that there are, or do not fit.
    """
    said = evolve(recording.settings, root_path=str(target), format="auto")
    if said.format.name == "ome-tiff":
        # A page is a frame: chunks of an OME-Zarr mean nothing there.
        said = evolve(said, dimensions=tuple(_whole(dim) for dim in said.dimensions))
    return changed(said, options) if options else said


def _whole(dim: Dimension) -> Dimension:
    return evolve(dim, chunk_size=None, shard_size_chunks=None)


def changed(settings: AcquisitionSettings, options: Mapping[str, Any]) -> AcquisitionSettings:
    """Return settings with other values, each at its path.

    Examples
    --------
    >>> from ome_writers import dims_from_standard_axes
    >>> dims = dims_from_standard_axes({"z": 8, "y": 64, "x": 64})
    >>> settings = AcquisitionSettings(root_path="a.ome.zarr", dtype="uint8", dimensions=dims)
    >>> changed(settings, {"dimensions.z.chunk_size": 4, "overwrite": True}).dimensions[0].chunk_size
    4
    """
    import json

    body = json.loads(dumps(settings))
    for path, value in options.items():
        *parents, last = path.split(".")
        place = body
        for part in parents:
            place = _below(place, part, path)
        if isinstance(place, list):
            raise _no_such(path)
        place[last] = value
    return loads(json.dumps(body))


def _below(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        found = [item for item in place if isinstance(item, dict) and item.get("name") == part]
        if found:
            return found[0]
        if part.isdecimal() and int(part) < len(place):
            return place[int(part)]
        raise _no_such(path)
    if isinstance(place, dict):
        return place.setdefault(part, {})
    raise _no_such(path)


def _no_such(path: str) -> PlanError:
    message = "there is no such setting; paths are like dimensions.z.chunk_size or compression"
    return PlanError([Problem((*path.split("."),), "invalid_value", message)])


def _require_alike(recording: Recording) -> None:
    """Refuse images whose frames differ, where nothing says that they are of several cameras."""
    parts = [part for part in recording.parts if part is not None]
    other = next((k for k, one in enumerate(parts) if one.kind != parts[0].kind), None)
    if recording.plan is None and other is not None:
        first, one = (f"{size_text(part.frame_shape)} {part.dtype}" for part in (parts[0], parts[other]))
        raise SourceError(
            f"{recording.name}: its images must have frames of one size and dtype; those of image 0 are {first}, those "
            f"of image {other} {one}. Convert them one by one"
        )


def _require_whole(recording: Recording, plan: Plan) -> None:
    """Refuse what was written from a part of a plan: in what order its frames came, nobody noted."""
    if recording.planned is not None and plan.frames is not None and recording.planned < plan.frames:
        raise SourceError(
            f"{recording.name}: is a part of an acquisition ({recording.planned} of {plan.frames} frames were to be "
            "written to it), and does not say which; write that part anew, from the whole"
        )


def _require_apart(source: Path, target: Path) -> None:
    here, there = source.expanduser().resolve(), target.expanduser().resolve()
    if here == there or there in here.parents or here in there.parents:
        raise FileExistsError(f"the frames come from {source}, and {target} would lie in it or over it; choose another")


# ── the frames ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _copy(recording: Recording, plan: Plan, stream: Stream) -> None:
    """Hand each frame of a recording to a stream, in the order of the plan."""
    total = recording.cursor if recording.cursor is not None else plan.frames
    gone = 0
    for first in range(0, total or 0, _STEP):
        last = min(first + _STEP, total or 0)
        absent = inside(recording.missing, plan.rows(first, last)["frame"])
        for place in range(first, last):
            pixels = record = None
            if not absent[place - first]:
                pixels, record = recording.frame(plan.locate(place).coordinates)
            if pixels is None:
                gone += 1  # told together: frames at the end that never came were not gone past
                continue
            if gone:
                stream.skip(frames=gone)
                gone = 0
            stream.append(pixels, frame_metadata=record)
    if gone and recording.cursor is not None:
        stream.skip(frames=gone)
